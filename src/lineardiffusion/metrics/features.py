"""Real and generated images as two clouds of points in a feature space: are they the same cloud?

The Frechet distance compares their means m and covariances C (Heusel et al., "GANs trained by a two
time-scale update rule converge to a local Nash equilibrium", 2017; there in features of Inception):

    F = |m_r - m_g|^2 + tr(C_r + C_g - 2 (C_r^(1/2) C_g C_r^(1/2))^(1/2))

which is the squared Wasserstein distance of two Gaussians. One number hides whether the images are bad or
merely all alike. So the other four look at balls: B(x) reaches from x to its k-th nearest neighbour of its
own set, and the union of them is where the set lives. With real x_i (n) and generated y_j (m),

    precision   share of the y_j that lie in some B(x_i)        are the generated images realistic?
    recall      share of the x_i that lie in some B(y_j)        are the real ones within the model's reach?
    density     sum over i, j of [y_j in B(x_i)] / (k m)        as precision, but an outlier counts little
    coverage    share of the B(x_i) with some y_j in them       as recall, but with the balls of real images

(Kynkaanniemi et al., "Improved precision and recall metric for assessing generative models", 2019; Naeem et
al., "Reliable fidelity and diversity metrics for generative models", 2020). Density may exceed 1. All depend
on the feature space and on n and m: compare only figures of the same features and of as many images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors

from lineardiffusion.distributions.gaussian import Gaussian
from lineardiffusion.metrics.rows import check_features, check_same_width

WORKING_MEMORY = 64  # MiB of distances at a time
INSIDE = 1 - 1e-9  # of a radius: two roads to one distance differ by rounding, and the border is outside


class PRDC(NamedTuple):
    """What :func:`precision_recall_density_coverage` returns."""

    precision: float
    recall: float
    density: float
    coverage: float


def frechet_distance(real_features: ArrayLike, generated_features: ArrayLike) -> float:
    """The Frechet distance of two sets of features, squared as in the literature; 0 is best.

    Parameters
    ----------
    real_features : array-like of shape (n, k)
    generated_features : array-like of shape (m, k)
        2 or more of each. Fewer images than some times k raise the distance: compare equal numbers.

    Returns
    -------
    float
        In the squared units of the features; the order of the two does not matter.

    Raises
    ------
    ValueError
        For features of other shapes, or not finite.

    See Also
    --------
    lineardiffusion.Gaussian.wasserstein : its root, for two laws that are known.

    Examples
    --------
    >>> real = [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]]
    >>> round(frechet_distance(real, np.add(real, [3.0, 0.0])), 9)  # moved by 3
    9.0
    """
    real, generated = _pair(real_features, generated_features, at_least=2)
    return _moments(real).wasserstein(_moments(generated)) ** 2


def precision_recall_density_coverage(
    real_features: ArrayLike, generated_features: ArrayLike, n_neighbors: int = 5
) -> PRDC:
    """Four shares that tell fidelity (precision, density) from variety (recall, coverage).

    Parameters
    ----------
    real_features : array-like of shape (n, k)
    generated_features : array-like of shape (m, k)
        More than `n_neighbors` of each.
    n_neighbors : int, default=5
        The neighbour to which a point's ball reaches, itself not counted.

    Returns
    -------
    PRDC
        A named tuple of precision, recall, density, coverage; near 1 for two sets from one law.

    Raises
    ------
    ValueError
        For features of other shapes or not finite, or `n_neighbors` out of range.

    Notes
    -----
    Points at the distance of the radius lie outside, as in the authors' code, the package prdc. Distances are
    taken in blocks, so memory is bounded; time goes with (n + m)^2 k.

    Examples
    --------
    >>> real, generated = np.random.default_rng(0).normal(size=(2, 1000, 3))
    >>> precision_recall_density_coverage(real, real)
    PRDC(precision=1.0, recall=1.0, density=1.0, coverage=1.0)
    >>> one_place = precision_recall_density_coverage(real, real[0] + 0.01 * generated)
    >>> one_place.precision, one_place.coverage < 0.1  # good images, all alike
    (1.0, True)
    """
    if n_neighbors < 1:
        raise ValueError(f"n_neighbors must be 1 or more, got {n_neighbors}")
    real, generated = _pair(real_features, generated_features, at_least=n_neighbors + 1)
    centre = real.mean(axis=0)  # far from the origin, squares would eat the digits of the distances
    real, generated = real - centre, generated - centre
    real_radius, generated_radius = (_radii(points, n_neighbors) for points in (real, generated))
    balls = np.zeros(len(generated), dtype=np.intp)  # of real images, in which each generated one lies
    recalled, covered, start = 0, 0, 0
    for distances in pairwise_distances_chunked(real, generated, working_memory=WORKING_MEMORY):
        inside = distances < real_radius[start : start + len(distances), None]
        balls += inside.sum(axis=0)
        covered += int(inside.any(axis=1).sum())
        recalled += int((distances < generated_radius).any(axis=1).sum())
        start += len(distances)
    return PRDC(
        precision=float((balls > 0).mean()),
        recall=recalled / len(real),
        density=float(balls.mean() / n_neighbors),
        coverage=covered / len(real),
    )


def _pair(
    real_features: ArrayLike, generated_features: ArrayLike, at_least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    real = check_features("real_features", real_features, at_least)
    generated = check_features("generated_features", generated_features, at_least)
    check_same_width("real_features", real, "generated_features", generated)
    return real, generated


def _moments(features: NDArray[np.float64]) -> Gaussian:
    return Gaussian(features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False)))


def _radii(points: NDArray[np.float64], n_neighbors: int) -> NDArray[np.float64]:
    """Distance (n,) of each point to its n_neighbors-th other one."""
    distances, _ = NearestNeighbors(n_neighbors=n_neighbors).fit(points).kneighbors()
    return np.asarray(distances[:, -1] * INSIDE)
