"""Array types, and the precision in which pixels are worked with.

Data moves in float32 where pixels have at most that precision; sums over the data are float64.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.float64]
Images = NDArray[np.floating]
Indices = NDArray[np.intp]

BLOCK = 1024  # rows of one product; 1024 products of bytes, each at most 2^14, are exact in float32
ROWS = 8192  # images encoded at a time


def working_dtype(dtype: DTypeLike) -> np.dtype[np.floating]:
    """Return the floating type in which pixels of this type are multiplied: float32 up to 16 bits, or float64."""
    dtype = np.dtype(dtype)
    single = (dtype.kind in "biu" and dtype.itemsize <= 2) or dtype in (np.float16, np.float32)
    return np.dtype(np.float32 if single else np.float64)


def groups_of_equal(masks: NDArray[np.bool_]) -> list[Indices]:
    """Return the rows of masks (n, D) that are equal, as groups of their indices."""
    place = np.unique(np.packbits(masks, axis=1), axis=0, return_inverse=True)[1].ravel()
    order = np.argsort(place, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(place[order])) + 1)


def members_of(groups: Indices, n_groups: int) -> list[Indices]:
    """Return for each group the rows whose entry of `groups` (n,) is its number, in rising order."""
    ends = np.cumsum(np.bincount(groups, minlength=n_groups))
    return np.split(np.argsort(groups, kind="stable"), ends[:-1])


def freeze(value: Any) -> None:
    """Make the arrays of a frozen dataclass read-only, so that the value is immutable."""
    for field in fields(value):
        if isinstance(array := getattr(value, field.name), np.ndarray):
            view = array.view()  # the array itself may be the caller's
            view.flags.writeable = False
            object.__setattr__(value, field.name, view)
