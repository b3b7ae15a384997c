"""Draw images for prompts that were never seen: "4 2" after 90 of the 100 pairs of digits.

Two MNIST digits side by side are one image, and their names are its prompt. Ten pairs ("0 3", "1 4", ...) are held
out. With ``text_encoder="positions"`` the regression learns the shape of a 4 on the left and of a 2 on the right
from all pairs that have one of them. ``python examples/plot_pairs.py`` fits the model, prints how long that took,
and draws the ten held-out pairs into docs/pairs.png.
"""

import time
from pathlib import Path

import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

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


def main() -> None:
    ld = fit()
    drawn = ld.predict([pair for pair in UNSEEN for _ in range(5)], seed=137)
    figure = plot.grid(drawn, labels=UNSEEN, columns=5, vmin=0, vmax=255, title="Pairs never seen", size=1.1)
    figure.savefig(Path(__file__).parent.parent / "docs" / "pairs.png", dpi=80)


if __name__ == "__main__":
    main()
