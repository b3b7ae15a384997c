"""Samplers: from noise to latents, step by step.

A sampler is a small frozen object. Called with a denoiser D, the state x at the first of the falling `times`,
the schedule, the times and a function that adds noise, it yields the state at every following time. A state is
a batch of latents or an affine map (affine.py): the arithmetic is the same, so a trajectory can be simulated
on data or composed into one matrix.

With x = alpha z + sigma n, the denoiser gives x0 = D(x) and the noise that follows from it, eps = (x - alpha
x0) / sigma. Primes mark the next level. ::

    ddim        x' = alpha' x0 + sqrt(sigma'^2 - tau^2) eps + tau n                (Song 2021, eq. 12)
                tau = eta sigma' sqrt(1 - (alpha sigma' / (alpha' sigma))^2)       (eq. 16)
    ddpm        ddim with eta = 1: ancestral sampling                              (Ho 2020, alg. 2)
                or with its larger variance: tau (sigma / r) (r' / sigma'),  r^2 = alpha^2 + sigma^2
    euler       x' = x + (t' - t) v,   v = (d alpha/dt) x0 + (d sigma/dt) eps
    heun        the mean of v at both ends                                         (Karras 2022, alg. 1)
    rk4         the mean of v at both ends and, twice, in the middle               (Hairer 1993, II.1)
    dpm++2m     x0 extrapolated from this step and the last, in log-SNR            (Lu 2022, alg. 2)
    em          x' = x + (t' - t) (f x - g^2 s) + g sqrt(t - t') n                 (Song 2021b, eq. 6)
    ei          y' = c y + 2 (c - 1) s_y + sqrt(c^2 - 1) n,   y = x / r            (Pierret 2025)
    exact       the solution of the probability-flow ODE, whatever the number of steps
    one_step    one ddim step from (alpha, sigma) = (1, 1) to (1, 0), so x' = D(x; 1, 1): the original of
                April 2023, which treats pure noise as if its signal-to-noise ratio were 1

em and ei discretise the reverse SDE (Song 2021b), dx = (f x - g^2 s) dt + g dw backwards in time, where ::

    f = (d alpha/dt) / alpha,    g^2 = 2 sigma (d sigma/dt) - 2 f sigma^2,    s = (alpha x0 - x) / sigma^2

and s is the score of x. em holds the whole drift constant within a step. ei holds only the score constant and
solves the rest exactly, for y = x / r, whose levels alpha / r and sigma / r have squares that sum to 1. There
c = (alpha' / r') / (alpha / r), and s_y = r s is the score of y. So ei, like ddim, ddpm and dpm++2m, depends on the
ratios alpha / sigma alone and needs no derivative; em, euler, heun and rk4 depend on the time too. The drift is
infinite where alpha is 0, so the step of em and ei out of pure noise is ddpm's.

The error falls with the number of steps n as 1 / n (ddim, ddpm, em, ei, euler), 1 / n^2 (heun; dpm++2m up to a
factor log n, because its first and last steps are of first order) or 1 / n^4 (rk4), until the last level of the
schedule limits it. That is the error against ``exact`` of a prompt without guidance. With guidance, or under
weights of prompts, the denoiser is of no single law, so the probability flow and the stochastic process have
different laws in the limit (Bradley and Nakkiran 2024): ddim, euler, heun, rk4 and dpm++2m converge to ``exact``,
and ddpm, em and ei to the law of the reverse SDE.

Any generator function with the signature of ``Sampler.__call__`` is a sampler too. Strings are shorthands:
``"ddim"`` is ``ddim()``. The classes are named in lower case, as those strings are.

References
----------
- Bradley and Nakkiran (2024), Classifier-free guidance is a predictor-corrector.
- Hairer, Norsett and Wanner (1993), Solving ordinary differential equations I.
- Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models. NeurIPS.
- Song, Meng and Ermon (2021), Denoising diffusion implicit models. ICLR.
- Song et al. (2021b), Score-based generative modeling through stochastic differential equations. ICLR.
- Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based models. NeurIPS.
- Lu et al. (2022), DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models.
- Pierret and Galerne (2025), Diffusion models for Gaussian distributions: exact solutions and Wasserstein errors.
  ICML.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, TypeAlias

import numpy as np
from sklearn.utils import check_scalar

from lineardiffusion._arrays import Array
from lineardiffusion._validation import check_integer
from lineardiffusion.diffusion.denoisers import Denoiser
from lineardiffusion.diffusion.denoisers import State as S
from lineardiffusion.diffusion.schedules import Karras, Schedule

__all__ = [
    "FunctionSampler", "Sampler", "ddim", "ddpm", "dpmpp_2m", "ei", "em", "euler", "exact", "get_sampler", "heun",
    "one_step", "rk4",
]  # fmt: skip

Noise: TypeAlias = Callable[[Any, float], Any]
SamplerFunction: TypeAlias = Callable[[Denoiser, Any, Schedule, Array, Noise], Iterator[Any]]


@dataclass(frozen=True)
class Sampler:
    """Base class of samplers; a subclass defines ``__call__`` as a generator.

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.

    Attributes
    ----------
    name : str
        Name of the sampler, as a string for :func:`get_sampler`.
    own_schedule : Schedule or None
        Schedule that is used in place of the model's.
    solves_flow : bool
        Whether it calls ``denoise.flow``, which may be costly.
    isotropic : bool
        Whether it only scales and adds the state and the denoised state. It then commutes with rotations, and a
        prompt's map is composed in its eigenbasis.
    keeps_signal : bool
        Whether its first level is meant to hold signal; otherwise a model warns of it.

    Examples
    --------
    A sampler that goes to the denoised state at once:

    >>> from lineardiffusion import LinearDiffusion
    >>> from lineardiffusion.samplers import Sampler
    >>> class jump(Sampler):
    ...     def __call__(self, denoise, x, schedule, times, add_noise):
    ...         for t in times[:-1]:
    ...             yield denoise(x, *schedule(t))
    >>> LinearDiffusion.from_gaussian([4.0], [9.0]).predict([""], latents=[[2.0]], sampler=jump(1))
    array([[4.]])
    """

    num_steps: int = 50

    name: ClassVar[str] = ""
    own_schedule: ClassVar[Schedule | None] = None  # used in place of the model's
    solves_flow: ClassVar[bool] = False  # whether it calls ``denoise.flow``, which may be costly
    isotropic: ClassVar[bool] = False  # whether it only scales and adds x and x0, and so commutes with rotations
    keeps_signal: ClassVar[bool] = False  # whether its first level is meant to hold signal

    def __post_init__(self) -> None:
        check_integer(self.num_steps, "num_steps")

    def __call__(self, denoise: Denoiser, x: S, schedule: Schedule, times: Array, add_noise: Noise) -> Iterator[S]:
        """Yield the state at each of the times after the first.

        Parameters
        ----------
        denoise : Denoiser
            ``denoise(x, alpha, sigma)`` is the expected clean latent.
        x : ndarray of shape (p, m, d) or Affine
            State at the first time. Only ``c * x``, ``x + y`` and ``x - y`` may be used.
        schedule : Schedule
            ``schedule(t)`` is (alpha, sigma).
        times : ndarray of shape (num_steps + 1,)
            Falling times, from noise to none.
        add_noise : callable
            ``add_noise(x, tau)`` is x + tau n with fresh noise n ~ N(0, I).

        Yields
        ------
        ndarray of shape (p, m, d) or Affine
            State at the next time.
        """
        raise TypeError(f"{type(self).__name__} must define __call__, a generator of states")

    @property
    def stochastic(self) -> bool:
        """Whether the sampler may add noise."""
        return False

    def times(self, schedule: Schedule) -> Array:
        """Return the falling times to visit, from noise to none.

        Parameters
        ----------
        schedule : Schedule
            Noise schedule.

        Returns
        -------
        ndarray of shape (num_steps + 1,)
            Times of the schedule.
        """
        return schedule.times(self.num_steps)

    def __str__(self) -> str:
        return f"{self.name or type(self).__name__}, {self.num_steps} steps"


class _Implicit(Sampler):
    """Base class of ddim and its special cases."""

    eta: float  # share of the noise of ancestral sampling
    isotropic: ClassVar[bool] = True

    @property
    def stochastic(self) -> bool:
        return self.eta > 0.0

    def __call__(self, denoise: Denoiser, x: S, schedule: Schedule, times: Array, add_noise: Noise) -> Iterator[S]:
        for (alpha, sigma), (alpha_, sigma_) in _levels(schedule, times):
            x0 = denoise(x, alpha, sigma)
            # eq. 16: the standard deviation of x' given x and z, for the levels' signal-to-noise ratios
            kept = (alpha * sigma_ / (alpha_ * sigma)) ** 2
            tau = self.eta * sigma_ * math.sqrt(max(1.0 - kept, 0.0))
            direction = math.sqrt(sigma_**2 - tau**2) / sigma
            x = direction * x + (alpha_ - direction * alpha) * x0
            if tau > 0.0:
                x = add_noise(x, tau * self._widening(alpha, sigma, alpha_, sigma_))
            yield x

    def _widening(self, alpha: float, sigma: float, alpha_: float, sigma_: float) -> float:
        """Return the standard deviation of the noise added, in units of that of x' given x and z."""
        return 1.0


