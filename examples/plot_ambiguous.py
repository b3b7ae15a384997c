"""Complete digits whose visible half could belong to a 4 or to a 9.

The digits are those of MNIST's test set whose lower half leaves the class most uncertain. Each is completed four
times as a 4 and four times as a 9, and the label gives the posterior probability of either class. The completions
continue the visible strokes. ``python examples/plot_ambiguous.py`` draws docs/ambiguous.png.
"""

from pathlib import Path

import matplotlib
import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

SEED, DRAWS, SHOWN = 137, 4, 3
UNSEEN = matplotlib.colormaps["gray_r"].with_extremes(bad="#d5e3f0")


def main() -> None:
    ld = LinearDiffusion(n_styles=50, contrast="affine").fit(*load_mnist("train"))
    prompts, images = load_mnist("test")
    upper_half = np.arange(28)[:, None] < np.full(28, 14)
    candidates = images[np.isin(prompts, ["4", "9"])]
    half = np.where(upper_half, np.nan, candidates)
    probability = ld.classify_proba(half)
    as_4, as_9 = (probability[:, list(ld.prompts_).index(prompt)] for prompt in "49")
    doubtful = np.argsort(-np.minimum(as_4, as_9))[:SHOWN]

    pictures, captions, labels = [], [], []
    for i in doubtful:
        for prompt, p in (("4", as_4[i]), ("9", as_9[i])):
            drawn = ld.inpaint(half[[i]], prompts=[prompt], seed=SEED, n_samples=DRAWS)[0]
            pictures += [half[i], *drawn]
            captions += ["seen" if not captions else "", *[""] * DRAWS]
            labels.append(f'as "{prompt}", p = {p:.2f}')
    figure = plot.grid(
        np.stack(pictures), captions=captions, labels=labels, columns=1 + DRAWS, cmap=UNSEEN, vmin=0, vmax=255
    )
    figure.savefig(Path(__file__).parent.parent / "docs" / "ambiguous.png", dpi=90)


if __name__ == "__main__":
    main()
