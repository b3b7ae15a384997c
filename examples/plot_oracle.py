"""How schedulers of diffusers converge to the law of MNIST's sevens, at every number of steps.

    python examples/plot_oracle.py [PICTURE]

needs diffusers (pip install ".[diffusers]"). The distance of DDIM with ``timestep_spacing="trailing"`` jumps where
the number of steps does not divide 1000 (docs/catches.md). PNDM ends with noise, so it has a floor.
"""

import sys
from functools import partial

import diffusers

from lineardiffusion import Gaussian, LinearDiffusion
from lineardiffusion.datasets import load_mnist
from lineardiffusion.oracle import oracle
from lineardiffusion.plot import convergence

diffusers.logging.set_verbosity_error()
STEPS = [*range(5, 20), *range(20, 60, 2), *range(60, 205, 5)]
SCHEDULERS = {
    "DDIM, leading": partial(diffusers.DDIMScheduler, clip_sample=False),
    "DDIM, trailing": partial(diffusers.DDIMScheduler, clip_sample=False, timestep_spacing="trailing"),
    "Euler": diffusers.EulerDiscreteScheduler,
    "PNDM": diffusers.PNDMScheduler,
    "DPM-Solver++ 2M": partial(diffusers.DPMSolverMultistepScheduler, timestep_spacing="trailing"),
    "UniPC": partial(diffusers.UniPCMultistepScheduler, timestep_spacing="trailing", final_sigmas_type="zero"),
}


def main(picture="docs/oracle.png"):
    prompts, images = load_mnist()
    ld = LinearDiffusion(shrinkage=0).fit(prompts[:60000], images[:60000])
    pixels = ld.law("7", space="pixels")
    law = Gaussian(pixels.mean / 127.5 - 1, pixels.covariance / 127.5**2)
    reports = []
    for name, make in SCHEDULERS.items():
        report = oracle(make, law, steps=STEPS)
        found = {row.num_steps: round(row.distance / report.spread, 4) for row in report.rows}
        print(f"{name:18s} 20: {found[20]:.4f}  50: {found[50]:.4f}  60: {found[60]:.4f}  100: {found[100]:.4f}")
        reports.append(report)
    figure = convergence(reports)
    for line, name in zip(figure.axes[0].get_legend().get_texts(), SCHEDULERS, strict=True):
        line.set_text(name)
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
