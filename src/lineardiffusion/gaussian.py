"""The law as an object: the Gaussian N(m, C) that a sampler draws from, or a mixture of them.

    draw        x = m + C^(1/2) n,   n ~ N(0, I)
    log_prob    -1/2 [ d log(2 pi) + log det C + (x - m)^T C^-1 (x - m) ]
    wasserstein W^2 = |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^(1/2) C_b C_a^(1/2))^(1/2))

The last is the Bures distance (Olkin and Pukelsheim 1982; Dowson and Landau 1982), the same expression as
the Frechet distance of image evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from lineardiffusion.moments import Array


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A multivariate Gaussian, possibly singular.

    Parameters
    ----------
    mean : ndarray of shape (d,)
    covariance : ndarray of shape (d, d)
        Symmetric, no eigenvalue below 0 beyond rounding.

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

    @cached_property
    def _eigen(self) -> tuple[Array, Array]:
        variance, basis = np.linalg.eigh(self.covariance)
        return np.maximum(variance, 0.0), basis

    @cached_property
    def rank(self) -> int:
        """Number of directions in which the law has variance, to rounding."""
        variance, _ = self._eigen
        return int(np.sum(variance > len(variance) * np.finfo(float).eps * variance[-1]))

    def regular(self, floor: float) -> Gaussian:
        """The same law with a variance of at least `floor` in every direction."""
        variance, basis = self._eigen
        if variance[0] >= floor:
            return self
        return Gaussian(self.mean, (basis * np.maximum(variance, floor)) @ basis.T)

    def draw(self, n_samples: int, seed: int | np.random.Generator | None = None) -> Array:
        """Draw ``n_samples`` vectors, shape (n_samples, d)."""
        variance, basis = self._eigen
        n = np.random.default_rng(seed).normal(size=(n_samples, len(variance)))
        draws: Array = self.mean + n @ (basis * np.sqrt(variance)).T
        return draws

    def log_prob(self, x: Array) -> Array:
        """Log-density in nats at `x` (..., d), shape (...).

        Raises
        ------
        ValueError
            If the law is singular: it lies on a plane and has no density.
        """
        variance, basis = self._eigen
        if self.rank < len(variance):
            raise ValueError(
                f"this law has no density: it varies in {self.rank} of its {len(variance)} "
                "directions. Fit more images, or fewer components; laws of styles are so on purpose"
            )
        score = (np.asarray(x) - self.mean) @ (basis / np.sqrt(variance))
        log_det = np.log(2 * np.pi * variance).sum()
        log_prob: Array = -0.5 * (log_det + (score**2).sum(axis=-1))
        return log_prob

    def wasserstein(self, other: Gaussian) -> float:
        """The 2-Wasserstein distance to another Gaussian, in the units of x."""
        if not isinstance(other, Gaussian):
            raise TypeError(f"only two Gaussians have this distance, got {type(other).__name__}")
        root_a, root_b = (basis * np.sqrt(variance) for variance, basis in (self._eigen, other._eigen))
        # the trace of that root is the sum of the singular values of C_a^(1/2) C_b^(1/2)
        overlap = np.linalg.svd(root_a.T @ root_b, compute_uv=False).sum()
        spread = np.trace(self.covariance) + np.trace(other.covariance) - 2 * overlap
        return float(np.sqrt(np.sum((self.mean - other.mean) ** 2) + max(spread, 0.0)))


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of Gaussians, sum_k w_k N(m_k, C_k).

    Parameters
    ----------
    weights : sequence of float
        Positive, with the sum 1.
    components : sequence of Gaussian

    Examples
    --------
    >>> law = Mixture([0.25, 0.75], [Gaussian(np.zeros(1), np.eye(1)), Gaussian(np.ones(1) * 4, np.eye(1))])
    >>> law.mean, law.covariance
    (array([3.]), array([[4.]]))
    """

    weights: Sequence[float]
    components: Sequence[Gaussian]

    @property
    def mean(self) -> Array:
        """Of all, shape (d,)."""
        return np.asarray(sum(w * c.mean for w, c in zip(self.weights, self.components, strict=True)))

    @property
    def covariance(self) -> Array:
        """Of all, shape (d, d): the covariances within, and that of the means."""
        mean = self.mean
        both = zip(self.weights, self.components, strict=True)
        return np.asarray(sum(w * (c.covariance + np.outer(c.mean - mean, c.mean - mean)) for w, c in both))

    def draw(self, n_samples: int, seed: int | np.random.Generator | None = None) -> Array:
        """Draw ``n_samples`` vectors, shape (n_samples, d)."""
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(self.weights), size=n_samples, p=np.asarray(self.weights))
        draws = np.empty((n_samples, len(self.components[0].mean)))
        for k in np.unique(chosen):
            members = chosen == k
            draws[members] = self.components[k].draw(int(members.sum()), rng)
        return draws

    def log_prob(self, x: Array) -> Array:
        """Log-density in nats at `x` (..., d), shape (...); a ValueError if a component has none."""
        terms = [c.log_prob(x) + np.log(w) for w, c in zip(self.weights, self.components, strict=True)]
        return np.asarray(logsumexp(terms, axis=0))
