"""Fit points of the plane, a swiss roll, in place of images.

An image may have any shape, so points of shape (n, 2) need no other model. One Gaussian keeps the mean and the
covariance of the roll only; 40 styles follow its curve. ``python examples/plot_swiss_roll.py`` draws
docs/swiss_roll.png and prints the mean log-likelihood of new points.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import make_swiss_roll

from lineardiffusion import LinearDiffusion

N, SEED = 4000, 137


def main() -> None:
    points, new = (make_swiss_roll(N, noise=0.4, random_state=seed)[0][:, [0, 2]] for seed in (0, 1))
    prompts = ["roll"] * N
    shown = {f"{N:,} points": points}
    for n_styles in (1, 10, 40):
        ld = LinearDiffusion(n_styles=n_styles).fit(prompts, points)
        title = "one Gaussian" if n_styles == 1 else f"{n_styles} styles"
        shown[title] = ld.predict(prompts, seed=SEED)
        print(f"{title:12s} log-likelihood of new points {ld.score(prompts, new):.3f} nats a point")

    figure = Figure(figsize=(11, 3), dpi=100)
    axes = figure.subplots(1, len(shown), sharex=True, sharey=True)
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.9, wspace=0.02)
    for one, (title, x) in zip(axes, shown.items(), strict=True):
        one.scatter(*np.transpose(x), s=2, linewidths=0, color="black" if x is points else "tab:blue")
        one.set(title=title, xticks=[], yticks=[], xlim=(-18, 20), ylim=(-19, 19), aspect="equal")
    figure.savefig(Path(__file__).parent.parent / "docs" / "swiss_roll.png")


if __name__ == "__main__":
    main()
