"""Trajectories: one sampler's whole way, composed or walked.

A plan says which way: the sampler, the schedule and the times it visits. Composed, the way is one affine
map from starting noise to latent, whatever the number of steps. Walked, it takes a batch of latents step
by step and shows every one. Both run the same sampler, and end in the same place.

In the one-symbol-a-prompt model every step is diagonal in the eigenbasis of the prompt's covariance, so a
trajectory is composed there, and turned back once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lineardiffusion import sample
from lineardiffusion.affine import Affine
from lineardiffusion.denoise import Denoiser, GaussianDenoiser
from lineardiffusion.moments import Array
from lineardiffusion.schedule import Karras, Schedule, get_schedule

SAMPLERS: dict[str, Callable[..., Iterator[Any]]] = {
    "exact": sample.exact,
    "ddim": sample.ddim,
    "ddpm": sample.ddpm,
    "euler": sample.euler,
    "heun": sample.heun,
    "dpm++2m": sample.dpm_solver_pp_2m,
    "one_step": sample.ddim,
}


@dataclass(frozen=True)
class Plan:
    """A sampler, and where it goes.

    Attributes
    ----------
    sampler : callable
        One of the samplers of :mod:`lineardiffusion.sample`.
    schedule : Schedule
    times : ndarray of shape (num_steps + 1,)
        Falling, from pure noise to none.
    key : tuple
        What tells this plan from another.
    """

    sampler: Callable[..., Iterator[Any]]
    schedule: Schedule
    times: Array
    key: tuple[Any, ...]

    @classmethod
    def of(
        cls, sampler: str, num_steps: int, schedule: Any, eta: float, every_step: bool, strength: float = 1.0
    ) -> Plan:
        """The plan of these settings, the last `strength` of its steps.

        `every_step` asks ``exact`` to stop at each time too.
        """
        if not isinstance(sampler, str) or sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {sampler!r}; choose one of {', '.join(map(repr, SAMPLERS))}")
        if isinstance(num_steps, bool) or not isinstance(num_steps, int | np.integer):
            raise TypeError(f"num_steps must be an int, got {num_steps!r}")
        if num_steps < 1:
            raise ValueError(f"num_steps must be 1 or more, got {num_steps}")
        if not isinstance(eta, int | float | np.number) or not 0.0 <= eta <= 1.0:
            raise ValueError(f"eta must be between 0 (deterministic) and 1 (ddpm), got {eta!r}")
        way = SAMPLERS[sampler]
        if sampler == "ddim" and eta:
            way = partial(sample.ddim, eta=float(eta))
        if sampler == "one_step":
            schedule, num_steps = Karras(sigma_max=1.0), 1
        found = get_schedule(schedule)
        times = _last(found.times(int(num_steps)), strength)
        if sampler == "exact" and not every_step:
            times = times[[0, -1]]
        alpha, sigma = _check_levels(found, times)
        key = (sampler, float(eta), times.tobytes(), alpha.tobytes(), sigma.tobytes())
        return cls(way, found, times, key)

    @property
    def stochastic(self) -> bool:
        """Whether the sampler adds noise of its own."""
        return bool(self.key[0] == "ddpm" or (self.key[0] == "ddim" and self.key[1] > 0))

    @property
    def start(self) -> tuple[float, float]:
        """alpha and sigma at the first time."""
        alpha, sigma = self.schedule(float(self.times[0]))
        return float(alpha), float(sigma)


def _last(times: Array, strength: float) -> Array:
    """The times of the last `strength` of the steps."""
    if not isinstance(strength, int | float | np.number) or not 0.0 < strength <= 1.0:
        raise ValueError(f"strength must be above 0 and at most 1, which is pure noise; got {strength!r}")
    n = len(times) - 1
    if not (kept := round(strength * n)):
        raise ValueError(
            f"strength={strength} of {n} steps is no step; take more: num_steps={math.ceil(1 / strength)}"
        )
    return times[n - kept :]


def _check_levels(schedule: Schedule, times: Array) -> tuple[Array, Array]:
    """alpha and sigma at the times, if they lead from noise to the latent itself."""
    try:
        alpha, sigma = (np.asarray(level, dtype=float) for level in schedule(times))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(
            f"schedule {schedule!r} failed ({error}); it must be a function t -> (alpha, sigma)"
        ) from error
    fine = np.isfinite([times, alpha, sigma]).all() and (sigma[:-1] > 0).all() and (alpha[1:] > 0).all()
    if not fine or abs(alpha[-1] - 1) > 1e-6 or abs(sigma[-1]) > 1e-6:
        raise ValueError(
            f"schedule {schedule!r} must lead from noise at t = t_max to alpha = 1, sigma = 0 at t = 0, with "
            f"sigma above 0 before; got alpha from {alpha[0]:.3g} to {alpha[-1]:.3g} and sigma from "
            f"{sigma[0]:.3g} to {sigma[-1]:.3g}"
        )
    return alpha, sigma


def compose(denoiser: Denoiser, p: int, d: int, plan: Plan) -> Affine:
    """The map from starting noise z ~ N(0, I) to latent, for the denoiser's p prompts."""
    _, sigma = plan.start
    basis = denoiser.basis if isinstance(denoiser, GaussianDenoiser) else None
    turned = denoiser.diagonal() if isinstance(denoiser, GaussianDenoiser) else denoiser
    start = sigma * Affine.identity(p, d, diagonal=isinstance(denoiser, GaussianDenoiser))
    x: Affine
    *_, x = plan.sampler(turned, start, plan.schedule, plan.times, Affine.with_noise)
    return x if basis is None else x.rotate(basis)


def walk(
    denoiser: Denoiser,
    noise: Array,
    plan: Plan,
    generators: list[np.random.Generator],
) -> Iterator[Array]:
    """Latents at every time of the plan, from the start on, each of the shape (p, m, d) of `noise`.

    `generators`, one for each of the p m latents in turn, feed a stochastic sampler.
    """

    def add_noise(x: Array, tau: float) -> Array:
        fresh = [generator.normal(size=x.shape[-1]) for generator in generators]
        return x + tau * np.reshape(fresh, x.shape)

    _, sigma = plan.start
    x = sigma * noise
    yield x
    yield from plan.sampler(denoiser, x, plan.schedule, plan.times, add_noise)
