"""The histogram: how often each value occurs among the data's pixels.

A pixel x = +-1.b1 b2 ... 2^e is counted under its leading 12 binary digits, rounded to nearest: whole numbers
up to 4096 are counted exactly, any other value within 1/4096 of itself. The bins are the same for all data,

    code(x) = sign(x) round(bits(|x|) / 2^41),

where bits is the pattern of a float64 as a whole number, which grows with the value. So histograms add up, a
stream has the batch's whatever its order, and nothing need be known beforehand, neither range nor unit. What
is kept is a value and a weight for each bin that occurs: 256 at most for bytes, 2048 for each sign and factor
of two otherwise, which makes 40,000 or so (0.7 MB) for normal numbers, and never 2^23, however many images
there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineardiffusion.moments import Array

DROPPED = 41  # of the 52 binary digits that a float64 stores after its first
PIXELS = 1 << 22  # counted at a time

Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Values and their weights.

    Attributes
    ----------
    values : ndarray of shape (k,)
        Rising, in pixel units.
    weight : ndarray of shape (k,)
        Sum over the pixels of this value of their images' sample weights; positive.

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

    @classmethod
    def of(cls, rows: NDArray[np.generic], sample_weight: Array | None = None) -> Histogram:
        """Count the pixels of images (n, D), each by the weight (n,) of its image."""
        n, D = rows.shape
        total = cls(np.empty(0), np.empty(0))
        step = max(1, PIXELS // D)
        for start in range(0, n, step):
            block = rows[start : start + step]
            weight = None if sample_weight is None else np.repeat(sample_weight[start : start + step], D)
            total = total + cls._count(block, weight)
        return total

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
        """The histogram of both data sets."""
        values, place = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        weight = np.bincount(place, np.concatenate([self.weight, other.weight]), len(values))
        return Histogram(values, weight.astype(np.float64))

    def cumulative(self) -> Array:
        """The share of pixels up to each value, (k,); the last is 1."""
        total = np.cumsum(self.weight)
        return np.asarray(total / total[-1])


def _codes(x: Array) -> Codes:
    """Whole numbers in the order of the values."""
    magnitude = np.abs(x).view(np.int64)
    magnitude += 1 << (DROPPED - 1)
    magnitude >>= DROPPED
    return np.where(x < 0, -magnitude, magnitude)


def _values(codes: Codes) -> Array:
    """The value of each code."""
    magnitude = (np.abs(codes) << DROPPED).view(np.float64)
    return np.where(codes < 0, -magnitude, magnitude)
