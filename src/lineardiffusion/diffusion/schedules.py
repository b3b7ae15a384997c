"""Noise schedules: maps t -> (alpha, sigma).

    z_t = alpha_t z + sigma_t n,        n ~ N(0, I)

from pure noise at t_max to the latent itself at t = 0, where alpha = 1 and sigma = 0. A schedule may also end above
no noise and say so (``ends_clean = False``), as the discrete one of a trained network does. Samplers never see
betas. With b(t) = 0.1 + 19.9 t::

    VP linear       alpha = exp(-1/2 int_0^t b),   sigma^2 = 1 - alpha^2     (Song et al. 2021, eq. 33)
    cosine          alpha = cos(pi t / 2),         sigma = sin(pi t / 2)     (Nichol and Dhariwal 2021)
    Karras / VE     alpha = 1,                     sigma = t                 (Karras et al. 2022, eq. 5)
    rectified flow  alpha = 1 - t,                 sigma = t                 (Liu et al. 2023)
    discrete        alpha^2 = abar_t,              sigma^2 = 1 - abar_t      (Ho et al. 2020, eq. 4)

The signal-to-noise ratio is (alpha / sigma)^2. Sampling starts from noise alone, so the ratio must be almost 0
at t_max (Lin et al. 2024, Common diffusion noise schedules and sample steps are flawed).

A schedule is a frozen value, so it can be compared, hashed and saved. Any function t -> (alpha, sigma) is a
schedule too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion._cache import computed_once

__all__ = [
    "Cosine", "Discrete", "FunctionSchedule", "Karras", "Levels", "RectifiedFlow", "Schedule", "VPLinear",
    "get_schedule",
]  # fmt: skip


class Schedule:
    """Base class of noise schedules; a subclass defines ``__call__``.

    Make a subclass with settings a frozen dataclass. The derivative is numerical unless the class that defines
    ``__call__`` (or one below it) defines ``derivative`` too, so it always belongs to the same alpha and sigma.

    Attributes
    ----------
    t_max : float
        Time of pure noise; the time of no noise is 0.
    ends_clean : bool
        Whether sampling ends without noise, at alpha = 1 and sigma = 0, which is checked. Set it to False in a
        subclass whose last level is meant to hold noise: the state at that level is then what is decoded.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion.schedules import Schedule
    >>> class Linear(Schedule):
    ...     def __call__(self, t):
    ...         return 1.0 - t, t
    >>> np.round(Linear().derivative(0.5), 6)
    array([-1.,  1.])
    """

    t_max: float = 1.0
    ends_clean: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

        def place(name: str) -> int:
            return next(i for i, one in enumerate(cls.__mro__) if name in vars(one))

        if place("__call__") < place("derivative"):  # the inherited derivative is that of other levels
            cls.derivative = Schedule.derivative  # type: ignore[method-assign]

    def __call__(self, t: Any) -> tuple[Any, Any]:
        """Return ``(alpha, sigma)`` at time t, a float or an ndarray of them."""
        raise TypeError(f"{type(self).__name__} must define __call__(t) -> (alpha, sigma)")

    def derivative(self, t: float) -> tuple[float, float]:
        """Return d alpha / dt and d sigma / dt at a time 0 < t <= t_max.

        They are finite differences of second order, central inside and one-sided at the ends, unless a subclass
        defines them otherwise. Their error is about 1e-9.

        Parameters
        ----------
        t : float
            Time.

        Returns
        -------
        alpha_dot : float
            Derivative of alpha.
        sigma_dot : float
            Derivative of sigma.
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
        """Return the falling times, from t_max to 0, that a sampler visits.

        They are evenly spaced unless a subclass defines them otherwise.

        Parameters
        ----------
        num_steps : int
            Number of steps.

        Returns
        -------
        ndarray of shape (num_steps + 1,)
            Falling times.
        """
        return np.linspace(self.t_max, 0.0, num_steps + 1)


