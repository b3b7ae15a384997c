"""What every law can do: draw, and tell how far it is from another.

    KL(p || q) = E_p [log p(x) - log q(x)]

is a mean over draws, whatever the two laws. Where they are singular, p and q are densities on the smallest
plane of the law that x lies on: all others have, beside it, no chance of giving x.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lineardiffusion.moments import Array


class Law(ABC):
    """What a :class:`Gaussian` and a mixture of them have in common."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """d, the number of coordinates."""

    @abstractmethod
    def draw(self, n_samples: int, seed: int | np.random.Generator | None = None) -> Array:
        """Draw ``n_samples`` vectors, shape (n_samples, d)."""

    @abstractmethod
    def plane_log_prob(self, x: Array) -> tuple[NDArray[np.intp], Array]:
        """The dimension of the smallest plane of the law at `x` (..., d), and the log-density on it.

        Both of shape (...); d + 1 and -inf where the law is not.
        """

    def kl_estimate(
        self, other: Law, n_samples: int = 10_000, seed: int | np.random.Generator | None = None
    ) -> tuple[float, float]:
        """Estimate the Kullback-Leibler divergence to any law, KL(self || other), by draws.

        A mixture's has no closed form. The mean of log p - log q over draws from p is unbiased and comes as
        near as it is given draws; two Gaussians have the exact :meth:`Gaussian.kl`.

        Parameters
        ----------
        other : Gaussian or Mixture
            Of the same d.
        n_samples : int, default=10_000
            At least 2.
        seed : int or numpy.random.Generator, default=None

        Returns
        -------
        estimate : float
            In nats, below 0 at times when the truth is near it. Infinite where a draw lies outside the
            other's support, or on a plane on which the other has no mass of its own.
        standard_error : float

        Examples
        --------
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
        """An error unless `other` is a law of as many coordinates."""
        if not isinstance(other, Law):
            raise TypeError(f"expected a Gaussian or a Mixture, got {type(other).__name__}")
        if other.dim != self.dim:
            raise ValueError(f"both laws must have the same d; got {self.dim} and {other.dim} coordinates")


def check_indices(indices: Any, d: int) -> NDArray[np.intp]:
    """The chosen of d coordinates, as an array of int (m,)."""
    try:
        chosen = np.atleast_1d(np.arange(d)[indices])
    except IndexError as error:
        raise IndexError(f"indices must name some of {d} coordinates, from 0 to {d - 1}; {error}") from error
    if chosen.ndim != 1 or not chosen.size:
        raise IndexError(f"indices must name some of {d} coordinates, in one dimension; got {indices!r}")
    return chosen


def check_points(x: ArrayLike, d: int) -> Array:
    """`x` as an array (..., d)."""
    points = np.asarray(x, dtype=np.float64)
    if points.ndim == 0 or points.shape[-1] != d:
        raise ValueError(f"x must have the shape (..., {d}) for a law of {d} coordinates, got {points.shape}")
    return points
