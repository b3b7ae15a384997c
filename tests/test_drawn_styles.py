"""The law that styles are drawn from: few directions with all of the variance; its distance from the scored law."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import ks_2samp

from lineardiffusion import Gaussian, LinearDiffusion
from lineardiffusion.encoders.clusters import StyleClusters
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.styles import PRIOR_IMAGES, RANK, StyleStatistics, leading

D = 12


def styles_of(rows, styles, weight=None, prompt=None):
    """Statistics of styles 0, 1, ... of one prompt, or of the prompts that are given."""
    g = max(styles) + 1
    moments = Moments.of(rows, styles, g, weight)
    clusters = StyleClusters(moments.mean, np.zeros(g, int) if prompt is None else np.array(prompt), 2)
    return StyleStatistics(clusters, moments, None)


def rows_of(sizes, seed=0, d=D):
    rng = np.random.default_rng(seed)
    rows = [
        rng.normal(size=d) + rng.normal(size=(n, d)) @ (rng.normal(size=(d, d)) * np.geomspace(3, 0.3, d))
        for n in sizes
    ]
    return rows, np.concatenate(rows), np.repeat(np.arange(len(sizes)), sizes)


def covariances(variance, basis):
    return (basis * variance[:, None]) @ basis.mT


@pytest.mark.parametrize("rank", [1.0, 0.5, 0.25, 0.125, 1e-9])
def test_leading_directions_with_all_of_the_variance(rank):
    """By the singular vectors of each style's images; one direction at least, and at most all that there are."""
    sizes = (5, 8, 20, 40)
    each, rows, styles = rows_of(sizes)
    statistics = styles_of(rows, styles)
    variance, basis = statistics.drawn(rank, statistics.shrink_within(0.0)[0])
    assert basis.shape == (4, D, min(max(int(rank * 40), 1), D))
    for g, own in enumerate(each):
        n, r = len(own), min(max(int(rank * len(own)), 1), D, len(own) - 1)
        _, s, V = np.linalg.svd(own - own.mean(axis=0), full_matrices=False)
        assert np.count_nonzero(variance[g]) == r
        assert (np.diff(variance[g]) <= 0).all()
        expected = (V[:r].T * s[:r] ** 2) @ V[:r] * ((s**2).sum() / (s[:r] ** 2).sum()) / (n - 1)
        assert_allclose((basis[g] * variance[g]) @ basis[g].T, expected, atol=1e-10 * (s**2).sum())
        unbiased = np.cov(own.T)
        assert variance[g].sum() == pytest.approx(np.trace(unbiased), rel=1e-10)
        if r < min(D, n - 1):  # control: the rest of the variance thrown away
            assert (s[:r] ** 2).sum() / (n - 1) < (1 - 1e-6) * np.trace(unbiased)
        used = variance[g] > 0
        assert_allclose(basis[g][:, used].T @ basis[g][:, used], np.eye(r), atol=1e-10)


def test_a_whole_basis_of_every_style():
    """With a style in all directions, the others too have an orthonormal basis, with variances 0."""
    each, rows, styles = rows_of((5, 60))
    statistics = styles_of(rows, styles)
    variance, basis = statistics.drawn(0.5, statistics.shrink_within(0.0)[0])
    assert basis.shape == (2, D, D)
    assert_allclose(basis.mT @ basis, np.broadcast_to(np.eye(D), (2, D, D)), atol=1e-10)
    assert np.count_nonzero(variance[0]) == 2
    assert_allclose(covariances(variance, basis)[1], np.cov(each[1].T), atol=1e-10 * np.trace(np.cov(each[1].T)))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_style_of_fewer_than_four_images_is_drawn_from_the_scored_law(n):
    """Its S as it is, in rank (n + 20) directions: images that are no copies of its own."""
    each, rows, styles = rows_of((n, 30))
    statistics = styles_of(rows, styles)
    within = statistics.shrink_within(0.0)[0]
    variance, basis = statistics.drawn(RANK, within)
    W = sum(len(own) * np.cov(own.T, bias=True) for own in each if len(own) > 1) / (n + 30)
    C = np.cov(each[0].T, bias=True) if n > 1 else np.zeros((D, D))
    S = (n * C + PRIOR_IMAGES * W) / (n + PRIOR_IMAGES)
    values, vectors = np.linalg.eigh(S)
    r = int(RANK * (n + PRIOR_IMAGES)) if n < 4 else 1
    if n < 4:
        expected = values[::-1][:r] * np.trace(S) / values[::-1][:r].sum()
        assert_allclose(variance[0][:r], expected, rtol=1e-9)
        assert_allclose(np.abs(np.sum(basis[0][:, :r] * vectors[:, ::-1][:, :r], axis=0)), 1.0, atol=1e-8)
    else:
        assert variance[0].sum() == pytest.approx(4 / 3 * np.trace(C))
    assert np.count_nonzero(variance[0]) == r


