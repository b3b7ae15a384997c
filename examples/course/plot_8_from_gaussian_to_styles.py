r"""
8. From one Gaussian to styles
==============================

**The exact sampler draws from the law of the model without any error. Why do its sevens still not look written
by hand? And what would a neural network add?**

The law of the model is one Gaussian per prompt, and the law of handwriting is not. More steps cannot help. The
model has to change. This chapter replaces the Gaussian by a mixture, and measures what linear parts can do.
"""

import time

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_image, make_swiss_roll
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPRegressor

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

# %%
# Styles in the plane
# -------------------
#
# Chapter 4 met **styles**: k-means divides the points of a prompt, and every cluster gets its own Gaussian. The
# law is a mixture,
#
# .. math:: p(z) = \sum_{k=1}^K w_k \, N(z; m_k, C_k)
#
# with the share :math:`w_k` of the points that are in the cluster, and :math:`N(z; m_k, C_k)` for the density of
# :math:`N(m_k, C_k)` at :math:`z`. How many styles are right? We fit the swiss roll with one to 400 styles and
# compute the mean log-likelihood, :math:`\log p`, of the training points and of new points.
#
# Change one number
# -----------------
#
# .. admonition:: Try it
#
#    Set ``N_POINTS`` to 500 or to 20,000. How far apart are the two curves then?

N_POINTS = 4000  # <-- change this number (400 or more)

words, numbers = ["roll"] * N_POINTS, [1, 2, 5, 10, 20, 40, 100, 200, 400]
rolls = [make_swiss_roll(N_POINTS, noise=0.4, random_state=seed)[0] for seed in (0, 1)]
curves = {"training points": [], "new points": []}
for k in numbers:
    model = LinearDiffusion(n_styles=k).fit(words, rolls[0][:, [0, 2]])
    for curve, roll in zip(curves.values(), rolls, strict=True):
        curve.append(model.score(words, roll[:, [0, 2]]))
best = int(np.argmax(curves["new points"]))
for i in (0, best, -1):
    print(f"K = {numbers[i]:3d}: log-likelihood of new points {curves['new points'][i]:.3f}")

# %%
# With few styles the mixture cannot follow the curve. With too many styles for the number of points, each Gaussian
# is fitted to a few points. These become more likely, and new points become less likely: the model begins to copy
# its data.

figure = Figure(figsize=(6, 3.2), layout="constrained")
axes = figure.subplots()
for name, curve in curves.items():
    axes.semilogx(numbers, curve, marker="o", label=name)
legend = axes.legend(frameon=False)
labels = axes.set(xlabel="number of styles K", ylabel="log-likelihood per point", ylim=(-8, -3))
plot.show(figure)

# %%
# Styles of digits
# ----------------
#
# Nothing of chapters 5 and 6 is lost: to draw, the model chooses a style with the probability :math:`w_k` and
# applies the affine map of this style. Below are the means of the styles of "7", with their probabilities. A
# style may be named: the prompt ``"7~0"`` is the commonest style.

digits, images = (np.asarray(part) for part in load_mnist("train"))
test_digits, test_images = (np.asarray(part) for part in load_mnist("test"))
one = LinearDiffusion().fit(digits, images)
styled = LinearDiffusion(n_styles=20, contrast="pixelwise").fit(digits, images)
figure = plot.styles(styled, "7", columns=10)
plot.show(figure)

# %%
# Contrast
# --------
#
# Most pixels of handwriting are black or white. Those of a Gaussian spread symmetrically around their mean, and
# many leave the range from 0 to 255. The **contrast** is the last step: each pixel of a style gets a gain and an
# offset, and is clipped to the range. Both numbers are solved for, so that the clipped pixel has the mean and the
# variance of the data.

