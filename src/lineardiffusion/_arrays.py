"""Array types, and the precision in which pixels are worked with.

Data moves in float32 where pixels have at most that much to say; sums over the data are float64.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.float64]
Images = NDArray[np.floating]

BLOCK = 1024  # rows of one product; 1024 products of bytes, each at most 2^14, are exact in float32
ROWS = 8192  # images encoded at a time

T = TypeVar("T", bound=NDArray[Any])


def working_dtype(dtype: DTypeLike) -> np.dtype[np.floating]:
    """Return the floating type in which pixels of this type lose nothing that a model would miss."""
    dtype = np.dtype(dtype)
    single = (dtype.kind in "biu" and dtype.itemsize <= 2) or dtype in (np.float16, np.float32)
    return np.dtype(np.float32 if single else np.float64)


def read_only(array: T) -> T:
    """Return a view of the array that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
