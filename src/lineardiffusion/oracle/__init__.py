"""The oracle: judge any sampler of any library exactly, without one draw.

>>> import numpy as np
>>> from lineardiffusion import Gaussian
>>> from lineardiffusion.oracle import oracle
>>> law = Gaussian.diagonal(np.zeros(2), np.array([4.0, 0.25]))
>>> oracle("heun", law, steps=(10, 20), convergence=False)
heun: W2 to the law, in units of its spread 2.062
  steps   calls  distance      mean    spread
...
"""

from lineardiffusion.oracle.adapter import Adapter, NotAffineError, Start
from lineardiffusion.oracle.judge import oracle
from lineardiffusion.oracle.noise import Noise
from lineardiffusion.oracle.optimal import optimal_times
from lineardiffusion.oracle.report import Report, Row

__all__ = ["Adapter", "Noise", "NotAffineError", "Report", "Row", "Start", "optimal_times", "oracle"]
