"""Does the model recite its training images?

A copy is an image with a training image near it. How near is near, real images tell that the model has not
seen: with d(x) the Euclidean distance of x to the nearest training image,

    ratio = median over generated x of d(x) / median over test x of d(x)

0 for copies, 1 for images as new as new real ones. Above 1 they lie further off than real images do: noise,
or blurs, which are far from every sharp image. (The nearest neighbour as a sign of copying, against a
held-out set: Meehan, Chaudhuri and Dasgupta, "A non-parametric test to detect data-copying in generative
models", 2020.) The median does not see copies among less than half of the images; :func:`nearest` gives each
image's own distance.

All distances of 10,000 images to 60,000 are one matrix product, |x|^2 - 2 x.y + |y|^2, taken here in float32
and in blocks, as scikit-learn's brute force takes it in float64 and in twice the time. What cancellation
costs does not matter for finding the nearest; its distance is then taken again, from the difference itself,
in float64, so that a copy has distance 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lineardiffusion.metrics.rows import BLOCK, check_images, check_same_width, flatten


def copying_ratio(generated: ArrayLike, training: ArrayLike, test: ArrayLike) -> float:
    """Median distance to the nearest training image, of generated images against real new ones.

    Parameters
    ----------
    generated : array-like of shape (n, ...)
    training : array-like of shape (m, ...)
        What the model was fitted to.
    test : array-like of shape (l, ...)
        Real images that it was not fitted to. Their number and that of the generated may differ.

    Returns
    -------
    float
        0 for copies, 1 for images as new as the test images, more for noise and blurs.

    Raises
    ------
    ValueError
        For shapes that differ after the first axis, images that are not finite, or test images half of which
        are training images themselves.

    See Also
    --------
    nearest : the distance of each image, and which training image it is.

    Examples
    --------
    >>> training, test = np.random.default_rng(0).normal(size=(2, 500, 4, 4))
    >>> copying_ratio(training[::2], training, test)
    0.0
    >>> round(copying_ratio(np.random.default_rng(1).normal(size=(500, 4, 4)), training, test), 1)
    1.0
    """
    real = float(np.median(_nearest("test images", test, training)[0]))
    if real == 0:
        raise ValueError(
            "half of the test images or more are among the training images; expected real images that the "
            "model was not fitted to. Hold some out before fitting"
        )
    return float(np.median(_nearest("generated images", generated, training)[0])) / real


def nearest(images: ArrayLike, training: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The nearest training image of each image.

    Parameters
    ----------
    images : array-like of shape (n, ...)
    training : array-like of shape (m, ...)

    Returns
    -------
    distances : ndarray of float64, shape (n,)
        Euclidean, in the units of the pixels.
    indices : ndarray of int, shape (n,)
        Into `training`. Among several whose distances differ by less than float32 can tell, any one.

    Raises
    ------
    ValueError
        For shapes that differ after the first axis, or images that are not finite.

    Examples
    --------
    >>> nearest([[0.0, 3.0], [9.0, 5.0]], [[0.0, 0.0], [9.0, 9.0]])
    (array([3., 4.]), array([0, 1]))
    """
    return _nearest("images", images, training)


def _nearest(
    name: str, images: ArrayLike, training: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """`nearest`, whose errors call the images by `name`."""
    queries, known = check_images(name, images), check_images("training images", training)
    check_same_width(name, queries, "training images", known)
    x, y = flatten(queries), flatten(known)
    centre = y.mean(axis=0, dtype=np.float64)  # the squares are smaller around it, and so their rounding
    best = np.full(len(x), np.inf, dtype=np.float32)
    indices = np.zeros(len(x), dtype=np.intp)
    for j in range(0, len(y), BLOCK):
        block = _centred(y[j : j + BLOCK], centre)
        squares = np.einsum("ij,ij->i", block, block)
        block *= -2
        for i in range(0, len(x), BLOCK):
            gap = _centred(x[i : i + BLOCK], centre) @ block.T
            gap += squares  # |x - y|^2 - |x|^2
            found = gap.argmin(axis=1)
            smallest = np.take_along_axis(gap, found[:, None], axis=1)[:, 0]
            nearer = np.flatnonzero(smallest < best[i : i + BLOCK])
            best[i + nearer] = smallest[nearer]
            indices[i + nearer] = j + found[nearer]
    return _distances(x, y, indices), indices


def _centred(rows: NDArray[Any], centre: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(rows - centre, dtype=np.float32)


def _distances(x: NDArray[Any], y: NDArray[Any], indices: NDArray[np.intp]) -> NDArray[np.float64]:
    distances = np.empty(len(x))
    for i in range(0, len(x), BLOCK):
        step = np.subtract(x[i : i + BLOCK], y[indices[i : i + BLOCK]], dtype=np.float64)
        distances[i : i + BLOCK] = np.sqrt(np.einsum("ij,ij->i", step, step))
    return distances
