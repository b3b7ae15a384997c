"""Samplers under a mixture of Gaussians, judged by draws.

The denoiser of a mixture is not affine, so the sampler's law is not known. A deterministic sampler is compared
with the exact probability flow y from the same starts, which draws from the mixture:

    E |x_i - y_i|^2 >= W^2,        the strong error: its root is an upper bound of W2

(A sampler that starts from noise alone is compared with the flow from the exact start of the same noise.)
A stochastic sampler has no exact path to compare with. Its draws x and draws y of the mixture have the energy
distance (Szekely and Rizzo 2013), which is 0 for equal laws only,

    2 E|x - y| - E|x - x'| - E|y - y'|

estimated without bias from pairs of draws, so an estimate may be below 0. Its unit is that of x. The standard
error of both is that of the jackknife over `GROUPS` groups of draws.

References
----------
Szekely and Rizzo (2013), Energy statistics: a class of statistics based on distances. Journal of Statistical
Planning and Inference 143(8).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from lineardiffusion._arrays import Array
from lineardiffusion._validation import check_integer
from lineardiffusion.diffusion.denoisers import GaussianDenoiser, MixtureDenoiser
from lineardiffusion.diffusion.ode import integrate
from lineardiffusion.distributions.mixture import Mixture
from lineardiffusion.oracle.adapter import Adapter, Start
from lineardiffusion.oracle.noise import Draws
from lineardiffusion.oracle.report import Report, Row, failed, failures, pairs_of_worse
from lineardiffusion.oracle.responses import Counted

GROUPS = 16  # of draws, for the standard error
FLOW_TOLERANCE = 1e-5  # of a step of the flow that the strong error is measured against


def judge_by_draws(adapter: Adapter, law: Mixture, steps: list[int], start: str, n_draws: int, seed: int) -> Report:
    """Judge a sampler under a mixture; the parameters are those of :func:`lineardiffusion.oracle.oracle`."""
    n = check_integer(n_draws, "n_draws", 2 * GROUPS)
    denoiser = _LatentDenoiser.of(law)
    strong = _is_deterministic(adapter, steps, law, denoiser, start)
    rows = []
    for k in steps:
        try:
            rows.append(_row(adapter, k, law, denoiser, start, n, seed, strong))
        except Exception as error:  # whatever another library raises at a number of steps
            rows.append(failed(k, error))
    warnings = failures(adapter.name, rows)
    spread = float(np.sqrt(np.trace(law.covariance)))
    size = math.hypot(spread, float(np.linalg.norm(law.mean)))
    warnings += [f"{after} steps are worse than {before}" for before, after in pairs_of_worse(rows, size)]
    return Report(
        sampler=adapter.name,
        measure="strong error (at least W2)" if strong else "energy distance",
        spread=spread,
        size=size,
        rows=tuple(rows),
        warnings=tuple(warnings),
        versions=adapter.versions,
        start=start,
    )


def _is_deterministic(adapter: Adapter, steps: list[int], law: Mixture, denoiser: Any, start: str) -> bool:
    """Return whether two noises of the steps give the same draws, at every number of steps that runs."""
    for k in steps:
        try:
            (one, *_), (other, *_) = (_run(adapter, k, law, denoiser, start, 2, 0, seed)[0] for seed in (0, 1))
        except Exception:  # reported where this number of steps is measured
            continue
        if not np.array_equal(one, other, equal_nan=True):
            return False
    return True


def _row(
    adapter: Adapter, num_steps: int, law: Mixture, denoiser: Any, start: str, n: int, seed: int, strong: bool
) -> Row:
    """Measure one number of steps; all numbers of steps share their draws."""
    (x, exact, level), calls = _run(adapter, num_steps, law, denoiser, start, n, seed)
    if strong:
        y = integrate(denoiser, exact[None], (level.alpha, level.sigma), (1.0, 0.0), tolerance=FLOW_TOLERANCE)[0]
        squares = ((x - y) ** 2).sum(axis=1)
        found, error = _jackknife(lambda kept: math.sqrt(squares[kept].mean()), n)
    else:
        y = law.draw(n, np.random.default_rng([seed, 1]))
        between, within_x, within_y = cdist(x, y), cdist(x, x), cdist(y, y)

        def energy(kept: Any) -> float:
            m, pairs = len(kept), np.ix_(kept, kept)
            unbiased = m * (m - 1)
            own = within_x[pairs].sum() / unbiased + within_y[pairs].sum() / unbiased
            return float(2 * between[pairs].mean() - own)

        found, error = _jackknife(energy, n)
    return Row(num_steps, calls, found, math.nan, math.nan, math.nan, (level.alpha, level.sigma), error)


def _jackknife(statistic: Any, n: int) -> tuple[float, float]:
    """Return a statistic of the draws and its standard error; `statistic` takes the places of those it may use."""
    groups = np.arange(n) % GROUPS
    without = np.array([statistic(np.flatnonzero(groups != g)) for g in range(GROUPS)])
    error = math.sqrt((GROUPS - 1) * np.mean((without - without.mean()) ** 2))
    return statistic(np.arange(n)), error


def _run(
    adapter: Adapter,
    num_steps: int,
    law: Mixture,
    denoiser: Any,
    start: str,
    n: int,
    seed: int,
    noise_seed: int = 0,
) -> tuple[tuple[Array, Array, Start], int]:
    """Run a sampler on draws; return its draws, exact starts of the same noise, their level, and the calls."""
    rng = np.random.default_rng([seed, 0])
    level = adapter.start(num_steps)
    z, noise = law.draw(n, rng), rng.normal(size=(n, law.dim))
    exact = level.alpha * z + level.sigma * noise
    counted, draws = Counted(denoiser), Draws(np.random.default_rng([seed, 2, noise_seed]), exact.shape)
    first = level.noise_std * noise if start == "noise" else exact
    x = np.asarray(adapter.run(num_steps, first, counted, draws), dtype=np.float64)
    return (x, exact, level), counted.calls


class _LatentDenoiser:
    """The denoiser of a mixture for arrays and tensors (..., d)."""

    def __init__(self, denoiser: MixtureDenoiser) -> None:
        self.denoiser = denoiser

    @classmethod
    def of(cls, law: Mixture) -> _LatentDenoiser:
        parts = [one.principal() for one in law.components]
        eye = np.eye(law.dim)
        gaussians = GaussianDenoiser(
            np.array([one.mean for one in law.components]),
            np.array([variance for variance, _ in parts]),
            np.array([eye if basis is None else basis for _, basis in parts]),
        )
        return cls(MixtureDenoiser(gaussians, np.array(law.weights)))

    def __call__(self, x: Any, alpha: float, sigma: float) -> Any:
        if isinstance(x, np.ndarray):
            return self._of_array(x, alpha, sigma)
        return x.new_tensor(self._of_array(x.detach().double().numpy(), alpha, sigma)).double()

    def _of_array(self, x: Array, alpha: float, sigma: float) -> Array:
        return np.asarray(self.denoiser(x.reshape(1, -1, x.shape[-1]), alpha, sigma).reshape(x.shape))

    def flow(self, x: Any, start: tuple[float, float], end: tuple[float, float]) -> Any:
        if isinstance(x, np.ndarray):
            return integrate(self, x, start, end, tolerance=FLOW_TOLERANCE)
        return x.new_tensor(
            integrate(self, x.detach().double().numpy(), start, end, tolerance=FLOW_TOLERANCE)
        ).double()
