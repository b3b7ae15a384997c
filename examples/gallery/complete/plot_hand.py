"""
Ten digits by one hand
======================

The sampler can be inverted: it gives the noise from which a given digit would have been
drawn. You learn to draw all ten digits from the noise of one, which keeps the width and
the slant of the strokes.
"""

import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

ld = LinearDiffusion(contrast="pixelwise").fit(*load_mnist("train"))

# %%
# The six test digits were chosen among those whose noise is typical.

prompts, images = load_mnist("test")
hands = [7882, 8110, 1687, 3819, 5043, 5056]
latents = ld.invert([prompts[i] for i in hands], images[hands])

# %%
# Each row starts from the noise of the digit on its left. Thin strokes fade, because a
# Gaussian can add and remove ink but cannot move it.

digits = [str(digit) for digit in range(10)]
written = ld.predict(digits * 6, latents=latents.repeat(10, axis=0)).reshape(6, 10, 28, 28)
rows = np.concatenate([images[hands][:, None], written], axis=1)
captions = ["seen", *(f'"{digit}"' for digit in digits)] + [""] * 55
figure = plot.grid(
    np.concatenate(rows), captions=captions, columns=11, vmin=0, vmax=255, size=0.6
)
plot.show(figure)
