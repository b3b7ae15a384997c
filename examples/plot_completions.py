"""Complete half digits by draws from the exact posterior.

The first two columns show the digit and the half that the model is given. The other five columns are completions,
each captioned with the prompt that was drawn with it. The completions agree where the visible half determines the
digit and differ where it does not. ``python examples/plot_completions.py`` draws docs/completions.png from MNIST's
test digits, which the model was not fitted on.
"""

from pathlib import Path

import matplotlib
import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

DIGITS = [571, 331, 646, 454, 935, 938]  # test digits whose upper half leaves the class uncertain
SEED, DRAWS = 137, 5
UNSEEN = matplotlib.colormaps["gray_r"].with_extremes(bad="#d5e3f0")


def main() -> None:
    ld = LinearDiffusion(n_styles=50, contrast="affine").fit(*load_mnist("train"))
    images = load_mnist("test")[1][DIGITS].astype(float)
    lower_half = np.arange(28)[:, None] >= np.full(28, 14)
    seen = np.where(lower_half, np.nan, images)
    completed, prompts = ld.inpaint(seen, seed=SEED, n_samples=DRAWS, return_prompts=True)

    rows = np.concatenate([images[:, None], seen[:, None], completed], axis=1)
    captions = [""] * rows.shape[0] * rows.shape[1]
    captions[:2] = "digit", "seen"
    for j in range(DRAWS):
        captions[2 + j :: 2 + DRAWS] = [f'as "{prompt}"' for prompt in prompts[:, j]]
    figure = plot.grid(np.concatenate(rows), captions=captions, columns=2 + DRAWS, cmap=UNSEEN, vmin=0, vmax=255)
    figure.savefig(Path(__file__).parent.parent / "docs" / "completions.png", dpi=90)


if __name__ == "__main__":
    main()
