r"""
1. Pictures as vectors
======================

**A digit of 28 x 28 pixels is a list of 784 numbers. How many numbers does it need?**

A diffusion model for large pictures does not work on pixels. It first replaces each picture by a much shorter list
of numbers, the *latent*, and it draws new latents. This chapter builds the linear version of that first step:
principal component analysis (PCA). You need vectors, matrices and eigenvectors, and nothing about probability
except the mean and the variance.

We use MNIST, 60,000 handwritten digits in grey. The first call downloads it (11 MB).
"""

import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

prompts, images = load_mnist("train")
print(f"images: {images.shape}, pixels from {images.min()} to {images.max()}")

# %%
# From a picture to a vector
# --------------------------
#
# Write the rows of pixels one after the other. The picture becomes a vector :math:`x_0` of 784 numbers.
# The index 0 means "without noise"; noise comes in the next chapter.
#
# Vectors can be added and averaged. The average of all digits is the mean image :math:`\bar x`. We subtract it from
# every picture and keep the differences, one per row.

x0 = images.reshape(len(images), -1).astype(np.float32)
mean = x0.mean(axis=0)
centred = x0 - mean
print("data matrix:", centred.shape)

# %%
# Variance in a direction
# -----------------------
#
# The **variance** of a list of numbers is the mean of their squared differences from their mean. Its square root is
# the **standard deviation**. Both say how far the numbers spread.
#
# A picture has a coordinate in every direction. For a unit vector :math:`v` it is :math:`v \cdot (x_0 - \bar x)`.
# Let :math:`y_1, \dots, y_N` be the differences of all pictures from the mean image. The variance of the coordinate
# over all pictures is
#
# .. math::
#    \frac1N \sum_i (v \cdot y_i)^2 &= v^\top S\, v, \\
#    S &= \frac1N \sum_i y_i\, y_i^\top .
#
# The matrix :math:`S` is the **covariance**. Its diagonal holds the variance of each pixel. The other entries say
# which pixels are bright together.
#
# In which direction do the digits vary most? For a symmetric matrix, :math:`v^\top S v` is largest for the
# eigenvector of the largest eigenvalue, and the eigenvalue is that variance. The second eigenvector has the largest
# variance of all directions orthogonal to the first one, and so on. These eigenvectors are the **principal
# components** :math:`v_1, v_2, \dots`

covariance = centred.T @ centred / len(centred)
eigenvalues, eigenvectors = np.linalg.eigh(covariance)
eigenvalues, V = eigenvalues[::-1], eigenvectors.T[::-1]  # largest first, one per row
share = np.cumsum(eigenvalues) / eigenvalues.sum()
for d in (1, 10, 50, 144):
    print(f"{d:3d} components hold {share[d - 1]:5.1%} of the variance")

# %%
# Few directions hold most of the variance. In the other directions the digits hardly differ. For example, the
# corners are white in almost every picture.
#
# The library computes the same components when it is fitted, and :func:`lineardiffusion.plot.components` draws
# them. Red pixels are positive, blue pixels are negative. The first components are large soft shapes, and later
# ones have finer strokes. The sign of a component is arbitrary. So if two components agree, the cosine of
# their angle is 1 or -1, and we print its absolute value.

ld = LinearDiffusion(n_components=144).fit(prompts, images)
cosine = abs((V[:144] * ld.components_).sum(axis=1))
print(f"cosine of the angle to the library's component, the least of 144: {cosine.min():.6f}")

figure = plot.components(ld, 20)
plot.show(figure)

# %%
# The latent
# ----------
#
# Let :math:`V` be the matrix with the first :math:`d` components as its rows. The encoder and the decoder are
#
# .. math::
#    z &= \frac1s\, V (x_0 - \bar x), \\
#    \hat x_0 &= \bar x + s\, V^\top z .
#
# The vector :math:`z` of :math:`d` numbers is the **latent**. The scaling factor :math:`s` is one number for all
# latents. It is chosen such that all entries together have the standard deviation 1. So noise of standard
# deviation 1 is about as large as the latents.

