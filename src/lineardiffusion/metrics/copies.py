"""Detect copies of training images by the distance to the nearest training image.

Let d(x) be the Euclidean distance of x to the nearest training image, and q the 5 % quantile of d over the test
images of a prompt. The three measures of :func:`copying` are ::

    ratio          median of d over generated images / median of d over test images
    share          share of the generated images with d(x) <= q, the quantile of their prompt
    concentration  share of the images of a style whose nearest training image is one and the same

The ratio is 1 for real images. The median does not notice copies among fewer than half of the images.

The share is .05 for real images, whatever their distribution, because a new image is as likely as each test image
to have the smallest distance, the second smallest, and so on. If a part c of the images are copies, and the others
are as good as real ones, the share is c + .05 (1 - c). For m real images and l test images, with the same
proportions of prompts, the standard error is sqrt(.05 .95 (1/m + 1/l)), which is .007 for 2,000 of each.

Each prompt needs its own quantile: of 2,000 test digits of MNIST, all below the 5 % quantile of all digits are
ones. Training digits under noise of 25 grey levels have a share of .00 by that quantile, and of .88 by those of the
prompts.

The concentration takes the most frequent training image from one half of the style's images and counts it in the
other half. Counted in the same half, the most frequent of ten fair draws would have a share of .1 or more. A style
that draws evenly from the neighbourhoods of its n training images has 1/n. The mean over the styles hides a single
collapsed style among a hundred.

Any features may take the place of the pixels, and real images have the same share in all of them. In pixels, noise
increases the distance of a copy more than in the first principal components. No measure here notices copies that
were moved by a pixel, or means of two training images, which are as far from both as a test image is.

References
----------
Meehan, Chaudhuri and Dasgupta (2020), A non-parametric test to detect data-copying in generative models. AISTATS.
Their test compares the distances of generated and of test images in each cell of a partition of the images, for the
reason for which the share has a quantile for each prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.utils import check_array, gen_batches

from lineardiffusion._validation import check_images, check_labels, refuse_masked

if TYPE_CHECKING:
    from lineardiffusion import LinearDiffusion

__all__ = ["Copying", "copying", "copying_ratio", "nearest", "nearest_style"]

_BATCH = 4096  # images whose differences are held in memory at a time
_QUANTILE = 0.05
_ENOUGH = 19  # test images of a prompt; the smallest distance of fewer is above the quantile on average


class Copying(NamedTuple):
    """Values of :func:`copying`.

    Attributes
    ----------
    ratio : float
        Median distance to the nearest training image, relative to that of the test images.
    share : float
        Share of the images that are nearer to a training image than 5 % of the test images are.
    concentration : float or None
        Share of the images of a group whose nearest training image is one and the same; None if no group has two.
    concentration_of_test : float or None
        Concentration of the test images.
    """

    ratio: float
    share: float
    concentration: float | None
    concentration_of_test: float | None


def copying(
    prompts: Any,
    images: ArrayLike,
    test_prompts: Any,
    test_images: ArrayLike,
    training: ArrayLike,
    *,
    groups: Any = None,
    test_groups: Any = None,
) -> Copying:
    """Compute three measures of copying from the distances to the nearest training images.

    Parameters
    ----------
    prompts, images : array-like of shape (n,) and (n, ...)
        Prompts, and the images that were generated from them, or their features.
    test_prompts, test_images : array-like of shape (l,) and (l, ...)
        Prompts and real images that the model was not fitted to, or their features. The quantile of a prompt with
        fewer than 19 test images is that of all of them. With l < 19 in all it is the smallest distance, and real
        images have a share of 1 / (l + 1).
    training : array-like of shape (m, ...)
        Images that the model was fitted to, or their features. Copies of images that are left out go unnoticed.
    groups, test_groups : array-like of shape (n,) and (l,), default=None
        Names of the groups in which the concentration is counted (default: the prompts). Those of
        :func:`nearest_style` are the styles.

    Returns
    -------
    Copying
        Named tuple of the ratio of the medians (real images: 1), the share of the images below the 5 % quantile of
        their prompt (real images: .05), and the concentrations of the generated images and of the test images. A
        concentration is a mean over the groups, weighted by their numbers of images, and None if no group has two.

    Raises
    ------
    ValueError
        If shapes or lengths differ, an image is not finite, half of the test images are training images, or one of
        `groups` and `test_groups` is missing.

    See Also
    --------
    nearest : Distance and index of the nearest training image of each image.
    nearest_style : Style of each image.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion.metrics import copying
    >>> training, test, new = np.random.default_rng(0).normal(size=(3, 1000, 20))
    >>> prompts = ["a"] * 1000
    >>> ratio, share, concentration, _ = copying(prompts, new, prompts, test, training)
    >>> round(ratio, 1), abs(share - 0.05) < 0.03, concentration < 0.02
    (1.0, True, True)
    >>> new[:100] = training[:100]  # 10 % of copies, which the ratio does not notice
    >>> ratio, share, *_ = copying(prompts, new, prompts, test, training)
    >>> round(ratio, 1), share > 0.1
    (1.0, True)
    """
    words, real_words = check_labels(prompts), check_labels(test_prompts)
    x, real = check_images(images, len(words)), check_images(test_images, len(real_words))
    if (groups is None) != (test_groups is None):
        raise ValueError("groups and test_groups must be given together, for their concentrations are compared")
    names, real_names = (words, real_words) if groups is None else (check_labels(groups), check_labels(test_groups))
    if (len(names), len(real_names)) != (len(words), len(real_words)):
        raise ValueError(f"{len(names)} and {len(real_names)} groups for {len(words)} and {len(real_words)} images")
    (distances, indices), (of_real, real_indices) = nearest(x, training), nearest(real, training)
    limits = np.full(len(x), _quantile(of_real))
    for word in np.unique(words):
        own = of_real[real_words == word]
        if len(own) >= _ENOUGH:
            limits[words == word] = _quantile(own)
    share = float(np.mean(distances <= limits))  # equality counts copies even where the quantile is 0
    concentrations = _concentration(indices, names), _concentration(real_indices, real_names)
    return Copying(_ratio(distances, of_real), share, *concentrations)


def _quantile(distances: NDArray[np.float64]) -> float:
    """Return the value below which a further distance lies with a probability of 5 %."""
    # the i-th smallest of l distances is above a further one with the probability i / (l + 1)
    return float(np.quantile(distances, _QUANTILE, method="weibull"))


def _ratio(distances: NDArray[np.float64], of_real: NDArray[np.float64]) -> float:
    real = float(np.median(of_real))
    if real == 0:
        raise ValueError("half of the test images or more are training images; hold some out before fitting")
    return float(np.median(distances)) / real


def _concentration(indices: NDArray[np.intp], names: NDArray[np.str_]) -> float | None:
    """Return the mean share of the index that is the most frequent in the other half of each group."""
    hits = total = 0
    order = np.argsort(names, kind="stable")
    starts = np.unique(names[order], return_index=True)[1]
    for own in np.split(indices[order], starts[1:]):
        halves = own[::2], own[1::2]
        if len(own) > 1:
            for one, other in (halves, halves[::-1]):
                values, counts = np.unique(one, return_counts=True)
                hits += int(np.sum(other == values[counts.argmax()]))
            total += len(own)
    return hits / total if total else None


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
    >>> import numpy as np
    >>> from lineardiffusion.metrics import copying_ratio
    >>> training, test = np.random.default_rng(0).normal(size=(2, 500, 4, 4))
    >>> copying_ratio(training[::2], training, test)
    0.0
    >>> round(copying_ratio(np.random.default_rng(1).normal(size=(500, 4, 4)), training, test), 1)
    1.0
    """
    return _ratio(nearest(generated, training)[0], nearest(test, training)[0])


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
    >>> from lineardiffusion.metrics import nearest
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


