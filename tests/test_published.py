"""Published results about Gaussian and linear diffusion models, found again.

Numbers are quoted with their source; where a whole table is compared, it is read from
$LINEARDIFFUSION_DATA/wang-vastola (benchmarks/published.py downloads it), and the test is skipped without it.

References
----------
Wang and Vastola (2024), The unreasonable effectiveness of Gaussian score approximation for diffusion models and its
applications. TMLR. Tables: https://github.com/Animadversio/GaussianTeleportationDiffusion
Bradley and Nakkiran (2024), Classifier-free guidance is a predictor-corrector.
Merger and Goldt (2025), Generalization dynamics of linear diffusion models.
"""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import digamma

from lineardiffusion import Gaussian, LinearDiffusion, samplers
from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.diffusion.denoisers import GaussianDenoiser, MixtureDenoiser
from lineardiffusion.diffusion.schedules import Karras
from lineardiffusion.statistics.moments import Moments

LOSSES = "MNIST_gmm_ansatz_kmeans_loss_timesplit_organize.csv"
SCORES = "cifar10_uncond_edm_vp_pretrained_epoch_gmm_exp_var_gmm_rk.csv"


def read(*parts):
    path = Path(os.environ.get("LINEARDIFFUSION_DATA", ""), *parts)
    if not path.is_file():
        pytest.skip(f"needs {Path(*parts)} in LINEARDIFFUSION_DATA; see benchmarks/published.py")
    return path


def table(name):
    with read("wang-vastola", name).open(newline="") as file:
        return list(csv.DictReader(file))


def gains(variance, sigma):
    """The gains g (d,) of the denoiser D(x) = m + g (x - m) in principal coordinates, alpha = 1."""
    denoiser = GaussianDenoiser(np.zeros((1, len(variance))), variance[None])
    return denoiser(Affine.identity(1, len(variance), diagonal=True), 1.0, sigma).rows[0, 0]


def loss(variance, rank, sigma):
    """E |sigma score + n|^2 of the Gaussian that keeps the first `rank` of the variances."""
    g = gains(np.where(np.arange(len(variance)) < rank, variance, 0.0), sigma)
    return ((1 - g) ** 2 * variance + g**2 * sigma**2).sum() / sigma**2


def level(time):
    """The noise level of the variance exploding SDE dx = 10^t dw."""
    return np.sqrt((100.0**time - 1) / (2 * np.log(10)))


@pytest.fixture(scope="module")
def spectrum(mnist):
    """The eigenvalues of MNIST's 60,000 training images, of the standard deviation 1 over all pixels."""
    pixels = mnist[1][:60000].reshape(60000, 784)
    moments = Moments.of(pixels, np.zeros(60000), 1)
    variance = np.trace(moments.covariance[0]) + ((moments.mean - moments.mean.mean()) ** 2).sum()
    return np.maximum(np.linalg.eigvalsh(moments.covariance[0])[::-1], 0.0) * 784 / variance


@pytest.mark.mnist
def test_losses_of_wang_and_vastola(spectrum):
    """Nine of the 561 cells: ranks 784, 128 and 8 at the first, the middle and the last of 51 times."""
    cells = {784: (582.29, 73.800, 16.513), 128: (35317.0, 75.069, 16.536), 8: (311554.0, 167.04, 19.084)}
    for rank, row in cells.items():
        for time, value in zip((1e-3, 0.5005, 1.0), row, strict=True):
            assert loss(spectrum, rank, level(time)) == pytest.approx(value, rel=0.01)


@pytest.mark.mnist
def test_all_561_losses_of_wang_and_vastola(spectrum):
    rows = [row for row in table(LOSSES) if row["n_clusters"] == "1"]
    ranks = [int(row["n_rank"]) for row in rows]
    theirs = np.array([[float(row[f"loss_t{i}"]) for i in range(51)] for row in rows])

    def deviation(shift, keep):
        times = np.linspace(1e-3, 1, 51) + shift
        return np.abs([[loss(spectrum, r + keep, level(t)) for t in times] for r in ranks] / theirs - 1)

    assert theirs.size == 561
    assert deviation(0.0, 0).max() < 0.01
    assert deviation(0.02, 0).min() > 0.01  # control: one column off
    assert deviation(0.0, 1).max() > 0.02  # control: one eigenvalue more