ten = np.array([str(digit) for digit in range(10)] * 100)
models = {"one Gaussian": one, "styles, contrast": styled}
drawn = {name: model.predict(ten, seed=0) for name, model in models.items()}
for name, x in {**drawn, "test images": test_images}.items():
    outside, grey = np.mean((x < 0) | (x > 255)), np.mean((x > 50) & (x < 200))
    print(f"{name:17s} outside of the range {outside:4.0%}, grey {grey:4.0%}")

# %%
# A judge reads the pictures, by a vote of the three nearest of 20,000 training images. A high share of right
# answers is no proof of quality: real handwriting has odd cases that the judge misses.

judge = KNeighborsClassifier(3).fit(one.encode(images[:20_000])[:, :50], digits[:20_000])
some = [np.flatnonzero(test_digits == digit)[:100] for digit in ten[:10]]
drawn["test images"] = test_images[np.transpose(some).ravel()]  # 100 of each digit, too
for name, x in drawn.items():
    print(f"{name:17s} {judge.score(one.encode(x)[:, :50], ten):.1%} right")
rows = np.concatenate([x[:10] for x in drawn.values()])
figure = plot.grid(rows, labels=list(drawn), columns=10, vmin=0, vmax=255)
plot.show(figure)

# %%
# The page :doc:`/use/styles` has a better judge, a convolutional network. It reads 95.9 % of the digits of one
# Gaussian right (with contrast), 98.9 % of those of 100 styles, and 99.4 % of real training images. The Frechet
# distance in its features falls from 28.2 to 1.6; real training images have 1.3.
#
# More styles are not always better, as in the plane: a style of few images draws copies of them.
#
# What a network adds
# -------------------
#
# The denoiser of a mixture is not affine. It weighs the affine denoisers of the styles by the probability that
# the noisy latent came from each of them:
#
# .. math::
#    D(x) &= \sum_k r_k(x) \, D_k(x), \\
#    r_k(x) &\propto w_k \, N(x; \alpha m_k, \alpha^2 C_k + \sigma^2 I) .
#
# Such a sum is called a mixture of experts (Jacobs et al., 1991). Here every part has a closed form once k-means
# has found the styles. A network is trained by gradient descent instead, and finds its own features. We let three
# denoisers compete on test images, at one noise level, in 40 components. ``style_rank=1.0`` gives every style all
# its directions.

sigma, rng = 0.6, np.random.default_rng(0)
affine = LinearDiffusion(40).fit(digits, images)
mixture = LinearDiffusion(40, n_styles=20, style_rank=1.0).fit(digits, images)


def noisy(words, z):
    """Return noisy latents, and with the one-hot prompts as inputs of the network."""
    x = z + sigma * rng.standard_normal(z.shape)
    onehot = np.eye(10)[words.astype(int)]
    return x, np.concatenate([x / np.hypot(1, sigma), onehot], axis=1).astype(np.float32)


clean = affine.encode(test_images)
x, inputs = noisy(test_digits, clean)
pixels = affine.decode(x)
for name, model in (("one Gaussian", affine), ("20 styles", mixture)):
    x0 = model.encode(model.denoise(test_digits, pixels, sigma * model.scaling_factor_))
    print(f"{name:13s} root-mean-square error {np.sqrt(np.mean((x0 - clean) ** 2)):.4f}")

# %%
# The network has a hidden layer of 512 units. It sees all training images once per pass, with fresh noise. The
# times depend on the machine.

settings = {"batch_size": 256, "learning_rate_init": 2e-3, "random_state": 0}
network = MLPRegressor(hidden_layer_sizes=(512,), **settings)
z, start = affine.encode(images), time.perf_counter()
for passes in range(1, 7):
    network.partial_fit(noisy(digits, z)[1], z.astype(np.float32))
    if passes in (1, 2, 4, 6):
        error = np.sqrt(np.mean((network.predict(inputs) - clean) ** 2))
        print(f"{time.perf_counter() - start:4.1f} s: root-mean-square error {error:.4f}")

