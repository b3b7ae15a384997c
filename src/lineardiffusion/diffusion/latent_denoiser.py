"""The denoiser of one prompt as an object: what a sampler of any other library calls.

    D(x; alpha, sigma) = E[z | alpha z + sigma n = x]

It is affine in x under a prompt, with guidance too. Under a prompt that has styles it is the posterior mean of
their mixture, which is not affine. The probability flow is solved in closed form where D is that of one Gaussian
(diffusion/denoisers.py), and numerically otherwise (diffusion/ode.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.diffusion.ode import integrate


@dataclass(frozen=True, eq=False, repr=False)
class LatentDenoiser:
    """Denoiser of the latents under one prompt, see :meth:`LinearDiffusion.denoiser`.

    Called with noisy latents (n, d) and their level, ``denoiser(x, alpha, sigma)``, it returns the expected clean
    latents (n, d). The unit of sigma is that of the latents.

    Attributes
    ----------
    denoise : callable
        Denoiser of states (1, n, d), ``denoise(x, alpha, sigma)``.
    dim : int
        Number d of entries of a latent.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion
    >>> denoiser = LinearDiffusion.from_gaussian([4.0], [9.0]).denoiser("")
    >>> denoiser([[2.0]], 1.0, 1.0)  # a latent has the variance 1, as much as this noise
    array([[1.]])
    """

    denoise: Any
    dim: int

    def __call__(self, x: Any, alpha: float, sigma: float) -> Array:
        """Return the expected clean latents of x = alpha z + sigma n, both (n, d); sigma is above 0."""
        alpha, sigma = _check_level((alpha, sigma))
        if sigma == 0.0:
            raise ValueError("sigma must be above 0: without noise there is nothing to denoise")
        return np.asarray(self.denoise(self._check_points(x), alpha, sigma)[0])

    def flow(self, x: Any, start: tuple[float, float], end: tuple[float, float]) -> Array:
        """Return the solution of the probability flow from one level to another.

        Either level may have less noise. From no noise at all, sigma = 0, it exists for a prompt of one Gaussian
        that varies in every direction.

        Parameters
        ----------
        x : array-like of shape (n, d)
            Latents at the first level.
        start : tuple of float
            First level, ``(alpha, sigma)``.
        end : tuple of float
            Last level, ``(alpha, sigma)``.

        Returns
        -------
        ndarray of shape (n, d)
            Latents at the last level.

        Raises
        ------
        ValueError
            If the flow does not exist, or a level is no level.

        Examples
        --------
        >>> from lineardiffusion import LinearDiffusion
        >>> denoiser = LinearDiffusion.from_gaussian([0.0, 0.0], [1.0, 9.0]).denoiser("")
        >>> clean = denoiser.flow([[1.0, 1.0]], (0.0, 1.0), (1.0, 0.0))
        >>> (clean**2 * 5).round(6)  # from the variance 1 to 9 and 1, in units of their mean 5
        array([[9., 1.]])
        """
        start, end, points = _check_level(start), _check_level(end), self._check_points(x)
        if isinstance(self.denoise, GaussianDenoiser):
            return np.asarray(self.denoise.flow(points, start, end)[0])
        if start[1] == 0.0:
            what = "this flow is solved numerically, which needs noise at the start"
            raise ValueError(f"{what}; start at a small time above 0, or name one style without guidance")
        solve = getattr(self.denoise, "flow", None)
        return np.asarray((solve(points, start, end) if solve else integrate(self.denoise, points, start, end))[0])

    def _check_points(self, x: Any) -> Array:
        points = np.asarray(x, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != self.dim:
            raise ValueError(f"latents must have the shape (n, {self.dim}), got {points.shape}")
        return points[None]

    def __repr__(self) -> str:
        return f"LatentDenoiser of {self.dim} entries"


def _check_level(level: tuple[float, float]) -> tuple[float, float]:
    alpha, sigma = map(float, level)
    if not (0.0 <= alpha < math.inf and 0.0 <= sigma < math.inf and alpha + sigma > 0.0):
        raise ValueError(f"a level is (alpha, sigma), both 0 or more and not both 0; got {(alpha, sigma)}")
    return alpha, sigma
