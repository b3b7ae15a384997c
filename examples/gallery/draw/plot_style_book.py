"""
The style book of the sevens
============================

A prompt with 48 styles is a mixture of 48 Gaussians. You learn to look at all of them
at once, and to draw from one of them by its name.
"""

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

ld = LinearDiffusion(n_styles=48, contrast="affine").fit(*load_mnist("train"))

# %%
# The mean image of each style is captioned with the style's name and its share of the
# sevens. Similar styles are neighbours: crossed sevens are beside each other, and
# slanted or thick ones are far from upright or thin ones.

figure = plot.styles(ld, "7", columns=8)
plot.show(figure)

# %%
# The prompt "7" draws a style by its frequency. The prompt "7~12" draws from the style
# of this name alone.

names = ["7~12", "7~0", "7~33", "7"]
figure_draws = plot.grid(
    ld.predict([name for name in names for _ in range(8)], seed=137),
    labels=names,
    columns=8,
    vmin=0,
    vmax=255,
)
plot.show(figure_draws)
