"""Posteriors by approximate methods, see :mod:`lineardiffusion.inverse.approximate`."""

from lineardiffusion.inverse.approximate import *  # noqa: F403
from lineardiffusion.inverse.approximate import __all__ as __all__