@dataclass(frozen=True)
class ddim(_Implicit):
    """Denoising diffusion implicit models: deterministic with ``eta=0``, ancestral with 1.

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.
    eta : float, default=0.0
        Share of the noise of ancestral sampling, from 0 to 1.

    See Also
    --------
    ddpm : The sampler with ``eta=1``, and its other variance.

    Examples
    --------
    The distance of the sampler's law to the law of the data, by the number of steps:

    >>> from lineardiffusion import LinearDiffusion, samplers
    >>> ld = LinearDiffusion.from_gaussian([0.0, 0.0], [1.0, 9.0])
    >>> [round(ld.law("", sampler=samplers.ddim(n)).wasserstein(ld.law("")), 3) for n in (10, 20, 40)]
    [0.177, 0.091, 0.046]
    """

    eta: float = 0.0
    name: ClassVar[str] = "ddim"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= check_scalar(self.eta, "eta", numbers.Real) <= 1.0:
            raise ValueError(f"eta must be between 0 (deterministic) and 1 (ddpm), got {self.eta!r}")


@dataclass(frozen=True)
class ddpm(_Implicit):
    """Ancestral sampling: ddim with eta = 1, and either variance of Ho et al. (2020, section 3.2).

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.
    variance : {"fixed_small", "fixed_large"}, default="fixed_small"
        Variance of the noise that a step adds, by the names of ``variance_type`` in diffusers. ``"fixed_small"`` is
        the variance of the posterior q(x' | x, x0), right for data that are a single point; ``"fixed_large"`` is
        that of x' given x for data of the law N(0, I), which under a variance preserving schedule is beta = 1 -
        (alpha / alpha')^2. The step to no noise adds none (Ho et al. 2020, algorithm 2). Both converge to the same
        law.

    Examples
    --------
    The distance of the sampler's law to the law of the data, by the number of steps:

    >>> from lineardiffusion import LinearDiffusion, samplers
    >>> ld = LinearDiffusion.from_gaussian([0.0, 0.0], [1.0, 9.0])
    >>> [round(ld.law("", sampler=samplers.ddpm(n)).wasserstein(ld.law("")), 3) for n in (10, 20, 40)]
    [0.252, 0.142, 0.077]
    """

    variance: str = "fixed_small"
    name: ClassVar[str] = "ddpm"
    eta = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variance not in ("fixed_small", "fixed_large"):
            what = "the variance of the posterior) or 'fixed_large' (beta)"
            raise ValueError(f"variance must be 'fixed_small' ({what}, got {self.variance!r}")

    def _widening(self, alpha: float, sigma: float, alpha_: float, sigma_: float) -> float:
        if self.variance == "fixed_small":
            return 1.0
        return sigma / math.hypot(alpha, sigma) * math.hypot(alpha_, sigma_) / sigma_


