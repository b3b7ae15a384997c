"""Diffusion models made of linear parts only: fitted in closed form, sampled exactly.

>>> from lineardiffusion import LinearDiffusion
>>> from lineardiffusion.datasets import load_digits
>>> ld = LinearDiffusion().fit(*load_digits())
>>> ld.predict(["7", "3"], seed=137).shape
(2, 8, 8)
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineardiffusion import datasets, metrics, operators, plot
    from lineardiffusion.gaussian import Gaussian
    from lineardiffusion.mixture import Mixture
    from lineardiffusion.model import LinearDiffusion

__all__ = ["Gaussian", "LinearDiffusion", "Mixture", "datasets", "metrics", "operators", "plot"]
__version__ = "0.1.0"

_HOME = {"Gaussian": "gaussian", "LinearDiffusion": "model", "Mixture": "mixture"}
_MODULES = {module.name for module in pkgutil.iter_modules(__path__)} - {"__main__"}


def __getattr__(name: str) -> Any:
    """Import what is named when it is first named (PEP 562), so that the command can be stopped at once."""
    if name in _HOME:
        found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        return globals().setdefault(name, found)
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
