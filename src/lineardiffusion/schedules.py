"""Noise schedules, see :mod:`lineardiffusion.diffusion.schedules`."""

from lineardiffusion.diffusion.schedules import *  # noqa: F403
from lineardiffusion.diffusion.schedules import __all__ as __all__
