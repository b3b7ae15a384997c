"""Trajectories: a sampler with a schedule and times, composed into one map or simulated.

Composed, a trajectory is one affine map from starting noise to latent, whatever the number of steps.
Simulated, it takes a batch of latents step by step and yields every one. Both run the same sampler and agree.

With one symbol per prompt every step is diagonal in the eigenbasis of the prompt's covariance, so a trajectory is
composed in that basis and rotated back once.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from types import NoneType
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from lineardiffusion._arrays import Array
from lineardiffusion._cache import computed_once
from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.diffusion.denoisers import Denoiser, GaussianDenoiser
from lineardiffusion.diffusion.samplers import Sampler
from lineardiffusion.diffusion.schedules import Schedule


@dataclass(frozen=True)
class Trajectory:
    """A sampler and the noise levels that it visits."""

    sampler: Sampler
    schedule: Schedule  # of the model; a sampler may have its own
    every_step: bool = False  # whether a sampler that solves the flow stops at every time; the end is the same
    strength: float = 1.0  # share of the steps that is taken, the last ones; above 0 and at most 1

    @computed_once
    def own_schedule(self) -> Schedule:
        """The sampler's schedule if it has one, or the model's."""
        return self.sampler.own_schedule or self.schedule

    def __post_init__(self) -> None:
        check_scalar(self.strength, "strength", numbers.Real, min_val=0, max_val=1, include_boundaries="right")

    @computed_once
    def times(self) -> Array:
        """Falling times (num_steps + 1,), from noise to none."""
        times = self.sampler.times(self.own_schedule)
        n = len(times) - 1
        if not (kept := round(self.strength * n)):
            enough = math.ceil(1 / self.strength)
            raise ValueError(f"strength={self.strength} of {n} steps is no step; use num_steps={enough}")
        times = times[n - kept :]
        return times[[0, -1]] if self.sampler.solves_flow and not self.every_step else times

    @computed_once
    def levels(self) -> tuple[Array, Array]:
        """alpha and sigma at the times, checked to lead from noise to the latent itself."""
        schedule = self.own_schedule
        try:
            schedule(self.sampler.times(schedule))
        except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            what = f"schedule {schedule!r} failed ({error})"
            raise ValueError(f"{what}; it must be a function t -> (alpha, sigma)") from error
        times = self.times
        alpha, sigma = (np.asarray(level, dtype=float) for level in schedule(times))
        fine = np.isfinite([times, alpha, sigma]).all() and (np.diff(times) < 0).all()
        fine = fine and (sigma[:-1] > 0).all() and alpha[0] >= 0 and (alpha[1:] > 0).all()
        if not fine or abs(alpha[-1] - 1) > 1e-6 or abs(sigma[-1]) > 1e-6:
            found = f"alpha from {alpha[0]:.3g} to {alpha[-1]:.3g} and sigma from {sigma[0]:.3g} to {sigma[-1]:.3g}"
            what = f"schedule {schedule!r} must lead from noise at t = t_max to alpha = 1, sigma = 0 at t = 0"
            raise ValueError(f"{what}, with sigma above 0 before; got {found}")
        t = 0.5 * schedule.t_max
        stated, derived = schedule.derivative(t), Schedule.derivative(schedule, t)
        if not np.allclose(stated, derived, rtol=1e-3, atol=1e-3):
            what = (
                f"schedule {schedule!r} states the derivative {stated} at t = {t:g}, but its levels have {derived}"
            )
            raise ValueError(f"{what}; correct derivative(), or leave it out")
        return alpha, sigma

    @computed_once
    def start(self) -> tuple[float, float]:
        """alpha and sigma at the first time."""
        alpha, sigma = self.levels
        return float(alpha[0]), float(sigma[0])

    @computed_once
    def key(self) -> Hashable:
        """A hashable value that determines the trajectory, or None if it depends on an object that may change."""
        parts = self.sampler, self.own_schedule
        return (*parts, self.every_step, self.strength) if all(map(_is_constant, parts)) else None


def _is_constant(value: Any) -> bool:
    """Return whether a value cannot change: a frozen dataclass of such values; functions read globals."""
    if isinstance(value, str | int | float | NoneType | np.number):
        return True
    parameters = vars(type(value)).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        return False
    return all(_is_constant(getattr(value, one.name)) for one in fields(value))


def compose(denoiser: Denoiser, p: int, d: int, trajectory: Trajectory) -> Affine:
    """Return the map from starting noise z ~ N(0, I) to latent, of the denoiser's p prompts."""
    basis, beyond, rotated = None, None, False
    if isinstance(denoiser, GaussianDenoiser) and trajectory.sampler.isotropic:
        basis, beyond, rotated, denoiser = denoiser.basis, denoiser.beyond, True, denoiser.coordinates
        d = denoiser.mean.shape[1]
    x: Affine = trajectory.start[1] * Affine.identity(p, d, diagonal=rotated)
    *_, x = run(trajectory, denoiser, x, Affine.with_noise)
    return x if basis is None else x.rotate(basis, beyond)


def simulate(
    denoiser: Denoiser, noise: Array, trajectory: Trajectory, generators: list[np.random.Generator]
) -> Iterator[Array]:
    """Yield the latents at every time, from the start on, each of the shape (p, m, d) of `noise`.

    `generators`, one for each of the p m latents, supply the noise of a stochastic sampler.
    """

    def add_noise(x: Array, tau: float) -> Array:
        fresh = [generator.normal(size=x.shape[-1]) for generator in generators]
        return x + tau * np.reshape(fresh, x.shape)

    x = trajectory.start[1] * noise
    yield x
    yield from run(trajectory, denoiser, x, add_noise)


def run(trajectory: Trajectory, denoiser: Denoiser, x: Any, add_noise: Any) -> Iterator[Any]:
    """Yield the states of the sampler; an error unless it yields one for each step."""
    sampler, steps = trajectory.sampler, len(trajectory.times) - 1
    left = steps
    run = sampler(denoiser, x, trajectory.own_schedule, trajectory.times, add_noise)
    if not hasattr(run, "__iter__"):
        raise TypeError(
            f"the sampler {sampler} must yield the state at each time, but it returned {type(run).__name__}"
        )
    states = iter(run)
    for state in islice(states, steps):
        if type(state) is not type(x):
            raise TypeError(f"the sampler {sampler} must yield states such as x, got {type(state).__name__}")
        left -= 1
        yield state
    if left or next(states, None) is not None:
        raise ValueError(f"the sampler {sampler} must yield the state at each of the {steps} times after the first")
