"""Denoise the same noise under several prompts, step by step.

docs/denoising.png has a row for each prompt and a column for each step: the same noise becomes a 7, a 3 and an 8,
and the first steps are hard to tell apart. docs/denoising.gif is an animation of all ten digits. ``python
examples/plot_denoising.py`` draws both.
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
