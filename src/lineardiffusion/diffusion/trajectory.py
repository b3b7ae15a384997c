"""Trajectories: a sampler with a schedule and times, composed into one map or simulated.

Composed, a trajectory is one affine map from starting noise to latent, whatever the number of steps.
Simulated, it takes a batch of latents step by step and yields every one. Both run the same sampler and agree.

The map takes noise z to sigma z at the first time, and then to the latent. So under another law of the state at the
first time, N(mu, S), the latent x = z M + b + n R has the law

    N(b + mu M / sigma,  M^T S M / sigma^2 + R^T R)

and nothing of the sampler changes. Under the marginal mu and S are alpha m and alpha^2 C + sigma^2 I.

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
from lineardiffusion._validation import check_integer
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
    given: tuple[float, ...] | None = None  # times in place of the schedule's
    stop: float | None = None  # time at which the schedule's times end, in place of its last
    at: int | None = None  # number of steps that are taken, the first ones; None for all

    def __post_init__(self) -> None:
        check_scalar(self.strength, "strength", numbers.Real, min_val=0, max_val=1, include_boundaries="right")
        if self.given is not None and self.stop is not None:
            what = f"sampling ends at the last of the times, {self.given[-1]:g}"
            raise ValueError(f"{what}; leave out stop={self.stop!r}")
        if self.stop is not None:
            check_scalar(self.stop, "stop", numbers.Real)
        if self.at is not None and check_integer(self.at, "at", 0) > (n := len(self._all_times) - 1):
            raise ValueError(f"at={self.at} is beyond the {n} steps that there are")

    @computed_once
    def own_schedule(self) -> Schedule:
        """The sampler's schedule if it has one, or the model's."""
        return self.sampler.own_schedule or self.schedule

    @computed_once
    def _scheduled(self) -> Array:
        """Falling times of all steps, before `stop`."""
        return self.sampler.times(self.own_schedule) if self.given is None else np.array(self.given, dtype=float)

    @computed_once
    def _all_times(self) -> Array:
        """Falling times of all steps; with `stop`, those of the schedule scaled and shifted to end there."""
        times = self._scheduled
        if self.stop is None:
            return times
        first, last = times[0], times[-1]
        if not last <= self.stop < first:
            what = f"stop must be a time from {last:g} to below {first:g}, where sampling starts"
            raise ValueError(f"{what}; got {self.stop!r}")
        return np.asarray(self.stop + (first - self.stop) / (first - last) * (times - last))

    @computed_once
    def times(self) -> Array:
        """Falling times (num_steps + 1,), from noise to none."""
        times = self._all_times
        n = len(times) - 1
        if not (kept := round(self.strength * n)):
            enough = math.ceil(1 / self.strength)
            raise ValueError(f"strength={self.strength} of {n} steps is no step; use num_steps={enough}")
        times = times[n - kept :]
        if self.sampler.solves_flow and not self.every_step:
            return times[: self.at + 1][[0, -1]] if self.at else times[[0, -1]]
        return times

    @property
    def num_steps(self) -> int:
        """Number of states that a run yields after the first."""
        n = len(self.times) - 1
        return n if self.at is None else min(self.at, n)

    @computed_once
    def levels(self) -> tuple[Array, Array]:
        """alpha and sigma at the times, checked to lead from noise to where sampling ends."""
        schedule = self.own_schedule
        try:
            schedule(self._scheduled)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            what = f"schedule {schedule!r} failed ({error})"
            raise ValueError(f"{what}; it must be a function t -> (alpha, sigma)") from error
        times = self.times
        alpha, sigma = (np.asarray(level, dtype=float) for level in schedule(times))
        fine = np.isfinite([times, alpha, sigma]).all() and (np.diff(times) < 0).all()
        fine = fine and (sigma[:-1] > 0).all() and sigma[-1] >= -1e-6 and alpha[0] >= 0 and (alpha[1:] > 0).all()
        found = f"alpha from {alpha[0]:.3g} to {alpha[-1]:.3g} and sigma from {sigma[0]:.3g} to {sigma[-1]:.3g}"
        if self.given is not None and not fine:
            what = f"times must fall, and schedule {schedule!r} must have sigma above 0 before the last of them"
            raise ValueError(f"{what}; got times from {times[0]:.3g} to {times[-1]:.3g}, {found}")
        ends_clean = schedule.ends_clean and self.given is None and self.stop is None and self.at is None
        if not fine or (ends_clean and (abs(alpha[-1] - 1) > 1e-6 or abs(sigma[-1]) > 1e-6)):
            what = f"schedule {schedule!r} must lead from noise at t = t_max to alpha = 1, sigma = 0 at t = 0"
            advice = "a subclass of Schedule that is meant to end in noise sets ends_clean = False"
            raise ValueError(f"{what}, with sigma above 0 before; got {found}; {advice}")
        t = 0.49987 * schedule.t_max  # where levels that are interpolated have no kink
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
        rest = self.every_step, self.strength, self.given, self.stop, self.at
        return (*parts, *rest) if all(map(_is_constant, parts)) else None


def _is_constant(value: Any) -> bool:
    """Return whether a value cannot change: a frozen dataclass of such values; functions read globals."""
    if isinstance(value, str | int | float | NoneType | np.number):
        return True
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
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
    for state in run(trajectory, denoiser, x, Affine.with_noise):
        x = state
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
    sampler, steps = trajectory.sampler, trajectory.num_steps
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
    if left or (trajectory.at is None and next(states, None) is not None):
        raise ValueError(f"the sampler {sampler} must yield the state at each of the {steps} times after the first")
