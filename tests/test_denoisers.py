"""The Gaussian denoiser, in several ways: regression on drawn noise, block inversion, ODE solvers."""

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from sklearn.linear_model import LinearRegression

from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.statistics.moments import Moments

D, PROMPTS = 3, 2
LEVELS = [(0.0, 1.0), (0.02, 1.0), (0.6, 0.8), (1.0, 80.0), (1.0, 0.3), (0.999, 1e-3)]


def correlated(seed, n, d=D, prompts=PROMPTS):
    """Latents z (n, d) and their prompts, each prompt with a mean and a covariance of its own."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n) % prompts
    mix, shift = rng.normal(size=(prompts, d, d)) + np.eye(d), rng.normal(size=(prompts, d))
    return np.einsum("nd,nde->ne", rng.normal(size=(n, d)), mix[groups]) + shift[groups], groups


def fitted(z, groups):
    return GaussianDenoiser.from_moments(Moments.of(z, groups, groups.max() + 1))


@pytest.fixture
def gaussian():
    z, groups = correlated(seed=1, n=200, d=5)
    return fitted(z, groups), z, groups


# ---------------------------------------------------------------- regression, with noise that is drawn


def drawn_regression(z, groups, alpha, sigma, n_draws, rng):
    """Least squares of z on prompt, noisy latent and their products, `n_draws` noises an image."""
    z, groups = np.repeat(z, n_draws, axis=0), np.repeat(groups, n_draws)
    noisy = alpha * z + sigma * rng.normal(size=z.shape)
    return LinearRegression(fit_intercept=False).fit(products(groups, noisy), z)


def products(groups, x):
    """One symbol a prompt times [1, x]: shape (n, p (d + 1))."""
    onehot, x1 = np.eye(PROMPTS)[groups], np.column_stack([np.ones(len(x)), x])
    return np.einsum("np,nd->npd", onehot, x1).reshape(len(x), -1)


ALPHA, SIGMA = 0.7, 0.6
PROBES = np.random.default_rng(7).normal(size=(PROMPTS, 4, D))


def drawn_answers(z, groups, n_draws, rng):
    regression = drawn_regression(z, groups, ALPHA, SIGMA, n_draws, rng)
    places = np.repeat(np.arange(PROMPTS), PROBES.shape[1])
    return regression.predict(products(places, PROBES.reshape(-1, D))).reshape(PROBES.shape)


def test_regression_on_drawn_noise_has_the_closed_form_as_its_limit():
    z, groups = correlated(seed=2, n=40)
    rng = np.random.default_rng(3)
    repeats = np.stack([drawn_answers(z, groups, 200, rng) for _ in range(24)])
    standard_error = repeats.std(axis=0, ddof=1) / np.sqrt(len(repeats))

    def deviation(sigma):
        """Root mean square over 24 entries of (mean - closed form) / standard error: about 1 if equal."""
        t = (repeats.mean(axis=0) - fitted(z, groups)(PROBES, ALPHA, sigma)) / standard_error
        return np.sqrt(np.mean(t**2))

    assert deviation(SIGMA) < 1.7
    assert deviation(1.05 * SIGMA) > 5.0  # control: a noise level 5 % off is found out


def test_error_of_drawn_noise_falls_like_one_over_its_root():
    z, groups = correlated(seed=4, n=40)
    rng = np.random.default_rng(5)
    exact = fitted(z, groups)(PROBES, ALPHA, SIGMA)
    draws = np.array([4, 16, 64, 256])

    def error(n_draws):
        squares = [np.mean((drawn_answers(z, groups, n_draws, rng) - exact) ** 2) for _ in range(16)]
        return np.sqrt(np.mean(squares))

    slope, _ = np.polyfit(np.log(draws), np.log([error(n) for n in draws]), 1)
    assert -0.6 < slope < -0.4


# ---------------------------------------------------------------- the posterior mean


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_denoiser_is_the_posterior_mean_by_block_inversion(gaussian, alpha, sigma):
    """E[z | x] = m - P_zz^-1 P_zx (x - alpha m), P the inverse of the covariance of (z, x)."""
    denoiser, z, groups = gaussian
    d = z.shape[1]
    x = sigma * np.random.default_rng(0).normal(size=(PROMPTS, 6, d))
    for u, found in enumerate(denoiser(x, alpha, sigma)):
        m, C = z[groups == u].mean(axis=0), np.cov(z[groups == u].T, bias=True)
        joint = np.block([[C, alpha * C], [alpha * C, alpha**2 * C + sigma**2 * np.eye(d)]])
        precision = np.linalg.inv(joint)
        gain = -np.linalg.solve(precision[:d, :d], precision[:d, d:])
        # the joint's condition number is about (alpha / sigma)^2 times C's, 1e8 at the last level
        np.testing.assert_allclose(found, m + (x[u] - alpha * m) @ gain.T, rtol=1e-8, atol=1e-9)


def test_diagonal_is_the_same_denoiser_in_other_coordinates(gaussian):
    denoiser, z, _ = gaussian
    Q, turned = denoiser.basis, denoiser.coordinates
    assert turned.basis is None
    assert turned.coordinates is turned
    x = np.random.default_rng(0).normal(size=(PROMPTS, 6, z.shape[1]))
    for alpha, sigma in LEVELS:
        expected = denoiser(x, alpha, sigma)
        np.testing.assert_allclose(turned(x @ Q, alpha, sigma) @ Q.mT, expected, atol=1e-12)
        expected = denoiser.flow(x, (alpha, sigma), (0.9, 0.1))
        flown = turned.flow(x @ Q, (alpha, sigma), (0.9, 0.1)) @ Q.mT
        np.testing.assert_allclose(flown, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


def test_select_takes_prompts_in_the_order_asked_for(gaussian):
    denoiser, z, groups = gaussian
    x = np.random.default_rng(0).normal(size=(3, 2, z.shape[1]))
    picked = denoiser.select(np.array([1, 0, 1]))(x, 0.6, 0.8)
    alone = [fitted(z[groups == u], np.zeros(100, int))(x[i : i + 1], 0.6, 0.8) for i, u in enumerate([1, 0, 1])]
    np.testing.assert_allclose(picked, np.concatenate(alone), atol=1e-12)


# ---------------------------------------------------------------- the probability flow


def score_velocity(m, C, drift, diffusion2, level):
    """dx/dt = f x - 1/2 g^2 grad log p_t(x) (Song et al. 2021, eq. 13), one vector x."""

    def velocity(t, x):
        alpha, sigma = level(t)
        marginal = alpha**2 * C + sigma**2 * np.eye(len(m))
        return drift(t) * x + 0.5 * diffusion2(t) * np.linalg.solve(marginal, x - alpha * m)

    return velocity


def vp_level(t):
    log_alpha = -0.05 * t - 19.9 * t**2 / 4
    return np.exp(log_alpha), np.sqrt(1 - np.exp(2 * log_alpha))


SDES = {  # f, g^2, level: the SDE's own symbols, apart from the level that they imply
    "vp": (lambda t: -0.5 * (0.1 + 19.9 * t), lambda t: 0.1 + 19.9 * t, vp_level),
    "ve": (lambda t: 0.0, lambda t: 2 * t, lambda t: (1.0, t)),
    "flow": (lambda t: -1 / (1 - t), lambda t: 2 * t / (1 - t), lambda t: (1 - t, t)),
}


@pytest.mark.parametrize(("sde", "start", "end"), [("vp", 1.0, 0.0), ("ve", 80.0, 0.0), ("flow", 0.99, 0.0)])
def test_flow_is_the_solution_of_the_score_ode(gaussian, sde, start, end):
    denoiser, z, groups = gaussian
    drift, diffusion2, level = SDES[sde]
    x = level(start)[1] * np.random.default_rng(0).normal(size=(PROMPTS, 1, z.shape[1]))
    flown = denoiser.flow(x, level(start), level(end))
    for u in range(PROMPTS):
        m, C = z[groups == u].mean(axis=0), np.cov(z[groups == u].T, bias=True)
        velocity = score_velocity(m, C, drift, diffusion2, level)
        solved = scipy.integrate.solve_ivp(velocity, (start, end), x[u, 0], method="DOP853", rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(flown[u, 0], solved.y[:, -1], atol=1e-8)


def test_flow_is_the_exponential_of_the_integrated_generator(gaussian):
    """dx/d(sigma) = sigma (C + sigma^2 I)^-1 (x - m): generators of all levels commute, none is left out."""
    denoiser, z, groups = gaussian
    d = z.shape[1]
    x = np.random.default_rng(0).normal(size=(PROMPTS, 3, d))
    for u, flown in enumerate(denoiser.flow(x, (1.0, 2.0), (1.0, 0.05))):
        m, C = z[groups == u].mean(axis=0), np.cov(z[groups == u].T, bias=True)
        generator, _ = scipy.integrate.quad_vec(
            lambda s, C=C: s * np.linalg.inv(C + s**2 * np.eye(d)), 2.0, 0.05, epsrel=1e-12, epsabs=1e-13
        )
        np.testing.assert_allclose(flown, m + (x[u] - m) @ scipy.linalg.expm(generator).T, atol=1e-10)


def test_flows_compose_and_turn_back(gaussian):
    denoiser, z, _ = gaussian
    x = np.random.default_rng(0).normal(size=(PROMPTS, 3, z.shape[1]))
    a, b, c = (0.0, 1.0), (0.4, 0.7), (1.0, 0.02)
    np.testing.assert_allclose(
        denoiser.flow(denoiser.flow(x, a, b), b, c), denoiser.flow(x, a, c), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(denoiser.flow(denoiser.flow(x, a, c), c, a), x, rtol=1e-12, atol=1e-12)


def test_flow_takes_pure_noise_to_the_law_of_the_data(gaussian):
    """From alpha = 0 to sigma = 0 the map M has M M^T = C and sends the origin to m."""
    denoiser, z, groups = gaussian
    d = z.shape[1]
    points = np.tile(np.vstack([np.zeros(d), np.eye(d)]), (PROMPTS, 1, 1))
    images = denoiser.flow(points, (0.0, 1.0), (1.0, 0.0))
    for u in range(PROMPTS):
        M = (images[u, 1:] - images[u, 0]).T
        np.testing.assert_allclose(images[u, 0], z[groups == u].mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(M @ M.T, np.cov(z[groups == u].T, bias=True), atol=1e-12)
    # of pure noise nothing can be told: the guess is the mean
    expected = np.repeat(images[:, :1], d + 1, axis=1)
    np.testing.assert_allclose(denoiser(points, 0.0, 1.0), expected, atol=1e-12)


# ---------------------------------------------------------------- directions without variance


def test_directions_without_variance_are_known_for_certain():
    """Four images in six dimensions: D lies in their plane, and noise out of it shrinks as sigma'/sigma."""
    z = np.random.default_rng(0).normal(size=(4, 6))
    denoiser = fitted(z, np.zeros(4, int))
    m = z.mean(axis=0)
    across = scipy.linalg.null_space(z - m)
    assert across.shape == (6, 3)
    x = np.random.default_rng(1).normal(size=(1, 5, 6))
    for alpha, sigma in LEVELS:
        guess = denoiser(x, alpha, sigma)[0]
        # an eigenvalue that should be 0 is about 1e-16, and counts against sigma^2
        np.testing.assert_allclose((guess - m) @ across, 0.0, atol=1e-15 / sigma**2 + 1e-12)
        flown = denoiser.flow(x, (alpha, sigma), (0.9, 0.1))[0]
        shrunk = (0.1 / sigma) * (x[0] - alpha * m) @ across
        np.testing.assert_allclose((flown - 0.9 * m) @ across, shrunk, rtol=1e-9, atol=1e-12)
    clean = denoiser.flow(x, (0.0, 1.0), (1.0, 0.0))[0]
    np.testing.assert_allclose((clean - m) @ across, 0.0, atol=1e-7)  # the root of 1e-16


def test_a_prompt_with_one_image_gives_that_image():
    z = np.random.default_rng(0).normal(size=(1, 4))
    denoiser = fitted(z, np.zeros(1, int))
    x = np.random.default_rng(1).normal(size=(1, 3, 4))
    np.testing.assert_array_equal(denoiser(x, 0.6, 0.8)[0], np.repeat(z, 3, axis=0))
    np.testing.assert_array_equal(denoiser.flow(x, (0.0, 1.0), (1.0, 0.0))[0], np.repeat(z, 3, axis=0))
