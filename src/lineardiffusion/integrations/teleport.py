"""Teleportation: the first steps of any network's sampler in closed form (Wang and Vastola 2024).

At high noise the score of a trained network is close to that of the Gaussian N(m, C) with the moments of its
training data. The probability flow of a Gaussian is known (diffusion/denoisers.py, equation 2), so the sample at
the level where the scheduler takes over follows from the starting noise without an evaluation of the network:

    x' = alpha' m + sum_k sqrt((alpha'^2 l_k + sigma'^2) / (alpha^2 l_k + sigma^2)) q_k q_k^T (x - alpha m)

For a :class:`LinearModel` under one Gaussian it is exact. For a network the error grows with the number of steps
that are skipped; the mean and the covariance should be those of the data that it was trained on.

References
----------
Wang and Vastola (2024), The unreasonable effectiveness of Gaussian score approximation for diffusion models and its
applications. TMLR.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lineardiffusion._validation import check_integer
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.distributions.bayes import spectrum
from lineardiffusion.distributions.gaussian import Gaussian
from lineardiffusion.encoders.conditioning import styles_of
from lineardiffusion.integrations.noise_levels import levels
from lineardiffusion.integrations.torch_gaussians import Gaussians, Samples

TIED = ("PNDMScheduler", "LMSDiscreteScheduler")  # that weight or count steps as if the first ones had been taken


def teleport(law: Any, sample: Any, scheduler: Any, *, skip: int, prompt: Any = None) -> tuple[Any, Any]:
    """Jump over the first steps of a scheduler by the exact flow of a Gaussian.

    Parameters
    ----------
    law : LinearDiffusion or Gaussian
        Statistics of the data: a model that was fitted to images, whose pixel range is [-1, 1] in `sample`, or a
        Gaussian of flattened samples, in the order (c, h, w).
    sample : tensor of shape (n, c, h, w)
        Starting noise, times the scheduler's ``init_noise_sigma``.
    scheduler : scheduler of diffusers
        Scheduler after ``set_timesteps``. Its next step is set to the one after the jump.
    skip : int
        Number of steps to jump over, from 0 to one less than the scheduler's. A step of a scheduler of second order
        is two timesteps.
    prompt : str, default=None
        Prompt of all samples, if `law` is a model; None for the unconditional Gaussian. A prompt with styles stands
        for the Gaussian of its mean and covariance.

    Returns
    -------
    sample : tensor of shape (n, c, h, w)
        Samples at the level of the first timestep that is left.
    timesteps : tensor
        Timesteps that are left.

    Raises
    ------
    ValueError
        If `skip` is out of its range, if the law has another number of pixels than the sample, or for a scheduler
        that cannot begin at a later step (PNDM, LMS), that is not known, or whose ``set_timesteps`` was not called.
    TypeError
        If `skip` is not an integer.

    Examples
    --------
    >>> import torch
    >>> from diffusers import DDIMScheduler
    >>> from lineardiffusion import LinearDiffusion
    >>> from lineardiffusion.datasets import load_digits
    >>> from lineardiffusion.integrations.diffusers import LinearModel, teleport
    >>> ld = LinearDiffusion().fit(*load_digits())
    >>> network = LinearModel(ld, prompt="7")  # stands for a network that was trained on these images
    >>> scheduler = DDIMScheduler()
    >>> scheduler.set_timesteps(20)
    >>> noise = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> sample, timesteps = teleport(ld, noise, scheduler, skip=12, prompt="7")
    >>> for t in timesteps:
    ...     sample = scheduler.step(network(sample, t).sample, t, sample).prev_sample
    >>> len(timesteps), sample.shape
    (8, torch.Size([4, 1, 8, 8]))
    """
    name = type(scheduler).__name__
    if name in TIED:
        raise ValueError(f"{name} cannot begin at a later step; choose another scheduler")
    order = int(getattr(scheduler, "order", 1))
    alpha, sigma = levels(scheduler)
    num_steps = math.ceil(len(alpha) / order)
    if check_integer(skip, "skip", 0) >= num_steps:
        raise ValueError(
            f"skip must be from 0 to {num_steps - 1}, for the scheduler has {num_steps} steps; got {skip}"
        )
    origin, basis, gaussian = _gaussian(law, prompt)
    rows = sample.reshape(len(sample), -1)
    if rows.shape[1] != len(origin):
        raise ValueError(f"the law has {len(origin)} pixels, and a sample has {rows.shape[1]}")
    dtype = torch.float32 if sample.device.type == "mps" else torch.float64
    to = {"dtype": dtype, "device": sample.device}
    o = torch.tensor(origin, **to)
    flow = Gaussians(gaussian, dtype).to(sample.device).flow
    at = skip * order
    start, end = torch.tensor(np.stack([alpha, sigma], axis=1)[[0, at], :, None], **to)
    centred = rows.to(dtype) - start[0] * o
    if basis is None:
        moved = flow(centred, 0, start, end)
    else:
        U = torch.tensor(basis, **to)
        w = centred @ U
        moved = (end[1] / start[1]) * (centred - w @ U.T) + flow(w, 0, start, end) @ U.T
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(at)
    return (end[0] * o + moved).to(sample.dtype).reshape(sample.shape), scheduler.timesteps[at:]


def _gaussian(law: Any, prompt: Any) -> tuple[Any, Any, GaussianDenoiser]:
    """Return o (D,), U (D, d) or None for the identity, and the Gaussian of w, see torch_gaussians.py."""
    if isinstance(law, Gaussian):
        variance, directions = law.principal()
        basis = None if directions is None else directions[None]
        return np.zeros(law.dim), None, GaussianDenoiser(law.mean[None], variance[None], basis)
    if not hasattr(law, "fitted_"):
        raise TypeError(f"law must be a fitted LinearDiffusion or a Gaussian, got {type(law).__name__}")
    fitted = law.fitted_
    samples, latents = Samples.of(fitted.encoder, fitted.statistics.pixel_range), fitted.unconditional
    if prompt is not None:
        ((part, _), *others) = fitted.conditioner.request([prompt], 1.0).conditions[0]
        if others or not isinstance(fitted.conditional, GaussianDenoiser):
            raise ValueError("teleport needs a model whose prompts are Gaussians, and one prompt or None")
        latents = _moments(fitted.conditional, *zip(*styles_of(part), strict=True))
    return samples.origin, samples.basis, samples.coordinates(latents)


def _moments(law: GaussianDenoiser, symbols: Sequence[int], weights: Sequence[float]) -> GaussianDenoiser:
    """Return the Gaussian with the mean and the covariance of a mixture."""
    chosen, w = law.select(np.array(symbols)), np.array(weights)
    if len(w) == 1:
        return chosen
    mean = w @ chosen.mean
    away = (chosen.mean - mean) * np.sqrt(w)[:, None]
    each = (chosen.eigenvectors * (w[:, None] * chosen.variance)[:, None]) @ chosen.eigenvectors.mT
    variance, basis = spectrum(each.sum(axis=0) + away.T @ away)
    return GaussianDenoiser(mean[None], variance[None], basis[None])
