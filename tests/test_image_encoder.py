"""Image encoders: PCA from moments against scikit-learn's from images, other bases, and other objects."""

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lineardiffusion.encoders.image
from lineardiffusion import LinearDiffusion, Statistics
from lineardiffusion.encoders.image import ImageEncoder
from lineardiffusion.statistics.moments import Moments


def encoder_of(images, n_components, scale=False, groups=None):
    """The encoder of images (n, *shape); with groups, through the moments of each."""
    rows = images.reshape(len(images), -1)
    groups = np.zeros(len(rows), int) if groups is None else groups
    moments = Moments.of(rows, groups, groups.max() + 1).pooled()
    return ImageEncoder.fit(moments, n_components, images.shape[1:], images.dtype, scale)


def smooth(n, shape, seed=0):
    """Images with a falling spectrum, so that every component is one and no other."""
    rng = np.random.default_rng(seed)
    D = int(np.prod(shape))
    spectrum = 0.9 ** np.arange(D)
    basis = np.linalg.qr(rng.normal(size=(D, D)))[0]
    return (rng.normal(size=(n, D)) * spectrum @ basis.T + rng.uniform(1, 3, D)).reshape(n, *shape)


@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize(("n", "d"), [(200, 5), (200, 1), (20, 5)])
def test_is_scikit_learns_pca(method, n, d, monkeypatch):
    if method == "lanczos":
        monkeypatch.setattr(lineardiffusion.encoders.image, "LARGE", 48)
        monkeypatch.setattr("scipy.linalg.eigh", None)  # the dense method would fail
    images = smooth(n, (6, 8))
    rows, encoder = images.reshape(n, -1), encoder_of(images, d)
    pca = PCA(d, svd_solver="full").fit(rows)
    left_out = (PCA(svd_solver="full").fit(rows).explained_variance_ * (n - 1) / n)[d:].sum()
    np.testing.assert_allclose(encoder.mean, pca.mean_, rtol=1e-13)
    np.testing.assert_allclose(encoder.components, pca.components_, atol=1e-10)  # the sign too
    np.testing.assert_allclose(encoder.variance, pca.explained_variance_ * (n - 1) / n, rtol=1e-11)
    np.testing.assert_allclose(encoder.residual_variance, left_out / (48 - d), rtol=1e-11)
    if n > 48:
        np.testing.assert_allclose(encoder.residual_variance, pca.noise_variance_ * (n - 1) / n, rtol=1e-11)
    latents, scores = encoder.encode(images), pca.transform(rows)
    np.testing.assert_allclose(latents * encoder.scaling_factor, scores, atol=1e-10)
    np.testing.assert_allclose(latents.var(axis=0).mean(), 1.0, rtol=1e-11)
    np.testing.assert_allclose(encoder.decode(latents).reshape(n, -1), pca.inverse_transform(scores), atol=1e-10)


def test_with_scale_is_standardscaler_then_pca():
    images = smooth(150, (4, 4, 2), seed=1) * np.geomspace(0.01, 100, 32).reshape(4, 4, 2)
    images[:, 1, 2, 0] = 3.0  # constant: in the unit of the others
    rows, encoder = images.reshape(150, -1), encoder_of(images, 6, scale=True)
    pipeline = make_pipeline(StandardScaler(), PCA(6, svd_solver="full")).fit(rows)
    constant = np.arange(32) == np.ravel_multi_index((1, 2, 0), (4, 4, 2))
    unit = np.sqrt(pipeline[0].var_[~constant].mean())
    scaling = np.where(constant, unit, pipeline[0].scale_)
    np.testing.assert_allclose(encoder.pixel_scale, scaling, rtol=1e-11)
    np.testing.assert_allclose(encoder.components, pipeline[1].components_, atol=1e-9)
    np.testing.assert_allclose(encoder.variance, pipeline[1].explained_variance_ * 149 / 150, rtol=1e-11)
    np.testing.assert_allclose(encoder.residual_variance, pipeline[1].noise_variance_ * 149 / 150, rtol=1e-10)
    scores = pipeline.transform(rows)
    np.testing.assert_allclose(encoder.encode(images), scores, atol=1e-9)
    back = pipeline.inverse_transform(scores)
    np.testing.assert_allclose(encoder.decode(scores).reshape(150, -1), back, rtol=1e-9)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 1e-5), (np.uint8, 1e-5)])
