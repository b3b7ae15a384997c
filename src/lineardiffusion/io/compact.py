"""Storage of symmetric matrices in few bytes.

Without loss, S (d, d) is stored as its upper triangle (_triangles.py). In half precision a positive semidefinite S
is stored as its square root, computed by a QR factorisation,

    S = D U^T U D,        D = diag(sqrt(S_ii)),        U upper triangular, its columns of length 1,
                                                       its diagonal 0 or more

The triangle of U in half precision and D in full take about d^2 bytes, where S takes 8 d^2. However U is rounded,
the product is symmetric and positive semidefinite; rounded entries of S could be neither. Columns are normalised
again when they are read, so variances keep their digits, and half precision changes a correlation by 2^-9 at most.

Of the pixels of a group of images, half precision stores the mean and the standard deviation in units of the pixel
range: the mean is from 0 to 1 then, and the deviation from 0 to 1/2. As bytes they are 255 and 510 times that.

References
----------
Bierman (1977), Factorization Methods for Discrete Sequential Estimation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import Array
from lineardiffusion._linalg import one_thread
from lineardiffusion._triangles import pack, triangle, unpack
from lineardiffusion.statistics.pixels import PixelMoments

Half = NDArray[np.float16]


def compress(matrices: Array) -> tuple[Array, Half]:
    """Return D (g, d) and the triangles of U (g, d (d + 1) / 2) of positive semidefinite S (g, d, d)."""
    g, d, _ = matrices.shape
    spread = np.sqrt(np.maximum(np.diagonal(matrices, axis1=1, axis2=2), 0.0))
    roots = np.empty((g, triangle(d)), np.float16)
    with one_thread():
        for S, D, root in zip(matrices, spread, roots, strict=True):
            inverse = np.divide(1.0, D, out=np.zeros(d), where=D > 0)
            correlation = inverse[:, None] * S * inverse
            variance, basis = np.linalg.eigh(correlation)  # for any rank; Cholesky needs full rank
            R = np.linalg.qr((basis * np.sqrt(np.maximum(variance, 0.0))).T).R
            root[:] = pack((np.where(np.diagonal(R) < 0, -1.0, 1.0)[:, None] * R)[None])[0]
    return spread, roots


def expand(spread: NDArray[Any], roots: Half) -> Array:
    """Return the matrices S (g, d, d) of D and the triangles of U; infinite where D^2 overflows."""
    g, d = spread.shape
    matrices = np.empty((g, d, d))
    with one_thread(), np.errstate(over="ignore", invalid="ignore"):
        for D, root, S in zip(spread, roots, matrices, strict=True):
            U = np.triu(unpack(root[None], d)[0])
            length = np.linalg.norm(U, axis=0)
            columns = U * (D / np.where(length > 0, length, 1.0))
            S[:] = columns.T @ columns  # symmetric to the last bit
    return matrices


def compress_pixels(
    pixels: PixelMoments, pixel_range: tuple[float, float], in_bytes: bool = False
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the mean and the deviation (g, D) of pixels in units of their range, in half precision or in bytes."""
    low, unit = _unit(pixel_range)
    images = pixels.weight[:, None] > 0
    level = np.where(images, np.clip((pixels.mean - low) / unit, 0.0, 1.0), 0.0)
    deviation = np.sqrt(pixels.variance) / unit
    if in_bytes:
        level, deviation = np.rint(255 * level), np.rint(510 * np.minimum(deviation, 0.5))
    kind = np.uint8 if in_bytes else np.float16
    return level.astype(kind), deviation.astype(kind)


def expand_pixels(
    weight: Array, level: NDArray[Any], deviation: NDArray[Any], pixel_range: tuple[float, float]
) -> PixelMoments:
    """Return the moments of pixels of groups of these weights (g,); infinite where squares overflow."""
    low, unit = _unit(pixel_range)
    level, deviation = (
        one / bytes_ if one.dtype == np.uint8 else one for one, bytes_ in ((level, 255), (deviation, 510))
    )
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(weight[:, None] > 0, low + unit * level.astype(np.float64), 0.0)
        return PixelMoments(weight, mean, weight[:, None] * (unit * deviation.astype(np.float64)) ** 2)


def _unit(pixel_range: tuple[float, float]) -> tuple[float, float]:
    """Return the lowest pixel and the length of the range, 1 if all pixels are the same."""
    low, high = pixel_range
    return low, (high - low) or 1.0
