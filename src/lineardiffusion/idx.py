"""IDX, the format in which MNIST came. It is as plain as a format can be; all numbers big-endian::

0 0 code r   two zero bytes, the type of the entries (0x08: uint8, ..., 0x0E: float64), the rank
d_1 ... d_r  r unsigned integers of 4 bytes each: the shape
entries      d_1 x ... x d_r of them, the last index runs fastest; then the file ends
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read an IDX file, the format of MNIST, whether gzip-compressed or not.

    The header is read first, then no more than it announces: neither a false header nor a small
    archive of very many zeros can fill the memory.

    Parameters
    ----------
    path : path
        The file. Its first bytes, not its name, tell whether it is compressed.

    Returns
    -------
    ndarray
        The shape is the header's; uint8, int8, int16, int32, float32 or float64, native byte order.

    Raises
    ------
    ValueError
        If the file is foreign, truncated or damaged, or goes on after what its header announces.
    OSError
        If the file cannot be opened or read.

    Examples
    --------
    >>> import tempfile
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


def _parse_idx(stream: BinaryIO) -> npt.NDArray[Any]:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _IDX_DTYPES:
        codes = ", ".join(f"{code:02x}" for code in _IDX_DTYPES)
        raise ValueError(
            f"it begins with the bytes '{start.hex(' ')}'; expected '00 00', one of {codes}, and "
            "the number of dimensions"
        )
    dtype, rank = np.dtype(_IDX_DTYPES[start[2]]), start[3]
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise ValueError(f"it ends within the header, which announces {rank} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    announced = math.prod(shape) * dtype.itemsize

    # In chunks, because read(announced) would allocate what a false header announces. One byte
    # more shows whether the file ends, and makes gzip compare its checksum.
    entries = bytearray()
    while chunk := stream.read(min(2**20, announced + 1 - len(entries))):
        entries += chunk
    if len(entries) != announced:
        found = "more" if len(entries) > announced else f"only {len(entries):,}"
        raise ValueError(
            f"its header announces {announced:,} bytes of {dtype.name}, shape {shape}, but {found} follow"
        )
    native = np.frombuffer(entries, dtype).astype(dtype.newbyteorder("="), copy=False)
    return native.reshape(shape)  # NumPy's own ValueError if the rank is above 64
