"""Principal components in passes over large images, against full decompositions."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from lineardiffusion import LinearDiffusion, training
from lineardiffusion.encoders import basis
from lineardiffusion.encoders.basis import Products, fit_all, fit_basis
from lineardiffusion.encoders.image import ImageEncoder
from lineardiffusion.statistics import source
from lineardiffusion.statistics.moments import Moments

SHAPE = (20, 10)  # 200 pixels


def photographs(n, seed=0, decay=1.0):
    """Images whose spectrum falls like a power, as that of photographs does, as bytes."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(np.random.default_rng(99).normal(size=(200, 200)))[0]
    spectrum = 300 / np.arange(1.0, 201) ** decay
    rows = rng.normal(size=(n, 200)) * spectrum @ directions
    return np.clip(rows + 128, 0, 255).astype(np.uint8)


def fitted(rows, n_components, tolerance, w=None, scale=False, sample=60, max_memory=np.inf):
    """The encoder, and the number of passes."""
    passes = []

    def one_pass(*columns):
        passes.append(columns[2].shape[1])
        parts = np.array_split(np.arange(len(rows)), 3)
        first, *others = (Products.of(rows[p], None if w is None else w[p], *columns) for p in parts)
        return sum(others, start=first)

    some = slice(None, None, len(rows) // sample)
    return fit_basis(one_pass, rows[some], n_components, tolerance, SHAPE, scale, max_memory), len(passes)


def full(rows, n_components, w=None, scale=False):
    moments = Moments.of(rows, np.zeros(len(rows), int), 1, w)
    return ImageEncoder.fit(moments, n_components, SHAPE, rows.dtype, scale)


@pytest.mark.parametrize("decay", [0.6, 1.0, 1.5])
def test_the_tolerance_is_kept_and_reached_by_more_passes(decay):
    rows = photographs(3000, decay=decay)
    best = full(rows, 20).variance.sum()
    passes = []
    for tolerance in (1e-1, 1e-2, 1e-3, 1e-5, 1e-8):
        encoder, n = fitted(rows, 20, tolerance)
        assert -1e-6 <= 1 - encoder.variance.sum() / best <= tolerance + 1e-6  # float32 products
        passes.append(n)
    assert passes == sorted(passes)
    assert passes[0] < passes[-1]
    # control: the components of the sample alone miss more than the tightest tolerances
    V = full(rows[::50], 20).components
    assert 1 - np.trace(V @ np.cov(rows.T.astype(float), bias=True) @ V.T) / best > 1e-4


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", [False, True])
def test_many_passes_are_the_full_decomposition(scale, weighted):
    rows = photographs(800, seed=1).astype(np.float64) + 10_000
    rows[:, 17] = 10_128.0
    w = np.random.default_rng(2).uniform(0.5, 2.0, 800) if weighted else None
    encoder, exact = fitted(rows, 12, 1e-13, w, scale)[0], full(rows, 12, w, scale)
    np.testing.assert_allclose(encoder.components, exact.components, atol=1e-6)
    np.testing.assert_allclose(encoder.components @ encoder.components.T, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(encoder.mean, exact.mean, rtol=1e-13)
    for name in ("variance", "residual_variance", "pixel_variance", "pixel_scale", "scaling_factor"):
        np.testing.assert_allclose(getattr(encoder, name), getattr(exact, name), rtol=1e-7)


def test_is_scikit_learns_pca():
    rows = photographs(2000, seed=3)
    encoder, pca = fitted(rows, 10, 1e-9)[0], PCA(10, svd_solver="full").fit(rows.astype(float))
    np.testing.assert_allclose(encoder.variance, pca.explained_variance_ * 1999 / 2000, rtol=1e-5)
    np.testing.assert_allclose(encoder.residual_variance, pca.noise_variance_ * 1999 / 2000, rtol=1e-4)
    # the angles between the planes
    np.testing.assert_allclose(np.linalg.svd(encoder.components @ pca.components_.T)[1], 1.0, atol=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_share_of_the_variance(share):
    rows = photographs(1500, seed=4)
    encoder, exact = fitted(rows, share, 1e-6)[0], full(rows, share)
    assert len(encoder.components) == len(exact.components)
    np.testing.assert_allclose(
        encoder.explained_variance_ratio.sum(), exact.explained_variance_ratio.sum(), rtol=1e-5
    )


@pytest.mark.parametrize("n", [1, 5, 59, 90])
@pytest.mark.parametrize("by", ["passes", "all"])
def test_fewer_images_than_components(n, by):
    """All of them, in as many directions as there are."""
    rows = photographs(n, seed=5).astype(np.float64)
    if by == "all":
        encoder = fit_all(rows, None, 144, SHAPE, False)
    else:
        encoder = fitted(rows, 144, 1e-3, sample=min(n, 60))[0]
    assert len(encoder.components) == max(n - 1, 1)
    assert encoder.residual_variance < 1e-9
    np.testing.assert_allclose(encoder.decode(encoder.encode(rows)).reshape(n, -1), rows, atol=1e-3)


def test_a_first_batch_of_equal_images_is_no_obstacle():
    rows = photographs(1000, seed=6)
    rows[::10] = rows[0]
    encoder, exact = fitted(rows, 10, 1e-6, sample=100)[0], full(rows, 10)
    np.testing.assert_allclose(encoder.variance, exact.variance, rtol=1e-4)


def test_fit_of_large_images_is_that_of_their_pixels_moments(monkeypatch):
    rows = photographs(900, seed=7)
    prompts = ["dark" if mean < 128 else "light" for mean in rows.mean(axis=1)]
    images = rows.reshape(-1, *SHAPE)
    whole = LinearDiffusion(12, contrast="affine").fit(prompts, images)
    monkeypatch.setattr(training, "LARGE", 100)
    monkeypatch.setattr(source, "SAMPLE", 100)
    large = LinearDiffusion(12, contrast="affine", basis_tolerance=1e-9).fit(prompts, images)
    assert large.statistics_.encoder is not None
    np.testing.assert_allclose(large.predict(["dark"] * 5, 0), whole.predict(["dark"] * 5, 0), atol=0.05)
    np.testing.assert_allclose(large.score_samples(images[:9]), whole.score_samples(images[:9]), rtol=1e-4)
    with pytest.raises(ValueError, match="max_memory"):
        LinearDiffusion(12, max_memory=basis.nbytes(200, 12) - 1).fit(prompts, images)
    for odd in (0.0, 1.0, 7.0, float("nan")):
        with pytest.raises(ValueError, match="basis_tolerance"):
            LinearDiffusion(12, basis_tolerance=odd).fit(prompts, images)
    needed = basis.nbytes(200, 12)
    with pytest.warns(UserWarning, match="max_memory"):
        short, n = fitted(rows, 12, 1e-14, max_memory=8 * 200 * 22 * 6)
    assert n < fitted(rows, 12, 1e-14)[1]
    np.testing.assert_allclose(short.variance, full(rows, 12).variance, rtol=1e-3)
    few = LinearDiffusion(12, max_memory=needed).fit(prompts[:50], images[:50])  # which are the whole sample
    exact = full(rows[:50], 12)
    np.testing.assert_allclose(few.components_, exact.components, atol=1e-9)
    np.testing.assert_allclose(few.explained_variance_ratio_, exact.explained_variance_ratio, rtol=1e-9)


@pytest.mark.parametrize("unit", [1e-46, 1e-30, 1e36])
def test_the_unit_of_the_weights_does_not_matter(monkeypatch, unit):
    monkeypatch.setattr(training, "LARGE", 100)
    monkeypatch.setattr(source, "SAMPLE", 50)
    rows, w = photographs(300, seed=8), np.random.default_rng(9).uniform(0.5, 2.0, 300)
    one, other = (LinearDiffusion(5).fit(["a"] * 300, rows, x) for x in (w, w * unit))
    np.testing.assert_allclose(other.predict(["a"] * 3, 0), one.predict(["a"] * 3, 0), atol=1e-3)


def test_the_type_of_all_batches_decides_what_is_rounding(monkeypatch):
    """Bytes first, then single precision of low rank: directions of rounding are no components."""
    rng = np.random.default_rng(11)
    rows = rng.normal(size=(600, 3)) @ rng.normal(size=(3, 64)) * 20 + 100
    batches = [(["a"] * 8, np.full((8, 64), 100, np.uint8)), (["a"] * 600, rows.astype(np.float32))]
    whole = LinearDiffusion(max_memory=8.0 * 64**2).fit(["a"] * 608, np.concatenate([b[1] for b in batches]))
    two = LinearDiffusion(max_memory=8.0 * 64**2).fit_batches(batches)
    assert two.n_components_ == whole.n_components_ == 3
    many = [(["b"] * 8, batches[0][1]), batches[1]]  # two prompts, whose moments of pixels exceed the memory
    assert LinearDiffusion(max_memory=8.0 * 64**2).fit_batches(many).n_components_ == 3
    monkeypatch.setattr(training, "LARGE", 10)
    monkeypatch.setattr(source, "SAMPLE", 20)
    assert LinearDiffusion(20).fit_batches(many).n_components_ == 3