def nearest_style(model: LinearDiffusion, prompts: Any, images: ArrayLike) -> list[str]:
    """Find the style of each image: the one of its prompt whose mean image is nearest.

    The rule is the same for generated and for real images, so that their concentrations can be compared.

    Parameters
    ----------
    model : LinearDiffusion
        Fitted model.
    prompts, images : array-like of shape (n,) and (n, ...)
        Prompts and their images, in the units of the training images.

    Returns
    -------
    list of str
        Styles by their names, such as "7~12". A prompt without styles stands alone.

    Raises
    ------
    ValueError
        If the lengths or shapes differ, or an image is not finite.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion
    >>> from lineardiffusion.datasets import load_digits
    >>> from lineardiffusion.metrics import nearest_style
    >>> ld = LinearDiffusion(30, n_styles=5).fit(*load_digits())
    >>> nearest_style(ld, ["7"] * 5, ld.styles_["7"][1])
    ['7~0', '7~1', '7~2', '7~3', '7~4']
    """
    words = check_labels(prompts)
    array = check_images(images, len(words))
    names: list[str] = words.tolist()
    for word, (_, means) in getattr(model, "styles_", {}).items():
        if (own := np.flatnonzero(words == word)).size:
            for i, k in zip(own, nearest(array[own], means)[1], strict=True):
                names[i] = f"{word}~{k}"
    return names
