r"""
5. Every step is an affine map
==============================

**A sampler takes fifty steps from noise to a picture. Which part of that work depends on the noise?**

Chapters 3 and 4 gave the denoiser :math:`D(x)`, the mean of the clean latents that could have become the noisy
latent :math:`x`. This mean is a blurred picture. A **sampler** starts at pure noise, applies the denoiser, and
goes to a slightly lower noise level, again and again. This chapter shows that all of these steps together are
one matrix and one vector, and that the limit of infinitely many steps has a closed form.
"""

import timeit
from itertools import pairwise

import numpy as np

from lineardiffusion import LinearDiffusion, plot, schedules
from lineardiffusion.datasets import load_mnist

ld = LinearDiffusion().fit(*load_mnist("train"))
d = ld.n_components_
print(f"{len(ld.prompts_)} prompts, a latent has d = {d} numbers")

# %%
# One step
# --------
#
# A noisy latent is :math:`x = \alpha z + \sigma n` with the latent :math:`z` and the noise :math:`n`. (Chapters
# 2 and 3 call it :math:`z_t`.) Sampling visits a list of falling noise levels. At each level the denoiser
# guesses the latent, :math:`D(x)`, and so also the noise, :math:`\hat n = (x - \alpha D(x)) / \sigma`. The
# sampler **DDIM** mixes both guesses with the weights :math:`\alpha', \sigma'` of the next level:
#
# .. math:: x' = \alpha' D(x) + \sigma' \, \hat n .
#
# With :math:`\alpha = 1` this is the step by which chapter 4 followed the score. The function below is the
# whole sampler. The library's own ``"ddim"`` ends in the same latents.

schedule, denoise = schedules.Cosine(), ld.denoiser("7")


def sample(x, num_steps):
    times = schedule.times(num_steps)
    for t, t_next in pairwise(times):
        (alpha, sigma), (alpha_, sigma_) = schedule(t), schedule(t_next)
        clean = denoise(x, alpha, sigma)
        x = alpha_ * clean + sigma_ * (x - alpha * clean) / sigma
    return x


noise = np.random.default_rng(137).normal(size=(5, d))
mine = ld.decode(sample(noise, 50))
theirs = ld.predict(["7"] * 5, latents=noise, sampler="ddim", num_steps=50)
print(f"largest difference {np.abs(mine - theirs).max():.4f} of 255 grey levels")

# %%
# The steps can be watched. Every picture below is the noisy latent :math:`x` after one more step, decoded.

figure = plot.denoising(ld, ["7", "3"], seed=137, sampler="ddim", num_steps=9)
plot.show(figure)

# %%
# All steps are one matrix
# ------------------------
#
# The denoiser is affine: for a given prompt and noise level, :math:`D(x) = A x + b`. Put this into the step:
#
# .. math:: x' = (r I + h A) \, x + h \, b
#
# with :math:`r = \sigma' / \sigma` and :math:`h = \alpha' - r \alpha`.
#
# So the step is affine as well. An affine map of an affine map is affine, and fifty steps from the starting
# noise :math:`n` to the latent are :math:`z = M n + c` with one matrix :math:`M` and one vector :math:`c`. An
# affine map is known from its values at the origin and at the unit vectors. Hence we run the sampler on these
# :math:`d + 1` points and read off the matrix.

c = sample(np.zeros((1, d)), 50)[0]
M = (sample(np.eye(d), 50) - c).T
print(f"M has the shape {M.shape}")
error = np.abs(noise @ M.T + c - sample(noise, 50)).max()
print(f"latents by M and by fifty steps: largest difference {error:.0e}")
matrix, offset = ld.affine("7", sampler="ddim", num_steps=50)
print(f"M and the library's matrix: largest difference {np.abs(M - matrix).max():.0e}")

# %%
# This answers the opening question. The noise enters one product of a matrix and a vector. The matrix depends
# on the prompt and on the sampler, and is computed once. Therefore a thousand steps cost as much per picture as
# ten.

