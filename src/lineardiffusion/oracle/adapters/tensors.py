"""States as tensors of PyTorch, and the noise that its functions draw, replaced while a sampler runs.

Samplers draw their noise with ``torch.randn_like`` or ``torch.randn``. A mode of PyTorch answers these calls with
the oracle's noise instead. It holds in its own thread and inside its block only. Calls that draw something else are
refused, because the oracle would not know what they did.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion.oracle.responses import Noise

STANDARD = {"randn_like", "randn"}
OTHER = {
    "bernoulli", "bernoulli_", "cauchy_", "exponential_", "log_normal_", "multinomial", "normal", "normal_",
    "rand", "rand_like", "randint", "randint_like", "randperm", "uniform_",
}  # fmt: skip


def to_tensor(x: Array) -> Any:
    """Return a state (m, k) as a tensor of images (m, 1, 1, k) in double precision."""
    torch = importlib.import_module("torch")
    return torch.from_numpy(np.array(x, dtype=np.float64))[:, None, None]


def to_array(x: Any) -> Array:
    """Return a tensor of images (m, 1, 1, k) as a state (m, k)."""
    return np.asarray(x.detach().double().numpy()).reshape(len(x), -1)


def replaced_noise(noise: Noise) -> Any:
    """Return a context in which PyTorch's standard normal draws are those of `noise`."""
    base: Any = importlib.import_module("torch.overrides").TorchFunctionMode

    class Replaced(base):  # type: ignore[misc]
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = getattr(function, "__name__", "")
            if name in STANDARD:
                return to_tensor(noise.fresh())
            if name in OTHER:
                raise ValueError(
                    f"the sampler draws with torch's {name}; the oracle follows noise of torch.randn_like and "
                    "torch.randn"
                )
            return function(*args, **(kwargs or {}))

    return Replaced()
