"""Measure large images, streams, data on disk, a cluster, and how the cost grows: ``python benchmarks/scale.py``.

Each part is printed as it is measured; name some of them to run only these. ``batches`` and ``slopes`` need MNIST
($LINEARDIFFUSION_DATA), ``cluster`` needs Dask, ``disk`` writes a file of 20 GB into --folder and deletes it.
Memory is measured in a process of its own. Ratios are of medians of alternating runs.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import in_batches, load_mnist

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "scale.png"
GIGABYTE = 10**9
IMAGE = (64, 64, 3)


def make(n: int, side: int, seed: int = 0, classes: int = 10) -> tuple[list[str], np.ndarray]:
    """Make n colour images (side, side, 3) of bytes with the spectrum of photographs and a mean for each prompt."""
    prompts = np.random.default_rng([seed, 1]).integers(0, classes, n)
    rng = np.random.default_rng([seed, 2])
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    amplitude = (1 / np.maximum(frequency, 1 / side) ** 1.2)[..., None]

    def draw(count: int, rng: np.random.Generator) -> np.ndarray:
        shape = count, side, side // 2 + 1, 3
        noise = rng.normal(size=shape) + 1j * rng.normal(size=shape)
        return np.fft.irfft2(noise * amplitude, axes=(1, 2), s=(side, side))

    means, colours = draw(classes, np.random.default_rng(0)), [[1, 0.6, 0.5], [0.6, 1, 0.7], [0.5, 0.7, 1]]
    images = np.empty((n, side, side, 3), np.uint8)
    for start in range(0, n, 500):
        own = prompts[start : start + 500]
        x = draw(len(own), rng) @ np.array(colours) + means[own]
        images[start : start + 500] = np.clip(128 + 45 * x / x.std(), 0, 255)
    return [str(u) for u in prompts], images


def anonymous() -> float:
    """Return the MB of this process that no file backs."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


