"""The noise levels of diffusers' schedulers: a sample is x = alpha y + sigma n.

A network that is trained on discrete betas is told the level by its number t, with alpha_t^2 = prod (1 - beta).
Between two numbers log(sigma / alpha) is interpolated, as the schedulers do that go from a sigma to a fractional
timestep. Other networks are told sigma itself:

    flow            t = N sigma, alpha = 1 - sigma         (N is num_train_timesteps)
    EDM             t = log(sigma) / 4, alpha = 1          (Karras et al. 2022, c_noise of table 1)
    continuous      t = log(sigma / alpha) / 4, alpha^2 + sigma^2 = 1     (Stable Video Diffusion)
    consistency     t = 250 log(sigma), alpha = 1          (CMStochasticIterativeScheduler)

The sample of a scheduler is the network's input, or a multiple of it with alpha = 1, which `scale_model_input`
divides by its standard deviation.
"""

from __future__ import annotations

import copy
from typing import Any

import diffusers
import numpy as np
import torch

from lineardiffusion._arrays import Array
from lineardiffusion.oracle.adapters.diffusers import CONVENTIONS, REFUSED

# what a scheduler's network predicts; None for what its configuration names
PREDICTED: dict[str, str | None] = {
    **dict.fromkeys(("CogVideoXDDIM", "DDIM", "DDIMParallel", "DDPM", "DDPMParallel", "PNDM", "TCD", "UnCLIP")),
    **dict.fromkeys(("DEISMultistep", "DPMSolverMultistep", "DPMSolverSDE", "DPMSolverSinglestep", "SASolver")),
    **dict.fromkeys(("EulerAncestralDiscrete", "EulerDiscrete", "HeunDiscrete", "KDPM2AncestralDiscrete")),
    **dict.fromkeys(("KDPM2Discrete", "LMSDiscrete", "UniPCMultistep")),
    **dict.fromkeys(("FlowMatchEulerDiscrete", "FlowMatchHeunDiscrete", "LTXEulerAncestralRF"), "flow_prediction"),
    **dict.fromkeys(("EDMDPMSolverMultistep", "EDMEuler"), "edm"),
    "CMStochasticIterative": "edm_consistency",
    "FlowMatchLCM": "flow_consistency",
    "LCM": "consistency",
}
LEAST = 1e-20  # alpha^2 of a schedule that ends in pure noise, whose log(sigma / alpha) is no number


def log_ratios(**betas: Any) -> Array:
    """Return log(sigma / alpha) (N,) of discrete betas, which are told as in the configuration of a scheduler."""
    return vp_log_ratios(diffusers.DDIMScheduler(**betas).alphas_cumprod)


def vp_log_ratios(alphas_cumprod: Any) -> Array:
    """Return log(sigma / alpha) (N,) of a scheduler's tensor of alpha^2."""
    squares = alphas_cumprod.double().cpu().numpy()
    return np.asarray(0.5 * np.log((1 - squares) / np.maximum(squares, LEAST)))


def vp_level(log_ratio: Array) -> tuple[Array, Array]:
    """Return alpha and sigma with alpha^2 + sigma^2 = 1 of log(sigma / alpha)."""
    return np.sqrt(1 / (1 + np.exp(2 * log_ratio))), np.sqrt(1 / (1 + np.exp(-2 * log_ratio)))


def levels(scheduler: Any) -> tuple[Array, Array]:
    """Return alpha and sigma of a scheduler's sample at each of its timesteps.

    ``set_timesteps`` must have been called. With a scheduler of second order only the levels at the start of a step
    are those of its sample.

    Raises
    ------
    ValueError
        For a scheduler that is not known, or before ``set_timesteps``.
    """
    predicted_by(scheduler)
    num_steps, known = getattr(scheduler, "num_inference_steps", None), scheduler.timesteps
    if known is None or (num_steps is None and len(known) >= scheduler.config.num_train_timesteps):
        raise ValueError(f"call set_timesteps of the {type(scheduler).__name__} first: it has no steps yet")
    timesteps = np.asarray(torch.as_tensor(scheduler.timesteps).double().cpu())
    if not hasattr(scheduler, "sigmas"):
        ratios = vp_log_ratios(scheduler.alphas_cumprod)
        return vp_level(np.interp(timesteps, np.arange(len(ratios)), ratios))
    sigma = np.asarray(torch.as_tensor(scheduler.sigmas).double().cpu())[: len(timesteps)]
    if is_flow(scheduler):
        return 1 - sigma, sigma
    if scales_input(scheduler):
        return np.ones_like(sigma), sigma
    return vp_level(np.log(sigma))


def is_flow(scheduler: Any) -> bool:
    """Return whether a scheduler takes the straight line alpha = 1 - sigma."""
    return str(predicted_by(scheduler)).startswith("flow") or bool(scheduler.config.get("use_flow_sigmas"))


def predicted_by(scheduler: Any) -> str | None:
    """Return what a scheduler's network predicts, see PREDICTED; a ValueError for a scheduler that is refused."""
    kind = type(scheduler).__name__
    for name in (one.__name__ for one in type(scheduler).__mro__):
        if name in REFUSED:
            raise ValueError(f"{kind} is refused: {REFUSED[name]}")
        if (short := name.removesuffix("Scheduler")) in PREDICTED:
            if scheduler.config.get("invert_sigmas"):
                raise ValueError(f"{kind} is refused with invert_sigmas=True, which counts time from noise to data")
            return PREDICTED[short]
        if short in CONVENTIONS:
            what = "its network or its step has inputs or outputs of its own"
            raise ValueError(f"{kind} is refused: {what}; lineardiffusion.oracle.oracle runs it")
    raise ValueError(f"{kind} is not known, neither its noise levels nor what its network predicts")


def scales_input(scheduler: Any) -> bool:
    """Return whether the sample is a multiple of the network's input."""
    scaled = copy.deepcopy(scheduler).scale_model_input(torch.ones(1), scheduler.timesteps[0])
    return abs(float(scaled) - 1) > 1e-3
