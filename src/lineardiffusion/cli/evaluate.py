"""Measure a model on images that it was not fitted to: the command ``evaluate``.

The log-likelihood given the prompts and the error of Bayes' rule are exact. The other measures, those of
:mod:`lineardiffusion.metrics`, compare the test images with one sample from each of their prompts. They use a
classifier and principal components of the training part of the data. The same measures of as many training images
stand beside: a model whose samples are as good as real images reaches them. Copying is measured in the components
too, where noise increases the distance of a copy less than in the pixels, and among at most 60,000 training images.
The values that test images have stand beside. One half of data without parts counts as its test part.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import click

import lineardiffusion
from lineardiffusion.cli import common

_REFERENCE_SIZE = 10_000  # real images to which the classifier and the components are fitted
_TRAINING_SIZE = 60_000  # training images among which copies are looked for, which bounds the time
_COMPONENTS = 64


@common.command
@common.model_argument
@common.data_argument
@click.option("-n", "count", type=click.IntRange(6), help="Number of test images to use (default: all of them).")
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of the first sample.")
@common.resize_option
@common.skip_bad_option
def evaluate(model: str, data: str, count: int | None, seed: int, resize: bool, skip_bad: bool) -> tuple[Any, str]:
    """Measure MODEL on test DATA: likelihood, classification, samples."""
    import numpy as np
    from sklearn.decomposition import PCA

    from lineardiffusion import metrics
    from lineardiffusion.cli.source import open_source

    def flatten(images: Any) -> Any:
        return images.reshape(len(images), -1).astype(np.float32)

    ld = lineardiffusion.LinearDiffusion.from_pretrained(model)
    test = open_source(data, "test", model=ld, resize=resize, skip_bad=skip_bad)
    if test.has_parts:
        train = open_source(data, "train", model=ld, resize=resize, skip_bad=skip_bad)
    else:
        common.note(f"'{data}' has no test part: testing on one half, which may include training images of MODEL")
        test, train = test.halves()
    n = min(count or len(test), len(test))
    reference_prompts, reference = train.take(_REFERENCE_SIZE)
    classifier = metrics.fit_classifier(reference_prompts, reference)
    rows = flatten(reference)
    pca = PCA(min(_COMPONENTS, *rows.shape), random_state=0).fit(rows)

    total: dict[str, float] = defaultdict(float)
    real, generated = [], []
    words: list[str] = []
    styles: list[str] = []
    real_styles: list[str] = []
    seeds = itertools.count(seed)
    with common.progress(n, "evaluating") as advance:
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
            words += prompts
            styles += metrics.nearest_style(ld, prompts, samples)
            real_styles += metrics.nearest_style(ld, prompts, images)
            advance(size)
    features, drawn = np.concatenate(real), np.concatenate(generated)

    def compare(others: Any) -> dict[str, float]:
        measures = metrics.precision_recall_density_coverage(features, others)._asdict()
        return {"frechet": metrics.frechet_distance(features, others), **measures}

    means = {name: float(figure) / n for name, figure in total.items()}
    value = {"images": n, **means, **compare(drawn)}
    of_real: dict[str, Any] = {"images": len(rows[:n]), **compare(pca.transform(rows[:n]))}
    text = [
        f"images                {n:,} test images and as many generated; in brackets {of_real['images']:,} real",
        f"log-likelihood        {value['log_likelihood']:.1f} nats per image",
        f"bits per dimension    {value['bits_per_dim']:.3f}",
        f"classification error  {value['classification_error']:.4f}",
        f"prompt fidelity       {value['fidelity']:.4f} (test images: {value['fidelity_of_real']:.4f})",
        f"Frechet distance      {value['frechet']:.4g} ({of_real['frechet']:.4g}), squared, pixel units",
    ]
    text += [f"{name:<22}{value[name]:.4f} ({of_real[name]:.4f})" for name in ("precision", "recall", "coverage")]
    training = np.concatenate([pca.transform(flatten(images)) for _, images in train.batches(_TRAINING_SIZE)])
    try:
        copying = metrics.copying(words, drawn, words, features, training, groups=styles, test_groups=real_styles)
    except ValueError as error:
        common.note(f"copying is not measured: {error}")
    else:
        value |= {f"copying_{name}": figure for name, figure in copying._asdict().items()}
        fair = max(0.05, 1 / (n + 1))
        error_of_fair = (fair * (1 - fair) * 2 / n) ** 0.5
        text += [
            f"copying ratio         {copying.ratio:.4f} (real images: 1)",
            f"copying share         {copying.share:.4f} (real images: {fair:.2g} +- {error_of_fair:.2g})",
        ]
        if copying.concentration is not None and copying.concentration_of_test is not None:
            of_test = copying.concentration_of_test
            text += [f"concentration         {copying.concentration:.4f} (test images: {of_test:.4f})"]
    return {**value, "real": of_real}, "\n".join(text)
