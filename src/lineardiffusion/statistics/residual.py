"""Sums over the pixels of images that moments of latents do not hold.

Moments of latents z = V (x - mean) / r / s do not tell how much of an image lies outside of the span of V, nor how
bright it is. Over images x_i of D pixels with weights w_i, and about the mean o of the encoder's mean image,

    outside   R   = sum_i w_i |q_i|^2,    q = (I - V^T V) (x - mean) / r
    first     S_1 = sum_i w_i sum_j (x_ij - o)
    second    S_2 = sum_i w_i sum_j (x_ij - o)^2

With w = sum_i w_i, R / (w (D - d)) is the variance of a discarded direction (the maximum-likelihood noise of
probabilistic PCA for a basis that is given), and S_1 and S_2 give the mean and the variance of all pixels, which
the contrast needs. They add and subtract as moments do.

References
----------
Tipping and Bishop (1999), Probabilistic principal component analysis. JRSS B 61(3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import BLOCK, Array
from lineardiffusion.encoders.image import ImageEncoder


@dataclass(frozen=True)
class Residual:
    """The weight w, and the sums R, S_1 and S_2."""

    weight: float
    outside: float
    first: float
    second: float

    @classmethod
    def of(cls, rows: NDArray[Any], latents: Array, encoder: ImageEncoder, w: Array | None = None) -> Residual:
        """Compute the sums of images (n, D) with these latents (n, d) and weights (n,), or 1 each."""
        o, sums = float(encoder.mean.mean()), np.zeros(4)
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            x = rows[block].astype(np.float64)
            each = np.ones(len(x)) if w is None else w[block]
            x -= o
            first, second = x.sum(axis=1), np.einsum("ij,ij->i", x, x)
            x -= encoder.mean - o
            if (encoder.pixel_scale != 1).any():
                x /= encoder.pixel_scale
            inside = encoder.scaling_factor * latents[block]
            # V has orthonormal rows, so that |q|^2 = |x|^2 - |V x|^2
            outside = np.einsum("ij,ij->i", x, x) - np.einsum("ij,ij->i", inside, inside)
            sums += [each.sum(), each @ np.maximum(outside, 0.0), each @ first, each @ second]
        return cls(*sums.tolist())

    def __add__(self, other: Residual) -> Residual:
        """Return the sums over both data sets."""
        return Residual(
            self.weight + other.weight,
            self.outside + other.outside,
            self.first + other.first,
            self.second + other.second,
        )

    def __sub__(self, other: Residual) -> Residual:
        """Return the sums without a part of the data; a ValueError if it was not in the data."""
        outside, second = self.outside - other.outside, self.second - other.second
        if outside < -1e-7 * self.outside or second < -1e-7 * self.second:
            raise ValueError("cannot subtract images that were never added: a variance would be negative")
        first = self.first - other.first
        return Residual(self.weight - other.weight, max(outside, 0.0), first, max(second, 0.0))

    def brightness(self, encoder: ImageEncoder) -> tuple[float, float]:
        """Return the mean and the standard deviation of all pixels of all images."""
        D = encoder.components.shape[1]
        mean, square = self.first / (self.weight * D), self.second / (self.weight * D)
        return float(encoder.mean.mean()) + mean, float(np.sqrt(max(square - mean**2, 0.0)))

    def apply(self, encoder: ImageEncoder, variance: Array) -> ImageEncoder:
        """Return the encoder with the variances of this data; `variance` (d,) are those of the latents."""
        d, D = encoder.components.shape
        total = self.outside + self.weight * encoder.scaling_factor**2 * float(variance.sum())
        rounding = D * np.finfo(float).eps * total
        return replace(
            encoder,
            variance=encoder.scaling_factor**2 * variance,
            residual_variance=0.0 if d == D or self.outside <= rounding else self.outside / (self.weight * (D - d)),
            pixel_variance=max(self.brightness(encoder)[1] ** 2 - float(encoder.mean.var()), 0.0),
        )
