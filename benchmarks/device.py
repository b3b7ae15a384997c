"""Measure fit, predict and classify on a device against their bare products there: ``python benchmarks/device.py``.

Needs PyTorch and MNIST ($LINEARDIFFUSION_DATA; ``--random`` takes random bytes of that shape). Runs of the two
sides alternate, each ends with a synchronisation of the device, and the ratio is that of their medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_mnist

REPEATS = 9


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one run on a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def compare(what: str, ours: Callable[[], object], bare: Callable[[], object], device: torch.device) -> None:
    """Print the ratio of the medians of alternating runs."""
    ours(), bare()
    pairs = [(seconds(ours, device), seconds(bare, device)) for _ in range(REPEATS)]
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"{what:60s} {a * 1e3:9.2f} ms {b * 1e3:9.2f} ms {a / b:7.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--random", action="store_true", help="random bytes in place of MNIST")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{name}, torch {torch.__version__}\n{'':60s} {'ours':>12s} {'bare':>12s} {'ratio':>9s}")

    if arguments.random:
        rng = np.random.default_rng(0)
        prompts, images = [str(i) for i in rng.integers(0, 10, 70_000)], rng.integers(0, 256, (70_000, 28, 28))
        images = images.astype(np.uint8)
    else:
        prompts, images = load_mnist()
    here = torch.from_numpy(images).to(device)
    X = here.reshape(len(images), -1).to(torch.float32)
    compare("fit of 70,000 / float32 product X.T @ X",
            lambda: LinearDiffusion().fit(prompts, here), lambda: X.T @ X, device)  # fmt: skip
    ld = LinearDiffusion().fit(prompts, here)
    V = torch.from_numpy(ld.components_.astype(np.float32)).to(device)
    asked = [str(i % 10) for i in range(10_000)]

    def draw() -> None:
        ld.predict(asked, seed=137, output_type="pt", device=device)

    def noise_and_product() -> None:
        noise = np.random.default_rng(137).normal(size=(10_000, len(V)))
        torch.from_numpy(noise.astype(np.float32)).to(device) @ V

    compare("predict of 10,000 / noise and one float32 product", draw, noise_and_product, device)
    some, square = here[:10_000], torch.eye(len(V), device=device)

    def products() -> None:
        z = X[:10_000] @ V.T
        for _ in range(10):
            z @ square

    compare("classify of 10,000 x 10 / its float32 products", lambda: ld.classify(some), products, device)


if __name__ == "__main__":
    main()
