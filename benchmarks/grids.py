"""Measure the grids of `optimal_times` against usual ones: ``python benchmarks/grids.py [PICTURE]``. Needs MNIST.

Distances are relative: W2 divided by the root of the total variance. The target is the law of MNIST's "7" in pixels
from -1 to 1, in 144 components. The laws are those of the library's own samplers, from sigma = 80.

The transfer table runs the samplers on mixtures, whose denoiser is not linear. The strong error is the root mean
square distance of a sampler's end to that of 150 steps of heun from the same start, divided by its spread.
The optimal grid depends on the mixture's covariance only.

"errors cancel" is the sum of the sizes of the steps' errors divided by the size of their sum, weighted by variance.
The error of a step is the change of the logarithm of F, the drawn standard deviation divided by the exact one.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize

from lineardiffusion import Gaussian, LinearDiffusion, Mixture
from lineardiffusion.datasets import load_mnist
from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.diffusion.denoisers import GaussianDenoiser, MixtureDenoiser
from lineardiffusion.diffusion.samplers import get_sampler
from lineardiffusion.diffusion.trajectory import Trajectory, simulate
from lineardiffusion.oracle.optimal import optimal_times
from lineardiffusion.schedules import Levels

SIGMA_MAX, STEPS = 80.0, (5, 7, 10, 20)
SAMPLERS = ("ddim", "heun", "dpm++2m")


def karras(n: int, sigma_min: float = 0.002) -> np.ndarray:
    """Return the levels of Karras et al. (2022), eq. 5, with rho = 7."""
    return np.append(np.linspace(SIGMA_MAX ** (1 / 7), sigma_min ** (1 / 7), n) ** 7, 0.0)


def exponential(n: int, sigma_min: float = 0.002) -> np.ndarray:
    """Return levels with even logarithms."""
    return np.append(np.geomspace(SIGMA_MAX, sigma_min, n), 0.0)


def cosine(n: int) -> np.ndarray:
    """Return the ratios sigma / alpha of even times of the cosine schedule, from sigma_max."""
    return np.append(np.tan(np.linspace(math.atan(SIGMA_MAX), 0.0, n + 1)[:-1]), 0.0)


USUAL: dict[str, Callable[[int], np.ndarray]] = {"Karras": karras, "exponential": exponential, "cosine": cosine}


def gains(sampler: str, sigmas: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return the standard deviations (N + 1, d) at every level, divided by those of the exact marginals."""
    denoiser = GaussianDenoiser(np.zeros((1, len(variance))), variance[None])
    start = np.sqrt(variance + sigmas[0] ** 2) * Affine.identity(1, len(variance), diagonal=True)
    run = get_sampler(sampler, len(sigmas) - 1)(denoiser, start, Levels(sigmas), sigmas, Affine.with_noise)
    states = np.stack([start.rows[0, 0], *(state.rows[0, 0] for state in run)])
    return states / np.sqrt(variance + sigmas[:, None] ** 2)


def distance(sampler: str, sigmas: np.ndarray, variance: np.ndarray) -> float:
    """Return the relative W2 of a sampler's law, from the exact marginal."""
    F = gains(sampler, sigmas, variance)[-1]
    return math.sqrt((variance * (np.abs(F) - 1) ** 2).sum() / variance.sum())


def cancellation(sampler: str, sigmas: np.ndarray, variance: np.ndarray) -> float:
    """Return the sum of the sizes of the steps' errors divided by the size of their sum, weighted by variance."""
    errors = np.diff(np.log(np.abs(gains(sampler, sigmas, variance))), axis=0)
    return float(variance @ np.abs(errors).sum(axis=0) / (variance @ np.abs(errors.sum(axis=0))))


def own_optimum(sampler: str, n: int, law: Gaussian) -> np.ndarray:
    """Return the levels that minimise the distance of any sampler, by numerical gradients from several grids."""
    variance = np.linalg.eigvalsh(law.covariance)

    def levels(p: np.ndarray) -> np.ndarray:
        return np.concatenate([[SIGMA_MAX], SIGMA_MAX * np.exp(-np.cumsum(np.exp(p))), [0.0]])

    starts = karras(n), karras(n, 0.1), exponential(n, 0.05), exponential(n, 0.3), cosine(n), optimal_times(law, n)
    found = [
        minimize(lambda p: math.log(distance(sampler, levels(p), variance)), np.log(-np.diff(np.log(s[:-1]))))
        for s in starts
    ]
    return levels(min(found, key=lambda one: one.fun).x)


def table(law: Gaussian) -> None:
    """Print the relative W2 of every sampler and grid."""
    variance = np.linalg.eigvalsh(law.covariance)
    print(
        f"{'W2 / spread':12s}{'steps':>6s}"
        + "".join(f"{name:>13s}" for name in (*USUAL, "optimal", "Karras / opt."))
    )
    for sampler in SAMPLERS:
        for n in STEPS:
            start = time.perf_counter()
            grids = [*(make(n) for make in USUAL.values()), optimal_times(law, n, sampler)]
            spent = time.perf_counter() - start
            found = [distance(sampler, grid, variance) for grid in grids]
            text = (
                f"{sampler:12s}{n:6d}" + "".join(f"{one:13.4f}" for one in found) + f"{found[0] / found[-1]:13.1f}"
            )
            text += f"   {spent:.2f} s, errors cancel {cancellation(sampler, grids[-1], variance):.2f}"
            if sampler == "dpm++2m":
                own = own_optimum(sampler, n, law)
                text += f"; own optimum {distance(sampler, own, variance):.6f}"
                text += f", errors cancel {cancellation(sampler, own, variance):.0f}"
            print(text, flush=True)
    for sampler in ("ddim", "heun"):
        print(sampler, "10 steps:", optimal_times(law, 10, sampler).round(3).tolist())


