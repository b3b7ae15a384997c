"""The law against scipy's normal distribution, POT, its draws, and itself computed in other ways."""

import numpy as np
import ot
import pytest
import scipy.linalg
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import dblquad, quad

from lineardiffusion.distributions.gaussian import Gaussian
from lineardiffusion.distributions.mixture import Mixture


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
    pot = ot.gaussian.bures_wasserstein_distance(a.mean, b.mean, a.covariance, b.covariance)
    assert a.wasserstein(b) == pytest.approx(pot, abs=1e-6 * np.sqrt(size))


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
    with pytest.raises(ValueError, match=f"{rank} of its {d}"):
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


def test_a_marginal_is_the_law_of_the_coordinates():
    law = random_law(5, seed=3)
    part = law.marginal([3, 0])
    x = law.draw(20_000, seed=4)
    assert min(p_values(x[:, [3, 0]], part)) > 1e-3
    assert min(p_values(x[:, [0, 3]], part)) < 1e-6  # control: in another order
    np.testing.assert_array_equal(law.marginal(np.arange(5) < 2).covariance, law.covariance[:2, :2])
    np.testing.assert_array_equal(law.marginal(slice(1, 4)).mean, law.mean[1:4])
    np.testing.assert_array_equal(law.marginal(-1).mean, law.mean[4:])
    assert law.marginal([1, 1]).rank == 1


