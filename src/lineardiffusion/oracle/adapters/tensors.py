"""States as tensors of PyTorch, and the noise that its functions draw, replaced while a sampler runs.

Samplers draw their noise with ``torch.randn_like`` or ``torch.randn``. A mode of PyTorch answers these calls with
the oracle's noise instead. It holds in its own thread and inside its block only. Calls that draw something else are
refused, because the oracle would not know what they did.
"""

from __future__ import annotations

import importlib
import math
from functools import cache
from typing import Any

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion.oracle.noise import Noise

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


def replaced_noise(noise: Noise, keep_double: bool = False) -> Any:
    """Return a context in which PyTorch's standard normal draws are those of `noise`.

    With `keep_double`, tensors in double precision stay so where they would be cast to single precision.
    """
    return _mode()(noise, keep_double)


@cache
def _mode() -> Any:
    torch = importlib.import_module("torch")
    base: Any = importlib.import_module("torch.overrides").TorchFunctionMode

    class Replaced(base):  # type: ignore[misc]
        def __init__(self, noise: Noise, keep_double: bool) -> None:
            super().__init__()
            self.noise, self.keep_double = noise, keep_double

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs, name = kwargs or {}, getattr(function, "__name__", "")
            if name == "randn":
                return self.draw(args[0] if args and not isinstance(args[0], int) else args or kwargs["size"])
            if name == "randn_like":
                return self.draw((args[0] if args else kwargs["input"]).shape)
            if name in OTHER:
                raise ValueError(
                    f"the sampler draws with torch's {name}; the oracle follows noise of torch.randn_like and "
                    "torch.randn"
                )
            if self.keep_double and name == "to" and torch.float32 in (*args[1:], kwargs.get("dtype")):
                return args[0] if args[0].dtype is torch.float64 else function(*args, **kwargs)
            return function(*args, **kwargs)

        def draw(self, size: Any) -> Any:
            found = torch.from_numpy(self.noise.fresh())
            if found.numel() != math.prod(size):
                raise ValueError(
                    f"the sampler asks for noise of the shape {tuple(size)}; its state has {found.numel()} entries"
                )
            return found.reshape(tuple(size))

    return Replaced