@dataclass(frozen=True)
class euler(Sampler):
    """Euler's method on the probability-flow ODE in the schedule's own time.

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.

    Examples
    --------
    The distance of the sampler's law to the law of the data, by the number of steps:

    >>> from lineardiffusion import LinearDiffusion, samplers
    >>> ld = LinearDiffusion.from_gaussian([0.0, 0.0], [1.0, 9.0])
    >>> [round(ld.law("", sampler=samplers.euler(n)).wasserstein(ld.law("")), 3) for n in (10, 20, 40)]
    [0.019, 0.01, 0.005]
    """

    name: ClassVar[str] = "euler"
    isotropic: ClassVar[bool] = True

    def __call__(self, denoise: Denoiser, x: S, schedule: Schedule, times: Array, add_noise: Noise) -> Iterator[S]:
        for t, t_ in pairwise(times.tolist()):
            x = x + (t_ - t) * velocity(denoise, x, schedule, t)
            yield x


@dataclass(frozen=True)
class heun(Sampler):
    """Heun's method on the probability-flow ODE; the last step, to no noise at all, is Euler's.

    A step calls the denoiser twice, and the last step once.

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.

    Examples
    --------
    The distance of the sampler's law to the law of the data, by the number of steps:

    >>> from lineardiffusion import LinearDiffusion, samplers
    >>> ld = LinearDiffusion.from_gaussian([0.0, 0.0], [1.0, 9.0])
    >>> [round(ld.law("", sampler=samplers.heun(n)).wasserstein(ld.law("")), 3) for n in (10, 20, 40)]
    [0.017, 0.004, 0.001]
    """

    name: ClassVar[str] = "heun"
    isotropic: ClassVar[bool] = True

    def __call__(self, denoise: Denoiser, x: S, schedule: Schedule, times: Array, add_noise: Noise) -> Iterator[S]:
        for t, t_ in pairwise(times.tolist()):
            v = velocity(denoise, x, schedule, t)
            if schedule(t_)[1] > 0.0:
                v = 0.5 * (v + velocity(denoise, x + (t_ - t) * v, schedule, t_))
            x = x + (t_ - t) * v
            yield x


