r"""
6. How many steps?
==================

**Fifty steps of DDIM are a common choice. How far are the pictures from those of infinitely many steps? Would
another sampler be as good with ten?**

For large models this question is answered by drawing thousands of pictures and comparing statistics of them.
Here the laws are known (chapter 5), so the answer is computed, without a draw.
"""

import numpy as np

from lineardiffusion import LinearDiffusion, plot, samplers
from lineardiffusion.datasets import load_mnist

ld = LinearDiffusion().fit(*load_mnist("train"))
exact = ld.law("7", sampler="exact")
spread = np.sqrt(np.trace(exact.covariance))
print(f"spread of the exact law: the root of its total variance, {spread:.2f}")

# %%
# The distance between two laws
# -----------------------------
#
# The **2-Wasserstein distance** :math:`W_2` is the least root-mean-square distance by which one law has to be
# moved so that it becomes the other. For Gaussians with the same mean and with covariances of common
# eigenvectors, each direction is stretched on its own, from the standard deviation :math:`s_k` to
# :math:`\sqrt{\lambda_k}`:
#
# .. math:: W_2^2 = \sum_k \big(s_k - \sqrt{\lambda_k}\big)^2 .
#
# For any two Gaussians it is (Dowson and Landau, 1982), with the matrix root :math:`R = C_a^{1/2}`,
#
# .. math::
#    W_2^2 ={} & \lVert m_a - m_b \rVert^2 \\
#    & + \mathrm{tr}\big(C_a + C_b - 2 (R\, C_b R)^{1/2}\big) .
#
# Both formulas give the same number here.

law = ld.law("7", sampler="ddim", num_steps=10)
s, root = (np.sqrt(np.linalg.eigvalsh(one.covariance)) for one in (law, exact))
print(f"W2 by the sum over directions {np.sqrt(((s - root) ** 2).sum()):.6f}")
print(f"W2 by the general formula     {law.wasserstein(exact):.6f}")

# %%
# From here on the distance is given in units of the spread. A value of 1 means that the law is as far off as if
# it drew the mean every time.

for n in (1, 5, 10, 20, 50, 100, 200):
    law = ld.law("7", sampler="ddim", num_steps=n)
    distance, share = law.wasserstein(exact) / spread, np.trace(law.covariance) / spread**2
    print(f"ddim, {n:3d} steps: W2 {distance:.4f}, share of the variance {share:.3f}")

# %%
# Fifty steps of DDIM leave a distance of about 4 % of the spread, and the latents keep 93 % of the variance.
#
# Order of convergence
# --------------------
#
# Twice the steps of DDIM leave half of the distance. A sampler has the **order** :math:`p` if
#
# .. math:: W_2 \approx \text{constant} \cdot (\text{number of steps})^{-p}
#
# for many steps. On logarithmic axes this is a line of slope :math:`-p`. Four samplers are drawn below:
#
# - ``ddim`` treats the denoiser's answer as constant within a step: order 1.
# - ``ddpm`` takes the same step and replaces some of the noise by fresh noise: order 1.
# - ``heun`` takes the mean of the velocities :math:`dx/dt` at both ends of the step, as the trapezoidal rule
#   does: order 2.
# - ``dpm++2m`` extrapolates from this answer and the last one: nearly order 2. Its first and its last step are
#   of first order, which costs a factor that grows as the logarithm of the number of steps.
#
# The legend gives the order that is observed between the last two numbers of steps.

steps = [1, 2, 5, 10, 20, 50, 100, 200]
figure = plot.wasserstein(ld, "7", ["ddim", "ddpm", "dpm++2m", "heun"], steps)
plot.show(figure)

# %%
# The cost: calls of the denoiser
# -------------------------------
#
# A step of ``heun`` calls the denoiser twice, except for the last one. In a large model the calls are nearly
# all of the cost, so samplers should be compared at equal calls.
#
# Change one number
# -----------------
#
# .. admonition:: Try it
#
#    Set ``CALLS`` to 5, 39 or 99. Is the same sampler the best? By which factor is it better?

CALLS = 19  # <-- change this number (odd)

