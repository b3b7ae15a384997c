"""Likelihood: the density of images under the law of a prompt.

The law of the latents, N(b, B), becomes a density of pixels by probabilistic PCA (Tipping and Bishop 1999):
the kept directions follow the law, each of the D - d discarded ones has the pooled residual variance v.
With z the image's latent, rest its squared distance from the kept plane, both in (standardised) pixels,

    log p(x) = log N(z; b, B) - d log s - sum_j log r_j - 1/2 [(D - d) log(2 pi v) + rest / v]

(s, r, v of encode.py). A direction in which the training images hardly vary, or not at all, has no density
worth the name. Every direction is given at least the variance of rounding to 256 grey levels,
(range / 255)^2 / 12.

References
----------
Tipping and Bishop (1999), Probabilistic principal component analysis. JRSS B 61(3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from lineardiffusion.encode import ImageEncoder
from lineardiffusion.gaussian import Gaussian, Mixture
from lineardiffusion.moments import Array


def rounding_variance(pixel_range: tuple[float, float]) -> float:
    """The variance of rounding a pixel of this range to 256 levels, in squared pixel units."""
    low, high = pixel_range
    return ((high - low or 1.0) / 255) ** 2 / 12


def log_density(
    images: NDArray[np.generic], law: Gaussian | Mixture, encoder: ImageEncoder, floor: float
) -> Array:
    """Log-density in nats of images (n, \\*image_shape), in pixel units, shape (n,).

    `floor`, in squared pixel units, is the least variance of a direction.
    """
    if isinstance(law, Mixture):
        parts = zip(law.weights, law.components, strict=True)
        terms = [np.log(w) + log_density(images, part, encoder, floor) for w, part in parts]
        return np.asarray(logsumexp(terms, axis=0))
    flat = images.reshape(len(images), -1).astype(np.float64)
    rows = (flat - encoder.mean) / encoder.pixel_scale
    scores = rows @ encoder.components.T
    rest = (rows**2).sum(axis=1) - (scores**2).sum(axis=1)
    floor = floor / float(np.mean(encoder.pixel_scale**2))
    discarded = rows.shape[1] - scores.shape[1]
    v = max(encoder.residual_variance, floor)
    kept = law.regular(floor / encoder.scaling_factor**2)
    log_prob = kept.log_prob(scores / encoder.scaling_factor)
    log_prob -= scores.shape[1] * np.log(encoder.scaling_factor)
    log_prob -= np.log(encoder.pixel_scale).sum()
    log_prob -= 0.5 * (discarded * np.log(2 * np.pi * v) + np.maximum(rest, 0.0) / v)
    return log_prob
