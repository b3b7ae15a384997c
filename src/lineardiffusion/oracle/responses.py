"""The law of a sampler of any library, from its responses to impulses.

A sampler whose steps are affine is determined by what it does to a few inputs, as a linear filter is: with the
start z and the noises n_1, n_2, ... that it asks for,

    x = b + g z + sum_j r_j n_j,        x ~ N(b, g^2 + sum_j r_j^2)        in each principal direction

So one batch of inputs goes through the sampler: the mean of the start, with no noise (b); one unit of start more
(b + g); and for each noise one row in which it alone is a unit (b + r_j). Nothing is drawn. The number of noises
is counted in a first run without them.

A sampler may ask for increments of one Brownian motion instead, over intervals that overlap or are revisited
(k-diffusion's Brownian tree). The first run collects the ends of the intervals. Increments over the elementary
intervals between them are independent, W(b) - W(a) = sum_i sqrt(t_{i+1} - t_i) n_i, and are the noises n_i then.

What is not affine is found by one more row, the mean plus `PROBE` r units of start, with random signs r in the
directions: unless it comes out as b + `PROBE` r g, the sampler clips, thresholds, or mixes directions.
"""

from __future__ import annotations

import bisect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lineardiffusion._arrays import Array

PROBE = 100.0  # units of start in the row that tests whether a sampler is affine; beyond what a clip lets pass
AFFINE = 1e-4  # share of the probe by which it may miss; single precision loses 1e-6
SAME_TIME = 1e-9  # relative; ends of intervals of a Brownian motion that are one


class NotAffineError(ValueError):
    """A sampler that is not affine in its state, so that its law is not Gaussian and not known in closed form."""


@dataclass(frozen=True)
class Start:
    """Level of the state at the first step, x = alpha z + sigma n, and what the library starts from instead."""

    alpha: float
    sigma: float
    noise_std: float  # standard deviation of the noise alone that the library starts from


class Noise(ABC):
    """Source of the noise that a sampler asks for: fresh, or increments of one Brownian motion."""

    @abstractmethod
    def fresh(self) -> Array:
        """Return standard noise (m, k), independent of all before."""

    @abstractmethod
    def increment(self, a: float, b: float) -> Array:
        """Return W(b) - W(a) (m, k) of one Brownian motion W."""


class Adapter(ABC):
    """A sampler of some library, as the oracle runs it.

    A subclass defines ``start`` and ``run``. States are arrays (m, k): m rows of k principal coordinates, which a
    subclass reshapes and converts as its library needs.

    Attributes
    ----------
    name : str
        Name of the sampler, for reports.
    versions : mapping of str to str
        Versions of the libraries that ran.
    """

    name: str
    versions: Mapping[str, str] = {}
    calls_a_step: ClassVar[int] = 1

    @abstractmethod
    def start(self, num_steps: int) -> Start:
        """Return the level at which a run of this many steps starts."""

    @abstractmethod
    def run(self, num_steps: int, x: Array, denoise: Any, noise: Noise) -> Array:
        """Return the state (m, k) after a run from `x` (m, k).

        Parameters
        ----------
        num_steps : int
            Number of steps.
        x : ndarray of shape (m, k)
            State at the first level.
        denoise : callable
            ``denoise(x, alpha, sigma)`` is the expected clean state of x = alpha z + sigma n, for arrays and
            tensors (..., k); ``denoise.flow(x, (alpha, sigma), (alpha', sigma'))`` solves the probability flow.
        noise : Noise
            Source of the noise of a stochastic sampler.
        """

    def without(self) -> Iterator[tuple[str, Adapter]]:
        """Yield options that may make the sampler non-affine, as ``name=value``, and the sampler without each."""
        yield from ()


@dataclass(frozen=True, eq=False)
class Responses:
    """The law of a sampler with a number of steps, N(offset m, std^2), by distinct variance of the target."""

    offset: Array  # b at m = 1, (k,)
    gain: Array  # g, of one unit of the standard normal start, (k,)
    noises: Array  # r_j, (j, k)
    calls: int  # of the denoiser
    start: Start

    @property
    def std(self) -> Array:
        """Standard deviation s of what is drawn, (k,)."""
        return np.asarray(np.sqrt(self.gain**2 + (self.noises**2).sum(axis=0)))

    @property
    def noise_left(self) -> float:
        """Standard deviation of the noise that is left at the end, in a direction where the law has none."""
        return float(self.std[0])


def respond(adapter: Adapter, num_steps: int, denoiser: Any, start: str) -> Responses:
    """Run a sampler on impulses under a denoiser; `start` is "exact" or "noise".

    Raises
    ------
    NotAffineError
        If the sampler is not affine; the message names the option if one is known.
    """
    level = adapter.start(num_steps)
    mean, std = _first(level, denoiser.variance, start)
    counting = _Impulses(0)
    answers = _run(adapter, num_steps, mean, std, denoiser, counting)
    if counting.n_noises:
        answers = _run(adapter, num_steps, mean, std, denoiser, counting.placed())
    (offset, unit, probe, *noises), calls = answers
    gain = unit - offset
    signs = _signs(len(mean))
    expected, scale = PROBE * signs * gain, PROBE * np.abs(gain).max(initial=0.0)
    if np.isfinite(answers[0]).all() and np.abs(probe - offset - expected).max() > AFFINE * scale + 1e-9:
        raise NotAffineError(_refusal(adapter, num_steps, denoiser, start))
    return Responses(offset, gain, np.array(noises).reshape(-1, len(mean)) - offset, calls, level)


