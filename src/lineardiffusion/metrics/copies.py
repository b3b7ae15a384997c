"""Detect copies of training images by the distance to the nearest training image.

With d(x) the Euclidean distance of x to the nearest training image,

    copying ratio = median of d over generated images / median of d over test images

The ratio exceeds 1 for noise and for blurs, which are far from every sharp image. The median does not notice
copies among fewer than half of the images; :func:`nearest` gives the distance of each image.

References
----------
Meehan, Chaudhuri and Dasgupta (2020), A non-parametric test to detect data-copying in generative models. AISTATS.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.utils import check_array, gen_batches

from lineardiffusion._validation import refuse_masked

__all__ = ["copying_ratio", "nearest"]

_BATCH = 4096  # images whose differences are held in memory at a time


def copying_ratio(generated: ArrayLike, training: ArrayLike, test: ArrayLike) -> float:
    """Compute the copying ratio: the median nearest-neighbour distance, relative to that of test images.

    Parameters
    ----------
    generated, training, test : array-like of shape (n, ...), (m, ...) and (l, ...)
        Images that the model generated, images that it was fitted to, and real images that it was not fitted to.

    Returns
    -------
    float
        Ratio of the medians: 0 for copies, 1 for images as new as the test images, more for noise and blurs.

    Raises
    ------
    ValueError
        If the shapes differ, an image is not finite, or half of the test images are training images.

    Examples
    --------
    >>> training, test = np.random.default_rng(0).normal(size=(2, 500, 4, 4))
    >>> copying_ratio(training[::2], training, test)
    0.0
    >>> round(copying_ratio(np.random.default_rng(1).normal(size=(500, 4, 4)), training, test), 1)
    1.0
    """
    real = float(np.median(nearest(test, training)[0]))
    if real == 0:
        raise ValueError("half of the test images or more are training images; hold some out before fitting")
    return float(np.median(nearest(generated, training)[0])) / real


def nearest(images: ArrayLike, training: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Find the nearest training image of each image.

    Parameters
    ----------
    images : array-like of shape (n, ...)
        Images to compare with the training images.
    training : array-like of shape (m, ...)
        Images that the model was fitted to.

    Returns
    -------
    distances : ndarray of float64, shape (n,)
        Euclidean distances in the units of the pixels; exactly 0 for a copy.
    indices : ndarray of int, shape (n,)
        Indices in `training`; an arbitrary one if several images are equally near, up to rounding.

    Raises
    ------
    ValueError
        If the shapes differ after the first axis, or an image is not finite.

    Examples
    --------
    >>> nearest([[0.0, 3.0], [9.0, 5.0]], [[0.0, 0.0], [9.0, 9.0]])
    (array([3., 4.]), array([0, 1]))
    """
    for given in (images, training):
        refuse_masked(given, "images", "leave out those with masked pixels")
    x = check_array(images, allow_nd=True, input_name="images")
    y = check_array(training, allow_nd=True, input_name="training images")
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"images have the shape {x.shape[1:]}, the training images {y.shape[1:]}")
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    dtype = np.result_type(x, y, np.float32)  # float32 holds 8-bit pixels exactly, in half the memory
    # scikit-learn computes |x - y|^2 as |x|^2 - 2 x.y + |y|^2, which loses digits far from the origin.
    mean = y.mean(axis=0, dtype=np.float64).astype(dtype)
    indices, _ = pairwise_distances_argmin_min(*(np.subtract(rows, mean, dtype=dtype) for rows in (x, y)))
    # The distances are computed again from the differences, so that a copy has distance exactly 0.
    differences = (np.subtract(x[i], y[indices[i]], dtype=np.float64) for i in gen_batches(len(x), _BATCH))
    return np.concatenate([np.linalg.norm(rows, axis=1) for rows in differences]), indices
