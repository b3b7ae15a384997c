"""Are digits of pairs that were never seen read right? ``python benchmarks/pairs.py``.

The judge (judge.py) reads each half of 1,000 images, 100 for each of ten pairs held out of the training data
(examples/plot_pairs.py). Seen pairs stand beside them, and pairs of real test digits.
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


def both_right(judge: Judge, images: np.ndarray, prompts: list[str]) -> float:
    """Share of images (n, 28, 56) whose two halves are both read right."""
    left, right = (judge.predict(half) for half in (images[:, :, :28], images[:, :, 28:]))
    return float(np.mean([f"{a} {b}" == p for a, b, p in zip(left, right, prompts, strict=True)]))


def main() -> None:
    judge = Judge.load("mnist")
    digits, images = load_mnist("test")
    order = np.random.default_rng(0).permutation(10_000).reshape(2, 5_000)
    real = np.concatenate([images[order[0]], images[order[1]]], axis=2)
    names = [f"{digits[i]} {digits[j]}" for i, j in order.T]
    print(f"real test digits   {both_right(judge, real, names):.3f}")
    ld = fit()
    seen = [f"{i} {(i + 4) % 10}" for i in range(10)]
    for what, pairs in (("pairs never seen", UNSEEN), ("pairs seen", seen)):
        asked = pairs * EACH
        print(f"{what:18s} {both_right(judge, ld.predict(asked, seed=137), asked):.3f}")
    exact = both_right(judge, ld.predict(UNSEEN * EACH, seed=137, sampler="exact"), UNSEEN * EACH)
    print(f"never seen, exact  {exact:.3f}")


if __name__ == "__main__":
    main()
