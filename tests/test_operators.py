"""Operators: against numpy and scipy doing the same to the image itself."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lineardiffusion import operators


@pytest.fixture(params=[(6, 9), (6, 9, 3)], ids=["grey", "colour"])
def image(request):
    return np.random.default_rng(0).normal(size=request.param)


def test_masking_keeps_the_other_pixels(image):
    mask = np.random.default_rng(1).random(image.shape) < 0.4
    np.testing.assert_array_equal(operators.masking(mask) @ image.ravel(), image[~mask])


def test_downsampling_averages_blocks(image):
    blocks = image.reshape(2, 3, 3, 3, -1).mean(axis=(1, 3))
    np.testing.assert_allclose(operators.downsampling(image.shape, 3) @ image.ravel(), blocks.ravel())


@pytest.mark.parametrize("sigma", [0.5, 1.7])
def test_blurring_is_scipys_filter(image, sigma):
    sigmas = (sigma, sigma, 0)[: image.ndim]
    by_scipy = gaussian_filter(image, sigmas, mode="nearest")
    np.testing.assert_allclose(operators.blurring(image.shape, sigma) @ image.ravel(), by_scipy.ravel())


def test_operators_multiply():
    twice = operators.downsampling((4, 6), 2) @ operators.downsampling((8, 12), 2)
    np.testing.assert_allclose(twice.toarray(), operators.downsampling((8, 12), 4).toarray())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: operators.masking([[0, 1]]), TypeError, "mask"),
        (lambda: operators.downsampling((6, 9), 2), ValueError, "divides"),
        (lambda: operators.downsampling((6, 9), True), TypeError, "factor"),
        (lambda: operators.downsampling((6,), 2), ValueError, "image_shape"),
        (lambda: operators.blurring((6, 9), 0.0), ValueError, "sigma"),
        (lambda: operators.blurring((6, 9), np.nan), ValueError, "sigma"),
    ],
)
def test_bad_operators(call, error, message):
    with pytest.raises(error, match=message):
        call()
