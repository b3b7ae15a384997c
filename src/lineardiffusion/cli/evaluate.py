"""Measure a model on images that it was not fitted to: the command ``evaluate``.

The log-likelihood given the prompts and the error of Bayes' rule are exact. The other measures, those of
:mod:`lineardiffusion.metrics`, compare the test images with one sample from each of their prompts. They use a
classifier and principal components of the training part of the data, or of all of it if it has no parts.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import click

import lineardiffusion
from lineardiffusion.cli.common import command, note, progress

_REFERENCE_SIZE = 10_000  # real images to which the classifier and the components are fitted
_COMPONENTS = 64


@command
@click.argument("model")
@click.argument("data")
@click.option("-n", "count", type=click.IntRange(6), help="Number of test images to use (default: all of them).")
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of the first sample.")
def evaluate(model: str, data: str, count: int | None, seed: int) -> tuple[Any, str]:
    """Measure MODEL on test DATA: likelihood, classification, samples."""
    import numpy as np
    from sklearn.decomposition import PCA

    from lineardiffusion import metrics
    from lineardiffusion.cli.source import open_source

    def flatten(images: Any) -> Any:
        return images.reshape(len(images), -1).astype(np.float32)

    ld = lineardiffusion.LinearDiffusion.from_pretrained(model)
    test, train = open_source(data, "test"), open_source(data, "train")
    if not test.has_parts:
        note(f"'{data}' has no test part: using all of it, which may include training images")
    n = min(count or len(test), len(test))
    reference_prompts, reference = train.take(_REFERENCE_SIZE)
    classifier = metrics.fit_classifier(reference_prompts, reference)
    rows = flatten(reference)
    pca = PCA(min(_COMPONENTS, *rows.shape), random_state=0).fit(rows)

    total: dict[str, float] = defaultdict(float)
    real, generated = [], []
    seeds = itertools.count(seed)
    with progress(n, "evaluating") as advance:
        for prompts, images in test.batches(n):
            size = len(prompts)
            samples = ld.predict(prompts, seed=list(itertools.islice(seeds, size)))
            total["log_likelihood"] += ld.score_samples(images, prompts).sum()
            total["bits_per_dim"] += ld.bits_per_dim(images, prompts).sum()
            total["classification_error"] += np.sum(ld.classify(images) != np.array(prompts))
            total["fidelity"] += size * metrics.prompt_fidelity(classifier, prompts, samples)
            total["fidelity_of_real"] += size * metrics.prompt_fidelity(classifier, prompts, images)
            real.append(pca.transform(flatten(images)))
            generated.append(pca.transform(flatten(samples)))
            advance(size)
    features = np.concatenate(real), np.concatenate(generated)
    value = {
        "images": n,
        **{name: float(figure) / n for name, figure in total.items()},
        "frechet": metrics.frechet_distance(*features),
        **metrics.precision_recall_density_coverage(*features)._asdict(),
    }
    text = [
        f"images                {n:,} real and as many generated",
        f"log-likelihood        {value['log_likelihood']:.1f} nats per image",
        f"bits per dimension    {value['bits_per_dim']:.3f}",
        f"classification error  {value['classification_error']:.4f}",
        f"prompt fidelity       {value['fidelity']:.4f} (real images: {value['fidelity_of_real']:.4f})",
        f"Frechet distance      {value['frechet']:.4g} (squared, pixel units)",
        f"coverage              {value['coverage']:.4f}",
    ]
    return value, "\n".join(text)