# %%
# After a few passes the network is better than the affine denoiser, although that is the best affine one for
# the training images. It has not reached the mixture yet, it is still improving, and it knows one noise level
# only. On the page :doc:`/research/race` a U-Net for all noise levels is trained for 8 minutes on one core. It
# does not overtake the library on MNIST in that time: its Frechet distance is then 21, and that of the library
# 3.9. On a GPU the network would be many times faster.
#
# What stays out of reach
# -----------------------
#
# Digits stand in the middle of their picture. In photographs an edge may be anywhere, and a mixture of
# Gaussians would need a style for every place of it. Here are crops of a photograph, draws of one Gaussian, and
# draws of 20 styles, with 300 components.

photo = load_sample_image("china.jpg").mean(axis=2)
corners = rng.integers(0, np.array(photo.shape) - 32, (2000, 2))
crops = np.stack([photo[i : i + 32, j : j + 32] for i, j in corners])
rows = {"photograph": crops[:10]}
styles = {"n_styles": 20, "contrast": "pixelwise"}
for name, how in (("one Gaussian", {}), ("20 styles", styles)):
    model = LinearDiffusion(300, **how).fit(["photo"] * 2000, crops)
    rows[name] = model.predict(["photo"] * 10, seed=0)
pictures = np.concatenate(list(rows.values()))
figure = plot.grid(pictures, labels=list(rows), columns=10, vmin=0, vmax=255, cmap="gray")
plot.show(figure)

# %%
# The draws have the brightness and the roughness of the crops. A style can hold a pattern that its crops share,
# such as the stripes in the third picture. No outline of a roof, a pillar or a leaf is drawn.
#
# A question
# ----------
#
# Suppose that every training image has a style of its own. What does the model draw? What would the judge say,
# and why is the model useless?
#
# .. dropdown:: Answer
#
#    The Gaussian of one image has the image as its mean and no variance. So the model draws training images.
#    The judge would read them as well as real digits, because they are real digits. But the model adds nothing to
#    the data, and the density of a new image is zero. A measure of quality needs a
#    measure of copying beside it.
#
# What the large models do in its place
# -------------------------------------
#
# - A U-Net (Ho et al., 2020) or DiT (Peebles and Xie, 2023) takes the place of the regression. Its convolutions
#   or patches use one set of weights at all places of the picture, so an edge is learned once for all places.
# - Near pure noise the trained denoiser is nearly the affine one of this course: Gaussian scores describe the
#   first part of sampling well (Wang and Vastola, 2024). The difference appears at middle and low noise.
# - The latents come from a trained autoencoder (Rombach et al., 2022), which draws the fine texture. PCA has no
#   texture that is not a sum of its components.
# - The training is long: the model card of Stable Diffusion 1 states 150,000 GPU hours. The law of the result
#   is not known. Copying is a danger there too, and has to be searched for (Carlini et al., 2023; Somepalli et
#   al., 2023).
# - Distillation makes the trained model faster (Salimans and Ho, 2022), not better.
#
# Noise, schedules, scores, samplers and guidance are the same for a network. Only the denoiser is another one.
#
# *Draw from one style*: `the tab Styles of the page <../../page.html#styles>`__.
#
# References
# ----------
#
# - Carlini et al. (2023), Extracting training data from diffusion models. USENIX Security.
# - Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models. NeurIPS.
# - Jacobs, Jordan, Nowlan and Hinton (1991), Adaptive mixtures of local experts. Neural Computation 3.
# - Peebles and Xie (2023), Scalable diffusion models with transformers. ICCV.
# - Rombach et al. (2022), High-resolution image synthesis with latent diffusion models. CVPR.
# - Salimans and Ho (2022), Progressive distillation for fast sampling of diffusion models. ICLR.
# - Somepalli et al. (2023), Diffusion art or digital forgery? Investigating data replication in diffusion
#   models. CVPR.
# - Wang and Vastola (2024), The unreasonable effectiveness of Gaussian score approximation for diffusion models
#   and its applications. TMLR.
