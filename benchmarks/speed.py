"""Measure speed and memory, each as a ratio of two sides in one run: ``python benchmarks/speed.py``.

Needs MNIST ($LINEARDIFFUSION_DATA). Runs of the two sides alternate, and the ratio is that of their medians, so
the load of other programs affects both. ``--only predict``, ``classify``, ``inpaint`` or ``prompts`` measures these
alone. ``--original`` adds a plain implementation of the original, which takes a minute and 4 GB.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_mnist

REPEATS = 9
PROMPTS = [str(i % 10) for i in range(10_000)]
LOWER = np.broadcast_to(np.arange(28)[:, None] >= 14, (28, 28))


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(what: str, ours: Callable[[], object], other: Callable[[], object], goal: float) -> None:
    """Print the ratio of the medians of alternating runs."""
    ours(), other()
    pairs = [(seconds(ours), seconds(other)) for _ in range(REPEATS)]
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    best = min(x for x, _ in pairs) / min(y for _, y in pairs)
    print(f"{what:62s} {a:8.3f} s {b:8.3f} s {a / b:7.2f} x  (best {best:.2f} x; goal {goal:g} x)")


def original(prompts: list[str], images: np.ndarray) -> None:
    """Fit the original plainly: one noise an image, all features, one regression."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    z = make_pipeline(StandardScaler(), PCA(144)).fit_transform(images.reshape(len(images), -1))
    e = OneHotEncoder(sparse_output=False, drop="first").fit_transform(np.reshape(prompts, (-1, 1)))
    noise = np.random.default_rng(1337).normal(size=z.shape)
    noisy = z + noise
    products = [noisy * e[:, i : i + 1] for i in range(e.shape[1])]
    LinearRegression().fit(np.concatenate([noisy, e, *products], axis=1), noise)


def peak_over_data() -> float:
    """Return the MB that fit takes over the data, measured in a process of its own."""
    code = (
        "import resource;from lineardiffusion import LinearDiffusion;"
        "from lineardiffusion.datasets import load_mnist;d=load_mnist();"
        "LinearDiffusion(4).fit(d[0][:50], d[1][:50]);"
        "a=int(open('/proc/self/statm').read().split()[1])*resource.getpagesize()/1024;"
        "open('/proc/self/clear_refs','w').write('5');"
        "LinearDiffusion().fit(*d);"
        "b=int([l for l in open('/proc/self/status') if 'VmHWM' in l][0].split()[1]);"
        "print((b-a)/1024)"
    )
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)


def predict(ld: LinearDiffusion) -> None:
    """Compare drawing with the noise and the product that it needs, and many steps with few."""
    components = ld.components_.astype(np.float32)

    def draw(num_steps: int, cold: bool) -> None:
        if cold:
            ld.fitted_.cache.clear()
        ld.predict(PROMPTS, seed=137, sampler="ddim", num_steps=num_steps)

    def bare() -> None:
        noise = np.random.default_rng(137).normal(size=(10_000, 144))
        noise.astype(np.float32) @ components

    compare("predict of 10,000: ddim, 1,000 steps / 10 steps (first call)",
            lambda: draw(1000, True), lambda: draw(10, True), 1.2)  # fmt: skip
    compare("predict of 10,000: ddim, 1,000 steps / 10 steps (later calls)",
            lambda: draw(1000, False), lambda: draw(10, False), 1.2)  # fmt: skip
    compare("predict of 10,000 (later calls) / noise and one float32 product",
            lambda: draw(1000, False), bare, 1.4)  # fmt: skip
    compare("predict of 10,000 (exact) / noise and one float32 product",
            lambda: ld.predict(PROMPTS, seed=137), bare, 1.4)  # fmt: skip


def classify(ld: LinearDiffusion, test: np.ndarray) -> None:
    """Compare classification with encoding and one product a prompt, all in double precision."""
    V, square = ld.components_.T.copy(), np.eye(ld.n_components_)
    rows = test.reshape(len(test), -1).astype(np.float64)

    def bare() -> None:
        z = rows @ V
        for _ in ld.prompts_:
            z @ square

    compare("classify 10,000 by 10 prompts / its products in float64", lambda: ld.classify(test), bare, 0.8)
    compare("classify_proba of the same / its products in float64", lambda: ld.classify_proba(test), bare, 1.5)


def inpaint(ld: LinearDiffusion, test: np.ndarray) -> None:
    """Measure completion by a model with styles, and the cost of inferring prompts against given ones."""
    masks = np.random.default_rng(0).random((100, 28, 28)) < 0.5

    def first() -> None:
        ld.fitted_.cache.clear()
        ld.inpaint(test[:1000], LOWER, seed=0)

    def once() -> None:
        ld.inpaint(test[:1000], LOWER, seed=0)

    compare("inpaint 1,000 with one mask, 50 styles: first call / later calls", first, once, 2.2)
    compare("inpaint 100 with a mask each / 1,000 with one mask, 50 styles",
            lambda: ld.inpaint(test[:100], masks, seed=0), once, 7.5)  # fmt: skip


def many_prompts(images: np.ndarray) -> None:
    """Compare a model of 1,000 prompts with one of 10, on 2,000 images."""
    models = {p: LinearDiffusion().fit([str(i % p) for i in range(len(images))], images) for p in (10, 1000)}

    def draw(p: int, cold: bool) -> None:
        if cold:
            models[p].fitted_.cache.clear()
        models[p].predict([str(i % p) for i in range(2000)], seed=0)

    for when, cold in (("first call", True), ("later calls", False)):
        compare(f"predict of 2,000: 1,000 prompts / 10 prompts ({when})",
                lambda cold=cold: draw(1000, cold), lambda cold=cold: draw(10, cold), 4.0)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["predict", "classify", "inpaint", "prompts"], help="measure one alone")
    parser.add_argument("--original", action="store_true", help="measure the original too")
    arguments = parser.parse_args()

    prompts, images = load_mnist()
    test, only = load_mnist("test")[1], arguments.only
    print(f"{'':62s} {'ours':>10s} {'other':>10s} {'ratio':>9s}")
    if only in (None, "predict", "classify"):
        ld = LinearDiffusion().fit(prompts, images)
    if only in (None, "predict"):
        predict(ld)
    if only in (None, "classify"):
        classify(ld, test)
    if only in (None, "inpaint"):
        inpaint(LinearDiffusion(n_styles=50, contrast="affine").fit(prompts, images), test)
    if only in (None, "prompts"):
        many_prompts(images)
    if only is None:
        fit(prompts, images, arguments.original)


def fit(prompts: list[str], images: np.ndarray, with_original: bool) -> None:
    """Compare fitting with the bare product of the data, and with the original."""
    X = images.reshape(len(images), -1).astype(np.float32)
    compare("fit of 70,000 digits / float32 product X.T @ X",
            lambda: LinearDiffusion().fit(prompts, images), lambda: X.T @ X, 2.0)  # fmt: skip
    print(f"memory over the data during fit: {peak_over_data():.0f} MB (goal 250 MB)")
    if with_original:
        ours = min(seconds(lambda: LinearDiffusion().fit(prompts, images)) for _ in range(3))
        theirs = seconds(lambda: original(prompts, images))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"original / ours: {theirs:.1f} s / {ours:.2f} s = {theirs / ours:.0f} x faster "
              f"(goal 50 x); the original's peak {peak:.1f} GB")  # fmt: skip


if __name__ == "__main__":
    main()
