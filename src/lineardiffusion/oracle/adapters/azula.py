"""Samplers of azula (https://github.com/probabilists/azula).

azula's samplers hold a denoiser, which holds a schedule t -> (alpha, sigma). They ask the denoiser for the
posterior mean at a time, which is the oracle's denoiser at the schedule's level there. Times are in double
precision, so that rounding does not hide an order of convergence.
"""

from __future__ import annotations

import copy
import importlib
import math
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

from lineardiffusion._arrays import Array
from lineardiffusion.oracle.adapter import Adapter, Start
from lineardiffusion.oracle.adapters.tensors import replaced_noise, to_array, to_tensor
from lineardiffusion.oracle.noise import Noise


class AzulaSampler(Adapter):
    """A sampler of azula under one of its schedules.

    Parameters
    ----------
    sampler : class, callable or Sampler of azula
        Class of a sampler, a partial of one, another function ``denoiser -> sampler``, or a sampler. The
        denoiser of a sampler is replaced in a copy.
    schedule : Schedule of azula, default=None
        Noise schedule. None is that of the sampler's own denoiser, or ``azula.noise.VPSchedule()``.
    **options
        Options of the class, for example ``order=3``.

    Examples
    --------
    >>> from azula.sample import vABSampler  # doctest: +SKIP
    >>> oracle(AzulaSampler(vABSampler, order=3), law)  # doctest: +SKIP
    """

    rounding = 1e-11  # states and levels are in double precision

    def __init__(self, sampler: Any, schedule: Any = None, **options: Any) -> None:
        self.sampler, self.options = sampler, options
        self.is_made = hasattr(sampler, "timesteps") and not isinstance(sampler, type)
        if self.is_made and options:
            raise TypeError(f"the options of a sampler are set when it is made, got {', '.join(options)}")
        own = getattr(getattr(sampler, "denoiser", None), "schedule", None) if self.is_made else None
        self.schedule = schedule or own or importlib.import_module("azula.noise").VPSchedule()
        function = type(sampler) if self.is_made else getattr(sampler, "func", sampler)
        shown = {**getattr(sampler, "keywords", {}), **options}
        self.name = " ".join(
            [getattr(function, "__name__", "sampler"), type(self.schedule).__name__]
            + [f"{name}={value}" for name, value in shown.items()]
        )
        self.versions = {"azula": version("azula"), "torch": version("torch")}

    def _make(self, num_steps: int, denoiser: Any) -> Any:
        if self.is_made:
            made = copy.copy(self.sampler)
            made.denoiser = denoiser
        else:
            made = self.sampler(denoiser, **self.options)
        made.steps, made.silent = num_steps, True
        made.dtype = importlib.import_module("torch").float64
        return made

    def start(self, num_steps: int) -> Start:
        made = self._make(num_steps, _Denoiser(self.schedule, None))
        alpha, sigma = map(float, self.schedule(made.timesteps[0]))
        return Start(alpha, sigma, math.hypot(alpha, sigma))  # azula's Sampler.init assumes data of variance 1

    def run(self, num_steps: int, x: Array, denoise: Any, noise: Noise) -> Array:
        made = self._make(num_steps, _Denoiser(self.schedule, denoise))
        with replaced_noise(noise):
            return to_array(made(to_tensor(x)))


class _Denoiser:
    """A denoiser of azula: a schedule, and a call that returns an object with the posterior mean."""

    def __init__(self, schedule: Any, denoise: Any) -> None:
        self.schedule, self.denoise = schedule, denoise

    def __call__(self, x: Any, t: Any, **kwargs: Any) -> Any:
        alpha, sigma = (float(value) for value in self.schedule(t.flatten()[0]))
        return SimpleNamespace(mean=self.denoise(x, alpha, sigma))
