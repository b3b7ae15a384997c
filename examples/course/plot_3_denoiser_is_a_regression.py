r"""
3. The denoiser is a regression
===============================

**You see a noisy digit. What is the best guess of the clean one?**

The best guess is the one whose mean squared error is smallest. It is a mean of possible pictures, and among
linear functions it is a least squares fit. This chapter fits the denoiser twice: first by hand, from noise that
we draw, and then by a formula, for all noise at once. The more noise we draw, the better the two agree.
"""

import numpy as np
from matplotlib.figure import Figure

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist
from lineardiffusion.schedules import get_schedule

prompts, images = load_mnist("train")
ld = LinearDiffusion(n_components=144, shrinkage=0).fit(prompts, images)
z = ld.encode(images[np.array(prompts) == "7"])
print(f"{z.shape[0]:,} sevens of {z.shape[1]} numbers each")

# %%
# The option ``shrinkage=0`` asks for plain least squares. By default the library moves the covariance of each
# digit a little towards the mean covariance within all digits.
#
# The best guess is a mean
# ------------------------
#
# Suppose that you guess every number :math:`x` of a list by one constant :math:`c`. The mean of :math:`(x - c)^2`
# is smallest if :math:`c` is the mean of the list. (Set the derivative to zero.)
#
# Now you see the noisy latent :math:`z_t` before you guess. Many clean latents could have become this :math:`z_t`,
# each with a different noise vector. The best guess is the mean of those, each weighted by how likely it is. This
# is the **conditional mean** of :math:`z` given :math:`z_t`,
#
# .. math:: D(z_t) = \mathrm{E}[z \mid z_t],
#
# and the function :math:`D` is the **denoiser**. The letter :math:`\mathrm{E}` stands for a mean.
#
# In this chapter the denoiser is affine, :math:`D(z_t) = A z_t + b`, and we look for the best of all affine
# guesses.
#
# By hand
# -------
#
# We add noise to every seven, and fit :math:`A` and :math:`b` by least squares: from the noisy latent, with a 1
# in front for :math:`b`, to the clean one.

alpha, sigma = get_schedule("cosine")(0.5)
rng = np.random.default_rng(0)


def add_noise(z):
    z_t = alpha * z + sigma * rng.normal(size=z.shape)
    return np.hstack([np.ones((len(z), 1)), z_t])  # a 1 in front of each


W, *_ = np.linalg.lstsq(add_noise(z), z, rcond=None)
b, A = W[0], W[1:].T
print("A:", A.shape, " b:", b.shape)

# %%
# By a formula
# ------------
#
# Subtract the means from :math:`z` and :math:`z_t`. The least squares fit then solves the normal equations
#
# .. math:: A \sum z_t z_t^\top = \sum z\, z_t^\top .
#
# Divide both sums by the number of terms. The left one becomes the covariance of :math:`z_t`, which the last
# chapter computed for all noise: :math:`\alpha^2 C + \sigma^2 I`. In the right one we insert
# :math:`z_t = \alpha z + \sigma n`. The products of :math:`z` with :math:`z` become :math:`\alpha C`. The
# products with the noise have the mean zero, because the noise does not depend on :math:`z`. So
#
# .. math::
#    A &= \alpha C\,(\alpha^2 C + \sigma^2 I)^{-1}, \\
#    D(z_t) &= m + A\, (z_t - \alpha m) .
#
# In signal processing this map is called the **Wiener filter** (Wiener, 1949). The library evaluates it in
# :meth:`~lineardiffusion.LinearDiffusion.denoiser`. For a linear denoiser of text features, Chen et al. (2012)
# averaged over all noise in the same manner.
#
# By the normal equations the error :math:`z - D(z_t)` is uncorrelated with :math:`z_t`: their covariance is zero.
# If the latents are Gaussian, uncorrelated means independent, so no function of :math:`z_t` can predict the
# error. The conditional mean of Gaussian latents is therefore affine, and this :math:`D` is it.

m, C = z.mean(axis=0), np.cov(z.T, bias=True)
A_formula = alpha * C @ np.linalg.inv(alpha**2 * C + sigma**2 * np.eye(144))
z_t = add_noise(z)[:, 1:]
by_formula = m + (z_t - alpha * m) @ A_formula.T
by_library = ld.denoiser("7")(z_t, alpha, sigma)
by_hand = z_t @ A.T + b
print(f"library against formula: {np.sqrt(((by_library - by_formula) ** 2).mean()):.1e}")
print(f"by hand against formula: {np.sqrt(((by_hand - by_formula) ** 2).mean()):.1e}")

# %%
# The library and the formula agree to rounding. The fit by hand differs, because it saw one noise vector for each
# seven. We now draw two for each seven, then four, and so on. The normal equations need sums over the noisy latents
# only, so no noisy latent has to be kept.

gram, cross, differences = np.zeros((145, 145)), np.zeros((145, 144)), {}
for draws in range(1, 33):
    x = add_noise(z)
    gram += x.T @ x
    cross += x.T @ z
    if draws in (1, 2, 4, 8, 16, 32):
        W = np.linalg.solve(gram, cross)
        differences[draws] = np.sqrt(((z_t @ W[1:] + W[0] - by_formula) ** 2).mean())
        print(f"{draws:2d} noise vectors for each seven: difference {differences[draws]:.5f}")

# %%
# The difference falls as one over the square root of the number of noise vectors. To make it ten times smaller
# takes a hundred times the work. The formula is the limit.

