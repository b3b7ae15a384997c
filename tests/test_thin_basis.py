"""Gaussians of low rank: a thin basis gives what the whole one gives with variances 0, everywhere."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.diffusion.denoisers import GaussianDenoiser, MixtureDenoiser
from lineardiffusion.diffusion.guidance import Combination
from lineardiffusion.diffusion.samplers import SAMPLERS, ddim, get_sampler
from lineardiffusion.diffusion.schedules import SCHEDULES, get_schedule
from lineardiffusion.diffusion.trajectory import Trajectory, compose, simulate

P, D, R = 3, 7, 3
LEVELS = [(0.0, 1.0), (0.02, 1.0), (0.6, 0.8), (1.0, 80.0), (1.0, 0.3), (0.999, 1e-3)]


@pytest.fixture(scope="module")
def pair():
    """The same three Gaussians, one of them of rank 1, with a thin basis and with the whole one."""
    rng = np.random.default_rng(0)
    whole = np.linalg.qr(rng.normal(size=(P, D, D))).Q
    variance, mean = rng.exponential(size=(P, D)), 2 * rng.normal(size=(P, D))
    variance[:, R:] = variance[1, 1:] = 0.0
    thin = whole[:, :, :R].copy()
    thin[1, :, 1:] = 0.0  # as styles of few images have it
    return GaussianDenoiser(mean, variance[:, :R], thin), GaussianDenoiser(mean, variance, whole)


def points(m=5, seed=1):
    return np.random.default_rng(seed).normal(size=(P, m, D))


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_denoiser_flow_and_coordinates(pair, alpha, sigma):
    thin, full = pair
    assert thin.is_thin
    assert not full.is_thin
    x = sigma * points() + alpha * thin.mean[:, None]
    assert_allclose(thin(x, alpha, sigma), full(x, alpha, sigma), atol=1e-12)
    for end in [(0.9, 0.1), (1.0, 0.0)]:
        expected = full.flow(x, (alpha, sigma), end)
        assert_allclose(thin.flow(x, (alpha, sigma), end), expected, atol=1e-12 / sigma)
    maps = [one(Affine.identity(P, D) + x[:, :1], alpha, sigma) for one in pair]
    assert_allclose(maps[0].rows, maps[1].rows, atol=1e-12)
    order = np.array([2, 0])
    assert_allclose(thin.select(order)(x[order], alpha, sigma), full(x, alpha, sigma)[order], atol=1e-12)
    with pytest.raises(ValueError, match="no variance"):
        thin.flow(x, (1.0, 0.0), (alpha, sigma))


def test_the_last_coordinate_is_the_rest_of_the_mean(pair):
    thin, full = pair
    assert full.beyond is None
    for m, Q, rest in zip(thin.mean, thin.basis, thin.beyond, strict=True):
        assert_allclose(Q.T @ rest, 0.0, atol=1e-12)
        spanned = np.linalg.lstsq(np.column_stack([Q, rest]), m, rcond=None)[0]
        assert_allclose(np.column_stack([Q, rest]) @ spanned, m, atol=1e-12)
        assert np.linalg.norm(rest) > 1  # so that leaving it out is found out
    assert thin.coordinates.mean.shape == (P, R + 1)


@pytest.mark.parametrize("schedule", [*SCHEDULES])
@pytest.mark.parametrize("sampler", [*SAMPLERS, "ddim_eta"])
def test_samplers(pair, sampler, schedule):
    """Maps and laws, on few rows and on many, and simulations; "vp" and "karras" start at alpha > 0."""
    sampler = ddim(6, eta=0.5) if sampler == "ddim_eta" else get_sampler(sampler, 6)
    course = Trajectory(sampler, get_schedule(schedule))
    x, y = (compose(one, P, D, course) for one in pair)
    size = max(1.0, float(np.abs(y.rows).max()))
    assert x.rows.shape[2] < D
    assert x.n_noises == y.n_noises
    for name in ("matrix", "root", "offset", "covariance"):
        assert_allclose(getattr(x, name), getattr(y, name), atol=1e-10 * size**2)
    for m in (2, D + 3):
        noises = [points(m, seed) for seed in range(2 if x.n_noises else 1)]
        assert_allclose(x(*noises), y(*noises), atol=1e-10 * size)
        assert_allclose(x[1](*(one[1:2] for one in noises)), y(*noises)[1:2], atol=1e-10 * size)
        single = x(*(one.astype(np.float32) for one in noises))
        assert single.dtype == np.float32
        assert_allclose(single, y(*noises), atol=2e-5 * size)
    U, s, Vt = x[0].singular()
    assert_allclose((U * s) @ Vt, y.matrix[0], atol=1e-10 * size)
    runs = [simulate(one, points(), course, [np.random.default_rng(i) for i in range(5 * P)]) for one in pair]
    *_, (last, expected) = zip(*runs, strict=True)
    assert_allclose(last, expected, atol=1e-9 * size)
    if not x.n_noises:
        assert_allclose(x(points()), last, atol=1e-9 * size)
    wrong = Affine(x.rows, True, x.n_noises, x.basis, 0 * x.beyond)  # control: the mean's part in the basis only
    assert np.abs(wrong.offset - y.offset).max() > 0.1


def test_the_exact_sampler_needs_no_product_beyond_the_basis(pair):
    """From pure noise the other directions are those of the mean: their gain is 0, not nearly."""
    x = compose(pair[0], P, D, Trajectory(get_sampler("exact", 1), get_schedule("cosine")))
    assert not x.rows[:, 0, -1].any()
    assert_allclose(x.offset, pair[0].mean, atol=1e-12)
    law = [(Q * v) @ Q.T for v, Q in zip(pair[0].variance, pair[0].basis, strict=True)]
    assert_allclose(x.covariance, law, atol=1e-12)


@pytest.mark.parametrize("sampler", ["exact", "ddim", "heun"])
def test_combinations(pair, sampler):
    """Guidance with thin bases: a sum of denoisers, composed to a full map."""
    course, maps = Trajectory(get_sampler(sampler, 5), get_schedule("cosine")), []
    for one in pair:
        parts = [one.select(np.array([k])) for k in (0, 2)]
        maps.append(compose(Combination(parts, [1.5, -0.5]), 1, D, course))
    assert_allclose(maps[0].rows, maps[1].rows, atol=1e-6 if sampler == "exact" else 1e-11)
    assert np.abs(maps[0].offset - pair[0].mean[0]).max() > 0.1  # control


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_mixtures(pair, alpha, sigma):
    """The posterior mean of a mixture, whose weights count the distance from each basis and all D directions."""
    weights = np.array([0.2, 0.5, 0.3])
    for k in range(P):
        x = (sigma * points()[k] + alpha * pair[0].mean[k])[None]
        thin, full = (MixtureDenoiser(one, weights)(x, alpha, sigma) for one in pair)
        assert_allclose(thin, full, rtol=1e-6, atol=1e-9)


def test_rotating_random_maps():
    """Rows of any sign and noise, against the matrices of the module's last equation."""
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(P, D, R))).Q
    rest = rng.normal(size=(P, D))
    rest -= (rest[:, None] @ Q @ Q.mT)[:, 0]
    M, tau, b = rng.normal(size=(P, 1, R + 1)), 0.7, rng.normal(size=(P, 1, R + 1))
    x = (M * Affine.identity(P, R + 1, diagonal=True)).with_noise(tau) + b
    x = (0.5 * x).with_noise(0.2).rotate(Q, rest)
    inside, outside = Q @ Q.mT, np.eye(D) - Q @ Q.mT
    matrix = 0.5 * ((Q * M[:, :, :R]) @ Q.mT + M[:, :, R:] * outside)
    offset = 0.5 * ((b[:, :, :R] @ Q.mT)[:, 0] + b[:, 0, R:] * rest)
    assert_allclose(x.matrix, matrix, atol=1e-12)
    assert_allclose(x.offset, offset, atol=1e-12)
    assert_allclose(x.root, np.hypot(0.5 * tau, 0.2) * (inside + outside), atol=1e-12)
    assert_allclose(x.covariance, matrix.mT @ matrix + x.root.mT @ x.root, atol=1e-12)
    z, n = points(), points(seed=2)
    assert_allclose(x(z, n), z @ matrix + offset[:, None] + n @ x.root, atol=1e-12)
    U, s, Vt = x[2].singular()
    assert_allclose((U * s) @ Vt, matrix[2], atol=1e-12)
