"""Interpolate between two prompts, for example from a 3 to an 8, with the same noise.

Each row has one noise, each column one weight of the two prompts. The last column extrapolates beyond the second
prompt by guidance with the first one as negative prompt. ``python examples/plot_between.py`` draws
docs/between.png.
"""

from pathlib import Path

import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

STEPS = np.linspace(0, 1, 8)
PAIRS = [("3", "8"), ("4", "9"), ("1", "7"), ("0", "6")]


def main() -> None:
    ld = LinearDiffusion(contrast="affine", sampler="dpm++2m", num_steps=30).fit(*load_mnist())
    images = []
    for seed, (a, b) in enumerate(PAIRS):
        prompts = [{a: 1 - w, b: w} for w in STEPS]
        images.append(ld.predict(prompts, seed=[seed] * len(prompts)))
        images.append(ld.predict([b], seed=[seed], guidance_scale=1.5, negative_prompt=a))
    weights = [*(f"{w:.0%}" for w in STEPS), "beyond"]
    figure = plot.grid(
        np.concatenate(images),
        captions=weights + [""] * len(weights) * (len(PAIRS) - 1),
        labels=[f"{a} to {b}" for a, b in PAIRS],
        columns=len(weights),
        vmin=0,
        vmax=255,
    )
    figure.savefig(Path(__file__).parent.parent / "docs" / "between.png", dpi=90)


if __name__ == "__main__":
    main()
