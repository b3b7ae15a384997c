"""How many steps of a nonlinear network the Gaussian of its data can take: the table of the page on diffusers.

The network is the mixture of the styles of the shipped model's 7s, the Gaussian has the mean and the covariance of
all 7s. Needs ``pip install "linear-diffusion[diffusers]"``; takes half a minute on one core.
"""

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from lineardiffusion import LinearDiffusion
from lineardiffusion.integrations.diffusers import LinearModel, teleport

PAIRS = [(100, 0), (100, 10), (100, 20), (100, 30), (100, 40), (100, 50), (20, 0), (28, 8), (10, 0), (14, 4)]
REFERENCE = 500

torch.set_grad_enabled(False)
ld = LinearDiffusion.from_pretrained("mnist")
noise = torch.randn(48, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
network = LinearModel(ld, prompt="7", torch_dtype=torch.float64)


def draw(scheduler, num_steps, skip):
    scheduler.set_timesteps(num_steps)
    sample, timesteps = teleport(ld, noise, scheduler, skip=skip, prompt="7")
    for t in timesteps:
        sample = scheduler.step(network(sample, t).sample, t, sample).prev_sample
    return sample


for make in (DDIMScheduler, DPMSolverMultistepScheduler):
    options = {"clip_sample": False} if make is DDIMScheduler else {}
    scheduler = make(timestep_spacing="trailing", **options)
    end = draw(scheduler, REFERENCE, 0)
    spread = (end - end.mean(0)).norm()
    print(f"{make.__name__}: distance to {REFERENCE} steps, relative to the spread of the samples")
    for num_steps, skip in PAIRS:
        error = (draw(scheduler, num_steps, skip) - end).norm() / spread
        print(f"  {num_steps - skip:3d} evaluations, {skip:2d} of {num_steps:3d} steps skipped: {error:.3f}")
