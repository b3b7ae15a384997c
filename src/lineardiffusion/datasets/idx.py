"""Read IDX files, the format of MNIST. All numbers are big-endian.

0 0 code r   two zero bytes, the type of the entries (0x08: uint8, ..., 0x0E: float64), the rank r
d_1 ... d_r  the shape, r unsigned integers of 4 bytes each
entries      d_1 x ... x d_r numbers, the last index running fastest; then the file ends
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_idx"]

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file, gzip-compressed or not.

    Neither a false header nor a small archive of very many zeros can fill the memory.

    Parameters
    ----------
    path : path
        Path of the file, whose first bytes decide whether it is decompressed.

    Returns
    -------
    ndarray
        Entries in native byte order: uint8, int8, int16, int32, float32 or float64.

    Raises
    ------
    ValueError
        If the file is not an IDX file, is truncated or damaged, or is longer than its header announces.
    OSError
        If the file cannot be opened or read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from lineardiffusion.datasets import read_idx
    >>> header = bytes([0, 0, 0x0B, 2, 0, 0, 0, 2, 0, 0, 0, 3])  # int16, rank 2, shape (2, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "six-numbers-idx2-short")
    ...     _ = path.write_bytes(header + np.arange(6, dtype=">i2").tobytes())
    ...     read_idx(path)
    array([[0, 1, 2],
           [3, 4, 5]], dtype=int16)
    """
    path = Path(path)
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            return _parse_idx(cast(BinaryIO, gzip.GzipFile(fileobj=file)) if compressed else file)
        except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"cannot read '{path}' as an IDX file: {error}. Replace it by a fresh copy."
            ) from error


def _parse_idx(stream: BinaryIO) -> NDArray[Any]:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _IDX_DTYPES:
        codes = ", ".join(f"{code:02x}" for code in _IDX_DTYPES)
        raise ValueError(f"it begins with '{start.hex(' ')}'; expected '00 00', one of {codes}, and the rank")
    dtype, rank = np.dtype(_IDX_DTYPES[start[2]]), start[3]
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise ValueError(f"the file ends within the header, which announces {rank} dimensions")
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    announced = math.prod(shape) * dtype.itemsize

    # Chunks, because read(announced) would allocate what a false header announces. Asking for one byte more
    # than announced shows whether the file ends there, and makes gzip verify its checksum.
    entries = bytearray()
    while chunk := stream.read(min(2**20, announced + 1 - len(entries))):
        entries += chunk
    if len(entries) != announced:
        found = "more" if len(entries) > announced else f"only {len(entries):,}"
        raise ValueError(f"the header announces {announced:,} bytes for the shape {shape}, but {found} follow")
    native = np.frombuffer(entries, dtype).astype(dtype.newbyteorder("="), copy=False)
    return native.reshape(shape)  # NumPy raises ValueError for more than 64 dimensions