def measurement(d, m, seed):
    """y, A and R."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(m + 1, m))
    return rng.normal(size=m), rng.normal(size=(m, d)), root.T @ root / 4


@settings(deadline=None)
@given(laws, st.integers(1, 8), st.integers(0, 2**32))
def test_conditioning_is_the_textbooks(law, m, seed):
    """By the information form, C'^-1 = C^-1 + A^T R^-1 A."""
    y, A, R = measurement(len(law.mean), m, seed)
    given = law.condition(y, A, R)
    of_law, of_y = np.linalg.inv(law.covariance), A.T @ np.linalg.inv(R)
    covariance = np.linalg.inv(of_law + of_y @ A)
    rtol = 1e-11 + 1e-13 * np.linalg.cond(law.covariance) * np.linalg.cond(R)
    size = np.abs(covariance).max()
    np.testing.assert_allclose(given.covariance, covariance, atol=rtol * size)
    mean = covariance @ (of_law @ law.mean + of_y @ y)
    np.testing.assert_allclose(given.mean, mean, atol=rtol * (np.abs(mean).max() + np.sqrt(size)) * 10)


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**32))
def test_the_product_rule(d, seed):
    """log p(a, b) = log p(b) + log p(a | b), for coordinates, with no noise."""
    law, rng = random_law(d, seed), np.random.default_rng(seed)
    x, order = law.draw(1, rng)[0], rng.permutation(d)
    a, b = order[: d // 2], order[d // 2 :]
    given = law.condition(x[b], b)
    np.testing.assert_allclose(given.mean[b], x[b], rtol=1e-9, atol=1e-9)
    assert given.rank == len(a)
    both = law.marginal(b).log_prob(x[b]) + given.marginal(a).log_prob(x[a])
    assert law.log_prob(x) == pytest.approx(both, rel=1e-12 * np.linalg.cond(law.covariance) + 1e-8)


@pytest.mark.parametrize("rank", [2, 4, 6])
def test_two_measurements_one_after_the_other_are_both_at_once(rank):
    law = random_law(6, seed=5, rank=rank)
    x, rng = law.draw(1, seed=6)[0], np.random.default_rng(7)
    A, B, R = rng.normal(size=(2, 6)), rng.normal(size=(1, 6)), np.diag([0.5, 0.1])
    noisy, exact = A @ x + [0.3, -0.2], B @ x
    noise = np.diag([0.5, 0.1, 0.0])
    at_once = law.condition(np.concatenate([noisy, exact]), np.vstack([A, B]), noise)
    assert at_once.rank == rank - 1  # the noise-free row fixes one direction
    for other in (law.condition(noisy, A, R).condition(exact, B), law.condition(exact, B).condition(noisy, A, R)):
        np.testing.assert_allclose(other.mean, at_once.mean, atol=1e-11)
        np.testing.assert_allclose(other.covariance, at_once.covariance, atol=1e-11)
    again = at_once.condition(exact, B)  # what is known already changes nothing
    np.testing.assert_allclose(again.covariance, at_once.covariance, atol=1e-12)
    sparse = law.condition(exact, scipy.sparse.csr_array(B))
    np.testing.assert_array_equal(sparse.mean, law.condition(exact, B).mean)


def test_conditions_are_what_is_left_of_draws_that_fit():
    """Draws whose y comes within a window of the one given; the window's width is noise of that variance."""
    law = Gaussian(np.array([1.0, -1.0, 0.0]), random_law(3, seed=8).covariance)
    A, y, width = np.array([[1.0, 2.0, 0.0]]), 0.5, 0.4
    x, rng = law.draw(400_000, seed=9), np.random.default_rng(10)
    fits = rng.uniform(size=len(x)) < np.exp(-0.5 * ((y - x @ A[0]) / width) ** 2)  # the noise's likelihood
    left = x[fits]
    assert len(left) > 10_000
    given = law.condition([y], A, [[width**2]])
    assert min(p_values(left, given)) > 1e-3
    # controls: the law before, one without the noise's width, and one of another y
    assert min(p_values(left, law)) < 1e-6
    assert min(p_values(left, law.condition([y], A, [[4 * width**2]]))) < 1e-6
    assert min(p_values(left, law.condition([y + 0.1], A, [[width**2]]))) < 1e-6


def test_a_singular_law_is_conditioned_on_its_plane():
    """x = (u, u, v): a measurement of one u tells the other, one of both must agree."""
    law = Gaussian(np.ones(3), np.array([[2.0, 2.0, 1.0], [2.0, 2.0, 1.0], [1.0, 1.0, 2.0]]))
    given = law.condition([3.0, 3.0], [0, 1])
    np.testing.assert_allclose(given.mean, [3.0, 3.0, 2.0], rtol=1e-12)
    np.testing.assert_allclose(given.covariance, np.diag([0.0, 0.0, 1.5]), atol=1e-12)
    assert given.rank == 1
    with pytest.raises(ValueError, match="probability 0"):
        law.condition([3.0, 3.1], [0, 1])
    with pytest.raises(ValueError, match="probability 0"):
        given.condition([3.1], [0])
    between = law.condition([3.0, 3.1], [0, 1], 1e-4 * np.eye(2))
    np.testing.assert_allclose(between.mean[:2], [3.05, 3.05], atol=1e-3)
    point = law.condition([3.0, 2.0], [0, 2])
    assert point.rank == 0
    np.testing.assert_allclose(point.mean, [3.0, 3.0, 2.0], rtol=1e-12)
    np.testing.assert_allclose(point.condition([5.0], [[1.0, 0.0, 1.0]]).mean, point.mean, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_conditions_have_no_unit(scale):
    law = random_law(4, seed=11, rank=3)
    y, A = law.draw(1, seed=12)[0][:2], np.eye(4)[:2]
    scaled = Gaussian(scale * law.mean, scale**2 * law.covariance).condition(y, A / scale)
    np.testing.assert_allclose(scaled.mean / scale, law.condition(y, A).mean, rtol=1e-9)
    assert scaled.rank == law.condition(y, A).rank == 1


@pytest.mark.parametrize("seed", range(2))
def test_kl_is_the_integral(seed):
    a, b = random_law(1, seed), random_law(1, seed + 10)

    def integrand(*x):
        return np.exp(a.log_prob(x)) * (a.log_prob(x) - b.log_prob(x))

    low, high = a.mean[0] + 12 * np.sqrt(a.covariance[0, 0]) * np.array([-1, 1])
    assert a.kl(b) == pytest.approx(quad(integrand, low, high, epsabs=1e-10)[0], rel=1e-7)
    a, b = Gaussian([0.0, 1.0], [[1.0, 0.5], [0.5, 1.0]]), random_law(2, seed)
    assert a.kl(b) == pytest.approx(dblquad(integrand, -8, 8, -7, 9, epsabs=1e-6)[0], rel=1e-4)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32))
def test_kl_is_the_textbooks_and_that_of_draws(d, seed):
    a, b = random_law(d, seed), random_law(d, seed + 1)
    inverse, step = np.linalg.inv(b.covariance), a.mean - b.mean
    log_dets = [np.linalg.slogdet(law.covariance)[1] for law in (a, b)]
    closed = (np.trace(inverse @ a.covariance) + step @ inverse @ step - d + log_dets[1] - log_dets[0]) / 2
    assert a.kl(b) == pytest.approx(closed, rel=1e-7 + 1e-13 * np.linalg.cond(b.covariance), abs=1e-9)
    assert a.kl(a) == pytest.approx(0.0, abs=1e-9)


def test_the_estimate_of_kl_is_off_by_its_standard_error():
    a, b = random_law(3, seed=1), random_law(3, seed=2)
    found = np.array([a.kl_estimate(b, 500, seed=seed) for seed in range(400)])
    z = (found[:, 0] - a.kl(b)) / found[:, 1]
    assert abs(z.mean()) < 0.3
    assert 0.8 < z.std() < 1.25
    assert a.kl_estimate(b, 500, seed=3) == tuple(found[3])
    assert abs(found[:, 0].mean() - b.kl(a)) > 10 * found[:, 0].std() / 20  # control: the other direction


