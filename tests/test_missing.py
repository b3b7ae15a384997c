"""Missing pixels in training: expectation and maximisation against the likelihood that it maximises."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from lineardiffusion import LinearDiffusion
from lineardiffusion.statistics.batch import Batch
from lineardiffusion.statistics.missing import complete
from lineardiffusion.statistics.moments import Moments


def holes(images, share=0.1, seed=0):
    """The images as floats, without a share of their pixels, but not without all pixels of an image."""
    gone = np.random.default_rng(seed).random(images.shape) < share
    gone[gone.reshape(len(gone), -1).all(axis=1)] = False
    return np.where(gone, np.nan, images.astype(float))


def correlated(n=400, d=4):
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, d)) @ (np.eye(d) + 0.5 * rng.normal(size=(d, d))) + np.arange(d)


def log_likelihood(mean, covariance, rows):
    """Of the pixels that are there, by scipy, image by image."""
    total = 0.0
    for x in rows:
        there = ~np.isnan(x)
        total += multivariate_normal(mean[there], covariance[np.ix_(there, there)]).logpdf(x[there])
    return total


def test_at_convergence_it_is_the_maximum_of_the_likelihood():
    """The gradient vanishes there (by finite differences of scipy's density), and not after two rounds."""
    rows = holes(correlated(), 0.25)
    upper = np.triu_indices(4)

    def gradient(rounds):
        moments, _ = complete(Batch.of(["a"] * 400, rows), None, 0.0, 0.0, rounds)
        mean, covariance = moments.mean[0], moments.covariance[0]

        def value(parameters):
            C = np.zeros((4, 4))
            C[upper] = parameters[4:]
            return log_likelihood(parameters[:4], C + C.T - np.diag(np.diag(C)), rows)

        return np.abs(approx_fprime(np.concatenate([mean, covariance[upper]]), value, 1e-6)).max()

    assert gradient(60) < 0.01 < 1.0 < gradient(4)


def test_every_round_raises_the_likelihood():
    rows, found = holes(correlated(), 0.25), []
    for rounds in (1, 2, 4, 8):
        moments, _ = complete(Batch.of(["a"] * 400, rows), None, 0.0, 0.0, rounds)
        found.append(log_likelihood(moments.mean[0], moments.covariance[0], rows))
    assert (np.diff(found) > 0).all()


def test_ten_percent_of_holes_hardly_move_the_model(digits):
    """Against the complete fit, and against holes that are filled with the pixel's mean."""
    prompts, images = digits
    damaged = holes(images)
    mean = np.where(np.isnan(damaged), np.nanmean(damaged, axis=0), damaged)
    whole = LinearDiffusion(shrinkage=0).fit(prompts, images.astype(float))
    laws = {}
    for name, ld in (
        ("em", LinearDiffusion(shrinkage=0, missing="em").fit(prompts, damaged)),
        ("mean", LinearDiffusion(shrinkage=0).fit(prompts, mean)),
    ):
        pixels = [
            (m.decode(m.law("3").mean).ravel(), m.fitted_.encoder.synthesis.T @ m.law("3").covariance
             @ m.fitted_.encoder.synthesis) for m in (ld, whole)
        ]  # fmt: skip
        laws[name] = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(*pixels, strict=True)]
    assert laws["em"][0] < 0.02
    assert laws["em"][1] < 0.1
    assert laws["mean"][0] > 2 * laws["em"][0]  # control
    assert laws["mean"][1] > 2 * laws["em"][1]


def test_without_holes_it_is_the_plain_fit(tiny):
    prompts, images = tiny
    a, b = (LinearDiffusion(missing=m).fit(prompts, images).predict(["up"], seed=0) for m in ("em", "error"))
    np.testing.assert_array_equal(a, b)


def test_weights_are_repetitions():
    rows = holes(correlated(60), 0.2)
    times = np.random.default_rng(0).integers(1, 4, len(rows))
    weighted, _ = complete(Batch.of(["a"] * len(rows), rows, times.astype(float)), None, 0.0, 0.0)
    repeated, _ = complete(Batch.of(["a"] * times.sum(), np.repeat(rows, times, axis=0)), None, 0.0, 0.0)
    np.testing.assert_allclose(weighted.mean, repeated.mean, atol=1e-10)
    np.testing.assert_allclose(weighted.scatter, repeated.scatter, atol=1e-8)


def test_a_stream_fills_holes_under_the_moments_so_far():
    """A batch after 2,000 complete images: its holes get their regression on the other pixels."""
    rows = correlated(2100)
    whole = Moments.of(rows[:2000], np.zeros(2000, int), 1)
    damaged = rows[2000:].copy()
    damaged[:, 2] = np.nan
    _, filled = complete(Batch.of(["a"] * 100, damaged), whole, 0.0, 0.0)
    others = [0, 1, 3]
    design = np.column_stack([np.ones(2000), rows[:2000, others]])
    expected = np.column_stack([np.ones(100), damaged[:, others]]) @ np.linalg.lstsq(design, rows[:2000, 2])[0]
    np.testing.assert_allclose(filled.rows[:, 2], expected, atol=1e-8)
    ld = LinearDiffusion(missing="em", shrinkage=0)
    ld.partial_fit(["a"] * 2000, rows[:2000]).partial_fit(["a"] * 100, damaged)
    assert float(ld.statistics_.moments.weight.sum()) == 2100


def test_styles_contrast_and_a_basis_take_filled_images(digits):
    prompts, images = digits[0][:600], digits[1][:600]
    damaged = holes(images, 0.05)
    seen = damaged[~np.isnan(damaged)]
    ld = LinearDiffusion(20, missing="em", n_styles=2, contrast="histogram").fit(prompts, damaged)
    assert ld.statistics_.histogram.weight.sum() == len(seen)
    assert ld.pixel_range_ == (seen.min(), seen.max())
    assert sum(weight.sum() for weight, _ in ld.styles_.values()) == len(prompts)
    plain = LinearDiffusion(20).fit(prompts, images)
    other = LinearDiffusion(image_encoder=plain.fitted_.encoder, missing="em").fit(prompts, damaged)
    assert plain.law("3").wasserstein(other.law("3")) < 0.1 * np.sqrt(np.trace(plain.law("3").covariance))


def test_refusals(tiny):
    prompts, images = tiny
    damaged = holes(images)
    with pytest.raises(ValueError, match='missing="em"'):
        LinearDiffusion().fit(prompts, damaged)
    damaged[5] = np.nan
    with pytest.raises(ValueError, match="image 5"):
        LinearDiffusion(missing="em").fit(prompts, damaged)
    damaged = holes(images)
    damaged[1::3, 2, 1] = np.nan  # of "right"
    with pytest.raises(ValueError, match=r"pixel \(2, 1\) .*'right'"):
        LinearDiffusion(missing="em").fit(prompts, damaged)
    ld = LinearDiffusion(missing="em").partial_fit(prompts, images)
    assert ld.partial_fit(prompts, damaged).statistics_.moments.weight.sum() == 180  # seen before
    with pytest.raises(ValueError, match="forgotten"):
        ld.forget(prompts, damaged)
    with pytest.raises(ValueError, match="embeddings"):
        LinearDiffusion(missing="em").fit(np.ones((90, 1)), holes(images))
    with pytest.raises(ValueError, match="max_memory"):
        LinearDiffusion(missing="em", max_memory=1000).fit(prompts, holes(images))
    damaged = holes(images)
    damaged[5] = np.inf
    with pytest.raises(ValueError, match="infinit"):
        LinearDiffusion(missing="em").fit(prompts, damaged)
