"""Draw images, the steps of the denoising, the parts of a fitted model, and points of the plane.

======================  ===================================================================
`grid`                  images in rows, each under its prompt
`denoising`             the steps of the sampler from noise to image
`animate`               the same steps as an animated GIF or PNG
`components`            the image encoder: principal components
`means`                 the mean and the standard deviation of each prompt's images
`singular_values`       the sampler: its gain from noise to latent in each direction
`styles`                the mean of each of a prompt's styles, similar styles side by side
`schedule`              alpha and sigma of noise schedules, and their log signal-to-noise ratio
`score_field`           the score of noisy points of the plane, as arrows over their density
`paths`                 the paths of points, or of two entries of the latents, from noise to data
`show`                  a figure in a notebook, or in a window
`convergence`           reports of the oracle: distances to the law against the calls of the denoiser
`wasserstein`           the distance of each sampler's law to the exact law against the number of steps
======================  ===================================================================

matplotlib and Pillow are imported when a function draws, so that importing this package is quick. pyplot is
imported by `show` alone: a figure needs no display and is freed with the last reference to it.
"""

from lineardiffusion.plot.convergence import convergence
from lineardiffusion.plot.images import grid
from lineardiffusion.plot.parts import components, means, singular_values, styles
from lineardiffusion.plot.plane import paths, score_field
from lineardiffusion.plot.schedule import schedule
from lineardiffusion.plot.show import show
from lineardiffusion.plot.steps import animate, denoising
from lineardiffusion.plot.wasserstein import wasserstein

__all__ = [
    "animate", "components", "convergence", "denoising", "grid", "means", "paths", "schedule", "score_field",
    "show", "singular_values", "styles", "wasserstein",
]  # fmt: skip
