"""The density of images: against scipy's Gaussian in pixel space, its covariance built by hand."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from lineardiffusion import LinearDiffusion
from lineardiffusion.inverse.measurement import rounding_variance

SHAPE, PIXELS = (3, 3), 9


def pictures(seed=0, n=120, constant=()):
    """Images (n, 3, 3) of correlated pixels of unequal scale, under two prompts."""
    rng = np.random.default_rng(seed)
    labels = np.array(["a", "b"])[np.arange(n) % 2]
    mix = rng.normal(size=(2, PIXELS, PIXELS)) * np.linspace(0.3, 3.0, PIXELS)
    shift = rng.normal(size=(2, PIXELS)) + 10.0
    u = np.arange(n) % 2
    rows = np.einsum("nd,nde->ne", rng.normal(size=(n, PIXELS)), mix[u]) + shift[u]
    rows[:, list(constant)] = 7.0
    return list(labels), rows.reshape(n, *SHAPE)


def density(model, images, prompt, **way):
    return model.score_samples(images, [prompt] * len(images), **way)


def principal(images, d, scale):
    """Mean, pixel scale, projector on d principal directions, mean variance of the others: by SVD."""
    rows = images.reshape(len(images), -1)
    mean, r = rows.mean(axis=0), rows.std(axis=0) if scale else np.ones(PIXELS)
    _, s, V = np.linalg.svd((rows - mean) / r / np.sqrt(len(rows)))
    return mean, r, V[:d].T @ V[:d], np.mean(s[d:] ** 2) if d < PIXELS else 0.0


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("d", [1, 4, 8, 9])
def test_density_is_the_gaussian_of_pixel_space(d, scale):
    """diag(r) (P S_u P + v (I - P)) diag(r): what the prompt's own scatter S_u is in the kept plane."""
    labels, images = pictures()
    model = LinearDiffusion(n_components=d, scale=scale, shrinkage=0).fit(labels, images)
    mean, r, P, v = principal(images, d, scale)
    total = 0.0
    for prompt in "ab":
        own = images[np.array(labels) == prompt]
        rows = (own.reshape(len(own), -1) - mean) / r
        covariance = P @ np.cov(rows.T, bias=True) @ P + v * (np.eye(PIXELS) - P)
        by_hand = multivariate_normal(
            mean + r * (P @ rows.mean(axis=0)), r[:, None] * covariance * r, allow_singular=False
        ).logpdf(own.reshape(len(own), -1))
        np.testing.assert_allclose(density(model, own, prompt), by_hand, rtol=1e-9)
        total += by_hand.sum()
    np.testing.assert_allclose(model.score(labels, images), total / len(images), rtol=1e-9)


@pytest.mark.parametrize("scale", [False, True])
def test_density_of_one_prompt_is_probabilistic_pca(scale):
    """N(mean, W W^T + v I), W = U (L - v I)^(1/2) (Tipping and Bishop 1999, eq. 7)."""
    _, images = pictures()
    rows = images.reshape(len(images), -1)
    model = LinearDiffusion(n_components=4, scale=scale).fit(["a"] * len(images), images)
    r = rows.std(axis=0) if scale else np.ones(PIXELS)
    variance, U = np.linalg.eigh(np.cov((rows / r).T, bias=True))
    v = variance[:-4].mean()
    W = U[:, -4:] * np.sqrt(variance[-4:] - v)
    covariance = r[:, None] * (W @ W.T + v * np.eye(PIXELS)) * r
    by_hand = multivariate_normal(rows.mean(axis=0), covariance).logpdf(rows)
    np.testing.assert_allclose(density(model, images, "a"), by_hand, rtol=1e-9)


