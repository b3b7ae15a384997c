"""Principal components of large images, in a few passes over them, without the matrix of all pixels.

The scatter of n images of D pixels, x_i with weights w_i, is a matrix A (D, D). It is needed only in products with
l columns Q (D, l), which one pass over the images gives, about an origin o near the mean m:

    A Q = sum_i w_i y_i (y_i^T Q) - w d (d^T Q),    y_i = (x_i - o) / r,    d = (m - o) / r,    w = sum_i w_i    (1)

Block Lanczos finds the leading eigenvectors from few such products. The first block Q_1 are the leading components
of a sample of the images, and after pass t, with all blocks so far in V = [Q_1, ..., Q_t],

    H = V^T A V = U diag(theta) U^T                                                                      (2)
    V U_d                         the components so far, those of the d largest theta, which sum to c_t
    Q_{t+1} = orth((I - V V^T) A Q_t)                                                                    (3)

c_t rises to the sum of the d largest eigenvalues of A, faster than geometrically. With c_0 = 0 and the gains
g_t = c_t - c_{t-1}, what is still missing is taken to be g_t q / (1 - q), q = max(g_t / g_{t-1}, 1 / 10), and the
passes end when that is at most `tolerance` c_t. Products are in single precision where pixels are; sums, (2) and
(3) are in double precision. Memory is that of V, 8 D l bytes a pass.

For images that are as few as the sample, a singular value decomposition replaces all this.

References
----------
Golub, Luk and Overton (1981), A block Lanczos method for computing the singular values and corresponding singular
vectors of a matrix. ACM Transactions on Mathematical Software 7(2).
Musco and Musco (2015), Randomized block Krylov methods for stronger and faster approximate singular value
decomposition. NeurIPS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import BLOCK, Array, working_dtype
from lineardiffusion._device import as_like, cast, dtype_of, to_numpy
from lineardiffusion._linalg import one_thread
from lineardiffusion._validation import warn
from lineardiffusion.encoders.image import ImageEncoder, leading, scale_of_pixels, trim

OVERSAMPLED = 10  # columns of a block more than components are asked for
SAMPLE = 512  # images that the passes start from, at most
COLUMNS = 144  # of a block, where a share of the variance is asked for


@dataclass(frozen=True, eq=False)
class Products:
    """The sums of equation (1) over some images; they add."""

    dtype: np.dtype[Any]  # of the images
    weight: float
    total: Array  # sum of w y, (D,)
    squares: Array  # sum of w y^2, (D,)
    product: Array  # sum of w y (y^T Q), (D, l)

    @classmethod
    def of(cls, rows: NDArray[Any], w: Array | None, origin: Array, scale: Array, Q: Array) -> Products:
        """Compute the sums of images (n, D) with sample weights w (n,), or 1 each."""
        n, D = rows.shape
        dtype = working_dtype(dtype_of(rows) if w is None else np.float64)
        o, columns, divisor = (as_like(array, rows, dtype) for array in (origin, Q, scale))
        weight, total, squares, product = 0.0, np.zeros(D), np.zeros(D), np.zeros(Q.shape)
        for start in range(0, n, BLOCK):
            y = cast(rows[start : start + BLOCK], dtype)
            y -= o
            if (scale != 1).any():
                y /= divisor
            weights = np.ones(len(y)) if w is None else w[start : start + BLOCK]
            weight += float(weights.sum())
            each = as_like(weights, y, dtype)
            total += to_numpy(each @ y)
            if Q.size:
                inner = y @ columns
                product += to_numpy(y.T @ (inner if w is None else each[:, None] * inner))
            y *= y
            squares += to_numpy(each @ y)
        return cls(dtype_of(rows), weight, total, squares, product)

    def __add__(self, other: Products) -> Products:
        """Return the sums over both; the origin and Q are the same."""
        total, squares = self.total + other.total, self.squares + other.squares
        product = self.product + other.product
        dtype = np.result_type(self.dtype, other.dtype)
        return Products(dtype, self.weight + other.weight, total, squares, product)

    def centred(self, Q: Array) -> Array:
        """Return A Q, (D, l)."""
        d = self.total / self.weight
        return self.product - self.weight * np.outer(d, d @ Q)

    @property
    def variance(self) -> Array:
        """Return the variance of each pixel, (D,), in units of r^2."""
        return np.maximum(self.squares / self.weight - (self.total / self.weight) ** 2, 0.0)


def nbytes(D: int, n_components: float) -> float:
    """Return the bytes of the sample, or of V and a block after three passes, for images of D pixels."""
    return 8.0 * D * (SAMPLE + 4 * _columns(D, n_components))


def _columns(D: int, n_components: float) -> int:
    """Return l."""
    return min(D, (int(n_components) if n_components >= 1 else COLUMNS) + OVERSAMPLED)


def fit_basis(
    one_pass: Callable[[Array, Array, Array], Products],
    sample: NDArray[Any],
    n_components: float,
    tolerance: float,
    image_shape: tuple[int, ...],
    scale: bool,
    max_memory: float = np.inf,
) -> ImageEncoder:
    """Fit PCA in passes over the images.

    Parameters
    ----------
    one_pass : callable
        Returns the :class:`Products` of all images with an origin (D,), a scale r (D,) and columns Q (D, l).
    sample : ndarray of shape (m, D)
        Some of the images.
    n_components : int or float
        Number of components at most, or their share of the variance.
    tolerance : float
        Share of the variance of the exact components that these may lack.
    image_shape : tuple of int
        Shape of one image.
    scale : bool
        Whether pixels are standardised.
    max_memory : float
        Bytes of V and what is computed of it, beyond which the passes end with a warning.

    Returns
    -------
    ImageEncoder
    """
    D = sample.shape[1]
    mean = sample.mean(axis=0, dtype=np.float64)
    origin = mean.astype(working_dtype(sample.dtype)).astype(np.float64)
    r = np.ones(D)
    if scale:
        every = one_pass(origin, r, np.zeros((D, 0)))
        r = scale_of_pixels(np.sqrt(every.variance), origin + every.total / every.weight, every.dtype, scale)[0]
    Q = _first_block(sample, mean, r, n_components)
    V, H, found = np.zeros((D, 0)), np.zeros((0, 0)), [0.0]
    while True:
        every = one_pass(origin, r, Q)
        dtype = working_dtype(every.dtype)
        Y, old = every.centred(Q), H
        V = np.hstack([V, Q])
        with one_thread():  # several threads take longer where other programs run beside
            H = V.T @ Y
            H = np.hstack([np.vstack([old, H[: len(old)].T]), H])  # what is known of A V already, and A Q
            theta, U = np.linalg.eigh(0.5 * (H + H.T))
        theta, U = np.maximum(theta[::-1], 0.0), U[:, ::-1]
        total = float(every.weight * every.variance.sum())
        whole = np.cumsum(theta)
        d = int(n_components) if n_components >= 1 else 1 + int(np.searchsorted(whole, n_components * total))
        found.append(float(whole[min(d, len(theta)) - 1]))
        missing = _missing(found) / (found[-1] or 1.0)
        if d <= len(theta) and missing <= tolerance:
            break
        if 8.0 * D * (V.shape[1] + 3 * Q.shape[1]) > max_memory and len(found) > 3:
            d = min(d, len(theta))
            what = f"max_memory ends the passes over the images: the components may lack a share of {missing:.2g}"
            warn(f"{what} of the variance, basis_tolerance is {tolerance:.2g}; allow more, or use fewer components")
            break
        with one_thread():
            Q = _next_block(Y, V, float(theta[0]) * 10 * float(np.finfo(dtype).eps))
        if not Q.size:
            break
    most = d if n_components >= 1 else d + 1  # one more tells that others vary
    eigenvalues, components = trim(theta[:most], (V @ U[:, :most]).T, dtype)
    eigenvalues, components, total = leading(eigenvalues, components, n_components, total)
    deviation, weight = np.sqrt(every.variance) * r, every.weight
    pixels = {"mean": origin + r * every.total / weight, "pixel_scale": r, "image_shape": image_shape}
    return ImageEncoder.of(
        components, eigenvalues / weight, total / weight, deviation, scale, dtype=every.dtype, **pixels
    )


def _first_block(sample: NDArray[Any], mean: Array, r: Array, n_components: float) -> Array:
    """Return Q_1 (D, l): the leading components of images (m, D), and if they are few random directions."""
    x = sample.astype(np.float64)
    x -= mean
    x /= r
    width = _columns(x.shape[1], n_components)
    variance, left = np.linalg.eigh(x @ x.T)
    kept = np.flatnonzero(variance > 1e-12 * variance[-1])[-width:]
    some = np.random.default_rng(0).normal(size=(x.shape[1], width - len(kept)))
    return np.asarray(np.linalg.qr(np.hstack([x.T @ left[:, kept], some])).Q)


def _next_block(Y: Array, V: Array, smallest: float) -> Array:
    """Return equation (3), without directions whose length is rounding error."""
    for _ in range(2):  # once more for what rounding left of V
        Y = Y - V @ (V.T @ Y)
    Q, R = np.linalg.qr(Y)
    left, length, _ = np.linalg.svd(R)
    return np.asarray(Q @ left[:, length > smallest])


def _missing(found: list[float]) -> float:
    """Return what the next passes are expected to add to the last of c_0, c_1, ..., c_t."""
    if len(found) < 3:
        return np.inf
    last, before = found[-1] - found[-2], found[-2] - found[-3]
    q = max(last / before, 0.1) if before > 0 else 0.1
    return float(np.inf) if q >= 1 else max(last, 0.0) * q / (1 - q)


def fit_all(
    rows: NDArray[Any], w: Array | None, n_components: float, image_shape: tuple[int, ...], scale: bool
) -> ImageEncoder:
    """Fit PCA by a singular value decomposition of few images (n, D), which has no tolerance."""
    x, dtype = rows.astype(np.float64), rows.dtype
    w = np.ones(len(x)) if w is None else w
    weight = float(w.sum())
    mean = (w @ x) / weight
    x -= mean
    x *= np.sqrt(w)[:, None]
    deviation = np.sqrt((x**2).sum(axis=0) / weight)
    r = scale_of_pixels(deviation, mean, dtype, scale)[0]
    with one_thread():
        x /= r
        _, singular, V = np.linalg.svd(x, full_matrices=False)
    most = int(n_components) if n_components >= 1 else len(singular)
    found = trim(singular[:most] ** 2, V[:most], dtype)
    eigenvalues, V, total = leading(*found, n_components, float((singular**2).sum()))
    pixels = {"mean": mean, "pixel_scale": r, "image_shape": image_shape, "dtype": dtype}
    return ImageEncoder.of(V, eigenvalues / weight, total / weight, deviation, scale, **pixels)
