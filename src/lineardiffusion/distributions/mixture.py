"""Mixtures of Gaussians, p(x) = sum_k w_k N(x; m_k, C_k): the law of a prompt that has styles.

Marginals, moments and density are linear in p, so they are sums over the components. A measurement y also tells
about its component, so Bayes' rule changes the weights::

    p(x | y) = sum_k w_k' p_k(x | y),      w_k' = w_k p_k(y) / sum_j w_j p_j(y)

Components may be singular. A component is infinitely denser on its plane than a component on a larger plane, so
among the components that can give y, those on the smallest plane have all the weight: the limit of vanishing
noise.

The Wasserstein distance of two mixtures has no closed form. If the transport plan must be a mixture of Gaussians
too, it has one (Delon and Desolneux 2020): components are moved onto components::

    MW^2 = min_P sum_kl P_kl W^2(a_k, b_l),      P_kl >= 0,   sum_l P_kl = w_k,   sum_k P_kl = v_l

which is a small linear program. W <= MW, with equality for two Gaussians, and MW is a metric.

References
----------
Delon and Desolneux (2020), A Wasserstein-type distance in the space of Gaussian mixture models. SIAM Journal
on Imaging Sciences 13(2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from scipy.special import logsumexp, softmax

from lineardiffusion._arrays import Array
from lineardiffusion.distributions import bayes
from lineardiffusion.distributions.gaussian import Gaussian
from lineardiffusion.distributions.law import Law, check_points


@dataclass(frozen=True, eq=False)
class Mixture(Law):
    """Mixture of Gaussians, sum_k w_k N(m_k, C_k).

    Parameters
    ----------
    weights : sequence of float
        Probabilities w_k, with the sum 1.
    components : sequence of Gaussian
        Gaussians, one for each weight, all with the same number of coordinates.

    See Also
    --------
    Gaussian : One of its components.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion import Gaussian, Mixture
    >>> law = Mixture([0.25, 0.75], [Gaussian(np.zeros(1), np.eye(1)), Gaussian(np.ones(1) * 4, np.eye(1))])
    >>> law.mean, law.covariance
    (array([3.]), array([[4.]]))
    """

    weights: Sequence[float]
    components: Sequence[Gaussian]

    def __post_init__(self) -> None:
        w = np.asarray(self.weights, dtype=np.float64)
        if not w.size or w.shape != (len(self.components),):
            got = f"{w.shape} for {len(self.components)} components"
            raise ValueError(f"a mixture needs one weight a component and at least one, got {got}")
        if not (w >= 0).all() or not abs(w.sum() - 1) <= bayes.TOLERANCE:
            found = f"the least {w.min():.6g} and the sum {w.sum():.6g}"
            raise ValueError(f"weights must be 0 or more with the sum 1, got {found}; divide them by their sum")
        object.__setattr__(self, "weights", tuple((w / w.sum()).tolist()))
        object.__setattr__(self, "components", tuple(self.components))
        for c in self.components:
            if not isinstance(c, Gaussian):
                raise TypeError(f"components must be Gaussians, got {type(c).__name__}")
            if c.dim != self.dim:
                raise ValueError(f"components must all have the same d, got {self.dim} and {c.dim} coordinates")

    @property
    def dim(self) -> int:
        """Number d of coordinates."""
        return self.components[0].dim

    @property
    def mean(self) -> Array:
        """Mean of the mixture, shape (d,)."""
        return np.asarray(sum(w * c.mean for w, c in zip(self.weights, self.components, strict=True)))

    @property
    def covariance(self) -> Array:
        """Covariance of the mixture, shape (d, d): the mean of the covariances plus the covariance of the means."""
        mean = self.mean
        both = zip(self.weights, self.components, strict=True)
        return np.asarray(sum(w * (c.covariance + np.outer(c.mean - mean, c.mean - mean)) for w, c in both))

    def regular(self, floor: float) -> Mixture:
        """Return the law with every smaller variance of a component raised to a floor.

        Parameters
        ----------
        floor : float
            Least variance of a component in any direction, in squared units of x.

        Returns
        -------
        Mixture
            Law with the same weights and means.
        """
        return Mixture(self.weights, [c.regular(floor) for c in self.components])

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
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(self.weights), size=n_samples, p=self.weights)
        draws = np.empty((n_samples, self.dim))
        for k in np.unique(chosen):
            members = chosen == k
            draws[members] = self.components[k].draw(int(members.sum()), rng)
        return draws

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
            If a component is singular: a law on a plane has no density.
        """
        points = check_points(x, self.dim)
        both = zip(self.weights, self.components, strict=True)
        return np.asarray(logsumexp([c.log_prob(points) + np.log(w) for w, c in both if w > 0], axis=0))

    def plane_log_prob(self, x: Array) -> tuple[NDArray[np.intp], Array]:
        rank, terms = self._joint(x)
        return np.minimum(rank, self.dim + 1), np.asarray(logsumexp(terms, axis=0))

    def responsibilities(self, x: ArrayLike) -> Array:
        """Return the probability that each point comes from each component.

        Parameters
        ----------
        x : array-like of shape (..., d)
            Points.

        Returns
        -------
        ndarray of shape (..., K)
            Probabilities with the sum 1 at each point. Where components are singular, see the module's docstring.

        Raises
        ------
        ValueError
            If a point lies outside of every component's support.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian, Mixture
        >>> law = Mixture([0.5, 0.5], [Gaussian(np.zeros(1), np.eye(1)), Gaussian(np.ones(1) * 4, np.eye(1))])
        >>> law.responsibilities([[2.0], [4.0]]).round(3)
        array([[0.5, 0.5],
               [0. , 1. ]])
        """
        rank, terms = self._joint(check_points(x, self.dim))
        if (rank > self.dim).any():
            raise ValueError(
                "one of these points lies on the plane of no component, and all components are singular. "
                "regular(floor) gives every component a density everywhere"
            )
        return np.asarray(np.moveaxis(softmax(terms, axis=0), 0, -1))

    def marginal(self, indices: Any) -> Mixture:
        """Return the marginal law of some of the coordinates.

        Parameters
        ----------
        indices : int, slice, or array-like of int or of bool (d,)
            Coordinates, in this order; as in the indexing of an array.

        Returns
        -------
        Mixture
            Law of the m coordinates.
        """
        return Mixture(self.weights, [c.marginal(indices) for c in self.components])

    def transform(
        self, operator: Any, offset: ArrayLike | None = None, noise_covariance: ArrayLike | None = None
    ) -> Mixture:
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
        Mixture
            Law of y, with the same weights.
        """
        parts = [c.transform(operator, offset, noise_covariance) for c in self.components]
        return Mixture(self.weights, parts)

    def condition(self, y: ArrayLike, operator: Any, noise_covariance: ArrayLike | None = None) -> Mixture:
        """Return the law of x given a linear measurement y = A x + n, n ~ N(0, R).

        Parameters
        ----------
        y : array-like of shape (m,)
            Measured values.
        operator : array-like or scipy sparse array of shape (m, d), or the indices of m coordinates
            Matrix A; indices as in :meth:`marginal`.
        noise_covariance : array-like of shape (m, m), default=None
            Covariance R; None for no noise.

        Returns
        -------
        Mixture
            Exact law of all of x. Its components are those of this mixture given y, in this order; its
            weights are the probabilities that y comes from each of them.

        Raises
        ------
        ValueError
            If every component gives this y the probability 0.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian, Mixture
        >>> blob = np.array([[1.0, 0.9], [0.9, 1.0]])
        >>> law = Mixture([0.5, 0.5], [Gaussian(np.zeros(2), blob), Gaussian(np.array([4.0, 0.0]), blob)])
        >>> given = law.condition([3.5], [0])
        >>> np.round(given.weights, 3), given.mean.round(2)
        (array([0.002, 0.998]), array([ 3.5 , -0.44]))
        """
        measured = bayes.check_measurement(y, operator, noise_covariance, self.dim)
        found = [bayes.condition(c.mean, c.root, *measured) for c in self.components]
        rank, log_prob = (np.array(column) for column in zip(*(of_y for _, of_y in found), strict=True))
        _, terms = _on_smallest_plane(self.weights, rank, log_prob)
        if np.isneginf(terms).all():
            raise ValueError(bayes.IMPOSSIBLE)
        return Mixture(softmax(terms).tolist(), [Gaussian(*given) for given, _ in found])

    def wasserstein(self, other: Law) -> float:
        """Return the Wasserstein-type distance of mixtures (Delon and Desolneux 2020).

        It is a metric, and an upper bound of the 2-Wasserstein distance, which has no closed form. Computing it
        takes all pairwise Bures distances and one small linear program.

        Parameters
        ----------
        other : Gaussian or Mixture
            Law with as many coordinates.

        Returns
        -------
        float
            Distance, in the units of x.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import Gaussian, Mixture
        >>> a, b, c = (Gaussian(np.full(1, mean), np.eye(1)) for mean in (0.0, 10.0, 12.0))
        >>> Mixture([0.5, 0.5], [a, b]).wasserstein(Mixture([0.5, 0.5], [a, c]))  # half moves by 2
        1.4142135...
        """
        self.check_same_dim(other)
        theirs = other if isinstance(other, Mixture) else Mixture([1.0], [other])  # type: ignore[list-item]
        w, v = self.weights, theirs.weights
        cost = np.array([[a.wasserstein(b) ** 2 for b in theirs.components] for a in self.components])
        unit = cost.max() or 1.0  # the solver's tolerances are absolute
        of_w = scipy.sparse.kron(scipy.sparse.eye_array(len(w)), np.ones((1, len(v))))
        of_v = scipy.sparse.kron(np.ones((1, len(w))), scipy.sparse.eye_array(len(v)))
        sums: Any = scipy.sparse.vstack([of_w, of_v]).tocsr()
        plan = linprog(cost.ravel() / unit, A_eq=sums, b_eq=np.concatenate([w, v]), method="highs")
        if plan.x is None:
            raise RuntimeError(f"the linear program of the distance failed: {plan.message}")
        return float(np.sqrt(max(float(cost.ravel() @ plan.x), 0.0)))

    def _joint(self, x: Array) -> tuple[NDArray[np.intp], Array]:
        """Return the rank at `x` (...), and log w_k p_k(x) (K, ...) of the components on that plane."""
        rank, log_prob = zip(*(c.plane_log_prob(x) for c in self.components), strict=True)
        return _on_smallest_plane(self.weights, np.array(rank), np.array(log_prob))


def _on_smallest_plane(
    weights: Sequence[float], rank: NDArray[np.intp], log_prob: Array
) -> tuple[NDArray[np.intp], Array]:
    """Return the least rank (...) and log w_k p_k (K, ...), from ranks and log-densities (K, ...).

    log w_k p_k is -inf for components on a larger plane, and for those with weight 0.
    """
    with np.errstate(divide="ignore"):
        log_weight = np.log(weights)
    terms = log_prob + log_weight.reshape(-1, *(1,) * (log_prob.ndim - 1))
    nowhere = np.iinfo(rank.dtype).max
    possible = np.where(np.isneginf(terms), nowhere, rank)
    least = possible.min(axis=0)
    return least, np.where((possible == least) & (possible < nowhere), terms, -np.inf)
