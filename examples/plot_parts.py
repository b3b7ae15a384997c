"""Plot the parts of a model: components, means and spreads of the prompts, singular values of samplers.

The first principal components are the coarsest strokes. The images of a prompt vary most along the edges of their
mean. With few steps the samplers shrink the directions of small variance, and the original's single step shrinks
nearly all directions. ``python examples/plot_parts.py`` draws docs/components.png, docs/means.png and
docs/singular_values.png.
"""

from pathlib import Path

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    ld = LinearDiffusion().fit(*load_mnist())
    plot.components(ld, 30).savefig(DOCS / "components.png", dpi=80)
    plot.means(ld).savefig(DOCS / "means.png", dpi=80)
    figure = plot.singular_values(ld, "7", ["exact", "heun", "ddim", "one_step"], num_steps=5)
    figure.savefig(DOCS / "singular_values.png", dpi=100)


if __name__ == "__main__":
    main()