figure = Figure(figsize=(5, 3.2), layout="constrained")
axes = figure.subplots()
axes.loglog(*zip(*differences.items(), strict=True), "o", label="by hand against the formula")
axes.loglog([1, 32], differences[1] / np.sqrt([1, 32]), "k:", label="1 / sqrt(number)")
axes.set(xlabel="noise vectors for each seven", ylabel="difference of the denoisers")
axes.set_xticks(list(differences), labels=list(map(str, differences)), minor=False)
_ = axes.legend(frameon=False)
plot.show(figure)

# %%
# Direction by direction
# ----------------------
#
# Let :math:`q_k` be an eigenvector of :math:`C` and :math:`\lambda_k` its eigenvalue. In the direction of
# :math:`q_k` the denoiser is a single multiplication. Of the difference :math:`z_t / \alpha - m` it keeps the
# share
#
# .. math:: g_k = \frac{\alpha^2 \lambda_k}{\alpha^2 \lambda_k + \sigma^2},
#
# which is the signal's share of the variance. Where the data vary much more than the noise, the denoiser keeps
# nearly all. Where they vary much less, it answers with the mean.

eigenvalues = np.linalg.eigvalsh(C)[::-1]
figure = Figure(figsize=(6, 3.2), layout="constrained")
axes = figure.subplots()
for t in (0.1, 0.3, 0.5, 0.7, 0.9):
    a, s = get_schedule("cosine")(t)
    kept = a**2 * eigenvalues / (a**2 * eigenvalues + s**2)
    axes.plot(np.arange(1, 145), kept, label=f"t = {t}")
axes.set(xlabel="direction k", ylabel="share that is kept, g_k")
_ = axes.legend(frameon=False)
plot.show(figure)

# %%
# Change one number
# -----------------
#
# We now denoise sevens of the test set, which the model has not seen. The noise is added to the pixels, whose
# values run from 0 to 255, and its standard deviation is ``SIGMA``. The last row denoises the same pictures as if
# they were threes: the prompt decides which mean and which covariance are used.
#
# .. admonition:: Try it
#
#    Set ``SIGMA`` to 20, 100 or 1000. What does the denoiser answer at 1000? From which value on do you see
#    threes in the last row?

SIGMA = 200.0  # <-- change this number (above 0, in grey levels)

test_prompts, test_images = load_mnist("test")
clean = test_images[np.array(test_prompts) == "7"][:10].astype(float)
noisy = clean + SIGMA * rng.normal(size=clean.shape)
sevens, threes = (ld.denoise([prompt] * 10, noisy, SIGMA) for prompt in ("7", "3"))
rows = np.concatenate([clean, noisy, sevens, threes])
names = ["clean", "noisy", 'denoised, "7"', 'denoised, "3"']
figure = plot.grid(rows, labels=names, columns=10, vmin=0, vmax=255)
plot.show(figure)

# %%
# Under strong noise the denoised pictures are soft. A mean of several possible pictures is softer than each of
# them, and the mean has the smallest squared error. This error has a formula too, the **denoising loss**. We
# compare it with the error on the training images. It has a part that no ``SIGMA`` removes: what the 144
# components leave out (chapter 1).

sevens = images[np.array(prompts) == "7"].astype(float)
noisy = sevens + SIGMA * rng.normal(size=sevens.shape)
measured = ((ld.denoise(["7"] * len(sevens), noisy, SIGMA) - sevens) ** 2).mean()
print(f"squared error per pixel, measured:   {measured:8.1f}")
print(f"squared error per pixel, by formula: {ld.denoising_loss(SIGMA, '7'):8.1f}")
print(f"squared error of the noisy pictures: {SIGMA**2:8.1f}")

# %%
# A question
# ----------
#
# Many large models do not predict the clean latent. They predict the noise :math:`n` in :math:`z_t`. Is this a
# different regression?
#
# .. dropdown:: Answer
#
#    No. From :math:`z_t = \alpha z + \sigma n` follows :math:`n = (z_t - \alpha z) / \sigma`. At a given
#    :math:`z_t` the noise is an affine function of :math:`z`, so the best guess of the noise is
#    :math:`(z_t - \alpha D(z_t)) / \sigma`. The squared error of the noise is :math:`\alpha^2 / \sigma^2` times
#    that of the latent. For one noise level, both fits have the same solution. If one network serves all levels,
#    the factor decides which levels count more.
#
# What the large models do in its place
# -------------------------------------
#
# They minimise the same squared error, :math:`\mathrm{E}\,\lVert D(z_t) - z \rVert^2`. The function :math:`D` is
# a network with millions or billions of weights: a U-Net (Ronneberger et al., 2015; Ho et al., 2020) or a
# transformer (Peebles and Xie, 2023). It gets the time and the prompt as further inputs. No formula gives the
# weights. They are found by **stochastic gradient descent**: draw some pictures, times and noise vectors, compute
# the error, move the weights a little against its gradient, and repeat, millions of times. This is our fit by
# hand, a few noise vectors at a time.
#
# In return a network can represent a conditional mean that is not affine. The next chapter shows in the plane why
# this matters.
#
# *Denoise your own digit*: `the tab Denoise of the page <../../page.html#denoise>`__. Next chapter:
# :doc:`plot_4_from_denoiser_to_score`.
#
# References
# ----------
#
# - Chen, Xu, Weinberger and Sha (2012), Marginalized denoising autoencoders for domain adaptation. ICML.
# - Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models. NeurIPS.
# - Peebles and Xie (2023), Scalable diffusion models with transformers. ICCV.
# - Ronneberger, Fischer and Brox (2015), U-Net: convolutional networks for biomedical image segmentation. MICCAI.
# - Wiener (1949), Extrapolation, interpolation, and smoothing of stationary time series. MIT Press.
