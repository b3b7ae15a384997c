"""Posteriors by approximate methods, each with its exact law.

A diffusion model samples z given a measurement y = A z + tau n if its denoiser is that of the posterior,
D(x | y) = E[z | x, y]. Of x = alpha z + sigma n' the model knows D(x) = E[z | x] and, by Tweedie's second formula::

    C_x = Cov(z | x) = (sigma^2 / alpha) dD/dx

The methods of the literature replace p(y | x) by N(y; A D(x), A V A^T + tau^2 I), each with its own V, which they
hold constant in the gradient. The score of that likelihood, by the chain rule through D, gives ::

    D(x | y) = D(x) + C_x A^T (A V A^T + tau^2 I)^-1 (y - A D(x))                                    (1)

    tmpd            V = C_x                                                               (Boys et al. 2024)
    tmpd_diagonal   A V A^T is the diagonal matrix of the row sums of A C_x A^T, the form used on images, which
                    needs one product with dD/dx instead of m
    pigdm           V = r^2 I, r^2 = s^2 sigma^2 / (s^2 alpha^2 + sigma^2), the posterior variance under the prior
                    N(0, s^2 I), with s = 1 in the paper                                  (Song et al. 2023)
    dps_score       V = 0: the likelihood of the point estimate D(x)                      (Chung et al. 2023)

The algorithm of diffusion posterior sampling is not of this form. It corrects every step x' of a sampler::

    dps             x'' = x' - zeta grad_x |y - A D(x)|^2                           (Chung et al. 2023, algorithm 1)

with a fixed step zeta. (A zeta divided by the norm of y - A D(x), as in that paper's experiments, is not affine.)

Under a Gaussian law of z, D is affine and C_x does not depend on x, so all of them are affine in x. Hence a sampler
composes them into one map (affine.py), and its law given y is a Gaussian that is known exactly. With p(z | x)
Gaussian, (1) with V = C_x is Bayes' rule, so ``tmpd`` is exact. The exact denoiser has a second form, which
conditions in the other order: z given y is the Gaussian N(m_y, C_y), and D(x | y) is the denoiser of that Gaussian.

A = U diag(s) W^T is replaced by diag(s) W^T, and y by U^T y, which has at most d rows and changes no method but
``tmpd_diagonal``, because row sums depend on the basis. That method keeps A.

References
----------
- Boys, Girolami, Pidstrigach, Reich, Mosca and Akyildiz (2024), Tweedie moment projected diffusions for inverse
  problems. TMLR.
- Chung, Kim, McCann, Klasky and Ye (2023), Diffusion posterior sampling for general noisy inverse problems. ICLR.
- Song, Vahdat, Mardani and Kautz (2023), Pseudoinverse-guided diffusion models for inverse problems. ICLR.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar

from lineardiffusion._arrays import Array
from lineardiffusion.diffusion.denoisers import Denoiser, GaussianDenoiser, State
from lineardiffusion.diffusion.ode import integrate
from lineardiffusion.diffusion.samplers import Noise, Sampler, ddim, ddpm, get_sampler
from lineardiffusion.diffusion.schedules import Schedule, get_schedule
from lineardiffusion.diffusion.trajectory import Trajectory, compose
from lineardiffusion.distributions import bayes
from lineardiffusion.distributions.gaussian import Gaussian

__all__ = ["METHODS", "posterior_denoiser", "posterior_law"]

METHODS = ("exact", "tmpd", "tmpd_diagonal", "pigdm", "dps", "dps_score")
DIVERGED = 100.0  # a law that is larger than the prior by this factor is that of a sampler that diverges


@dataclass(frozen=True, eq=False)
class MeasuredDenoiser:
    """The denoiser (1) of one Gaussian given one measurement."""

    prior: GaussianDenoiser
    y: Array  # (m,)
    A: Array  # (m, d)
    variance: float  # tau^2
    method: str
    data_std: float = 1.0  # s of pigdm

    def __call__(self, x: State, alpha: float, sigma: float) -> State:
        x0 = self.prior(x, alpha, sigma)
        gain = self._gain(alpha, sigma)
        return x0 - x0 @ (self.A.T @ gain) + self.y @ gain

    def flow(self, x: State, start: tuple[float, float], end: tuple[float, float]) -> State:
        try:
            return integrate(self, x, start, end)
        except ValueError as error:
            raise ValueError(f"the flow of method {self.method!r} diverges; use ddim or ddpm") from error

    def contracting_step(self, trajectory: Trajectory) -> float:
        """Return the largest step zeta for which I - 2 zeta (dD/dx) A^T A (dD/dx) expands at no level."""
        levels = zip(*trajectory.levels, strict=True)
        slopes = [self.A @ self._slope(alpha, sigma) for alpha, sigma in levels if sigma]
        return 1 / max(float(np.linalg.norm(slope, 2)) ** 2 for slope in slopes)

    def gradient(self, x: State, alpha: float, sigma: float) -> State:
        """Return -grad_x |y - A D(x)|^2 = 2 (dD/dx) A^T (y - A D(x))."""
        x0: State = self.prior(x, alpha, sigma)
        slope = 2 * self.A @ self._slope(alpha, sigma)
        return x0 @ (-self.A.T @ slope) + self.y @ slope

    def _slope(self, alpha: float, sigma: float) -> Array:
        """Return dD/dx, (d, d)."""
        return self._times_covariance(alpha / (alpha**2 * self.prior.variance[0] + sigma**2))

    def _times_covariance(self, factor: Array) -> Array:
        """Return C diag(factor) in the eigenbasis of the prior's covariance C, (d, d)."""
        assert self.prior.basis is not None
        Q = self.prior.basis[0]
        return np.asarray((Q * (self.prior.variance[0] * factor)) @ Q.T)

    def _gain(self, alpha: float, sigma: float) -> Array:
        """Return (A V A^T + tau^2 I)^-1 A C_x, shape (m, d)."""
        A = self.A
        AC = A @ self._times_covariance(sigma**2 / (alpha**2 * self.prior.variance[0] + sigma**2))
        if self.method == "tmpd":
            spread = AC @ A.T
        elif self.method == "tmpd_diagonal":
            spread = np.diag((AC @ A.T).sum(axis=1))
        elif self.method == "pigdm":
            spread = (A @ A.T) * (self.data_std * sigma) ** 2 / ((self.data_std * alpha) ** 2 + sigma**2)
        else:
            spread = np.zeros((len(A), len(A)))
        if self.variance:
            return np.asarray(np.linalg.solve(spread + self.variance * np.eye(len(A)), AC))
        inverse = np.linalg.pinv(spread, rcond=1e-12, hermitian=True)  # a direction without variance has no spread
        return np.asarray(inverse @ AC)