same = samplers.ddim(CALLS), samplers.dpmpp_2m(CALLS), samplers.heun((CALLS + 1) // 2)
print(f"{CALLS} calls of the denoiser:")
for sampler in same:
    distance = ld.law("7", sampler=sampler).wasserstein(exact) / spread
    print(f"{sampler!s:18s} W2 {distance:.4f}")

# %%
# Ten steps of ``heun``, 19 calls, leave a distance of 0.039. This is as little as ``ddim`` leaves with fifty, and
# it answers the opening question.
#
# What the eye sees
# -----------------
#
# All pictures below start from the same noise. The last column is the exact sampler. ``heun`` is near it with
# two steps, where ``ddim`` is still blurred. A single step of ``heun`` leaves all of the noise: it follows the
# velocity at :math:`t = 1`, where :math:`\sigma` has the derivative 0.

steps, names = [1, 2, 5, 10, 20, 50], ["ddim", "dpm++2m", "heun"]
pictures = []
for name in names:
    pictures += [ld.predict(["7"], seed=4, sampler=name, num_steps=n) for n in steps]
    pictures += [ld.predict(["7"], seed=4, sampler="exact")]
captions = ["1 step", *(f"{n} steps" for n in steps[1:]), "exact"] + [""] * 14
pictures = np.concatenate(pictures)
figure = plot.grid(pictures, captions=captions, labels=names, columns=7, vmin=0, vmax=255)
plot.show(figure)

# %%
# Floors: what no number of steps removes
# ---------------------------------------
#
# The cosine schedule has pure noise at :math:`t = 1`, so :math:`\alpha = 0`. Other schedules stop short of it: in
# ``"vp"`` a little signal is left at :math:`t = 1`, but sampling starts from noise alone. Even the exact sampler
# then has an error, and the curves of ``ddim`` and ``heun`` end at this **floor**. The sampler ``ddpm`` replaces
# its noise step by step and forgets the wrong start, so its curve passes below.

short = LinearDiffusion(schedule="vp").fit(*load_mnist("train"))
steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
figure = plot.wasserstein(short, "7", ["exact", "ddim", "ddpm", "heun"], steps)
data = short.law("7", sampler="exact", start="marginal")  # it starts with the signal
floor = short.law("7", sampler="exact").wasserstein(data)
print(f"floor of the schedule vp: {floor / spread:.4f} of the spread")
plot.show(figure)

# %%
# A question
# ----------
#
# How many steps of ``ddim`` reach the distance that ``heun`` has after 20 steps? Use the order and one point of
# the curve.
#
# .. dropdown:: Answer
#
#    The order of ``ddim`` is 1, so the distance times the number of steps is nearly constant. In the table
#    above 200 steps leave 0.0098, and the product is about 2. The figure shows about 0.013 for ``heun`` after
#    20 steps. Hence ``ddim`` needs about 2 / 0.013, some 150 steps: 150 calls of the denoiser in place of 39.
#
# What the large models do in its place
# -------------------------------------
#
# - Their law is unknown. Quality is measured by the Frechet distance between features of many drawn pictures
#   and of real ones (FID; Heusel et al., 2017). It mixes the error of the steps with the error of the network.
# - They use the samplers of this chapter. In diffusers ``DDIMScheduler``, ``DDPMScheduler``,
#   ``HeunDiscreteScheduler`` and ``DPMSolverMultistepScheduler`` are their counterparts, and the last gives
#   good pictures within 15 to 20 steps (Lu et al., 2022). :func:`lineardiffusion.oracle.oracle` measures such a
#   scheduler on a Gaussian, exactly (:doc:`/research/oracle`).
# - The choice of the noise levels matters as much as the choice of the sampler (Karras et al., 2022; Sabour et
#   al., 2024).
# - Stable Diffusion was trained with a schedule that leaves signal at :math:`t = 1`. The floor of this
#   chapter is then a visible fault: pictures of medium brightness only (Lin et al., 2024).
# - Distillation trains networks for one to four steps (Salimans and Ho, 2022; Luo et al., 2023; Sauer et al.,
#   2023).
#
# *See the curve beside the pictures*: `the tab Samplers of the page <../../page.html#samplers>`__. Next
# chapter: :doc:`plot_7_language_and_guidance`.
#
# References
# ----------
#
# - Dowson and Landau (1982), The Fréchet distance between multivariate normal distributions. Journal of
#   Multivariate Analysis 12.
# - Heusel et al. (2017), GANs trained by a two time-scale update rule converge to a local Nash equilibrium.
#   NeurIPS.
# - Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models.
#   NeurIPS.
# - Lin, Liu, Li and Yang (2024), Common diffusion noise schedules and sample steps are flawed. WACV.
# - Lu et al. (2022), DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models.
# - Luo et al. (2023), Latent consistency models: synthesizing high-resolution images with few-step inference.
# - Sabour, Fidler and Kreis (2024), Align your steps: optimizing sampling schedules in diffusion models. ICML.
# - Salimans and Ho (2022), Progressive distillation for fast sampling of diffusion models. ICLR.
# - Sauer, Lorenz, Blattmann and Rombach (2023), Adversarial diffusion distillation.
