"""Gaussians with a diagonal covariance, against the same laws with a matrix."""

import dataclasses
import pickle

import numpy as np
import pytest
import scipy.sparse

from lineardiffusion.distributions.gaussian import DiagonalGaussian, Gaussian
from lineardiffusion.distributions.mixture import Mixture


def pair(d, seed, zeros=0):
    """Return a diagonal law, and the same law as a matrix that is not recognised as diagonal."""
    rng = np.random.default_rng(seed)
    mean, variance = rng.normal(size=d), rng.uniform(0.2, 3.0, d)
    variance[:zeros] = 0.0
    return Gaussian.diagonal(mean, variance), dense(mean, variance)


def dense(mean, variance):
    """Return a Gaussian whose covariance is 1e-300 off the diagonal, which changes no sum."""
    covariance = np.full((len(variance), len(variance)), 1e-300)
    np.fill_diagonal(covariance, variance)
    return Gaussian(mean, covariance)


@pytest.mark.parametrize("zeros", [0, 2])
def test_every_number_is_that_of_the_matrix(zeros):
    (law, full), (other, full_other) = pair(5, 0, zeros), pair(5, 1, zeros)
    if zeros:  # both on one plane
        mean = np.concatenate([law.mean[:zeros], other.mean[zeros:]])
        other, full_other = Gaussian.diagonal(mean, other.variance), dense(mean, other.variance)
    assert law.principal()[1] is None
    assert full.principal()[1] is not None
    np.testing.assert_array_equal(law.covariance, np.diag(law.variance))
    assert law.rank == full.rank == 5 - zeros
    assert law.wasserstein(other) == pytest.approx(full.wasserstein(full_other), rel=1e-7)
    assert law.wasserstein(full_other) == pytest.approx(law.wasserstein(other), rel=1e-7)
    assert law.kl(other) == pytest.approx(full.kl(full_other), rel=1e-9)
    assert law.kl(full_other) == pytest.approx(law.kl(other), rel=1e-9)
    assert law.kl(law) == law.wasserstein(law) == 0.0
    x = law.draw(7, seed=2).reshape(7, 1, 5)
    for found, truth in zip(law.plane_log_prob(x), full.plane_log_prob(x), strict=True):
        np.testing.assert_allclose(found, truth, rtol=1e-10)
    regular, truth = law.regular(1.0), full.regular(1.0)
    np.testing.assert_allclose(regular.log_prob(x), truth.log_prob(x), rtol=1e-10)
    assert regular.regular(0.9) is regular


def test_off_the_plane_there_is_no_density():
    law, full = pair(4, 3, zeros=1)
    x = law.draw(3, seed=0) + np.array([[0.0] * 4, [0.1, 0, 0, 0], [1e-9, 0, 0, 0]])
    for found, truth in zip(law.plane_log_prob(x), full.plane_log_prob(x), strict=True):
        np.testing.assert_allclose(found, truth, rtol=1e-10)
    assert law.plane_log_prob(x)[0].tolist() == [3, 5, 3]
    with pytest.raises(ValueError, match="3 of its 4"):
        law.log_prob(x)
    above = Gaussian.diagonal(law.mean + np.array([0.1, 0, 0, 0]), law.variance)
    assert law.kl(above) == law.kl(law.regular(0.1)) == law.regular(0.1).kl(law) == np.inf


def test_draws_have_the_mean_and_the_variances():
    law, _ = pair(6, 4, zeros=1)
    x = law.draw(20_000, seed=5)
    z = (x - law.mean)[:, 1:] / np.sqrt(law.variance[1:])
    excess = np.concatenate([z.mean(axis=0), (z.var(axis=0) - 1) / np.sqrt(2)]) * np.sqrt(len(z))
    assert np.abs(excess).max() < 4.0
    np.testing.assert_array_equal(x[:, 0], law.mean[0])
    wrong = z * 1.05  # control
    assert np.abs((wrong.var(axis=0) - 1) / np.sqrt(2) * np.sqrt(len(z))).min() > 4.0


@pytest.mark.parametrize("noise", [None, np.diag([0.5, 0.0, 2.0]), 0.1 + np.diag([0.5, 0.2, 2.0])])
@pytest.mark.parametrize("zeros", [0, 3])
def test_conditions_and_marginals(zeros, noise):
    law, full = pair(6, 6, zeros)
    chosen = [4, 2, 5]
    y = law.draw(1, seed=7)[0][chosen]
    found, truth = law.condition(y, chosen, noise), full.condition(y, chosen, noise)
    assert isinstance(found, DiagonalGaussian) == (noise is None or not noise[0, 1])
    np.testing.assert_allclose(found.mean, truth.mean, rtol=1e-9)
    np.testing.assert_allclose(found.covariance, truth.covariance, atol=1e-12)
    by_rows = law.condition(y, np.eye(6)[chosen], noise)  # a matrix is not looked into
    np.testing.assert_allclose(by_rows.covariance, found.covariance, atol=1e-12)
    part = law.marginal(chosen)
    np.testing.assert_array_equal(part.covariance, full.marginal(chosen).covariance * np.eye(3))
    np.testing.assert_array_equal(part.mean, law.mean[chosen])
    assert law.marginal([4, 4]).covariance.all()  # the same coordinate twice depends on itself