@dataclass(frozen=True)
class rk4(Sampler):
    """Runge-Kutta's classical method of order 4 on the probability-flow ODE, four denoisings a step.

    The velocity is undefined where there is no noise, so the step to no noise is Heun's method of order 3. That
    method does not evaluate the velocity at the end, and the error of a single step of it is of order 4.

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.

    Examples
    --------
    The distance of the sampler's law to the law of the data, by the number of steps:

    >>> from lineardiffusion import LinearDiffusion, samplers
    >>> ld = LinearDiffusion.from_gaussian([0.0, 0.0], [1.0, 9.0])
    >>> [round(ld.law("", sampler=samplers.rk4(n)).wasserstein(ld.law("")), 5) for n in (4, 8, 16)]
    [0.00106, 0.00014, 1e-05]
    """

    name: ClassVar[str] = "rk4"
    isotropic: ClassVar[bool] = True

    def __call__(self, denoise: Denoiser, x: S, schedule: Schedule, times: Array, add_noise: Noise) -> Iterator[S]:
        for t, t_ in pairwise(times.tolist()):
            h = t_ - t
            v1 = velocity(denoise, x, schedule, t)
            if schedule(t_)[1] > 0.0:
                v2 = velocity(denoise, x + (0.5 * h) * v1, schedule, t + 0.5 * h)
                v3 = velocity(denoise, x + (0.5 * h) * v2, schedule, t + 0.5 * h)
                v4 = velocity(denoise, x + h * v3, schedule, t_)
                x = x + (h / 6.0) * (v1 + 2.0 * v2 + 2.0 * v3 + v4)
            else:
                v2 = velocity(denoise, x + (h / 3.0) * v1, schedule, t + h / 3.0)
                v3 = velocity(denoise, x + (2.0 * h / 3.0) * v2, schedule, t + 2.0 * h / 3.0)
                x = x + (0.25 * h) * (v1 + 3.0 * v3)
            yield x


