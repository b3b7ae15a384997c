"""Guidance and interpolation: weighted sums of denoisers.

    D = sum_i w_i D_i,        sum_i w_i = 1

Guidance (Ho and Salimans 2022) is D_uncond + w (D_cond - D_uncond), the weights 1 - w and w, in the
convention of diffusers: w = 1 is no guidance. The unconditional denoiser is that of the pooled moments, or,
with a negative prompt, the negative prompt's. Interpolation between prompts takes the weights of the prompts.
In both cases D is affine in x, so maps and laws stay exact.

With Gaussians of one covariance S and means m_c and m_u, the exact sampler draws from N(m_c + (w - 1)
(m_c - m_u), S). In general the law is not the tilted density p_c^w p_u^(1 - w): guiding the denoiser at every
noise level is not the same as tilting the density of the data (Bradley and Nakkiran 2024).
:meth:`LinearDiffusion.law` gives the law.

References
----------
Ho and Salimans (2022), Classifier-free diffusion guidance.
Bradley and Nakkiran (2024), Classifier-free guidance is a predictor-corrector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lineardiffusion.diffusion.denoisers import Denoiser, State
from lineardiffusion.diffusion.ode import integrate


@dataclass(frozen=True)
class Combination:
    """The weighted sum of denoisers."""

    parts: Sequence[Denoiser]  # in the coordinates of the latents
    weights: Sequence[float]  # with the sum 1; negative ones move away

    def __call__(self, x: State, alpha: float, sigma: float) -> State:
        first, *rest = (w * part(x, alpha, sigma) for part, w in zip(self.parts, self.weights, strict=True))
        for term in rest:
            first = first + term
        return first

    def flow(self, x: State, start: tuple[float, float], end: tuple[float, float]) -> State:
        return integrate(self, x, start, end)
