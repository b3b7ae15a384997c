r"""
2. Noise and schedules
======================

**Nobody can write down what makes a picture a digit. What can a program learn instead?**

It can learn to remove noise. If we add the noise to a digit ourselves, we know the right answer: the digit
without noise. So every picture gives us a task with a known answer, for any strength of the noise. This chapter
adds the noise and measures how much of the picture is left. It also shows that a linear model never has to draw
the noise at all.
"""

import numpy as np
from matplotlib.figure import Figure

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist
from lineardiffusion.schedules import get_schedule

prompts, images = load_mnist("train")
ld = LinearDiffusion(n_components=144).fit(prompts, images)
z = ld.encode(images)
print("latents:", z.shape)

# %%
# Gaussian noise
# --------------
#
# A **Gaussian** random number is drawn from the bell curve: numbers near 0 are frequent, and numbers beyond 3 are
# rare. The standard one has the mean 0 and the variance 1. The noise :math:`n` is a vector of such numbers, one
# for each entry of the latent, and no entry depends on another. So its covariance is the identity matrix
# :math:`I`. It is the same in every orthonormal basis: no direction is special.
#
# An affine map of the noise, :math:`m + L n` with a matrix :math:`L`, is called Gaussian too. Its mean is
# :math:`m`, and its covariance is :math:`C = L L^\top`. The two determine how it is distributed. This **law** is
# written :math:`N(m, C)`, so the law of the noise is :math:`N(0, I)`.
#
# The noisy latent is a weighted sum of the clean latent and the noise,
#
# .. math:: z_t = \alpha_t\, z + \sigma_t\, n .
#
# A **schedule** gives the two weights at each time :math:`t`. At :math:`t = 0` there is no noise:
# :math:`\alpha = 1` and :math:`\sigma = 0`. At :math:`t = 1` only noise is left. The cosine schedule goes from
# one to the other on a quarter of a circle: :math:`\alpha = \cos(\pi t / 2)` and
# :math:`\sigma = \sin(\pi t / 2)`.

cosine = get_schedule("cosine")
rng = np.random.default_rng(0)
digits = z[[prompts.index(digit) for digit in "0123456789"]]
noise = rng.normal(size=digits.shape)

times = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
rows = []
for t in times:
    alpha, sigma = cosine(t)
    rows.append(ld.decode(alpha * digits + sigma * noise))
names = [f"t = {t:.1f}" for t in times]
figure = plot.grid(np.concatenate(rows), labels=names, columns=10, vmin=0, vmax=255)
plot.show(figure)

# %%
# How much signal is left
# -----------------------
#
# The noise has the variance :math:`\sigma^2` in every direction. The signal does not: in the direction of the
# k-th principal component it has the variance :math:`\alpha^2 \lambda_k`, where :math:`\lambda_k` is the variance
# of the k-th entry of the latents (the eigenvalue of chapter 1 divided by :math:`s^2`). The **signal-to-noise
# ratio** of this direction is
#
# .. math:: \mathrm{SNR}_k = \frac{\alpha^2}{\sigma^2}\, \lambda_k .
#
# Large shapes have large variances, so they stay visible the longest. Fine strokes are lost first. The table
# counts the directions in which the signal is larger than the noise.

variances = z.var(axis=0)
print("   t   alpha   sigma   alpha^2/sigma^2   directions above the noise")
for t in (0.1, 0.3, 0.5, 0.7, 0.9):
    alpha, sigma = cosine(t)
    ratio = alpha**2 / sigma**2
    above = (ratio * variances > 1).sum()
    print(f"{t:4.1f}   {alpha:5.3f}   {sigma:5.3f}   {ratio:15.3f}   {above:4d} of 144")

# %%
# Sampling, in chapter 5, visits the times in the reverse order. So large shapes appear first, fine strokes last.
#
# Change one number
# -----------------
#
# .. admonition:: Try it
#
#    Set ``T`` to a time between 0 and 1. At which time can you no longer read the digits? Which directions are
#    above the noise there?

T = 0.7  # <-- change this number (0.01 to 0.99)

alpha, sigma = cosine(T)
signal = alpha**2 * variances
noisy = ld.decode(alpha * digits + sigma * noise)
print(f"at t = {T}: more signal than noise in {(signal > sigma**2).sum()} of 144 directions")
figure = plot.grid(noisy, columns=10, vmin=0, vmax=255)
plot.show(figure)

# %%
# The signal is larger where its curve is above the line, and the noise is larger where it is below.

figure = Figure(figsize=(6, 3), layout="constrained")
axes = figure.subplots()
axes.semilogy(np.arange(1, 145), signal, label="variance of the signal, alpha^2 lambda_k")
axes.axhline(sigma**2, color="C1", label="variance of the noise, sigma^2")
axes.set(xlabel="direction k", title=f"t = {T}")
_ = axes.legend(frameon=False)
plot.show(figure)

