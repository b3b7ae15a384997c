"""Measurements and their likelihoods: against scipy's Gaussians in pixel space, their covariances built by hand."""

import numpy as np
import pytest
import scipy.sparse
from scipy.stats import multivariate_normal

from lineardiffusion import LinearDiffusion
from lineardiffusion.inverse.measurement import Measurement, PixelModel
from lineardiffusion.inverse.posterior import LatentLaws, MeasuredLaws, Share, posterior_draw, posterior_mean

D = 9


class World:
    """Two laws of latents, and the same in pixel space."""

    def __init__(self, d, scale):
        rng = np.random.default_rng(0)
        self.images = rng.normal(size=(200, D)) @ rng.normal(size=(D, D)) + 5
        ld = LinearDiffusion(d, scale=scale).fit(["a", "b"] * 100, self.images)
        encoder = ld.fitted_.encoder
        self.pixel_model = PixelModel.of(encoder, ld.pixel_range_)
        laws = [ld.law(prompt) for prompt in "ab"]
        self.laws = LatentLaws.of(
            np.stack([law.mean for law in laws]), np.stack([law.covariance for law in laws]), self.pixel_model.floor
        )
        r = self.images.std(axis=0) if scale else np.ones(D)
        s, V = encoder.scaling_factor, encoder.components
        variances = np.linalg.eigvalsh(np.cov((self.images / r).T, bias=True))
        rest = variances[: D - d].mean() * (np.eye(D) - V.T @ V) if d < D else 0
        self.mean = [self.images.mean(axis=0) + r * s * (law.mean @ V) for law in laws]
        self.covariance = [r[:, None] * (s**2 * V.T @ law.covariance @ V + rest) * r for law in laws]

    def by_hand(self, k, A, noise_std, y):
        """Law of y, and mean and covariance of x given y: the textbook's formula with pinv."""
        mean, covariance = self.mean[k], self.covariance[k]
        of_y = A @ covariance @ A.T + noise_std**2 * np.eye(len(A))
        gain = covariance @ A.T @ np.linalg.pinv(of_y, rcond=1e-11)
        return A @ mean, of_y, mean + (y - A @ mean) @ gain.T, covariance - gain @ A @ covariance

    def pixels(self, xi):
        return self.pixel_model.encoder.mean + self.pixel_model.scale * xi


@pytest.fixture(scope="module", params=[(4, False), (4, True), (9, False), (9, True)], ids=str)
def world(request):
    return World(*request.param)


def operator(name):
    rng = np.random.default_rng(1)
    A = rng.normal(size=(5, D))
    return {
        "all pixels": (np.eye(D), 0.0),
        "some pixels": (scipy.sparse.csr_array(np.eye(D)[[0, 2, 3, 7]]), 0.0),
        "noisy pixels": (scipy.sparse.csr_array(np.eye(D)[[0, 2, 3, 7]]), 0.3),
        "dense": (A, 0.0),
        "sparse": (scipy.sparse.csr_array(np.where(A > 0, A, 0)), 0.0),
        "noisy": (A, 0.7),
        "more rows than pixels": (rng.normal(size=(14, D)), 0.5),
        "rows that repeat": (np.vstack([A, A[:2] - A[2]]), 0.0),
        "a row of nothing": (scipy.sparse.csr_array(np.vstack([np.eye(D)[:3], np.zeros(D)])), 0.0),
        "nothing": (np.zeros((0, D)), 0.0),
    }[name]


def whole(seen, k, n, weight=1.0):
    """The law k for all of n measurements."""
    return Share(np.arange(n), seen, k, np.full(n, weight))


NAMES = ["all pixels", "some pixels", "noisy pixels", "dense", "sparse", "noisy", "more rows than pixels"]
SINGULAR = ["rows that repeat", "a row of nothing"]


def measured(world, name):
    A, noise_std = operator(name)
    dense = A.toarray() if scipy.sparse.issparse(A) else A
    rng = np.random.default_rng(2)
    y = world.images[:6] @ dense.T + noise_std * rng.normal(size=(6, len(dense)))
    measurement = Measurement.of(world.pixel_model, A, noise_std)
    return measurement, measurement.reduce(y), MeasuredLaws.of(measurement, world.laws, 6), dense, noise_std, y


@pytest.mark.parametrize("name", NAMES)
def test_likelihood_is_scipys_density(world, name):
    _, reduced, seen, A, noise_std, y = measured(world, name)
    found = seen.log_likelihood(reduced)
    for k in range(2):
        mean, covariance, *_ = world.by_hand(k, A, noise_std, y)
        np.testing.assert_allclose(found[:, k], multivariate_normal(mean, covariance).logpdf(y), rtol=1e-9)


def test_likelihood_of_all_pixels_needs_no_singular_values(world):
    """The short cut for whole images against the general way."""
    whole = Measurement.of_pixels(world.pixel_model, np.ones(D, bool))
    _, reduced, general, *_ = measured(world, "all pixels")
    found = MeasuredLaws.of(whole, world.laws, 6).log_likelihood(whole.reduce(world.images[:6]))
    np.testing.assert_allclose(found, general.log_likelihood(reduced), rtol=1e-10)