def test_weights_count_images():
    """Weights of 2 on a third of the images: n is Kish's number, and the covariance that of the weights."""
    each, rows, styles = rows_of((30, 60))
    weight = np.where(np.arange(90) % 3, 1.0, 2.0)
    for unit in (1.0, 1e-3):  # whose unit does not count
        statistics = styles_of(rows, styles, unit * weight)
        variance, basis = statistics.drawn(0.2, statistics.shrink_within(0.0)[0])
        for g, own in enumerate(each):
            w = weight[styles == g]
            n = w.sum() ** 2 / (w**2).sum()
            C = np.cov(own.T, bias=True, aweights=w)
            assert variance[g].sum() == pytest.approx(n / (n - 1) * np.trace(C), rel=1e-10)
            assert np.count_nonzero(variance[g]) == int(0.2 * n)
            values, vectors = np.linalg.eigh(C)
            r = int(0.2 * n)
            assert int(0.2 * len(own)) > r  # control: the number of images itself
            for k in range(r):
                assert abs(basis[g][:, k] @ vectors[:, -1 - k]) == pytest.approx(1.0, abs=1e-9)
            assert_allclose(variance[g][:r] / variance[g][0], values[::-1][:r] / values[-1], rtol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(5, 60), (12, 90), (50, 60), (200, 30), (2, 40)])
@pytest.mark.parametrize("weighted", [False, True])
def test_leading_eigenvalues_are_those_of_eigh(n, d, weighted):
    """Of a low rank, by products with few random vectors; and of one that weights make larger than their number."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, d)) * np.geomspace(1, 1e-3, d)
    w = np.where(np.arange(n) < 3, 1.0, 1e-3) if weighted else np.ones(n)
    x -= np.average(x, axis=0, weights=w)
    C = (x.T * w) @ x / w.sum()
    effective = w.sum() ** 2 / (w**2).sum()
    values = np.linalg.eigvalsh(C)
    for r in (1, 3, d):
        found, own = leading(C, r, int(np.ceil(effective)) - 1)
        assert own.shape == (d, len(found))
        assert len(found) == min(r, n - 1, d)
        assert_allclose(found, values[::-1][: len(found)], rtol=1e-6, atol=1e-12 * np.trace(C))
        assert_allclose(own.T @ own, np.eye(len(found)), atol=1e-9)
        well = found > 1e-6 * found[0]  # of which an eigenvector is known
        assert_allclose((C @ own)[:, well], (own * found)[:, well], atol=1e-9 * found[0])
    found, own = leading(np.zeros((d, d)), 3, 2)
    assert (found.shape, own.shape) == ((0,), (d, 0))


# ---------------------------------------------------------------------- in a model


@pytest.fixture(scope="module")
def drawn(digits):
    return LinearDiffusion(30, n_styles=4, style_rank=0.125).fit(*digits)


def images_of(ld, digits, name):
    """Latents of the images of a style."""
    z = ld.encode(digits[1])
    styles = ld.statistics_.styles.clusters
    g = np.flatnonzero(styles.prompt == np.searchsorted(ld.prompts_, name[0]))[int(name[2])]
    return z[styles.assign(z, np.searchsorted(ld.prompts_, digits[0])) == g], g


def test_the_law_that_is_told_is_the_law_that_is_drawn(digits, drawn):
    """By simulation; not the law that is scored: the control."""
    law = drawn.law("5~1")
    own, g = images_of(drawn, digits, "5~1")
    assert drawn.style_rank_ == 0.125
    assert np.linalg.matrix_rank(law.covariance) == int(len(own) / 8)
    assert np.trace(law.covariance) == pytest.approx(np.trace(np.cov(own.T)), rel=1e-6)
    z = drawn.encode(drawn.predict(["5~1"] * 4000, seed=0))
    values, vectors = np.linalg.eigh(law.covariance)
    r = int(len(own) / 8)
    plane = (z - law.mean) @ vectors
    assert np.abs(plane[:, :-r]).max() < 1e-5 * np.sqrt(values[-1])  # in float32
    scaled = plane[:, -r:] / np.sqrt(values[-r:])
    assert np.abs(scaled.mean(axis=0)).max() < 5 / np.sqrt(4000)
    assert np.abs(np.cov(scaled.T) - np.eye(r)).max() < 5 * np.sqrt(2 / 4000)
    scored = drawn.fitted_.scored
    S = (scored.basis[g] * scored.variance[g]) @ scored.basis[g].T
    off = vectors[:, -r:].T @ S @ vectors[:, -r:] / np.sqrt(np.outer(values[-r:], values[-r:]))
    assert np.abs(off - np.eye(r)).max() > 10 * np.sqrt(2 / 4000)


@pytest.mark.parametrize(
    "how",
    [
        {"sampler": "ddim", "num_steps": 5},
        {"sampler": "ddpm", "num_steps": 5},
        {"sampler": "heun", "num_steps": 4, "schedule": "karras"},
    ],
)
def test_of_any_sampler(digits, how):
    """The density of draws under the law of a mixture of thin bases, and that of the law's own draws."""
    schedule = how.pop("schedule", "cosine")
    ld = LinearDiffusion(8, n_styles=2, style_rank=0.05, schedule=schedule).fit(*digits)
    assert ld.fitted_.conditional.is_thin
    law = ld.law("4", **how)
    z = ld.encode(ld.predict(["4"] * 3000, seed=1, **how))
    direction = np.random.default_rng(0).normal(size=(8, 3))
    mine = law.draw(3000, seed=2)
    for k in range(3):
        assert ks_2samp(z @ direction[:, k], mine @ direction[:, k]).pvalue > 1e-3
    other = ld.law("9", **how).draw(3000, seed=2)
    assert min(ks_2samp(z @ direction[:, k], other @ direction[:, k]).pvalue for k in range(3)) < 1e-6  # control


