"""Diffusion models made of linear parts only: fitted in closed form, sampled exactly.

>>> from lineardiffusion import LinearDiffusion
>>> from lineardiffusion.datasets import load_digits
>>> ld = LinearDiffusion().fit(*load_digits())
>>> ld.predict(["7", "3"], seed=137).shape
(2, 8, 8)
"""

from lineardiffusion import datasets, metrics, operators, plot
from lineardiffusion.gaussian import Gaussian
from lineardiffusion.mixture import Mixture
from lineardiffusion.model import LinearDiffusion

__all__ = ["Gaussian", "LinearDiffusion", "Mixture", "datasets", "metrics", "operators", "plot"]
__version__ = "0.1.0"