for num_steps in (10, 1000):
    how = {"sampler": "ddim", "num_steps": num_steps}
    ld.predict(["7"], **how)  # composes the matrix
    seconds = timeit.repeat(lambda how=how: ld.predict(["7"] * 1000, seed=0, **how), number=1, repeat=9)
    print(f"{num_steps:5d} steps: {min(seconds):.3f} s for 1,000 pictures")

# %%
# The law of what is drawn
# ------------------------
#
# The starting noise has the law :math:`N(0, I)`, so by chapter 2 the latent :math:`M n + c` has the law
# :math:`N(c, M M^\top)`. We know what the sampler draws without a draw. A million draws would only estimate it.

law = ld.law("7", sampler="ddim", num_steps=50)
error = np.abs(law.covariance - M @ M.T).max()
print(f"M M^T and the library's covariance: largest difference {error:.0e}")
draws = ld.encode(ld.predict(["7"] * 2000, seed=1, sampler="ddim", num_steps=50))
print(f"total variance, computed         {np.trace(law.covariance):.2f}")
print(f"total variance, of 2,000 draws   {draws.var(axis=0).sum():.2f}")

# %%
# One direction at a time
# -----------------------
#
# The matrix :math:`A` of the denoiser is a function of the covariance :math:`C = Q \, \mathrm{diag}(\lambda) \,
# Q^\top` of the prompt's latents, so all steps have the same eigenvectors :math:`q_k`. Along :math:`q_k` the
# denoiser multiplies by :math:`\alpha \lambda_k / (\alpha^2 \lambda_k + \sigma^2)`, and a step multiplies by
# the number
#
# .. math:: f_k = r + h \, \frac{\alpha \, \lambda_k}{\alpha^2 \lambda_k + \sigma^2} .
#
# The product of all :math:`f_k` is the **gain** of the sampler in this direction. The latent's standard
# deviation there equals the gain, because that of the noise is 1. It ought to be :math:`\sqrt{\lambda_k}`.
#
# Change one number
# -----------------
#
# .. admonition:: Try it
#
#    Set ``NUM_STEPS`` to 1, 2, 50 or 500. In which directions does the gain come near to
#    :math:`\sqrt{\lambda_k}` first?

NUM_STEPS = 10  # <-- change this number (1 or more)

variance = np.linalg.eigvalsh(ld.law("7").covariance)[::-1]  # lambda
levels = np.transpose(schedule(schedule.times(NUM_STEPS)))
gain = np.ones(d)
for (alpha, sigma), (alpha_, sigma_) in pairwise(levels):
    r = sigma_ / sigma
    h = alpha_ - r * alpha
    gain *= r + h * alpha * variance / (alpha**2 * variance + sigma**2)
ratio = gain / np.sqrt(variance)
for k in (0, 9, 20, 40, 99):
    root = np.sqrt(variance[k])
    print(f"direction {k + 1:3d}: sqrt(lambda) {root:.3f}, gain over it {ratio[k]:.3f}")

# %%
# The gains are the singular values of :math:`M`, and the library draws them. Every gain of DDIM is below that
# of the exact sampler, so its pictures vary too little. It loses least where the variance is near 1, which is
# the mean variance of all latents, and more where it is far larger or far smaller.

figure = plot.singular_values(ld, "7", ["exact", "ddim"], num_steps=NUM_STEPS)
plot.show(figure)

# %%
# Infinitely many steps: the exact sampler
# ----------------------------------------
#
# Along :math:`q_k` a noisy latent has the variance :math:`v = \alpha^2 \lambda_k + \sigma^2`. Let the steps become
# small: insert :math:`\alpha' = \alpha + \dot\alpha\, dt` and :math:`\sigma' = \sigma + \dot\sigma\, dt` into
# :math:`f_k`, where the dot is the derivative in time. What remains is
#
# .. math::
#    f_k = 1 + \frac{\alpha \dot\alpha \lambda_k + \sigma \dot\sigma}{v}\, dt = 1 + \frac{\dot v}{2 v}\, dt .
#
# So the distance :math:`\rho` of :math:`x` from its mean :math:`\alpha m` follows the equation
#
# .. math:: \frac{d \rho}{d t} = \frac{\dot v}{2 v} \, \rho ,
#
# which is the **probability-flow ODE** in this direction. Its solutions are the multiples of :math:`\sqrt v`, the
# standard deviation. From pure noise, :math:`v = 1`, to the latent, :math:`v = \lambda_k`, the gain is exactly
# :math:`\sqrt{\lambda_k}`. The default sampler of the library, ``"exact"``, applies these gains. Its law is the
# prompt's Gaussian :math:`N(m, C)` itself.