z = ld.encode(images)
print(f"{z.shape[1]} numbers per picture, scaling factor s = {ld.scaling_factor_:.1f}")
print(f"standard deviation: of all entries {z.std():.3f}")
print(f"of the first entry {z[:, 0].std():.2f}, of the last one {z[:, -1].std():.2f}")

# %%
# Change one number
# -----------------
#
# .. admonition:: Try it
#
#    Set ``N_COMPONENTS`` to 5, 50 or 100. From which number on can you read all ten digits? From which number on
#    do you see no difference from the original?

N_COMPONENTS = 20  # <-- change this number (1 to 144)

originals = np.stack([images[prompts.index(digit)] for digit in "0123456789"])
rows = [originals.astype(float)]
for d in (144, N_COMPONENTS, 3):
    latents = ld.encode(originals)
    latents[:, d:] = 0.0  # drop all entries after the first d
    rows.append(ld.decode(latents))
names = ["original", "d = 144", f"d = {N_COMPONENTS}", "d = 3"]
figure = plot.grid(np.concatenate(rows), labels=names, columns=10, vmin=0, vmax=255)
plot.show(figure)

# %%
# The error can be computed before any picture is decoded. The variance in the direction :math:`v_k` is the
# k-th eigenvalue, :math:`\lambda_k`. If the k-th entry is dropped, this variance becomes an error. So the mean
# squared error of :math:`d` components is the sum of the eigenvalues that are left out,
# :math:`\lambda_{d+1} + \dots + \lambda_{784}`.

kept = V[:N_COMPONENTS]
residual = centred - centred @ kept.T @ kept
print(f"squared error per picture, measured:      {(residual**2).sum(axis=1).mean():12.1f}")
print(f"sum of the eigenvalues that are left out: {eigenvalues[N_COMPONENTS:].sum():12.1f}")

# %%
# Not every latent is a digit
# ---------------------------
#
# Every digit has a latent. The reverse is not true. Below, each entry of the latent is drawn at random with the
# standard deviation that this entry has in the data. The decoder turns the latents into pictures. They
# have strokes of about the right width, but few of them can be read.

random_latents = np.random.default_rng(0).normal(size=(10, 144)) * z.std(axis=0)
figure = plot.grid(ld.decode(random_latents), columns=10, vmin=0, vmax=255)
plot.show(figure)

# %%
# A diffusion model has to find out which latents belong to digits. It learns this by removing noise.
#
# A question
# ----------
#
# Somebody shuffles the 784 pixels, in the same way in every picture. The pictures look like noise afterwards. How
# much of the variance do 144 components hold now?
#
# .. dropdown:: Answer
#
#    As much as before. Let :math:`P` be the permutation matrix of the shuffle. The covariance becomes :math:`P S
#    P^\top`. It has the same eigenvalues, and its eigenvectors are :math:`P v_k`, the shuffled components. PCA
#    does not know which pixels are neighbours. A convolutional network does, and it uses the same weights at
#    every position. So it needs fewer weights and fewer pictures. Shuffled pictures take this advantage away.
#
# What the large models do in its place
# -------------------------------------
#
# Stable Diffusion encodes pictures by a **variational autoencoder** (VAE; Kingma and Welling, 2014; Rombach et
# al., 2022). The encoder and the decoder are convolutional networks, trained by gradient descent to decode what
# they encoded. A picture of 512 x 512 x 3 = 786,432 numbers becomes a latent of 64 x 64 x 4 = 16,384 numbers, 48
# times fewer. The latent is multiplied by one number, 0.18215, for the reason for which we divide by :math:`s`.
#
# PCA is the linear case: an autoencoder without nonlinear functions that minimises the squared error finds the
# span of the principal components (Baldi and Hornik, 1989).
#
# *Move the components with sliders*: `the tab Components of the page <../../page.html#components>`__. Next
# chapter: :doc:`plot_2_noise_and_schedules`.
#
# References
# ----------
#
# - Baldi and Hornik (1989), Neural networks and principal component analysis: learning from examples without
#   local minima. Neural Networks 2.
# - Kingma and Welling (2014), Auto-encoding variational Bayes. ICLR.
# - Rombach, Blattmann, Lorenz, Esser and Ommer (2022), High-resolution image synthesis with latent diffusion
#   models. CVPR.