def test_errors_are_those_of_the_matrix():
    law, full = pair(3, 8, zeros=1)
    calls = [
        lambda one: one.condition([law.mean[0] + 1], [0]),
        lambda one: one.condition([0.0], [7]),
        lambda one: one.condition([np.nan], [1]),
        lambda one: one.condition([0.0, 1.0], [1]),
        lambda one: one.condition([0.0], [1], [[-1.0]]),
        lambda one: one.condition([0.0], [1], 0.5),
        lambda one: one.marginal([3]),
        lambda one: one.wasserstein(Gaussian.diagonal([0.0], [1.0])),
        lambda one: one.kl(Mixture([1.0], [law])),
        lambda one: one.transform(np.eye(2)),
        lambda one: one.transform(np.eye(3), np.zeros(2)),
        lambda one: one.transform(np.eye(3), noise_covariance=[-1.0, 0, 0]),
    ]
    for call in calls:
        with pytest.raises((ValueError, IndexError, TypeError)) as of_matrix:
            call(full)
        with pytest.raises(of_matrix.type) as of_diagonal:
            call(law)
        assert str(of_diagonal.value) == str(of_matrix.value)
    with pytest.raises(ValueError, match=r"\(2,\) of the mean"):
        Gaussian.diagonal(np.zeros(2), np.ones(3))
    with pytest.raises(ValueError, match="0 or more"):
        Gaussian.diagonal(np.zeros(2), [1.0, -1.0])


def test_transform_is_the_law_of_transformed_draws():
    rng = np.random.default_rng(9)
    A, b, R = rng.normal(size=(3, 4)), rng.normal(size=3), np.diag([0.5, 0.0, 1.0]) + 0.1
    law = Mixture([0.3, 0.7], [pair(4, 10)[0], dense(np.zeros(4), np.array([1.0, 2.0, 0.0, 3.0]))])
    found = law.transform(A, b, R)
    y = law.draw(40_000, seed=11) @ A.T + b + Gaussian(np.zeros(3), R).draw(40_000, seed=12)
    assert abs(found.log_prob(y).mean() - found.log_prob(found.draw(40_000, seed=13)).mean()) < 0.03
    white = np.linalg.solve(np.linalg.cholesky(found.covariance), (y - found.mean).T)
    z = (white @ white.T / len(y.T[0]) - np.eye(3)) * np.sqrt(len(y))
    assert np.abs(z).max() < 5
    without = law.transform(A, b)  # control
    white = np.linalg.solve(np.linalg.cholesky(without.covariance), (y - found.mean).T)
    assert np.abs((white @ white.T / len(y) - np.eye(3)) * np.sqrt(len(y))).max() > 10


def test_a_sparse_scaling_keeps_a_law_diagonal():
    law, full = pair(4, 14)
    A = scipy.sparse.csr_array(([2.0, -3.0, 1.0], ([0, 2, 4], [3, 0, 1])), shape=(5, 4))
    found, truth = law.transform(A, np.arange(5.0), np.ones(5)), full.transform(A, np.arange(5.0), np.eye(5))
    assert isinstance(found, DiagonalGaussian)
    np.testing.assert_allclose(found.covariance, truth.covariance, atol=1e-12)
    np.testing.assert_allclose(found.mean, truth.mean, rtol=1e-12)
    twice = scipy.sparse.csr_array(([1.0, 1.0], ([0, 1], [2, 2])), shape=(2, 4))  # of one coordinate
    assert law.transform(twice).covariance.all()


def test_no_matrix_is_made():
    rng = np.random.default_rng(15)
    law, other = (Gaussian.diagonal(rng.normal(size=40), rng.uniform(size=40)) for _ in range(2))
    x = law.draw(2, seed=0)
    given = law.condition(x[0, :20], slice(20)).marginal(slice(10, None))
    raised = law.regular(0.5)
    assert np.isfinite([law.wasserstein(other), law.kl(other), *law.log_prob(x), raised.rank]).all()
    assert given.rank == 20
    for one in (law, other, given, raised):
        assert not {"covariance", "_eigen"} & set(vars(one))


def test_it_is_immutable_and_can_be_replaced():
    law = Gaussian.diagonal([1.0, 2.0], [3.0, 4.0])
    before = law.covariance, law.rank
    for name in ("mean", "variance", "covariance", "rank"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(law, name, np.zeros(2))
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(law, name)
    assert law.covariance is before[0]
    moved = dataclasses.replace(law, mean=np.zeros(2))
    assert (moved.mean.tolist(), moved.variance.tolist()) == ([0.0, 0.0], [3.0, 4.0])
    np.testing.assert_array_equal(dataclasses.replace(law, variance=[0.0, 5.0]).covariance, np.diag([0.0, 5.0]))
    with pytest.raises(ValueError, match="0 or more"):
        dataclasses.replace(law, variance=[-1.0, 1.0])


def test_a_copy_is_the_law():
    law, _ = pair(3, 16)
    again = pickle.loads(pickle.dumps(law))
    np.testing.assert_array_equal(again.variance, law.variance)
    assert again.wasserstein(law) == 0.0
    assert not again.variance.flags.writeable
    assert "covariance" not in {*repr(law).split(), *vars(law)}


def test_a_diagonal_matrix_is_recognised():
    variance = np.array([3.0, 0.0, 1.0, 2.0])
    law = Gaussian(np.zeros(4), np.diag(variance))
    found, basis = law.principal()
    assert basis is None
    np.testing.assert_array_equal(found, variance)
    np.testing.assert_allclose((law.root @ law.root.T), np.diag(variance), rtol=1e-15)
    turned, basis = Gaussian(np.zeros(2), [[2.0, 1.0], [1.0, 2.0]]).principal()
    np.testing.assert_allclose((basis * turned) @ basis.T, [[2.0, 1.0], [1.0, 2.0]])
