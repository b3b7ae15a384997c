"""Find the training time at which a small U-Net overtakes: ``python benchmarks/race.py [mnist|fashion-mnist]``.

A class-conditional U-Net is trained by gradient descent, on a GPU if torch finds one, otherwise on the processor.
With the cosine schedule (alpha, sigma) = (cos, sin) of pi t / 2, images z of mean 0 and variance 1, and noise
n ~ N(0, I), it predicts the velocity of x = alpha z + sigma n (Salimans and Ho 2022). The denoiser follows from it:

    loss = E |network(x, t, label) - v|^2,    v = alpha n - sigma z,    t uniform in (0, 1)
    D(x, alpha, sigma) = alpha x - sigma network(x, t, label)

The velocity has variance 1 at every t, so no level needs a weight. The library's own sampler dpm++2m draws with D,
without guidance and with averaged weights. The average at step k gives the weights of step i a share proportional
to i^gamma (Karras et al. 2024), so it suits every training time, and the learning rate can stay constant.

Training stops at a series of times, each twice the last. Images are drawn then, and measured by judge.py:

    right       accuracy of the judge
    frechet     Frechet distance in the judge's features to the 10,000 test images
    recall      share of test images that lie within the generated ones (as many test images as are drawn)
    coverage, precision    of the same images (lineardiffusion.metrics)

The same is measured for LinearDiffusion, against its time of fitting, and for real training images. Drawing and
measuring do not count as training. On a GPU, times are those of the clock. On a CPU they are processor times of all
threads together, for both models: other programs hardly change them, and two free cores take about half as long.
Where other programs need a core, ``--threads 1`` is faster than threads that wait for one another. Few images bias
the Frechet distance upwards, so compare it only with distances of as many images.

All points are written to OUTPUT.json after each measurement, the curve to OUTPUT.png, and draws of the U-Net to
OUTPUT_samples.png at the end.

References
----------
Salimans and Ho (2022), Progressive distillation for fast sampling of diffusion models. ICLR.
Karras et al. (2024), Analyzing and improving the training dynamics of diffusion models. CVPR.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads do not spin where other programs run

import numpy as np
import torch
import torch.nn.functional as F
from judge import LOADERS, Judge
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

import lineardiffusion
from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.metrics import frechet_distance, precision_recall_density_coverage
from lineardiffusion.samplers import dpmpp_2m
from lineardiffusion.schedules import Cosine

LIBRARY: dict[str, Any] = {"n_styles": "auto", "contrast": "pixelwise"}  # arguments of LinearDiffusion
CHANNELS = {"cpu": (32, 64), "cuda": (64, 128)}  # of the U-Net at 14 x 14 and at 7 x 7
RATE, WARM_UP = 2e-3, 100  # of AdamW; the rate grows linearly during the first steps
GAMMA = 6.94  # standard deviation of the average over steps: a tenth of the training so far
BATCH = {"cpu": 64, "cuda": 256}
DRAWN = {"cpu": 1000, "cuda": 10_000}
MEASURES = {"right": True, "frechet": False, "recall": True}  # whether more is better
COSINE = Cosine()


class Block(nn.Module):
    """Residual block of two 3 x 3 convolutions; the embedding of time and class is added between them."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.shift = nn.Linear(embedding, outputs)
        self.second = nn.Sequential(nn.GroupNorm(8, outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        nn.init.zeros_(self.second[-1].weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.first(x) + self.shift(embedding)[:, :, None, None]
        return self.skip(x) + self.second(h)


class UNet(nn.Module):
    """Class-conditional U-Net of 28 x 28 images: `network(x, t, labels)` is the velocity, shape (n, 1, 28, 28).

    Each 2 x 2 square of pixels is one position of four channels, which costs a quarter of a network at full size.
    """

    def __init__(self, num_classes: int, channels: Sequence[int], embedding: int = 128) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(-1, 5))
        self.time = nn.Sequential(nn.Linear(12, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = nn.Embedding(num_classes, embedding)
        levels, bottom = list(pairwise(channels)), channels[-1]
        self.inputs = nn.Conv2d(4, channels[0], 3, padding=1)
        self.down = nn.ModuleList(Block(wide, wide, embedding) for wide, _ in levels)
        self.reduce = nn.ModuleList(nn.Conv2d(wide, deep, 3, stride=2, padding=1) for wide, deep in levels)
        self.middle = nn.ModuleList(Block(bottom, bottom, embedding) for _ in range(2))
        self.enlarge = nn.ModuleList(nn.Conv2d(deep, wide, 1) for wide, deep in levels)
        self.up = nn.ModuleList(Block(2 * wide, wide, embedding) for wide, _ in levels)
        last = nn.Conv2d(channels[0], 4, 3, padding=1)
        self.outputs = nn.Sequential(nn.GroupNorm(8, channels[0]), nn.SiLU(), last)
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        angles = t[:, None] * self.frequencies
        embedding = F.silu(self.time(torch.cat([angles.sin(), angles.cos()], 1)) + self.label(labels))
        x, skips = self.inputs(F.pixel_unshuffle(x, 2)), []
        for block, reduce in zip(self.down, self.reduce, strict=True):
            skips.append(block(x, embedding))
            x = reduce(skips[-1])
        for block in self.middle:
            x = block(x, embedding)
        for block, enlarge in zip(reversed(self.up), reversed(self.enlarge), strict=True):
            x = F.interpolate(enlarge(x), scale_factor=2.0)
            x = block(torch.cat([x, skips.pop()], 1), embedding)
        return F.pixel_shuffle(self.outputs(x), 2)


Network = Callable[[Tensor, Tensor, Tensor], Tensor]
Clock = Callable[[], float]


def velocity_loss(network: Network, z: Tensor, labels: Tensor) -> Tensor:
    """Return the mean squared error of the network's velocities for images z (n, 1, h, w) under fresh noise."""
    n = len(z)
    t = (torch.arange(n, device=z.device) + torch.rand(n, device=z.device)) / n  # one time in each nth of (0, 1)
    alpha, sigma = ((math.pi / 2 * t[:, None, None, None]).cos(), (math.pi / 2 * t[:, None, None, None]).sin())
    noise = torch.randn_like(z)
    predicted = network(alpha * z + sigma * noise, t, labels)
    return (predicted.float() - (alpha * noise - sigma * z)).square().mean()


@torch.no_grad()
def draw(network: Network, labels: Tensor, noise: Tensor, num_steps: int) -> Tensor:
    """Return the images z (n, 1, h, w) that dpm++2m draws from the starting noise, in `num_steps` steps."""

    def denoise(x: Tensor, alpha: float, sigma: float) -> Tensor:
        t = torch.full((len(x),), math.atan2(sigma, alpha) * 2 / math.pi, device=x.device, dtype=x.dtype)
        return alpha * x - sigma * network(x, t, labels).to(x.dtype)

    sampler = dpmpp_2m(num_steps)
    *_, drawn = sampler(denoise, noise, COSINE, sampler.times(COSINE), lambda x, tau: x)  # it adds no noise
    return drawn


class Training:
    """Training of a U-Net that can stop at any time, draw, and go on.

    Attributes: `seconds` of training so far, `steps`, and `average`, the network with averaged weights.
    """

    def __init__(self, labels: np.ndarray, images: np.ndarray, device: torch.device, clock: Clock) -> None:
        torch.manual_seed(0)
        self.clock, self.device, self.seconds, self.steps = clock, device, 0.0, 0
        self.labels, self.images = torch.from_numpy(labels).to(device), torch.from_numpy(images).to(device)
        self.mean, self.scale = float(images.mean()), float(images.std())
        network = UNet(int(labels.max()) + 1, CHANNELS[device.type]).to(device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.weights = list(network.parameters())
        self.optimizer = torch.optim.AdamW(self.weights, RATE, fused=True)
        self.network: Network = network
        if device.type == "cuda":
            self.network = torch.compile(network)
            self._step()  # compiles, outside of the time

    def until(self, seconds: float) -> None:
        """Train until this many seconds of training have passed in all."""
        start = self.clock() - self.seconds
        while self.clock() - start < seconds:
            self._step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds = self.clock() - start

    def draw(self, labels: np.ndarray, num_steps: int) -> np.ndarray:
        """Return images (n, 28, 28) in pixels of 0 to 255, drawn with the averaged weights."""
        generator = torch.Generator(self.device).manual_seed(137)
        images = []
        for some in torch.from_numpy(labels).to(self.device).split(2500):
            noise = torch.randn(len(some), 1, 28, 28, generator=generator, device=self.device)
            with self._precision():
                images.append(draw(self.average, some, noise, num_steps).cpu())
        return np.clip(torch.cat(images)[:, 0].numpy() * self.scale + self.mean, 0, 255)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _step(self) -> None:
        self.steps += 1
        self.optimizer.param_groups[0]["lr"] = RATE * min(1.0, self.steps / WARM_UP)
        some = torch.randint(len(self.labels), (BATCH[self.device.type],), device=self.device)
        z = (self.images[some, None].float() - self.mean) / self.scale
        with self._precision():
            loss = velocity_loss(self.network, z, self.labels[some])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        follow(list(self.average.parameters()), self.weights, self.steps)


@torch.no_grad()
def follow(average: list[Tensor], weights: list[Tensor], step: int) -> None:
    """Add the weights of step 1, 2, ... to their average, in which step i has a share proportional to i^gamma."""
    torch._foreach_lerp_(average, weights, 1 - (1 - 1 / step) ** (GAMMA + 1))


class Measure:
    """Measurement of images against the test images of a data set."""

    def __init__(self, name: str, n_images: int) -> None:
        self.judge = Judge.load(name)
        self.features = self.judge.features(LOADERS[name]("test")[1])
        self.some = np.random.default_rng(0).permutation(len(self.features))[:n_images]

    def __call__(self, what: str, prompts: Sequence[str], images: np.ndarray, **more: Any) -> dict[str, Any]:
        """Print and return the measures of the images."""
        features = self.judge.features(images)
        values = precision_recall_density_coverage(self.features[self.some], features)
        point = {
            "what": what, **more, "right": self.judge.accuracy(prompts, images),
            "frechet": frechet_distance(self.features, features),
            "recall": values.recall, "coverage": values.coverage, "precision": values.precision,
        }  # fmt: skip
        print("  ".join(f"{key} {one:.4g}" if isinstance(one, float) else str(one) for key, one in point.items()),
              flush=True)  # fmt: skip
        return point


def overtaking(seconds: Sequence[float], values: Sequence[float], level: float, more: bool = True) -> float | None:
    """Return the time from which a curve stays better than a level; it is linear in the logarithm of time.

    Parameters
    ----------
    seconds, values : sequence of float
        Curve, in the order of time.
    level : float
        Value to overtake.
    more : bool, default=True
        Whether larger values are better.

    Returns
    -------
    float or None
        Time in the unit of `seconds`, 0 if all of the curve is better, None if its end is not.
    """
    ahead = (np.asarray(values) - level) * (1 if more else -1)
    behind = np.flatnonzero(ahead <= 0)
    if not len(behind):
        return 0.0
    last = int(behind[-1])
    if last == len(ahead) - 1:
        return None
    share = ahead[last] / (ahead[last] - ahead[last + 1])
    return float(seconds[last] * (seconds[last + 1] / seconds[last]) ** share)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fit and train both models; return the settings and all measures, and write them after each one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
        threadpool_limits(arguments.threads)
    n_images = arguments.images or DRAWN[device.type]
    measure = Measure(arguments.name, n_images)
    prompts, images = LOADERS[arguments.name]("train")
    classes, labels = np.unique(prompts, return_inverse=True)
    asked = np.arange(n_images) % len(classes)
    asked_prompts = classes[asked].tolist()

    real = np.random.default_rng(0).choice(len(images), n_images, replace=False)
    points = [measure("real", [prompts[i] for i in real], images[real])]
    start = clock()
    ld = LinearDiffusion(**LIBRARY).fit(prompts, images)
    fitted = clock()
    drawn = np.clip(ld.predict(asked_prompts, seed=137), 0, 255)
    times = {"seconds": fitted - start, "drawing": clock() - fitted}
    points.append(measure("library", asked_prompts, drawn, **times))

    training = Training(labels, images, device, clock)
    result = {
        "dataset": arguments.name,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "versions": {"lineardiffusion": lineardiffusion.__version__, "torch": torch.__version__,
                     "numpy": np.__version__, "python": platform.python_version()},
        "library": LIBRARY, "channels": CHANNELS[device.type], "batch_size": BATCH[device.type],
        "weights": sum(one.numel() for one in training.weights), "n_images": n_images,
        "num_steps": arguments.steps, "points": points,
    }  # fmt: skip
    for k in reversed(range(arguments.evaluations)):
        training.until(60 * arguments.minutes / 2**k)
        start = clock()
        drawn = training.draw(asked, arguments.steps)
        times = {"seconds": training.seconds, "drawing": clock() - start, "steps": training.steps}
        points.append(measure("U-Net", asked_prompts, drawn, **times))
        arguments.output.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    grid = plot.grid(drawn[:100], columns=10, vmin=0, vmax=255, size=0.5)
    grid.savefig(f"{arguments.output}_samples.png", dpi=100)
    return result


def curve(result: dict[str, Any], what: str) -> list[float]:
    """Return one value of the U-Net at every time of the run."""
    return [point[what] for point in result["points"] if point["what"] == "U-Net"]


def draw_curve(result: dict[str, Any], path: Path) -> None:
    """Draw the measures against the time of training, which has a logarithmic axis."""
    from matplotlib.figure import Figure

    real, library = result["points"][:2]
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    titles = {"right": "accuracy of the judge", "frechet": "Frechet distance (less is better)", "recall": "recall"}
    for axes, what in zip(figure.subplots(1, 3), MEASURES, strict=True):
        axes.axhline(real[what], color="0.4", linestyle=":", label="real training images")
        axes.axhline(library[what], color="C1", linewidth=0.8, linestyle="--")
        axes.plot(library["seconds"], library[what], "C1o", label="LinearDiffusion, time of fitting")
        axes.plot(curve(result, "seconds"), curve(result, what), "C0.-", label="U-Net")
        axes.set(title=titles[what], xlabel="seconds of training", xscale="log")
        if what == "frechet":
            axes.set_yscale("log")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    device = "seconds of one core" if result["device"] == "CPU" else result["device"]
    figure.suptitle(f"{result['dataset']}, {device}, {result['n_images']:,} images each")
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="mnist", choices=list(LOADERS))
    parser.add_argument("--minutes", type=float, default=10.0, help="time of training (default: 10)")
    parser.add_argument("--evaluations", type=int, default=7, help="number of times to measure (default: 7)")
    parser.add_argument("--images", type=int, help="images to draw each time (default: 10,000 on a GPU, or 1,000)")
    parser.add_argument("--steps", type=int, default=20, help="steps of the sampler (default: 20)")
    parser.add_argument("--threads", type=int, help="threads on a CPU (default: torch's choice, all cores)")
    parser.add_argument("-o", "--output", type=Path, default=Path("race"), help="without .json and .png")
    arguments = parser.parse_args()
    result = run(arguments)
    draw_curve(result, arguments.output.with_suffix(".png"))
    seconds, library = curve(result, "seconds"), result["points"][1]
    for what, more in MEASURES.items():
        found = overtaking(seconds, curve(result, what), library[what], more)
        answer = f"after {found:.0f} s" if found else f"not within {seconds[-1]:.0f} s"
        if found == 0:
            answer = f"before {seconds[0]:.0f} s"
        print(f"{what:8s} the U-Net overtakes {answer}")


if __name__ == "__main__":
    main()