def test_explained_shares_of_wang_and_vastola():
    """CIFAR-10: the square of the Gaussian's score over that of the network's, as published, is the share."""
    variance = np.load(read("pierret-galerne", "cifar10_eigenvalues.npy"))
    rows = {(row["name"], float(row["sigma"])): row for row in table(SCORES)}
    sigmas = sorted({sigma for _, sigma in rows if sigma >= 0.05})
    assert len(sigmas) == 14

    def stated(name, column):
        return np.array([float(rows[name, s][column]) for s in sigmas])

    def squares(variance):
        return np.array([((1 - gains(variance, s)) ** 2 * (variance + s**2)).sum() / s**4 for s in sigmas])

    def z_score(ours):  # in standard errors of their 2048 draws
        z = (ours - stated("gaussian", "St_Var")) / stated("gaussian", "St_Var_std") * np.sqrt(2048)
        return np.sqrt((z**2).mean())

    ours, total, share = squares(variance), stated("EDM", "St_Var"), stated("gaussian", "St_EV")
    assert z_score(ours) < 2
    np.testing.assert_allclose(ours / total, share, rtol=0.01)
    white = squares(np.full(3072, variance.mean()))  # control: the same total variance
    assert z_score(white) > 20
    assert np.abs(white / total / share - 1)[:6].min() > 0.05


def test_what_a_gaussian_explains_of_any_score_is_a_ratio_of_squares():
    """E |S - G|^2 = E |S|^2 - E |G|^2 for the true score S of a mixture and the Gaussian G of its moments."""
    rng = np.random.default_rng(0)
    mean, variance, sigma = 2 * rng.normal(size=(3, 4)), rng.uniform(0.1, 2.0, (3, 4)), 0.7
    weights, n = np.array([0.5, 0.3, 0.2]), 20000
    mixture = MixtureDenoiser(GaussianDenoiser(mean, variance), weights)
    centre = weights @ mean
    covariance = np.diag(weights @ variance) + ((mean - centre).T * weights) @ (mean - centre)
    part = rng.choice(3, n, p=weights)
    x = mean[part] + np.sqrt(variance[part] + sigma**2) * rng.normal(size=(n, 4))
    S = (mixture(x[None], 1.0, sigma)[0] - x) / sigma**2

    def z_score(covariance):
        eigenvalues, basis = np.linalg.eigh(covariance)
        G = (GaussianDenoiser(centre[None], eigenvalues[None], basis[None])(x[None], 1.0, sigma)[0] - x) / sigma**2
        excess = ((S - G) ** 2).sum(axis=1) - (S**2).sum(axis=1) + (1 / (eigenvalues + sigma**2)).sum()
        return abs(excess.mean()) / (excess.std() / np.sqrt(n))

    assert z_score(covariance) < 4
    assert z_score(1.3 * covariance) > 8  # control


def test_teleportation_adds_no_error_of_its_own(tiny):
    """The exact jump over the first levels, then Heun's method, is nearer to the exact solution than Heun's."""
    moments = Moments.of(tiny[1].reshape(90, 12), np.zeros(90), 1)
    denoiser = GaussianDenoiser.from_moments(moments)
    schedule, x = Karras(sigma_max=800.0), 800 * np.random.default_rng(1).normal(size=(1, 50, 12))
    times = schedule.times(18)
    exact = denoiser.flow(x, (1.0, times[0]), (1.0, 0.0))

    def error(skipped):
        start = denoiser.flow(x, (1.0, times[0]), (1.0, times[skipped]))
        *_, end = samplers.heun()(denoiser, start, schedule, times[skipped:], None)
        return np.sqrt(((end - exact) ** 2).mean())

    assert error(17) < 1e-3 < error(0)
    assert error(5) < error(0)


@pytest.fixture(scope="module")
def toy():
    """One pixel: prompt "c" has the law N(0, 1), all images together N(0, 2)."""
    images = np.array([-1.0, 1.0, -(3**0.5), 3**0.5]).reshape(4, 1, 1)
    ld = LinearDiffusion(n_components=1, shrinkage=0, schedule=Karras(sigma_max=1000.0, sigma_min=1e-4))
    return ld.fit(["c", "c", "other", "other"], images)


