r"""
7. Language and guidance
========================

**Can a model draw a pair of digits that it never saw, only from the words? And what happens to the pictures if
the prompt is followed "more strongly" than the data do?**

Until now the prompt chose one of ten Gaussians. This chapter gives the prompt an embedding, so that words share
what was learned, and then adds guidance, a setting of most large models.
"""

import warnings

import numpy as np
from matplotlib.figure import Figure
from sklearn.neighbors import KNeighborsClassifier

from lineardiffusion import LinearDiffusion, plot, samplers
from lineardiffusion.datasets import load_mnist

digits, images = load_mnist("train")
ld = LinearDiffusion(sampler=samplers.heun(40)).fit(digits, images)

# %%
# One-hot embeddings
# ------------------
#
# A **text encoder** turns a prompt into an embedding :math:`e`. The simplest is **one-hot**: the vector has one
# entry per prompt, which is 1 for this prompt, and all others are 0. The denoiser is a regression on the
# embedding, the noisy latent and all their products:
#
# .. math:: D(x, e) = W^\top \big([1, e] \otimes [1, x]\big)
#
# Here :math:`\otimes` is the Kronecker product. With one-hot embeddings the products separate the data by prompt.
# So there is one regression per prompt, and these are the ten Gaussians of the chapters before. Such a model
# knows whole prompts only:

try:
    ld.predict(["4 2"])
except ValueError as error:
    print(error)

# %%
# Several words
# -------------
#
# Let a picture show two digits side by side, with the prompt ``"4 2"``. There are 100 prompts. We leave ten of
# them out of the training data, and use an embedding with one entry for each word in each position: "4 on the
# left", "2 on the right". It has 20 entries, two of which are 1. (The encoder ``"words"``, a **bag of words**,
# counts words without their position, so that "4 2" and "2 4" have the same embedding.)

unseen = [f"{i} {(i + 3) % 10}" for i in range(10)]
left, right = np.random.default_rng(0).integers(len(digits), size=(2, 10_000))
prompts = np.array([f"{digits[i]} {digits[j]}" for i, j in zip(left, right, strict=True)])
wide = np.concatenate([images[left], images[right]], axis=2)
seen = ~np.isin(prompts, unseen)
pairs = LinearDiffusion(100, text_encoder="positions", sampler="dpm++2m", num_steps=30)
pairs.fit(prompts[seen], wide[seen])
print(f"{len(pairs.prompts_)} pairs were seen; {', '.join(unseen)} were not")
captions = [*unseen, *[""] * 10]
drawn = pairs.predict(unseen * 2, seed=137)
figure = plot.grid(drawn, captions=captions, columns=10, vmin=0, vmax=255, size=1.0)
plot.show(figure)

# %%
# The pair "4 7" was not seen. The weights for "4 on the left" were learned from the nine other pairs with a 4
# on the left, those for "7 on the right" from the nine other pairs with a 7 on the right, and their sum draws the
# pair. For a given embedding the denoiser is still affine in :math:`x`, so all steps are still one matrix and one
# vector, and the law of what is drawn is known.
#
# Guidance
# --------
#
# Pictures drawn under a prompt are as varied as its Gaussian, and some of them are hard to read.
# **Classifier-free guidance** uses two denoisers, the conditional one :math:`D_c` and the unconditional one
# :math:`D_u`, which ignores the prompt. It goes from the second to the first, and beyond it:
#
# .. math:: D = D_u + w \, (D_c - D_u)
#
# Without guidance the **scale** is :math:`w = 1`. Both denoisers are affine, so :math:`D` is affine, and the law
# of the guided sampler is known as well. The judge in the next cell reads the pictures. It takes a vote of the
# three training images that are nearest in latent space. The variance is relative to that of the prompt's own
# law.

judge = KNeighborsClassifier(3).fit(ld.encode(images[:20_000])[:, :50], digits[:20_000])
own = np.trace(ld.law("8", sampler="exact").covariance)
rows, scales = [], [1.0, 1.5, 2.0, 3.0, 5.0]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for w in scales:
        rows.append(ld.predict(["8"] * 200, seed=5, guidance_scale=w))
        read = judge.predict(ld.encode(rows[-1])[:, :50])
        ratio = np.trace(ld.law("8", guidance_scale=w).covariance) / own
        print(f"w = {w:.1f}: {np.mean(read == '8'):4.0%} read as 8, variance {ratio:6.2f}")
