"""Measure the accuracy on pairs of digits that were never seen: ``python benchmarks/pairs.py``.

A model is fitted to 60,000 pairs of training digits without ten of the 100 pairs; the gallery's example takes
20,000. The judge (judge.py) classifies each half of 1,000 images, 100 for each of these ten pairs. Pairs
that were seen and pairs of real test digits are printed too.
"""

from __future__ import annotations

import time

import numpy as np
from judge import Judge

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_mnist

EACH = 100
UNSEEN = [f"{i} {(i + 3) % 10}" for i in range(10)]


def pairs(n: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Draw n pairs of training digits without those in `UNSEEN`; return prompts and images (n, 28, 56)."""
    digits, images = load_mnist("train")
    rng = np.random.default_rng(seed)
    left, right = rng.integers(len(digits), size=(2, 2 * n))
    prompts = [f"{digits[i]} {digits[j]}" for i, j in zip(left, right, strict=True)]
    kept = [k for k, prompt in enumerate(prompts) if prompt not in UNSEEN][:n]
    return [prompts[k] for k in kept], np.concatenate([images[left[kept]], images[right[kept]]], axis=2)


def fit(n: int = 60_000) -> LinearDiffusion:
    """Fit a model to n pairs, and print the time."""
    prompts, images = pairs(n)
    start = time.perf_counter()
    ld = LinearDiffusion(150, text_encoder="positions", sampler="dpm++2m", num_steps=30)
    ld.fit(prompts, images)
    print(f"fitted {n:,} images of {len(ld.prompts_)} pairs in {time.perf_counter() - start:.1f} s")
    return ld


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
