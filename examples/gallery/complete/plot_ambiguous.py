"""
A 4 or a 9?
===========

Some halves of digits belong to a 4 as likely as to a 9. You learn to find such halves
by their class probabilities, and to complete each of them under both prompts.
"""

import matplotlib
import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

ld = LinearDiffusion(n_styles=50, contrast="affine").fit(*load_mnist("train"))

# %%
# The upper halves of the fours and nines among the first 3,000 test digits are hidden.
# ``classify_proba`` needs no complete image: the probability is that of the visible
# pixels. The three most uncertain halves are kept.

prompts, images = (np.asarray(part[:3000]) for part in load_mnist("test"))
half = images[np.isin(prompts, ["4", "9"])].astype(float)
half[:, :14] = np.nan
probability = ld.classify_proba(half)
as_4, as_9 = (probability[:, list(ld.prompts_).index(prompt)] for prompt in "49")
doubtful = np.argsort(-np.minimum(as_4, as_9))[:3]

# %%
# Each half is completed four times as a 4 and four times as a 9. The completions
# continue the visible strokes.

pictures, labels = [], []
for i in doubtful:
    for prompt, p in (("4", as_4[i]), ("9", as_9[i])):
        drawn = ld.inpaint(half[[i]], prompts=[prompt], seed=137, n_samples=4)[0]
        pictures += [half[i], *drawn]
        labels.append(f'as "{prompt}", p = {p:.2f}')
missing_blue = matplotlib.colormaps["gray_r"].with_extremes(bad="#d5e3f0")
captions = ["seen"] + [""] * (len(pictures) - 1)
figure = plot.grid(
    pictures, captions=captions, labels=labels, columns=5, cmap=missing_blue, vmin=0, vmax=255
)
plot.show(figure)