def _first(level: Start, variance: Array, start: str) -> tuple[Array, Array]:
    """Return the mean and the standard deviation (k,) of the state at the first step."""
    if start == "noise":
        return np.zeros_like(variance), np.full_like(variance, level.noise_std)
    if start == "exact":
        return np.full_like(variance, level.alpha), np.sqrt(level.alpha**2 * variance + level.sigma**2)
    raise ValueError(f'start must be "exact" or "noise", got {start!r}')


def _signs(k: int) -> Array:
    return np.random.default_rng(0).choice([-1.0, 1.0], size=k)


def _run(
    adapter: Adapter, num_steps: int, mean: Array, std: Array, denoiser: Any, noise: _Impulses
) -> tuple[Array, int]:
    """Return the answers to the impulses, (3 + j, k), and the number of calls of the denoiser."""
    x = np.repeat(mean[None], noise.FIRST + noise.n_rows, axis=0)
    x[1] += std
    x[2] += PROBE * _signs(len(mean)) * std
    noise.shape = x.shape
    counted = Counted(denoiser)
    with np.errstate(all="ignore"):
        return np.asarray(adapter.run(num_steps, x, counted, noise), dtype=np.float64), counted.calls


class Counted:
    """A denoiser that counts its calls."""

    def __init__(self, denoiser: Any) -> None:
        self.denoiser, self.calls = denoiser, 0

    def __call__(self, x: Any, alpha: float, sigma: float) -> Any:
        self.calls += 1
        return self.denoiser(x, float(alpha), float(sigma))

    def flow(self, x: Any, start: tuple[float, float], end: tuple[float, float]) -> Any:
        self.calls += 1
        return self.denoiser.flow(x, start, end)


class _Impulses(Noise):
    """Noise of one unit in one row for each request, or nothing but a count where there are no rows."""

    FIRST: ClassVar[int] = 3  # rows without noise

    def __init__(self, n_rows: int, times: list[float] | None = None) -> None:
        self.n_rows, self.times = n_rows, times
        self.n_fresh, self.ends = 0, list[float]()
        self.shape = (0, 0)

    @property
    def n_noises(self) -> int:
        """Number of independent noises that were asked for."""
        return self.n_fresh + max(len(_distinct(self.ends)) - 1, 0)

    def placed(self) -> _Impulses:
        """Return a source with a row for each noise that this one was asked for."""
        return _Impulses(self.n_noises, _distinct(self.ends))

    def fresh(self) -> Array:
        row = self.FIRST + max(len(self.times or []) - 1, 0) + self.n_fresh
        self.n_fresh += 1
        found = np.zeros(self.shape)
        if self.times is not None:
            found[row] = 1.0
        return found

    def increment(self, a: float, b: float) -> Array:
        if self.times is None:
            self.ends += [a, b]
            return np.zeros(self.shape)
        low, high = sorted(_nearest(self.times, t) for t in (a, b))
        found = np.zeros(self.shape)
        for i in range(low, high):
            found[self.FIRST + i] = math.sqrt(self.times[i + 1] - self.times[i])
        return found if a < b else -found


class Draws(Noise):
    """Noise drawn by a generator; a Brownian motion is refined where it was not known yet."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        self.rng, self.shape = rng, shape
        self.times, self.values = list[float](), list[Array]()

    def fresh(self) -> Array:
        return self.rng.normal(size=self.shape)

    def increment(self, a: float, b: float) -> Array:
        return self._at(b) - self._at(a)

    def _at(self, t: float) -> Array:
        """Return W(t), given its values so far: a Brownian bridge inside, a free increment outside."""
        i = bisect.bisect_left(self.times, t)
        for j in (i - 1, i):
            if 0 <= j < len(self.times) and abs(self.times[j] - t) <= SAME_TIME * max(1.0, abs(t)):
                return self.values[j]
        n = self.fresh()
        if not self.times:
            found = np.zeros(self.shape)
        elif i == 0:
            found = self.values[0] - math.sqrt(self.times[0] - t) * n
        elif i == len(self.times):
            found = self.values[-1] + math.sqrt(t - self.times[-1]) * n
        else:
            before, after = self.times[i - 1], self.times[i]
            share = (t - before) / (after - before)
            found = (1 - share) * self.values[i - 1] + share * self.values[i]
            found = found + math.sqrt((t - before) * (after - t) / (after - before)) * n
        self.times.insert(i, t)
        self.values.insert(i, found)
        return found


def _distinct(times: list[float]) -> list[float]:
    """Return the distinct ones of some times, rising."""
    found = list[float]()
    for t in sorted(times):
        if not found or t - found[-1] > SAME_TIME * max(1.0, abs(t)):
            found.append(t)
    return found


def _nearest(times: list[float], t: float) -> int:
    return int(np.abs(np.asarray(times) - t).argmin())


def _refusal(adapter: Adapter, num_steps: int, denoiser: Any, start: str) -> str:
    """Say that a sampler is not affine, and which option makes it so."""
    for option, other in adapter.without():
        try:
            respond(other, num_steps, denoiser, start)
        except Exception:  # whatever another library raises: this option is not the only one
            continue
        return (
            f"{adapter.name} is not affine: {option}. Its law is no Gaussian and has no closed form; "
            "judge it without that option"
        )
    return (
        f"{adapter.name} is not affine: a start of {PROBE:g} standard deviations does not come out {PROBE:g} times "
        "as far. It clips, thresholds, normalises, or mixes the entries of its state; judge it without that"
    )