@dataclass(frozen=True)
class VPLinear(Schedule):
    """Variance preserving schedule whose rate grows linearly: the continuous limit of DDPM.

    It ends at alpha = 0.0066, so some signal is left in its first level, and sampling from noise alone ignores it:
    deterministic samplers, also the exact one, keep a small distance from the data's law at any number of steps.

    Parameters
    ----------
    beta_min : float, default=0.1
        Rate b at t = 0.
    beta_max : float, default=20.0
        Rate b at t = 1.

    Examples
    --------
    >>> from lineardiffusion.schedules import VPLinear
    >>> alpha, sigma = VPLinear()(1.0)
    >>> round(float(alpha), 4), round(float(sigma), 4)
    (0.0066, 1.0)
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __call__(self, t: Any) -> tuple[Any, Any]:
        log_alpha = -0.5 * t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))
        return np.exp(log_alpha), np.sqrt(-np.expm1(2 * log_alpha))

    def times(self, num_steps: int) -> Array:
        """Return times whose square roots are evenly spaced: sigma grows like sqrt(t) at t = 0.

        Parameters
        ----------
        num_steps : int
            Number of steps.

        Returns
        -------
        ndarray of shape (num_steps + 1,)
            Falling times, from 1 to 0.
        """
        return np.linspace(1.0, 0.0, num_steps + 1) ** 2

    def derivative(self, t: float) -> tuple[float, float]:
        alpha, sigma = self(t)
        slope = -0.5 * alpha * (self.beta_min + t * (self.beta_max - self.beta_min))
        return float(slope), float(-alpha * slope / sigma)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Variance preserving schedule (alpha, sigma) = (cos, sin) of pi t / 2.

    It starts from pure noise, alpha = 0, so no signal is left in its first level.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion.schedules import Cosine
    >>> alpha, sigma = Cosine()(np.array([1.0, 0.5, 0.0]))
    >>> alpha.round(3), sigma.round(3)
    (array([0.   , 0.707, 1.   ]), array([1.   , 0.707, 0.   ]))
    """

    def __call__(self, t: Any) -> tuple[Any, Any]:
        return np.sin(0.5 * np.pi * (1 - t)), np.sin(0.5 * np.pi * t)

    def derivative(self, t: float) -> tuple[float, float]:
        alpha, sigma = self(t)
        return float(-0.5 * np.pi * sigma), float(0.5 * np.pi * alpha)


@dataclass(frozen=True)
class Karras(Schedule):
    """Variance exploding schedule: alpha is 1, and sigma is the time.

    Signal is left in its first level, as with :class:`VPLinear`; a larger `sigma_max` leaves less.

    Parameters
    ----------
    sigma_max : float, default=80.0
        First noise level, in units of the latents.
    sigma_min : float, default=0.002
        Last noise level above 0, in units of the latents.
    rho : float, default=7.0
        Exponent of the spacing; the larger, the denser the levels near sigma_min.

    Examples
    --------
    >>> from lineardiffusion.schedules import Karras
    >>> Karras().times(4).round(3).tolist()
    [80.0, 9.723, 0.47, 0.002, 0.0]
    """

    sigma_max: float = 80.0
    sigma_min: float = 0.002
    rho: float = 7.0

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


@dataclass(frozen=True)
class RectifiedFlow(Schedule):
    """Schedule of a straight line from noise to data: (alpha, sigma) = (1 - t, t).

    Examples
    --------
    >>> from lineardiffusion.schedules import RectifiedFlow
    >>> RectifiedFlow()(0.25)
    (0.75, 0.25)
    """

    def __call__(self, t: Any) -> tuple[Any, Any]:
        return 1.0 - t, t

    def derivative(self, t: float) -> tuple[float, float]:
        return -1.0, 1.0