@dataclass(frozen=True)
class em(Sampler):
    """Euler-Maruyama method on the reverse SDE, in the schedule's own time.

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.

    Examples
    --------
    The distance of the sampler's law to the law of the data, by the number of steps:

    >>> from lineardiffusion import LinearDiffusion, samplers
    >>> ld = LinearDiffusion.from_gaussian([0.0, 0.0], [1.0, 9.0])
    >>> [round(ld.law("", sampler=samplers.em(n)).wasserstein(ld.law("")), 3) for n in (20, 40, 80)]
    [0.05, 0.025, 0.012]
    """

    name: ClassVar[str] = "em"
    isotropic: ClassVar[bool] = True

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, denoise: Denoiser, x: S, schedule: Schedule, times: Array, add_noise: Noise) -> Iterator[S]:
        for t, t_ in pairwise(times.tolist()):
            alpha, sigma = map(float, schedule(t))
            if alpha == 0.0:
                x = _from_noise(denoise, x, sigma, schedule(t_), add_noise)
            else:
                alpha_dot, sigma_dot = schedule.derivative(t)
                f, h = alpha_dot / alpha, t - t_
                g2 = 2.0 * sigma * (sigma_dot - f * sigma)
                gain = h * g2 / sigma**2  # of alpha x0 - x, which is sigma^2 s
                x = (1.0 - h * f - gain) * x + (gain * alpha) * denoise(x, alpha, sigma)
                x = add_noise(x, math.sqrt(h * g2))
            yield x


@dataclass(frozen=True)
class ei(Sampler):
    """Exponential integrator of the reverse SDE: the score is constant within a step, all else is exact.

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.

    Examples
    --------
    The distance of the sampler's law to the law of the data, by the number of steps:

    >>> from lineardiffusion import LinearDiffusion, samplers
    >>> ld = LinearDiffusion.from_gaussian([0.0, 0.0], [1.0, 9.0])
    >>> [round(ld.law("", sampler=samplers.ei(n)).wasserstein(ld.law("")), 3) for n in (10, 20, 40)]
    [0.203, 0.099, 0.048]
    """

    name: ClassVar[str] = "ei"
    isotropic: ClassVar[bool] = True

    @property
    def stochastic(self) -> bool:
        return True

    def __call__(self, denoise: Denoiser, x: S, schedule: Schedule, times: Array, add_noise: Noise) -> Iterator[S]:
        for (alpha, sigma), (alpha_, sigma_) in _levels(schedule, times):
            if alpha == 0.0:
                x = _from_noise(denoise, x, sigma, (alpha_, sigma_), add_noise)
            else:
                r, r_ = math.hypot(alpha, sigma), math.hypot(alpha_, sigma_)
                ratio = alpha * sigma_ / (alpha_ * sigma)
                c = alpha_ * r / (alpha * r_)
                gain = 2.0 * (c - 1.0) * r_ * r / sigma**2
                x = (alpha_ / alpha - gain) * x + (gain * alpha) * denoise(x, alpha, sigma)
                x = add_noise(x, r_ * (sigma / r) * c * math.sqrt(1.0 - ratio**2))  # c^2 - 1, without cancellation
            yield x


