"""Measure quality, variety and copying: ``python benchmarks/styles.py [mnist|fashion-mnist] [--curve]``.

Images of the 10,000 prompts of the test set, 10,000 real training images and the original's are compared with the
real test set (judge.py trains the judge). The figures of a model are means over two seeds of the draws:

    right      accuracy of the judge
    frechet    Frechet distance in the judge's features to the 10,000 test images
    recall     share of the test images that are nearer, in the features, to some generated image than the fifth
               nearest other generated image is to it (Kynkaanniemi et al. 2019)
    coverage   share of the test images that have a generated image nearer, in the features, than their fifth
               nearest other test image (Naeem et al. 2020)
    trained    accuracy on the test set of a logistic regression trained on the 10,000 images
    copying    median distance of an image to the nearest training image, relative to that of test images
    share      share of the images that are nearer to a training image than the 5 % quantile of the test images of
               their prompt (real images: .05, with a standard error of .003)
    one        concentration: share of a style's images that are nearest to one and the same training image; in
               brackets that of the test images (`lineardiffusion.metrics.copying`, in pixels)

``--curve`` measures the same for 1 to 200 styles, and for each rank of styles.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from judge import LOADERS, Judge

from lineardiffusion import LinearDiffusion
from lineardiffusion.metrics import (
    copying,
    frechet_distance,
    nearest_style,
    precision_recall_density_coverage,
    train_on_synthetic,
)
from lineardiffusion.style_rank import RANKS

SEEDS = 137, 138
CHOSEN = {"n_styles": "auto", "contrast": "pixelwise"}  # as README recommends


class Table:
    """Table with a row for each model."""

    def __init__(self, name: str) -> None:
        self.judge = Judge.load(name)
        self.train_prompts, self.train = LOADERS[name]("train")
        self.test_prompts, self.test = LOADERS[name]("test")
        self.features = self.judge.features(self.test)
        print(
            f"{name:34s} right  frechet  recall  coverage  trained  copying  share  one             fit", flush=True
        )

    def measure(self, prompts: list[str], images: np.ndarray, ld: LinearDiffusion | None = None) -> list[float]:
        """Return the figures of images; those of copying if a model drew them."""
        images = np.clip(images, 0, 255)
        features = self.judge.features(images)
        _, recall, _, coverage = precision_recall_density_coverage(self.features, features)
        trained = train_on_synthetic(prompts, images, self.test_prompts, self.test)
        right, frechet = self.judge.accuracy(prompts, images), frechet_distance(features, self.features)
        figures = [right, frechet, recall, coverage, trained]
        if ld is None:  # real training images are copies
            return figures
        pairs = (prompts, images), (self.test_prompts, self.test)
        styles, test_styles = (nearest_style(ld, *pair) for pair in pairs)
        found = copying(*pairs[0], *pairs[1], self.train, groups=styles, test_groups=test_styles)
        return [*figures, found.ratio, found.share, found.concentration, found.concentration_of_test]

    def row(self, name: str, figures: np.ndarray, rest: str = "") -> None:
        """Print one row."""
        widths = "{:.3f}  {:7.2f}  {:6.3f}  {:8.3f}  {:7.3f}", "  {:7.2f}  {:5.3f}  {:.3f} ({:.3f})"
        row = widths[0] + (widths[1] if len(figures) > 5 else "")
        print(f"{name:34s} {row.format(*figures)}  {rest}", flush=True)

    def model(self, name: str, ld: LinearDiffusion, seconds: float | None = None) -> None:
        """Fit a model unless its seconds are given, draw from it, and print its row."""
        if seconds is None:
            start = time.perf_counter()
            ld.fit(self.train_prompts, self.train)
            seconds = time.perf_counter() - start
        prompts = list(self.test_prompts)
        figures = [self.measure(prompts, ld.predict(prompts, seed=seed), ld) for seed in SEEDS]
        rank = f", rank {ld.style_rank_:g}" if ld.statistics_.styles is not None else ""
        self.row(name, np.mean(figures, axis=0), f"  {seconds:.1f} s{rank}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="mnist", choices=list(LOADERS))
    parser.add_argument("--curve", action="store_true")
    arguments = parser.parse_args()
    table = Table(arguments.name)
    if arguments.curve:
        for n_styles in (1, 10, 30, 50, 100, 200):
            table.model(f"{n_styles} styles", LinearDiffusion(**{**CHOSEN, "n_styles": n_styles}))
        ld = LinearDiffusion(**CHOSEN).fit(table.train_prompts, table.train)
        for rank in RANKS:
            ld.refit(style_rank=rank)
            table.model("automatic styles", ld, 0.0)
        return
    real = np.random.default_rng(0).choice(len(table.train), len(table.test), replace=False)
    table.row("real training images", table.measure([table.train_prompts[i] for i in real], table.train[real]))
    table.model("automatic styles, pixelwise", LinearDiffusion(**CHOSEN))
    table.model("the same, 300 components", LinearDiffusion(300, **CHOSEN))
    table.model("the same, affine contrast", LinearDiffusion(300, n_styles="auto", contrast="affine"))
    table.model("50 styles, affine contrast", LinearDiffusion(n_styles=50, contrast="affine"))
    table.model("one Gaussian, pixelwise", LinearDiffusion(contrast="pixelwise"))
    table.model("default model", LinearDiffusion())
    table.model("the original", LinearDiffusion(sampler="one_step", scale=True, shrinkage=0))


if __name__ == "__main__":
    main()