@dataclass(frozen=True, eq=False)
class CorrectedSampler(Sampler):
    """Diffusion posterior sampling: a sampler whose every step is corrected towards the measurement.

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.
    sampler : ddim or ddpm
        Sampler of the steps, which adds its noise last; by keyword.
    gradient : callable
        ``gradient(x, alpha, sigma)``, minus the gradient of |y - A D(x)|^2; by keyword.
    step : float
        Step zeta of the correction; by keyword.
    """

    sampler: Sampler = field(kw_only=True)
    gradient: Callable[[Any, float, float], Any] = field(kw_only=True)
    step: float = field(kw_only=True)

    @property
    def stochastic(self) -> bool:
        return self.sampler.stochastic

    def __str__(self) -> str:
        return f"{self.sampler}, corrected"

    def __call__(
        self, denoise: Denoiser, x: State, schedule: Schedule, times: Array, add_noise: Noise
    ) -> Iterator[State]:
        for pair in pairwise(times):
            fresh: list[float] = []

            def postpone(x: State, tau: float, fresh: list[float] = fresh) -> State:
                fresh.append(tau)
                return x

            alpha, sigma = map(float, schedule(pair[0]))
            correction = self.step * self.gradient(x, alpha, sigma)
            (x,) = self.sampler(denoise, x, schedule, np.array(pair), postpone)
            x = x + correction
            for tau in fresh:
                x = add_noise(x, tau)
            yield x


