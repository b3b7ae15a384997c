"""
Draw digits
===========

A model is fitted to the 70,000 digits of MNIST in a second and draws ten images of each
digit. You learn what one Gaussian per prompt can draw, and what changes when every
prompt is a mixture of styles.
"""

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

prompts, images = load_mnist()
digits = [str(digit) for digit in range(10)]
ten_each = [digit for digit in digits for _ in range(10)]

# %%
# One Gaussian per prompt
# -----------------------
#
# ``fit`` takes one prompt and one image per row. The default model has one Gaussian per
# prompt. ``predict`` takes prompts and a seed, and the same seed gives the same
# pictures. The slant and the width of the strokes vary. But a Gaussian can only add and
# remove ink, so some strokes fade.

ld = LinearDiffusion().fit(prompts, images)
figure_gaussian = plot.grid(
    ld.predict(ten_each, seed=137), labels=digits, columns=10, vmin=0, vmax=255, size=0.6
)
plot.show(figure_gaussian)

# %%
# Styles
# ------
#
# ``n_styles`` clusters the latents of each prompt. Each cluster, called a style, has
# its own Gaussian, so the law of a prompt is a mixture. ``"auto"`` chooses the number
# of styles from the number of images. The contrast ``"pixelwise"`` gives each drawn
# pixel the mean and the variance that it has in the data.

ld_styles = LinearDiffusion(n_styles="auto", contrast="pixelwise").fit(prompts, images)
figure_styles = plot.grid(
    ld_styles.predict(ten_each, seed=137), labels=digits, columns=10, vmin=0, vmax=255, size=0.6
)
plot.show(figure_styles)
