"""optimal_times: the least distance, by the laws that the library's own samplers have."""

import numpy as np
import pytest

from lineardiffusion import Gaussian, LinearDiffusion, Mixture, samplers
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.diffusion.samplers import get_sampler
from lineardiffusion.diffusion.schedules import Levels
from lineardiffusion.diffusion.trajectory import Trajectory, compose
from lineardiffusion.oracle.optimal import optimal_times, ratios

SPECTRUM = np.geomspace(20.0, 1e-3, 12)  # as that of small pictures
SAMPLERS = ["ddim", "heun"]
KARRAS = np.append(np.linspace(80.0 ** (1 / 7), 0.002 ** (1 / 7), 6) ** 7, 0.0)


def gaussian(variance=SPECTRUM, seed=0, scale=1.0):
    """A Gaussian with these eigenvalues, its mean and its eigenvectors random."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(len(variance), len(variance))))
    return Gaussian(scale * rng.normal(size=len(variance)), scale**2 * (basis * variance) @ basis.T)


def drawn(law, sampler, sigmas, start="exact"):
    """The law of a sampler of the library on given levels."""
    variance, basis = np.linalg.eigh(law.covariance)
    denoiser = GaussianDenoiser(law.mean[None], variance[None], basis[None])
    map_ = compose(denoiser, 1, law.dim, Trajectory(get_sampler(sampler, len(sigmas) - 1), Levels(sigmas)))
    M, b = map_.matrix[0], map_.offset[0]  # of noise in units of sigma_max
    if start == "noise":
        return Gaussian(b, M.T @ M)
    first = np.eye(law.dim) + law.covariance / sigmas[0] ** 2
    spread = M.T @ first @ M
    return Gaussian(b + law.mean @ M / sigmas[0], (spread + spread.T) / 2)


def distance(law, sampler, sigmas, start="exact"):
    return drawn(law, sampler, sigmas, start).wasserstein(law)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_gains_are_those_of_the_librarys_sampler(sampler):
    law = gaussian()
    variance, basis = np.linalg.eigh(law.covariance)

    def worst(name):
        F = ratios(name, KARRAS, variance)[0].prod(axis=1)
        std = np.sqrt(np.diag(basis.T @ drawn(law, sampler, KARRAS).covariance @ basis))
        return np.abs(F * np.sqrt(variance) - std).max()

    assert worst(sampler) < 1e-12
    assert worst("heun" if sampler == "ddim" else "ddim") > 0.1  # the control


@pytest.mark.parametrize("start", ["exact", "noise"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_level_can_be_moved_to_advantage(sampler, start):
    law = gaussian()
    sigmas = optimal_times(law, 6, sampler, start=start)
    least = distance(law, sampler, sigmas, start)

    def moved(grid, i, factor):
        return distance(law, sampler, np.concatenate([grid[:i], [factor * grid[i]], grid[i + 1 :]]), start)

    for i in range(1, 6):
        down, up = (moved(sigmas, i, factor) for factor in (0.99, 1.01))
        assert min(down, up) > least
        assert abs(up - down) < 0.2 * (up + down - 2 * least)  # 0 but for the third order: no slope is left
    assert any(
        moved(KARRAS, i, factor) < distance(law, sampler, KARRAS, start) for i in (1, 5) for factor in (0.9, 1.1)
    )


@pytest.mark.parametrize("start", ["exact", "noise"])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("num_steps", [2, 6])
def test_other_grids_are_worse(sampler, start, num_steps):
    law, n = gaussian(), num_steps
    least = distance(law, sampler, optimal_times(law, n, sampler, start=start), start)
    for low in (0.002, 0.02, 0.2):
        karras = np.append(np.linspace(80.0 ** (1 / 7), low ** (1 / 7), n) ** 7, 0.0)
        exponential = np.append(np.geomspace(80.0, low, n), 0.0)
        assert least < 0.999 * min(distance(law, sampler, grid, start) for grid in (karras, exponential))
    for c in (0.3, 1.0, 3.0):
        cosine = np.append(c * np.tan(np.linspace(np.arctan(80.0 / c), 0.0, n + 1)[:-1]), 0.0)
        assert least < 0.999 * distance(law, sampler, cosine, start)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("variance", "first"), [(np.geomspace(3.0, 1.0, 10), 2.0), (SPECTRUM, 80.0)])
def test_no_pair_of_levels_is_better(sampler, variance, first):
    """Three steps, against every pair of 60 levels. The first law has several local minima for heun."""

    def found(sigmas):
        F = ratios(sampler, np.array(sigmas), variance)[0].prod(axis=1)
        return variance @ (F - 1) ** 2

    levels = np.geomspace(first, 1e-3 * first, 61)[1:]
    every = [found([first, levels[i], levels[j], 0.0]) for i in range(60) for j in range(i + 1, 60)]
    assert found(optimal_times(gaussian(variance), 3, sampler, sigma_max=first)) < min(every)


def test_one_variance_has_even_angles():
    law, c = Gaussian(np.zeros(3), 4.0 * np.eye(3)), 2.0
    angles = np.arctan(optimal_times(law, 7) / c)
    np.testing.assert_allclose(np.diff(angles), -np.arctan(80.0 / c) / 7, rtol=1e-5)


@pytest.mark.parametrize("start", ["exact", "noise"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_levels_scale_with_the_law_and_do_not_depend_on_its_axes(sampler, start):
    sigmas = optimal_times(gaussian(), 5, sampler, start=start)
    scaled = optimal_times(gaussian(scale=3.0), 5, sampler, sigma_max=240.0, start=start)
    np.testing.assert_allclose(scaled, 3.0 * sigmas, rtol=1e-6)
    not_scaled = optimal_times(gaussian(scale=3.0), 5, sampler, start=start)
    assert np.abs(not_scaled[1:-1] / sigmas[1:-1] - 1).max() > 0.1  # the control

    law, order = gaussian(), np.random.default_rng(1).permutation(len(SPECTRUM))
    turned = Gaussian(law.mean[order], law.covariance[np.ix_(order, order)])
    np.testing.assert_allclose(optimal_times(turned, 5, sampler, start=start), sigmas, rtol=1e-6)


def test_the_mean_counts_where_noise_alone_starts():
    near, far = gaussian(), gaussian()
    far = Gaussian(far.mean + 8.0 * np.linalg.eigh(far.covariance)[1][:, -1], far.covariance)
    assert (optimal_times(near, 5) == optimal_times(Gaussian(far.mean, near.covariance), 5)).all()
    levels = {start: optimal_times(far, 5, "heun", sigma_max=10.0, start=start) for start in ("exact", "noise")}
    found = {start: distance(far, "heun", sigmas, "noise") for start, sigmas in levels.items()}
    assert found["noise"] < 0.99 * found["exact"]
    apart = Gaussian(50.0 + far.mean, far.covariance)  # so wrong a start that one long step is the best
    assert (np.diff(optimal_times(apart, 5, "heun", sigma_max=10.0, start="noise")) < 0).all()


def test_a_mixture_counts_by_its_moments_and_dpm_gets_the_levels_of_ddim():
    one, other = gaussian(seed=1), gaussian(SPECTRUM[::-1] / 2, seed=2)
    law = Mixture([0.3, 0.7], [one, other])
    sigmas = optimal_times(law, 5)
    np.testing.assert_array_equal(sigmas, optimal_times(Gaussian(law.mean, law.covariance), 5))
    for sampler in ("euler", "dpm++2m"):
        np.testing.assert_array_equal(optimal_times(law, 5, sampler), sigmas)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_few_variances_and_many_levels(sampler):
    law = Gaussian(np.ones(3), np.diag([4.0, 0.5, 0.0]))
    coarse, fine = (optimal_times(law, n, sampler) for n in (4, 12))
    assert (np.diff(fine) < 0).all()
    assert (fine[0], fine[-1]) == (80.0, 0.0)
    assert distance(law, sampler, fine) < 0.4 * distance(law, sampler, coarse)
    np.testing.assert_array_equal(optimal_times(law, 1, sampler), [80.0, 0.0])


def test_levels_are_a_schedule_of_the_model(digits):
    prompts, images = digits
    exact = LinearDiffusion(20).fit(prompts, images).law("7", sampler="exact")
    sigmas = optimal_times(exact, 6, start="noise")
    found = {}
    for name, schedule in (("karras", "karras"), ("optimal", Levels(sigmas))):
        ld = LinearDiffusion(20, schedule=schedule).fit(prompts, images)
        found[name] = ld.law("7", sampler="ddim", num_steps=6)
    np.testing.assert_allclose(
        found["optimal"].covariance, drawn(exact, "ddim", sigmas, "noise").covariance, atol=1e-9
    )
    assert found["optimal"].wasserstein(exact) < 0.8 * found["karras"].wasserstein(exact)


@pytest.mark.parametrize("start", ["exact", "noise"])
def test_a_diagonal_law_has_the_levels_of_the_full_one(start):
    mean = np.linspace(-3.0, 3.0, len(SPECTRUM))
    full = optimal_times(Gaussian(mean, np.diag(SPECTRUM)), 5, "heun", start=start)
    diagonal = Gaussian.diagonal(mean, SPECTRUM)
    np.testing.assert_allclose(optimal_times(diagonal, 5, "heun", start=start), full, rtol=1e-9)


def test_bad_input():
    law = gaussian()
    assert np.array_equal(optimal_times(law, 3, samplers.heun()), optimal_times(law, 3, "heun"))
    with pytest.raises(ValueError, match="1e-6 to 1e6 times the law's spread"):
        optimal_times(law, 3, sigma_max=1e12)
    with pytest.raises(ValueError, match="unknown sampler 'ddpm'; choose one of 'ddim'"):
        optimal_times(law, 5, "ddpm")
    with pytest.raises(ValueError, match="start must be"):
        optimal_times(law, 5, start="marginal")
    with pytest.raises(ValueError, match="sigma_max"):
        optimal_times(law, 5, sigma_max=0.0)
    with pytest.raises(ValueError, match="num_steps"):
        optimal_times(law, 0)
    with pytest.raises(ValueError, match="no variance"):
        optimal_times(Gaussian(np.ones(2), np.zeros((2, 2))), 5)
    with pytest.raises(TypeError, match="Gaussian or a Mixture"):
        optimal_times(np.eye(3), 5)
    for sigmas in ([80.0, 1.0], [1.0, 80.0, 0.0], [0.0], [80.0, np.nan, 0.0]):
        with pytest.raises(ValueError, match="falling levels"):
            Levels(sigmas)
    with pytest.raises(ValueError, match="has one step"):
        Levels([80.0, 0.0]).times(2)