exact, _ = ld.affine("7", sampler="exact")
error = np.abs(np.linalg.svd(exact)[1] - np.sqrt(variance)).max()
print(f"exact: largest difference of a gain from sqrt(lambda) {error:.0e}")
for num_steps in (1, 10, 100, 1000):
    M, _ = ld.affine("7", sampler="ddim", num_steps=num_steps)
    share = np.trace(M @ M.T) / variance.sum()
    print(f"ddim, {num_steps:4d} steps: share of the variance {share:.3f}")

# %%
# The rows below start from the same noise. Few steps give blurred pictures that are too similar.

rows = [ld.predict(["7"] * 8, seed=3, sampler="ddim", num_steps=n) for n in (1, 2, 5, 20)]
rows.append(ld.predict(["7"] * 8, seed=3, sampler="exact"))
labels = ["1 step", "2 steps", "5 steps", "20 steps", "exact"]
figure = plot.grid(np.concatenate(rows), labels=labels, columns=8, vmin=0, vmax=255)
plot.show(figure)

# %%
# A question
# ----------
#
# The first row shows the same picture eight times, although the noise differs. Why? Which picture is it?
#
# .. dropdown:: Answer
#
#    Sampling starts at :math:`\alpha = 0`, :math:`\sigma = 1`. There :math:`x` holds no signal, and the
#    denoiser :math:`D(x) = m + \alpha C (\alpha^2 C + \sigma^2 I)^{-1} (x - \alpha m)` gives the mean :math:`m`
#    for every :math:`x`. The only step goes to :math:`\alpha' = 1`, :math:`\sigma' = 0`, so :math:`x' = 1 \cdot
#    m + 0 \cdot \hat n = m`. The picture is the mean of all sevens, and the matrix is zero: the share of
#    the variance is 0.000 in the list above.
#
# What the large models do in its place
# -------------------------------------
#
# - Their denoiser is a U-Net (Ho et al., 2020) or a transformer, DiT (Peebles and Xie, 2023). It is not affine in
#   :math:`x`, so steps do not compose: every picture costs one call of the network per step.
# - Their step is the same. DDIM (Song et al., 2021) is the formula above with the network as :math:`D`, and the
#   probability-flow ODE (Song et al., 2021b) is the same equation with the network's score. ``DDIMScheduler`` of
#   the library diffusers holds the coefficients, and a pipeline calls the network.
# - The state is the latent of an autoencoder that is trained first (Rombach et al., 2022), where this course has
#   PCA.
# - Distillation replaces many steps by one or a few. It trains a second network to map the noise directly to
#   the result of the steps (Salimans and Ho, 2022; Song et al., 2023). Here the matrix :math:`M` does this, without
#   training.
#
# *Change the number of steps and watch the pictures*: `the tab Samplers of the page
# <../../page.html#samplers>`__. Next chapter: :doc:`plot_6_how_many_steps`.
#
# References
# ----------
#
# - Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models. NeurIPS.
# - Peebles and Xie (2023), Scalable diffusion models with transformers. ICCV.
# - Rombach et al. (2022), High-resolution image synthesis with latent diffusion models. CVPR.
# - Salimans and Ho (2022), Progressive distillation for fast sampling of diffusion models. ICLR.
# - Song, Dhariwal, Chen and Sutskever (2023), Consistency models. ICML.
# - Song, Meng and Ermon (2021), Denoising diffusion implicit models. ICLR.
# - Song et al. (2021b), Score-based generative modeling through stochastic differential equations. ICLR.
