"""Fit on real digits and draw ten of each kind: what ``make quickstart`` runs.

MNIST's 70,000 digits where they are found ($LINEARDIFFUSION_DATA/mnist, or downloaded before) or can be
downloaded; else scikit-learn's 1,797, which are always there. The digits go in batch by batch, as a stream
would.
"""

import sys
import time
from pathlib import Path

import click

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_digits, load_mnist

BATCH = 2000
OUTPUT = Path("quickstart.png")


def main() -> None:
    try:
        name, (prompts, images) = "MNIST", load_mnist()
    except OSError as error:
        print(f"MNIST is not here, so scikit-learn's embedded digits it is. ({error})")
        name, (prompts, images) = "scikit-learn's digits", load_digits()

    ld = LinearDiffusion()
    start = time.perf_counter()
    batches = range(0, len(prompts), BATCH)
    with click.progressbar(batches, label=f"Fitting {name}", file=sys.stderr) as progress:
        for first in progress:
            batch = slice(first, first + BATCH)
            ld.partial_fit(prompts[batch], images[batch])
    _ = ld.components_  # solve
    seconds = time.perf_counter() - start

    digits = [str(digit) for digit in range(10) for _ in range(10)]
    figure = plot.grid(
        ld.predict(digits, seed=137),
        digits,
        title="Images Generated from Prompt",
        vmin=ld.pixel_range_[0],
        vmax=ld.pixel_range_[1],
    )
    figure.savefig(OUTPUT, dpi=120)
    print(
        f"Fitted {len(prompts):,} images of {name} ({images.shape[1]} x {images.shape[2]}) to "
        f"{ld.n_components_} components in {seconds:.1f} s; drew {len(digits)} digits into {OUTPUT}."
    )


if __name__ == "__main__":
    main()
