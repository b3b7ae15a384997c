"""Plot the fifty styles of the prompt "7", similar styles beside each other.

Each mean image is captioned with the style's name, for ``ld.predict(["7~12"])``, and with its share of the sevens.
Crossed sevens are neighbours, and slanted or thick ones are far from upright or thin ones. ``python
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