# %%
# Four schedules
# --------------
#
# There are many schedules. :func:`lineardiffusion.plot.schedule` draws those that the library knows by name. In
# all of them the signal-to-noise ratio falls from almost no noise to almost no signal. They differ in how fast it
# falls, and in the size of the noisy latent: in ``"karras"`` the signal keeps its size, and the noise grows to 80
# times this size.

figure = plot.schedule("cosine", "vp", "flow", "karras")
plot.show(figure)

# %%
# Why one pass over the data serves all noise levels
# --------------------------------------------------
#
# The next chapter trains the model: it fits a linear map from noisy to clean latents. A least squares fit needs
# two things about the data, their mean and their covariance. Let :math:`m` and :math:`C` be the mean and the
# covariance of the clean latents of one digit. Then those of the noisy latents follow by two rules.
#
# 1. If random numbers are multiplied by :math:`\alpha`, their variance is multiplied by :math:`\alpha^2`. The
#    same holds for a covariance.
# 2. If two random vectors do not depend on each other, the covariance of their sum is the sum of their
#    covariances.
#
# The noise does not depend on the picture, so
#
# .. math::
#    \text{mean of } z_t &= \alpha\, m, \\
#    \text{covariance of } z_t &= \alpha^2 C + \sigma^2 I .
#
# We check the second formula by simulation. We draw 1, 4, 16 or 64 noise vectors for each seven and compute the
# covariance of all noisy sevens.

sevens = z[np.array(prompts) == "7"]
C = np.cov(sevens.T, bias=True)
alpha, sigma = cosine(0.5)
formula = alpha**2 * C + sigma**2 * np.eye(144)
for draws in (1, 4, 16, 64):
    simulated = np.zeros((144, 144))
    for _ in range(draws):
        z_t = alpha * sevens + sigma * rng.normal(size=sevens.shape)
        simulated += np.cov(z_t.T, bias=True) / draws
    error = np.linalg.norm(simulated - formula) / np.linalg.norm(formula)
    print(f"{draws:2d} noise vectors per picture: the simulation differs by {error:.2%}")

# %%
# Four times as many noise vectors halve the difference. The formula is the answer for infinitely many, and it costs
# one addition. So the library draws no noise for training. It reads the pictures once, keeps the mean and
# the covariance for each prompt, and has the training data of every noise level and of every schedule.
#
# A question
# ----------
#
# Two schedules have the same ratio :math:`\sigma / \alpha` at two different times. Are these two different tasks
# for the denoiser?
#
# .. dropdown:: Answer
#
#    No. Divide the noisy latent by :math:`\alpha`: the result is :math:`z + (\sigma / \alpha)\, n`, and it
#    depends on the ratio alone. Each of the two latents can be computed from the other by a multiplication, so
#    they carry the same information. A schedule decides which noise levels a sampler visits. It does not change
#    the task at one level.
#
# What the large models do in its place
# -------------------------------------
#
# The noise is the same: Gaussian, added to the latent with weights :math:`\alpha` and :math:`\sigma`. But a
# network is not linear, so the mean and the covariance of the data are not enough to train it. Each training step
# draws a few pictures, and for each of them one random time and one noise vector.
#
# - DDPM (Ho et al., 2020) adds noise in 1,000 small steps, whose variance grows linearly; ``"vp"`` is the limit
#   of infinitely many steps (Song et al., 2021). Nichol and Dhariwal (2021) proposed a cosine schedule.
# - EDM (Karras et al., 2022) keeps :math:`\alpha = 1` and draws :math:`\log \sigma` from a bell curve in
#   training.
# - Stable Diffusion 3 (Esser et al., 2024) uses a straight line, :math:`\alpha = 1 - t` and :math:`\sigma = t`,
#   the library's ``"flow"`` (Liu et al., 2023), and draws the times in the middle more often than those at the
#   ends.
# - Some schedules leave a little signal at :math:`t = 1`, although sampling starts from noise alone. In the
#   figure the log-SNR of ``"vp"`` and ``"karras"`` ends at a finite value. Lin et al. (2024) showed that this
#   kept Stable Diffusion from making very dark or very bright pictures.
#
# *Move the noise level with a slider*: `the tab Denoise of the page <../../page.html#denoise>`__. Next chapter:
# :doc:`plot_3_denoiser_is_a_regression`.
#
# References
# ----------
#
# - Esser et al. (2024), Scaling rectified flow transformers for high-resolution image synthesis. ICML.
# - Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models. NeurIPS.
# - Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models.
#   NeurIPS.
# - Lin, Liu, Li and Yang (2024), Common diffusion noise schedules and sample steps are flawed. WACV.
# - Liu, Gong and Liu (2023), Flow straight and fast: learning to generate and transfer data with rectified flow.
#   ICLR.
# - Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic models. ICML.
# - Song et al. (2021), Score-based generative modeling through stochastic differential equations. ICLR.
