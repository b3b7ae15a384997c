"""The interface by which the oracle runs a sampler of any library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from lineardiffusion._arrays import Array
from lineardiffusion.oracle.noise import Noise


class NotAffineError(ValueError):
    """A sampler that is not affine in its state, so that its law is not Gaussian and not known in closed form."""


@dataclass(frozen=True)
class Start:
    """Level of the state at the first step, x = alpha z + sigma n, and what the library starts from instead."""

    alpha: float
    sigma: float
    noise_std: float  # standard deviation of the noise alone that the library starts from


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
    rounding : float
        Share of the law's spread below which distances are rounding; that of single precision by default.
    """

    name: str = "sampler"
    versions: Mapping[str, str] = {}
    rounding: ClassVar[float] = 1e-5

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
