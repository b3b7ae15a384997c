"""A style book: the fifty ways in which MNIST's writers write a 7, like ones beside each other.

Crossed sevens gather, slanted ones lie away from upright ones and thick ones from thin ones; each stands
under the name to ask for it by, ``ld.predict(["7~12"])``, and its share of the sevens. ``python
examples/plot_style_book.py`` draws docs/style_book.png.
"""

from pathlib import Path

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist


def main() -> None:
    ld = LinearDiffusion(n_styles=50).fit(*load_mnist())
    figure = plot.styles(ld, "7", columns=10)
    figure.savefig(Path(__file__).parent.parent / "docs" / "style_book.png", dpi=80)


if __name__ == "__main__":
    main()
