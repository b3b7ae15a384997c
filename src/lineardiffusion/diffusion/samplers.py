"""Samplers: from noise to latents, step by step.

A sampler is a small frozen object. Called with a denoiser D, the state x at the first of the falling `times`,
the schedule, the times and a function that adds noise, it yields the state at every following time. A state is
a batch of latents or an affine map (affine.py): the arithmetic is the same, so a trajectory can be simulated
on data or composed into one matrix.

With x = alpha z + sigma n, the denoiser gives x0 = D(x) and the noise that follows from it, eps = (x - alpha
x0) / sigma. Primes mark the next level.

    ddim        x' = alpha' x0 + sqrt(sigma'^2 - tau^2) eps + tau n                (Song 2021, eq. 12)
                tau = eta sigma' sqrt(1 - (alpha sigma' / (alpha' sigma))^2)       (eq. 16)
    ddpm        ddim with eta = 1: ancestral sampling                              (Ho 2020, alg. 2)
    euler       x' = x + (t' - t) v,   v = (d alpha/dt) x0 + (d sigma/dt) eps
    heun        the mean of v at both ends                                         (Karras 2022, alg. 1)
    dpm++2m     x0 extrapolated from this step and the last, in log-SNR            (Lu 2022, alg. 2)
    exact       the solution of the probability-flow ODE, whatever the number of steps
    one_step    one ddim step from (alpha, sigma) = (1, 1) to (1, 0), so x' = D(x; 1, 1): the original of
                April 2023, which treats pure noise as if its signal-to-noise ratio were 1

The error falls with the number of steps n as 1 / n (ddim, ddpm, euler) or 1 / n^2 (heun; dpm++2m up to a
factor log n, because its first and last steps are of first order), until the last level of the schedule
limits it. That is the error against ``exact`` of a prompt without guidance. With guidance, or under weights of
prompts, the denoiser is of no single law, so the probability flow and the stochastic process have different laws in
the limit (Bradley and Nakkiran 2024): ddim, euler, heun and dpm++2m converge to ``exact``, ddpm to its own limit.

Any generator function with the signature of ``Sampler.__call__`` is a sampler too. Strings are shorthands:
``"ddim"`` is ``ddim()``. The classes are named in lower case, as those strings are.

References
----------
Bradley and Nakkiran (2024), Classifier-free guidance is a predictor-corrector.
Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models. NeurIPS.
Song, Meng and Ermon (2021), Denoising diffusion implicit models. ICLR.
Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based models. NeurIPS.
Lu et al. (2022), DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models.
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
    "FunctionSampler", "Sampler", "ddim", "ddpm", "dpmpp_2m", "euler", "exact", "get_sampler", "heun", "one_step",
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
        """
        raise TypeError(f"{type(self).__name__} must define __call__, a generator of states")

    @property
    def stochastic(self) -> bool:
        """Whether the sampler may add noise."""
        return False

    def times(self, schedule: Schedule) -> Array:
        """Return the falling times to visit, from noise to none."""
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
                x = add_noise(x, tau)
            yield x


@dataclass(frozen=True)
class ddim(_Implicit):
    """Denoising diffusion implicit models: deterministic with ``eta=0``, ancestral with 1.

    Parameters
    ----------
    num_steps : int, default=50
        Number of steps.
    eta : float, default=0.0
        Share of the noise of ancestral sampling, from 0 to 1.
    """

    eta: float = 0.0
    name: ClassVar[str] = "ddim"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= check_scalar(self.eta, "eta", numbers.Real) <= 1.0:
            raise ValueError(f"eta must be between 0 (deterministic) and 1 (ddpm), got {self.eta!r}")


@dataclass(frozen=True)
class ddpm(_Implicit):
    """Ancestral sampling from the posterior q(x' | x, x0): ddim with eta = 1."""

    name: ClassVar[str] = "ddpm"
    eta = 1.0


@dataclass(frozen=True)
class euler(Sampler):
    """Euler's method on the probability-flow ODE in the schedule's own time."""

    name: ClassVar[str] = "euler"
    isotropic: ClassVar[bool] = True

    def __call__(self, denoise: Denoiser, x: S, schedule: Schedule, times: Array, add_noise: Noise) -> Iterator[S]:
        for t, t_ in pairwise(times.tolist()):
            x = x + (t_ - t) * velocity(denoise, x, schedule, t)
            yield x


@dataclass(frozen=True)
class heun(Sampler):
    """Heun's method on the probability-flow ODE; the last step, to no noise at all, is Euler's."""

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
class dpmpp_2m(Sampler):
    """DPM-Solver++(2M): with l = log(alpha / sigma), h = l' - l and r = h_last / h,

    x' = (sigma' / sigma) x + alpha' (1 - exp(-h)) ((1 + 1 / 2r) x0 - (1 / 2r) x0_last)

    First order where h is infinite: out of pure noise and into none.
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
    """The solution of the probability-flow ODE; the number of steps matters only to a trajectory."""

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
    """The original of April 2023: one step, x' = D(x; 1, 1). The number of steps is always 1."""

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
    """

    function: SamplerFunction = field(kw_only=True)

    @property
    def stochastic(self) -> bool:
        return True  # it may be, and only a run would show

    def __call__(self, denoise: Denoiser, x: S, schedule: Schedule, times: Array, add_noise: Noise) -> Iterator[S]:
        return self.function(denoise, x, schedule, times, add_noise)

    def __str__(self) -> str:
        return f"{getattr(self.function, '__name__', 'function')}, {self.num_steps} steps"


SAMPLERS: dict[str, type[Sampler]] = {one.name: one for one in (exact, ddim, ddpm, euler, heun, dpmpp_2m, one_step)}


def get_sampler(sampler: Any, num_steps: int | None = None) -> Sampler:
    """Return the sampler of a name, the sampler itself, or the sampler of a function.

    Parameters
    ----------
    sampler : str, Sampler or callable
        Name, object, or generator function with the signature of :meth:`Sampler.__call__`.
    num_steps : int, default=None
        Number of steps; None for the sampler's own.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If this is no sampler.
    """
    steps = {} if num_steps is None else {"num_steps": num_steps}
    if isinstance(sampler, Sampler):
        return replace(sampler, **steps) if steps else sampler
    if isinstance(sampler, str):
        if sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {sampler!r}; choose one of {', '.join(map(repr, SAMPLERS))}")
        return SAMPLERS[sampler](**steps)
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


def _levels(schedule: Schedule, times: Array) -> Iterator[tuple[tuple[float, float], ...]]:
    """Return the pairs ((alpha, sigma), (alpha', sigma')) of consecutive times."""
    alpha, sigma = (np.asarray(values, dtype=float).tolist() for values in schedule(times))
    return pairwise(zip(alpha, sigma, strict=True))
