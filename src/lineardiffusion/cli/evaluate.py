"""``evaluate``: a model against images that it has not seen.

What the law says is exact: the log-likelihood of the images under their prompts, and the error of Bayes'
rule. What pictures look like is judged by drawing one a test image, under its prompt. A classifier of real
images reads the prompts back, and both sets are compared in the principal components of real pixels; see
:mod:`lineardiffusion.metrics`. Classifier and components come from the training part, or of data without
parts from all of it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from lineardiffusion import metrics
from lineardiffusion.cli.program import answer, as_json, load, note, progress, quiet
from lineardiffusion.cli.source import open_source
from lineardiffusion._arrays import Array

_JUDGED_BY = 10_000  # real images that the classifier and the components are made from
_COMPONENTS = 64


class Judge:
    """Features of images, and a reader of prompts, both from real images."""

    def __init__(self, prompts: list[str], images: NDArray[Any]) -> None:
        rows = _rows(images)
        self._pca = PCA(min(_COMPONENTS, *rows.shape), random_state=0).fit(rows)
        self._reader = metrics.fit_classifier(prompts, images)

    def features(self, images: NDArray[Any]) -> Array:
        """(n, k) of images (n, ...), in pixel units."""
        return np.asarray(self._pca.transform(_rows(images)), np.float64)

    def right(self, images: NDArray[Any], prompts: list[str]) -> float:
        """How many of the images have their prompt read right."""
        return metrics.prompt_fidelity(self._reader, prompts, images) * len(prompts)


def _rows(images: NDArray[Any]) -> NDArray[np.float32]:
    return images.reshape(len(images), -1).astype(np.float32)


@click.command(short_help="Measure a model on data it has not seen.")
@click.argument("model")
@click.argument("data")
@click.option("-n", "count", type=click.IntRange(6), help="Images to compare; else all of the test part.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first picture.")
@quiet
@as_json
def evaluate(model: str, data: str, count: int | None, seed: int, quiet: bool, json_: bool) -> None:
    """Measure MODEL on the test part of DATA: its likelihood, its reading, and its pictures."""
    ld = load(model)
    test, train = open_source(data, "test"), open_source(data, "train")
    if not test.has_parts:
        note(f"'{data}' has no test part: all of it is measured, whether the model has seen it or not")
    judge = Judge(*train.some(min(_JUDGED_BY, len(train))))
    n = min(count or len(test), len(test))

    total: dict[str, float] = defaultdict(float)
    real, drawn = [], []
    seen = 0
    with progress(n, "evaluating") as bar:
        for prompts, images in test.batches():
            prompts, images = prompts[: n - seen], images[: n - seen]
            pictures = ld.predict(prompts, seed=[seed + seen + i for i in range(len(prompts))])
            total["log_likelihood"] += ld.score_samples(images, prompts).sum()
            total["bits_per_dim"] += ld.bits_per_dim(images, prompts).sum()
            total["classification_error"] += np.sum(ld.classify(images) != np.array(prompts))
            total["fidelity"] += judge.right(pictures, prompts)
            total["fidelity_of_real"] += judge.right(images, prompts)
            real.append(judge.features(images))
            drawn.append(judge.features(pictures))
            seen += len(prompts)
            bar.update(len(prompts))
            if seen == n:
                break
    features = np.concatenate(real), np.concatenate(drawn)
    value = {
        "images": n,
        **{name: float(figure) / n for name, figure in total.items()},
        "frechet": metrics.frechet_distance(*features),
        **metrics.precision_recall_density_coverage(*features)._asdict(),
    }
    text = [
        f"images                {n:,} real, as many drawn",
        f"log-likelihood        {value['log_likelihood']:.1f} nats an image",
        f"bits a dimension      {value['bits_per_dim']:.3f}",
        f"classification error  {value['classification_error']:.4f}",
        f"prompt fidelity       {value['fidelity']:.4f} (real images: {value['fidelity_of_real']:.4f})",
        f"Frechet distance      {value['frechet']:.4g} (squared, pixel units)",
        f"coverage              {value['coverage']:.4f}",
    ]
    answer(json_, value, "\n".join(text))