def test_density_is_that_of_the_sampler_and_not_of_the_data():
    """Three steps of ddim: the law's map, from the two ends of the pixel basis, gives the covariance."""
    labels, images = pictures()
    model = LinearDiffusion(n_components=PIXELS, sampler="ddim", num_steps=3).fit(labels, images)
    ends = np.vstack([np.zeros(PIXELS), np.eye(PIXELS)])
    drawn = model.predict(["a"] * len(ends), latents=ends).reshape(len(ends), -1)
    M = (drawn[1:] - drawn[0]).T
    rows = images.reshape(len(images), -1)
    variance, basis = np.linalg.eigh(M @ M.T)  # three steps shrink some directions below rounding
    variance = np.maximum(variance, rounding_variance((rows.min(), rows.max())))
    by_hand = multivariate_normal(drawn[0], (basis * variance) @ basis.T).logpdf(rows)
    np.testing.assert_allclose(density(model, images, "a"), by_hand, rtol=1e-7)
    assert abs(model.score(["a"] * len(images), images) - by_hand.mean()) < 1e-6 * abs(by_hand.mean())
    data = density(model, images, "a", sampler="exact")
    assert np.abs(data - by_hand).max() > 1.0  # control: the two laws do differ


# ---------------------------------------------------------------- what does not vary


def test_rounding_variance_is_that_of_rounding():
    """Grey values of any shade, rounded to 256 levels of the range, err by that variance."""
    low, high = -3.0, 17.0
    shades = np.linspace(low, high, 1_000_001)
    levels = np.linspace(low, high, 256)
    rounded = levels[np.rint((shades - low) / (high - low) * 255).astype(int)]
    # one bin of 3922 shades is not split evenly: relative error of that order
    np.testing.assert_allclose(rounding_variance((low, high)), np.var(rounded - shades), rtol=1e-3)
    assert rounding_variance((5.0, 5.0)) == rounding_variance((0.0, 1.0))  # one shade: as if of range 1


def constant_pixels(n_components, scale):
    """Density by the model and by hand of images with two constant pixels, one of them missed by 1/2."""
    constant = [2, 6]
    varying = np.setdiff1d(np.arange(PIXELS), constant)
    _, images = pictures(constant=constant)
    model = LinearDiffusion(n_components=n_components, scale=scale).fit(["a"] * len(images), images)
    rows = images.reshape(len(images), -1)
    asked = rows[:5].copy()
    asked[:, constant[0]] += 0.5
    rest = multivariate_normal(rows[:, varying].mean(axis=0), np.cov(rows[:, varying].T, bias=True))
    deviation = (rows.max() - rows.min()) / 255 / np.sqrt(12)
    by_hand = rest.logpdf(asked[:, varying]) + norm(7.0, deviation).logpdf(asked[:, constant]).sum(axis=1)
    return density(model, asked.reshape(-1, *SHAPE), "a"), by_hand


@pytest.mark.parametrize("n_components", [7, 9])
def test_constant_pixels_have_the_variance_of_rounding(n_components):
    found, by_hand = constant_pixels(n_components, scale=False)
    np.testing.assert_allclose(found, by_hand, rtol=1e-9)


@pytest.mark.parametrize("n_components", [7, 9])
def test_constant_pixels_have_the_variance_of_rounding_when_scaled(n_components):
    found, by_hand = constant_pixels(n_components, scale=True)
    np.testing.assert_allclose(found, by_hand, rtol=1e-9)


def test_residual_variance_of_nothing_is_nothing():
    """As many components as the images have rank: what is left out is rounding error, not variance."""
    for seed in range(20):
        for scale in (False, True):
            _, images = pictures(seed, constant=[2, 6])
            model = LinearDiffusion(n_components=7, scale=scale).fit(["a"] * len(images), images)
            assert model.fitted_.encoder.residual_variance == 0.0


def test_direction_without_variance_under_one_prompt_alone():
    """Pixel 4 varies under "a" and is 7 under "b": of "b" it has the variance of rounding."""
    labels, images = pictures()
    rows = images.reshape(len(images), -1)
    own = np.array(labels) == "b"
    rows[own, 4] = 7.0
    model = LinearDiffusion(n_components=PIXELS, shrinkage=0).fit(labels, images)
    covariance = np.cov(rows[own].T, bias=True)
    covariance[4, 4] += ((rows.max() - rows.min()) / 255) ** 2 / 12
    asked = rows[own][:5].copy()
    asked[:, 4] += 0.1
    by_hand = multivariate_normal(rows[own].mean(axis=0), covariance).logpdf(asked)
    found = density(model, asked.reshape(-1, *SHAPE), "b")
    np.testing.assert_allclose(found, by_hand, rtol=1e-9)
