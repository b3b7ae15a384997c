"""The table of Pierret and Galerne (2025) in benchmarks/pierret_galerne.py, cell by cell.

The table has two decimals, so the most that a right number may be off is .005.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from lineardiffusion import Gaussian, LinearDiffusion, samplers
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.diffusion.trajectory import Trajectory, compose

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from pierret_galerne import CONTINUOUS, FILE, NFE, STARTS, TABLE, VP, PaperDDPM, continuous, errors, load


@pytest.fixture(scope="module")
def spectrum():
    root = os.environ.get("LINEARDIFFUSION_DATA")
    if not root or not Path(root, FILE).is_file():
        pytest.skip("needs pierret-galerne: set LINEARDIFFUSION_DATA to the folder that holds pierret-galerne/")
    return load(root)


def interpolated(spectrum, sampler, times):
    """The errors of the benchmark from 257 eigenvalues: the squared error of one is smooth in its logarithm."""
    some = spectrum[spectrum > 0]
    nodes = np.append(np.geomspace(some.min(), some.max(), 256), 0.0)
    way = Trajectory(samplers.get_sampler(sampler, len(times) - 1), VP, given=tuple(times.tolist()))
    x = compose(GaussianDenoiser(np.zeros((1, 257)), nodes[None]), 1, 257, way)
    alpha, sigma = way.start
    gain, added = x.rows[0, 0] ** 2, (x.rows[0, 1:-1] ** 2).sum(axis=0)
    starts = np.stack([(alpha**2 * nodes + sigma**2) / sigma**2, np.full(257, sigma**-2)])
    squares = (np.sqrt(gain * starts + added) - np.sqrt(nodes)) ** 2
    spline = CubicSpline(np.log(nodes[:-1]), squares[:, :-1], axis=1)
    return np.sqrt(spline(np.log(some)).sum(axis=1) + (len(spectrum) - len(some)) * squares[:, -1])


@pytest.mark.parametrize("sampler", [PaperDDPM(), "em", "ei", "euler", "heun", "rk4"], ids=str)
def test_interpolated_errors_are_those_of_the_benchmark(spectrum, sampler):
    times = np.linspace(1.0, 1e-3, 100)
    found, expected = interpolated(spectrum, sampler, times), errors(spectrum, sampler, times)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(("sampler", "eps"), list(TABLE), ids=lambda one: f"{one}")
def test_every_cell(spectrum, sampler, eps):
    run, share = PaperDDPM() if sampler == "ddpm" else sampler, 4 if sampler == "rk4" else 1
    rows = np.transpose([interpolated(spectrum, run, np.linspace(1.0, eps, n // share)) for n in NFE])
    for start, found, published in zip(STARTS, rows, TABLE[sampler, eps], strict=True):
        off = np.subtract(found, published)
        print(
            f"{sampler:5s} eps={eps:<6g} {start}  found {found.round(4)}  published {published}  off {off.round(4)}"
        )
        assert np.abs(off).max() < 0.005


def test_every_cell_without_steps(spectrum):
    for name, found in continuous(spectrum).items():
        off = found - CONTINUOUS[name]
        print(f"{name} found {found.round(5).tolist()} off {off.round(5).tolist()}")
        assert np.abs(off).max() < 0.005
        small = np.array(CONTINUOUS[name]) < 0.01  # which are given to two digits
        assert np.abs(off[small]).max() < 5e-5


@pytest.mark.parametrize("wrong", [samplers.ddpm(), samplers.ddpm(variance="fixed_large")], ids=["small", "large"])
def test_another_variance_is_found_out(spectrum, wrong):
    """The control: the library's ddpm, with either variance, is not the paper's."""
    found = [errors(spectrum, wrong, np.linspace(1.0, 0.0, n))[0] for n in NFE[:2]]
    off = np.subtract(found, TABLE["ddpm", 0][0][:2])
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
