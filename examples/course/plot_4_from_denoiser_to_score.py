r"""
4. From denoiser to score
=========================

**A denoiser cleans a noisy picture. How can it draw a new picture from noise alone?**

The difference between the denoiser's answer and its input has a direction. Pictures become more likely in this
direction. Divided by the variance of the noise, the difference is called the *score*. A random point that follows
the score arrives at the data. This cannot be drawn for pictures of 784 numbers, so this chapter works in the
plane: a "picture" is now a point with two coordinates. Nothing else changes.
"""

from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from scipy.spatial import cKDTree
from sklearn.datasets import make_swiss_roll

from lineardiffusion import LinearDiffusion, plot

N = 4000
x0 = make_swiss_roll(N, noise=0.4, random_state=0)[0][:, [0, 2]]
one_gaussian = LinearDiffusion().fit(["roll"] * N, x0)
styles = LinearDiffusion(n_styles=40).fit(["roll"] * N, x0)

# %%
# The data are 4,000 points on a spiral, the *swiss roll*. We fit two models.
#
# - ``one_gaussian`` knows the mean and the covariance of all points, as in the last chapter.
# - ``styles`` first divides the points into 40 groups of neighbours (k-means) and fits one Gaussian to each. In
#   the library such a group is called a **style**. To draw a point, choose a group by its size, then draw from
#   its Gaussian. Such a model is called a **mixture**.
#
# Chapter 8 explains styles. Here they serve as a second model, which follows the curve.

figure = Figure(figsize=(9, 3.5), layout="constrained")
axes = figure.subplots(1, 3, sharex=True, sharey=True)
drawn = {
    "data": x0,
    "one Gaussian": one_gaussian.predict(["roll"] * N, 0),
    "40 styles": styles.predict(["roll"] * N, 0),
}
for one, (title, points) in zip(axes, drawn.items(), strict=True):
    one.scatter(points[:, 0], points[:, 1], s=2, linewidths=0)
    one.set(title=title, aspect="equal", xticks=[], yticks=[], xlim=(-25, 25), ylim=(-25, 25))
plot.show(figure)


# %%
# The density of noisy points
# ---------------------------
#
# Add noise of standard deviation :math:`\sigma` to every point: :math:`x = x_0 + \sigma n`. (In this chapter
# :math:`\alpha = 1`.) The **density** :math:`p_\sigma(x)` is the share of noisy points near :math:`x`, per unit
# of area. Every data point :math:`x_i` contributes a round bump of width :math:`\sigma`,
#
# .. math::
#    p_\sigma(x) &= \frac{1}{N} \sum_i \varphi_i(x), \\
#    \varphi_i(x) &= \frac{1}{2 \pi \sigma^2} \exp\!\Big(\! -\frac{\lVert x - x_i \rVert^2}{2 \sigma^2} \Big) .
#
# The gradient of a bump is :math:`\nabla \varphi_i = \varphi_i\, (x_i - x) / \sigma^2`: it points to the centre
# of the bump. The gradient of the logarithm of the whole density is therefore
#
# .. math::
#    \nabla \log p_\sigma(x) = \frac{\nabla p_\sigma(x)}{p_\sigma(x)} &=
#    \frac{\sum_i w_i\, x_i - x}{\sigma^2}, \\
#    w_i &= \frac{\varphi_i(x)}{\sum_j \varphi_j(x)} .
#
# The share :math:`w_i` of the noisy points near :math:`x` came from :math:`x_i`, and these shares sum to 1. So
# :math:`\sum_i w_i x_i` is the mean of the clean points that could have become :math:`x`. This is the conditional
# mean of the last chapter, the denoiser :math:`D(x)`. The gradient of the log-density is the **score**, and we
# have found
#
# .. math:: \nabla \log p_\sigma(x) = \frac{D(x) - x}{\sigma^2} ,
#
# which is called Tweedie's formula (Efron, 2011). With a schedule it reads
# :math:`(\alpha D(x) - x) / \sigma^2`. So a denoiser gives the score, and no density has to be computed.
#
# We check the formula for both models. The library gives the law of the noisy points, so we can compute the
# gradient of its log-density by finite differences.

