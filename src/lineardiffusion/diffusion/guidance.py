"""Guidance and interpolation: weighted sums of denoisers.

    D = sum_i w_i D_i,        sum_i w_i = 1

Guidance (Ho and Salimans 2022) is D_uncond + w (D_cond - D_uncond), the weights 1 - w and w, in the
convention of diffusers: w = 1 is no guidance. The unconditional denoiser is that of the pooled moments, or,
with a negative prompt, the negative prompt's. Interpolation between prompts takes the weights of the prompts.
In both cases D is affine in x, so maps and laws stay exact.

The scale may be a function w(t) of the time, from t_max (noise) to 0: for example no guidance in the first steps
(Kynkaanniemi et al. 2024). Samplers call the denoiser with (alpha, sigma), of which only the ratio matters, so the
time is found from it: atan2(sigma, alpha) must rise with t. A solver of the flow stops where w jumps or turns.

With Gaussians of one covariance S and means m_c and m_u, the exact sampler draws from N(m_c + (w - 1)
(m_c - m_u), S). In general the law is not the tilted density p_c^w p_u^(1 - w): guiding the denoiser at every
noise level is not the same as tilting the density of the data (Bradley and Nakkiran 2024).
:meth:`LinearDiffusion.law` gives the law. In a direction that is principal for both, with the conditional
variance l and the unconditional L, the guided variance is l (l / L)^(w - 1): where a prompt varies more than all
images do, it grows exponentially with w.

References
----------
Ho and Salimans (2022), Classifier-free diffusion guidance.
Bradley and Nakkiran (2024), Classifier-free guidance is a predictor-corrector.
Kynkaanniemi et al. (2024), Applying guidance in a limited interval improves sample and distribution quality in
diffusion models. NeurIPS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from scipy.optimize import brentq

from lineardiffusion._arrays import Array
from lineardiffusion.diffusion.denoisers import Denoiser, State
from lineardiffusion.diffusion.ode import integrate
from lineardiffusion.diffusion.schedules import Schedule

PROBES = 1024  # times at which a function is looked at; a pulse between two of them is missed


@dataclass(frozen=True, eq=False)
class TimedWeight:
    """A weight that depends on the time, ``constant + slope w(t)``, as a function of the noise level."""

    function: Callable[[float], float]  # w
    schedule: Schedule  # whose sigma / alpha rises with t
    times: Array  # of the trajectory; a time that is one of them to rounding is that one
    slope: float = 1.0
    constant: float = 0.0

    @classmethod
    def of(cls, function: Callable[[float], float], schedule: Schedule, times: Array) -> TimedWeight:
        """Return w(t) itself; a ValueError if the time does not follow from the noise level."""
        alpha, sigma = schedule(schedule.times(PROBES))
        if not (np.diff(np.arctan2(sigma, alpha)) < 0).all():
            what = f"the ratio sigma / alpha of schedule {schedule!r} must rise with t"
            raise ValueError(f"{what}, so that a guidance_scale that is a function of t can be used")
        return cls(function, schedule, times)

    def __call__(self, alpha: float, sigma: float) -> float:
        return self.constant + self.slope * self._w(self._time(math.atan2(sigma, alpha)))

    def __mul__(self, factor: float) -> TimedWeight:
        return replace(self, slope=factor * self.slope, constant=factor * self.constant)

    __rmul__ = __mul__

    def __rsub__(self, number: float) -> TimedWeight:
        return replace(self, slope=-self.slope, constant=number - self.constant)

    def breaks(self) -> list[float]:
        """Return log(sigma / alpha) where w jumps or turns, which steps of a solver must not pass over."""
        t = self.schedule.times(PROBES)[-2:0:-1]
        w = np.array([self._w(one) for one in t.tolist()])
        step = np.diff(w)
        size = np.abs(step)
        beside = np.maximum(np.append(size[1:], 0.0), np.append(0.0, size[:-1]))
        jumps = np.flatnonzero((size > 1e-12) & (size > 10 * np.minimum(beside, np.abs(w).max())))
        found = [self._jump(t[i], t[i + 1]) for i in jumps]
        found += t[1:-1][step[:-1] * step[1:] < 0].tolist()
        alpha, sigma = self.schedule(np.array(sorted(found)))
        return np.log(sigma / np.maximum(alpha, np.finfo(float).tiny)).tolist() if found else []

    def _jump(self, low: float, high: float) -> float:
        """Return the time between two at which w jumps from near its first value to near its last."""
        middle_value = 0.5 * (self._w(low) + self._w(high))
        rises = self._w(high) > self._w(low)
        for _ in range(50):  # until they differ in the last places
            middle = 0.5 * (low + high)
            low, high = (low, middle) if (self._w(middle) > middle_value) == rises else (middle, high)
        return high

    def _w(self, t: float) -> float:
        w = self.function(t)
        if not isinstance(w, int | float | np.number) or not math.isfinite(w):
            raise ValueError(f"guidance_scale(t) must be a finite number for every t, got {w!r} at t = {t:.6g}")
        return float(w)

    def _time(self, angle: float) -> float:
        def beyond(t: float) -> float:
            alpha, sigma = self.schedule(t)
            return math.atan2(sigma, alpha) - angle

        last = self.schedule.t_max
        if beyond(last) <= 0:
            return last
        t = float(brentq(beyond, 0.0, last, xtol=1e-12 * last)) if beyond(0.0) < 0 else 0.0
        near = float(self.times[np.abs(self.times - t).argmin()])
        return near if abs(near - t) < 1e-9 * last else t


Weight: TypeAlias = "float | TimedWeight"


@dataclass(frozen=True)
class Combination:
    """The weighted sum of denoisers."""

    parts: Sequence[Denoiser]  # in the coordinates of the latents
    weights: Sequence[Weight]  # with the sum 1; negative ones move away

    def __call__(self, x: State, alpha: float, sigma: float) -> State:
        weights = [w(alpha, sigma) if isinstance(w, TimedWeight) else w for w in self.weights]
        first, *rest = (w * part(x, alpha, sigma) for part, w in zip(self.parts, weights, strict=True))
        for term in rest:
            first = first + term
        return first

    def flow(self, x: State, start: tuple[float, float], end: tuple[float, float]) -> State:
        timed = next((w for w in self.weights if isinstance(w, TimedWeight)), None)
        return integrate(self, x, start, end, [] if timed is None else timed.breaks())