def test_a_law_of_few_directions_has_no_inverse(digits, drawn):
    images = drawn.predict(["5~1"], seed=0)
    rank = np.linalg.matrix_rank(drawn.law("5~1").covariance)
    with pytest.raises(ValueError, match=f"keeps {rank} of 30 directions"):
        drawn.invert(["5~1"], images)
    whole = LinearDiffusion(6, n_styles=2, style_rank=1.0).fit(*digits)  # control
    noise = np.random.default_rng(0).normal(size=(1, 6))
    assert_allclose(whole.invert(["5~1"], whole.predict(["5~1"], latents=noise)), noise, atol=1e-3)


def test_how_far_the_drawn_law_is_from_the_scored_one(digits, drawn):
    """By 2 % of the total variance; by .38 of it in W2^2, of which .26 are what the images' own covariance is away.

    The traces are u tr C with u = n / (n - 1), and (n tr C + 20 tr W) / (n + 20). If the drawn directions hold the
    share h of tr C, the drawn law is W2^2 = (1 + u - 2 (u h)^(1/2)) tr C away from C.
    """
    scored, conditional = (
        covariances(x.variance, x.basis) for x in (drawn.fitted_.scored, drawn.fitted_.conditional)
    )
    z, styles = drawn.encode(digits[1]), drawn.statistics_.styles.clusters
    place, total = styles.assign(z, np.searchsorted(drawn.prompts_, digits[0])), np.zeros(5)
    for g, (S, K) in enumerate(zip(scored, conditional, strict=True)):
        own = z[place == g]
        n, C, W = len(own), np.cov(own.T, bias=True), drawn.fitted_.within[styles.prompt[g]]
        u, values = n / (n - 1), np.linalg.eigvalsh(C)[::-1]
        h = values[: int(n / 8)].sum() / values.sum()
        assert np.trace(K) == pytest.approx(u * np.trace(C), rel=1e-6)
        assert np.trace(S) == pytest.approx((n * np.trace(C) + 20 * np.trace(W)) / (n + 20), rel=1e-6)
        to_scored, to_images = (
            Gaussian(np.zeros(30), K).wasserstein(Gaussian(np.zeros(30), x)) ** 2 for x in (S, C)
        )
        assert to_images == pytest.approx((1 + u - 2 * np.sqrt(u * h)) * np.trace(C), rel=1e-4)
        total += n / len(z) * np.array([np.trace(K), np.trace(S), to_scored, to_images, h * np.trace(S)])
    drawn_trace, _, to_scored, to_images, share = total / total[1]
    assert 1.0 < drawn_trace < 1.04
    assert 0.3 < to_scored < 0.45
    assert 0.2 < to_images < 0.32  # S has more directions than C
    assert 0.7 < share < 0.8


def test_all_directions_are_the_unbiased_covariance(digits):
    """With n / 1 directions of far fewer components, the drawn law is that of the images; no law is thin."""
    ld = LinearDiffusion(6, n_styles=2, style_rank=1.0).fit(*digits)
    assert not ld.fitted_.conditional.is_thin
    own, _ = images_of(ld, digits, "3~0")
    assert_allclose(ld.law("3~0").covariance, np.cov(own.T), atol=1e-5)
    refitted = ld.refit(style_rank=0.02)
    assert np.linalg.matrix_rank(refitted.law("3~0").covariance) == max(1, int(0.02 * len(own)))
    assert refitted.style_rank_ == 0.02


@pytest.mark.parametrize("weight", [0.1, 1e-3, 7.0])
def test_equal_weights_change_no_picture(digits, weight):
    """Also where the effective number of images is a whole one less its rounding."""
    prompts, images = digits
    ld = LinearDiffusion(20, n_styles="auto", style_rank=0.5, contrast="pixelwise").fit(prompts, images)
    same = LinearDiffusion(20, n_styles="auto", style_rank=0.5, contrast="pixelwise")
    same.fit(prompts, images, np.full(len(images), weight))
    drawn = [one.predict(["3"] * 50, seed=0) for one in (ld, same)]
    np.testing.assert_allclose(*drawn, atol=1e-3)
    some = np.where(np.arange(len(images)) % 2, weight, 3 * weight)  # control
    other = LinearDiffusion(20, n_styles="auto", style_rank=0.5, contrast="pixelwise").fit(prompts, images, some)
    assert np.abs(other.predict(["3"] * 50, seed=0) - drawn[0]).max() > 0.1