def test_full_rank_comes_back(scale, dtype, rtol):
    images = np.random.default_rng(2).integers(0, 256, (300, 3, 4, 2)).astype(dtype)
    encoder = encoder_of(images, 1000, scale)
    latents = encoder.encode(images)
    assert latents.shape == (300, 24)
    assert encoder.residual_variance == 0.0
    decoded = encoder.decode(latents)
    assert decoded.dtype == (np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_allclose(decoded, images.astype(float), rtol=0, atol=255 * rtol)
    np.testing.assert_allclose(encoder.synthesis @ encoder.analysis, np.eye(24), atol=1e-12)
    several = encoder.decode(latents.reshape(3, 100, 24))  # leading axes of any number
    np.testing.assert_allclose(several.reshape(decoded.shape), decoded, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
@pytest.mark.parametrize("lanczos_from", [16, 10**9])
def test_fewer_images_than_components(dtype, lanczos_from, monkeypatch):
    monkeypatch.setattr(lineardiffusion.encoders.image, "LARGE", lanczos_from)
    images = np.random.default_rng(3).integers(0, 256, (5, 8, 8)).astype(dtype)
    encoder = encoder_of(images, 7)
    assert len(encoder.components) == 4  # five images lie in four dimensions, and all of each is there
    assert encoder.residual_variance == 0.0
    np.testing.assert_allclose(encoder.decode(encoder.encode(images)), images.astype(float), atol=1e-3)
    assert encoder_of(images, 4).residual_variance == 0.0  # asked for as many as there are
    rest = encoder_of(images, 3)
    pca = PCA(svd_solver="full").fit(images.reshape(5, -1))
    np.testing.assert_allclose(rest.residual_variance, pca.explained_variance_[3] * 4 / 5 / 61, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "faintest"), [(np.float64, 1e-11), (np.float32, 1e-5)])
def test_faint_directions_are_kept(dtype, faintest):
    rng = np.random.default_rng(10)
    left, right = (np.linalg.qr(rng.normal(size=(n, 12)))[0] for n in (100, 16))
    variance = np.geomspace(1.0, faintest, 12)
    images = (left - left.mean(axis=0)) * np.sqrt(variance) @ right.T
    encoder = encoder_of(images.astype(dtype).reshape(100, 4, 4), 16)
    truth = np.linalg.svd(images, compute_uv=False)[:12] ** 2 / 100
    assert len(encoder.components) == 12  # of twelve, and none of the four that are rounding errors
    np.testing.assert_allclose(encoder.variance, truth, rtol=1e-4 if dtype == np.float64 else 1e-2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("groups", [None, np.arange(60) % 7])
def test_an_offset_changes_the_mean_only(dtype, groups):
    images = np.random.default_rng(4).integers(0, 256, (60, 3, 4)) / 64  # exact in float32, offset or not
    plain = encoder_of(images, 4, groups=groups)
    moved = encoder_of((images + 10_000).astype(dtype), 4, groups=groups)
    rtol = 1e-9 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(moved.mean, plain.mean + 10_000, rtol=1e-12)
    np.testing.assert_allclose(moved.variance, plain.variance, rtol=rtol)
    np.testing.assert_allclose(moved.encode(images + 10_000), plain.encode(images), atol=10 * rtol)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize(("dtype", "constant"), [(np.uint8, 200), (np.float64, 0.25), (np.float32, 0.1)])
def test_a_constant_pixel_stays_what_it_is(scale, dtype, constant):
    images = np.random.default_rng(5).integers(0, 256, (100, 2, 3)).astype(dtype)
    images[:, 1, 1] = constant
    encoder = encoder_of(images, 6, scale)
    assert encoder.components.shape == (5, 6)
    np.testing.assert_allclose(encoder.components[:, 4], 0.0, atol=1e-9)
    drawn = encoder.decode(np.random.default_rng(6).normal(size=(50, 5)))
    np.testing.assert_allclose(drawn[:, 1, 1], images[0, 1, 1], rtol=1e-6)


@settings(deadline=None)
@given(
    st.floats(-1e6, 1e6).filter(lambda c: abs(c) > 1e-6),
    st.sampled_from([np.float32, np.float64]),
    st.integers(1, 40),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_a_constant_pixel_is_not_standardised_by_its_rounding_error(constant, dtype, g, weighted, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(80, 6)).astype(dtype)
    rows[:, 2] = constant
    groups, weight = rng.integers(0, g, 80), rng.exponential(size=80)
    first, *others = (Moments.of(rows[i::3], groups[i::3], g, weight[i::3] if weighted else None) for i in range(3))
    moments = sum(others, first).pooled()  # equal means, averaged over and over
    deviation = np.sqrt(np.diag(np.cov(rows, rowvar=False, ddof=0, aweights=weight if weighted else None)))
    varies = np.arange(6) != 2
    for scale in (False, True):
        encoder = ImageEncoder.fit(moments, 6, (6,), rows.dtype, scale)
        assert len(encoder.components) == 5
        np.testing.assert_allclose(encoder.components[:, 2], 0.0, atol=1e-13)
        assert 0.1 < encoder.pixel_scale[2] < 10.0
        if scale:
            np.testing.assert_allclose(encoder.pixel_scale[varies], deviation[varies], rtol=1e-5)


def test_a_constant_pixel_under_very_many_prompts():
    rng = np.random.default_rng(11)
    g, d = 20_000, 12
    mean = rng.normal(size=(g, d))
    mean[:, 1:] = rng.uniform(1, 2, d - 1)
    weight = rng.integers(1, 6, g).astype(float)
    moments = Moments(weight, weight, mean, np.zeros((g, d, d))).pooled()
    assert len(ImageEncoder.fit(moments, d, (d,), mean.dtype, scale=True).components) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("scale", [False, True])
def test_one_image(dtype, scale):
    image = np.random.default_rng(8).integers(0, 256, (1, 3, 4)).astype(dtype)
    encoder = encoder_of(image, 5, scale)
    assert not encoder.encode(image).any()
    np.testing.assert_allclose(encoder.decode(np.zeros((1, len(encoder.components)))), image, rtol=1e-14)
    assert encoder.variance.tolist() == [0.0]
    assert encoder.residual_variance == 0.0


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
@pytest.mark.parametrize("scale", [False, True])
def test_duplicates_of_one_image(dtype, scale):
    image = (np.random.default_rng(8).normal(size=(1, 3, 4)) * 50 + 100).astype(dtype)
    encoder = encoder_of(np.repeat(image, 7, axis=0), 5, scale)
    np.testing.assert_allclose(encoder.encode(image), 0.0, atol=1e-12)
    assert encoder.variance.tolist() == [0.0]
    assert encoder.scaling_factor == 1.0


def test_one_large_image(monkeypatch):
    monkeypatch.setattr(lineardiffusion.encoders.image, "LARGE", 16)
    image = np.random.default_rng(9).integers(0, 256, (1, 8, 8), dtype=np.uint8)
    encoder = encoder_of(image, 3)
    np.testing.assert_allclose(encoder.decode(encoder.encode(image)), image, rtol=1e-6)


# ---------------------------------------------------------------------- any basis


def cosines(h, w):
    """The two-dimensional discrete cosine basis, by frequency, and the order of its rows."""
    one = [scipy.fft.dct(np.eye(n), norm="ortho", axis=0) for n in (h, w)]
    order = np.argsort(np.add.outer(np.arange(h) / h, np.arange(w) / w).ravel(), kind="stable")
    return np.kron(*one)[order]


BASES = {
    "cosine": cosines(4, 3),
    "identity": np.eye(12),
    "random": np.random.default_rng(0).normal(size=(12, 12)),  # not orthonormal
}


@pytest.fixture(scope="module")
def pixels(tiny):
    return Statistics.of(*tiny)


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(
    "way", [{}, {"sampler": "heun", "num_steps": 5}, {"guidance_scale": 1.5, "sampler": "ddim"}]
)
def test_at_full_size_every_basis_has_the_law_of_pca(tiny, pixels, name, way):
    prompts, images = tiny
    # the sampler's noise is in the latents' unit, which is the same at full size
    pca = LinearDiffusion(12).fit(prompts, images)
    encoder = ImageEncoder.from_basis(BASES[name], pixels)
    ld = LinearDiffusion(image_encoder=encoder).fit(prompts, images)
    assert encoder.scaling_factor == pytest.approx(pca.scaling_factor_)
    assert encoder.residual_variance == 0.0

    def law_of_pixels(model):
        law, S = model.law("up", **way), model.fitted_.encoder.synthesis
        return model.mean_ + law.mean @ S, S.T @ law.covariance @ S

    for found, expected in zip(law_of_pixels(ld), law_of_pixels(pca), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    for asked in (prompts, None):
        np.testing.assert_allclose(
            ld.score_samples(images, asked, **way), pca.score_samples(images, asked, **way), rtol=1e-6
        )
    mask = np.arange(12).reshape(4, 3) > 6
    np.testing.assert_allclose(
        *(model.inpaint(images[:3], mask, n_samples=0, **way) for model in (ld, pca)), atol=1e-5
    )
    noisy = images[:5] + np.random.default_rng(0).normal(size=(5, 4, 3))
    np.testing.assert_allclose(*(model.denoise(prompts[:5], noisy, 2.0) for model in (ld, pca)), atol=1e-6)
    np.testing.assert_allclose(ld.decode(ld.encode(images)), images, atol=1e-10)
    half = LinearDiffusion(image_encoder=ImageEncoder.from_basis(BASES[name][:5], pixels)).fit(prompts, images)
    assert np.abs(half.score_samples(images, prompts) - pca.score_samples(images, prompts)).max() > 1  # control


@pytest.mark.parametrize("name", BASES)
def test_a_smaller_basis_has_the_density_of_pixel_space(tiny, pixels, name):
    """P S P + v (I - P), P on the span of the basis and v the mean variance outside of it."""
    prompts, images = tiny
    rows = images.reshape(90, 12)
    encoder = ImageEncoder.from_basis(BASES[name][:5], pixels)
    ld = LinearDiffusion(image_encoder=encoder, shrinkage=0).fit(prompts, images)
    Q = np.linalg.qr(BASES[name][:5].T)[0]
    P, S = Q @ Q.T, np.cov(rows.T, bias=True)
    v = np.trace(S - P @ S @ P) / 7
    own = rows[np.array(prompts) == "up"]
    mean = rows.mean(axis=0) + P @ (own.mean(axis=0) - rows.mean(axis=0))
    covariance = P @ np.cov(own.T, bias=True) @ P + v * (np.eye(12) - P)
    by_hand = multivariate_normal(mean, covariance).logpdf(own)
    np.testing.assert_allclose(ld.score_samples(own.reshape(-1, 4, 3), ["up"] * 30), by_hand, rtol=1e-8)


def test_from_basis_on_the_principal_components_is_pca(tiny, pixels):
    pca = LinearDiffusion(5).fit(*tiny).fitted_.encoder
    found = ImageEncoder.from_basis(pca.components, pixels)
    for name in ("mean", "components", "variance", "residual_variance", "scaling_factor", "pixel_variance"):
        np.testing.assert_allclose(getattr(found, name), getattr(pca, name), rtol=1e-9, atol=1e-12)


def test_rows_that_are_not_orthonormal_are_orthonormalised(pixels):
    basis = np.random.default_rng(1).normal(size=(4, 12)) * np.geomspace(1e-3, 1e3, 4)[:, None]
    V = ImageEncoder.from_basis(basis, pixels).components
    np.testing.assert_allclose(V @ V.T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(basis @ V.T @ V, basis, rtol=1e-9, atol=1e-9)
    kept = ImageEncoder.from_basis(np.eye(12)[[3, 1]], pixels).components
    np.testing.assert_array_equal(kept, np.eye(12)[[3, 1]])  # orthonormal rows stay as they are


@pytest.mark.parametrize(
    ("basis", "message"),
    [
        (np.eye(11), "shape"),
        (np.ones(12), "shape"),
        (np.zeros((0, 12)), "shape"),
        (np.random.default_rng(0).normal(size=(13, 12)), "shape"),
        (np.vstack([np.eye(12)[:2], np.eye(12)[0] + np.eye(12)[1]]), "depend"),
        (np.full((1, 12), np.nan), "finite"),
    ],
)
def test_bad_bases(pixels, basis, message):
    with pytest.raises(ValueError, match=message):
        ImageEncoder.from_basis(basis, pixels)


def test_styles_streams_and_contrast_of_another_basis(tiny, pixels):
    prompts, images = tiny
    encoder = ImageEncoder.from_basis(cosines(4, 3)[:6], pixels)
    way = {"image_encoder": encoder, "contrast": "affine", "n_styles": 2}
    whole = LinearDiffusion(**way).fit(prompts, images)
    stream = LinearDiffusion(**way)
    for step in (stream.partial_fit, stream.partial_fit_styles):
        for part in (slice(None, 60), slice(60, None)) if step == stream.partial_fit else (slice(None),):
            step(prompts[part], images[part])
    np.testing.assert_allclose(stream.predict(["up"], seed=0), whole.predict(["up"], seed=0), atol=1e-8)
    assert whole.contrast_ is not None
    merged = (
        LinearDiffusion(image_encoder=encoder)
        .fit(prompts[:60], images[:60])
        .merge(LinearDiffusion(image_encoder=encoder).fit(prompts[60:], images[60:]))
    )
    plain = LinearDiffusion(image_encoder=encoder).fit(prompts, images)
    np.testing.assert_allclose(merged.predict(["up"], seed=0), plain.predict(["up"], seed=0), atol=1e-8)


# ---------------------------------------------------------------------- any object with encode and decode


class Logarithm:
    """An encoder that is not linear: the logarithm of positive pixels, of which it keeps all."""

    def encode(self, images):
        return np.log(np.asarray(images, float)).reshape(len(images), -1)

    def decode(self, latents):
        return np.exp(latents).reshape(*latents.shape[:-1], 2, 2)


def test_an_object_with_encode_and_decode_is_an_encoder():
    """Pixels exp(z): the law of the latents is that of their logarithms."""
    rng = np.random.default_rng(0)
    logs = rng.normal(size=(300, 4)) @ (0.3 * rng.normal(size=(4, 4)))
    prompts, images = ["a", "b"] * 150, np.exp(logs).reshape(-1, 2, 2)
    ld = LinearDiffusion(image_encoder=Logarithm(), shrinkage=0).fit(prompts, images)
    law = ld.law("a")
    np.testing.assert_allclose(law.mean, logs[::2].mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(law.covariance, np.cov(logs[::2].T, bias=True), atol=1e-10)
    drawn = ld.predict(["a"] * 4000, seed=0)
    assert drawn.shape == (4000, 2, 2)
    assert drawn.min() > 0
    error = np.abs(np.log(drawn).reshape(-1, 4).mean(axis=0) - law.mean)
    assert (error < 5 * np.sqrt(np.diag(law.covariance) / 4000)).all()
    np.testing.assert_allclose(
        ld.predict(["a", "b"], seed=1), list(ld.staged_predict(["a", "b"], seed=1))[-1], atol=1e-9
    )
    by_latents = LinearDiffusion(shrinkage=0).fit(prompts, logs)  # the same in the latents themselves
    noisy = images[:4] * 1.3
    x = by_latents.denoise(prompts[:4], np.log(noisy).reshape(4, 4), 0.5)
    np.testing.assert_allclose(np.log(ld.denoise(prompts[:4], noisy, 0.5)).reshape(4, 4), x, atol=1e-8)
    noise = ld.invert(prompts[:4], images[:4])
    np.testing.assert_allclose(ld.predict(prompts[:4], latents=noise), images[:4], rtol=1e-6)
    for call in (
        lambda: ld.score_samples(images),
        lambda: ld.score(prompts, images),
        lambda: ld.classify(images),
        lambda: ld.inpaint(images, np.eye(2, dtype=bool)),
        lambda: ld.restore(images.reshape(-1, 4), np.eye(4), 0.1),
        lambda: ld.refit(contrast="affine"),
    ):
        with pytest.raises(ValueError, match="linear"):
            call()
    with pytest.raises(AttributeError, match="linear"):
        _ = ld.components_
    assert ld.n_components_ == 4


# ---------------------------------------------------------------------- single precision


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_latents_in_single_precision(dtype):
    """The same latents but for rounding, far from zero too, where that of the mean would be 100 times as much."""
    images = smooth(300, (6, 8))
    images = (128 + 20 * images if dtype == np.uint8 else 10_000 + images).astype(dtype)
    encoder = encoder_of(images, 12)
    exact, single = encoder.encode(images), encoder.encode(images, np.float32)
    assert single.dtype == np.float32
    assert np.abs(single - exact).max() < 1e-5
    if dtype == np.float32:
        rounded = (images.reshape(300, -1) - encoder.mean.astype(np.float32)) @ encoder.analysis  # control
        assert np.abs(rounded - exact).max() > 1e-4


def test_a_latent_in_single_precision_does_not_depend_on_its_neighbours():
    images = np.random.default_rng(0).integers(0, 256, (2100, 28, 28)).astype(np.uint8)
    encoder = encoder_of(images, 40)
    whole = encoder.encode(images, np.float32)
    for part in (slice(5, 6), slice(1020, 1031), slice(3, 2099)):
        np.testing.assert_array_equal(encoder.encode(images[part], np.float32), whole[part])
