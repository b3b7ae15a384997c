"""Samplers of this library, and generator functions with the signature of :meth:`Sampler.__call__`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion._version import __version__
from lineardiffusion.diffusion.samplers import get_sampler
from lineardiffusion.diffusion.schedules import Cosine, get_schedule
from lineardiffusion.diffusion.trajectory import Trajectory, run
from lineardiffusion.oracle.adapter import Adapter, Start
from lineardiffusion.oracle.noise import Noise


class OwnSampler(Adapter):
    """A sampler of this library under a schedule."""

    rounding = 1e-11  # states and levels are in double precision

    def __init__(self, sampler: Any, schedule: Any = "cosine") -> None:
        self.sampler, self.schedule = get_sampler(sampler), get_schedule(schedule)
        kind = type(self.sampler)
        settings = [(one.name, getattr(self.sampler, one.name)) for one in fields(kind) if hasattr(kind, one.name)]
        shown = [
            f"{name}={value}" for name, value in settings if name != "num_steps" and value != getattr(kind, name)
        ]
        shown += [] if self.schedule == Cosine() else [str(self.schedule)]
        self.name = " ".join([str(self.sampler).partition(",")[0], *shown])
        self.versions = {"lineardiffusion": __version__}

    def _trajectory(self, num_steps: int) -> Trajectory:
        return Trajectory(get_sampler(self.sampler, num_steps), self.schedule)

    def start(self, num_steps: int) -> Start:
        alpha, sigma = self._trajectory(num_steps).start
        return Start(alpha, sigma, sigma)

    def run(self, num_steps: int, x: Array, denoise: Any, noise: Noise) -> Array:
        def add_noise(x: Array, tau: float) -> Array:
            return np.asarray(x + tau * noise.fresh()[:, None])

        *_, end = run(self._trajectory(num_steps), denoise, x[:, None], add_noise)
        return np.asarray(end[:, 0])
