"""Compare real and generated images as two sets of points in a feature space.

The Frechet distance compares the means m and the covariances C of both sets (Heusel et al. 2017, in features
of the Inception network)::

    F = |m_r - m_g|^2 + tr(C_r + C_g - 2 (C_r^(1/2) C_g C_r^(1/2))^(1/2))

F is the squared Wasserstein distance of two Gaussians. A single number cannot tell bad images from good images
without variety. Precision, recall, density and coverage can: let B(x) be the ball around x that reaches to the
k-th nearest neighbour of x in its own set. With real x_i (n) and generated y_j (m) ::

    precision   share of the y_j that lie in some B(x_i)        are the generated images realistic?
    recall      share of the x_i that lie in some B(y_j)        can the model generate the real images?
    density     sum over i, j of [y_j in B(x_i)] / (k m)        like precision, less sensitive to outliers
    coverage    share of the B(x_i) that contain some y_j       like recall, with the balls of real images

Density may exceed 1. Compare only values that were computed with the same features and numbers of images.

References
----------
- Heusel et al. (2017), GANs trained by a two time-scale update rule converge to a local Nash equilibrium. NeurIPS.
- Kynkaanniemi et al. (2019), Improved precision and recall metric for assessing generative models. NeurIPS.
- Naeem et al. (2020), Reliable fidelity and diversity metrics for generative models. ICML.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import pairwise_distances_chunked
from sklearn.metrics.pairwise import check_pairwise_arrays
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_array

from lineardiffusion._validation import check_integer, refuse_masked
from lineardiffusion.distributions.gaussian import Gaussian

__all__ = ["PRDC", "frechet_distance", "precision_recall_density_coverage"]

_WORKING_MEMORY = 64  # MiB of distances at a time
_SHRINK = 1 - 1e-9  # factor of the radii: a point on the sphere must stay outside in spite of rounding


class PRDC(NamedTuple):
    """Values of :func:`precision_recall_density_coverage`.

    Attributes
    ----------
    precision : float
        Share of the generated points that lie in the ball of a real point.
    recall : float
        Share of the real points that lie in the ball of a generated point.
    density : float
        Number of real balls around a generated point, in units of the number of neighbours; it may exceed 1.
    coverage : float
        Share of the real points whose ball holds a generated point.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def frechet_distance(real_features: ArrayLike, generated_features: ArrayLike) -> float:
    """Compute the Frechet distance of two sets of features, squared as in the literature.

    Parameters
    ----------
    real_features, generated_features : array-like of shape (n, k) and (m, k)
        Features of two or more images each. The distance is biased upwards unless n and m are much above k.

    Returns
    -------
    float
        Distance, symmetric in the two sets, in the squared units of the features; 0 is best.

    Raises
    ------
    ValueError
        If the features have other shapes, or are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion.metrics import frechet_distance
    >>> real = [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]]
    >>> round(frechet_distance(real, np.add(real, [3.0, 0.0])), 9)  # moved by 3
    9.0
    """
    real, generated = (
        Gaussian(features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False)))
        for features in _check_features(real_features, generated_features, at_least=2)
    )
    return real.wasserstein(generated) ** 2


def precision_recall_density_coverage(
    real_features: ArrayLike, generated_features: ArrayLike, n_neighbors: int = 5
) -> PRDC:
    """Compute precision and density (fidelity), recall and coverage (variety) of generated images.

    Points on the surface of a ball are outside, as in the authors' package prdc. Distances are computed in chunks
    of bounded memory, in O((n + m)^2 k) time.

    Parameters
    ----------
    real_features, generated_features : array-like of shape (n, k) and (m, k)
        Features of more than `n_neighbors` images each.
    n_neighbors : int, default=5
        Rank of the neighbour to which a point's ball reaches; the point itself does not count.

    Returns
    -------
    PRDC
        Named tuple of the four values; all are near 1 for two sets from the same distribution.

    Raises
    ------
    ValueError
        If the features have other shapes or are not finite, or `n_neighbors` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion.metrics import precision_recall_density_coverage
    >>> real, generated = np.random.default_rng(0).normal(size=(2, 1000, 3))
    >>> precision_recall_density_coverage(real, real)
    PRDC(precision=1.0, recall=1.0, density=1.0, coverage=1.0)
    >>> without_variety = precision_recall_density_coverage(real, real[0] + 0.01 * generated)
    >>> without_variety.precision, without_variety.coverage < 0.1
    (1.0, True)
    """
    at_least = check_integer(n_neighbors, "n_neighbors") + 1
    real, generated = _check_features(real_features, generated_features, at_least)
    mean = real.mean(axis=0)  # squared distances lose digits far from the origin
    real, generated = real - mean, generated - mean
    real_radius, generated_radius = (  # to the n_neighbors-th neighbour of each point
        NearestNeighbors(n_neighbors=n_neighbors).fit(points).kneighbors()[0][:, -1] * _SHRINK
        for points in (real, generated)
    )
    balls = np.zeros(len(generated), dtype=np.intp)  # number of real balls around each generated point
    recalled, covered, start = 0, 0, 0
    for distances in pairwise_distances_chunked(real, generated, working_memory=_WORKING_MEMORY):
        inside = distances < real_radius[start : start + len(distances), None]
        balls += inside.sum(axis=0)
        covered += int(inside.any(axis=1).sum())
        recalled += int((distances < generated_radius).any(axis=1).sum())
        start += len(distances)
    precision, density = float((balls > 0).mean()), float(balls.mean() / n_neighbors)
    return PRDC(precision, recalled / len(real), density, covered / len(real))


def _check_features(
    real_features: ArrayLike, generated_features: ArrayLike, at_least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    for given in (real_features, generated_features):
        refuse_masked(given, "features", "leave out the images with masked features")
    real, generated = (
        check_array(features, dtype=np.float64, ensure_min_samples=at_least, input_name=name)
        for name, features in (("real_features", real_features), ("generated_features", generated_features))
    )
    real, generated = check_pairwise_arrays(real, generated)  # of as many features
    return real, generated
