"""The law against scipy's normal distribution, its draws, and the Bures distance by other roads."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from lineardiffusion.gaussian import Gaussian


def random_law(d, seed, rank=None):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(rank or d + 2, d))
    return Gaussian(rng.normal(size=d), root.T @ root)


laws = st.builds(random_law, st.integers(1, 6), st.integers(0, 2**32))


@settings(deadline=None)
@given(laws, st.integers(0, 2**32))
def test_log_prob_is_scipys(law, seed):
    x = law.mean + np.random.default_rng(seed).normal(size=(2, 3, len(law.mean)))
    truth = stats.multivariate_normal(law.mean, law.covariance, allow_singular=True).logpdf(x)
    condition = np.linalg.cond(law.covariance)
    np.testing.assert_allclose(law.log_prob(x), truth.reshape(2, 3), rtol=1e-13 * condition + 1e-11)
    np.testing.assert_allclose(law.log_prob(x[0, 0]), law.log_prob(x)[0, 0], rtol=1e-10)


def p_values(x, law):
    """Of draws (n, d) under a law: Mahalanobis distances, mean, covariance."""
    n, d = x.shape
    white = scipy.linalg.solve_triangular(np.linalg.cholesky(law.covariance), (x - law.mean).T, lower=True).T
    excess = (white.T @ white / n - np.eye(d)) * np.sqrt(n)
    terms = np.concatenate([np.diag(excess) / np.sqrt(2), excess[np.triu_indices(d, 1)]])
    return [
        stats.kstest((white**2).sum(axis=1), stats.chi2(d).cdf).pvalue,
        stats.chi2(d).sf(n * (white.mean(axis=0) ** 2).sum()),
        stats.chi2(len(terms)).sf((terms**2).sum()),
    ]


def test_draws_follow_the_law():
    law = random_law(5, seed=0)
    x = law.draw(20_000, seed=1)
    assert min(p_values(x, law)) > 1e-3

    wider = Gaussian(law.mean, 1.05 * law.covariance)  # controls: laws that are a little wrong
    moved = Gaussian(law.mean + 0.05 * np.sqrt(np.diag(law.covariance)), law.covariance)
    turned = Gaussian(law.mean, law.covariance + 0.05 * np.diag(np.diag(law.covariance)))
    ks, _, covariance = p_values(x, wider)
    assert max(ks, covariance) < 1e-6
    assert p_values(x, moved)[1] < 1e-6
    assert p_values(x, turned)[2] < 1e-6


def test_draws_are_the_mean_plus_a_root_of_the_covariance_times_the_seeds_noise():
    law = random_law(4, seed=2, rank=2)  # singular
    n = np.random.default_rng(7).normal(size=(9, 4))
    root = np.linalg.lstsq(n, law.draw(9, seed=7) - law.mean)[0]
    np.testing.assert_allclose(root.T @ root, law.covariance, atol=1e-12)
    np.testing.assert_allclose(n @ root + law.mean, law.draw(9, seed=7), atol=1e-12)
    np.testing.assert_array_equal(law.draw(9, np.random.default_rng(7)), law.draw(9, seed=7))


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32))
def test_wasserstein_is_the_bures_formula(d, seed):
    a, b = random_law(d, seed), random_law(d, seed + 1)
    overlap = np.trace(scipy.linalg.sqrtm(a.covariance @ b.covariance)).real
    squared = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance) - 2 * overlap
    size = np.trace(a.covariance + b.covariance)
    assert a.wasserstein(b) ** 2 == pytest.approx(squared, abs=1e-7 * size)
    assert a.wasserstein(b) == pytest.approx(b.wasserstein(a), rel=1e-7)
    assert a.wasserstein(a) < 1e-6 * np.sqrt(size)


def test_wasserstein_is_not_the_distance_of_the_roots():
    """Control: |C_a^(1/2) - C_b^(1/2)| is W for laws with the same axes only, and an upper bound else."""
    stretch, turn = np.diag([9.0, 0.01]), np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
    a, b = Gaussian(np.zeros(2), stretch), Gaussian(np.zeros(2), turn @ stretch @ turn.T)
    roots = scipy.linalg.sqrtm(a.covariance).real - scipy.linalg.sqrtm(b.covariance).real
    assert a.wasserstein(b) < 0.9 * np.linalg.norm(roots)


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**32))
def test_wasserstein_of_laws_with_the_same_axes(d, seed):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    s, r, mean = rng.uniform(0, 3, d), rng.uniform(0, 3, d), rng.normal(size=d)
    s[0] = 0.0  # singular
    a, b = (Gaussian(m, (basis * deviation**2) @ basis.T) for m, deviation in ((mean, s), (0 * mean, r)))
    closed = np.sqrt(np.sum(mean**2) + np.sum((s - r) ** 2))
    assert a.wasserstein(b) == pytest.approx(closed, rel=1e-6)
    assert b.wasserstein(a) == pytest.approx(closed, rel=1e-6)


def test_wasserstein_on_the_line_is_the_distance_of_the_quantiles():
    a, b = Gaussian(np.array([1.0]), np.array([[4.0]])), Gaussian(np.array([-0.5]), np.array([[0.25]]))
    squared = quad(lambda u: (stats.norm.ppf(u, 1, 2) - stats.norm.ppf(u, -0.5, 0.5)) ** 2, 0, 1)[0]
    assert a.wasserstein(b) == pytest.approx(np.sqrt(squared), rel=1e-7)


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 2**32), st.floats(1e-3, 10.0))
def test_a_singular_law_has_no_density_until_it_is_made_regular(d, rank, seed, floor):
    rank = min(rank, d - 1)
    law = random_law(d, seed, rank=rank)
    assert law.rank == rank
    with pytest.raises(ValueError, match=f"varies in {rank} of its {d} directions"):
        law.log_prob(law.mean)
    variance, basis = np.linalg.eigh(law.covariance)
    expected = (basis * np.where(variance < floor, floor, variance)) @ basis.T
    regular = law.regular(floor)
    np.testing.assert_allclose(regular.covariance, expected, atol=1e-11 * (floor + np.trace(law.covariance)))
    assert regular.rank == d
    assert regular.regular((1 - 1e-6) * floor) is regular
    assert np.isfinite(regular.log_prob(law.mean))


def test_a_point_is_a_law():
    point = Gaussian(np.array([2.0, -1.0]), np.zeros((2, 2)))
    assert point.rank == 0
    np.testing.assert_array_equal(point.draw(3, seed=0), np.tile([2.0, -1.0], (3, 1)))
    other = Gaussian(np.array([5.0, 3.0]), np.diag([9.0, 2.25]))
    assert point.wasserstein(other) == pytest.approx(np.sqrt(3**2 + 4**2 + 9 + 2.25), rel=1e-12)
    np.testing.assert_allclose(point.regular(0.5).covariance, 0.5 * np.eye(2))
