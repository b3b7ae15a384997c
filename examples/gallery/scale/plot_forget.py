"""
Forget a contributor
====================

One contributor's images are subtracted from a saved model. You learn that the result is
the model which never saw these images, to rounding, and that no other image is needed.
"""

import tempfile

import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_digits

# %%
# scikit-learn's digits are split into twelve parts, as if twelve people had contributed
# them. Contributor 4 withdraws.

prompts, images = map(np.array, load_digits())
withdrawn = np.arange(len(images)) // 150 == 4
digits = [str(digit) for digit in range(10)]

# %%
# A model of all images is saved. Later it is loaded, ``forget`` subtracts the images,
# and the model is saved again. In a shell, ``lineardiffusion forget MODEL FOLDER`` does
# the same with a folder of image files.

with tempfile.TemporaryDirectory() as path:
    LinearDiffusion().fit(prompts, images).save_pretrained(path)
    ld = LinearDiffusion.from_pretrained(path)
    before = ld.predict(digits, seed=137)
    ld.forget(prompts[withdrawn], images[withdrawn]).save_pretrained(path)
    after = LinearDiffusion.from_pretrained(path).predict(digits, seed=137)

# %%
# A model that never saw the images draws the same pictures.

ld_never = LinearDiffusion().fit(prompts[~withdrawn], images[~withdrawn])
never = ld_never.predict(digits, seed=137)
print(f"{withdrawn.sum()} of {len(images):,} images are forgotten")
print(f"mean change of a drawn pixel: {abs(after - before).mean():.2f} of 16 grey levels")
print(f"largest difference from the model that never saw them: {abs(after - never).max():.1e}")

figure = plot.grid(
    np.concatenate([before, after, never]),
    labels=["before", "after", "never seen"],
    captions=digits + [""] * 20,
    columns=10,
    vmin=0,
    vmax=16,
    size=0.6,
)
plot.show(figure)

# %%
# Images can be forgotten only once.

try:
    ld.forget(prompts[withdrawn], images[withdrawn])
except ValueError as error:
    print(error)
