"""Mixtures against scikit-learn, POT, quadrature, Bayes' rule on a grid, and draws."""

import numpy as np
import ot
import ot.gmm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from lineardiffusion import Gaussian, Mixture


def random_gaussian(d, rng, rank=None):
    root = rng.normal(size=(rank or d + 2, d))
    return Gaussian(3 * rng.normal(size=d), root.T @ root / len(root))


def random_mixture(d, n, seed, rank=None):
    rng = np.random.default_rng(seed)
    return Mixture(rng.dirichlet(np.ones(n)), [random_gaussian(d, rng, rank) for _ in range(n)])


mixtures = st.builds(random_mixture, st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32))


def arrays(law):
    return [np.array([getattr(c, name) for c in law.components]) for name in ("mean", "covariance")]


def test_log_prob_and_responsibilities_are_scikit_learns():
    law = random_mixture(3, 4, seed=0)
    model = GaussianMixture(4)
    model.weights_, (model.means_, covariance) = law.weights, arrays(law)
    model.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(covariance))
    x = law.draw(50, seed=1)
    np.testing.assert_allclose(law.log_prob(x), model.score_samples(x), rtol=1e-8)
    np.testing.assert_allclose(law.responsibilities(x), model.predict_proba(x), atol=1e-8)
    np.testing.assert_array_equal(law.responsibilities(x.reshape(5, 10, 3)).shape, (5, 10, 4))
    np.testing.assert_allclose(law.responsibilities(x[0]), law.responsibilities(x)[0], atol=1e-12)


