"""The structure of the code in figures: ``python benchmarks/structure.py``.

- lines of the package, all of them
- files of the package that a warm ``predict`` passes through, and how often it changes from one to another
- failures among 4,800 predictions with varying steps in 8 threads
- bytes in the cache after 2,000 different maps, against its bound
- time of scoring 50 images with their prompts told, against that without prompts
- time of ``lineardiffusion --version`` and ``--help`` against ``python -c pass``

It runs on scikit-learn's digits. Ratios are of medians of interleaved runs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import lineardiffusion
from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_digits

PACKAGE = Path(lineardiffusion.__file__).parent


def lines() -> int:
    return sum(len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py"))


def passage(work: Callable[[], object]) -> tuple[int, int]:
    """Return the number of files of the package that a call enters, and of changes between them."""
    entered: list[str] = []

    def profile(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            entered.append(frame.f_code.co_filename)

    sys.setprofile(profile)
    work()
    sys.setprofile(None)
    return len(set(entered)), sum(a != b for a, b in pairwise(entered))


def failures(ld: LinearDiffusion) -> int:
    """Return how many of 4,800 predictions in 8 threads raise an error or draw another picture."""
    steps = range(1, 41)
    expected = {n: ld.predict(["7"], seed=n, sampler="ddim", num_steps=n) for n in steps}

    def work(thread: int) -> int:
        wrong = 0
        for i in range(600):
            n = steps[(7 * i + thread) % len(steps)]
            try:
                wrong += not np.array_equal(ld.predict(["7"], seed=n, sampler="ddim", num_steps=n), expected[n])
            except Exception:
                wrong += 1
        return wrong

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(work, range(8)))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(a: Callable[[], object], b: Callable[[], object], repeats: int = 15) -> tuple[float, float]:
    """Return the medians of interleaved runs."""
    a(), b()
    pairs = [(seconds(a), seconds(b)) for _ in range(repeats)]
    first, second = (statistics.median(side) for side in zip(*pairs, strict=True))
    return first, second


def run(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def main() -> None:
    prompts, images = load_digits()
    ld = LinearDiffusion().fit(prompts, images)
    ld.predict(["7", "3"], seed=137)
    print(f"lines of the package: {lines():,}")
    files, changes = passage(lambda: ld.predict(["7", "3"], seed=137))
    print(f"a warm predict passes through {files} files and changes file {changes} times")
    print(f"failures among 4,800 predictions in 8 threads: {failures(ld)}")

    bounded = LinearDiffusion(cache_memory=20e6).fit(prompts, images)
    for n in range(1, 2001):
        bounded.law("7", sampler="ddim", num_steps=n % 200 + 1, guidance_scale=1 + n // 200 / 100)
    print(f"bytes cached after 2,000 maps: {bounded.fitted_.cache.nbytes:,} of {20_000_000:,} allowed")

    told, untold = ratio(lambda: ld.score_samples(images[:50], prompts[:50]), lambda: ld.score_samples(images[:50]))
    print(f"scoring 50 images, prompts told / not told: {1e3 * told:.1f} / {1e3 * untold:.1f} ms")
    for option in ("--version", "--help"):
        ours, bare = ratio(run("-m", "lineardiffusion", option), run("-c", "pass"), 9)
        print(f"{option} / python -c pass: {1e3 * ours:.0f} / {1e3 * bare:.0f} ms = {ours / bare:.1f} x")


if __name__ == "__main__":
    main()
