"""Sources of the noise that a sampler asks for: fresh noise, and increments of one Brownian motion.

Draws of a Brownian motion W at a time t between two known ones a < t < b are those of a bridge::

    W(t) ~ N((1 - p) W(a) + p W(b), (t - a) (b - t) / (b - a)),        p = (t - a) / (b - a)

Beyond the known times the variance of W(t) - W(a) is the distance of t and a. So the values agree, whatever the
order of the questions.
"""

from __future__ import annotations

import bisect
import math
from abc import ABC, abstractmethod

import numpy as np

from lineardiffusion._arrays import Array

SAME_TIME = 1e-9  # share of the latest time by which ends of intervals of a Brownian motion may differ and be one


class Noise(ABC):
    """Source of the noise that a sampler asks for: fresh, or increments of one Brownian motion.

    The oracle passes one to :meth:`Adapter.run`, whose states have the shape (m, k).
    """

    @abstractmethod
    def fresh(self) -> Array:
        """Return standard noise that is independent of all before.

        Returns
        -------
        ndarray of shape (m, k)
            Noise of standard deviation 1.
        """

    @abstractmethod
    def increment(self, a: float, b: float) -> Array:
        """Return W(b) - W(a) of one Brownian motion W.

        Parameters
        ----------
        a : float
            First time.
        b : float
            Last time.

        Returns
        -------
        ndarray of shape (m, k)
            Increment, of the variance b - a.
        """


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
            if 0 <= j < len(self.times) and abs(self.times[j] - t) <= SAME_TIME * max(abs(t), abs(self.times[-1])):
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


def distinct(times: list[float]) -> list[float]:
    """Return the distinct ones of some times, rising."""
    found, same = list[float](), SAME_TIME * max(map(abs, times), default=0.0)
    for t in sorted(times):
        if not found or t - found[-1] > same:
            found.append(t)
    return found