def test_kl_on_planes():
    """The same number in the plane's own coordinates; infinite if one has what the other has not."""
    a, b = random_law(2, seed=3), random_law(2, seed=4)
    up = np.linalg.qr(np.random.default_rng(5).normal(size=(4, 2)))[0]
    flat_a, flat_b = (Gaussian(up @ law.mean + 1.0, up @ law.covariance @ up.T) for law in (a, b))
    assert flat_a.kl(flat_b) == pytest.approx(a.kl(b), rel=1e-9)
    assert flat_a.kl_estimate(flat_b, seed=0) == pytest.approx(a.kl_estimate(b, seed=1), rel=0.05)
    beside = Gaussian(flat_b.mean + 0.01 * np.linalg.svd(up)[0][:, 3], flat_b.covariance)
    line = flat_a.condition(flat_a.mean[:1], [0])
    for p, q in ((flat_a, beside), (flat_a, flat_b.regular(1.0)), (flat_a.regular(1.0), flat_b), (line, flat_a)):
        assert p.kl(q) == np.inf
        assert p.kl_estimate(q, 10) == (np.inf, 0.0)
    crossed = Gaussian(np.zeros(2), np.diag([1e-18, 0.0]))
    assert crossed.kl(Gaussian(np.zeros(2), np.diag([0.0, 1.0]))) == np.inf
    point = Gaussian(np.ones(2), np.zeros((2, 2)))
    assert point.kl(point) == 0.0
    assert point.kl(Gaussian(np.zeros(2), np.zeros((2, 2)))) == np.inf


EYE, ZERO = np.eye(2), np.zeros(2)
LAW = Gaussian(ZERO, EYE)
BAD = [
    (lambda: Gaussian(1.0, EYE), ValueError, r"\(d,\)"),
    (lambda: Gaussian([], np.zeros((0, 0))), ValueError, "1 or more"),
    (lambda: Gaussian([np.nan, 0.0], EYE), ValueError, "finite"),
    (lambda: Gaussian(np.zeros(3), EYE), ValueError, r"\(3, 3\)"),
    (lambda: Gaussian(ZERO, [[1.0, np.inf], [np.inf, 1.0]]), ValueError, "finite"),
    (lambda: Gaussian(ZERO, [[1.0, 0.5], [0.4, 1.0]]), ValueError, "symmetric"),
    (lambda: Gaussian(ZERO, [[1.0, 2.0], [2.0, 1.0]]).rank, ValueError, "eigenvalue"),
    (lambda: Gaussian(ZERO, -EYE).draw(1), ValueError, "eigenvalue"),
    (lambda: LAW.log_prob([1.0, 2.0, 3.0]), ValueError, r"\(3,\)"),
    (lambda: LAW.log_prob(1.0), ValueError, r"got \(\)"),
    (lambda: LAW.marginal([0, 2]), IndexError, "index 2"),
    (lambda: LAW.marginal([]), IndexError, "coordinates"),
    (lambda: LAW.marginal([[0]]), IndexError, "dimension"),
    (lambda: LAW.condition([1.0], [5]), IndexError, "0 to 1"),
    (lambda: LAW.condition([1.0], [0.5, 0.5]), IndexError, "integer"),
    (lambda: LAW.condition([1.0], np.ones((1, 3))), ValueError, r"\(m, 2\)"),
    (lambda: LAW.condition(1.0, [0]), ValueError, r"\(1,\)"),
    (lambda: LAW.condition([np.nan], [0]), ValueError, "leave"),
    (lambda: LAW.condition([1.0], [0], 0.1), ValueError, r"s\*\*2"),
    (lambda: LAW.condition([1.0], [0], EYE), ValueError, r"\(1, 1\)"),
    (lambda: LAW.condition([1.0], [0], [[-1.0]]), ValueError, "eigenvalue"),
    (lambda: LAW.condition([1.0, 3.0], [[1.0, 1.0], [2.0, 2.0]]), ValueError, "probability 0"),
    (lambda: LAW.wasserstein(random_law(3, 0)), ValueError, "same d"),
    (lambda: LAW.wasserstein(ZERO), TypeError, "ndarray"),
    (lambda: LAW.kl(Mixture([1.0], [LAW])), TypeError, "kl_estimate"),
    (lambda: LAW.kl(random_law(3, 0)), ValueError, "same d"),
    (lambda: LAW.kl_estimate(LAW, 1), ValueError, "2 or more"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_what_float32_rounds_is_no_error():
    law = random_law(5, seed=0)
    single = Gaussian(law.mean.astype(np.float32), law.covariance.astype(np.float32))
    assert single.mean.dtype == single.covariance.dtype == np.float64
    x = law.draw(1, seed=1)[0].astype(np.float32)
    A = np.vstack([np.eye(5), np.ones(5)])
    assert single.condition(A.astype(np.float32) @ x, A).rank == 0
