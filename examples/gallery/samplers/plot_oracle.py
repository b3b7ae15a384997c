"""
Judge the schedulers of diffusers
=================================

The oracle computes the distance between the law that a scheduler draws and the law of
the data, without drawing. You learn to judge schedulers of diffusers on MNIST's sevens,
and to see faults that pictures do not show.
"""

from functools import partial

import diffusers

from lineardiffusion import Gaussian, LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist
from lineardiffusion.oracle import oracle
from lineardiffusion.plot import convergence

diffusers.logging.set_verbosity_error()

# %%
# The law is that of the pixels of a 7, from -1 to 1. ``oracle`` takes a scheduler, its
# class, or a function that makes one. A distance is a 2-Wasserstein distance, in units
# of the spread of the law.

ld = LinearDiffusion(shrinkage=0).fit(*load_mnist("train"))
pixels = ld.law("7", space="pixels")
law = Gaussian(pixels.mean / 127.5 - 1, pixels.covariance / 127.5**2)

schedulers = {
    "DDIM, leading": partial(diffusers.DDIMScheduler, clip_sample=False),
    "DDIM, trailing": partial(
        diffusers.DDIMScheduler, clip_sample=False, timestep_spacing="trailing"
    ),
    "Euler": diffusers.EulerDiscreteScheduler,
    "PNDM": diffusers.PNDMScheduler,
    "DPM-Solver++ 2M": partial(
        diffusers.DPMSolverMultistepScheduler, timestep_spacing="trailing"
    ),
    "UniPC": partial(
        diffusers.UniPCMultistepScheduler, timestep_spacing="trailing", final_sigmas_type="zero"
    ),
}
steps = [*range(5, 20), *range(20, 64, 4), *range(70, 201, 10)]
reports = []
for name, make in schedulers.items():
    report = oracle(make, law, steps=steps, convergence=False)
    found = {row.num_steps: row.distance / report.spread for row in report.rows}
    print(f"{name:16s}", *(f"{n} steps: {found[n]:.4f}  " for n in (20, 52, 56, 100)))
    reports.append(report)

# %%
# With ``timestep_spacing="trailing"`` the distance of DDIM jumps where the number of
# steps does not divide 1000. PNDM ends with noise, so its distance has a floor.

figure = convergence(reports)
for text, name in zip(figure.axes[0].get_legend().get_texts(), schedulers, strict=True):
    text.set_text(name)
plot.show(figure)
