"""
Three bases of the image encoder
================================

The image encoder may use any linear basis. Three bases of 64 vectors are compared:
principal components, cosines and random directions. You learn to set a basis of your
own, and to compare bases by reconstruction and by likelihood.
"""

import numpy as np
from matplotlib.figure import Figure
from scipy.fft import dct

from lineardiffusion import ImageEncoder, LinearDiffusion, Statistics, plot
from lineardiffusion.datasets import load_mnist

prompts, images = load_mnist("train")
test_prompts, test_images = load_mnist("test")

# %%
# The cosines are the 8 x 8 lowest frequencies of the two-dimensional discrete cosine
# transform. Like the random directions, they do not depend on the images.
# ``from_basis`` makes them orthonormal.

statistics = Statistics.of(prompts, images)
cosines = dct(np.eye(28), norm="ortho", axis=0)[:8]
random = np.random.default_rng(7).normal(size=(64, 784))
encoders = {
    "PCA": None,
    "cosines": ImageEncoder.from_basis(np.kron(cosines, cosines), statistics),
    "random": ImageEncoder.from_basis(random, statistics),
}

# %%
# A model with 20 styles per digit is fitted in each basis. The test digits give the
# relative squared error of the reconstruction, and the mean log-likelihood given the
# prompt, in nats per image.

models, errors, scores = {}, {}, {}
for name, encoder in encoders.items():
    ld = LinearDiffusion(64, image_encoder=encoder, n_styles=20, contrast="affine")
    ld.fit(prompts, images)
    reconstructed = ld.decode(ld.encode(test_images))
    centred = test_images - ld.mean_.reshape(28, 28)
    errors[name] = ((test_images - reconstructed) ** 2).sum() / (centred**2).sum()
    scores[name] = ld.score(test_prompts, test_images)
    models[name] = ld
    print(f"{name:8s} error {errors[name]:.3f}, log-likelihood {scores[name]:,.0f} nats")

# %%
# The columns show some vectors of the basis, the reconstructions of the digits in the
# first row, and draws. The principal components lose least and draw best. Cosines,
# which no digit has influenced, are far better than random directions.


def strip(axes, pictures, **scale):
    """Draw pictures (n, 28, 28) side by side."""
    padded = np.pad(pictures.astype(float), [(0, 0), (0, 0), (0, 2)], constant_values=np.nan)
    axes.imshow(np.concatenate(padded, axis=1), **scale)


figure = Figure(figsize=(8, 2.5))
axes = figure.subplots(4, 3)
figure.subplots_adjust(left=0.125, right=0.995, bottom=0.01, top=0.9, wspace=0.04, hspace=0.08)
grey = {"cmap": "gray_r", "vmin": 0, "vmax": 255}
strip(axes[0, 1], test_images[:6], **grey)
for row, (name, ld) in zip(axes[1:], models.items(), strict=True):
    vectors = ld.components_[[0, 1, 2, 9, 18, 36]].reshape(-1, 28, 28)
    strip(
        row[0],
        vectors / abs(vectors).max(axis=(1, 2), keepdims=True),
        cmap="RdBu_r",
        vmin=-1,
        vmax=1,
    )
    strip(row[1], ld.decode(ld.encode(test_images[:6])), **grey)
    strip(row[2], ld.predict([str(digit) for digit in range(6)], seed=7), **grey)
    text = f"{name}\nerror {errors[name]:.1%}\n{scores[name]:,.0f} nats"
    row[0].text(
        -0.03, 0.5, text, transform=row[0].transAxes, ha="right", va="center", fontsize=9
    )
for column, title in enumerate(("vectors", "digits and reconstructions", "draws")):
    figure.text(0.27 + 0.295 * column, 0.93, title, ha="center")
for cell in axes.flat:
    cell.set_axis_off()
plot.show(figure)
