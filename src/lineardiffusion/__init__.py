"""Diffusion models made of linear parts only: fitted in closed form, sampled exactly.

>>> from lineardiffusion import LinearDiffusion
>>> from lineardiffusion.datasets import load_digits
>>> ld = LinearDiffusion().fit(*load_digits())
>>> ld.predict(["7", "3"], seed=137).shape
(2, 8, 8)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineardiffusion import datasets, metrics, operators, plot
    from lineardiffusion.gaussian import Gaussian
    from lineardiffusion.mixture import Mixture
    from lineardiffusion.model import LinearDiffusion

__all__ = ["Gaussian", "LinearDiffusion", "Mixture", "datasets", "metrics", "operators", "plot"]
__version__ = "0.1.0"

_HOME = {"Gaussian": "gaussian", "LinearDiffusion": "model", "Mixture": "mixture"}


def __getattr__(name: str) -> Any:
    """Import what is named when it is first named (PEP 562): the command starts, and stops, at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOME.get(name, name)}")
    return getattr(module, name) if name in _HOME else module


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
