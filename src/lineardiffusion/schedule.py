"""Noise schedules: a map t -> (alpha, sigma).

    z_t = alpha_t z + sigma_t n,        n ~ N(0, I)

from pure noise at t_max to the latent itself at t = 0, where alpha = 1 and sigma = 0. Samplers never see
betas. With b(t) = 0.1 + 19.9 t:

    VP linear       alpha = exp(-1/2 int_0^t b),   sigma^2 = 1 - alpha^2     (Song et al. 2021, eq. 33)
    cosine          alpha = cos(pi t / 2),         sigma = sin(pi t / 2)     (Nichol and Dhariwal 2021)
    Karras / VE     alpha = 1,                     sigma = t                 (Karras et al. 2022, eq. 5)
    rectified flow  alpha = 1 - t,                 sigma = t                 (Liu et al. 2023)

The signal-to-noise ratio is (alpha / sigma)^2. Sampling starts from noise alone, so it must be next to
nothing at t_max (Lin et al. 2024, Common diffusion noise schedules and sample steps are flawed).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lineardiffusion.moments import Array


class Schedule:
    """A noise schedule; subclass it and write ``__call__`` to make one of your own.

    Attributes
    ----------
    t_max : float
        The time of pure noise; the time of no noise is 0.
    """

    t_max: float = 1.0

    def __call__(self, t: Any) -> tuple[Any, Any]:
        """Return ``(alpha, sigma)`` at time t, a float or an ndarray of them."""
        raise TypeError(f"{type(self).__name__} must define __call__(t) -> (alpha, sigma)")

    def derivative(self, t: float) -> tuple[float, float]:
        """Return d alpha / dt and d sigma / dt at a time 0 < t <= t_max.

        Differences of second order, two-sided inside and one-sided at the ends; error about 1e-9.
        """
        h = 1e-5 * self.t_max
        offsets, weights = (-h, h), (-0.5, 0.5)
        if t + h > self.t_max:
            offsets, weights = (-2 * h, -h, 0.0), (0.5, -2.0, 1.5)  # type: ignore[assignment]
        elif t < h:
            offsets, weights = (0.0, h, 2 * h), (-1.5, 2.0, -0.5)  # type: ignore[assignment]
        values = np.array([self(t + offset) for offset in offsets], dtype=float)
        alpha_dot, sigma_dot = np.array(weights) @ values / h
        return float(alpha_dot), float(sigma_dot)

    def times(self, num_steps: int) -> Array:
        """The falling times, ``num_steps + 1`` of them from t_max to 0, that a sampler visits.

        Evenly spaced unless a schedule says otherwise.
        """
        return np.linspace(self.t_max, 0.0, num_steps + 1)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class VPLinear(Schedule):
    """Variance preserving with a rate that grows linearly: the continuous DDPM.

    Parameters
    ----------
    beta_min, beta_max : float, default=0.1, 20.0
        The rate b at t = 0 and t = 1.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        self.beta_min, self.beta_max = beta_min, beta_max

    def __call__(self, t: Any) -> tuple[Any, Any]:
        log_alpha = -0.5 * t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))
        return np.exp(log_alpha), np.sqrt(-np.expm1(2 * log_alpha))

    def times(self, num_steps: int) -> Array:
        """Even steps of sqrt(t): sigma grows with it at t = 0, so none of the steps is a leap there."""
        return np.linspace(1.0, 0.0, num_steps + 1) ** 2

    def derivative(self, t: float) -> tuple[float, float]:
        alpha, sigma = self(t)
        slope = -0.5 * alpha * (self.beta_min + t * (self.beta_max - self.beta_min))
        return float(slope), float(-alpha * slope / sigma)


class Cosine(Schedule):
    """Variance preserving along a quarter of the circle."""

    def __call__(self, t: Any) -> tuple[Any, Any]:
        return np.sin(0.5 * np.pi * (1 - t)), np.sin(0.5 * np.pi * t)

    def derivative(self, t: float) -> tuple[float, float]:
        alpha, sigma = self(t)
        return float(-0.5 * np.pi * sigma), float(0.5 * np.pi * alpha)


class Karras(Schedule):
    """Variance exploding: the signal stays, the noise's standard deviation is the time.

    Parameters
    ----------
    sigma_max, sigma_min : float, default=80.0, 0.002
        The first and the last noise level above 0, in units of the latents.
    rho : float, default=7.0
        How the levels crowd towards sigma_min.
    """

    def __init__(self, sigma_max: float = 80.0, sigma_min: float = 0.002, rho: float = 7.0) -> None:
        self.sigma_max, self.sigma_min, self.rho = sigma_max, sigma_min, rho

    @property
    def t_max(self) -> float:  # type: ignore[override]
        return self.sigma_max

    def __call__(self, t: Any) -> tuple[Any, Any]:
        return np.ones_like(t, dtype=float), np.asarray(t, dtype=float)

    def derivative(self, t: float) -> tuple[float, float]:
        return 0.0, 1.0

    def times(self, num_steps: int) -> Array:
        first, last = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return np.append(np.linspace(first, last, num_steps) ** self.rho, 0.0)


class RectifiedFlow(Schedule):
    """The straight line from noise to data."""

    def __call__(self, t: Any) -> tuple[Any, Any]:
        return 1.0 - t, t

    def derivative(self, t: float) -> tuple[float, float]:
        return -1.0, 1.0


class Custom(Schedule):
    """A schedule from a function.

    Parameters
    ----------
    function : callable
        ``t -> (alpha, sigma)`` for a float t, from 1 (noise) to 0 (alpha = 1, sigma = 0).
    """

    def __init__(self, function: Callable[[Any], tuple[Any, Any]]) -> None:
        self.function = function

    def __call__(self, t: Any) -> tuple[Any, Any]:
        if np.ndim(t) == 0:
            return self.function(t)
        alpha, sigma = zip(*(map(float, self.function(one)) for one in np.asarray(t).tolist()), strict=True)
        return np.array(alpha), np.array(sigma)


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "cosine": Cosine,
    "vp": VPLinear,
    "karras": Karras,
    "flow": RectifiedFlow,
}


def get_schedule(schedule: str | Schedule | Callable[[Any], tuple[Any, Any]]) -> Schedule:
    """The schedule of this name, the one given, or one made of a function t -> (alpha, sigma)."""
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, type):
        raise TypeError(f"schedule must be an instance: {schedule.__name__}()")
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise ValueError(
                f"unknown schedule {schedule!r}; choose one of {', '.join(map(repr, SCHEDULES))}, "
                "or pass a function t -> (alpha, sigma)"
            )
        return SCHEDULES[schedule]()
    if callable(schedule):
        return Custom(schedule)
    raise TypeError(
        f"schedule must be a name, a Schedule or a function t -> (alpha, sigma), got {schedule!r}"
    )