@dataclass(frozen=True)
class dpmpp_2m(Sampler):
    """DPM-Solver++(2M), of order 2: the denoised state is extrapolated from this step and the last.

    With l = log(alpha / sigma), h = l' - l and r = h_last / h ::

        x' = (sigma' / sigma) x + alpha' (1 - exp(-h)) ((1 + 1 / 2r) x0 - (1 / 2r) x0_last)

    It is of first order where h is infinite: out of pure noise and into none.

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.

    Examples
    --------
    The distance of the sampler's law to the law of the data, by the number of steps:

    >>> from lineardiffusion import LinearDiffusion, samplers
    >>> ld = LinearDiffusion.from_gaussian([0.0, 0.0], [1.0, 9.0])
    >>> [round(ld.law("", sampler=samplers.dpmpp_2m(n)).wasserstein(ld.law("")), 4) for n in (20, 40, 80)]
    [0.0127, 0.0044, 0.0016]
    """

    name: ClassVar[str] = "dpm++2m"
    isotropic: ClassVar[bool] = True

    def __call__(self, denoise: Denoiser, x: S, schedule: Schedule, times: Array, add_noise: Noise) -> Iterator[S]:
        x0_last, h_last = None, math.inf
        for (alpha, sigma), (alpha_, sigma_) in _levels(schedule, times):
            shrink = alpha * sigma_ / (alpha_ * sigma)  # exp(-h)
            h = -math.log(shrink) if shrink > 0.0 else math.inf
            x0 = estimate = denoise(x, alpha, sigma)
            if x0_last is not None and math.isfinite(h) and math.isfinite(h_last):
                estimate = x0 + (0.5 * h / h_last) * (x0 - x0_last)
            x = (sigma_ / sigma) * x + (alpha_ * (1.0 - shrink)) * estimate
            x0_last, h_last = x0, h
            yield x


@dataclass(frozen=True)
class exact(Sampler):
    """Exact solution of the probability-flow ODE; the number of steps matters only to a trajectory.

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, samplers
    >>> ld = LinearDiffusion.from_gaussian([0.0, 0.0], [1.0, 9.0])
    >>> ld.law("", sampler=samplers.exact(1), space="pixels").covariance.round(6)
    array([[1., 0.],
           [0., 9.]])
    """

    name: ClassVar[str] = "exact"
    solves_flow: ClassVar[bool] = True
    isotropic: ClassVar[bool] = True

    def __call__(self, denoise: Denoiser, x: S, schedule: Schedule, times: Array, add_noise: Noise) -> Iterator[S]:
        for start, end in _levels(schedule, times):
            x = denoise.flow(x, (start[0], start[1]), (end[0], end[1]))
            yield x

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class one_step(_Implicit):
    """One step, x' = D(x; 1, 1): the original of April 2023.

    Parameters
    ----------
    num_steps : int, default=50
        Without effect: the number of steps is always 1.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, samplers
    >>> ld = LinearDiffusion.from_gaussian([4.0], [9.0])
    >>> ld.predict([""], latents=[[2.0]], sampler=samplers.one_step())  # the denoiser halves the noise
    array([[7.]])
    """

    name: ClassVar[str] = "one_step"
    eta = 0.0
    own_schedule: ClassVar[Schedule | None] = Karras(sigma_max=1.0)
    keeps_signal: ClassVar[bool] = True

    def times(self, schedule: Schedule) -> Array:
        return schedule.times(1)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class FunctionSampler(Sampler):
    """A user's generator function as a sampler.

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.
    function : callable
        Generator with the signature of :meth:`Sampler.__call__`; by keyword.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion
    >>> from lineardiffusion.samplers import FunctionSampler
    >>> def jump(denoise, x, schedule, times, add_noise):
    ...     for t in times[:-1]:
    ...         yield denoise(x, *schedule(t))
    >>> FunctionSampler(1, function=jump)
    FunctionSampler(num_steps=1, function=<function jump at ...>)
    >>> LinearDiffusion.from_gaussian([4.0], [9.0]).predict([""], latents=[[2.0]], sampler=jump, num_steps=1)
    array([[4.]])
    """

    function: SamplerFunction = field(kw_only=True)

    @property
    def stochastic(self) -> bool:
        return True  # it may be, and only a run would show

    def __call__(self, denoise: Denoiser, x: S, schedule: Schedule, times: Array, add_noise: Noise) -> Iterator[S]:
        return self.function(denoise, x, schedule, times, add_noise)

    def __str__(self) -> str:
        return f"{getattr(self.function, '__name__', 'function')}, {self.num_steps} steps"