def posterior_denoiser(
    law: Gaussian,
    y: ArrayLike,
    operator: Any,
    noise_std: float,
    *,
    method: str = "exact",
    data_std: float | None = None,
) -> Denoiser:
    """Return the denoiser of a Gaussian given a linear measurement, exactly or by an approximate method.

    Parameters
    ----------
    law : Gaussian
        Law of the data z, (d,): of latents or of pixels.
    y : array-like of shape (m,)
        Measured values.
    operator : array-like or scipy sparse array of shape (m, d), or the indices of m coordinates
        Matrix A.
    noise_std : float
        Standard deviation of the measurement's noise, in the unit of `y`; 0 for none.
    method : {"exact", "tmpd", "tmpd_diagonal", "pigdm", "dps_score"}, default="exact"
        Method, as in :func:`posterior_law`. ``"dps"`` has no denoiser: it corrects steps.
    data_std : float, default=None
        Standard deviation of the data that ``"pigdm"`` assumes, as in :func:`posterior_law`.

    Returns
    -------
    Denoiser
        ``denoiser(x, alpha, sigma)`` is the expected vector, shape (1, n, d), given `y` and
        ``x = alpha z + sigma n``, shape (1, n, d).

    Raises
    ------
    ValueError
        If `method` is unknown or has no denoiser, or a value is out of range.
    TypeError
        If `law` is not a Gaussian.

    See Also
    --------
    posterior_law : The law that a sampler draws from with this denoiser.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion import Gaussian
    >>> from lineardiffusion.posteriors import posterior_denoiser
    >>> law = Gaussian(np.zeros(2), np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> denoise = posterior_denoiser(law, [1.0], [0], 0.5)
    >>> denoise(np.array([[[0.3, -0.2]]]), 0.8, 0.6).round(3)  # E[z | x, y] with x = 0.8 z + 0.6 n, z_0 + n' = 1
    array([[[ 0.72 , -0.084]]])
    """
    if method == "dps":
        raise ValueError(
            "method 'dps' corrects steps and has no denoiser; use posterior_law, or method='dps_score'"
        )
    measured, A, noise_std, data_std = _check(law, y, operator, noise_std, method, data_std)
    if method == "exact":
        given = law.condition(y, operator, noise_std**2 * np.eye(len(A)) if noise_std else None)
        variance, basis = given.principal()
        return GaussianDenoiser(given.mean[None], variance[None], None if basis is None else basis[None])
    return _measured(law, measured, A, noise_std, method, data_std)


def posterior_law(
    law: Gaussian,
    y: ArrayLike,
    operator: Any,
    noise_std: float,
    *,
    method: str = "exact",
    sampler: str | Sampler | Callable[..., Any] = "ddpm",
    num_steps: int | None = None,
    schedule: str | Schedule | Callable[[Any], tuple[Any, Any]] = "cosine",
    step: float | None = None,
    data_std: float | None = None,
) -> Gaussian:
    """Return the law that a sampler draws from, given a linear measurement y = A z + noise.

    :meth:`~lineardiffusion.Gaussian.condition` gives the true posterior, and
    :meth:`~lineardiffusion.Gaussian.wasserstein` the distance to it.

    Parameters
    ----------
    law : Gaussian
        Law of the data z, (d,): of latents or of pixels.
    y : array-like of shape (m,)
        Measured values.
    operator : array-like or scipy sparse array of shape (m, d), or the indices of m coordinates
        Matrix A.
    noise_std : float
        Standard deviation of the measurement's noise, in the unit of `y`; 0 for none.
    method : str, default="exact"
        How the sampler takes `y` into account.

        - ``"exact"``: by the posterior denoiser E[z | x, y]. Only the sampler's steps are inexact.
        - ``"tmpd"``: by Tweedie's covariance of z given x (Boys et al. 2024). For a Gaussian it is exact.
        - ``"tmpd_diagonal"``: by the row sums of that covariance, the form used on images.
        - ``"pigdm"``: by an isotropic covariance of z given x (Song et al. 2023).
        - ``"dps"``: by a step against the gradient of ``|y - A D(x)|^2`` after every step (Chung et al. 2023).
        - ``"dps_score"``: by the likelihood of D(x), as if z were known to be D(x).
    sampler : str, Sampler or callable, default="ddpm"
        Sampler; ddim or ddpm with method ``"dps"``.
    num_steps : int, default=None
        Number of steps; None for the sampler's own.
    schedule : str, Schedule or callable, default="cosine"
        Noise schedule.
    step : float, default=None
        Step zeta of ``"dps"``, per squared unit of `y`; that method needs it, and no other takes it.
    data_std : float, default=None
        Standard deviation of the data that ``"pigdm"`` assumes, in the unit of z; no other method takes it. None
        for 1, about that of the paper's data.

    Returns
    -------
    Gaussian
        Exact law of what the sampler draws.

    Raises
    ------
    ValueError
        If the steps diverge, if `method` is unknown, if a value is out of range, or if `noise_std` is 0 and the law
        gives this y the probability 0.
    TypeError
        If `law` is not a Gaussian: given a mixture, the methods are not affine.

    See Also
    --------
    posterior_denoiser : The denoiser alone.
    lineardiffusion.Gaussian.condition : The true posterior.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion import Gaussian
    >>> from lineardiffusion.posteriors import posterior_law
    >>> law = Gaussian(np.zeros(2), np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> exact = law.condition([1.0], [0], [[0.25]])
    >>> for method in ("tmpd", "pigdm", "dps"):
    ...     step = 0.2 if method == "dps" else None
    ...     approx = posterior_law(law, [1.0], [0], 0.5, method=method, num_steps=200, step=step)
    ...     print(method, round(approx.wasserstein(exact), 2))
    tmpd 0.02
    pigdm 0.1
    dps 0.58
    """
    resolved = get_sampler(sampler, num_steps)
    measured, A, noise_std, data_std = _check(law, y, operator, noise_std, method, data_std)
    if (method == "dps") != (step is not None):
        raise ValueError("step is the step of method 'dps': that method needs it, and no other takes it")
    if method == "exact":
        denoiser = posterior_denoiser(law, y, operator, noise_std)
        x = compose(denoiser, 1, law.dim, Trajectory(resolved, get_schedule(schedule)))
        return Gaussian(x.offset[0], x.covariance[0])
    measuring = _measured(law, measured, A, noise_std, method, data_std)
    denoiser = measuring
    if step is not None:
        _check_number(step, "step")
        if not isinstance(resolved, ddim | ddpm):
            raise ValueError(f"method 'dps' corrects the steps of ddim or ddpm, got the sampler {resolved}")
        denoiser = measuring.prior
        resolved = CorrectedSampler(
            resolved.num_steps, sampler=resolved, gradient=measuring.gradient, step=float(step)
        )
    trajectory = Trajectory(resolved, get_schedule(schedule))
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            x = compose(denoiser, 1, law.dim, trajectory)
            size = _size(x.offset[0], x.covariance[0])
        except np.linalg.LinAlgError:  # numbers that have overflowed
            size = math.inf
    unit = _size(law.mean, law.covariance) + float(np.linalg.norm(np.linalg.lstsq(measuring.A, measuring.y)[0]))
    if not size <= DIVERGED * unit:
        advice = "more steps, or the sampler 'exact'"
        if step is not None:
            advice = f"a step below {measuring.contracting_step(trajectory):.2g}"
        what = f"its draws are {size / unit:.1g} times as large as those of the law"
        raise ValueError(f"method {method!r} diverges with {resolved}: {what}; take {advice}")
    return Gaussian(x.offset[0], x.covariance[0])


