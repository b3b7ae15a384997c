"""The interface by which the oracle runs a sampler of any library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from lineardiffusion._arrays import Array
from lineardiffusion.oracle.noise import Noise


class NotAffineError(ValueError):
    """Error of a sampler that is not affine in its state, so that its law is not known in closed form."""


@dataclass(frozen=True)
class Start:
    """Level of the state at the first step, and the noise that the library starts from instead.

    Attributes
    ----------
    alpha : float
        Factor of the data in the state x = alpha z + sigma n.
    sigma : float
        Standard deviation of its noise.
    noise_std : float
        Standard deviation of the noise alone that the library starts from.
    """

    alpha: float
    sigma: float
    noise_std: float


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

    Examples
    --------
    Euler's method in the time sigma, from sigma = 10 on:

    >>> from lineardiffusion import Gaussian
    >>> from lineardiffusion.oracle import Adapter, Start, oracle
    >>> class Euler(Adapter):
    ...     name = "Euler"
    ...
    ...     def start(self, num_steps):
    ...         return Start(alpha=1.0, sigma=10.0, noise_std=10.0)
    ...
    ...     def run(self, num_steps, x, denoise, noise):
    ...         for n in range(num_steps, 0, -1):  # sigma falls from 10 n / num_steps to 10 (n - 1) / num_steps
    ...             x = x + (denoise(x, 1.0, 10.0 * n / num_steps) - x) / n
    ...         return x
    >>> report = oracle(Euler(), Gaussian.diagonal([0.0, 0.0], [4.0, 1.0]), steps=(10, 20), convergence=False)
    >>> [round(row.distance, 2) for row in report.rows]
    [0.5, 0.26]
    """

    name: str = "sampler"
    versions: Mapping[str, str] = {}
    rounding: ClassVar[float] = 1e-5

    @abstractmethod
    def start(self, num_steps: int) -> Start:
        """Return the level at which a run starts.

        Parameters
        ----------
        num_steps : int
            Number of steps of the run.

        Returns
        -------
        Start
            Level of the state at the first step.
        """

    @abstractmethod
    def run(self, num_steps: int, x: Array, denoise: Any, noise: Noise) -> Array:
        """Return the state after a run.

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

        Returns
        -------
        ndarray of shape (m, k)
            State after the last step.
        """

    def without(self) -> Iterator[tuple[str, Adapter]]:
        """Yield options that may make the sampler non-affine, and the sampler without each.

        Yields
        ------
        option : str
            Option, as ``name=value``.
        adapter : Adapter
            The same sampler without it.
        """
        yield from ()
