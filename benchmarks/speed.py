"""Measure speed and memory, each as a ratio of two sides in one run: ``python benchmarks/speed.py``.

Needs MNIST ($LINEARDIFFUSION_DATA). Runs of the two sides alternate, and the ratio is that of their medians, so
the load of other programs affects both. ``--original`` adds a plain implementation of the original, which takes a
minute and 4 GB.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--original", action="store_true", help="measure the original too")
    arguments = parser.parse_args()

    prompts, images = load_mnist()
    X = images.reshape(len(images), -1).astype(np.float32)
    print(f"{'':62s} {'ours':>10s} {'other':>10s} {'ratio':>9s}")
    compare("fit of 70,000 digits / float32 product X.T @ X",
            lambda: LinearDiffusion().fit(prompts, images), lambda: X.T @ X, 2.0)  # fmt: skip
    ld = LinearDiffusion().fit(prompts, images)
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
            lambda: draw(1000, False), bare, 3.0)  # fmt: skip
    compare("predict of 10,000 (exact) / noise and one float32 product",
            lambda: ld.predict(PROMPTS, seed=137), bare, 3.0)  # fmt: skip
    print(f"memory over the data during fit: {peak_over_data():.0f} MB (goal 250 MB)")
    if arguments.original:
        ours = min(seconds(lambda: LinearDiffusion().fit(prompts, images)) for _ in range(3))
        theirs = seconds(lambda: original(prompts, images))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"original / ours: {theirs:.1f} s / {ours:.2f} s = {theirs / ours:.0f} x faster "
              f"(goal 50 x); the original's peak {peak:.1f} GB")  # fmt: skip


if __name__ == "__main__":
    main()