_BUILT_IN = (exact, ddim, ddpm, euler, heun, rk4, dpmpp_2m, em, ei, one_step)
SAMPLERS: dict[str, type[Sampler]] = {one.name: one for one in _BUILT_IN}
# what other libraries call samplers of the same law at the same levels (docs/research/names.md)
ALIASES = {
    "DDIM": "ddim", "DDPM": "ddpm", "Euler a": "ddpm", "Heun": "heun", "DPM++ 2M": "dpm++2m", "dpmpp_2m": "dpm++2m",
}  # fmt: skip


def get_sampler(sampler: Any, num_steps: int | None = None) -> Sampler:
    """Return the sampler of a name, the sampler itself, or the sampler of a function.

    Parameters
    ----------
    sampler : str, Sampler or callable
        Name, object, or generator function with the signature of :meth:`Sampler.__call__`. Names that diffusers and
        the web interfaces have for the same sampler are taken too, "DPM++ 2M" for "dpm++2m" (see
        docs/research/names.md).
    num_steps : int, default=None
        Number of steps; None for the sampler's own.

    Returns
    -------
    Sampler
        Sampler as a frozen object, with this number of steps.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If this is no sampler.

    Examples
    --------
    >>> from lineardiffusion.samplers import get_sampler
    >>> get_sampler("DPM++ 2M", 20)
    dpmpp_2m(num_steps=20)
    """
    steps = {} if num_steps is None else {"num_steps": num_steps}
    if isinstance(sampler, Sampler):
        return replace(sampler, **steps) if steps else sampler
    if isinstance(sampler, str):
        name = ALIASES.get(sampler, sampler)
        if name not in SAMPLERS:
            what = " (other libraries' Euler is 'ddim')" if sampler.lower() == "euler" else ""
            raise ValueError(f"unknown sampler {sampler!r}{what}; choose one of {', '.join(map(repr, SAMPLERS))}")
        return SAMPLERS[name](**steps)
    if callable(sampler) and not isinstance(sampler, type):
        return FunctionSampler(**steps, function=sampler)
    raise TypeError(
        "sampler must be a name, a sampler such as ddim(20), or a generator function of "
        f"(denoise, x, schedule, times, add_noise); got {sampler!r}"
    )


def velocity(denoise: Denoiser, x: S, schedule: Schedule, t: float) -> S:
    """Return dx/dt of the probability flow: (d alpha/dt) x0 + (d sigma/dt) eps."""
    alpha, sigma = map(float, schedule(t))
    alpha_dot, sigma_dot = schedule.derivative(t)
    x0 = denoise(x, alpha, sigma)
    return (sigma_dot / sigma) * x + (alpha_dot - sigma_dot * alpha / sigma) * x0


def _from_noise(denoise: Denoiser, x: S, sigma: float, end: tuple[Any, Any], add_noise: Noise) -> S:
    """Return ddpm's step from pure noise, alpha = 0, where the drift of the reverse SDE is infinite."""
    alpha_, sigma_ = map(float, end)
    x = alpha_ * denoise(x, 0.0, sigma)
    return add_noise(x, sigma_) if sigma_ > 0.0 else x


def _levels(schedule: Schedule, times: Array) -> Iterator[tuple[tuple[float, float], ...]]:
    """Return the pairs ((alpha, sigma), (alpha', sigma')) of consecutive times."""
    alpha, sigma = (np.asarray(values, dtype=float).tolist() for values in schedule(times))
    return pairwise(zip(alpha, sigma, strict=True))
