"""Measure quality, variety and copying: ``python benchmarks/styles.py [mnist|fashion-mnist] [--curve]``.

10,000 images, 1,000 a prompt, as many real training images and the original's are compared with the real test set
(judge.py trains the judge):

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

``--curve`` measures the same for 1 to 200 styles.
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

EACH = 1000


class Table:
    """Table with a row for each model."""

    def __init__(self, name: str) -> None:
        self.judge = Judge.load(name)
        self.train_prompts, self.train = LOADERS[name]("train")
        self.test_prompts, self.test = LOADERS[name]("test")
        self.features = self.judge.features(self.test)
        print(f"{name:34s} right  frechet  recall  coverage  trained  copying  share  one         fit", flush=True)

    def row(self, name: str, prompts: list[str], images: np.ndarray, ld: LinearDiffusion | None, s: float) -> None:
        """Measure images, which a model drew if one is given, and print one row with its seconds."""
        images = np.clip(images, 0, 255)
        features = self.judge.features(images)
        _, recall, _, coverage = precision_recall_density_coverage(self.features, features)
        trained = train_on_synthetic(prompts, images, self.test_prompts, self.test)
        copies = " " * 29  # real training images are copies
        if ld is not None:
            pairs = (prompts, images), (self.test_prompts, self.test)
            styles, test_styles = (nearest_style(ld, *pair) for pair in pairs)
            found = copying(*pairs[0], *pairs[1], self.train, groups=styles, test_groups=test_styles)
            one = f"{found.concentration:.3f} ({found.concentration_of_test:.3f})"
            copies = f"{found.ratio:7.2f}  {found.share:5.3f}  {one}"
        print(
            f"{name:34s} {self.judge.accuracy(prompts, images):.3f}  "
            f"{frechet_distance(features, self.features):7.2f}  {recall:6.3f}  {coverage:8.3f}  {trained:7.3f}  "
            f"{copies}  {s:.1f} s",
            flush=True,
        )

    def model(self, name: str, ld: LinearDiffusion) -> None:
        """Fit a model, draw from it, and print its row."""
        start = time.perf_counter()
        ld.fit(self.train_prompts, self.train)
        seconds = time.perf_counter() - start
        prompts = sorted(set(self.train_prompts)) * EACH
        self.row(name, prompts, ld.predict(prompts, seed=137), ld, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="mnist", choices=list(LOADERS))
    parser.add_argument("--curve", action="store_true")
    arguments = parser.parse_args()
    table = Table(arguments.name)
    if arguments.curve:
        for n_styles in (1, 10, 30, 50, 100, 200):
            ld = LinearDiffusion(200, n_styles=n_styles, contrast="affine")
            table.model(f"{n_styles} styles", ld)
        return
    real = np.random.default_rng(0).choice(len(table.train), 10 * EACH, replace=False)
    table.row("real training images", [table.train_prompts[i] for i in real], table.train[real], None, 0.0)
    table.model("50 styles, affine contrast", LinearDiffusion(n_styles=50, contrast="affine"))
    table.model("the same, 200 components", LinearDiffusion(200, n_styles=50, contrast="affine"))
    table.model("50 styles", LinearDiffusion(n_styles=50))
    table.model("default model", LinearDiffusion())
    table.model("the original", LinearDiffusion(sampler="one_step", scale=True, shrinkage=0))


if __name__ == "__main__":
    main()