print("The library warns:", str(caught[0].message).split(";")[0])

# %%
# A little guidance makes the eights easier to read. Much guidance gives black strokes and patterns that no
# eight has, although the judge still reads an eight in each.

labels = [f"w = {w:g}" for w in scales]
pictures = np.concatenate([row[:8] for row in rows])
figure = plot.grid(pictures, labels=labels, columns=8, vmin=0, vmax=255)
plot.show(figure)

# %%
# What guidance does not sample
# -----------------------------
#
# Guidance is often explained by the **tilted density** :math:`p_c(z)^w \, p_u(z)^{1 - w}`, up to a constant. The
# guided denoiser has the right score for tilting at each noise level, but to tilt the noisy densities is not to
# noise the tilted density (Bradley and Nakkiran, 2024).
#
# With one number instead of an image both can be computed by hand. Let :math:`p_c` have the variance
# :math:`\lambda_c` and :math:`p_u` the variance :math:`\lambda_u`. The velocity :math:`dx/dt` is affine in the
# denoiser, and the weights :math:`w` and :math:`1 - w` sum to 1. So the factor :math:`\dot v / 2 v` of chapter 5
# becomes :math:`w` times that of :math:`p_c` plus :math:`1 - w` times
# that of :math:`p_u`, and the gain becomes :math:`\lambda_c^{w/2} \lambda_u^{(1 - w)/2}`. Its square is the
# variance of the guided sampler. In the tilted density the exponents :math:`-x^2 / 2 \lambda` are combined by the
# same weights. The two variances are
#
# .. math::
#    \text{guided:} &\quad \lambda_c \, (\lambda_c / \lambda_u)^{w - 1}, \\
#    \text{tilted:} &\quad \frac{1}{w / \lambda_c - (w - 1) / \lambda_u} .
#
# The data are four numbers: -3 and -1 under the prompt "a", and -1 and 5 under "b".
#
# Change one number
# -----------------
#
# .. admonition:: Try it
#
#    Set ``SCALE`` to 1, 1.2 or 4. At which scale do the guided sampler and the tilted density agree?

SCALE = 2.0  # <-- change this number (1 or more)

numbers = np.array([-3.0, -1.0, -1.0, 5.0])
four = LinearDiffusion(shrinkage=0).fit(["a", "a", "b", "b"], numbers.reshape(4, 1, 1))
own, var_c, var_u = numbers[:2].mean(), numbers[:2].var(), numbers.var()
law = four.law("a", guidance_scale=SCALE, space="pixels")
tilted = 1 / (SCALE / var_c - (SCALE - 1) / var_u)
print(f"variance of a              {var_c:.4f}")
print(f"variance of all numbers    {var_u:.4f}")
print(f"guided, by the library     {law.covariance[0, 0]:.4f}")
print(f"guided, by the formula     {var_c * (var_c / var_u) ** (SCALE - 1):.4f}")
print(f"tilted density             {tilted:.4f}")

# %%
# At every scale above 1 the guided law is narrower than the tilted density, and its mean is another one.

x = np.linspace(-8, 8, 800)
tilted_mean = tilted * SCALE * own / var_c  # the mean of all numbers is 0
curves = {
    "unconditional": (0.0, var_u),
    'conditional, "a"': (own, var_c),
    "tilted density": (tilted_mean, tilted),
    "guided sampler": (law.mean[0], law.covariance[0, 0]),
}
figure = Figure(figsize=(6.4, 3.2), layout="constrained")
axes = figure.subplots()
for name, (mean, variance) in curves.items():
    density = np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    axes.plot(x, density, label=name)
legend = axes.legend(title=f"guidance_scale = {SCALE:g}", frameon=False)
labels = axes.set(xlabel="number", ylabel="density", xlim=(-8, 8))
plot.show(figure)

# %%
# The same formula explains the variances of the eights. In a direction where eights vary less than all digits
# do, :math:`\lambda_c < \lambda_u`, guidance contracts. Where they vary more, the variance grows exponentially
# with :math:`w`. (For images this holds only roughly, because the two covariances have different eigenvectors.)
# Most of the growth comes from high noise levels, so guidance may be left out there: the scale may be a
# function of the time :math:`t`, which falls from 1 (noise) to 0.

own = np.trace(ld.law("8", sampler="exact").covariance)
for start in (1.0, 0.6, 0.3):
    law = ld.law("8", guidance_scale=lambda t, start=start: 3.0 if t <= start else 1.0)
    ratio = np.trace(law.covariance) / own
    print(f"w = 3 at t up to {start}: variance {ratio:.2f} times the prompt's own")