@pytest.mark.parametrize("w", [1.5, 6.0])
def test_ddim_ddpm_and_the_tilted_density_are_three_laws(toy, w):
    """Bradley and Nakkiran: with a = w / (1 + t) + (1 - w) / (2 + t), dV/dt = a V (flow) and 2 a V - 1 (SDE)."""
    flow, sde, tilted = 2 ** (1 - w), (2 - 2 ** (2 - 2 * w)) / (2 * w - 1), 2 / (w + 1)

    def slope(u, V):  # in u = log t
        t = np.exp(u)
        a = w / (1 + t) + (1 - w) / (2 + t)
        return t * np.array([a * V[0], 2 * a * V[1] - 1])

    ends = np.log([1e6, 1e-9])
    solved = solve_ivp(slope, ends, [1e6, 1e6], method="LSODA", rtol=1e-9, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(solved, [flow, sde], rtol=1e-4)

    def variance(**sampling):
        return toy.law("c", guidance_scale=w, **sampling).covariance[0, 0] * toy.scaling_factor_**2

    assert variance(sampler="exact") == pytest.approx(flow, rel=1e-5)
    for sampler, limit in (("ddim", flow), ("ddpm", sde)):
        coarse, fine = (variance(sampler=sampler, num_steps=n) for n in (250, 500))
        assert (coarse - limit) / (fine - limit) == pytest.approx(2, abs=0.1)  # first order
        assert 2 * fine - coarse == pytest.approx(limit, rel=5e-3)
    assert flow < 0.95 * sde < 0.95**2 * tilted  # they differ by more than the samplers' errors


@pytest.mark.parametrize(("sampler", "n"), [("exact", 1), ("ddim", 3), ("ddpm", 3), ("heun", 8)])
def test_guidance_between_equal_covariances_moves_the_mean_alone(sampler, n):
    """N(m + (w - 1) (m - m_all), S) with any sampler, at any number of steps."""
    rng, w = np.random.default_rng(0), 2.5
    base = rng.normal(size=(20, 3)) @ rng.normal(size=(3, 3))
    m, m_all = rng.normal(size=(2, 3))
    images = np.concatenate([base + m, base + m_all, base + m + (w - 1) * (m - m_all)]).reshape(-1, 1, 3)
    ld = LinearDiffusion(n_components=3, shrinkage=0, sampler=sampler, num_steps=n)
    ld.fit(np.repeat(["c", "all", "predicted"], 20).tolist(), images)
    predicted = ld.law("predicted")
    assert ld.law("c", guidance_scale=w, negative_prompt="all").wasserstein(predicted) < 1e-6
    assert ld.law("c", guidance_scale=w).wasserstein(predicted) > 0.1  # control: pooled, of another covariance


def expected_kl(d, n):
    """E KL(truth || maximum likelihood estimate of n samples): n C is Wishart with n - 1 degrees of freedom."""
    logs = digamma((n - np.arange(1, d + 1)) / 2).sum() + d * np.log(2 / n)
    return 0.5 * (d * (n + 1) / (n - d - 2) - d + logs)


@pytest.mark.parametrize("power", [0, 2], ids=["white", "power law"])
def test_the_divergence_of_a_fit_falls_as_d_over_n(power):
    """Merger and Goldt: linearly in d / N, whatever the spectrum; the divergence itself is known for every N."""
    d, fits, rng = 6, 30, np.random.default_rng(0)
    truth = Gaussian(np.zeros(d), np.diag(np.arange(1.0, d + 1) ** -power))

    def fitted(n):
        ld = LinearDiffusion(n_components=d, shrinkage=0).fit(["x"] * n, truth.draw(n, rng)[:, None])
        law, V = ld.law("x"), ld.components_ * ld.scaling_factor_
        return Gaussian(ld.decode(law.mean[None]).ravel(), V.T @ law.covariance @ V)

    found = {}
    for n in (20, 80, 320):
        laws = [fitted(n) for _ in range(fits)]
        kl = np.array([truth.kl(law) for law in laws])
        assert abs(kl.mean() - expected_kl(d, n)) < 4 * kl.std() / np.sqrt(fits)
        assert n == 320 or kl.mean() > 1.1 * d * (d + 3) / 4 / n  # control: the leading term alone is too small
        found[n] = kl.mean(), np.mean([truth.wasserstein(law) for law in laws])
    slopes = np.log(np.array(found[80]) / found[320]) / np.log(4)
    assert slopes == pytest.approx([1.0, 0.5], abs=0.2)  # the distance itself falls as its root: the control
    assert expected_kl(d, 10**6) == pytest.approx(d * (d + 3) / 4 / 10**6, rel=1e-4)
