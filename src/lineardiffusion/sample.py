"""Samplers: from noise to latents, step by step.

Each sampler is a generator. It takes a denoiser D, the state x at the first of the falling `times`, and
yields the state at every following time. A state is a batch of latents or an affine map (affine.py): the
code is the same arithmetic on either, so a trajectory can be watched on data or composed into one matrix.

With x = alpha z + sigma n, the denoiser gives x0 = D(x) and the noise it implies, eps = (x - alpha x0) /
sigma. Primes mark the next level.

    ddim        x' = alpha' x0 + sqrt(sigma'^2 - tau^2) eps + tau n                (Song 2021, eq. 12)
                tau = eta sigma' sqrt(1 - (alpha sigma' / (alpha' sigma))^2)   (eq. 16)
    ddpm        ddim with eta = 1: ancestral sampling                              (Ho 2020, alg. 2)
    euler       x' = x + (t' - t) v,   v = (d alpha/dt) x0 + (d sigma/dt) eps
    heun        the mean of v at both ends                                         (Karras 2022, alg. 1)
    dpm++2m     x0 extrapolated from this step and the last, in log-SNR            (Lu 2022, alg. 2)
    exact       the probability-flow ODE itself: one step is as good as a thousand

The error falls with the number of steps as 1 / n (ddim, ddpm, euler) or 1 / n^2 (heun; dpm++2m up to a
factor log n, for its first and last steps are of first order), until what a schedule's last level leaves.

``one_step``, the original of April 2023, is one ddim step that takes pure noise for a latent with as much
noise as signal: from (alpha, sigma) = (1, 1) to (1, 0), so x' = D(x; 1, 1).

References
----------
Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models. NeurIPS.
Song, Meng and Ermon (2021), Denoising diffusion implicit models. ICLR.
Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based models. NeurIPS.
Lu et al. (2022), DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from lineardiffusion.denoise import Denoiser, State
from lineardiffusion.moments import Array
from lineardiffusion.schedule import Schedule

AddNoise: TypeAlias = Callable[[State, float], State]
Sampler: TypeAlias = Callable[[Denoiser, State, Schedule, Array, AddNoise[State]], Iterator[State]]


def levels(schedule: Schedule, times: Array) -> Iterator[tuple[tuple[float, float], ...]]:
    """The pairs ((alpha, sigma), (alpha', sigma')) of consecutive times."""
    alpha, sigma = (np.asarray(values, dtype=float).tolist() for values in schedule(times))
    return pairwise(zip(alpha, sigma, strict=True))


def ddim(
    denoise: Denoiser,
    x: State,
    schedule: Schedule,
    times: Array,
    add_noise: AddNoise[State],
    eta: float = 0.0,
) -> Iterator[State]:
    """Denoising diffusion implicit models: deterministic with ``eta=0``, ancestral with 1."""
    for (alpha, sigma), (alpha_, sigma_) in levels(schedule, times):
        x0 = denoise(x, alpha, sigma)
        # eq. 16: the standard deviation of x' given x and z, for the levels' signal-to-noise ratios
        kept = (alpha * sigma_ / (alpha_ * sigma)) ** 2
        tau = eta * sigma_ * math.sqrt(max(1.0 - kept, 0.0))
        direction = math.sqrt(sigma_**2 - tau**2) / sigma
        x = direction * x + (alpha_ - direction * alpha) * x0
        if tau > 0.0:
            x = add_noise(x, tau)
        yield x


def ddpm(
    denoise: Denoiser, x: State, schedule: Schedule, times: Array, add_noise: AddNoise[State]
) -> Iterator[State]:
    """Ancestral sampling from the posterior q(x' | x, x0)."""
    return ddim(denoise, x, schedule, times, add_noise, eta=1.0)


def euler(
    denoise: Denoiser, x: State, schedule: Schedule, times: Array, add_noise: AddNoise[State]
) -> Iterator[State]:
    """Euler's method on the probability-flow ODE in the schedule's own time."""
    for t, t_ in pairwise(times.tolist()):
        x = x + (t_ - t) * velocity(denoise, x, schedule, t)
        yield x


def heun(
    denoise: Denoiser, x: State, schedule: Schedule, times: Array, add_noise: AddNoise[State]
) -> Iterator[State]:
    """Heun's method; the last step, to no noise at all, is Euler's."""
    for t, t_ in pairwise(times.tolist()):
        v = velocity(denoise, x, schedule, t)
        x_euler = x + (t_ - t) * v
        if schedule(t_)[1] > 0.0:
            v = 0.5 * (v + velocity(denoise, x_euler, schedule, t_))
            x = x + (t_ - t) * v
        else:
            x = x_euler
        yield x


def velocity(denoise: Denoiser, x: State, schedule: Schedule, t: float) -> State:
    """dx/dt along the probability flow: (d alpha/dt) x0 + (d sigma/dt) eps."""
    alpha, sigma = map(float, schedule(t))
    alpha_dot, sigma_dot = schedule.derivative(t)
    x0 = denoise(x, alpha, sigma)
    return (sigma_dot / sigma) * x + (alpha_dot - sigma_dot * alpha / sigma) * x0


def dpm_solver_pp_2m(
    denoise: Denoiser, x: State, schedule: Schedule, times: Array, add_noise: AddNoise[State]
) -> Iterator[State]:
    """DPM-Solver++(2M): with l = log(alpha / sigma), h = l' - l and r = h_last / h,

    x' = (sigma' / sigma) x + alpha' (1 - exp(-h)) ((1 + 1 / 2r) x0 - (1 / 2r) x0_last)

    First order where h is infinite: out of pure noise and into none.
    """
    x0_last, h_last = None, math.inf
    for (alpha, sigma), (alpha_, sigma_) in levels(schedule, times):
        shrink = alpha * sigma_ / (alpha_ * sigma)  # exp(-h)
        h = -math.log(shrink) if shrink > 0.0 else math.inf
        x0 = estimate = denoise(x, alpha, sigma)
        if x0_last is not None and math.isfinite(h) and math.isfinite(h_last):
            estimate = x0 + (0.5 * h / h_last) * (x0 - x0_last)
        x = (sigma_ / sigma) * x + (alpha_ * (1.0 - shrink)) * estimate
        x0_last, h_last = x0, h
        yield x


def exact(
    denoise: Denoiser, x: State, schedule: Schedule, times: Array, add_noise: AddNoise[State]
) -> Iterator[State]:
    """The solution of the probability-flow ODE at each of the times."""
    for start, end in levels(schedule, times):
        x = denoise.flow(x, (start[0], start[1]), (end[0], end[1]))
        yield x
