"""Samplers, see :mod:`lineardiffusion.diffusion.samplers`."""

from lineardiffusion.diffusion.samplers import *  # noqa: F403
from lineardiffusion.diffusion.samplers import __all__ as __all__
