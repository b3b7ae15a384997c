r"""
Laws that papers proved
=======================

Two papers state what diffusion models of Gaussians do: Bradley and Nakkiran (2024) on
guidance, Merger and Goldt (2025) on small training sets. You learn that the samplers
and the fits of this library follow these laws in numbers.
"""

import numpy as np
from matplotlib.figure import Figure
from scipy.special import digamma

from lineardiffusion import Gaussian, LinearDiffusion, plot
from lineardiffusion.schedules import Karras

# %%
# Guidance
# --------
#
# The prompt "c" has the law N(0, 1), and all images together have N(0, 2). With
# guidance of scale w, the samplers converge to laws of three different variances: the
# probability flow (ddim) to :math:`2^{1-w}`, the reverse SDE (ddpm) to
# :math:`(2 - 2^{2-2w}) / (2w - 1)`. The density :math:`p_c^w\,p^{1-w}`, which guidance is often
# said to draw from, has :math:`2 / (w + 1)`, and no sampler reaches it. The three are
# equal at w = 1 only.

images = np.array([-1.0, 1.0, -(3**0.5), 3**0.5]).reshape(4, 1, 1)
toy = LinearDiffusion(
    n_components=1, shrinkage=0, schedule=Karras(sigma_max=1000.0, sigma_min=1e-4)
)
toy.fit(["c", "c", "other", "other"], images)


def variance(sampler, w, num_steps=2000):
    """Return the variance of the guided law in pixels."""
    law = toy.law("c", sampler=sampler, num_steps=num_steps, guidance_scale=w)
    return law.covariance[0, 0] * toy.scaling_factor_**2


scales = np.array([1.0, 1.5, 2.0, 3.0, 5.0, 8.0])
formulas = {
    "probability flow": lambda w: 2 ** (1 - w),
    "reverse SDE": lambda w: (2 - 2 ** (2 - 2 * w)) / (2 * w - 1),
    "tilted density": lambda w: 2 / (w + 1),
}
found = {
    sampler: np.array([variance(sampler, w) for w in scales]) for sampler in ("ddim", "ddpm")
}
for sampler, law in (("ddim", "probability flow"), ("ddpm", "reverse SDE")):
    off = found[sampler] / formulas[law](scales) - 1
    print(f"{sampler}, 2,000 steps: at most {abs(off).max():.1%} from the formula")

figure_guidance = Figure(figsize=(7, 3.8), layout="constrained")
axes = figure_guidance.subplots()
w = np.linspace(1, 8, 100)
for name, formula in formulas.items():
    axes.semilogy(w, formula(w), label=name)
for i, (sampler, values) in enumerate(found.items()):
    axes.semilogy(scales, values, "o", color=f"C{i}", label=f"{sampler}, 2,000 steps")
axes.set(xlabel="guidance scale w", ylabel="variance", title="N(0, 1) guided away from N(0, 2)")
legend = axes.legend()
plot.show(figure_guidance)

# %%
# Training sets of N samples
# --------------------------
#
# For more samples than dimensions, N > d, the Kullback-Leibler divergence from the
# truth to the fitted law falls as d / N, whatever the law. The model here is the
# maximum likelihood estimate. N times its covariance has a Wishart law, so the expected
# divergence is known for every N, and is :math:`d (d + 3) / (4 N)` to first order.

d, fits, sizes = 16, 10, np.array([24, 32, 64, 128, 256, 512])
rng = np.random.default_rng(0)
rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]


def fitted_law(points):
    """Return the law of a model of points (n, d), in their coordinates."""
    ld = LinearDiffusion(d, shrinkage=0).fit(["x"] * len(points), points)
    law, V = ld.law("x"), ld.components_ * ld.scaling_factor_
    return Gaussian(ld.decode(law.mean[None]).ravel(), V.T @ law.covariance @ V)


def expected(n):
    """Return the expected divergence of n samples; psi is the digamma function."""
    logs = digamma((n - np.arange(1, d + 1)) / 2).sum() + d * np.log(2 / n)
    return 0.5 * (d * (n + 1) / (n - d - 2) - d + logs)


figure_samples = Figure(figsize=(7, 3.8), layout="constrained")
axes = figure_samples.subplots()
spectra = {"white": np.ones(d), "power law": np.arange(1.0, d + 1) ** -2}
for name, eigenvalues in spectra.items():
    truth = Gaussian(np.zeros(d), (rotation * eigenvalues) @ rotation.T)
    kl = [
        np.mean([truth.kl(fitted_law(truth.draw(n, rng))) for _ in range(fits)])
        for n in sizes.tolist()
    ]
    axes.loglog(sizes, kl, "o", label=f"{name} spectrum, mean of {fits} fits")
    print(f"{name:9s} divergence at N = 512: {kl[-1]:.3f}, expected {expected(512):.3f}")
n = np.arange(24, 520)
axes.loglog(n, [expected(one) for one in n], color="black", label="expected")
axes.loglog(n, d * (d + 3) / (4 * n), ":", color="grey", label="d (d + 3) / (4 N)")
axes.set_xticks(sizes, map(str, sizes))
axes.minorticks_off()
axes.set(xlabel="N", ylabel="divergence, nats", title=f"Fits of N samples in {d} dimensions")
legend = axes.legend()
plot.show(figure_samples)

# %%
# ``benchmarks/published_laws.py`` prints these laws in more digits, with 100 fits, and
# one on guidance between equal covariances.
#
# References: A. Bradley and P. Nakkiran (2024), Classifier-free guidance is a
# predictor-corrector. C. Merger and S. Goldt (2025), Generalization dynamics of linear
# diffusion models.
