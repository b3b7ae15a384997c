"""Samplers of k-diffusion (https://github.com/crowsonkb/k-diffusion), and functions with their signature.

A sampler is a function of (model, x, sigmas), where x = z + sigma n has the level sigmas[0] and
``model(x, sigma)`` is the denoiser. Samplers of the web interfaces of Stable Diffusion have the same signature and
run here too.

Functions that take ``noise_sampler`` get the oracle's. It returns (W(b) - W(a)) / sqrt(|b - a|) of one Brownian
motion where the function's own would be a ``BrownianTreeNoiseSampler``, and fresh noise elsewhere.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion.diffusion.schedules import Karras
from lineardiffusion.oracle.adapter import Adapter, NotAffineError, Start
from lineardiffusion.oracle.adapters.alone import load_alone
from lineardiffusion.oracle.adapters.tensors import replaced_noise, to_array, to_tensor
from lineardiffusion.oracle.noise import Noise

TREE = "BrownianTreeNoiseSampler"
NO_SAMPLER = {"log_likelihood"}


class KDiffusionSampler(Adapter):
    """A function of k-diffusion, or one with the same signature.

    Parameters
    ----------
    function : callable
        Function of (model, x, sigmas), or of (model, x, sigma_min, sigma_max, n) as ``sample_dpm_fast``, whose n is
        the number of calls of the denoiser.
    sigmas : {"karras", "exponential", "vp"} or callable, default="karras"
        Noise levels, of k-diffusion's functions ``get_sigmas_...`` or of a function ``n -> sigmas`` of n + 1
        falling levels.
    sigma_min, sigma_max : float, default=0.002, 80.0
        Last level above 0, and first level, of "karras" and "exponential".
    rho : float, default=7.0
        Exponent of "karras".
    array : {"torch", "numpy"}, default=None
        What the function computes with: tensors (m, 1, 1, k), or arrays (m, k). None is "torch" for functions of
        k-diffusion and "numpy" for others. Noise of a function of arrays must come from a parameter
        ``noise_sampler(sigma, sigma_next)``.
    **options
        Options of the function, for example ``s_churn=40``.

    Raises
    ------
    NotAffineError
        If the function chooses its steps by the state, as ``sample_dpm_adaptive`` does.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion import Gaussian
    >>> from lineardiffusion.oracle import oracle
    >>> def euler(model, x, sigmas):
    ...     for sigma, following in zip(sigmas, sigmas[1:]):
    ...         x = x + (following - sigma) * (x - model(x, sigma)) / sigma
    ...     return x
    >>> law = Gaussian.diagonal(np.zeros(2), np.array([4.0, 0.25]))
    >>> there, here = oracle(euler, law), oracle("ddim", law, schedule="karras")
    >>> abs(there.rows[0].distance - here.rows[0].distance) < 1e-12
    True
    """

    rounding = 1e-11  # states and levels are in double precision

    def __init__(
        self,
        function: Any,
        sigmas: str | Callable[[int], Any] = "karras",
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
        array: str | None = None,
        **options: Any,
    ) -> None:
        self.function, self.options = function, options
        self.sigma_min, self.sigma_max, self.rho = sigma_min, sigma_max, rho
        if sigmas not in ("karras", "exponential", "vp") and not callable(sigmas):
            raise ValueError(
                f'sigmas must be "karras", "exponential", "vp" or a function n -> sigmas, got {sigmas!r}'
            )
        self.sigmas = sigmas
        written = inspect.unwrap(getattr(function, "func", function))  # without partial and decorators
        shown = {**getattr(function, "keywords", {}), **options}
        name = getattr(written, "__name__", type(written).__name__)
        self.name = name + "".join(f" {option}={value}" for option, value in shown.items())
        self.parameters = inspect.signature(function).parameters
        if name in NO_SAMPLER:
            raise TypeError(f"{self.name} is no sampler")
        if "rtol" in self.parameters and "sigmas" not in self.parameters:
            raise NotAffineError(
                f"{self.name} is not affine: it chooses its steps by an estimate of the error, which depends on "
                "the state. Judge a sampler with fixed steps"
            )
        theirs = (written.__module__ or "").partition(".")[0] == "k_diffusion"
        self.array = array or ("torch" if theirs else "numpy")
        if self.array not in ("torch", "numpy"):
            raise ValueError(f'array must be "torch" or "numpy", got {array!r}')
        self.has_tree = TREE in getattr(getattr(written, "__code__", None), "co_names", ())
        if self.array == "torch":
            self.versions = {"torch": version("torch")}
            if theirs:
                self.versions["k-diffusion"] = version("k-diffusion")

    def levels(self, num_steps: int) -> Array:
        """Return the n + 1 falling noise levels of a run."""
        if callable(self.sigmas):
            return np.asarray(self.sigmas(num_steps), dtype=np.float64)
        if self.sigmas == "karras":
            return Karras(self.sigma_max, self.sigma_min, self.rho).times(num_steps)
        if self.sigmas == "exponential":
            log = np.linspace(math.log(self.sigma_max), math.log(self.sigma_min), num_steps)
            return np.append(np.exp(log), 0.0)
        t = np.linspace(1.0, 1e-3, num_steps)
        return np.append(np.sqrt(np.expm1(19.9 * t**2 / 2 + 0.1 * t)), 0.0)

    def start(self, num_steps: int) -> Start:
        sigma = self.sigma_max if "n" in self.parameters else float(self.levels(num_steps)[0])
        return Start(1.0, sigma, sigma)

    def run(self, num_steps: int, x: Array, denoise: Any, noise: Noise) -> Array:
        def model(x: Any, sigma: Any, **kwargs: Any) -> Any:
            return denoise(x, 1.0, float(sigma.flatten()[0]) if np.ndim(sigma) else float(sigma))

        def noise_sampler(a: Any, b: Any) -> Any:
            a, b = float(a), float(b)
            found = noise.increment(a, b) / math.sqrt(abs(b - a)) if self.has_tree else noise.fresh()
            return to_tensor(found) if self.array == "torch" else found

        offered = {"disable": True, "noise_sampler": noise_sampler}
        options = {name: value for name, value in offered.items() if name in self.parameters} | self.options
        if self.array == "numpy":
            return np.asarray(self._end(self.function(model, x, *self._levels(num_steps), **options)))
        with replaced_noise(noise):
            return to_array(self._end(self.function(model, to_tensor(x), *self._levels(num_steps), **options)))

    def _end(self, found: Any) -> Any:
        """Check that a function returned a state, and did not yield some."""
        if not hasattr(found, "shape"):
            raise TypeError(f"{self.name} must return the last state, got {type(found).__name__}")
        return found

    def _levels(self, num_steps: int) -> tuple[Any, ...]:
        """Return what the function takes after the model and the state."""
        if "n" in self.parameters:
            return self.sigma_min, self.sigma_max, num_steps
        levels = self.levels(num_steps)
        if self.array == "numpy":
            return (levels,)
        return (importlib.import_module("torch").from_numpy(levels),)


def load() -> Any:
    """Return k-diffusion's module ``sampling``, without the rest of the package and without torchvision.

    Raises
    ------
    ImportError
        If k-diffusion is not installed.
    """
    return load_alone(
        "k_diffusion",
        "sampling",
        {
            "k_diffusion.utils": {"append_dims": lambda x, ndim: x.reshape(x.shape + (1,) * (ndim - x.ndim))},
            "torchdiffeq": {"odeint": None},
            "torchsde": {},
        },
    )