def _size(mean: Array, covariance: Array) -> float:
    return math.sqrt(np.trace(covariance)) + float(np.linalg.norm(mean))


def _check(
    law: Gaussian, y: ArrayLike, operator: Any, noise_std: float, method: str, data_std: float | None
) -> tuple[Array, Array, float, float]:
    """Return y (m,), A (m, d), tau and s."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose one of {', '.join(map(repr, METHODS))}")
    if not isinstance(law, Gaussian):
        what = "given a mixture these methods are not affine, and the law of their draws is not known"
        raise TypeError(f"law must be a Gaussian, got {type(law).__name__}; {what}")
    _check_number(noise_std, "noise_std")
    if data_std is not None and method != "pigdm":
        raise ValueError(f"data_std is a setting of method 'pigdm', and {method!r} does not take it")
    data_std = 1.0 if data_std is None else _check_number(data_std, "data_std", "neither")
    if method == "dps_score" and not noise_std:
        raise ValueError("method 'dps_score' divides by the noise's variance: noise_std must be above 0")
    measured, A, _ = bayes.check_measurement(y, operator, None, law.dim)
    if not noise_std and method != "exact":
        law.condition(y, operator)  # which refuses a y of probability 0; an approximation would not notice it
    return measured, A, float(noise_std), data_std


def _check_number(value: Any, name: str, boundaries: str = "left") -> float:
    """Return a finite number of 0 or more, or above 0."""
    check_scalar(value, name, numbers.Real, min_val=0.0, include_boundaries=boundaries)
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return float(value)


def _measured(
    law: Gaussian, y: Array, A: Array, noise_std: float, method: str, data_std: float
) -> MeasuredDenoiser:
    if method != "tmpd_diagonal":
        U, s, Wt = np.linalg.svd(A, full_matrices=False)
        kept = s > bayes.rounding(max(A.shape)) * s.max()
        y, A = y @ U[:, kept], s[kept, None] * Wt[kept]
    variance, basis = law.principal()
    basis = np.eye(law.dim) if basis is None else basis
    prior = GaussianDenoiser(law.mean[None], variance[None], basis[None])
    return MeasuredDenoiser(prior, y, A, noise_std**2, method, data_std)
