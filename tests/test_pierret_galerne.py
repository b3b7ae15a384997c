"""The table of Pierret and Galerne (2025), Wasserstein errors of samplers on the Gaussian of CIFAR-10, all cells.

The data's law is N(0, C) with the eigenvalues of the covariance of CIFAR-10's 3,072 pixels, from the authors'
code (github.com/emilePi, code/cifar10.npy), and the schedule is VPLinear. In the column NFE = N there are N even
times from 1 to eps, which are N - 1 steps. The times of rk4 are N / 4, but heun has N times too, although it
evaluates twice a step. p_T starts from the marginal at t = 1 and N_0 from N(0, I), both under one composed map.
The truncation eps ends sampling early: the error is that of the state at eps against the data.

The paper's DDPM takes beta = 2 h b(t) for a step of length h, where 2 b is VPLinear's rate. The library's is 1 -
(alpha / alpha')^2, so theirs is written here. The library has no sampler that solves the reverse SDE exactly, so
its continuous errors are computed from the law in closed form.

The table has two decimals, so the most that a right number may be off is .005.
"""

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lineardiffusion import Gaussian, LinearDiffusion, samplers
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.diffusion.samplers import get_sampler
from lineardiffusion.diffusion.trajectory import Trajectory, compose
from lineardiffusion.schedules import VPLinear

VP = VPLinear()
NFE = (50, 250, 500, 1000)

# sampler, eps: errors from p_T, and from N_0, at each NFE
TABLE = {
    ("em", 0): ((4.78, 0.65, 0.32, 0.16), (4.78, 0.66, 0.32, 0.16)),
    ("em", 1e-5): ((4.77, 0.66, 0.32, 0.16), (4.77, 0.66, 0.32, 0.16)),
    ("em", 1e-4): ((4.76, 0.66, 0.32, 0.17), (4.76, 0.66, 0.32, 0.17)),
    ("em", 1e-3): ((4.68, 0.70, 0.40, 0.27), (4.68, 0.70, 0.40, 0.27)),
    ("ei", 0): ((2.81, 0.57, 0.30, 0.16), (2.81, 0.57, 0.30, 0.16)),
    ("ei", 1e-5): ((2.81, 0.57, 0.30, 0.16), (2.81, 0.57, 0.30, 0.16)),
    ("ei", 1e-4): ((2.82, 0.58, 0.31, 0.17), (2.82, 0.58, 0.31, 0.17)),
    ("ei", 1e-3): ((2.91, 0.67, 0.41, 0.29), (2.91, 0.67, 0.41, 0.29)),
    ("ddpm", 0): ((6.82, 0.97, 0.47, 0.23), (6.82, 0.97, 0.47, 0.23)),
    ("ddpm", 1e-5): ((6.82, 0.97, 0.47, 0.24), (6.82, 0.97, 0.47, 0.23)),
    ("ddpm", 1e-4): ((6.81, 0.98, 0.47, 0.24), (6.81, 0.98, 0.47, 0.24)),
    ("ddpm", 1e-3): ((6.74, 1.00, 0.53, 0.32), (6.74, 1.00, 0.53, 0.32)),
    ("euler", 0): ((1.72, 0.38, 0.20, 0.10), (1.78, 0.44, 0.26, 0.17)),
    ("euler", 1e-5): ((1.72, 0.38, 0.20, 0.10), (1.78, 0.44, 0.26, 0.17)),
    ("euler", 1e-4): ((1.72, 0.38, 0.20, 0.11), (1.78, 0.44, 0.26, 0.17)),
    ("euler", 1e-3): ((1.73, 0.42, 0.27, 0.21), (1.79, 0.48, 0.32, 0.25)),
    ("heun", 1e-5): ((23.42, 2.86, 1.05, 0.37), (23.42, 2.87, 1.06, 0.38)),
    ("heun", 1e-4): ((4.68, 0.43, 0.12, 0.03), (4.68, 0.44, 0.14, 0.08)),
    ("heun", 1e-3): ((0.58, 0.13, 0.16, 0.17), (0.59, 0.15, 0.18, 0.19)),
    ("rk4", 1e-5): ((67.32, 5.49, 2.11, 0.77), (67.32, 5.49, 2.11, 0.77)),
    ("rk4", 1e-4): ((14.35, 0.93, 0.29, 0.07), (14.35, 0.93, 0.29, 0.10)),
    ("rk4", 1e-3): ((2.60, 0.09, 0.15, 0.17), (2.60, 0.12, 0.17, 0.19)),
}
# without a step, by eps from 0 on: from p_T, and from N_0
CONTINUOUS = {
    "ODE": ((0.0, 4.1e-3, 0.03, 0.18), (0.07, 0.07, 0.08, 0.19)),
    "SDE": ((0.0, 4.1e-3, 0.03, 0.18), (6.7e-4, 4.2e-3, 0.03, 0.18)),
}


