"""The Gaussian N(m, C), the law of a sampler; where C is singular, it is a law on a plane.

::

    draw        x = m + C^(1/2) n,   n ~ N(0, I)
    log_prob    -1/2 [ d log(2 pi) + log det C + (x - m)^T C^-1 (x - m) ]
    wasserstein W^2 = |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a^(1/2) C_b C_a^(1/2))^(1/2))
    kl          1/2 [ tr(C_b^-1 C_a) - d - log det(C_b^-1 C_a) + (m_a - m_b)^T C_b^-1 (m_a - m_b) ]

The third equation is the Bures distance (Olkin and Pukelsheim 1982; Dowson and Landau 1982), the same expression as
the Frechet distance of image evaluation. On a plane, determinants and inverses are those on the plane. Bayes'
rule and the tolerance that defines a plane are in bayes.py, mixtures in mixture.py.

Where C = diag(v) and the other law is diagonal too, each of these is a sum over the coordinates, in d numbers
(:class:`DiagonalGaussian`). The third and fourth are then ::

    W^2 = |m_a - m_b|^2 + sum_i (v_a,i^(1/2) - v_b,i^(1/2))^2
    KL  = 1/2 sum_i [ r_i - 1 - log r_i + (m_a,i - m_b,i)^2 / v_b,i ],    r = v_a / v_b
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from lineardiffusion._arrays import Array, freeze
from lineardiffusion._cache import computed_once
from lineardiffusion._linalg import diagonals
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

    See Also
    --------
    Gaussian.diagonal : A Gaussian whose covariance is a vector of variances.
    Mixture : A weighted sum of Gaussians.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion import Gaussian
    >>> law = Gaussian(np.zeros(2), np.diag([4.0, 1.0]))
    >>> law.draw(100_000, seed=0).std(axis=0).round(1)
    array([2., 1.])
    >>> law.wasserstein(Gaussian(np.array([3.0, 0.0]), np.eye(2)))  # sqrt(3^2 + (2 - 1)^2)
    3.1622776...
    """

    mean: Array
    covariance: Array

    def __post_init__(self) -> None:
        mean = _check_mean(self.mean)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", bayes.check_covariance(self.covariance, len(mean)).copy())
        freeze(self)

    @staticmethod
    def diagonal(mean: ArrayLike, variance: ArrayLike) -> DiagonalGaussian:
        """Return the Gaussian with a diagonal covariance, in memory and time proportional to d.

        Parameters
        ----------
        mean : array-like of shape (d,)
            Mean m.
        variance : array-like of shape (d,)
            Variances, 0 or more: the diagonal of the covariance. No variance above 0 counts as rounding.

        Returns
        -------
        DiagonalGaussian
            A Gaussian with all methods of this class. Its ``covariance`` (d, d) is computed when it is first read.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
        >>> law = Gaussian.diagonal(np.zeros(3072), np.arange(3072) / 3072)
        >>> law.rank, round(law.wasserstein(Gaussian.diagonal(np.zeros(3072), np.zeros(3072))) ** 2, 6)
        (3071, 1535.5)
        """
        return DiagonalGaussian(np.asarray(mean, float), np.asarray(variance, float))

    @property
    def dim(self) -> int:
        """Number d of coordinates."""
        return len(self.mean)

    def principal(self) -> tuple[Array, Array | None]:
        """Return the principal variances and directions, from the eigendecomposition of the covariance.

        Returns
        -------
        variance : ndarray of shape (d,)
            Variances along the principal directions, with rounding set to 0; in no particular order.
        basis : ndarray of shape (d, d), or None
            Principal directions as columns. None if the covariance is diagonal: the directions are then the
            coordinates, and the variances are in their order.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
        >>> variance, basis = Gaussian(np.zeros(2), np.array([[2.0, 1.0], [1.0, 2.0]])).principal()
        >>> variance.round(6), bool(np.allclose((basis * variance) @ basis.T, [[2, 1], [1, 2]]))
        (array([1., 3.]), True)
        >>> Gaussian(np.zeros(2), np.diag([4.0, 1.0])).principal()
        (array([4., 1.]), None)
        """
        variance, basis = self._eigen
        if diagonals(self.covariance) is None:
            return variance, basis
        return basis @ variance, None

    @computed_once
    def _eigen(self) -> tuple[Array, Array]:
        return bayes.spectrum(self.covariance)

    @computed_once
    def rank(self) -> int:
        """Number of directions in which the law has variance, to rounding."""
        return int(np.count_nonzero(self._eigen[0]))

    @property
    def _plane(self) -> tuple[Array, Array]:
        """Standard deviations (rank,) and basis (d, rank) of the plane on which the law lies."""
        variance, basis = self._eigen
        return np.sqrt(variance[variance > 0]), basis[:, variance > 0]

    @property
    def root(self) -> Array:
        """Root L of the covariance, shape (d, rank), with C = L L^T."""
        std, basis = self._plane
        return basis * std

    def regular(self, floor: float) -> Gaussian:
        """Return the law with every smaller variance raised to a floor, so that it has a density.

        Parameters
        ----------
        floor : float
            Least variance in any direction, in squared units of x.

        Returns
        -------
        Gaussian
            Law with the same mean and principal directions.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
        >>> Gaussian(np.zeros(2), np.diag([4.0, 0.0])).regular(0.01).covariance
        array([[4.  , 0.  ],
               [0.  , 0.01]])
        """
        variance, basis = self._eigen
        if variance[0] >= floor:
            return self
        return Gaussian(self.mean, (basis * np.maximum(variance, floor)) @ basis.T)

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

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
        >>> Gaussian(np.array([10.0, 20.0]), np.eye(2)).draw(10_000, seed=0).mean(axis=0).round(1)
        array([10., 20.])
        """
        variance, basis = self._eigen
        n = np.random.default_rng(seed).normal(size=(n_samples, self.dim))
        return np.asarray(self.mean + n @ (basis * np.sqrt(variance)).T)

    def log_prob(self, x: ArrayLike) -> Array:
        """Return the log-density at points.

        Parameters
        ----------
        x : array-like of shape (..., d)
            Points.

        Returns
        -------
        ndarray of shape (...)
            Log-density, in nats.

        Raises
        ------
        ValueError
            If the law is singular: a law on a plane has no density.

        See Also
        --------
        regular : The law with a least variance in every direction.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
        >>> Gaussian(np.zeros(1), np.eye(1)).log_prob([[0.0], [2.0]]).round(3)
        array([-0.919, -2.919])
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

        Returns
        -------
        Gaussian
            Law of the m coordinates.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
        >>> Gaussian(np.array([1.0, 2.0, 3.0]), np.diag([1.0, 4.0, 9.0])).marginal([2, 0]).mean
        array([3., 1.])
        """
        chosen = check_indices(indices, self.dim)
        return Gaussian(self.mean[chosen], self.covariance[np.ix_(chosen, chosen)])

    def transform(
        self, operator: Any, offset: ArrayLike | None = None, noise_covariance: ArrayLike | None = None
    ) -> Gaussian:
        """Return the law of y = A x + b + n, n ~ N(0, R).

        Parameters
        ----------
        operator : array-like or scipy sparse array of shape (m, d)
            Matrix A.
        offset : array-like of shape (m,), default=None
            Vector b; None for 0.
        noise_covariance : array-like of shape (m, m) or (m,), default=None
            Covariance R, or its diagonal. None for no noise.

        Returns
        -------
        Gaussian
            Law of y, with the mean A m + b and the covariance A C A^T + R. It is a diagonal one, in time
            proportional to m + d, if this law is diagonal, R too, and A sparse with at most one entry in each row
            and column.

        See Also
        --------
        condition : The law of x given y.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
        >>> law = Gaussian(np.array([1.0, 2.0]), np.eye(2))
        >>> total = law.transform([[1.0, 1.0]], noise_covariance=[[0.5]])
        >>> total.mean, total.covariance
        (array([3.]), array([[2.5]]))
        """
        A, b, R = bayes.check_transform(operator, offset, noise_covariance, self.dim)
        C = A @ (A @ self.covariance).T
        return Gaussian(A @ self.mean + b, 0.5 * (C + C.T) + (np.diag(R) if R.ndim == 1 else R))

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

        See Also
        --------
        transform : The law of y.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
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
        """Return the 2-Wasserstein distance to another law.

        Parameters
        ----------
        other : Gaussian or Mixture
            Law with as many coordinates.

        Returns
        -------
        float
            Distance, in the units of x. For a mixture it is that of :meth:`Mixture.wasserstein`.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
        >>> Gaussian(np.zeros(2), np.eye(2)).wasserstein(Gaussian(np.array([3.0, 4.0]), np.eye(2)))
        5.0
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
        is infinite, also if one contains the other.

        Parameters
        ----------
        other : Gaussian
            Gaussian with as many coordinates.

        Returns
        -------
        float
            Divergence, in nats.

        Raises
        ------
        TypeError
            If `other` is a mixture, for which there is no closed form.

        See Also
        --------
        kl_estimate : An estimate for any law, by draws.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian
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


