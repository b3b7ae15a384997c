"""Pictures: of images, of how they come into being, and of the parts that make them.

======================  ===================================================================
`grid`                  images in rows, each under its prompt
`denoising`             from noise to image, step by step
`animate`               the same as a moving picture, GIF or APNG
`components`            the encoder: the principal components
`means`                 what a prompt's images have in common, and where they differ
`singular_values`       the sampler: what it does to noise, direction by direction
`styles`                a prompt's style book, like styles beside each other
======================  ===================================================================

matplotlib and Pillow are imported when something is drawn, not before, and pyplot never: a figure belongs
to the caller, needs no display, and is freed with its last reference.
"""

from lineardiffusion.plot.parts import components, means, singular_values, styles
from lineardiffusion.plot.sheet import grid
from lineardiffusion.plot.steps import animate, denoising

__all__ = ["animate", "components", "denoising", "grid", "means", "singular_values", "styles"]
