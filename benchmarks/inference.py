"""Measure classification and inpainting: ``python benchmarks/inference.py``. Needs MNIST and the judge (judge.py).

Printed are the seconds of a known Gaussian of 3,072 independent pixels and of its laws; the error on the 10,000
test digits and the seconds of our model, of scikit-learn's logistic regression, quadratic discriminant analysis and
Gaussian mixtures; the time of inpainting; and the share of completed test digits (lower half hidden, prompts
inferred) that the judge classifies correctly, with halves alone and whole digits for comparison. speed.py compares
the time of classification with the products that it needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from judge import Judge
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_mnist

LOWER = np.broadcast_to(np.arange(28)[:, None] >= 14, (28, 28))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of `work`, and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


class Mixtures:
    """Classify by Bayes' rule with one of scikit-learn's Gaussian mixtures for each prompt, in 50 components."""

    def __init__(self, k: int) -> None:
        self.k, self.pca = k, PCA(50)

    def fit(self, rows: np.ndarray, prompts: list[str]) -> None:
        z, self.names = self.pca.fit_transform(rows), np.unique(prompts)
        own = [z[np.array(prompts) == name] for name in self.names]
        self.mixtures = [GaussianMixture(self.k, reg_covar=1e-3, random_state=0).fit(one) for one in own]

    def predict(self, rows: np.ndarray) -> np.ndarray:
        z = self.pca.transform(rows)
        return self.names[np.argmax([mixture.score_samples(z) for mixture in self.mixtures], axis=0)]


def classifiers(prompts: list[str], images: np.ndarray, test: np.ndarray, truth: np.ndarray) -> None:
    """Print the error and the seconds of each classifier."""
    flat, flat_test = images.reshape(len(images), -1) / 255.0, test.reshape(len(test), -1) / 255.0
    peers = {
        "logistic regression (scikit-learn)": LogisticRegression(max_iter=200),
        "mixtures of 30, 50 components (scikit-learn)": Mixtures(30),
        "QDA, 40 components (scikit-learn)": make_pipeline(PCA(40), QuadraticDiscriminantAnalysis()),
    }
    print(f"{'':44s} {'error':>8s} {'fit':>9s} {'classify':>9s}")
    for name, peer in peers.items():
        _, fit = timed(lambda peer=peer: peer.fit(flat, prompts))
        found, classify = timed(lambda peer=peer: peer.predict(flat_test))
        print(f"{name:44s} {(found != truth).mean():8.2%} {fit:7.1f} s {classify:7.1f} s", flush=True)
    for components, styles in ((40, 1), (50, 30)):
        ld = LinearDiffusion(components, n_styles=styles, shrinkage=0)
        _, fit = timed(lambda ld=ld: ld.fit(prompts, images))
        found, classify = timed(lambda ld=ld: ld.classify(test))
        name = f"ours, {components} components, {styles} style{'s' * (styles > 1)}"
        print(f"{name:44s} {(found != truth).mean():8.2%} {fit:7.1f} s {classify:7.1f} s", flush=True)


def completions(judge: Judge, ld: LinearDiffusion, test: np.ndarray, truth: np.ndarray) -> None:
    """Print the seconds of inpainting, and the judge's accuracy on completed digits."""
    name = f"{ld.n_components} components, {ld.n_styles} styles"
    ld.fitted_.cache.clear()
    (_, first), (_, once) = (timed(lambda: ld.inpaint(test[:1000], LOWER, seed=0)) for _ in range(2))
    masks = np.random.default_rng(0).random((100, 28, 28)) < 0.5
    _, each = timed(lambda: ld.inpaint(test[:100], masks, seed=0))
    _, given = timed(lambda: ld.inpaint(test[:100], masks, list(truth[:100]), seed=0))
    print(f"{name}: 1,000 with one mask {once:.2f} s (goal 0.8 s; first call {first:.2f} s, goal 1.8 s), "
          f"100 with a mask each {each:.1f} s (goal 6 s), prompts given {given:.1f} s")  # fmt: skip
    completed, drawn = ld.inpaint(test, LOWER, seed=0, return_prompts=True)
    accuracy = judge.accuracy(list(truth), np.clip(completed, 0, 255))
    print(f"{name}: the judge's accuracy on completed digits is {accuracy:.3f} (goal 0.90); the drawn prompt is "
          f"correct in {(drawn == truth).mean():.3f}")  # fmt: skip


def diagonal(d: int = 3072) -> None:
    """Print the seconds of the model and of the laws of a Gaussian whose pixels are independent."""
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=d), rng.uniform(size=d) ** 4
    ld, build = timed(lambda: LinearDiffusion.from_gaussian(mean, variance, schedule="vp"))
    _, exact = timed(lambda: ld.law("", start="marginal"))
    _, euler = timed(lambda: ld.law("", start="marginal", sampler="euler", space="pixels"))
    print(f"{d:,} independent pixels: from_gaussian and its exact law {build + exact:.2f} s (goal 1 s), "
          f"the law of 50 steps of euler in pixels {euler:.2f} s")  # fmt: skip


def main() -> None:
    diagonal()
    prompts, images = load_mnist("train")
    names, test = load_mnist("test")
    truth, judge = np.array(names), Judge.load("mnist")
    classifiers(prompts, images, test, truth)
    ld = LinearDiffusion(contrast="affine").fit(prompts, images)
    halves = np.where(LOWER, 0, test)
    print(f"the judge's accuracy is {judge.accuracy(names, test):.3f} on whole test digits, "
          f"{judge.accuracy(names, halves):.3f} on halves alone")  # fmt: skip
    completions(judge, ld, test, truth)
    styled = LinearDiffusion(n_styles=50, contrast="affine").fit(prompts, images)
    completions(judge, styled, test, truth)


if __name__ == "__main__":
    main()
