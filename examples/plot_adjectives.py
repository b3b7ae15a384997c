"""Draw digits from prompts such as "thick slanted 7", whose adjectives are measured from the images.

Three attributes of every MNIST digit follow from the moments of its ink: thickness (twice the area over the
length of the outline), slant (the shear that would make the digit upright) and width (horizontal over vertical
spread). Within each class, the lowest third of an attribute is called thin, upright or narrow, the highest third
thick, slanted or wide, and the middle third gets no adjective. So a prompt has up to three adjectives and a digit.
For each digit, the prompts that have both adjectives of `UNSEEN` are held out.

``python examples/plot_adjectives.py`` fits a model with a bag of words, draws docs/adjectives.png, and prints for
the held-out combinations how often an attribute of a drawn digit is on the requested side of the median.
"""

from pathlib import Path

import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

WORDS = [("thin", "thick"), ("upright", "slanted"), ("narrow", "wide")]
UNSEEN = {str(d): [("thick", "slanted"), ("thin", "wide"), ("slanted", "narrow")][d % 3] for d in range(10)}
EACH = 100


def measure(images: np.ndarray) -> np.ndarray:
    """Return thickness, slant and width of digits (n, 28, 28), shape (n, 3)."""
    ink = np.clip(images, 0, 255).astype(float) / 255
    area = ink.sum(axis=(1, 2))
    outline = np.abs(np.diff(ink, axis=1)).sum(axis=(1, 2)) + np.abs(np.diff(ink, axis=2)).sum(axis=(1, 2))
    rows, columns = np.mgrid[:28, :28]
    y, x = (np.einsum("nij,ij->n", ink, at) / area for at in (rows, columns))
    dy, dx = rows - y[:, None, None], columns - x[:, None, None]
    yy, xy, xx = ((ink * product).sum(axis=(1, 2)) / area for product in (dy * dy, dx * dy, dx * dx))
    return np.stack([2 * area / outline, -xy / yy, np.sqrt(xx / yy)], axis=1)


def describe(digits: list[str], attributes: np.ndarray) -> list[str]:
    """Return the prompts of all digits, with adjectives by thirds within each class."""
    classes, words = np.array(digits), np.full(attributes.shape, "", dtype=object)
    for one in np.unique(classes):
        own = classes == one
        for j, (low, high) in enumerate(WORDS):
            a, b = np.quantile(attributes[own, j], [1 / 3, 2 / 3])
            words[own, j] = np.where(attributes[own, j] < a, low, np.where(attributes[own, j] > b, high, ""))
    return [" ".join([*filter(None, row), digit]) for row, digit in zip(words, digits, strict=True)]


def main() -> None:
    digits, images = load_mnist("train")
    attributes = measure(images)
    prompts = describe(digits, attributes)
    seen = [i for i, p in enumerate(prompts) if not set(UNSEEN[digits[i]]) <= set(p.split())]
    ld = LinearDiffusion(text_encoder="words", contrast="affine", sampler="dpm++2m", num_steps=30)
    ld.fit([prompts[i] for i in seen], images[seen])
    print(f"fitted {len(seen):,} digits under {len(ld.prompts_)} prompts; {len(digits) - len(seen):,} held out")

    held_out = [" ".join([*UNSEEN[d], d]) for d in sorted(UNSEEN)]
    classes = np.array(digits)
    for j, (low, high) in enumerate(WORDS):
        right = []
        for prompt in held_out:
            *adjectives, digit = prompt.split()
            if not {low, high} & set(adjectives):
                continue
            median = np.median(attributes[classes == digit, j])
            drawn = measure(ld.predict([prompt] * EACH, seed=137))[:, j]
            right.append(np.mean((drawn > median) == (high in adjectives)))
        print(f"{low} or {high}: {np.mean(right):.3f} of the drawn digits are on the requested side of the median")

    rows = ["7", "thin 7", "thick 7", "upright 7", "slanted 7", "narrow 7", "wide 7", "thick slanted 7", *held_out]
    grid = [prompt for prompt in rows for _ in range(8)]
    drawn = ld.predict(grid, seed=[*range(8)] * len(rows))
    figure = plot.grid(drawn, labels=rows, columns=8, vmin=0, vmax=255, size=0.6)
    figure.savefig(Path(__file__).parent.parent / "docs" / "adjectives.png", dpi=80)


if __name__ == "__main__":
    main()
