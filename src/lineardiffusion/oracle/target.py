"""The law that a sampler ought to draw, in its principal coordinates.

A sampler that scales and adds its state, the denoiser's answers and noise treats every direction alike. So for a
law N(m, C) with C = Q diag(l) Q^T it falls apart into one recurrence of numbers for each direction, u = x Q, in
which the denoiser is

    D(u; alpha, sigma) = m + k (u - alpha m),        k = alpha l / (alpha^2 l + sigma^2)

The recurrence is linear in m, u and the noise, and depends on the direction through l alone. So it is run once for
every distinct l, at one m, and the result holds for all directions of that variance: with the offset b(l) for m = 1
and the standard deviation s(l), the sampler draws from N(b m, s^2), at the distance

    W^2 = sum_l |m_l|^2 (b(l) - 1)^2  +  sum_l n_l (s(l) - sqrt(l))^2

from the law, where n_l directions have the variance l and m_l is the part of the mean in them. The first sum is
the error of the mean, the second that of the spread. l = 0 is always among them: a direction without variance
tells the noise that is left at the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lineardiffusion._arrays import Array, Indices, freeze
from lineardiffusion.distributions.gaussian import Gaussian


@dataclass(frozen=True, eq=False)
class Target:
    """A Gaussian in its principal coordinates, by distinct variance."""

    variance: Array  # the k distinct variances l, from 0 up, (k,)
    place: Indices  # which of them each principal direction has, (d,)
    mean: Array  # of the law in its principal coordinates, (d,)
    basis: Array | None  # Q, (d, d); None where the coordinates are principal
    spread: float  # root of the law's total variance
    largest_mean: float  # largest entry of the mean, in size
    size: float  # root of the law's mean square; rounding is a share of it

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def of(cls, law: Gaussian) -> Target:
        """Return the target of a law."""
        variance, basis = law.principal()
        mean = law.mean if basis is None else law.mean @ basis
        distinct, place = np.unique(np.append(variance, 0.0), return_inverse=True)
        spread, largest = math.sqrt(variance.sum()), float(np.abs(law.mean).max())
        size = math.hypot(spread, float(np.linalg.norm(mean)))
        return cls(distinct, place[:-1], mean, basis, spread, largest, size)

    def parts(self, offset: Array, std: Array) -> tuple[float, float]:
        """Return the errors of the mean and of the spread of b(l) and s(l), each (k,); their hypotenuse is W2."""
        return self._distances((offset, std), (np.ones_like(offset), np.sqrt(self.variance)))

    def apart(self, first: tuple[Array, Array], second: tuple[Array, Array]) -> float:
        """Return W2 between two laws that are given by their b(l) and s(l)."""
        return math.hypot(*self._distances(first, second))

    def _distances(self, first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[float, float]:
        """Return the distances of the means and of the standard deviations of two laws."""
        k = len(self.variance)
        n, squares = np.bincount(self.place, minlength=k), np.bincount(self.place, self.mean**2, minlength=k)
        held = n > 0
        with np.errstate(all="ignore"):  # of a sampler that diverges
            offset, std = (squares * (first[0] - second[0]) ** 2)[held], (n * (first[1] - second[1]) ** 2)[held]
            return float(np.sqrt(offset.sum())), float(np.sqrt(std.sum()))

    def gaussian(self, offset: Array, std: Array) -> Gaussian:
        """Return the law of b(l) and s(l) in the coordinates of x."""
        mean, variance = offset[self.place] * self.mean, std[self.place] ** 2
        if self.basis is None:
            return Gaussian.diagonal(mean, variance)
        return Gaussian(self.basis @ mean, (self.basis * variance) @ self.basis.T)

    def matrix(self, gain: Array) -> Array:
        """Return the matrix (d, d) of a gain g(l) in the coordinates of x."""
        diagonal = gain[self.place]
        return np.diag(diagonal) if self.basis is None else (self.basis * diagonal) @ self.basis.T


@dataclass(frozen=True, eq=False)
class PrincipalDenoiser:
    """The denoiser of a target in its principal coordinates, for arrays and tensors (rows, ..., k).

    Every row has a mean of its own, the same in all k directions.
    """

    variance: Array  # (k,)
    mean: Array  # (rows,)

    def __call__(self, x: Any, alpha: float, sigma: float) -> Any:
        """Return the expected clean state of x = alpha z + sigma n."""
        variance = alpha**2 * self.variance + sigma**2
        gain = np.divide(alpha * self.variance, variance, out=np.zeros_like(variance), where=variance > 0)
        return self._scale(x, gain, alpha, 1.0)

    def flow(self, x: Any, start: tuple[float, float], end: tuple[float, float]) -> Any:
        """Solve the probability-flow ODE from one level ``(alpha, sigma)`` to another, of which sigma > 0 first."""
        (alpha, sigma), (alpha_end, sigma_end) = start, end
        ratio = (alpha_end**2 * self.variance + sigma_end**2) / (alpha**2 * self.variance + sigma**2)
        return self._scale(x, np.sqrt(ratio), alpha, alpha_end)

    def _scale(self, x: Any, gain: Array, alpha: float, alpha_end: float) -> Any:
        """Return ``alpha_end m + gain (x - alpha m)``; a tensor in double precision for a tensor."""
        constant, mean = alpha_end - alpha * gain, self.mean.reshape(-1, *(1,) * (x.ndim - 1))
        if isinstance(x, np.ndarray):
            return x * gain + constant * mean
        x = x.double()
        return x * x.new_tensor(gain) + x.new_tensor(constant) * x.new_tensor(mean)
