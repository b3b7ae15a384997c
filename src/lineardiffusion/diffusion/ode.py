"""The probability-flow ODE of any denoiser, solved numerically.

The flow of a Gaussian has a closed form (denoisers.py). The flow of a sum of denoisers has none, because its
matrices at different noise levels do not commute. In y = x / alpha and u = log(sigma / alpha) it is

    dy/du = y - D(y; 1, e^u),

and for w = y cos, where tan = e^u and so w = cos z + sin n, it is not stiff at either end:

    dw/du = cos^2 w - cos D(w; cos, sin)

The right-hand side vanishes at both ends, where the step size does not matter, and changes on the scale of one
unit of u between them. The method is Dormand and Prince's of order 8 with adaptive steps, each with an error
below ``TOLERANCE`` of the latents' unit. On an affine map all rows are solved for at once.

References
----------
Hairer, Norsett and Wanner (1993), Solving ordinary differential equations I. Section II.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from lineardiffusion._arrays import Array
from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.diffusion.denoisers import Denoiser, State

TOLERANCE = 1e-8  # of a step, in the latents' unit; the whole solution stays within 1e-6
NOISE_ONLY, NO_NOISE = 1e6, 1e-7  # sigma / alpha beyond which one step does for the rest


def integrate(
    denoise: Denoiser,
    x: State,
    start: tuple[float, float],
    end: tuple[float, float],
    breaks: Sequence[float] = (),
    tolerance: float | None = None,
) -> State:
    """Solve the flow of `denoise` for `x` from one level ``(alpha, sigma)`` to another.

    `breaks` are the u at which the denoiser changes abruptly; the flow is solved from one to the next. `tolerance`
    bounds the error of a step, `TOLERANCE` by default.
    """
    (alpha, sigma), (alpha_end, sigma_end) = start, end
    ratio = sigma / alpha if alpha else math.inf
    ratio_end = sigma_end / alpha_end if alpha_end else math.inf
    first, last = min(ratio, NOISE_ONLY), min(max(ratio_end, NO_NOISE), NOISE_ONLY)
    x0 = denoise(x, alpha, sigma)
    w = (1.0 / math.hypot(1.0, first)) * ((first / sigma) * x + (1.0 - first * alpha / sigma) * x0)
    if first != last:
        stops = math.log(first), math.log(last)
        inside: list[float] = sorted((u for u in breaks if min(stops) < u < max(stops)), reverse=first > last)
        for u, u_end in pairwise([stops[0], *inside, stops[1]]):
            w = _solve(denoise, w, u, u_end, tolerance)
    y = math.hypot(1.0, last) * w
    if ratio_end == last:
        return alpha_end * y
    x0 = denoise(y, 1.0, last)
    return (sigma_end / last) * y + (alpha_end - sigma_end / last) * x0


def _solve(denoise: Denoiser, w: State, u: float, u_end: float, tolerance: float | None) -> State:
    rows = w.rows if isinstance(w, Affine) else w

    def state(flat: Array) -> State:
        values = flat.reshape(rows.shape)
        return replace(w, rows=values) if isinstance(w, Affine) else values

    low, high = sorted((u, u_end))
    inset = min(1e-10, 1e-3 * (high - low))  # the ends belong to the piece before or after

    def slope(u: float, flat: Array) -> Array:
        x, u = state(flat), min(max(u, low + inset), high - inset)
        cos = 1.0 / math.hypot(1.0, math.exp(u))
        x = cos**2 * x - cos * denoise(x, cos, cos * math.exp(u))
        return (x.rows if isinstance(x, Affine) else x).ravel()

    if np.isfinite(rows).all():
        error = tolerance or TOLERANCE
        how: dict[str, Any] = {"method": "DOP853", "max_step": 4.0, "rtol": error, "atol": error}
        with np.errstate(over="ignore", invalid="ignore"):
            solution = solve_ivp(slope, (u, u_end), rows.ravel(), t_eval=[u_end], **how)
        if solution.success and np.isfinite(solution.y).all():
            return state(np.ascontiguousarray(solution.y[:, -1]))
    advice = "use a guidance_scale nearer 1, or weights of prompts that are positive"
    raise ValueError(f"the probability-flow ODE has no solution within the range of numbers; {advice}")
