"""
Reproduce a published table
===========================

Pierret and Galerne (2025) computed the Wasserstein errors of samplers on the Gaussian
of CIFAR-10's pixels, exactly. You learn to compute such errors with the oracle, for any
law, schedule and sampler, and to write a sampler of your own.
"""

import os
import urllib.request
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lineardiffusion import Gaussian, plot, samplers
from lineardiffusion.oracle import oracle
from lineardiffusion.schedules import VPLinear

# %%
# The law
# -------
#
# The authors published the eigenvalues of the covariance of CIFAR-10's 3,072 pixels. In
# the principal directions the law is N(0, diag(eigenvalues)).

URL = (
    "https://raw.githubusercontent.com/emilePi/Diffusion-models-for-Gaussian-distributions-"
    "Exact-solutions-and-Wasserstein-errors/8d0202943d29b53e8bec8dd24f3ad0d8e8333ae2/"
    "code/cifar10.npy"
)
folder = os.environ.get("LINEARDIFFUSION_DATA", "~/scikit_learn_data/lineardiffusion")
path = Path(folder, "pierret-galerne", "cifar10_eigenvalues.npy").expanduser()
if not path.is_file():
    path.parent.mkdir(parents=True, exist_ok=True)
    urllib.request.urlretrieve(URL, path)
eigenvalues = np.maximum(np.load(path).astype(float), 0.0)
law = Gaussian.diagonal(np.zeros(len(eigenvalues)), eigenvalues)

# %%
# The samplers
# ------------
#
# The paper takes N even times from 1 to eps. A sampler may be any generator function of
# this signature, so the times can be replaced. The DDPM of the paper takes its noise
# variance from the rate of the schedule, not from the two levels of a step as the
# library's does, so it is written out.


def on_even_times(sampler, eps):
    """Return the sampler on even times from 1 to eps."""
    return lambda denoise, x, schedule, times, add_noise: sampler(
        denoise, x, schedule, np.linspace(1.0, eps, len(times)), add_noise
    )


def paper_ddpm(denoise, x, schedule, times, add_noise):
    """x' = (x + beta s) / sqrt(1 - beta) + sqrt(beta) n, where s is the score."""
    for t, t_next in pairwise(np.linspace(1.0, 0.0, len(times))):
        alpha, sigma = schedule(t)
        beta = (t - t_next) * (schedule.beta_min + t * (schedule.beta_max - schedule.beta_min))
        score = (alpha * denoise(x, alpha, sigma) - x) / sigma**2
        x = add_noise((x + beta * score) / (1 - beta) ** 0.5, beta**0.5)
        yield x


# %%
# The errors
# ----------
#
# Lines are computed here, points are cells of the paper's table 5. The start is the
# exact marginal at t = 1. In the table NFE is the number N of times; rk4 has N / 4
# times. The table has two decimals, so a right number is off by at most 0.005.
# ``benchmarks/pierret_galerne.py`` compares all 192 cells.

NFE = [50, 250, 500, 1000]
published = {
    "ddpm, eps = 0": (paper_ddpm, 1, [6.82, 0.97]),
    "em, eps = 0": (on_even_times(samplers.em(), 0.0), 1, [4.78, 0.65]),
    "euler, eps = 0": (on_even_times(samplers.euler(), 0.0), 1, [1.72, 0.38, 0.20, 0.10]),
    "heun, eps = 0.001": (on_even_times(samplers.heun(), 1e-3), 1, [0.58, 0.13, 0.16, 0.17]),
    "rk4, eps = 0.001": (on_even_times(samplers.rk4(), 1e-3), 4, [2.60, 0.09, 0.15, 0.17]),
}
figure = Figure(figsize=(7, 4.4), layout="constrained")
axes = figure.subplots()
for name, (sampler, share, theirs) in published.items():
    steps = [n // share - 1 for n in NFE[: len(theirs)]]
    report = oracle(sampler, law, steps=steps, schedule=VPLinear(), convergence=False)
    ours = [row.distance for row in report.rows]
    (line,) = axes.loglog(NFE[: len(theirs)], ours, label=name)
    axes.plot(NFE[: len(theirs)], theirs, "o", color=line.get_color())
    print(f"{name:18s}", *(f"{a:.4f} ({b:.2f})" for a, b in zip(ours, theirs, strict=True)))
axes.set(
    xlabel="NFE", ylabel="Wasserstein error", title="Lines: computed here. Points: published"
)
legend = axes.legend()
plot.show(figure)

# %%
# More steps do not help heun and rk4 below a floor here, because sampling ends at eps =
# 0.001, where noise is left.
#
# Reference: E. Pierret and B. Galerne (2025), Diffusion models for Gaussian
# distributions: exact solutions and Wasserstein errors. ICML.