def draw(law: Gaussian, path: str) -> None:
    """Draw the levels of 10 steps, and the distance by the number of steps."""
    variance, steps = np.linalg.eigvalsh(law.covariance), np.arange(3, 41)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    optimal = {f"optimal, {sampler}": optimal_times(law, 10, sampler) for sampler in ("ddim", "heun")}
    for name, grid in ({name: make(10) for name, make in USUAL.items()} | optimal).items():
        left.semilogy(np.arange(10), grid[:-1], ".-", label=name)
    left.set(xlabel="step", ylabel="sigma")
    for color, sampler in (("C0", "ddim"), ("C1", "heun")):
        usual = [min(distance(sampler, make(n), variance) for make in USUAL.values()) for n in steps]
        best = [distance(sampler, optimal_times(law, n, sampler), variance) for n in steps]
        right.loglog(steps, usual, "--", color=color, label=f"{sampler}, best of the three usual grids")
        right.loglog(steps, best, color=color, label=f"{sampler}, optimal")
    right.set(xlabel="number of steps", ylabel="W2 / spread")
    right.set_xticks([3, 5, 10, 20, 40], ["3", "5", "10", "20", "40"])
    right.minorticks_off()
    for axes in (left, right):
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def noise_start(law: Gaussian) -> None:
    """Print the relative W2 from noise alone, under the grids of both starts."""
    variance, basis = np.linalg.eigh(law.covariance)
    mean, spread = law.mean @ basis, math.sqrt(variance.sum())
    for sampler in ("ddim", "heun"):
        for n in (5, 10):
            row = []
            for grid in (karras(n), *(optimal_times(law, n, sampler, start=start) for start in ("exact", "noise"))):
                scale = gains(sampler, grid, variance)[-1] * np.sqrt(variance / (variance + SIGMA_MAX**2))
                row.append(math.hypot(*(scale * mean), *(scale * SIGMA_MAX - np.sqrt(variance))) / spread)
            texts = zip(("Karras", 'optimal for "exact"', 'optimal for "noise"'), row, strict=True)
            print(f"from noise, {sampler} {n}: " + ", ".join(f"{name} {one:.4f}" for name, one in texts))


def transfer(name: str, law: Mixture, n_draws: int) -> None:
    """Print the strong error of every sampler and grid on a mixture."""
    parts = [np.linalg.eigh(one.covariance) for one in law.components]
    variance, basis = (np.stack(arrays) for arrays in zip(*parts, strict=True))
    mean = np.stack([one.mean for one in law.components])
    denoiser = MixtureDenoiser(GaussianDenoiser(mean, np.maximum(variance, 0.0), basis), np.array(law.weights))
    rng = np.random.default_rng(0)
    start = law.draw(n_draws, rng) / SIGMA_MAX + rng.normal(size=(n_draws, law.dim))

    def ends(sampler: str, grid: np.ndarray) -> np.ndarray:
        course = Trajectory(get_sampler(sampler, len(grid) - 1), Levels(grid))
        *_, last = simulate(denoiser, start[None], course, [])
        return last[0]

    fine, spread = ends("heun", karras(150)), math.sqrt(np.trace(law.covariance))
    moments = Gaussian(law.mean, law.covariance)
    print(f"\n{name}: {len(law.weights)} components, {law.dim} dimensions, {n_draws} draws")
    print(f"{'strong error':12s}{'steps':>6s}{'Karras':>13s}{'exponential':>13s}{'cosine':>13s}{'optimal':>13s}")
    for sampler in SAMPLERS:
        for n in (5, 7, 10):
            grids = [*(make(n) for make in USUAL.values()), optimal_times(law, n, sampler)]
            if sampler == "dpm++2m":
                grids.append(own_optimum(sampler, n, moments))
            found = [math.sqrt(((ends(sampler, grid) - fine) ** 2).sum(axis=1).mean()) / spread for grid in grids]
            text = f"{sampler:12s}{n:6d}" + "".join(f"{one:13.3f}" for one in found[:4])
            print(text + "".join(f"   own optimum {one:.3f}" for one in found[4:]), flush=True)


def main() -> None:
    prompts, images = load_mnist("train")
    pixels = images / 127.5 - 1.0
    ld = LinearDiffusion(144).fit(prompts, pixels)
    latent, scale = ld.law("7"), ld.scaling_factor_
    mean = ld.components_ @ ld.decode(latent.mean[None])[0].ravel()
    law = Gaussian(mean, latent.covariance * scale**2)
    table(law)
    if len(sys.argv) > 1:
        draw(law, sys.argv[1])
    noise_start(law)
    styles = LinearDiffusion(60, n_styles=12).fit(prompts, pixels)
    for name, n_draws, chosen in (
        ("12 styles of 7", 500, ["7"]),
        ("12 styles of all digits", 200, list("0123456789")),
    ):
        laws, scale = [styles.law(prompt) for prompt in chosen], styles.scaling_factor_
        weights = [w / len(laws) for one in laws for w in one.weights]
        parts = [Gaussian(c.mean * scale, c.covariance * scale**2) for one in laws for c in one.components]
        transfer(name, Mixture(weights, parts), n_draws)


if __name__ == "__main__":
    main()
