"""
The parts of a model
====================

All that a model learns can be plotted: the components of the image encoder, the mean
and the spread of each prompt, and the map from noise to latent that a sampler composes
to. You learn to read these three pictures.
"""

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

ld = LinearDiffusion().fit(*load_mnist())

# %%
# The image encoder
# -----------------
#
# The principal components, in the order of their variance. The first ones are the
# coarsest strokes.

figure_components = plot.components(ld, 30)
plot.show(figure_components)

# %%
# Prompts
# -------
#
# The mean image of each prompt, and the standard deviation of each pixel. The images of
# a prompt vary most along the edges of their mean.

figure_means = plot.means(ld)
plot.show(figure_means)

# %%
# Samplers
# --------
#
# Every sampler composes to one matrix per prompt. Its singular values are the gains
# from noise to latent, here after five steps. With few steps the samplers shrink the
# directions of small variance. The original's single step shrinks nearly all
# directions.

figure_singular_values = plot.singular_values(
    ld, "7", ["exact", "heun", "ddim", "one_step"], num_steps=5
)
plot.show(figure_singular_values)