sigma, h = 2.0, 1e-5
x = np.random.default_rng(0).uniform(-15, 15, size=(500, 2))
models = {"one Gaussian": one_gaussian, "40 styles": styles}
for name, model in models.items():
    law = model.law("roll", space="pixels")
    law = law.transform(np.eye(2), noise_covariance=sigma**2 * np.eye(2))
    score = (model.denoise(["roll"] * 500, x, sigma) - x) / sigma**2
    steps = h * np.eye(2)
    gradient = [(law.log_prob(x + step) - law.log_prob(x - step)) / (2 * h) for step in steps]
    largest, difference = abs(score).max(), abs(score.T - gradient).max()
    print(f"{name:12s}  largest score {largest:.2f}, largest difference {difference:.1e}")

# %%
# One Gaussian against styles
# ---------------------------
#
# :func:`lineardiffusion.plot.score_field` draws the score as arrows, over the density of noisy points.
#
# The denoiser of one Gaussian is affine, so its score is affine too. All arrows in the left panel lead to one
# point, the mean. But no data lie near the mean. The denoiser of the mixture is not affine. Its arrows, in the
# right panel, lead to the roll where the noise is narrower than the gap between the arms.
#
# Change one number
# -----------------
#
# .. admonition:: Try it
#
#    Set ``SIGMA`` to 1, 5 or 20. What happens to the arms of the roll when the noise is wider than the gap
#    between them? When do the two fields become alike?

SIGMA = 2.0  # <-- change this number (0.5 to 30)

figure = Figure(figsize=(10, 5), layout="constrained")
axes = figure.subplots(1, 2)
limits = (-18 - SIGMA, 20 + SIGMA, -19 - SIGMA, 19 + SIGMA)
for one, (name, model) in zip(axes, models.items(), strict=True):
    plot.score_field(model, sigma=SIGMA, limits=limits, ax=one)
    _ = one.set_title(f"{name}, sigma = {SIGMA:g}")
plot.show(figure)

# %%
# How near are they to the truth? For the 4,000 points we can compute the conditional mean itself, as the weighted
# mean :math:`\sum_i w_i x_i`. We compare the denoisers with it at noisy points.

noisy = x0[::8] + SIGMA * np.random.default_rng(1).normal(size=(500, 2))
log_bumps = -((noisy[:, None] - x0) ** 2).sum(axis=2) / (2 * SIGMA**2)
w = np.exp(log_bumps - log_bumps.max(axis=1, keepdims=True))
exact = (w / w.sum(axis=1, keepdims=True)) @ x0
for n_styles in (1, 5, 10, 20, 40):
    model = LinearDiffusion(n_styles=n_styles).fit(["roll"] * N, x0)
    difference = model.denoise(["roll"] * 500, noisy, SIGMA) - exact
    distance = np.sqrt((difference**2).sum(axis=1).mean())
    print(f"n_styles = {n_styles:2d}: distance to the conditional mean of the data {distance:.4f}")

# %%
# Following the score
# -------------------
#
# Start from noise that is much wider than the data. Then reduce :math:`\sigma` in small steps. At each step compute
# the denoiser's answer :math:`D(x)`, keep it, and shrink the rest, :math:`x - D(x)`, in proportion to the noise:
#
# .. math::
#    x \leftarrow{} & D(x) + \frac{\sigma_\text{next}}{\sigma}\, \big(x - D(x)\big) \\
#    ={} & x + (\sigma - \sigma_\text{next})\, \sigma\, \frac{D(x) - x}{\sigma^2} .
#
# The second line shows what the step is: it moves :math:`x` along the score. The step adds no noise, so the
# starting point determines the whole path.

levels = np.append(np.geomspace(60.0, 0.1, 60), 0.0)
start = 60.0 * np.random.default_rng(2).normal(size=(1000, 2))
near = cKDTree(x0)
for name, model in models.items():
    x, path = start, [start]
    for sigma, following in pairwise(levels):
        clean = model.denoise(["roll"] * 1000, x, sigma)
        x = clean + following / sigma * (x - clean)
        path.append(x)
    print(f"{name:12s}  mean distance to the nearest data point {near.query(x)[0].mean():.2f}")