@settings(deadline=None)
@given(mixtures, st.integers(0, 2**32))
def test_the_product_rule(law, seed):
    """p(x) p(y | x) = p(y) p(x | y), with noise; y's law is that of the components' y."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(1, 4))
    A, R = rng.normal(size=(m, law.dim)), 0.3 * np.eye(m)
    y, x = rng.normal(size=m), law.draw(5, rng)
    terms = [
        np.log(w) + stats.multivariate_normal(A @ c.mean, A @ c.covariance @ A.T + R).logpdf(y)
        for w, c in zip(law.weights, law.components, strict=True)
    ]
    joint = law.log_prob(x) + stats.multivariate_normal(np.zeros(m), R).logpdf(y - x @ A.T)
    np.testing.assert_allclose(joint, logsumexp(terms) + law.condition(y, A, R).log_prob(x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(law.condition(y, A, R).weights, np.exp(terms - logsumexp(terms)), atol=1e-9)


def test_the_product_rule_without_noise():
    law = random_mixture(4, 3, seed=2)
    x = law.draw(1, seed=3)[0]
    given = law.condition(x[[2, 0]], [2, 0])
    both = law.marginal([2, 0]).log_prob(x[[2, 0]]) + given.marginal([1, 3]).log_prob(x[[1, 3]])
    assert law.log_prob(x) == pytest.approx(both, rel=1e-9)
    np.testing.assert_allclose(given.weights, law.marginal([2, 0]).responsibilities(x[[2, 0]]), atol=1e-12)


def test_two_measurements_one_after_the_other_are_both_at_once():
    law = random_mixture(4, 3, seed=4)
    x = law.draw(1, seed=5)[0]
    at_once, in_turn = law.condition(x[:3], [0, 1, 2]), law.condition(x[1:2], [1]).condition(x[:3:2], [0, 2])
    np.testing.assert_allclose(in_turn.weights, at_once.weights, atol=1e-10)
    np.testing.assert_allclose(in_turn.mean, at_once.mean, atol=1e-10)
    np.testing.assert_allclose(in_turn.covariance, at_once.covariance, atol=1e-10)


def test_conditions_are_what_is_left_of_draws_that_fit():
    law = random_mixture(2, 3, seed=6)
    y, width = law.mean[0], 0.5
    x, rng = law.draw(400_000, seed=7), np.random.default_rng(8)
    left = x[rng.uniform(size=len(x)) < np.exp(-0.5 * ((y - x[:, 0]) / width) ** 2)]
    assert len(left) > 5000
    given = law.condition([y], [0], [[width**2]])

    def p_values(law):
        drawn = law.draw(len(left), seed=9)
        return min(stats.ks_2samp(drawn[:, k], left[:, k]).pvalue for k in range(2))

    assert p_values(given) > 1e-3
    assert p_values(law) < 1e-6  # controls: before y, and with the weights that were before y
    assert p_values(Mixture(law.weights, given.components)) < 1e-6


def test_a_component_of_a_smaller_plane_has_what_lies_on_it():
    """A line, a point on it, and a cloud: each is infinitely denser than the next."""
    cloud, point = Gaussian(np.zeros(2), np.eye(2)), Gaussian(np.array([1.0, 0.0]), np.zeros((2, 2)))
    line = Gaussian(np.zeros(2), np.diag([1.0, 0.0]))
    law = Mixture([0.98, 0.01, 0.01], [cloud, line, point])
    x = np.array([[0.5, 0.5], [0.5, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(law.responsibilities(x), np.eye(3))
    np.testing.assert_array_equal(law.condition([0.0], [1]).weights, [0.0, 0.01 / 0.02, 0.01 / 0.02])
    np.testing.assert_array_equal(law.condition([0.3], [1]).weights, [1.0, 0.0, 0.0])
    little = law.condition([0.0], [1], [[1e-12]])  # the limit of a little noise
    np.testing.assert_allclose(little.weights, law.condition([0.0], [1]).weights, atol=1e-3)
    flat = Mixture([0.5, 0.5], [line, point])
    with pytest.raises(ValueError, match="probability 0"):
        flat.condition([0.3], [1])
    with pytest.raises(ValueError, match="plane"):
        flat.responsibilities(x[:1])
    with pytest.raises(ValueError, match="density"):
        flat.log_prob(x)
    assert np.isfinite(flat.regular(1e-3).log_prob(x)).all()


def test_components_of_no_weight_are_as_if_they_were_not():
    a, point = Gaussian(np.zeros(1), np.eye(1)), Gaussian(np.zeros(1), np.zeros((1, 1)))
    law = Mixture([1.0, 0.0], [a, point])
    assert law.log_prob([0.0]) == pytest.approx(a.log_prob([0.0]))
    np.testing.assert_array_equal(law.responsibilities([0.0]), [1.0, 0.0])
    np.testing.assert_array_equal(law.condition([0.0], [0], [[1.0]]).weights, [1.0, 0.0])
    assert law.wasserstein(a) == pytest.approx(0.0, abs=1e-7)


@settings(deadline=None, max_examples=30)
@given(mixtures, st.integers(1, 5), st.integers(0, 2**32))
def test_wasserstein_is_pots(a, n, seed):
    b = random_mixture(a.dim, n, seed)
    w, v = np.asarray(a.weights), np.asarray(b.weights)
    (m_a, C_a), (m_b, C_b) = arrays(a), arrays(b)
    found, size = a.wasserstein(b), np.trace(a.covariance) + np.trace(b.covariance)
    assert found**2 == pytest.approx(ot.gmm.gmm_ot_loss(m_a, m_b, C_a, C_b, w, v), abs=1e-6 * size)
    costs = np.array([[p.wasserstein(q) ** 2 for q in b.components] for p in a.components])
    assert found**2 == pytest.approx(ot.emd2(w, v, costs), rel=1e-8)
    assert found == pytest.approx(b.wasserstein(a), rel=1e-7)
    assert a.wasserstein(a) < 1e-6 * np.sqrt(size)


def test_wasserstein_bounds_that_of_draws():
    """On the line W is the distance of the quantiles; that of the mixtures is above it, and below that of the
    components in the order they stand in."""
    a, b = random_mixture(1, 3, seed=10), random_mixture(1, 2, seed=11)
    x, y = (np.sort(law.draw(200_000, seed=12 + k)[:, 0]) for k, law in enumerate((a, b)))
    by_draws, found = np.sqrt(np.mean((x - y) ** 2)), a.wasserstein(b)
    assert by_draws < 0.995 * found
    independent = np.sqrt(
        sum(
            w * v * p.wasserstein(q) ** 2
            for w, p in zip(a.weights, a.components, strict=True)
            for v, q in zip(b.weights, b.components, strict=True)
        )
    )
    assert found < 0.995 * independent
    p, q = a.components[0], b.components[0]
    assert Mixture([1.0], [p]).wasserstein(q) == pytest.approx(p.wasserstein(q), rel=1e-9)
    assert p.wasserstein(b) == pytest.approx(b.wasserstein(p), rel=1e-9)


def test_wasserstein_has_no_unit():
    a, b = random_mixture(2, 4, seed=13), random_mixture(2, 3, seed=14)
    small = [
        Mixture(law.weights, [Gaussian(1e-6 * c.mean, 1e-12 * c.covariance) for c in law.components])
        for law in (a, b)
    ]
    assert small[0].wasserstein(small[1]) == pytest.approx(1e-6 * a.wasserstein(b), rel=1e-9)


@pytest.mark.parametrize("n", [1, 3])
def test_the_estimate_of_kl_is_the_integral(n):
    a, b = random_mixture(1, n, seed=15), random_mixture(1, 2, seed=16)
    broad = Mixture([0.5, 0.5], [*b.components[:1], Gaussian(a.mean, 2 * a.covariance)])

    def integrand(x):
        return np.exp(a.log_prob([x])) * (a.log_prob([x]) - broad.log_prob([x]))

    truth = quad(integrand, -30, 30, limit=500, epsabs=1e-9)[0]
    estimate, error = a.kl_estimate(broad, 40_000, seed=0)
    assert abs(estimate - truth) < 4 * error < 0.1
    assert abs(broad.kl_estimate(a, 40_000, seed=0)[0] - truth) > 4 * error  # control: the other way
    if n == 1:
        assert a.components[0].kl_estimate(broad, 40_000, seed=0)[0] == pytest.approx(truth, abs=4 * error)


def test_kl_of_singular_mixtures_compares_what_is_on_the_same_plane():
    line, other = Gaussian(np.zeros(2), np.diag([1.0, 0.0])), Gaussian(np.ones(2), np.diag([1.0, 0.0]))
    cloud = Gaussian(np.zeros(2), np.eye(2))
    both, more = Mixture([0.5, 0.5], [line, cloud]), Mixture([0.25, 0.75], [line, cloud])
    estimate, error = both.kl_estimate(more, 100_000, seed=0)
    truth = 0.5 * np.log(2) + 0.5 * np.log(0.5 / 0.75)  # that of the weights
    assert abs(estimate - truth) < 4 * error
    assert both.kl_estimate(cloud) == (np.inf, 0.0)
    assert line.kl_estimate(Mixture([0.5, 0.5], [other, cloud])) == (np.inf, 0.0)
    assert line.kl_estimate(both) == pytest.approx((np.log(2), 0.0), abs=1e-9)


LAW, POINT = Gaussian(np.zeros(2), np.eye(2)), Gaussian(np.zeros(1), np.eye(1))
BAD = [
    (lambda: Mixture([], []), ValueError, "least one"),
    (lambda: Mixture([1.0], [LAW, LAW]), ValueError, "one weight"),
    (lambda: Mixture([0.5, 0.6], [LAW, LAW]), ValueError, "1.1"),
    (lambda: Mixture([1.5, -0.5], [LAW, LAW]), ValueError, "-0.5"),
    (lambda: Mixture([np.nan, 1.0], [LAW, LAW]), ValueError, "weights"),
    (lambda: Mixture([0.5, 0.5], [LAW, POINT]), ValueError, "same d"),
    (lambda: Mixture([1.0], [Mixture([1.0], [LAW])]), TypeError, "Gaussians"),
    (lambda: Mixture([1.0], [LAW]).log_prob([1.0]), ValueError, r"shape \(..., 2\)"),
    (lambda: Mixture([1.0], [LAW]).responsibilities([1.0]), ValueError, r"shape \(..., 2\)"),
    (lambda: Mixture([1.0], [LAW]).marginal(2), IndexError, "from 0 to 1"),
    (lambda: Mixture([1.0], [LAW]).condition([1.0], [[1.0]]), ValueError, r"\(m, 2\)"),
    (lambda: Mixture([1.0], [LAW]).wasserstein(POINT), ValueError, "same d"),
    (lambda: Mixture([1.0], [LAW]).wasserstein(3.0), TypeError, "float"),
    (lambda: Mixture([1.0], [LAW]).kl_estimate(POINT), ValueError, "same d"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_float32_weights_draw():
    weights = np.full(3, 1 / 3, np.float32)
    law = Mixture(weights, [LAW] * 3)
    assert law.draw(10, seed=0).shape == (10, 2)
    np.testing.assert_allclose(law.marginal([1]).covariance, [[1.0]], rtol=1e-6)
