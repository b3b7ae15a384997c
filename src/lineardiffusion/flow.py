"""The probability-flow ODE of any denoiser, followed numerically.

A Gaussian's flow has a closed form (denoise.py). That of a denoiser made of several has none, for its
matrices at different noise levels do not commute. In y = x / alpha and u = log(sigma / alpha) it is

    dy/du = y - D(y; 1, e^u),

and for w = y cos, where tan = e^u and so w = cos z + sin n, it has no stiff end either:

    dw/du = cos^2 w - cos D(w; cos, sin)

The right-hand side vanishes at both ends, where one step is as good as many, and changes on the scale of
one unit of u between. The method is Dormand and Prince's of order 8, its steps chosen so that each errs by
less than ``TOLERANCE`` of the latents' unit. On an affine map it follows all rows at once: the composed map
refined until it no longer moves.

References
----------
Hairer, Norsett and Wanner (1993), Solving ordinary differential equations I. Section II.5.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.integrate import solve_ivp

from lineardiffusion.affine import Affine
from lineardiffusion.denoise import Denoiser, State
from lineardiffusion.moments import Array

TOLERANCE = 1e-8  # of a step, in the latents' unit; the whole way stays within 1e-6
NOISE_ONLY, NO_NOISE = 1e6, 1e-7  # sigma / alpha beyond which one step does for the rest


def integrate(denoise: Denoiser, x: State, start: tuple[float, float], end: tuple[float, float]) -> State:
    """Take `x` from the level ``(alpha, sigma)`` `start` to `end`, along the flow of `denoise`."""
    (alpha, sigma), (alpha_end, sigma_end) = start, end
    ratio = sigma / alpha if alpha else math.inf
    ratio_end = sigma_end / alpha_end if alpha_end else math.inf
    first, last = min(ratio, NOISE_ONLY), min(max(ratio_end, NO_NOISE), NOISE_ONLY)
    x0 = denoise(x, alpha, sigma)
    w = (1.0 / math.hypot(1.0, first)) * ((first / sigma) * x + (1.0 - first * alpha / sigma) * x0)
    if first != last:
        w = _follow(denoise, w, math.log(first), math.log(last))
    y = math.hypot(1.0, last) * w
    if ratio_end == last:
        return alpha_end * y
    x0 = denoise(y, 1.0, last)
    return (sigma_end / last) * y + (alpha_end - sigma_end / last) * x0


def _follow(denoise: Denoiser, w: State, u: float, u_end: float) -> State:
    rows = w.rows if isinstance(w, Affine) else w

    def state(flat: Array) -> State:
        values = flat.reshape(rows.shape)
        return replace(w, rows=values) if isinstance(w, Affine) else values

    def slope(u: float, flat: Array) -> Array:
        x = state(flat)
        cos = 1.0 / math.hypot(1.0, math.exp(u))
        x = cos**2 * x - cos * denoise(x, cos, cos * math.exp(u))
        return (x.rows if isinstance(x, Affine) else x).ravel()

    if np.isfinite(rows).all():
        with np.errstate(over="ignore", invalid="ignore"):
            solution = solve_ivp(
                slope, (u, u_end), rows.ravel(), method="DOP853", t_eval=[u_end], max_step=4.0,
                rtol=TOLERANCE, atol=TOLERANCE,
            )  # fmt: skip
        if solution.success and np.isfinite(solution.y).all():
            return state(np.ascontiguousarray(solution.y[:, -1]))
    raise ValueError(
        "the probability-flow ODE cannot be followed, it leads beyond the range of numbers; a guidance_scale "
        "nearer 1, or weights of prompts that are positive, keep it within"
    )
