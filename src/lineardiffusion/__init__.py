"""Diffusion models made of linear parts only: fitted in closed form, sampled exactly.

>>> from lineardiffusion import LinearDiffusion
>>> from lineardiffusion.datasets import load_digits
>>> ld = LinearDiffusion().fit(*load_digits())
>>> ld.predict(["7", "3"], seed=137).shape
(2, 8, 8)
"""

import importlib
from typing import TYPE_CHECKING, Any

from lineardiffusion._version import __version__

if TYPE_CHECKING:
    from lineardiffusion import datasets, metrics, operators, oracle, page, plot, posteriors, samplers, schedules
    from lineardiffusion.diffusion.latent_denoiser import LatentDenoiser
    from lineardiffusion.distributions.gaussian import Gaussian
    from lineardiffusion.distributions.mixture import Mixture
    from lineardiffusion.encoders.image import ImageEncoder
    from lineardiffusion.estimator import LinearDiffusion
    from lineardiffusion.fitted import FittedDiffusion
    from lineardiffusion.statistics.dataset import Statistics

__all__ = [
    "FittedDiffusion",
    "Gaussian",
    "ImageEncoder",
    "LatentDenoiser",
    "LinearDiffusion",
    "Mixture",
    "Statistics",
    "__version__",
    "datasets",
    "metrics",
    "operators",
    "oracle",
    "page",
    "plot",
    "posteriors",
    "samplers",
    "schedules",
]

_CLASSES = {
    "FittedDiffusion": "fitted",
    "Gaussian": "distributions.gaussian",
    "ImageEncoder": "encoders.image",
    "LatentDenoiser": "diffusion.latent_denoiser",
    "LinearDiffusion": "estimator",
    "Mixture": "distributions.mixture",
    "Statistics": "statistics.dataset",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562): the command answers ``--help`` without scikit-learn."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_CLASSES.get(name, name)}")
    found = getattr(module, name) if name in _CLASSES else module
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
