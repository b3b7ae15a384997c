"""Draw digits with the default model, with styles and with the original's sampler, and clothes with styles.

``python examples/plot_readme.py`` draws docs/digits.png, docs/styles.png, docs/original.png and docs/fashion.png.
It needs MNIST and Fashion-MNIST (in LINEARDIFFUSION_DATA, or a network to download them).
"""

from pathlib import Path

import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_fashion_mnist, load_mnist

DOCS = Path(__file__).parent.parent / "docs"
SEED = 137


def main() -> None:
    digits = [str(digit) for digit in range(10)]
    mnist = load_mnist()
    ld = LinearDiffusion().fit(*mnist)
    ten_each = [digit for digit in digits for _ in range(10)]
    save(ld.predict(ten_each, seed=SEED), "digits.png", labels=digits)

    styles = LinearDiffusion(n_styles="auto", contrast="pixelwise").fit(*mnist)
    save(styles.predict(ten_each, seed=SEED), "styles.png", labels=digits)

    original = LinearDiffusion(sampler="one_step", scale=True).fit(*mnist)
    both = np.concatenate([original.predict(digits, seed=SEED), ld.predict(digits, seed=SEED)])
    save(both, "original.png", labels=["the original", "exact"], captions=[*digits, *[""] * 10])

    fashion = LinearDiffusion(300, n_styles="auto", contrast="pixelwise").fit(*load_fashion_mnist())
    words = [str(prompt) for prompt in fashion.prompts_]
    save(fashion.predict(words * 3, seed=SEED), "fashion.png", captions=[*words, *[""] * 20])


def save(images: np.ndarray, name: str, **texts: list[str]) -> None:
    """Save images in rows of ten, with grey levels from 0 to 255."""
    plot.grid(images, columns=10, vmin=0, vmax=255, size=0.65, **texts).savefig(DOCS / name, dpi=100)


if __name__ == "__main__":
    main()
