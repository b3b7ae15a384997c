"""Measure the accuracy on pairs of digits that were never seen: ``python benchmarks/pairs.py``.

The judge (judge.py) classifies each half of 1,000 images, 100 for each of ten pairs that were held out of the
training data (examples/plot_pairs.py). Pairs that were seen and pairs of real test digits are printed too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from judge import Judge

from lineardiffusion.datasets import load_mnist

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from plot_pairs import UNSEEN, fit

EACH = 100


def both_right(judge: Judge, prompts: list[str], images: np.ndarray) -> float:
    """Return the share of images (n, 28, 56) whose two halves are both classified correctly."""
    left, right = (judge.predict(half) for half in (images[:, :, :28], images[:, :, 28:]))
    return float(np.mean([f"{a} {b}" == p for a, b, p in zip(left, right, prompts, strict=True)]))


def main() -> None:
    judge = Judge.load("mnist")
    digits, images = load_mnist("test")
    order = np.random.default_rng(0).permutation(10_000).reshape(2, 5_000)
    real = np.concatenate([images[order[0]], images[order[1]]], axis=2)
    names = [f"{digits[i]} {digits[j]}" for i, j in order.T]
    print(f"real test digits   {both_right(judge, names, real):.3f}")
    ld = fit()
    seen = [f"{i} {(i + 4) % 10}" for i in range(10)]
    for name, pairs in (("pairs never seen", UNSEEN), ("pairs seen", seen)):
        prompts = pairs * EACH
        print(f"{name:18s} {both_right(judge, prompts, ld.predict(prompts, seed=137)):.3f}")
    prompts = UNSEEN * EACH
    exact = both_right(judge, prompts, ld.predict(prompts, seed=137, sampler="exact"))
    print(f"never seen, exact  {exact:.3f}")


if __name__ == "__main__":
    main()
