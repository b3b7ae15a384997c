"""Draw digits from the model that ships, then fit a model and draw from it (``make quickstart``).

The first model needs no data. The second is fitted on MNIST's 70,000 digits if they are found
($LINEARDIFFUSION_DATA/mnist, or an earlier download) or can be downloaded, and otherwise on scikit-learn's 1,797
digits, which are always available. It is fitted batch by batch, as from a stream.
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
PROMPTS = [str(digit) for digit in range(10) for _ in range(10)]


def main() -> None:
    start = time.perf_counter()
    draw(LinearDiffusion.from_pretrained("mnist"), SHIPPED)
    seconds = time.perf_counter() - start
    print(f"Loaded the model that ships and drew {len(PROMPTS)} digits into {SHIPPED}, in {seconds:.1f} s.")

    name, prompts, images = load()
    start = time.perf_counter()
    ld = fit(name, prompts, images)
    seconds = time.perf_counter() - start
    draw(ld, FITTED)
    print(
        f"Fitted {len(prompts):,} images of {name} ({images.shape[1]} x {images.shape[2]}) to "
        f"{ld.n_components_} components in {seconds:.1f} s; drew {len(PROMPTS)} digits into {FITTED}."
    )


def load() -> tuple[str, list[str], NDArray[Any]]:
    """Return the name of the data set that is available, its prompts and its images."""
    try:
        return "MNIST", *load_mnist()
    except OSError as error:
        print(f"MNIST is not available ({error}); using scikit-learn's digits instead.")
        return "scikit-learn's digits", *load_digits()


def fit(name: str, prompts: list[str], images: NDArray[Any]) -> LinearDiffusion:
    """Fit a model batch by batch."""
    ld = LinearDiffusion()
    batches = range(0, len(prompts), BATCH)
    with click.progressbar(batches, label=f"Fitting {name}", file=sys.stderr) as progress:
        for first in progress:
            batch = slice(first, first + BATCH)
            ld.partial_fit(prompts[batch], images[batch])
    _ = ld.fitted_  # solved at first use
    return ld


def draw(ld: LinearDiffusion, path: Path) -> None:
    """Draw ten images of each digit into a file."""
    low, high = ld.pixel_range_
    title = "Images Generated from Prompt"
    figure = plot.grid(ld.predict(PROMPTS, seed=137), PROMPTS, title=title, vmin=low, vmax=high)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
