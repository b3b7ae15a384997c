"""The histogram contrast: the data's histogram, its curve, and what it leaves alone."""

import pickle

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.base import clone

from lineardiffusion import LinearDiffusion
from lineardiffusion.contrast import condense, distribution, grid


def kolmogorov(a, b):
    """Largest difference of the shares of pixels up to a value, over all values; ties stay whole."""
    values = np.unique(np.concatenate([np.unique(a), np.unique(b)]))
    a, b = (np.searchsorted(np.sort(x, axis=None), values, side="right") / x.size for x in (a, b))
    return float(np.abs(a - b).max())


@pytest.fixture(scope="module")
def colour():
    """Skewed float64 pixels, 300 images of 3 x 2 x 3, two prompts."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(18, 18)) / 3
    images = np.exp(rng.normal(size=(300, 18)) @ mix - rng.random(18)).reshape(300, 3, 2, 3)
    return ["dark" if i % 3 else "light" for i in range(300)], images * (1 + (np.arange(300) % 3 == 0))[
        :, None, None, None
    ]


def of(contrast, data, **params):
    return LinearDiffusion(contrast=contrast, **params).fit(*data)


def same(a, b):
    np.testing.assert_array_equal(a.values, b.values)
    np.testing.assert_array_equal(a.weight, b.weight)


# ---------------------------------------------------------------------- the law's distribution


def brute(ld, x, styles=1):
    """F by definition, from the laws of the prompts (or their styles) and the decoder."""
    synthesis = ld.decode(np.eye(ld.n_components_)).reshape(ld.n_components_, -1) - ld.mean_
    total, weight = 0.0, 0.0
    for prompt, share in zip(ld.prompts_, ld.prompt_prior_, strict=True):
        if styles == 1:
            parts = [(prompt, 1.0)]
        else:
            counts = ld.styles_[prompt][0]
            parts = [(f"{prompt}~{k}", n / counts.sum()) for k, n in enumerate(counts)]
        for name, chance in parts:
            law = ld.law(name)
            deviation = np.sqrt(np.maximum(np.diag(synthesis.T @ law.covariance @ synthesis), 0))
            mean = ld.decode(law.mean).ravel()
            F = norm.cdf(x[:, None], mean, np.maximum(deviation, 1e-6)).mean(axis=1)
            total, weight = total + share * chance * F, weight + share * chance
    assert weight == pytest.approx(1.0)
    return total


@pytest.mark.parametrize("styles", [1, 3])
def test_thresholds_are_the_law_s_quantiles_at_the_data_s_shares(colour, styles):
    _, images = colour
    ld = of("histogram", colour, n_styles=styles)
    found = ld.contrast_
    share = np.searchsorted(np.sort(images, axis=None), found.values[:-1] * (1 + 1 / 4096)) / images.size
    F = brute(ld, found.thresholds, styles)
    rounding = 3 / images.size  # pixels within a 4096th of a value
    assert np.abs(F - share).max() < 5e-4 + rounding
    assert np.abs(brute(ld, found.thresholds + 0.05 * images.std(), styles) - share).max() > 5e-3  # control


def test_condensed_normals_have_the_mixture_s_distribution():
    """Deviations over six orders of magnitude, means far from zero, groups of no weight."""
    rng = np.random.default_rng(0)
    share = np.append(rng.dirichlet(np.ones(20)), 0.0)
    mean = 1e4 + 100 * rng.random((21, 500))
    mean[-1] = np.nan  # must not be looked at
    deviation = 10.0 ** rng.uniform(-5, 1.5, (21, 500))
    normals = condense(share, mean, deviation)
    assert len(normals[0]) < 10_000
    x = rng.permutation(grid(*normals))[:200]
    F = sum(
        p * norm.cdf(x[:, None], m, s).mean(axis=1) for p, m, s in zip(share[:-1], mean, deviation, strict=False)
    )
    error = np.abs(distribution(*normals, x) - F).max()
    assert error < 2e-4
    blunt = condense(share, mean, np.maximum(deviation, 1.0))  # control: a floor that is too high
    assert np.abs(distribution(*blunt, x) - F).max() > 5e-4
    F = distribution(*normals, grid(*normals))
    assert np.diff(F).min() >= 0
    assert np.diff(F).max() < 1 / 500
    assert F[0] < 1e-6
    assert F[-1] > 1 - 1e-6


# ---------------------------------------------------------------------- pictures


def off_by(ld, control, images, n=2_000):
    """Distance of the pictures' pixels from the data's under another contrast."""
    return kolmogorov(np.rint(ld.refit(contrast=control).sample(n, seed=0)[0]), images)


@pytest.mark.parametrize("params", [{}, {"n_styles": 3}, {"scale": True}])
def test_pictures_have_the_data_s_histogram(digits, params):
    _, images = digits
    ld = of("histogram", digits, **params)
    drawn, _ = ld.sample(5_000, seed=0)
    assert kolmogorov(drawn, images) < 0.003
    assert np.isin(drawn, np.arange(17)).all()
    for control, distance in ((None, 0.05), ("affine", 0.005)):  # the nearest whole number, to be fair
        assert off_by(ld, control, images) > distance


def test_skewed_floats_have_the_data_s_histogram(colour):
    _, images = colour
    ld = of("histogram", colour)
    drawn, _ = ld.sample(20_000, seed=0)
    assert drawn.dtype == np.float64
    assert kolmogorov(drawn, images) < 0.01
    assert kolmogorov(ld.refit(contrast="affine").sample(4000, seed=0)[0], images) > 0.05


@pytest.mark.mnist
def test_mnist_has_its_histogram(mnist):
    """What small digits do not have: 784 pixels, of which most are 0, and a frame that never varies."""
    prompts, images = mnist[0][:5000], mnist[1][:5000]
    ld = of("histogram", (prompts, images), n_components=40, n_styles=2)
    drawn, _ = ld.sample(2_000, seed=0)
    assert drawn.dtype == np.float32
    bound = 0.006  # 5000 real digits are 0.001 from the others
    assert kolmogorov(drawn, images) < bound
    assert off_by(ld, "affine", images, 500) > 5 * bound


def test_the_curve_is_monotone_and_keeps_the_type(digits):
    contrast = of("histogram", digits).contrast_
    x = np.linspace(-100, 100, 100_001)
    for dtype in (np.float32, np.float64):
        y = contrast(x.astype(dtype).reshape(1, 11, -1))
        assert y.dtype == dtype
        assert y.shape == (1, 11, 9091)
        assert np.diff(y.ravel()).min() >= 0
        assert set(np.unique(y)) == set(range(17))
    np.testing.assert_array_equal(contrast(contrast.thresholds), contrast.values[:-1])  # up to and with
    above = np.nextafter(contrast.thresholds, np.inf)
    np.testing.assert_array_equal(contrast(above), contrast.values[1:])


def test_black_and_white_and_nothing_else(digits):
    prompts, images = digits
    binary = (images > 8).astype(np.uint8)
    drawn, _ = of("histogram", (prompts, binary)).sample(5_000, seed=0)
    assert set(np.unique(drawn)) == {0, 1}
    assert drawn.mean() == pytest.approx(binary.mean(), rel=0.01)
    for value in (0, 7):
        flat = of("histogram", (["a", "b"], np.full((2, 4), value)))
        np.testing.assert_array_equal(flat.predict(["a"], seed=0), np.full((1, 4), value))


def test_a_frame_that_never_varies_stays_flat():
    """Whatever float32 makes of it; and far from zero."""
    rng = np.random.default_rng(0)
    images = (10_000 + 100 * rng.random((500, 6, 6))).astype(np.float32)
    images[:, 0] = 10_050
    drawn = of("histogram", (["a"] * 500, images)).predict(["a"] * 50, seed=0)
    assert len(np.unique(drawn[:, 0])) == 1
    assert abs(drawn[0, 0, 0] - 10_050) < 5


def test_it_touches_pictures_only(digits):
    prompts, images = digits
    plain, ld = of(None, digits), of("histogram", digits)
    np.testing.assert_array_equal(ld.law("7").covariance, plain.law("7").covariance)
    np.testing.assert_array_equal(ld.affine("7")[0], plain.affine("7")[0])
    assert ld.score(prompts[:200], images[:200]) == plain.score(prompts[:200], images[:200])
    assert ld.classify(images[:50]).tolist() == plain.classify(images[:50]).tolist()
    for sampler in ("exact", "ddim"):
        (picture, a), (pixels, b) = (
            m.predict(["7"], seed=1, sampler=sampler, return_trajectory=True) for m in (ld, plain)
        )
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(picture, ld.contrast_(pixels))
        assert np.abs(picture - pixels).max() > 1  # control
    *_, last = ld.staged_predict(["7"], seed=1)
    np.testing.assert_allclose(last, plain.predict(["7"], seed=1), atol=1e-4)
    (pil,) = ld.predict(["7"], seed=1, output_type="pil")
    np.testing.assert_array_equal(np.asarray(pil), np.rint(ld.predict(["7"], seed=1)[0] * (255 / 16)))


# ---------------------------------------------------------------------- streams, and what was not counted


def test_stream_merge_and_weights_give_the_batch(digits):
    prompts, images = digits[0], digits[1].astype(np.uint8)
    whole = of("histogram", (prompts, images))
    stream, parts = LinearDiffusion(contrast="histogram"), []
    for i in (3, 0, 2, 1):
        batch = prompts[i::4], images[i::4]
        stream.partial_fit(*batch)
        parts.append(LinearDiffusion(contrast="histogram").partial_fit(*batch))
    merged = parts[0].merge(parts[1]).merge(parts[2].merge(parts[3]))
    two_passes = of("histogram", (prompts, images), max_memory=1e5, n_components=20)
    assert two_passes.statistics_.encoder is not None
    for other in (stream, merged, two_passes):
        same(other.statistics_.histogram, whole.statistics_.histogram)
    for other in (stream, merged):
        # an ulp may move a normal into the next cell of the lattice
        np.testing.assert_allclose(other.contrast_.thresholds, whole.contrast_.thresholds, rtol=1e-5)
    times = np.random.default_rng(0).integers(0, 3, len(prompts))
    whole.refit(shrinkage=0)
    weighted = clone(whole).fit(prompts, images, sample_weight=times)
    repeated = clone(whole).fit(np.repeat(prompts, times).tolist(), np.repeat(images, times, axis=0))
    same(weighted.statistics_.histogram, repeated.statistics_.histogram)
    np.testing.assert_allclose(weighted.contrast_.thresholds, repeated.contrast_.thresholds, atol=1e-4)
    assert not np.array_equal(weighted.statistics_.histogram.weight, whole.statistics_.histogram.weight)


def test_styles_in_a_second_pass_keep_the_histogram(colour):
    prompts, images = colour
    stream = LinearDiffusion(n_styles=2, contrast="histogram").partial_fit(prompts, images)
    stream.partial_fit_styles(prompts, images)
    same(stream.statistics_.histogram, of("histogram", colour).statistics_.histogram)
    again = pickle.loads(pickle.dumps(stream))
    np.testing.assert_array_equal(again.predict(["dark"], seed=0), stream.predict(["dark"], seed=0))


def test_what_was_not_counted_is_an_error_and_changes_nothing(colour):
    prompts, images = colour
    plain, counted = of(None, colour), of("histogram", colour)
    assert plain.statistics_.histogram is None
    drawn = plain.predict(["dark"], seed=0)
    with pytest.raises(ValueError, match="counted"):
        plain.refit(contrast="histogram", n_components=3)
    assert (plain.contrast, plain.n_components) == (None, 144)
    np.testing.assert_array_equal(plain.predict(["dark"], seed=0), drawn)
    with pytest.raises(ValueError, match="counted"):
        counted.merge(plain)
    merged = plain.merge(counted)  # which asks for no contrast
    assert merged.statistics_.histogram is None
    plain.set_params(contrast="histogram")
    np.testing.assert_array_equal(plain.predict(["dark"], seed=0), drawn)  # it waits for the next fit
    assert plain.contrast_ is None
    for call in (lambda: plain.partial_fit(prompts, images), lambda: plain.refit()):
        with pytest.raises(ValueError, match="counted"):
            call()
    assert plain.statistics_.moments.weight.sum() == 300
    np.testing.assert_array_equal(plain.predict(["dark"], seed=0), drawn)
    with pytest.raises(ValueError, match="loud"):
        plain.refit(contrast="loud")


def test_one_contrast_after_the_other(colour):
    """Each is solved for itself; a parameter that is set waits for the refit."""
    ld = of("histogram", colour)
    curve = ld.predict(["light"], seed=0)
    np.testing.assert_array_equal(ld.set_params(contrast="affine").predict(["light"], seed=0), curve)
    gain = ld.refit().predict(["light"], seed=0)
    np.testing.assert_array_equal(of("affine", colour).predict(["light"], seed=0), gain)
    np.testing.assert_array_equal(ld.refit(contrast="histogram").predict(["light"], seed=0), curve)
    assert np.abs(curve - gain).max() > 0.01


def test_embeddings_have_it_too():
    """Nearly: the curve is of the pooled moments' Gaussian, which the embeddings' draws are not quite."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 2))
    images = np.sign(X @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(1000, 5)) - 0.5)
    ld = LinearDiffusion(contrast="histogram").fit(X, images)
    X = rng.normal(size=(1000, 2))
    assert kolmogorov(ld.predict(X, seed=0), images) < 0.1
    assert kolmogorov(ld.refit(contrast=None).predict(X, seed=0), images) > 0.3
