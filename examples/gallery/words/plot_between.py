"""
Between two prompts
===================

A prompt may be a mixture, such as ``{"3": 0.5, "8": 0.5}``. You learn to interpolate
between two prompts with the same noise, and to go beyond the second one by guidance.
"""

import warnings

import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

ld = LinearDiffusion(contrast="affine", sampler="dpm++2m", num_steps=30).fit(*load_mnist())

# %%
# Each row has one noise, and each column one weight of the second prompt. The last
# column has a guidance scale of 1.5 with the first prompt as the negative prompt, which
# extrapolates beyond the second one.

warnings.filterwarnings("ignore", message="guidance multiplies")  # which is wanted here
weights = np.linspace(0, 1, 8)
pairs = [("3", "8"), ("4", "9"), ("1", "7"), ("0", "6")]
images = []
for seed, (a, b) in enumerate(pairs):
    images += [ld.predict([{a: 1 - w, b: w} for w in weights], seed=[seed] * len(weights))]
    images += [ld.predict([b], seed=[seed], guidance_scale=1.5, negative_prompt=a)]

captions = [*(f"{w:.0%}" for w in weights), "beyond"] + [""] * 9 * (len(pairs) - 1)
labels = [f"{a} to {b}" for a, b in pairs]
figure = plot.grid(
    np.concatenate(images),
    captions=captions,
    labels=labels,
    columns=9,
    vmin=0,
    vmax=255,
    size=0.7,
)
plot.show(figure)
