"""From noise to digit: the same noise becomes a 7, a 3 and an 8, and early on nobody can tell which.

The sheet has a row for each prompt and a column for each step; the film shows ten digits at once. ``python
examples/plot_denoising.py`` draws docs/denoising.png and docs/denoising.gif.
"""

from pathlib import Path

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    ld = LinearDiffusion().fit(*load_mnist())
    plot.denoising(ld, ["7", "3", "8"], seed=[13] * 3).savefig(DOCS / "denoising.png", dpi=80)
    digits = [str(digit) for digit in range(10)]
    plot.animate(ld, digits, DOCS / "denoising.gif", seed=137, num_steps=20, columns=5)


if __name__ == "__main__":
    main()