@dataclass(frozen=True, repr=False)
class Discrete(Schedule):
    """Variance preserving schedule of N discrete levels, as diffusers' schedulers have them.

    The time t is diffusers' timestep, from N - 1 to 0. Between two timesteps log(sigma / alpha) is linear in t.
    Sampling ends at t = 0, where some noise is left, and the state there is what is decoded, as in diffusers with
    ``set_alpha_to_one=False``. The step to no noise that its other schedulers append is one to t = -1, where alpha
    is 1: pass ``times=[*scheduler.timesteps, -1]`` to :meth:`~lineardiffusion.LinearDiffusion.law`.

    Parameters
    ----------
    alphas_cumprod : sequence of float, of length N
        Squares of alpha: falling, between 1 and 0. The last may be 0, for pure noise
        (``rescale_betas_zero_snr=True`` in diffusers). An array or a tensor becomes a tuple of float.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion.schedules import Discrete
    >>> betas = np.linspace(1e-4, 0.02, 1000)
    >>> schedule = Discrete(np.cumprod(1 - betas))
    >>> schedule
    Discrete(1000 levels, alphas_cumprod from 0.9999 to 4.036e-05)
    >>> alpha, sigma = schedule(0)
    >>> round(float(alpha**2), 6)
    0.9999
    """

    alphas_cumprod: Sequence[float]
    ends_clean: ClassVar[bool] = False

    def __post_init__(self) -> None:
        levels = np.asarray(self.alphas_cumprod, dtype=float)
        if levels.ndim != 1 or len(levels) < 2:
            raise ValueError(f"alphas_cumprod must hold 2 levels or more in one dimension, got {levels.shape}")
        if not (levels[0] < 1.0 and levels[-1] >= 0.0 and (np.diff(levels) < 0).all()):
            found = f"from {levels[0]:.4g} to {levels[-1]:.4g}"
            raise ValueError(f"alphas_cumprod must fall at every level, between 1 and 0; got levels {found}")
        object.__setattr__(self, "alphas_cumprod", tuple(levels.tolist()))

    @property
    def t_max(self) -> float:  # type: ignore[override]
        return len(self.alphas_cumprod) - 1.0

    @computed_once
    def _log_ratio(self) -> Array:
        """log(sigma / alpha) at the timesteps whose alpha is above 0."""
        squares = np.array(self.alphas_cumprod)
        squares = squares[squares > 0.0]
        return np.asarray(0.5 * (np.log1p(-squares) - np.log(squares)))

    def __call__(self, t: Any) -> tuple[Any, Any]:
        known = self._log_ratio
        last = len(known) - 1.0
        # sigma is proportional to 1 + t below 0, and alpha to the time that is left before pure noise
        sigma = np.exp(np.interp(t, np.arange(len(known)), known)) * np.clip(1.0 + t, 0.0, 1.0)
        alpha = np.clip(1.0 + last - t, 0.0, 1.0) if last < self.t_max else 1.0
        size = np.hypot(alpha, sigma)
        return alpha / size, sigma / size

    def __repr__(self) -> str:
        first, last = self.alphas_cumprod[0], self.alphas_cumprod[-1]
        return f"Discrete({len(self.alphas_cumprod)} levels, alphas_cumprod from {first:.4g} to {last:.4g})"