def peak_over(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds that a call takes, and the most anonymous MB over those before it."""
    before, peak, done = anonymous(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return seconds, peak[0] - before


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def warm_up() -> None:
    """Import and start what the first fit needs."""
    LinearDiffusion(4).fit(*make(600, 24))


# ---------------------------------------------------------------------- large images


def _fit_large(n: int) -> tuple[float, float]:
    data = make(n, 64)
    warm_up()
    return peak_over(lambda: LinearDiffusion().fit(*data).fitted_)


def large() -> None:
    seconds, megabytes = apart(_fit_large, 13_000)
    print(f"fit of 13,000 images of 64 x 64 x 3 under 10 prompts: {seconds:.1f} s (goal 8 s), "
          f"{megabytes:.0f} MB over the data (goal 300 MB)")  # fmt: skip
    prompts, images = make(4000, 32)
    rows = images.reshape(len(images), -1).astype(np.float64)
    scatter = np.cov(rows, rowvar=False, bias=True)
    exact = float(np.linalg.eigvalsh(scatter)[-144:].sum())
    for tolerance in (1e-2, 1e-3, 1e-4):
        V = LinearDiffusion(basis_tolerance=tolerance).fit(prompts, images).components_
        share = np.einsum("ij,jk,ik->", V, scatter, V, optimize=True) / exact
        print(f"  4,000 images of 32 x 32 x 3, basis_tolerance {tolerance:g}: {share:.6f} of the variance of the "
              "exact 144 components")  # fmt: skip


# ---------------------------------------------------------------------- streams


def batches() -> None:
    prompts, images = load_mnist()
    cut = in_batches(prompts, images, batch_size=500)
    both = [lambda: LinearDiffusion().fit(prompts, images), lambda: LinearDiffusion().fit_batches(cut)]
    pairs = [[_seconds(work) for work in both] for _ in range(10)][1:]
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(y / x for x, y in pairs)
    print(f"fit_batches of MNIST by 500 / fit: {b:.2f} s / {a:.2f} s = {b / a:.2f} (goal 1.1); median of the "
          f"ratios of neighbouring runs {ratio:.2f}")  # fmt: skip


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _read(path: Path, n: int) -> None:
    mapped = np.memmap(path, np.uint8, "r", shape=(n, *IMAGE))
    for start in range(0, n, 1000):
        mapped[start : start + 1000].max()


def _fit_disk(path: Path, n: int, n_components: int) -> tuple[float, float, int]:
    prompts = np.arange(n) % 10
    mapped = np.memmap(path, np.uint8, "r", shape=(n, *IMAGE))
    passes = [0]

    def progress(number: int, _: int) -> None:
        passes[0] = number

    warm_up()
    ld = LinearDiffusion(n_components)
    work = functools.partial(ld.fit_batches, in_batches(prompts, mapped, batch_size=1000), progress=progress)
    return *peak_over(work), passes[0]


def disk(folder: str, gigabytes: list[float], n_components: int) -> None:
    block = make(6000, 64)[1]
    size = int(np.prod(IMAGE))
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path = Path(name, "images")
        with open(path, "wb") as file:
            for one in sorted(gigabytes):
                n = int(one * GIGABYTE) // size
                while (written := file.tell() // size) < n:
                    block = block[::-1] ^ 1 if written else block
                    file.write(block[: n - written].data)
                file.flush()
                reading = apart(functools.partial(_seconds, functools.partial(_read, path, n)))
                seconds, megabytes, passes = apart(_fit_disk, path, n, n_components)
                rates = [passes * one * 1000 / seconds, one * 1000 / reading]
                print(f"fit_batches of {one:g} GB on disk, {n:,} images of 64 x 64 x 3, {n_components} components: "
                      f"{seconds:.0f} s in {passes} passes, {rates[0]:.0f} MB/s (reading alone {rates[1]:.0f}), at "
                      f"most {megabytes:.0f} MB of memory", flush=True)  # fmt: skip


def _fit_latents(n_batches: int) -> list[tuple[float, float]]:
    warm_up()
    ld = LinearDiffusion()
    found = [peak_over(functools.partial(ld.fit_basis, make(1000, 128, seed=100)[1]))]
    for seed in range(n_batches):
        before = anonymous()
        seconds, over = peak_over(functools.partial(ld.partial_fit, *make(250, 128, seed=seed)))
        found.append((seconds, before + over))
    return found


def latents() -> None:
    (seconds, megabytes), *rest = apart(_fit_latents, 40)
    each = statistics.median(one for one, _ in rest)
    print(f"fit_basis on 1,000 images of 128 x 128 x 3: {seconds:.1f} s, {megabytes:.0f} MB over the data")
    early, late = (max(one for _, one in part) for part in (rest[:10], rest[-10:]))
    print(f"  partial_fit of 40 batches of 250: {each:.2f} s each; process at most "
          f"{early:.0f} MB in the first ten, {late:.0f} MB in the last ten")  # fmt: skip


# ---------------------------------------------------------------------- a cluster


def _part_of_mnist(number: int, count: int) -> tuple[Any, Any]:
    prompts, images = load_mnist()
    return prompts[number::count], images[number::count]


def cluster() -> None:
    import dask
    import psutil
    from distributed import Client, LocalCluster

    from lineardiffusion import distributed

    def sent() -> int:
        return psutil.net_io_counters(pernic=True)["lo"].bytes_sent

    total = distributed.Cluster.total
    passes: list[str] = []

    def counted(self: Any, measure: Any, add: Any = None) -> Any:
        before, start = sent(), time.perf_counter()
        found = total(self, measure, *([add] if add else []))
        travelled = sent() - before
        passes.append(f"{travelled / 1e6:.1f} MB and {time.perf_counter() - start:.1f} s")
        return found

    distributed.Cluster.total = counted  # type: ignore[method-assign]
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as local,
        Client(local) as client,
    ):
        client.run(warm_up)
        mnist = load_mnist()
        for what, blocks, parameters, data in [
            ("MNIST in 14 blocks", [functools.partial(_part_of_mnist, i, 14) for i in range(14)], {}, mnist),
            ("MNIST, 10 styles", [functools.partial(_part_of_mnist, i, 14) for i in range(14)],
             {"n_styles": 10}, mnist),
            ("8,000 images of 64 x 64 x 3 in 8 blocks", [functools.partial(make, 1000, 64, i) for i in range(8)],
             {}, None),
        ]:  # fmt: skip
            passes.clear()
            loading = 0.0
            if data is None:
                loading = _seconds(blocks[0])
                parts = [block() for block in blocks]
                data = [u for part in parts for u in part[0]], np.concatenate([part[1] for part in parts])
            model = functools.partial(LinearDiffusion, **parameters)
            kept = client.persist([dask.delayed(block)() for block in blocks])
            alone = _seconds(functools.partial(_solved, model().fit, *data))
            together = _seconds(functools.partial(_solved, distributed.fit, client, blocks, model()))
            there = _seconds(functools.partial(_solved, distributed.fit, client, kept, model()))
            print(f"{what}: two workers {together:.1f} s (blocks in their memory: {there:.1f} s), fit "
                  f"{alone:.1f} s" + f" (making a block takes {loading:.1f} s)" * bool(loading))  # fmt: skip
            half = len(passes) // 2
            for where, part in (("made by them", passes[:half]), ("in their memory", passes[half:])):
                print(f"  sent in each pass, blocks {where}: {'; '.join(part)}", flush=True)


def _solved(fit: Callable[..., LinearDiffusion], *arguments: Any) -> None:
    _ = fit(*arguments).fitted_


# ---------------------------------------------------------------------- how the cost grows


def slopes() -> None:
    import matplotlib.pyplot as plt

    prompts, images = load_mnist()
    names, rng = np.array(prompts), np.random.default_rng(0)

    def cost(x: Any, labels: Any, **parameters: Any) -> float:
        def work() -> float:
            start = time.process_time()
            LinearDiffusion(**parameters).fit(list(labels), x).fitted_  # noqa: B018
            return time.process_time() - start

        with threadpool_limits(1, "blas"):  # threads that wait for each other count as CPU time
            return min(work() for _ in range(2))

    def resized(side: int) -> np.ndarray:
        index = np.arange(side) * 28 // side
        noise = rng.integers(0, 8, (10_000, side, side), dtype=np.uint8) // 4
        return images[:10_000][:, index][:, :, index] // 2 + noise

    def labels(k: int) -> np.ndarray:
        return rng.permutation(np.arange(20_000) % k).astype(str)

    few, known = images[:20_000], names[:20_000]
    panels: list[tuple[str, list[int], Callable[[int], float]]] = [
        ("images (MNIST)", [4375, 8750, 17500, 35000, 70000], lambda n: cost(images[:n], names[:n])),
        ("pixels (10,000 images, 144 components)", [14**2, 20**2, 28**2, 40**2, 56**2, 80**2],
         lambda D: cost(resized(round(D**0.5)), names[:10_000])),
        ("prompts (20,000 images)", [1, 3, 10, 30, 100, 300], lambda k: cost(few, labels(k), max_memory=4e9)),
        ("styles of each prompt (20,000 images)", [2, 5, 10, 20, 50, 100, 200],
         lambda k: cost(few, known, n_styles=k, contrast="affine")),
    ]  # fmt: skip
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6), sharey=True, layout="constrained")
    for axis, (what, sizes, work) in zip(axes, panels, strict=True):
        times = [work(size) for size in sizes]
        steps = np.diff(np.log(times)) / np.diff(np.log(sizes))
        print(f"CPU seconds of fit against {what}: {dict(zip(sizes, np.round(times, 2).tolist(), strict=True))}; "
              f"slopes {np.round(steps, 2).tolist()}", flush=True)  # fmt: skip
        axis.loglog(sizes, times, "o-", color="black")
        axis.loglog(sizes, times[-1] * np.array(sizes) / sizes[-1], "--", color="grey", label="slope 1")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
        axis.minorticks_off()
        axis.set_xlabel(what)
        axis.legend(frameon=False)
    axes[0].set_ylabel("CPU seconds of fit")
    figure.savefig(PICTURE, dpi=110)
    print(f"drawn: {PICTURE}")


def main() -> None:
    parts = {"large": large, "batches": batches, "latents": latents, "cluster": cluster, "slopes": slopes}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join([*parts, 'disk'])}; all by default")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where disk writes its file")
    parser.add_argument("--gigabytes", nargs="+", type=float, default=[2, 5, 20], help="sizes of the file of disk")
    parser.add_argument("--components", type=int, default=144, help="components of disk")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - {*parts, "disk"}:
        parser.error(f"unknown part {sorted(unknown)[0]!r}; the parts are {', '.join([*parts, 'disk'])}")
    print(f"{os.cpu_count()} cores, numpy {np.__version__}, Python {sys.version.split()[0]}")
    for name, part in parts.items():
        if name in (arguments.parts or parts):
            part()
    if not arguments.parts or "disk" in arguments.parts:
        disk(arguments.folder, arguments.gigabytes, arguments.components)


if __name__ == "__main__":
    main()