new = make_swiss_roll(1000, noise=0.4, random_state=1)[0][:, [0, 2]]
print(f"new data      mean distance to the nearest data point {near.query(new)[0].mean():.2f}")

# %%
# With 40 styles the ends of the paths are as near to the data as new points of the swiss roll are. The picture
# shows the last part of 60 of these paths. At first they are straight: from far away, all data lie in one
# direction. Near the data they bend towards an arm of the roll.

figure = Figure(figsize=(5, 5), layout="constrained")
axes = figure.subplots()
axes.scatter(x0[:, 0], x0[:, 1], s=4, linewidths=0, color="0.7")
axes.plot(*np.array(path)[:, :60].transpose(2, 0, 1), color="C0", linewidth=0.7)
axes.plot(*x[:60].T, "o", color="C0", markersize=3)
_ = axes.set(xlim=(-25, 25), ylim=(-25, 25), aspect="equal", xticks=[], yticks=[])
plot.show(figure)

# %%
# The library's samplers are the subject of the next chapter. :func:`lineardiffusion.plot.paths` draws what they
# do, from noise (hollow) to data (filled). They differ from our loop in two respects. The schedule is the cosine
# of chapter 2, so the noise is as wide as the data. And for a prompt with styles, ``predict`` first draws the
# style and then follows the score of this one Gaussian, so each path has a closed form. The points at the end
# come from the same mixture.

figure = plot.paths(styles, ["roll"] * 25, seed=137, num_steps=40, points=x0)
plot.show(figure)

# %%
# A question
# ----------
#
# The score field of one Gaussian has one point where the arrows have length zero. How many such points does a
# field need that leads to the whole roll, and why can an affine denoiser not have them?
#
# .. dropdown:: Answer
#
#    The arrows vanish where :math:`D(x) = x`. To lead to the whole roll, a field needs such points all along the
#    curve. For an affine denoiser, :math:`A x + b = x` is a system of linear equations. Its solutions are one
#    point, a line, the whole plane or none, but never a spiral. With noise, the matrix
#    :math:`A = C (C + \sigma^2 I)^{-1}` has eigenvalues below 1, so there is exactly one solution: the mean.
#
# What the large models do in its place
# -------------------------------------
#
# A network replaces the 40 styles. It is trained on the squared error of chapter 3, so it approximates the
# conditional mean, and by Tweedie's formula the score. Hyvärinen (2005) proposed to fit a score. Vincent (2011)
# showed that training a denoiser does this. Song and Ermon (2019) drew pictures with it at many noise levels,
# and Song et al. (2021) joined this to the diffusion models of Ho et al. (2020).
#
# The weighted mean over all training points has the smallest training error of all functions. A model that
# reaches it draws the training points again, and nothing new. So a useful model is smoother than its data. Ours
# is smoother because its styles are few. Why networks are smoother is still studied: Kadkhodaie et al. (2024)
# measured how many pictures a network needs until it no longer copies.
#
# *Move the noise level, the points and the data*: `the tab Plane of the page <../../page.html#plane>`__. Next
# chapter: :doc:`plot_5_every_step_is_affine`.
#
# References
# ----------
#
# - Efron (2011), Tweedie's formula and selection bias. Journal of the American Statistical Association 106.
# - Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models. NeurIPS.
# - Hyvärinen (2005), Estimation of non-normalized statistical models by score matching. JMLR 6.
# - Kadkhodaie, Guth, Simoncelli and Mallat (2024), Generalization in diffusion models arises from geometry-adaptive
#   harmonic representations. ICLR.
# - Song and Ermon (2019), Generative modeling by estimating gradients of the data distribution. NeurIPS.
# - Song et al. (2021), Score-based generative modeling through stochastic differential equations. ICLR.
# - Vincent (2011), A connection between score matching and denoising autoencoders. Neural Computation 23.
