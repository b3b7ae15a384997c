"""
Complete half digits
====================

The lower half of a digit is drawn from the exact posterior, given the upper half. You
learn to pass images with missing pixels to ``inpaint``, and to read several completions
as a statement of what the visible half determines.
"""

import matplotlib
import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

ld = LinearDiffusion(n_styles=50, contrast="affine").fit(*load_mnist("train"))

# %%
# The model was fitted to the training images only. The six digits are test digits whose
# upper half leaves the class uncertain. A missing pixel is NaN.

digits = load_mnist("test")[1][[571, 331, 646, 454, 935, 938]].astype(float)
seen = digits.copy()
seen[:, 14:] = np.nan

# %%
# No prompt is given, so ``inpaint`` draws a prompt by its probability and then the
# pixels, five times for each digit. The completions agree where the visible half
# determines the digit, and differ where it does not.

completed, prompts = ld.inpaint(seen, seed=137, n_samples=5, return_prompts=True)
rows = np.concatenate([digits[:, None], seen[:, None], completed], axis=1)
captions = np.full(rows.shape[:2], "", dtype=object)
captions[0, :2] = "digit", "seen"
captions[:, 2:] = [[f'as "{prompt}"' for prompt in row] for row in prompts]
missing_blue = matplotlib.colormaps["gray_r"].with_extremes(bad="#d5e3f0")
figure = plot.grid(
    np.concatenate(rows),
    captions=captions.ravel(),
    columns=7,
    cmap=missing_blue,
    vmin=0,
    vmax=255,
)
plot.show(figure)
