"""Pixel moments: the mean and the scatter of each pixel in every group of images.

For group g and pixel j, over its images x_i with sample weights w_i,

    w_g = sum_i w_i,    m_gj = sum_i w_i x_ij / w_g,    s_gj = sum_i w_i (x_ij - m_gj)^2

the diagonal of moments.py, which adds and subtracts by the same equations. Moments of latents do not tell it,
because the encoder discards a part of every pixel's variance. The pixelwise contrast needs it (contrast.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from lineardiffusion._arrays import BLOCK, Array, Indices, freeze
from lineardiffusion._device import to_numpy
from lineardiffusion._linalg import side_by_side
from lineardiffusion.statistics.moments import NEGATIVE, Moments, chosen, spread

ROWS, STRIP = 2048, 256  # images and pixels of a product


@dataclass(frozen=True, eq=False)
class PixelMoments:
    """Weight (g,), mean (g, D) and scatter (g, D) of the pixels of g groups of images.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[0, 8], [4, 8], [9, 9]], np.uint8)
    >>> both = PixelMoments.of(rows, [0, 0, 1], 2)
    >>> both.mean.tolist(), both.scatter.tolist()
    ([[2.0, 8.0], [9.0, 9.0]], [[8.0, 0.0], [0.0, 0.0]])
    """

    weight: Array  # (g,)
    mean: Array  # (g, D), zero where the weight is zero
    scatter: Array  # (g, D)

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def zeros(cls, n_groups: int, D: int) -> PixelMoments:
        """Return the moments of no image."""
        return cls(np.zeros(n_groups), np.zeros((n_groups, D)), np.zeros((n_groups, D)))

    @classmethod
    def of_moments(cls, moments: Moments) -> PixelMoments:
        """Return what moments of pixels tell."""
        return cls(moments.weight, moments.mean, np.diagonal(moments.scatter, axis1=1, axis2=2).copy())

    @classmethod
    def of(
        cls, rows: NDArray[Any], groups: ArrayLike, n_groups: int, sample_weight: Array | None = None
    ) -> PixelMoments:
        """Compute the moments of images (n, D) of any real dtype in one pass.

        Sums are taken about the mean of the first images, so that no digit is lost to an offset.
        """
        groups, (n, D) = np.asarray(groups, dtype=np.intp), rows.shape
        if not n:
            return cls.zeros(n_groups, D)
        each = np.ones(n) if sample_weight is None else sample_weight
        origin = to_numpy(rows[:BLOCK]).astype(np.float64).mean(axis=0)
        weight = np.bincount(groups, each, n_groups).astype(np.float64)
        total, scatter = np.zeros((n_groups, D)), np.zeros((n_groups, D))
        parts = [slice(start, start + ROWS) for start in range(0, n, ROWS)]
        which = [np.unique(groups[part], return_inverse=True) for part in parts]  # few groups, maybe

        def fill(start: int) -> None:  # a strip of the pixels of all images
            strip = slice(start, start + STRIP)
            for part, (present, place) in zip(parts, which, strict=True):
                x = to_numpy(rows[part, strip]) - origin[strip]
                sum_of = csr_array((each[part], (place, np.arange(len(x)))), shape=(len(present), len(x)))
                total[present, strip] += sum_of @ x
                scatter[present, strip] += sum_of @ np.square(x, out=x)

        side_by_side(fill, range(0, D, STRIP))
        size = np.where(weight > 0, weight, 1.0)[:, None]
        mean = total / size
        np.maximum(scatter - mean * total, 0.0, out=scatter)
        rounding = np.finfo(np.float64).eps * max(64, min(n, ROWS))  # of a sum of equal terms, for each of them
        scatter[scatter <= rounding * size * mean**2] = 0.0  # a pixel that is constant
        return cls(weight, np.where(weight[:, None] > 0, origin + mean, 0.0), scatter)

    @staticmethod
    def nbytes(n_groups: int, D: int) -> int:
        """Bytes of the mean and the scatter of that many groups."""
        return 16 * n_groups * D

    def __add__(self, other: PixelMoments) -> PixelMoments:
        """Return the moments of both data sets; the groups are in the same order."""
        weight = self.weight + other.weight
        share = np.divide(other.weight, weight, out=np.zeros_like(weight), where=weight > 0)[:, None]
        step = other.mean - self.mean
        between = self.weight[:, None] * share * step**2
        return PixelMoments(weight, self.mean + share * step, self.scatter + other.scatter + between)

    def __sub__(self, other: PixelMoments) -> PixelMoments:
        """Return the moments without a part of the data; a ValueError if it was not in the data."""
        return self.minus(other)

    def minus(self, other: PixelMoments, nearest: bool = False) -> PixelMoments:
        """Subtract; with `nearest`, for moments that were stored as approximations, no variance is negative."""
        weight = self.weight - other.weight
        weight[np.abs(weight) <= 1e-9 * self.weight] = 0.0
        kept = (weight > 0)[:, None]
        ratio = np.divide(other.weight, weight, out=np.zeros_like(weight), where=kept[:, 0])[:, None]
        mean = np.where(kept, self.mean + ratio * (self.mean - other.mean), 0.0)
        between = weight[:, None] * ratio * (weight / np.where(self.weight > 0, self.weight, 1.0))[:, None]
        scatter = np.where(kept, self.scatter - other.scatter - between * (other.mean - mean) ** 2, 0.0)
        size = float(self.scatter.sum() + self.weight @ ((self.mean - self.pooled().mean) ** 2).sum(axis=1))
        if (weight < 0).any():
            raise ValueError("cannot subtract images that were never added: a weight would be negative")
        if not nearest and (scatter < -NEGATIVE * size).any():
            raise ValueError("cannot subtract images that were never added: a pixel's variance would be negative")
        return PixelMoments(weight, mean, np.maximum(scatter, 0.0))

    def __getitem__(self, groups: Indices) -> PixelMoments:
        """Return the moments of some of the groups."""
        return chosen(self, groups)

    def spread(self, positions: ArrayLike, n_groups: int) -> PixelMoments:
        """Return the same groups at other positions among ``n_groups``, the new ones empty."""
        return spread(self, positions, n_groups)

    def pooled(self) -> PixelMoments:
        """Return the moments of all groups as one."""
        weight = self.weight.sum(keepdims=True)
        mean = self.weight @ self.mean / weight
        scatter = self.scatter.sum(axis=0) + self.weight @ (self.mean - mean) ** 2
        return PixelMoments(weight, mean[None], scatter[None])

    @property
    def variance(self) -> Array:
        """Maximum-likelihood variance of each pixel of each group, shape (g, D): divided by the weight."""
        return np.asarray(self.scatter / np.where(self.weight > 0, self.weight, 1.0)[:, None])
