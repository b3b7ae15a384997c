"""How long the oracle takes for a sampler at 5, 10, 20, 50 and 100 steps, on a law of 144 dimensions.

    python benchmarks/oracle_speed.py

The ratio is to the scheduler's own loop on one state, ``set_timesteps`` and ``step`` with a network that answers at
once. It needs diffusers (pip install ".[diffusers]"); without it, only this library's samplers are timed.
"""

import time
import warnings
from functools import partial

import numpy as np

from lineardiffusion import Gaussian
from lineardiffusion.oracle import oracle

STEPS = (5, 10, 20, 50, 100)
NAMES = ("DDIM", "DDPM", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "KDPM2AncestralDiscrete")
NAMES += ("LMSDiscrete", "DPMSolverMultistep", "UniPCMultistep", "SASolver", "FlowMatchEulerDiscrete")


def fastest(function, repeats=3):
    """Return the shortest of some times, in seconds."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


def law():
    root = np.random.default_rng(0).normal(size=(144, 200)) / np.sqrt(200)
    found = Gaussian(root[:, 0], root @ root.T)
    found.principal()
    return found


def bare(make):
    import torch

    for n in STEPS:
        scheduler, x = make(), torch.zeros(1, 1, 1, 144)
        scheduler.set_timesteps(n)
        for t in scheduler.timesteps:
            seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
            x = scheduler.step(0.1 * seen, t, x).prev_sample


def main():
    target = law()
    for name in ("exact", "ddim", "dpm++2m", "heun", "rk4", "ddpm", "em", "ei"):
        print(f"{name:28s} {fastest(partial(oracle, name, target, steps=STEPS, convergence=False)):6.3f} s")
    try:
        import diffusers
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    diffusers.logging.set_verbosity_error()
    for name in NAMES:
        kind = getattr(diffusers, f"{name}Scheduler")
        make = partial(kind, clip_sample=False) if name in ("DDIM", "DDPM") else kind
        judged, alone = (
            fastest(partial(oracle, make, target, steps=STEPS, convergence=False)),
            fastest(partial(bare, make)),
        )
        print(f"diffusers {name:24s} {judged:6.3f} s, {judged / alone:4.1f} times its own loop")


if __name__ == "__main__":
    main()