@dataclass(frozen=True)
class Levels(Schedule):
    """Variance exploding schedule with given noise levels: alpha is 1, and sigma is the time.

    Parameters
    ----------
    sigmas : sequence of float
        Falling levels, the last 0, as :func:`lineardiffusion.oracle.optimal_times` returns them. For another number
        of steps the logarithms of the levels above 0 are interpolated linearly (Sabour et al. 2024).

    References
    ----------
    Sabour, Fidler and Kreis (2024), Align your steps: optimizing sampling schedules in diffusion models. ICML.

    Examples
    --------
    >>> from lineardiffusion.schedules import Levels
    >>> Levels([80.0, 5.0, 0.2, 0.0]).times(3)
    array([80. ,  5. ,  0.2,  0. ])
    >>> Levels([80.0, 5.0, 0.2, 0.0]).times(5).round(2)
    array([80. , 20. ,  5. ,  1. ,  0.2,  0. ])
    """

    sigmas: Sequence[float]

    def __post_init__(self) -> None:
        sigmas = np.asarray(self.sigmas, dtype=float)
        if sigmas.ndim != 1 or len(sigmas) < 2 or not (np.diff(sigmas) < 0).all() or sigmas[-1] != 0:
            raise ValueError(f"sigmas must be two or more falling levels, the last of them 0, got {self.sigmas!r}")
        object.__setattr__(self, "sigmas", tuple(sigmas.tolist()))

    @property
    def t_max(self) -> float:  # type: ignore[override]
        return self.sigmas[0]

    def __call__(self, t: Any) -> tuple[Any, Any]:
        return np.ones_like(t, dtype=float), np.asarray(t, dtype=float)

    def derivative(self, t: float) -> tuple[float, float]:
        return 0.0, 1.0

    def times(self, num_steps: int) -> Array:
        n = len(self.sigmas) - 1
        if num_steps == n:
            return np.array(self.sigmas)
        if n == 1:
            raise ValueError(f"a schedule of one level above 0 has one step; got num_steps={num_steps}")
        place = np.linspace(0.0, n - 1.0, num_steps)
        return np.append(np.exp(np.interp(place, np.arange(n), np.log(self.sigmas[:-1]))), 0.0)


@dataclass(frozen=True)
class FunctionSchedule(Schedule):
    """Schedule of a function.

    Parameters
    ----------
    function : callable
        ``t -> (alpha, sigma)`` for a float t, from `t_max` (noise) to 0 (alpha = 1, sigma = 0).
    t_max : float, default=1.0
        Time of pure noise.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion.schedules import FunctionSchedule
    >>> FunctionSchedule(lambda t: (1 - t**2, t))(np.array([1.0, 0.5, 0.0]))
    (array([0.  , 0.75, 1.  ]), array([1. , 0.5, 0. ]))
    """

    function: Callable[[Any], tuple[Any, Any]]
    t_max: float = 1.0

    def __call__(self, t: Any) -> tuple[Any, Any]:
        if np.ndim(t) == 0:
            return self.function(t)
        alpha, sigma = zip(*(map(float, self.function(one)) for one in np.asarray(t).tolist()), strict=True)
        return np.array(alpha), np.array(sigma)


SCHEDULES: dict[str, type[Schedule]] = {"cosine": Cosine, "vp": VPLinear, "karras": Karras, "flow": RectifiedFlow}


def get_schedule(schedule: str | Schedule | Callable[[Any], tuple[Any, Any]]) -> Schedule:
    """Return the schedule of this name, the schedule itself, or the schedule of a function.

    Parameters
    ----------
    schedule : {"cosine", "vp", "karras", "flow"}, Schedule or callable
        Name, object, or function t -> (alpha, sigma). A function's attribute ``t_max``, 1 by default, is the time
        of pure noise.

    Returns
    -------
    Schedule
        Schedule, as an object.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If this is no schedule.

    Examples
    --------
    >>> from lineardiffusion.schedules import get_schedule
    >>> get_schedule("vp")
    VPLinear(beta_min=0.1, beta_max=20.0)
    """
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, type):
        raise TypeError(f"schedule must be an instance: {schedule.__name__}()")
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            known = ", ".join(map(repr, SCHEDULES))
            raise ValueError(f"unknown schedule {schedule!r}; choose one of {known}, or pass t -> (alpha, sigma)")
        return SCHEDULES[schedule]()
    if callable(schedule):
        return FunctionSchedule(schedule, float(getattr(schedule, "t_max", 1.0)))
    raise TypeError(f"schedule must be a name, a Schedule or a function t -> (alpha, sigma), got {schedule!r}")
