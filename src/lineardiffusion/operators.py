"""Linear measurements of an image as matrices, for :meth:`~lineardiffusion.LinearDiffusion.restore`.

Each is a sparse matrix A of shape (m, D) for flattened images of D numbers: y = A x. Operators multiply:
``downsampling((14, 14), 2) @ downsampling((28, 28), 2)`` averages twice. An operator on rows and columns is a
Kronecker product, A = A_rows (x) A_columns (x) I, with the identity over the channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d

from lineardiffusion._validation import check_integer, check_mask

__all__ = ["blurring", "downsampling", "masking"]


def masking(mask: ArrayLike) -> scipy.sparse.csr_array:
    """Select the pixels where the mask is False.

    Parameters
    ----------
    mask : array-like of bool, of the images' shape
        True where a pixel is missing.

    Returns
    -------
    scipy.sparse.csr_array of shape (m, D)
        Rows of the identity for the m pixels that remain.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion.operators import masking
    >>> masking([[True, False], [False, False]]) @ np.array([1.0, 2.0, 3.0, 4.0])
    array([2., 3., 4.])
    """
    (hidden,) = check_mask(mask, 1, np.shape(mask))
    rows = scipy.sparse.csr_array(scipy.sparse.eye_array(hidden.size))
    return scipy.sparse.csr_array(rows[np.flatnonzero(~hidden)])


def downsampling(image_shape: Sequence[int], factor: int) -> scipy.sparse.csr_array:
    """Average blocks of ``factor`` x ``factor`` pixels.

    Parameters
    ----------
    image_shape : (h, w) or (h, w, c)
        Shape of one image.
    factor : int
        Side of a block; it divides h and w.

    Returns
    -------
    scipy.sparse.csr_array of shape (D / factor^2, D)
        Rows that average the pixels of one block each, channel by channel.

    Raises
    ------
    ValueError
        If `factor` does not divide h and w.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion.operators import downsampling
    >>> downsampling((2, 4), 2) @ np.array([[1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 8.0, 8.0]]).ravel()
    array([2., 5.])
    """
    mean = np.full((1, check_integer(factor, "factor")), 1.0 / factor)

    def average(n: int) -> Any:
        if n % factor:
            raise ValueError(f"factor must be an int that divides {n}, got {factor!r}")
        return scipy.sparse.kron(scipy.sparse.eye_array(n // factor), mean)

    return _separable(image_shape, average)


def blurring(image_shape: Sequence[int], sigma: float) -> scipy.sparse.csr_array:
    """Blur by a Gaussian kernel, as :func:`scipy.ndimage.gaussian_filter` does with ``mode="nearest"``.

    Parameters
    ----------
    image_shape : (h, w) or (h, w, c)
        Shape of one image.
    sigma : float
        Standard deviation of the kernel, in pixels; the kernel ends at 4 standard deviations.

    Returns
    -------
    scipy.sparse.csr_array of shape (D, D)
        Rows of weights with the sum 1.

    Raises
    ------
    ValueError
        If `sigma` is not positive and finite.

    Examples
    --------
    >>> from lineardiffusion.operators import blurring
    >>> blurring((1, 3), 0.5).toarray().round(2)
    array([[0.89, 0.11, 0.  ],
           [0.11, 0.79, 0.11],
           [0.  , 0.11, 0.89]])
    """
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be positive and finite, in pixels; got {sigma!r}")
    return _separable(image_shape, lambda n: gaussian_filter1d(np.eye(n), sigma, axis=0, mode="nearest"))


def _separable(image_shape: Sequence[int], operator: Callable[[int], Any]) -> scipy.sparse.csr_array:
    """Return A_rows (x) A_columns (x) I, where operator(n) acts on n pixels in a row or a column."""
    shape = tuple(image_shape)
    if len(shape) not in (2, 3) or any(not isinstance(n, int | np.integer) or n < 1 for n in shape):
        raise ValueError(f"image_shape must be (h, w) or (h, w, c), got {image_shape!r}")
    parts: list[Any] = [scipy.sparse.csr_array(operator(n)) for n in shape[:2]]
    return scipy.sparse.csr_array(reduce(scipy.sparse.kron, parts + [scipy.sparse.eye_array(n) for n in shape[2:]]))
