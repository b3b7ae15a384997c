"""The law of a sampler of any library, from its responses to impulses.

A sampler whose steps are affine is determined by what it does to a few inputs, as a linear filter is: with the
mean m of the law, the start z and the noises n_1, n_2, ... that it asks for,

    x = b m + g z + sum_j r_j n_j,        x ~ N(b m, g^2 + sum_j r_j^2)        in each principal direction

So one batch of inputs goes through the sampler: the mean of the start, with no noise (b m); one unit of start more
(b m + g); and for each noise one row in which it alone is a unit (b m + r_j). Nothing is drawn. The number of
noises is counted in a first run without them.

A sampler may ask for increments of one Brownian motion instead, over intervals that overlap or are revisited
(k-diffusion's Brownian tree). The first run collects the ends of the intervals. Increments over the elementary
intervals between them are independent, W(b) - W(a) = sum_i sqrt(t_{i+1} - t_i) n_i, and are the noises n_i then.

What is not of this form is found by three more rows, and refused:

    a mean, a start and noise of 0 must stay 0: the sampler adds no constant
    twice the largest mean, and `PROBE` units of start and of every noise, with random weights and signs in the
    directions, must come out as the sum of the responses; so must one unit of the same, all with the other sign:
    the sampler does not clip, threshold, multiply states, or mix directions

They are also run alone, as is the mean, and must come out as in the batch, after as many calls and noises: the
sampler does not choose its steps by the state, and does not draw noise that the oracle does not see.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion.oracle.adapter import Adapter, NotAffineError, Start
from lineardiffusion.oracle.noise import Noise, distinct
from lineardiffusion.oracle.target import PrincipalDenoiser

PROBE = 100.0  # units of start and noise in the row that tests whether a sampler is affine
AFFINE = 1e-4  # share of the probe by which it may miss; single precision loses 1e-6


@dataclass(frozen=True, eq=False)
class Responses:
    """The law of a sampler with a number of steps, N(offset m, std^2), by distinct variance of the target."""

    offset: Array  # b, for m = 1, (k,)
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


def respond(
    adapter: Adapter, num_steps: int, variance: Array, start: str, largest_mean: float = 1.0, alone: bool = True
) -> Responses:
    """Run a sampler on impulses in directions of these variances (k,).

    Parameters
    ----------
    adapter : Adapter
        The sampler.
    num_steps : int
        Number of steps.
    variance : ndarray of shape (k,)
        Distinct variances of the target, from 0 up.
    start : {"exact", "noise"}
        Law of the state at the first step.
    largest_mean : float, default=1.0
        Largest entry of the law's mean, at which the sampler is tested.
    alone : bool, default=True
        Whether to run the rows of the test alone, too.

    Raises
    ------
    NotAffineError
        If the sampler is not affine; the message names the option if one is known.
    """
    level = adapter.start(num_steps)
    rows = _Rows(variance, level, start, largest_mean)
    counting = _Impulses(np.zeros((0, len(variance))))
    found, calls = _run(adapter, num_steps, rows, counting)
    if counting.n_noises:
        placed = counting.placed()
        found, calls = _run(adapter, num_steps, rows, placed)
        if placed.n_noises != counting.n_noises:
            raise NotAffineError(f"{adapter.name} is not affine: the number of its noises depends on the noise")
    base = found[_Rows.BASE]
    with np.errstate(all="ignore"):  # of a sampler that diverges
        offset, gain, responses = base / rows.unit, found[_Rows.UNIT] - base, found[_Rows.NOISES :] - base
        fine = np.isfinite(base) & np.isfinite(gain)
        step = rows.weights * gain + counting.weighted(responses)
        expected = np.outer(rows.mean, offset) + np.outer(_Rows.UNITS, step)
        least = max(np.abs(one[..., fine]).max(initial=0.0) for one in (gain, responses))
        tolerance = {row: AFFINE * _size(expected[row, fine], least * abs(_Rows.UNITS[row])) for row in _Rows.TESTS}
        tolerance[_Rows.ZERO] = tolerance[_Rows.BASE] = tolerance[_Rows.NEAR]
        passed = [_size((found[row] - expected[row])[fine]) <= tolerance[row] for row in _Rows.TESTS]
    if not all(passed):
        raise NotAffineError(_refusal(adapter, num_steps, variance, start, largest_mean, passed[_Rows.ZERO]))
    if alone and fine.all():
        for row in (*_Rows.TESTS, _Rows.BASE):
            noise = counting.placed()
            own, own_calls = _run(adapter, num_steps, rows, noise, row)
            same = own_calls == calls and noise.n_noises == counting.n_noises
            if not (same and _size(own[0] - found[row]) <= tolerance[row]):
                raise NotAffineError(
                    f"{adapter.name} is not affine: a state comes out otherwise alone than beside others. It "
                    "chooses its steps by the state, or draws noise that the oracle does not see"
                )
    return Responses(offset, gain, responses, calls, level)


class _Rows:
    """Inputs of a run: three rows of the test, the mean, a unit of start more, and the mean for each noise."""

    ZERO, FAR, NEAR, BASE, UNIT, NOISES = range(6)
    TESTS = (ZERO, FAR, NEAR)
    UNITS = (0.0, PROBE, -1.0, 0.0, 0.0)  # of start and noise, times the weights

    def __init__(self, variance: Array, level: Start, start: str, largest_mean: float) -> None:
        k = len(variance)
        self.variance = variance
        self.unit = math.sqrt(variance.max()) or 1.0  # m: of the size of the law, so that no digit is lost
        largest = 2 * max(self.unit, largest_mean)
        self.mean = np.array([0.0, largest, -largest, self.unit, self.unit])
        self.weights = _weights(0, 1, k)[0]
        if start == "noise":
            self.alpha, self.std = 0.0, np.full(k, level.noise_std)
        else:
            self.alpha, self.std = level.alpha, np.sqrt(level.alpha**2 * variance + level.sigma**2)

    def inputs(self, n_noises: int) -> tuple[Array, Array]:
        """Return states (5 + n_noises, k) and the means of the rows."""
        mean = np.append(self.mean, np.full(n_noises, self.unit))
        x = np.repeat(self.alpha * mean[:, None], len(self.variance), axis=1)
        x[: self.NOISES] += np.outer(self.UNITS, self.weights * self.std)
        x[self.UNIT] += self.std
        return x, mean


def _run(
    adapter: Adapter, num_steps: int, rows: _Rows, noise: _Impulses, only: int | None = None
) -> tuple[Array, int]:
    """Return the answers to the impulses, (5 + j, k) or to one row, and the number of calls of the denoiser."""
    x, mean = rows.inputs(noise.n_rows)
    noise.only = only
    if only is not None:
        x, mean = x[only : only + 1], mean[only : only + 1]
    counted = Counted(PrincipalDenoiser(rows.variance, mean))
    with np.errstate(all="ignore"):
        found = np.asarray(adapter.run(num_steps, x, counted, noise), dtype=np.float64)
    if found.shape != x.shape:
        raise ValueError(f"{adapter.name} must return states of the shape {x.shape}, got {found.shape}")
    return found, counted.calls


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
    """Noise of one unit in one row for each request, and of random weights in the rows of the test.

    Without known ends of intervals it counts the noises and collects the ends, and is 0.
    """

    def __init__(self, weights: Array, times: list[float] | None = None) -> None:
        self.weights, self.times = weights, times  # of the noises in the rows of the test, (j, k)
        self.n_fresh, self.ends = 0, list[float]()
        self.only: int | None = None  # the one row that is run, if not all

    @property
    def n_rows(self) -> int:
        """Rows of a batch in which one noise is a unit."""
        return len(self.weights)

    @property
    def n_noises(self) -> int:
        """Number of independent noises that were asked for."""
        return self.n_fresh + max(len(distinct(self.ends)) - 1, 0)

    def placed(self) -> _Impulses:
        """Return a source with a row for each noise that this one was asked for."""
        return _Impulses(_weights(1, self.n_noises, self.weights.shape[1]), distinct(self.ends))

    def weighted(self, responses: Array) -> Array:
        """Return the sum of responses (j, k) to the noises with their weights in the rows of the test."""
        return np.asarray((_weights(1, *responses.shape) * responses).sum(axis=0))

    def fresh(self) -> Array:
        place = max(len(self.times or []) - 1, 0) + self.n_fresh
        self.n_fresh += 1
        return self._noise([(place, 1.0)])

    def increment(self, a: float, b: float) -> Array:
        self.ends += [a, b]
        if self.times is None:
            return self._noise([])
        low, high = sorted(_nearest(self.times, t) for t in (a, b))
        sign = 1.0 if a < b else -1.0
        return self._noise([(i, sign * math.sqrt(self.times[i + 1] - self.times[i])) for i in range(low, high)])

    def _noise(self, sizes: list[tuple[int, float]]) -> Array:
        """Return a noise that is made of independent ones, by place and size."""
        found = np.zeros((_Rows.NOISES + self.n_rows, self.weights.shape[1]))
        for place, size in sizes if self.times is not None else ():
            if place >= self.n_rows:
                raise NotAffineError("a sampler that asks for more noises in one run than in another is not affine")
            found[_Rows.NOISES + place] = size
            found[: _Rows.NOISES] += np.outer(_Rows.UNITS, size * self.weights[place])
        return found if self.only is None else found[self.only : self.only + 1]


def _weights(seed: int, j: int, k: int) -> Array:
    """Return random weights (j, k) of both signs, no two of equal size."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.uniform(0.5, 1.0, size=(j, k)) * rng.choice([-1.0, 1.0], size=(j, k)))


def _size(values: Array, least: float = 0.0) -> float:
    return max(float(np.abs(values).max(initial=0.0)), least)


def _nearest(times: list[float], t: float) -> int:
    return int(np.abs(np.asarray(times) - t).argmin())


def _refusal(
    adapter: Adapter, num_steps: int, variance: Array, start: str, largest_mean: float, keeps_zero: bool
) -> str:
    """Say that a sampler is not affine, and which option makes it so."""
    if not keeps_zero:
        return (
            f"{adapter.name} adds a constant, or noise of its own: a mean, a start and noise of 0 do not stay 0. "
            "Its law depends on the coordinates, or on noise that the oracle does not see"
        )
    for option, other in adapter.without():
        try:
            respond(other, num_steps, variance, start, largest_mean)
        except Exception:  # whatever another library raises: this option is not the only one
            continue
        return (
            f"{adapter.name} is not affine: {option}. Its law is no Gaussian and has no closed form; "
            "judge it without that option"
        )
    return (
        f"{adapter.name} is not affine: {PROBE:g} standard deviations of start and noise do not come out {PROBE:g} "
        "times as far as one. It clips, thresholds, normalises, multiplies states, or mixes the entries of a state"
    )