@dataclass(frozen=True)
class PaperDDPM(samplers.Sampler):
    """x' = (x + beta s) / sqrt(1 - beta) + sqrt(beta) n with beta = 2 h b(t), noise at the last step too."""

    isotropic = True  # so that its maps are diagonal

    def __call__(self, denoise, x, schedule, times, add_noise):
        for t, t_ in pairwise(times.tolist()):
            alpha, sigma = map(float, schedule(t))
            beta = (t - t_) * (schedule.beta_min + t * (schedule.beta_max - schedule.beta_min))
            score = (alpha * denoise(x, alpha, sigma) - x) / sigma**2
            x = add_noise((x + beta * score) / (1 - beta) ** 0.5, beta**0.5)
            yield x


@pytest.fixture(scope="module")
def spectrum():
    root = os.environ.get("LINEARDIFFUSION_DATA")
    file = Path(root or "", "pierret-galerne", "cifar10_eigenvalues.npy")
    if not root or not file.is_file():
        pytest.skip("needs pierret-galerne: set LINEARDIFFUSION_DATA to the folder that holds pierret-galerne/")
    return np.maximum(np.load(file).astype(float), 0.0)


def errors(spectrum, sampler, times):
    """Wasserstein errors from p_T and from N_0, of diagonal maps."""
    denoiser = GaussianDenoiser(np.zeros((1, len(spectrum))), spectrum[None])
    way = Trajectory(get_sampler(sampler, len(times) - 1), VP, given=tuple(times.tolist()))
    x = compose(denoiser, 1, len(spectrum), way)
    alpha, sigma = way.start
    gain, added = x.rows[0, 0] ** 2, (x.rows[0, 1:-1] ** 2).sum(axis=0)
    starts = (alpha**2 * spectrum + sigma**2) / sigma**2, 1 / sigma**2
    return [float(np.linalg.norm(np.sqrt(gain * start + added) - np.sqrt(spectrum))) for start in starts]


def rows(spectrum, sampler, eps):
    """Both rows of the table, from p_T and from N_0."""
    run = PaperDDPM() if sampler == "ddpm" else sampler
    found = [errors(spectrum, run, np.linspace(1.0, eps, n // 4 if sampler == "rk4" else n)) for n in NFE]
    return np.transpose(found)


@pytest.mark.parametrize(("sampler", "eps"), list(TABLE), ids=lambda one: f"{one}")
def test_every_cell(spectrum, sampler, eps):
    for start, found, published in zip(
        ("p_T", "N_0"), rows(spectrum, sampler, eps), TABLE[sampler, eps], strict=True
    ):
        off = np.subtract(found, published)
        print(
            f"{sampler:5s} eps={eps:<6g} {start}  found {found.round(4)}  published {published}  off {off.round(4)}"
        )
        assert np.abs(off).max() < 0.005


def test_every_cell_without_steps(spectrum):
    eps = (0.0, 1e-5, 1e-4, 1e-3)
    flow = np.transpose([errors(spectrum, "exact", np.array([1.0, one])) for one in eps])
    alpha, sigma = VP(np.array([1.0, *eps]))
    last, *now = alpha[:, None] ** 2 * spectrum + sigma[:, None] ** 2
    gain = [a_T / a * v / last for a, v, a_T in zip(alpha[1:], now, [alpha[0]] * 4, strict=True)]
    sde = [[v + g**2 * (start - last) for v, g in zip(now, gain, strict=True)] for start in (last, 1.0)]
    sde = [[np.linalg.norm(np.sqrt(v) - np.sqrt(spectrum)) for v in one] for one in sde]
    for name, found in (("ODE", flow), ("SDE", np.array(sde))):
        off = found - CONTINUOUS[name]
        print(f"{name} found {found.round(5).tolist()} off {off.round(5).tolist()}")
        assert np.abs(off).max() < 0.005
        assert np.abs(off[:, :2][np.array(CONTINUOUS[name])[:, :2] < 0.01]).max() < 5.1e-5


@pytest.mark.parametrize("wrong", [samplers.ddpm(), samplers.ddpm(variance="fixed_large")], ids=["small", "large"])
def test_another_variance_is_found_out(spectrum, wrong):
    """The control: the library's ddpm, with either variance, is not the paper's."""
    found = [errors(spectrum, wrong, np.linspace(1.0, 0.0, n))[0] for n in NFE]
    off = np.subtract(found, TABLE["ddpm", 0][0])
    print(f"{wrong} {wrong.variance} off {off.round(4)}")
    assert np.abs(off).max() > 0.05


@pytest.mark.parametrize(("sampler", "eps"), [("em", 1e-3), ("ei", 1e-4), ("heun", 1e-3), ("rk4", 1e-3)])
def test_the_estimator_tells_the_same(spectrum, sampler, eps):
    """Through fit and law on twelve of the directions, with full matrices, in units of the latents."""
    few, times = spectrum[-1200::100], np.linspace(1.0, eps, 50)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
    points = np.sqrt(12 * few)[:, None] * turn
    ld = LinearDiffusion(12, shrinkage=0).fit(["x"] * 24, np.vstack([points, -points]))
    few = few / ld.scaling_factor_**2  # the noise has the unit of the latents
    true = ld.law("x")
    ld.refit(schedule=VP)
    for start, expected in zip(("marginal", UNIT), errors(few, sampler, times), strict=True):
        law = ld.law("x", sampler=sampler, times=times, start=start)
        assert law.wasserstein(true) == pytest.approx(expected, rel=1e-6)


UNIT = Gaussian(np.zeros(12), np.eye(12))
