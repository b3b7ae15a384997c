"""Restore a digit that was blurred, reduced to 7 x 7 pixels and disturbed by noise.

The columns show the digit, its measurement, the mean of the exact posterior, the standard deviation of each pixel
(darker is less certain), and four draws from the posterior. ``python examples/plot_restoration.py`` draws
docs/restoration.png from MNIST's test digits. The model was not fitted on them and is not given their prompts.
"""

from pathlib import Path

import numpy as np

from lineardiffusion import LinearDiffusion, operators, plot
from lineardiffusion.datasets import load_mnist

DIGITS = [0, 1, 18, 15, 84]  # test digits
SEED, DRAWS, SHOWN = 137, 200, 4
BLUR, FACTOR, NOISE = 1.0, 4, 8.0  # pixels, pixels, grey levels


def main() -> None:
    ld = LinearDiffusion(n_styles=50, contrast="affine").fit(*load_mnist("train"))
    images = load_mnist("test")[1][DIGITS].astype(float)
    shape, n = images.shape[1:], len(images)
    A = operators.downsampling(shape, FACTOR) @ operators.blurring(shape, BLUR)
    clean = images.reshape(n, -1) @ A.T
    measured = clean + NOISE * np.random.default_rng(SEED).normal(size=clean.shape)

    mean = ld.restore(measured, A, NOISE, n_samples=0)
    draws = ld.restore(measured, A, NOISE, seed=SEED, n_samples=DRAWS)
    whole = ld.restore(measured, A, NOISE, seed=SEED, n_samples=DRAWS, residual_noise=True)
    spread = whole.std(axis=1)  # of draws with contrast; the mean has none
    small = measured.reshape(n, shape[0] // FACTOR, shape[1] // FACTOR)
    large = small.repeat(FACTOR, axis=1).repeat(FACTOR, axis=2)

    rows = np.concatenate([np.stack([images, large, mean, spread], axis=1), draws[:, :SHOWN]], axis=1)
    captions = ["digit", "measured", "mean", "spread", *(f"draw {i + 1}" for i in range(SHOWN))]
    figure = plot.grid(
        np.concatenate(rows),
        captions=captions + [""] * (n - 1) * len(captions),
        columns=len(captions),
        vmin=0,
        vmax=255,
    )
    for axes in figure.axes[captions.index("spread") :: len(captions)]:
        axes.images[0].set(cmap="Reds", clim=(0, spread.max()))
    figure.savefig(Path(__file__).parent.parent / "docs" / "restoration.png", dpi=90)


if __name__ == "__main__":
    main()
