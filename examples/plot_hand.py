"""Draw all ten digits in the handwriting of one given digit.

The sampler is inverted on a test digit, which gives the starting noise of that digit. The same noise under all ten
prompts keeps the stroke width and the slant and changes the digit. The digits were chosen among those whose noise
is typical. Thin strokes fade, because a Gaussian can add and remove ink but cannot move it. ``python
examples/plot_hand.py`` draws docs/hand.png.
"""

from pathlib import Path

import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

HANDS = [7882, 8110, 1687, 3819, 5043, 5056]  # of the test digits


def main() -> None:
    ld = LinearDiffusion(contrast="pixelwise").fit(*load_mnist("train"))
    prompts, images = load_mnist("test")
    digits = [str(digit) for digit in range(10)]
    latents = ld.invert([prompts[i] for i in HANDS], images[HANDS])
    written = ld.predict(digits * len(HANDS), latents=latents.repeat(10, axis=0))

    rows = np.concatenate([images[HANDS][:, None], written.reshape(-1, 10, 28, 28)], axis=1)
    captions = ["seen", *(f'"{digit}"' for digit in digits)] + [""] * 11 * (len(HANDS) - 1)
    figure = plot.grid(np.concatenate(rows), captions=captions, columns=11, vmin=0, vmax=255)
    figure.savefig(Path(__file__).parent.parent / "docs" / "hand.png", dpi=80)


if __name__ == "__main__":
    main()