@computed_once
def _covariance(law: DiagonalGaussian) -> Array:
    """Covariance, shape (d, d)."""
    return np.diag(law.variance)


@dataclass(frozen=True, eq=False, repr=False)
class DiagonalGaussian(Gaussian):
    """Gaussian with the covariance diag(variance); see :meth:`Gaussian.diagonal`.

    What has no closed form in d numbers (other laws, conditions on sums of coordinates) is computed from
    ``covariance``, as of any Gaussian.
    """

    covariance: Array = field(init=False, default=_covariance)  # type: ignore[arg-type]  # (d, d)
    variance: Array  # (d,)

    def __post_init__(self) -> None:
        m, v = _check_mean(self.mean), np.array(self.variance, dtype=np.float64)
        if v.shape != m.shape:
            raise ValueError(f"variance must have the shape {m.shape} of the mean, got {v.shape}")
        if not np.isfinite(v).all() or (v < 0).any():
            raise ValueError("variance must be finite and 0 or more everywhere")
        m.flags.writeable = v.flags.writeable = False
        object.__setattr__(self, "mean", m)
        object.__setattr__(self, "variance", v)

    def __reduce__(self) -> tuple[Any, ...]:
        return DiagonalGaussian, (self.mean, self.variance)

    def __repr__(self) -> str:
        return f"Gaussian.diagonal(mean={self.mean!r}, variance={self.variance!r})"

    @computed_once
    def _eigen(self) -> tuple[Array, Array]:
        order = np.argsort(self.variance, kind="stable")
        return self.variance[order], np.eye(self.dim)[:, order]

    @computed_once
    def rank(self) -> int:
        """Number of coordinates in which the law has variance."""
        return int(np.count_nonzero(self.variance))

    def principal(self) -> tuple[Array, None]:
        """Return the variances, and None: the principal directions are the coordinates."""
        return self.variance, None

    def regular(self, floor: float) -> DiagonalGaussian:
        """Return the law with every variance below `floor` raised to it."""
        if self.variance.min() >= floor:
            return self
        return DiagonalGaussian(self.mean, np.maximum(self.variance, floor))

    def draw(self, n_samples: int, seed: int | np.random.Generator | None = None) -> Array:
        """Draw ``n_samples`` vectors, shape (n_samples, d)."""
        n = np.random.default_rng(seed).normal(size=(n_samples, self.dim))
        return np.asarray(self.mean + n * np.sqrt(self.variance))

    def plane_log_prob(self, x: Array) -> tuple[NDArray[np.intp], Array]:
        varies, r = self.variance > 0, x - self.mean
        variance = self.variance[varies]
        size = np.abs(x).max(axis=-1) + np.abs(self.mean).max() + np.sqrt(variance.max(initial=0.0))
        off = np.abs(r[..., ~varies]).max(axis=-1, initial=0.0) > bayes.TOLERANCE * size
        log_prob = -0.5 * (np.log(2 * np.pi * variance).sum() + (r[..., varies] ** 2 / variance).sum(axis=-1))
        return np.where(off, self.dim + 1, self.rank), np.where(off, -np.inf, log_prob)

    def marginal(self, indices: Any) -> Gaussian:
        """Return the marginal law of some of the coordinates; `indices` as in :meth:`Gaussian.marginal`."""
        chosen = check_indices(indices, self.dim)
        if len(np.unique(chosen)) < len(chosen):
            return super().marginal(indices)
        return DiagonalGaussian(self.mean[chosen], self.variance[chosen])

    def transform(
        self, operator: Any, offset: ArrayLike | None = None, noise_covariance: ArrayLike | None = None
    ) -> Gaussian:
        """Return the law of y = A x + b + n; parameters as in :meth:`Gaussian.transform`."""
        A, b, R = bayes.check_transform(operator, offset, noise_covariance, self.dim)
        sparse: Any = A if scipy.sparse.issparse(A) else None
        if sparse is None or R.ndim == 2 or max(sparse.count_nonzero(axis).max() for axis in (0, 1)) > 1:
            return super().transform(operator, offset, noise_covariance)
        return DiagonalGaussian(sparse @ self.mean + b, sparse.power(2) @ self.variance + R)

    def condition(self, y: ArrayLike, operator: Any, noise_covariance: ArrayLike | None = None) -> Gaussian:
        """Return the law of x given a linear measurement; parameters as in :meth:`Gaussian.condition`.

        It is a diagonal one if `operator` names coordinates and the noise is diagonal.
        """
        matrix = not isinstance(operator, slice) and (hasattr(operator, "toarray") or np.ndim(operator) == 2)
        chosen = np.zeros(0, np.intp) if matrix else check_indices(operator, self.dim)
        seen, m = np.asarray(y, dtype=np.float64), len(np.unique(chosen))
        R: Array | None = np.zeros(m)
        if noise_covariance is not None:
            noise = np.asarray(noise_covariance, dtype=np.float64)
            R = diagonals(noise) if noise.shape == (m, m) else None
        if matrix or m < len(chosen) or R is None or not (R >= 0).all() or not _is_finite(seen, (m,)):
            return super().condition(y, operator, noise_covariance)
        mean, variance = self.mean.copy(), self.variance.copy()
        v, step = variance[chosen], seen - mean[chosen]
        share = np.divide(v, v + R, out=np.zeros_like(v), where=v > 0)
        size = np.sqrt(variance.max()) + np.abs(seen).max() + np.abs(mean[chosen]).max()
        if (np.abs(step[v + R == 0]) > bayes.TOLERANCE * size).any():
            raise ValueError(bayes.IMPOSSIBLE)
        mean[chosen] += share * step
        variance[chosen] = (1 - share) * v
        return DiagonalGaussian(mean, variance)

    def wasserstein(self, other: Law) -> float:
        """Return the 2-Wasserstein distance to another law; see :meth:`Gaussian.wasserstein`."""
        if not isinstance(other, DiagonalGaussian):
            return super().wasserstein(other)
        self.check_same_dim(other)
        apart = self.mean - other.mean, np.sqrt(self.variance) - np.sqrt(other.variance)
        return float(np.sqrt(np.square(apart).sum()))

    def kl(self, other: Gaussian) -> float:
        """Return the Kullback-Leibler divergence to another Gaussian in nats; see :meth:`Gaussian.kl`."""
        if not isinstance(other, DiagonalGaussian):
            return super().kl(other)
        self.check_same_dim(other)
        varies, step = self.variance > 0, self.mean - other.mean
        size = np.abs(self.mean).max() + np.abs(other.mean).max() + np.sqrt(self.variance.max())
        apart = np.abs(step[~varies]).max(initial=0.0) > bayes.TOLERANCE * size
        if apart or not np.array_equal(varies, other.variance > 0):
            return float("inf")
        v, w = self.variance[varies], other.variance[varies]
        return float(0.5 * max((v / w - 1 - np.log(v / w) + step[varies] ** 2 / w).sum(), 0.0))


def _check_mean(mean: ArrayLike) -> Array:
    """Return a copy of the mean, which nobody else changes."""
    found = np.array(mean, dtype=np.float64)
    if found.ndim != 1 or not found.size:
        raise ValueError(f"mean must have the shape (d,) with d of 1 or more, got {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError("mean must be finite, got NaN or infinity among it")
    return found


def _is_finite(values: Array, shape: tuple[int, ...]) -> bool:
    return values.shape == shape and bool(np.isfinite(values).all())
