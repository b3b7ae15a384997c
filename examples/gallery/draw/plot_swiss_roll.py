"""
Points of the plane
===================

An image may have any shape, so points of shape (n, 2) are fitted by the same model. You
learn how the number of styles changes the law: one Gaussian keeps the mean and the
covariance of a swiss roll, and 40 styles follow its curve.
"""

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import make_swiss_roll

from lineardiffusion import LinearDiffusion, plot

rolls = [make_swiss_roll(4000, noise=0.4, random_state=seed)[0] for seed in (0, 1)]
points, new = (roll[:, [0, 2]] for roll in rolls)
prompts = ["roll"] * len(points)

# %%
# The log-likelihood of new points, in nats per point, grows with the number of styles.

shown = {"the data": points}
for n_styles in (1, 10, 40):
    ld = LinearDiffusion(n_styles=n_styles).fit(prompts, points)
    title = "one Gaussian" if n_styles == 1 else f"{n_styles} styles"
    shown[title] = ld.predict(prompts, seed=137)
    print(f"{title:12s} log-likelihood of new points {ld.score(prompts, new):.3f}")

# %%
# The points that were fitted, and 4,000 draws of each model.

figure = Figure(figsize=(9, 2.5))
axes = figure.subplots(1, 4, sharex=True, sharey=True)
figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.9, wspace=0.02)
for cell, (title, x) in zip(axes, shown.items(), strict=True):
    colour = "black" if x is points else "tab:blue"
    cell.scatter(*np.transpose(x), s=2, linewidths=0, color=colour)
    cell.set(title=title, xticks=[], yticks=[], xlim=(-18, 20), ylim=(-19, 19), aspect="equal")
plot.show(figure)
