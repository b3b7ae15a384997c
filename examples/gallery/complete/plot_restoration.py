"""
Restore a blurred and noisy digit
=================================

Digits are blurred, reduced to 7 x 7 pixels and disturbed by noise. You learn to
describe such a measurement by a matrix, and to draw the images that could have caused
it from their exact posterior.
"""

import numpy as np

from lineardiffusion import LinearDiffusion, operators, plot
from lineardiffusion.datasets import load_mnist

ld = LinearDiffusion(n_styles=50, contrast="affine").fit(*load_mnist("train"))

# %%
# A measurement is ``y = A x + noise``, where ``x`` is the flattened image.
# ``operators`` has the usual matrices, and they can be multiplied. The digits are test
# digits, and the model is not given their prompts.

digits = load_mnist("test")[1][[0, 1, 18, 15, 84]].astype(float)
blur, factor, noise = 1.0, 4, 8.0  # pixels, pixels, grey levels
A = operators.downsampling((28, 28), factor) @ operators.blurring((28, 28), blur)
clean = digits.reshape(len(digits), -1) @ A.T
measured = clean + noise * np.random.default_rng(137).normal(size=clean.shape)

# %%
# ``restore`` returns the posterior mean for ``n_samples=0``, and otherwise draws. With
# ``residual_noise=True`` the draws include the variance outside of the components, so
# their spread is that of all pixels.

mean = ld.restore(measured, A, noise, n_samples=0)
draws = ld.restore(measured, A, noise, seed=137, n_samples=4)
many = ld.restore(measured, A, noise, seed=137, n_samples=100, residual_noise=True)
spread = many.std(axis=1)

# %%
# The spread is the standard deviation of each pixel; darker red is less certain.

small = measured.reshape(-1, 28 // factor, 28 // factor)
large = small.repeat(factor, axis=1).repeat(factor, axis=2)
rows = np.concatenate([np.stack([digits, large, mean, spread], axis=1), draws], axis=1)
captions = ["digit", "measured", "mean", "spread", "draw 1", "draw 2", "draw 3", "draw 4"]
captions += [""] * (len(digits) - 1) * len(captions)
figure = plot.grid(np.concatenate(rows), captions=captions, columns=8, vmin=0, vmax=255)
for axes in figure.axes[3::8]:
    axes.images[0].set(cmap="Reds", clim=(0, spread.max()))
plot.show(figure)
