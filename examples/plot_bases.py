"""Compare three bases of the image encoder at equal size: PCA, cosines and random directions.

Each basis has 64 vectors. The cosines are the two-dimensional discrete cosine transform's 8 x 8 lowest frequencies,
which know nothing of the data. For each basis the columns show some of its vectors, the reconstruction of test
digits, and draws of a model with 20 styles. The label has the relative squared error of the reconstruction, and the
mean log-likelihood of MNIST's test digits given their prompts. ``python examples/plot_bases.py`` draws
docs/bases.png.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.fft import dct

from lineardiffusion import ImageEncoder, LinearDiffusion, Statistics
from lineardiffusion.datasets import load_mnist

SIDE, SHOWN = 8, 7
VECTORS = [0, 1, 2, 9, 18, 36, 63]
SEED = 7


def main() -> None:
    prompts, images = load_mnist("train")
    test_prompts, test_images = load_mnist("test")
    statistics = Statistics.of(prompts, images)
    cosines = dct(np.eye(28), norm="ortho", axis=0)[:SIDE]
    encoders = {
        "PCA": None,
        "cosines": ImageEncoder.from_basis(np.kron(cosines, cosines), statistics),
        "random": ImageEncoder.from_basis(np.random.default_rng(SEED).normal(size=(SIDE**2, 28**2)), statistics),
    }

    figure = Figure(figsize=(13, 2.75), dpi=100)
    axes = figure.subplots(1 + len(encoders), 3)
    figure.subplots_adjust(left=0.105, right=0.995, bottom=0.02, top=0.9, wspace=0.05, hspace=0.12)
    show(axes[0, 1], test_images[:SHOWN])
    axes[1, 0].set_title("vectors of the basis")
    axes[0, 1].set_title("test digits, and their reconstructions")
    axes[1, 2].set_title("draws with 20 styles")
    for row, (name, encoder) in zip(axes[1:], encoders.items(), strict=True):
        ld = LinearDiffusion(SIDE**2, image_encoder=encoder, n_styles=20, contrast="affine").fit(prompts, images)
        reconstructed = ld.decode(ld.encode(test_images))
        centred = test_images - ld.mean_.reshape(28, 28)
        error = ((test_images - reconstructed) ** 2).sum() / (centred**2).sum()
        log_prob = ld.score(test_prompts, test_images)
        print(f"{name:8s} relative squared error {error:.3f}, log-likelihood {log_prob:.1f} nats an image")
        show(row[0], ld.components_[VECTORS].reshape(-1, 28, 28), signed=True)
        show(row[1], reconstructed[:SHOWN])
        show(row[2], ld.predict([str(digit) for digit in range(SHOWN)], seed=SEED))
        text = f"{name}\nerror {error:.1%}\nlog p {log_prob:,.0f}"
        row[0].text(-0.03, 0.5, text, transform=row[0].transAxes, ha="right", va="center")
    for one in axes.flat:
        one.set_axis_off()
    figure.savefig(Path(__file__).parent.parent / "docs" / "bases.png")


def show(axes, images: np.ndarray, signed: bool = False) -> None:
    """Draw images (n, 28, 28) side by side, in grey levels or, if signed, each in its own range of two colours."""
    if signed:
        images = images / abs(images).max(axis=(1, 2), keepdims=True)
    gap = np.full((28, 2), np.nan)
    strip = np.concatenate([part for image in images for part in (image, gap)], axis=1)[:, :-2]
    axes.imshow(strip, cmap="RdBu_r" if signed else "gray_r", vmin=-1 if signed else 0, vmax=1 if signed else 255)


if __name__ == "__main__":
    main()
