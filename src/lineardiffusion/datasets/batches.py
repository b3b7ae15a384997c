"""Arrays on disk as batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from lineardiffusion._validation import check_integer


@dataclass(frozen=True, eq=False)
class Batches(Sequence[tuple[Any, ...]]):
    """Batches of prompts and images, cut from arrays when they are read; see :func:`in_batches`."""

    arrays: tuple[Any, ...]  # prompts, images and perhaps sample weights
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.arrays[0]) // self.batch_size)

    @overload
    def __getitem__(self, index: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Any, ...]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        start = range(len(self))[index] * self.batch_size
        return tuple(one[start : start + self.batch_size] for one in self.arrays)


def in_batches(prompts: Any, images: Any, sample_weight: Any = None, *, batch_size: int = 1000) -> Batches:
    """Cut arrays into batches for :meth:`~lineardiffusion.LinearDiffusion.fit_batches`, without reading them.

    Parameters
    ----------
    prompts : sequence of length n
        Prompts.
    images : array-like of shape (n, h, w) or (n, h, w, c)
        Anything that slices, ``images[i:j]``: a memory map, an array of Zarr, HDF5 or Dask, a NumPy array.
    sample_weight : sequence of length n, default=None
        Weight of each image.
    batch_size : int, default=1000
        Images of a batch; for chunked arrays best a multiple of the chunk.

    Returns
    -------
    Batches
        Sequence of tuples (prompts, images) or (prompts, images, sample_weight).

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion
    >>> from lineardiffusion.datasets import in_batches, load_digits
    >>> batches = in_batches(*load_digits(), batch_size=500)
    >>> len(batches), batches[3][1].shape
    (4, (297, 8, 8))
    >>> LinearDiffusion(n_components=20).fit_batches(batches).n_components_
    20
    """
    check_integer(batch_size, "batch_size")
    arrays = (prompts, images) if sample_weight is None else (prompts, images, sample_weight)
    if len({len(one) for one in arrays}) > 1 or not len(images):
        lengths = " and ".join(str(len(one)) for one in arrays)
        raise ValueError(f"prompts and images (and sample weights) must be as many, 1 or more; got {lengths}")
    return Batches(arrays, batch_size)
