"""The judge of generated images: a small convolutional network that is trained on real images only.

Its accuracy on generated images (`Judge.accuracy`) is the share that it classifies as the prompt they were drawn
for, and the Frechet distance (`lineardiffusion.metrics`) compares its features of generated and of real images.
Compare a distance only with distances by the same judge (its weights differ a little from one machine to another)
and of as many images (few images bias it upwards).

The network is trained once, by torch, and stored in `$LINEARDIFFUSION_CACHE`, by default
`~/.cache/lineardiffusion`. Inference needs numpy alone:

    pixels (28, 28) -> 3x3 conv, 16 -> relu, max pool -> 3x3 conv, 64 -> relu, max pool
                    -> linear, 128 -> relu (the features) -> linear, one logit per class

Run as a program, it prints the test accuracy and the Frechet distance of 10,000 training images to the 10,000 test
images, which is the distance of a model that reproduces training images.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lineardiffusion.datasets import load_fashion_mnist, load_mnist
from lineardiffusion.metrics import frechet_distance, prompt_fidelity

LOADERS = {"mnist": load_mnist, "fashion-mnist": load_fashion_mnist}
VERSION = 2  # of the weights; raise it with any change of the network or its training
EPOCHS, BATCH_SIZE = 4, 128

Floats = NDArray[np.float32]
Weights = dict[str, Floats]


@dataclass(frozen=True)
class Judge:
    """Classifier of 28 x 28 gray images, with the features that it classifies by.

    `prompts` are the classes of the logits. `weights` holds `conv1 (9, 16)`, `conv2 (144, 64)`,
    `hidden (3136, 128)` and `logits (128, n_classes)`, rows in the order (row, column, channel),
    and their biases, `conv1_bias (16,)` and so on.
    """

    prompts: list[str]
    weights: Weights

    @classmethod
    def load(cls, dataset: str) -> Judge:
        """Load the judge of `dataset`, "mnist" or "fashion-mnist"; train it if it is not in the cache."""
        if dataset not in LOADERS:
            raise ValueError(f"no judge for {dataset!r}; there are: {', '.join(LOADERS)}")
        cache = os.environ.get("LINEARDIFFUSION_CACHE") or Path.home() / ".cache/lineardiffusion"
        path = Path(cache) / f"judge-{dataset}-v{VERSION}.npz"
        if not path.exists():
            print(f"training the judge of {dataset} (once, some minutes); it will be stored in {path}")
            prompts, images = LOADERS[dataset]("train")
            classes, labels = np.unique(prompts, return_inverse=True)
            _save(path, prompts=classes, **_train(images, labels, len(classes)))
        with np.load(path, allow_pickle=False) as stored:
            weights = {name: stored[name] for name in stored.files if name != "prompts"}
            return cls(prompts=stored["prompts"].tolist(), weights=weights)

    def predict(self, images: ArrayLike) -> list[str]:
        """Return the most probable prompt of each of the images (n, 28, 28), pixels in 0..255."""
        logits = self.features(images) @ self.weights["logits"] + self.weights["logits_bias"]
        return [self.prompts[k] for k in logits.argmax(axis=1)]

    def features(self, images: ArrayLike) -> Floats:
        """Return the activations (n, 128) of the hidden layer for images (n, 28, 28), clipped to 0..255."""
        pixels = np.asarray(images)
        if pixels.ndim != 3 or pixels.shape[1:] != (28, 28):
            raise ValueError(f"images have shape {pixels.shape}; expected (n, 28, 28)")
        if not np.isfinite(pixels).all():
            raise ValueError("images hold values that are not finite; expected gray values 0..255")
        features = np.empty((len(pixels), self.weights["hidden"].shape[1]), np.float32)
        for start in range(0, len(pixels), BATCH_SIZE):
            batch = slice(start, start + BATCH_SIZE)
            x = np.clip(pixels[batch], 0, 255).astype(np.float32)[..., None] / 255
            for name in ("conv1", "conv2"):
                x = _convolve_pool(x, self.weights[name], self.weights[name + "_bias"])
            x = x.reshape(len(x), -1) @ self.weights["hidden"] + self.weights["hidden_bias"]
            features[batch] = np.maximum(x, 0)
        return features

    def accuracy(self, prompts: Sequence[str], images: ArrayLike) -> float:
        """Return the share of the images (n, 28, 28) that are classified as their prompts (n,)."""
        if unknown := sorted(set(prompts) - set(self.prompts)):
            raise ValueError(f"unknown prompts {unknown}; the judge knows: {self.prompts}")
        return prompt_fidelity(self.predict, prompts, images)


def _convolve_pool(x: Floats, kernel: Floats, bias: Floats) -> Floats:
    """Apply 3x3 convolution, 2x2 max pool, bias and relu: (n, h, w, c) to (n, h / 2, w / 2, c_out)."""
    n, h, w, _ = x.shape
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = np.concatenate([x[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], -1)
    y = (patches.reshape(n * h * w, -1) @ kernel).reshape(n, h, w, -1)
    y = np.maximum(y[:, ::2], y[:, 1::2])
    y = np.maximum(y[:, :, ::2], y[:, :, 1::2])
    return np.asarray(np.maximum(y + bias, 0))  # monotone, so the same as before the pool, and cheaper


def _train(images: NDArray[np.uint8], labels: NDArray[np.intp], num_classes: int) -> Weights:
    """Train on images (n, 28, 28) and labels (n,) by AdamW with a fixed seed; return the weights."""
    # waiting threads that spin slow the training down where other programs run
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch
    from torch import nn

    torch.set_num_threads(2)
    torch.manual_seed(0)
    conv1, conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 64, 3, padding=1)
    hidden, logits = nn.Linear(64 * 7 * 7, 128), nn.Linear(128, num_classes)
    block1, block2 = (nn.Sequential(c, nn.MaxPool2d(2), nn.ReLU()) for c in (conv1, conv2))
    head = nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Dropout(0.5), logits)
    network = nn.Sequential(block1, block2, head).to(memory_format=torch.channels_last)
    targets = torch.tensor(labels)
    pixels = torch.tensor(images).float()[:, None] / 255
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    num_steps = EPOCHS * -(-len(targets) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.003, total_steps=num_steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(targets)).split(BATCH_SIZE):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(pixels[batch]), targets[batch]).backward()
            optimizer.step()
            schedule.step()

    # torch orders weights (out, channel, row, column), the judge (row, column, channel, out)
    layers = {"conv1": conv1, "conv2": conv2, "hidden": hidden, "logits": logits}
    weights = {}
    for (name, layer), side in zip(layers.items(), (3, 3, 7, 1), strict=True):
        maps = layer.weight.detach().reshape(len(layer.bias), -1, side, side)
        weights[name] = maps.permute(2, 3, 1, 0).flatten(0, 2).contiguous().numpy()
        weights[f"{name}_bias"] = layer.bias.detach().numpy()
    return weights


def _save(path: Path, **arrays: Any) -> None:
    """Write the arrays in one step, so that another process finds a whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished-{os.getpid()}-{path.name}")
    np.savez(unfinished, **arrays)
    unfinished.replace(path)


def main() -> None:
    """Print accuracy and distance on the real images of both data sets."""
    for dataset, load in LOADERS.items():
        start = time.perf_counter()
        judge = Judge.load(dataset)
        prompts, images = load("test")
        accuracy = judge.accuracy(prompts, images)
        train = np.random.default_rng(0).choice(load("train")[1], 10_000, replace=False)
        distance = frechet_distance(judge.features(train), judge.features(images))
        seconds = time.perf_counter() - start
        print(f"{dataset}: accuracy {accuracy:.4f}, distance {distance:.3f}, {seconds:.1f} s")


if __name__ == "__main__":
    main()
