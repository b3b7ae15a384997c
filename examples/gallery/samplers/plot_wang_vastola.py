r"""
How much of a score is Gaussian?
================================

Wang and Vastola (2024) found that the score of a trained network is, at most noise
levels, that of a single Gaussian. You learn that their numbers follow from eigenvalues,
and that styles have such a share too.
"""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

# %%
# The loss of a Gaussian of low rank
# ----------------------------------
#
# Let the data have the variances :math:`l_k` in their principal directions, and let a
# model keep the first r of them. Its denoiser multiplies direction k by the gain
# :math:`g_k = l_k / (l_k + s^2)`, or by 0 if k > r. At the noise level s its loss is
#
# .. math::
#
#    E\,|s \cdot \mathrm{score} + n|^2 = \sum_k \frac{(1 - g_k)^2 l_k + g_k^2 s^2}{s^2}.
#
# Their table has pixels of standard deviation 1, and the noise levels of the variance
# exploding process :math:`dx = 10^t dw` from t = 0.001 to 1. Their numbers are means of
# random draws. Three ranks at three levels are quoted, and differ from the formula by
# at most 0.3 %.

prompts, images = load_mnist("train")
pixels = images.reshape(len(images), -1).astype(np.float32)
variance = np.linalg.eigvalsh(np.cov(pixels.T, bias=True))[::-1] / pixels.var()
variance = np.maximum(variance, 0.0)


def loss(rank, s):
    """Return the loss of the model of this rank at the noise level s."""
    gain = np.where(np.arange(784) < rank, variance / (variance + s**2), 0.0)
    return ((1 - gain) ** 2 * variance + gain**2 * s**2).sum() / s**2


times = np.linspace(1e-3, 1, 51)
levels = np.sqrt((100.0**times - 1) / (2 * np.log(10)))
published = {
    784: (582.29, 73.800, 16.513),
    128: (35317.0, 75.069, 16.536),
    8: (311554.0, 167.04, 19.084),
}
for rank, theirs in published.items():
    ours = [loss(rank, s) for s in levels[[0, 25, 50]]]
    pairs = zip(ours, theirs, strict=True)
    print(f"rank {rank:3d}:", *(f"{a:.5g} (published {b:.5g})" for a, b in pairs))

# %%
# The share that a Gaussian explains
# ----------------------------------
#
# A network's score, on MNIST at 32 x 32 pixels from -1 to 1, has published shares. In
# place of the network we take a mixture of 100 styles of 20,000 digits. The Gaussian
# with its moments is a model with one style. At high noise the share is near 1 for
# both. At low noise the Gaussian explains less of the mixture than of the network.


def resized(images):
    """Return digits (n, 28, 28) as the networks saw them."""
    bilinear = Image.Resampling.BILINEAR
    large = [np.asarray(Image.fromarray(one).resize((32, 32), bilinear)) for one in images]
    return np.stack(large).astype(np.float32) / 127.5 - 1


some, test = resized(images[:20_000]), resized(load_mnist("test")[1][:64])
mixture = LinearDiffusion(200, n_styles=100).fit(["digit"] * len(some), some)
gaussian = LinearDiffusion(200, shrinkage=0).fit(["digit"] * len(some), some)
sigmas = [0.05, 0.1, 0.2, 0.5, 1, 2, 5]
network = [0.65, 0.74, 0.84, 0.92, 0.961, 0.986, 0.9991]
rng, shares = np.random.default_rng(0), []
for s in sigmas:
    x = test + s * rng.normal(size=test.shape)
    S, G = ((ld.denoise(["digit"] * 64, x, s) - x) / s**2 for ld in (mixture, gaussian))
    shares.append(np.mean(1 - ((S - G) ** 2).sum(axis=(1, 2)) / (S**2).sum(axis=(1, 2))))

print("of the mixture:", np.round(shares, 3))
print("of the network:", network)

# %%
# Lines are computed here, points are published.

figure = Figure(figsize=(8, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)
for rank, theirs in published.items():
    (line,) = left.loglog(levels, [loss(rank, s) for s in levels], label=f"rank {rank}")
    left.loglog(levels[[0, 25, 50]], theirs, "o", color=line.get_color())
left.set(xlabel="noise level", ylabel="loss", title="Loss of one Gaussian")
left.legend(frameon=False)
right.semilogx(sigmas, shares, label="of our mixture of 100 styles")
right.semilogx(sigmas, network, "o", label="of a network, published")
right.set(xlabel="noise level", title="Share that a Gaussian explains", ylim=(0, 1.02))
legend = right.legend(frameon=False, loc="lower right")
plot.show(figure)

# %%
# ``benchmarks/published.py`` compares all cells of their tables, of CIFAR-10 too.
#
# Reference: B. Wang and J. J. Vastola (2024), The unreasonable effectiveness of
# Gaussian score approximation for diffusion models and its applications. Transactions
# on Machine Learning Research.
