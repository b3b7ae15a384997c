"""Upper triangles of symmetric matrices, row by row: d (d + 1) / 2 numbers in place of d^2."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import Array

A = TypeVar("A", bound=np.generic)


def triangle(d: int) -> int:
    """Return the number of entries in the triangle of a symmetric matrix of order d."""
    return d * (d + 1) // 2


def pack(matrices: NDArray[A]) -> NDArray[A]:
    """Return the upper triangles (g, d (d + 1) / 2) of matrices (g, d, d)."""
    g, d, _ = matrices.shape
    packed = np.empty((g, triangle(d)), matrices.dtype)
    at = 0
    for i in range(d):  # an index of every entry would be larger than the entries
        packed[:, at : at + d - i] = matrices[:, i, i:]
        at += d - i
    return packed


def unpack(packed: NDArray[Any], d: int) -> Array:
    """Return the symmetric matrices (g, d, d) of these upper triangles."""
    matrices = np.empty((len(packed), d, d))
    at = 0
    for i in range(d):
        matrices[:, i, i:] = matrices[:, i:, i] = packed[:, at : at + d - i]
        at += d - i
    return matrices


def condensed(matrices: Array) -> tuple[Any, ...]:
    """Return what :func:`whole` takes: the matrices (g, d, d) that are not 0, or their triangles if symmetric."""
    g, d, _ = matrices.shape
    kept = np.flatnonzero([one.any() for one in matrices])
    symmetric = all(np.array_equal(matrices[i], matrices[i].T) for i in kept)
    some = matrices if len(kept) == g else matrices[kept]
    return g, d, kept, pack(some) if symmetric else some


def whole(g: int, d: int, kept: NDArray[np.intp], stored: Array) -> Array:
    """Return the matrices (g, d, d) that :func:`condensed` stored."""
    some = unpack(stored, d) if stored.ndim == 2 else stored
    if len(kept) == g:
        return some
    matrices = np.zeros((g, d, d))
    matrices[kept] = some
    return matrices
