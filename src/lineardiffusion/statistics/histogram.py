"""The histogram of the pixels' values, in bins that are the same for all data.

A pixel x = +-1.b1 b2 ... 2^e is counted under its leading 12 binary digits, rounded to nearest: whole numbers
up to 4096 are counted exactly, any other value within 1/4096 of itself. The bins are the same for all data,

    code(x) = sign(x) round(bits(|x|) / 2^41),

where bits is the bit pattern of a float64 as an integer, which grows with the value. So histograms add up, a
stream has the histogram of the batch whatever its order, and neither range nor unit need be known beforehand.
A value and a weight are kept for each bin that occurs: 256 at most for bytes, 2048 for each sign and factor of
two otherwise (some 40,000, or 0.7 MB, for normal numbers), however many images there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import Array, freeze

DROPPED = 41  # of the 52 binary digits that a float64 stores after its first
PIXELS = 1 << 22  # counted at a time

Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Values (k,), rising, and for each the positive sum of the sample weights of its pixels' images.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[0, 7, 7], [0, 0, 9]], np.uint8)
    >>> both = Histogram.of(rows)
    >>> both.values, both.weight
    (array([0., 7., 9.]), array([3., 2., 1.]))
    >>> np.array_equal((Histogram.of(rows[:1]) + Histogram.of(rows[1:])).weight, both.weight)
    True
    """

    values: Array
    weight: Array

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def of(cls, rows: NDArray[np.generic], sample_weight: Array | None = None) -> Histogram:
        """Count the pixels of images (n, D), each by the weight (n,) of its image."""
        n, D = rows.shape
        total, step = cls(np.empty(0), np.empty(0)), max(1, PIXELS // D)
        for block in (slice(start, start + step) for start in range(0, n, step)):
            total += cls._count(rows[block], None if sample_weight is None else np.repeat(sample_weight[block], D))
        return total

    @classmethod
    def of_present(cls, rows: NDArray[np.floating], sample_weight: Array | None = None) -> Histogram:
        """Count the pixels that are not NaN, each by the weight (n,) of its image."""
        there = ~np.isnan(rows)
        weight = None if sample_weight is None else np.repeat(sample_weight, there.sum(axis=1))
        return cls.of(rows[there][:, None], weight)

    @classmethod
    def _count(cls, block: NDArray[np.generic], weight: Array | None) -> Histogram:
        """Count one block, by a table from its smallest code to its largest."""
        small = block.dtype.kind in "bui" and block.dtype.itemsize == 1
        codes = block.astype(np.int64).ravel() if small else _codes(block.astype(np.float64).ravel())
        first = codes.min()
        codes -= first
        table = np.bincount(codes, weight)
        found = np.flatnonzero(table)
        values = found + first
        return cls(values.astype(np.float64) if small else _values(values), table[found].astype(np.float64))

    def __add__(self, other: Histogram) -> Histogram:
        """Return the histogram of both data sets."""
        values, place = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        weight = np.bincount(place, np.concatenate([self.weight, other.weight]), len(values))
        return Histogram(values, weight.astype(np.float64))

    def __sub__(self, other: Histogram) -> Histogram:
        """Return the histogram without a part of the data; a ValueError if it was not in the data."""
        difference = self + Histogram(other.values, -other.weight)
        tolerance = 1e-9 * float(self.weight.sum())
        if (difference.weight < -tolerance).any():
            raise ValueError("cannot subtract images that were never added: a pixel count would be negative")
        kept = difference.weight > tolerance
        return Histogram(difference.values[kept], difference.weight[kept])

    def cumulative(self) -> Array:
        """The share of pixels up to each value, (k,); the last is 1."""
        total = np.cumsum(self.weight)
        return np.asarray(total / total[-1])


def _values(codes: Codes) -> Array:
    """Return the value of each code."""
    magnitude = (np.abs(codes) << DROPPED).view(np.float64)
    return np.where(codes < 0, -magnitude, magnitude)


def _codes(x: Array) -> Codes:
    """Return whole numbers in the order of the values."""
    magnitude = (np.abs(x).view(np.int64) + (1 << (DROPPED - 1))) >> DROPPED
    return np.where(x < 0, -magnitude, magnitude)
