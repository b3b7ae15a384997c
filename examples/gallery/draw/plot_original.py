"""
The original sampler
====================

The first version of this library (April 2023) drew an image in a single step: it
predicted the noise once and subtracted it. You learn to select that sampler and to
compare it with the exact one for the same seed.
"""

import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

prompts, images = load_mnist()
digits = [str(digit) for digit in range(10)]

# %%
# ``sampler="one_step"`` with ``scale=True`` is the original. One step from pure noise
# keeps little of the variance of the data, so all its drawings of a digit are close to
# the digit's mean image. The exact sampler, which is the default, keeps all of it.

original = LinearDiffusion(sampler="one_step", scale=True).fit(prompts, images)
exact = LinearDiffusion().fit(prompts, images)
drawn = np.concatenate([ld.predict(digits, seed=137) for ld in (original, exact)])
figure = plot.grid(
    drawn,
    labels=["one step", "exact"],
    captions=[*digits, *[""] * 10],
    columns=10,
    vmin=0,
    vmax=255,
    size=0.6,
)
plot.show(figure)

# %%
# The variance of the latents that each sampler draws follows from its law, without
# drawing anything.

for name, ld in (("one step", original), ("exact", exact)):
    data = ld.law("7", sampler="exact").covariance
    share = np.trace(ld.law("7").covariance) / np.trace(data)
    print(f"{name}: {share:.0%} of the variance of the sevens")