# %%
# A negative prompt
# -----------------
#
# A **negative prompt** takes the place of the unconditional denoiser: :math:`D = D_- + w (D_c - D_-)`. The
# pictures move away from what it names. Below is a 4 that moves away from a 9. Under either kind of guidance
# the judge reads fewer pictures as a 9. The negative prompt is hardly better than plain guidance here, and the
# variance grows more.

guided = {"guidance_scale": 1.5}
negative = {"guidance_scale": 1.5, "negative_prompt": "9"}
settings = {"w = 1": {}, "w = 1.5": guided, 'w = 1.5, not "9"': negative}
rows = [ld.predict(["4"] * 200, seed=5, **how) for how in settings.values()]
own = np.trace(ld.law("4", sampler="exact").covariance)
for (name, how), row in zip(settings.items(), rows, strict=True):
    read = judge.predict(ld.encode(row)[:, :50])
    four, nine = np.mean(read == "4"), np.mean(read == "9")
    ratio = np.trace(ld.law("4", **how).covariance) / own
    print(f"{name:16s} read as 4: {four:3.0%}, as 9: {nine:2.0%}; variance {ratio:.2f}")
pictures = np.concatenate([row[:8] for row in rows])
figure = plot.grid(pictures, labels=list(settings), columns=8, vmin=0, vmax=255)
plot.show(figure)

# %%
# A question
# ----------
#
# In one direction the ones have half of the variance of all digits, and in another 1.5 times as much. By which
# factors does guidance with :math:`w = 3` change the variance of the ones there? (Let both directions be
# principal for the ones and for all digits.)
#
# .. dropdown:: Answer
#
#    The variance :math:`\lambda_c` becomes :math:`\lambda_c (\lambda_c / \lambda_u)^{w - 1}`, so the factor is
#    :math:`(\lambda_c / \lambda_u)^2`. It is :math:`0.5^2 = 0.25` in the first direction and :math:`1.5^2 =
#    2.25` in the second. Guidance exaggerates how the prompt differs from the rest.
#
# What the large models do in its place
# -------------------------------------
#
# - The text encoder is a trained network: CLIP (Radford et al., 2021) in Stable Diffusion, T5 (Raffel et al.,
#   2020) in Imagen (Saharia et al., 2022), and both in Stable Diffusion 3 (Esser et al., 2024). It gives one
#   vector per token (a word or a part of one), and these vectors depend on word order and context.
# - The prompt enters the denoiser by cross-attention in every block (Rombach et al., 2022), where this chapter
#   has the products of :math:`e` and :math:`x`.
# - Classifier-free guidance (Ho and Salimans, 2022) trains one network for both denoisers: the prompt is left
#   out for a part of the training images, 10 to 20 % of them. Guidance costs two calls of the network per step.
#   The usual scale of Stable Diffusion is 7.5. Large scales make pictures saturated (Saharia et al., 2022) and
#   alike (Kynkäänniemi et al., 2024).
# - The remedies have the same purpose as the function of :math:`t` above: clipping of :math:`D(x)` by a
#   threshold (Saharia et al., 2022), and guidance in an interval of noise levels (Kynkäänniemi et al., 2024).
# - A negative prompt enters by the same formula.
#
# *Move the scale of guidance*: `the tab Samplers of the page <../../page.html#samplers>`__. Next chapter:
# :doc:`plot_8_from_gaussian_to_styles`.
#
# References
# ----------
#
# - Bradley and Nakkiran (2024), Classifier-free guidance is a predictor-corrector.
# - Esser et al. (2024), Scaling rectified flow transformers for high-resolution image synthesis. ICML.
# - Ho and Salimans (2022), Classifier-free diffusion guidance.
# - Kynkäänniemi et al. (2024), Applying guidance in a limited interval improves sample and distribution quality
#   in diffusion models. NeurIPS.
# - Radford et al. (2021), Learning transferable visual models from natural language supervision. ICML.
# - Raffel et al. (2020), Exploring the limits of transfer learning with a unified text-to-text transformer.
#   JMLR 21.
# - Rombach et al. (2022), High-resolution image synthesis with latent diffusion models. CVPR.
# - Saharia et al. (2022), Photorealistic text-to-image diffusion models with deep language understanding.
#   NeurIPS.
