"""Draw digits from the model that ships, then fit one and draw from it: what ``make quickstart`` runs.

The first takes no data. The second is fitted on MNIST's 70,000 digits where they are found
($LINEARDIFFUSION_DATA/mnist, or downloaded before) or can be downloaded; else on scikit-learn's 1,797, which
are always there. The digits go in batch by batch, as a stream would.
"""

import sys
import time
from pathlib import Path
from typing import Any

import click
from numpy.typing import NDArray

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_digits, load_mnist

BATCH = 2000
SHIPPED, FITTED = Path("quickstart_shipped.png"), Path("quickstart.png")
ASKED = [str(digit) for digit in range(10) for _ in range(10)]


def main() -> None:
    start = time.perf_counter()
    draw(LinearDiffusion.from_pretrained("mnist"), SHIPPED)
    seconds = time.perf_counter() - start
    print(f"Loaded the model that ships and drew {len(ASKED)} digits into {SHIPPED}, in {seconds:.1f} s.")

    name, prompts, images = load()
    start = time.perf_counter()
    ld = fit(name, prompts, images)
    seconds = time.perf_counter() - start
    draw(ld, FITTED)
    print(
        f"Fitted {len(prompts):,} images of {name} ({images.shape[1]} x {images.shape[2]}) to "
        f"{ld.n_components_} components in {seconds:.1f} s; drew {len(ASKED)} digits into {FITTED}."
    )


def load() -> tuple[str, list[str], NDArray[Any]]:
    """The digits to fit, and their name."""
    try:
        return "MNIST", *load_mnist()
    except OSError as error:
        print(f"MNIST is not here, so scikit-learn's embedded digits it is. ({error})")
        return "scikit-learn's digits", *load_digits()


def fit(name: str, prompts: list[str], images: NDArray[Any]) -> LinearDiffusion:
    ld = LinearDiffusion()
    batches = range(0, len(prompts), BATCH)
    with click.progressbar(batches, label=f"Fitting {name}", file=sys.stderr) as progress:
        for first in progress:
            batch = slice(first, first + BATCH)
            ld.partial_fit(prompts[batch], images[batch])
    _ = ld.components_  # solve
    return ld


def draw(ld: LinearDiffusion, path: Path) -> None:
    low, high = ld.pixel_range_
    title = "Images Generated from Prompt"
    figure = plot.grid(ld.predict(ASKED, seed=137), ASKED, title=title, vmin=low, vmax=high)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
