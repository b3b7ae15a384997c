"""Sums over the pixels of images that moments of latents do not hold.

Moments of latents z = V (x - mean) / r / s do not tell what of an image lies outside of the span of V. Over images
x_i of D pixels with weights w_i, and about the mean o of the encoder's mean image,

    total     t   = sum_i w_i (x_i - mean)                                      (D,)
    outside   R   = sum_i w_i |q_i|^2,    q = (I - V^T V) (x - mean) / r
    second    S   = sum_i w_i sum_j (x_ij - o)^2

They add and subtract as moments do. With w = sum_i w_i and the mean residual p = (I - V^T V) t / r / w, the encoder
of all these images has the mean image mean + r p, which leaves every latent as it was, and R / w - |p|^2 over D - d
is the variance of a discarded direction (the maximum-likelihood noise of probabilistic PCA, for a basis that is
given). An encoder that a user gives keeps its mean image, and p is 0 for it. S and t give mean and variance of all
pixels, which the contrast needs.

References
----------
Tipping and Bishop (1999), Probabilistic principal component analysis. JRSS B 61(3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import Array, freeze
from lineardiffusion._device import as_like, cast, namespace, to_numpy
from lineardiffusion._linalg import one_thread
from lineardiffusion.encoders.image import ImageEncoder

PIXELS = 2**20  # at a time


@dataclass(frozen=True, eq=False)
class Residual:
    """The weight w, and the sums t, R and S."""

    weight: float
    total: Array
    outside: float
    second: float

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def of(cls, rows: NDArray[Any], latents: Array, encoder: ImageEncoder, w: Array | None = None) -> Residual:
        """Compute the sums of images (n, D) with these latents (n, d) and weights (n,), or 1 each."""
        o, total, sums = float(encoder.mean.mean()), np.zeros(rows.shape[1]), np.zeros(3)
        step = max(1, PIXELS // rows.shape[1])
        vecdot = namespace(rows).vecdot
        mean, scale = (as_like(x, rows, np.float64) for x in (encoder.mean - o, encoder.pixel_scale))
        with one_thread():  # inner products of two images are too short for several
            for start in range(0, len(rows), step):
                block = slice(start, start + step)
                x = cast(rows[block], np.float64)
                each = np.ones(len(x)) if w is None else w[block]
                x -= o
                second = to_numpy(vecdot(x, x))
                x -= mean
                total += to_numpy(as_like(each, x, np.float64) @ x)
                if (encoder.pixel_scale != 1).any():
                    x /= scale
                inside = encoder.scaling_factor * cast(latents[block], np.float64)
                # V has orthonormal rows, so that |q|^2 = |x|^2 - |V x|^2
                outside = to_numpy(vecdot(x, x)) - to_numpy(vecdot(inside, inside))
                sums += [each.sum(), each @ np.maximum(outside, 0.0), each @ second]
        return cls(float(sums[0]), total, float(sums[1]), float(sums[2]))

    def __add__(self, other: Residual) -> Residual:
        """Return the sums over both data sets."""
        outside, second = self.outside + other.outside, self.second + other.second
        return Residual(self.weight + other.weight, self.total + other.total, outside, second)

    def __sub__(self, other: Residual) -> Residual:
        """Return the sums without a part of the data; a ValueError if it was not in the data."""
        outside, second = self.outside - other.outside, self.second - other.second
        if outside < -1e-7 * self.outside or second < -1e-7 * self.second:
            raise ValueError("cannot subtract images that were never added: a variance would be negative")
        weight = self.weight - other.weight
        return Residual(weight, self.total - other.total, max(outside, 0.0), max(second, 0.0))

    def brightness(self, encoder: ImageEncoder) -> tuple[float, float]:
        """Return the mean and the standard deviation of all pixels of all images; `encoder` is that of `of`."""
        beyond, second = float(self.total.mean()) / self.weight, self.second / (self.weight * len(self.total))
        return float(encoder.mean.mean()) + beyond, float(np.sqrt(max(second - beyond**2, 0.0)))

    def apply(self, encoder: ImageEncoder, variance: Array, moves: bool = True) -> ImageEncoder:
        """Return the encoder of these images, whose latents have this variance (d,); its mean may move."""
        V, r = encoder.components, encoder.pixel_scale
        d, D = V.shape
        mean = self.total / self.weight / r
        mean -= (V @ mean) @ V  # p
        mean *= moves
        variance = encoder.scaling_factor**2 * variance
        outside = self.outside / self.weight - float(mean @ mean)
        rounding = D * np.finfo(float).eps * (outside + float(variance.sum()))
        return replace(
            encoder,
            mean=encoder.mean + r * mean,
            variance=variance,
            residual_variance=0.0 if d == D or outside <= rounding else outside / (D - d),
            pixel_variance=max(self.brightness(encoder)[1] ** 2 - float(encoder.mean.var()), 0.0),
        )