def test_likelihood_of_repeated_rows_is_that_of_the_rows_once(world):
    """Differences between laws and images: the unit of the directions that are left may differ."""
    once, again = (measured(world, name) for name in ("dense", "rows that repeat"))
    a, b = (seen.log_likelihood(reduced) for _, reduced, seen, *_ in (once, again))
    np.testing.assert_allclose(a - a[0, 0], b - b[0, 0], atol=1e-8)


@pytest.mark.parametrize("name", [*NAMES, *SINGULAR, "nothing"])
def test_posterior_mean_is_the_textbooks(world, name):
    measurement, reduced, seen, A, noise_std, y = measured(world, name)
    means = []
    for k in range(2):
        found = world.pixels(posterior_mean(measurement, reduced, [whole(seen, k, 6)]))
        means.append(world.by_hand(k, A, noise_std, y)[2])
        np.testing.assert_allclose(found, means[k], atol=1e-8)
        if not noise_std:
            np.testing.assert_allclose(found @ A.T, y, atol=1e-8)
    half = world.pixels(posterior_mean(measurement, reduced, [whole(seen, k, 6, 0.5) for k in range(2)]))
    np.testing.assert_allclose(half, (means[0] + means[1]) / 2, atol=1e-8)


@pytest.mark.parametrize("name", ["some pixels", "noisy", "rows that repeat", "nothing"])
def test_draws_have_the_textbooks_law(world, name):
    """Every direction's mean within 5 standard errors and variance within 6 %; the other law's are not."""
    measurement, reduced, seen, A, noise_std, y = measured(world, name)
    n, rng = 20_000, np.random.default_rng(3)
    mean, covariance = world.by_hand(1, A, noise_std, y[:1])[2:]
    variance, basis = np.linalg.eigh(covariance)
    left = variance > 1e-9 * variance[-1]

    def misses(k):
        d = len(world.pixel_model.encoder.components)
        noise = rng.normal(size=(n, d)), rng.normal(size=(n, D)), rng.normal(size=(n, len(A)))
        some = reduced[np.zeros(n, np.intp)]
        drawn = world.pixels(posterior_draw(measurement, some, [whole(seen, k, n)], *noise, True))
        z = (drawn - mean) @ basis
        assert np.abs(z[:, ~left]).max(initial=0.0) < 1e-4 * variance[-1] ** 0.5
        error = np.abs(z[:, left].mean(axis=0)) / np.sqrt(variance[left] / n)
        return (error > 5) | (np.abs(z[:, left].var(axis=0) / variance[left] - 1) > 0.06)

    assert not misses(1).any()
    assert misses(0).any()


@pytest.mark.parametrize("name", [*NAMES, *SINGULAR, "nothing"])
def test_draws_without_residual_noise_have_the_latents_posterior(world, name):
    """Mean and root of the draws, from unit vectors of noise, against dense matrices of z and q."""
    measurement, reduced, seen, A, noise_std, y = measured(world, name)
    V, scale, v = world.pixel_model.encoder.components, world.pixel_model.scale, world.pixel_model.v
    d = len(V)
    units = np.vstack([np.zeros(d + D + len(A)), np.eye(d + D + len(A))])
    some = reduced[np.zeros(len(units), np.intp)]

    def moments(residual_noise):
        noise = units[:, :d], units[:, d : d + D], units[:, d + D :]
        drawn = posterior_draw(measurement, some, [whole(seen, 0, len(units))], *noise, residual_noise)
        return world.pixels(drawn[0]), (drawn[1:] - drawn[0]) * scale

    mean, root = moments(False)
    expected, covariance = world.by_hand(0, A, noise_std, y[:1])[2:]
    np.testing.assert_allclose(mean, expected[0], atol=1e-8)
    analysis = V / scale  # latents of pixels
    of_z = analysis @ covariance @ analysis.T
    np.testing.assert_allclose(analysis @ root.T @ root @ analysis.T, of_z, atol=1e-8)
    rest = v * (np.eye(D) - V.T @ V) * (d < D)
    scaled = A * scale
    gain = rest @ scaled.T @ np.linalg.pinv(scaled @ rest @ scaled.T + noise_std**2 * np.eye(len(A)), rcond=1e-11)
    to_image = scale[:, None] * (V.T - gain @ scaled @ V.T)  # z and what its discarded part follows of it
    by_hand = to_image @ of_z @ to_image.T
    np.testing.assert_allclose(root.T @ root, by_hand, atol=1e-8)
    noisy = moments(True)[1]
    np.testing.assert_allclose(noisy.T @ noisy, covariance, atol=1e-8)
    if d < D and name in ("some pixels", "noisy pixels", "noisy", "nothing"):
        assert np.abs(covariance - by_hand).max() > 0.01  # control: there is noise to leave out
    if not noise_std:
        np.testing.assert_allclose((mean + root) @ A.T, np.tile(y[0], (len(root), 1)), atol=1e-8)


def test_a_measurement_that_contradicts_itself(world):
    A = operator("rows that repeat")[0]
    measurement = Measurement.of(world.pixel_model, A)
    y = world.images[:3] @ A.T
    y[1, -1] += 1.0
    with pytest.raises(ValueError, match="measurement 1"):
        measurement.reduce(y)
    Measurement.of(world.pixel_model, A, 0.1).reduce(y)  # noisy rows may disagree
