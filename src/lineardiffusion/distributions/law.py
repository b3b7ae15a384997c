"""Base class of laws: drawing, and estimates of the Kullback-Leibler divergence.

    KL(p || q) = E_p [log p(x) - log q(x)]

is a mean over draws from p, for any two laws. Where they are singular, p and q are densities on the smallest
plane of the law that contains x: components on larger planes have density 0 relative to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lineardiffusion._arrays import Array


class Law(ABC):
    """Base class of :class:`Gaussian` and :class:`Mixture`."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number d of coordinates."""

    @abstractmethod
    def draw(self, n_samples: int, seed: int | np.random.Generator | None = None) -> Array:
        """Draw vectors from the law.

        Parameters
        ----------
        n_samples : int
            Number of draws.
        seed : int or numpy.random.Generator, default=None
            Seed of the draws; None for a fresh random one.

        Returns
        -------
        ndarray of shape (n_samples, d)
            Draws, one a row.
        """

    @abstractmethod
    def plane_log_prob(self, x: Array) -> tuple[NDArray[np.intp], Array]:
        """Return the dimension of the smallest plane of the law at each point, and the log-density on it.

        Parameters
        ----------
        x : ndarray of shape (..., d)
            Points.

        Returns
        -------
        dimension : ndarray of int, shape (...)
            Dimension of the plane; d + 1 outside of the support.
        log_prob : ndarray of shape (...)
            Log-density on the plane, in nats; -inf outside of the support.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
        >>> line = Gaussian(np.zeros(2), np.diag([1.0, 0.0]))
        >>> dimension, log_prob = line.plane_log_prob(np.array([[0.0, 0.0], [0.0, 1.0]]))
        >>> dimension, log_prob.round(3)
        (array([1, 3]), array([-0.919,   -inf]))
        """

    @abstractmethod
    def wasserstein(self, other: Law) -> float:
        """Return the 2-Wasserstein distance to another law, or an upper bound of it.

        Parameters
        ----------
        other : Gaussian or Mixture
            Law with as many coordinates.

        Returns
        -------
        float
            Distance, in the units of x.
        """

    def kl_estimate(
        self, other: Law, n_samples: int = 10_000, seed: int | np.random.Generator | None = None
    ) -> tuple[float, float]:
        """Estimate the Kullback-Leibler divergence to any law, KL(self || other), by draws.

        The divergence of mixtures has no closed form. The mean of log p - log q over draws from p is an
        unbiased estimate; two Gaussians have the exact :meth:`Gaussian.kl`.

        Parameters
        ----------
        other : Gaussian or Mixture
            Law with as many coordinates.
        n_samples : int, default=10_000
            Number of draws, at least 2.
        seed : int or numpy.random.Generator, default=None
            Seed of the draws.

        Returns
        -------
        estimate : float
            Divergence in nats; it can be below 0 where the true one is small. Infinite where a draw lies
            outside of the other law's support, or on a plane that has no probability of its own there.
        standard_error : float
            Standard error of the estimate.

        See Also
        --------
        Gaussian.kl : The exact divergence of two Gaussians.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
        >>> a, b = (Gaussian(np.full(1, mean), np.eye(1)) for mean in (0.0, 1.0))
        >>> estimate, standard_error = a.kl_estimate(b, seed=0)
        >>> abs(estimate - a.kl(b)) < 3 * standard_error
        True
        """
        self.check_same_dim(other)
        if n_samples < 2:
            raise ValueError(f"an estimate and its error need n_samples of 2 or more, got {n_samples}")
        x = self.draw(n_samples, seed)
        (mine, log_p), (theirs, log_q) = self.plane_log_prob(x), other.plane_log_prob(x)
        if np.any(mine != theirs):
            return float("inf"), 0.0
        terms = log_p - log_q
        return float(terms.mean()), float(terms.std(ddof=1) / np.sqrt(n_samples))

    def check_same_dim(self, other: Law) -> None:
        """Raise an error unless another law has as many coordinates.

        Parameters
        ----------
        other : Gaussian or Mixture
            Law to compare with.

        Raises
        ------
        TypeError
            If it is no law.
        ValueError
            If it has another number of coordinates.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
        >>> Gaussian(np.zeros(2), np.eye(2)).check_same_dim(Gaussian(np.zeros(3), np.eye(3)))
        Traceback (most recent call last):
        ValueError: both laws must have the same d; got 2 and 3 coordinates
        """
        if not isinstance(other, Law):
            raise TypeError(f"expected a Gaussian or a Mixture, got {type(other).__name__}")
        if other.dim != self.dim:
            raise ValueError(f"both laws must have the same d; got {self.dim} and {other.dim} coordinates")


def check_indices(indices: Any, d: int) -> NDArray[np.intp]:
    """Return the chosen ones of d coordinates, as an array of int (m,)."""
    try:
        chosen = np.atleast_1d(np.arange(d)[indices])
    except IndexError as error:
        raise IndexError(f"indices must name some of {d} coordinates, from 0 to {d - 1}; {error}") from error
    if chosen.ndim != 1 or not chosen.size:
        raise IndexError(f"indices must name some of {d} coordinates, in one dimension; got {indices!r}")
    return chosen


def check_points(x: ArrayLike, d: int) -> Array:
    """Return `x` as an array (..., d)."""
    points = np.asarray(x, dtype=np.float64)
    if points.ndim == 0 or points.shape[-1] != d:
        raise ValueError(f"x must have the shape (..., {d}) for a law of {d} coordinates, got {points.shape}")
    return points
