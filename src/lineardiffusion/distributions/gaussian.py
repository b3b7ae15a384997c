"""The Gaussian N(m, C), the law of a sampler; where C is singular, it is a law on a plane.

    draw        x = m + C^(1/2) n,   n ~ N(0, I)
    log_prob    -1/2 [ d log(2 pi) + log det C + (x - m)^T C^-1 (x - m) ]
    wasserstein W^2 = |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^(1/2) C_b C_a^(1/2))^(1/2))
    kl          1/2 [ tr(C_b^-1 C_a) - d - log det(C_b^-1 C_a) + (m_a - m_b)^T C_b^-1 (m_a - m_b) ]

The third equation is the Bures distance (Olkin and Pukelsheim 1982; Dowson and Landau 1982), the same expression as
the Frechet distance of image evaluation. On a plane, determinants and inverses are those on the plane. Bayes'
rule and the tolerance that defines a plane are in bayes.py, mixtures in mixture.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lineardiffusion._arrays import Array, freeze
from lineardiffusion._cache import computed_once
from lineardiffusion.distributions import bayes
from lineardiffusion.distributions.law import Law, check_indices, check_points


@dataclass(frozen=True, eq=False)
class Gaussian(Law):
    """Multivariate Gaussian, possibly singular.

    Parameters
    ----------
    mean : ndarray of shape (d,)
        Mean m.
    covariance : ndarray of shape (d, d)
        Covariance C: symmetric, with no eigenvalue below 0 beyond rounding (checked when it is decomposed).

    Examples
    --------
    >>> law = Gaussian(np.zeros(2), np.diag([4.0, 1.0]))
    >>> law.draw(100_000, seed=0).std(axis=0).round(1)
    array([2., 1.])
    >>> law.wasserstein(Gaussian(np.array([3.0, 0.0]), np.eye(2)))  # sqrt(3^2 + (2 - 1)^2)
    3.1622776...
    """

    mean: Array
    covariance: Array

    def __post_init__(self) -> None:
        mean = np.array(self.mean, dtype=np.float64)  # a copy, which nobody else changes
        if mean.ndim != 1 or not mean.size:
            raise ValueError(f"mean must have the shape (d,) with d of 1 or more, got {mean.shape}")
        if not np.isfinite(mean).all():
            raise ValueError("mean must be finite, got NaN or infinity among it")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", bayes.check_covariance(self.covariance, len(mean)).copy())
        freeze(self)

    @property
    def dim(self) -> int:
        """d, the number of coordinates."""
        return len(self.mean)

    @computed_once
    def _eigen(self) -> tuple[Array, Array]:
        return bayes.spectrum(self.covariance)

    @computed_once
    def rank(self) -> int:
        """Number of directions in which the law has variance, to rounding."""
        return int(np.count_nonzero(self._eigen[0]))

    def principal(self) -> tuple[Array, Array | None]:
        """Return the variances (d,) along the principal axes, and the axes (d, d) as columns."""
        return self._eigen

    @property
    def _plane(self) -> tuple[Array, Array]:
        """Standard deviations (rank,) and basis (d, rank) of the plane on which the law lies."""
        variance, basis = self._eigen
        return np.sqrt(variance[variance > 0]), basis[:, variance > 0]

    @property
    def root(self) -> Array:
        """L, shape (d, rank), with C = L L^T."""
        std, basis = self._plane
        return basis * std

    def regular(self, floor: float) -> Gaussian:
        """Return the law with every variance below `floor` raised to it."""
        variance, basis = self._eigen
        if variance[0] >= floor:
            return self
        return Gaussian(self.mean, (basis * np.maximum(variance, floor)) @ basis.T)

    def draw(self, n_samples: int, seed: int | np.random.Generator | None = None) -> Array:
        """Draw ``n_samples`` vectors, shape (n_samples, d)."""
        variance, basis = self._eigen
        n = np.random.default_rng(seed).normal(size=(n_samples, self.dim))
        return np.asarray(self.mean + n @ (basis * np.sqrt(variance)).T)

    def log_prob(self, x: ArrayLike) -> Array:
        """Log-density in nats at `x` (..., d), shape (...).

        Raises
        ------
        ValueError
            If the law is singular: a law on a plane has no density.
        """
        if self.rank < self.dim:
            raise ValueError(
                f"this law has no density: it varies in {self.rank} of its {self.dim} "
                "directions. Fit more images or fewer components, or use regular(floor)"
            )
        return self.plane_log_prob(check_points(x, self.dim))[1]

    def plane_log_prob(self, x: Array) -> tuple[NDArray[np.intp], Array]:
        std, basis = self._plane
        size = np.abs(x).max(axis=-1) + np.abs(self.mean).max() + std.max(initial=0.0)
        log_prob = bayes.log_prob_on(x - self.mean, basis, std, size)
        return np.where(np.isneginf(log_prob), self.dim + 1, self.rank), log_prob

    def marginal(self, indices: Any) -> Gaussian:
        """Return the marginal law of some of the coordinates.

        Parameters
        ----------
        indices : int, slice, or array-like of int or of bool (d,)
            Coordinates, in this order; as in the indexing of an array.

        Examples
        --------
        >>> Gaussian(np.array([1.0, 2.0, 3.0]), np.diag([1.0, 4.0, 9.0])).marginal([2, 0]).mean
        array([3., 1.])
        """
        chosen = check_indices(indices, self.dim)
        return Gaussian(self.mean[chosen], self.covariance[np.ix_(chosen, chosen)])

    def condition(self, y: ArrayLike, operator: Any, noise_covariance: ArrayLike | None = None) -> Gaussian:
        """Return the law of x given a linear measurement y = A x + n, n ~ N(0, R).

        Parameters
        ----------
        y : array-like of shape (m,)
            Measured values.
        operator : array-like or scipy sparse array of shape (m, d), or the indices of m coordinates
            Matrix A; indices as in :meth:`marginal`.
        noise_covariance : array-like of shape (m, m), default=None
            Covariance R: for noise of standard deviation s, ``s**2 * np.eye(m)``. None for no noise.

        Returns
        -------
        Gaussian
            Exact law of all of x; singular in the directions that a measurement without noise fixes.

        Raises
        ------
        ValueError
            If the law gives this y the probability 0.

        Examples
        --------
        >>> law = Gaussian(np.zeros(2), np.array([[2.0, 1.0], [1.0, 2.0]]))
        >>> given = law.condition([1.0], [0])
        >>> given.mean, given.covariance.round(12)
        (array([1. , 0.5]), array([[0. , 0. ], [0. , 1.5]]))
        >>> law.condition([1.0], [[1.0, 1.0]], [[2.0]]).mean  # their sum, with noise of variance 2
        array([0.375, 0.375])
        """
        measured = bayes.check_measurement(y, operator, noise_covariance, self.dim)
        given, (_, log_prob) = bayes.condition(self.mean, self.root, *measured)
        if log_prob == -np.inf:
            raise ValueError(bayes.IMPOSSIBLE)
        return Gaussian(*given)

    def wasserstein(self, other: Law) -> float:
        """Return the 2-Wasserstein distance to another Gaussian, in the units of x.

        For a mixture see :meth:`Mixture.wasserstein`.
        """
        self.check_same_dim(other)
        if not isinstance(other, Gaussian):
            return other.wasserstein(self)
        # the trace of that root is the sum of the singular values of C_a^(1/2) C_b^(1/2)
        overlap = np.linalg.svd(self.root.T @ other.root, compute_uv=False).sum()
        spread = np.trace(self.covariance) + np.trace(other.covariance) - 2 * overlap
        return float(np.sqrt(np.sum((self.mean - other.mean) ** 2) + max(spread, 0.0)))

    def kl(self, other: Gaussian) -> float:
        """Return the Kullback-Leibler divergence to another Gaussian, KL(self || other), in nats.

        Two laws on the same plane are compared by their densities on it; on different planes the divergence
        is infinite, also if one contains the other. For a mixture see :meth:`kl_estimate`.

        Examples
        --------
        >>> Gaussian(np.zeros(1), np.eye(1)).kl(Gaussian(np.ones(1), np.eye(1)))  # |m_a - m_b|^2 / 2
        0.5
        """
        self.check_same_dim(other)
        if not isinstance(other, Gaussian):
            raise TypeError("a mixture has no closed form of this divergence; see kl_estimate")
        (std, basis), (std_b, basis_b) = self._plane, other._plane
        rows = np.vstack([(basis * std).T, self.mean - other.mean])
        inside = rows @ basis_b
        off = np.abs(rows - inside @ basis_b.T).max(axis=1)
        spread = std.max(initial=0.0)
        size = np.abs(self.mean).max() + np.abs(other.mean).max() + spread
        apart = off[:-1].max(initial=0.0) > bayes.TOLERANCE * spread or off[-1] > bayes.TOLERANCE * size
        if len(std) != len(std_b) or apart:
            return float("inf")
        white = inside / std_b  # C_b^(-1/2) of the root of C_a, and of the step
        s = np.linalg.svd(white[:-1], compute_uv=False)
        with np.errstate(divide="ignore"):  # a direction without variance where the other law has some: log 0
            return float(0.5 * max((s**2 - 1 - 2 * np.log(s)).sum() + white[-1] @ white[-1], 0.0))
