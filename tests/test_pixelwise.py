"""The pixelwise contrast: normals before a clip, and pictures with the mean and variance of each style's pixels."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lineardiffusion import ImageEncoder, LinearDiffusion, Statistics, training
from lineardiffusion.contrast import BINARY, AffineContrast, PixelwiseContrast, before_clip, censored
from lineardiffusion.datasets import in_batches
from lineardiffusion.diffusion.denoisers import GaussianDenoiser

# ---------------------------------------------------------------------- the normal before the clip

LIT = np.array([1e-4, 1e-3, 1 / 60, 0.05, 0.2, 0.4, 0.49, 0.5, 0.51, 0.7, 0.95, 59 / 60, 0.999, 0.9999])


def clipped(t, b):
    """Mean and deviation of the clips to [0, 1] of normals N(t b, b^2)."""
    first, second = censored(t * b, b, 0.0, 1.0)
    return first, np.sqrt(second - first**2)


def test_clipping_takes_back_what_was_before():
    """A grid of means and of variances, from nearly constant pixels to those in black and white only."""
    mean, share = map(np.ravel, np.meshgrid(LIT, [1e-4, 1e-3, 0.01, 0.1, 0.3, 0.6, 0.9, 0.95, BINARY]))
    deviation = np.sqrt(share * mean * (1 - mean))
    t, b = before_clip(mean, deviation**2)
    varies = deviation > 1e-4
    assert varies.mean() > 0.9
    assert_array_equal(b > 0, varies)
    first, second = clipped(t[varies], b[varies])
    dark = np.minimum(mean, 1 - mean)[varies]  # a mean near 1 is as exact as its distance from 1
    assert_allclose((first - mean[varies]) / dark, 0.0, atol=1.1e-6)
    assert_allclose(second, deviation[varies], rtol=1.1e-6)
    first, second = clipped(t[varies] + 1e-4, b[varies])  # control
    assert np.abs(second / deviation[varies] - 1).min() < 1e-3
    assert np.abs(first - mean[varies]).max() > 1e-5


def test_sparse_binary_and_constant_pixels():
    """One lit image of 60: more variance than any clipped normal has, and the most that is solved for."""
    lit = np.zeros((60, 3))
    lit[7], lit[:, 1], lit[:30, 2] = 1.0, 0.25, 1.0
    mean, variance = lit.mean(axis=0), lit.var(axis=0, ddof=1)
    assert (variance > mean * (1 - mean)).tolist() == [True, False, True]
    first, second = clipped(*before_clip(mean[[0, 2]], variance[[0, 2]]))
    assert_allclose(first, mean[[0, 2]], rtol=1e-5)
    assert_allclose(second**2, BINARY * (mean * (1 - mean))[[0, 2]], rtol=1e-5)
    assert before_clip(mean[1:2], variance[1:2])[1] == 0.0
    for edge in (0.0, 1.0):
        assert before_clip(np.array([edge]), np.array([0.1]))[1] == 0.0


def test_what_is_hardly_clipped_is_itself():
    mean, deviation = np.array([0.3, 0.5, 0.8]), np.array([0.01, 0.05, 0.02])
    t, b = before_clip(mean, deviation**2)
    assert_allclose(b, deviation, rtol=1e-5)
    assert_allclose(t * b, mean, rtol=1e-5)


def test_a_pixel_and_its_negative():
    mean = np.linspace(0.01, 0.5, 20)
    variance = 0.5 * mean * (1 - mean)
    t, b = before_clip(mean, variance)
    negative_t, negative_b = before_clip(1 - mean, variance)
    assert_allclose(negative_b, b, rtol=1e-5)
    assert_allclose(negative_t * negative_b, 1 - t * b, atol=1e-5)


def test_clipped_normals_by_simulation():
    rng, n = np.random.default_rng(0), 200_000
    mean, share = np.array([0.02, 0.1, 0.4, 0.9, 0.985]), np.array([0.3, 0.8, 0.05, 0.5, 0.9])
    variance = share * mean * (1 - mean)
    noise = rng.standard_normal((n, 5))

    def errors(t, b):
        """Errors of the mean and the variance of the clips, in their standard errors."""
        y = np.clip(b * (t + noise), 0, 1)
        fourth = ((y - mean) ** 4).mean(axis=0) - variance**2
        return (y.mean(axis=0) - mean) / np.sqrt(variance / n), (y.var(axis=0) - variance) / np.sqrt(fourth / n)

    assert np.abs(errors(*before_clip(mean, variance))).max() < 4
    sd = np.sqrt(variance)
    wrong = np.abs(errors(mean / sd, sd)).min(axis=0)  # control: the mean and the variance before the clip
    assert (wrong > 20).tolist() == [True, True, False, True, True]  # the third pixel is hardly clipped


# ---------------------------------------------------------------------- pictures


def without(ld):
    """The same model without contrast."""
    return copy.deepcopy(ld).refit(contrast=None)


def style_of(ld, prompts, images):
    """The style of each image, numbered through all prompts."""
    return ld.statistics_.styles.clusters.assign(ld.encode(images), np.searchsorted(ld.prompts_, prompts))


def errors(drawn, images, variance=None):
    """Errors of the mean and the variance of every varying pixel (m, D), in their standard errors.

    The variance is that of the images, unbiased, unless it is given, and no more than clipped normals have.
    """
    drawn, images = (x.reshape(len(x), -1).astype(np.float64) for x in (drawn, images))
    mean = images.mean(axis=0)
    variance = images.var(axis=0, ddof=1) if variance is None else variance
    variance = np.minimum(variance, BINARY * mean * (16 - mean))
    varies = variance > 1e-3
    assert_allclose(drawn[:, ~varies], np.broadcast_to(mean[~varies], drawn[:, ~varies].shape), atol=0.2)
    drawn, mean, variance = drawn[:, varies], mean[varies], variance[varies]
    fourth = ((drawn - mean) ** 4).mean(axis=0) - variance**2
    first = (drawn.mean(axis=0) - mean) / np.sqrt(variance / len(drawn))
    return first, (drawn.var(axis=0) - variance) / np.sqrt(np.maximum(fourth, 0.01 * variance**2) / len(drawn))


@pytest.fixture(scope="module")
def styled(digits):
    return LinearDiffusion(n_styles=3, contrast="pixelwise", style_rank=0.25).fit(*digits)


def test_pixels_of_a_style_have_its_mean_and_unbiased_variance(digits, styled):
    prompts, images = digits
    assert isinstance(styled.contrast_, PixelwiseContrast)
    style, affine = style_of(styled, prompts, images), copy.deepcopy(styled).refit(contrast="affine")
    for name, g in (("0~0", 0), ("7~1", 22), ("9~2", 29)):
        own = images[style == g]
        drawn = styled.predict([name] * 20_000, seed=g)
        assert drawn.min() >= 0
        assert drawn.max() <= 16
        found = errors(drawn, own)
        assert np.abs(found).max() < 5
        assert len(found[0]) > 30
        biased = errors(drawn, own, own.reshape(len(own), -1).var(axis=0))[1]
        assert np.mean(biased) > np.mean(found[1]) + 0.5  # control: a divisor of n
        assert np.median(np.abs(errors(affine.predict([name] * 2000, seed=g), own))) > 3  # control


@pytest.mark.parametrize("shrinkage", [0, 0.3])
def test_pixels_of_a_prompt_without_styles(digits, shrinkage):
    """Their variance is shrunk as the covariance of the latents is."""
    prompts, images = np.array(digits[0]), digits[1]
    ld = LinearDiffusion(30, contrast="pixelwise", shrinkage=shrinkage).fit(*digits)
    rows = images.reshape(-1, 64).astype(np.float64)
    within = sum((prompts == p).sum() * rows[prompts == p].var(axis=0) for p in ld.prompts_) / len(rows)
    for prompt in ("1", "8"):
        own = images[prompts == prompt]
        variance = (1 - shrinkage) * own.reshape(len(own), -1).var(axis=0) + shrinkage * within
        drawn = ld.predict([prompt] * 20_000, seed=1)
        kept = variance < BINARY * (m := own.reshape(len(own), -1).mean(axis=0)) * (16 - m)
        assert kept[variance > 1e-3].mean() > 0.8
        first, second = errors(drawn, own, variance)
        assert np.abs([first, second]).max() < 5
        if shrinkage:
            assert np.abs(errors(drawn, own)[1]).max() > 20  # control: the variance of its own images


def test_styles_of_few_images_have_the_shrunk_variance():
    """A style of 3 images in 8 pixels: (3 v + 20 w) / 23, with the variance w within the styles of the prompt."""
    rng = np.random.default_rng(0)
    a = 0.3 + 0.05 * rng.random((3, 8)), 0.7 + 0.2 * rng.random((60, 8))
    images = np.concatenate([*a, rng.random((80, 8)) > 0.5])  # a range from 0 to 1, with another prompt
    ld = LinearDiffusion(n_styles=2, contrast="pixelwise").fit(["a"] * 63 + ["b"] * 80, images)
    assert ld.styles_["a"][0].tolist() == [60, 3]
    v, own = images[:3].var(axis=0), images[3:63].var(axis=0)
    expected = (3 * v + 20 * (3 * v + 60 * own) / 63) / 23
    variance = ld.predict(["a~1"] * 40_000, seed=0).var(axis=0)
    assert_allclose(variance, expected, rtol=0.05)
    assert (np.abs(variance / (1.5 * v) - 1) > 0.5).all()  # control: unbiased, of these images alone


def test_pixels_without_variance_have_their_mean():
    """One that is constant in the images of a style, and one that varies in no direction that is drawn."""
    images = np.random.default_rng(0).random((50, 3))
    encoder = ImageEncoder.from_basis(np.eye(3), Statistics.of(["a"] * 50, images))
    mean, variance = np.array([[0.4, 0.7, 0.2]]), np.array([[0.02, 0.0, 0.03]])
    law = GaussianDenoiser(encoder.encode(np.array([[0.5, 0.6, 0.9]])), np.ones((1, 1)), np.eye(3)[None, :, :1])
    contrast = PixelwiseContrast.solve(mean, variance, law, encoder, AffineContrast(1.0, 0.0, 0.0, 1.0))
    pixels = encoder.decode(law.mean + np.array([[1.0, 0.0, 0.0]]) * np.random.default_rng(1).normal(size=(9, 1)))
    drawn = contrast(pixels, [((0, 1.0),)], np.zeros(9, int))
    assert_allclose(drawn[:, 1:], np.broadcast_to([0.7, 0.2], (9, 2)), atol=1e-6)
    assert np.ptp(drawn[:, 0]) > 0.1  # control
    assert np.abs(pixels[:, 1:] - [0.7, 0.2]).min() > 0.05


def same(a, b, atol=1e-5):
    assert_allclose(a.gain, b.gain, rtol=1e-4, atol=atol)
    assert_allclose(a.offset, b.offset, rtol=1e-4, atol=16 * atol)


@pytest.mark.parametrize("n_styles", [1, 2])
def test_moments_of_latents_give_the_same(digits, n_styles, monkeypatch):
    """With an image encoder, as large images, and as a stream: the contrast that moments of pixels give."""
    digits = digits[0], digits[1].astype(np.float64)
    settings = {"n_components": 20, "n_styles": n_styles, "contrast": "pixelwise", "style_rank": 0.25}
    whole = LinearDiffusion(**settings).fit(*digits)
    encoded = LinearDiffusion(**settings).set_params(image_encoder=whole.image_encoder_)
    stream, parts = copy.deepcopy(encoded), np.array_split(np.arange(len(digits[0])), 3)
    for step in (stream.partial_fit, stream.partial_fit_styles)[:n_styles]:
        for part in parts:
            step([digits[0][i] for i in part], digits[1][part])
    encoded.fit(*digits)
    for ld in (encoded, stream)[: 3 - n_styles]:  # a stream's first batch chooses its styles
        assert ld.statistics_.encoder is not None
        same(ld.contrast_, whole.contrast_)
    monkeypatch.setattr(training, "LARGE", 20)
    for ld in (
        LinearDiffusion(**settings).fit(*digits),
        LinearDiffusion(**settings).fit_batches(in_batches(*digits, batch_size=500)),
    ):  # whose components are within a tolerance
        assert ld.statistics_.encoder is not None
        usual = whole.contrast_.gain < 5  # other pixels hardly vary in these components
        assert usual.mean() > 0.75
        assert_allclose(ld.contrast_.gain[usual], whole.contrast_.gain[usual], rtol=0.01)
    counted = (stream.statistics_.pixels, stream.statistics_.styles and stream.statistics_.styles.pixels)[
        n_styles - 1
    ]
    pooled, rows = counted.pooled(), digits[1].reshape(-1, 64)
    assert_allclose([pooled.mean[0], pooled.variance[0]], [rows.mean(axis=0), rows.var(axis=0)], atol=1e-9)


def test_parts_of_a_condition(digits, styled):
    """Weights of prompts, guidance and a negative prompt: the mean of the numbers of the parts that count."""
    contrast, raw = styled.contrast_, without(styled)
    rest = np.full(64, contrast.rest.gain), np.full(64, contrast.rest.offset)

    def numbers(*parts):
        """The weighted mean of gain and offset; a part is the number of a style, or None."""
        every = [(w, *(rest if g is None else (contrast.gain[g], contrast.offset[g]))) for g, w in parts]
        return [sum(w * x[i] for w, *x in every) / sum(w for w, *_ in every) for i in range(2)]

    late = lambda t: 1.0 + t  # noqa: E731
    cases = [
        ("3~1", {}, numbers((10, 1.0))),
        ({"3~1": 0.25, "8~0": 0.75}, {}, numbers((10, 0.25), (24, 0.75))),
        ("3~1", {"guidance_scale": 1.5}, numbers((10, 1.0))),
        ("3~1", {"guidance_scale": 0.25}, numbers((10, 0.25), (None, 0.75))),
        ("3~1", {"guidance_scale": late}, numbers((10, 1.0))),
        ({"3~1": 0.25, "8~0": 0.75}, {"guidance_scale": late}, numbers((10, 0.25), (24, 0.75))),
        ("3~1", {"guidance_scale": 1.5, "negative_prompt": "8~0"}, numbers((10, 1.0))),
        ("3~1", {"guidance_scale": 0.5, "negative_prompt": "8~0"}, numbers((10, 0.5), (24, 0.5))),
    ]
    for prompt, how, (gain, offset) in cases:
        how = {"sampler": "ddim", "num_steps": 4, "seed": 2, **how}
        pixels = raw.predict([prompt], **how).reshape(64)
        expected = np.clip(pixels * gain + offset, 0, 16)
        assert_allclose(styled.predict([prompt], **how).reshape(64), expected, atol=2e-3)
        gain, offset = numbers((11, 1.0))  # control: another style's
        assert np.abs(np.clip(pixels * gain + offset, 0, 16) - expected).max() > 0.5


def test_images_in_any_order_have_their_own_style_s_numbers(digits, styled):
    """Styles that are drawn, many images of several blocks; each as if it were drawn alone."""
    asked = [f"{i % 10}" if i % 3 else f"{i % 10}~{i % 3}" for i in range(700)]
    drawn = styled.predict(asked, seed=list(range(700)))
    for i in (0, 3, 256, 511, 699):
        assert_allclose(styled.predict([asked[i]], seed=[i])[0], drawn[i], atol=2e-3)
    pixels = without(styled).predict(asked, seed=list(range(700))).reshape(700, 64)
    contrast, known = styled.contrast_, []
    for i in range(700):
        g = 3 * int(asked[i][0]) + np.arange(3)
        each = np.clip(pixels[i] * contrast.gain[g] + contrast.offset[g], 0, 16)
        known.append(np.abs(each - drawn[i].ravel()).max(axis=1).min())
    assert max(known) < 2e-3


def of_scored(ld):
    """The contrast of posteriors: of the Gaussians by which images are scored."""
    return ld.contrast_.rescaled(ld.fitted_.conditional, ld.fitted_.scored, ld.image_encoder_, False)


@pytest.mark.parametrize("residual_noise", [False, True])
def test_posteriors_of_nothing_have_the_style_s_moments_too(digits, styled, residual_noise):
    """They are drawn from the scored law, which has other directions, with or without what the encoder discards."""
    prompts, images = digits
    ld = LinearDiffusion(20, n_styles=3, contrast="pixelwise", style_rank=0.25).fit(prompts, images)
    for model in (styled, ld):
        own = images[style_of(model, prompts, images) == 22]
        hidden, how = np.full((4000, 8, 8), np.nan), {"prompts": ["7~1"] * 4000, "seed": 0}
        how["residual_noise"] = residual_noise
        drawn, pixels = (m.inpaint(hidden, **how) for m in (model, without(model)))
        usual = own.std(axis=0).ravel() > 0.3
        drawn, pixels, own = drawn.reshape(-1, 64)[:, usual], pixels.reshape(-1, 64), own.reshape(-1, 64)[:, usual]
        assert np.abs(errors(drawn, own)).max() < 5
        contrast = model.contrast_  # control: of the law that styles are drawn from
        wrong = np.clip(pixels * contrast.gain[22] + contrast.offset[22], 0, 16)[:, usual]
        assert np.abs(errors(wrong, own)).max() > 20


def test_posterior_draws_have_the_drawn_style_s_numbers():
    """Two far styles: the pixels that are seen tell which of them an image is of."""
    rng = np.random.default_rng(0)
    images = np.concatenate([0.2 + 0.15 * rng.normal(size=(200, 6)), 0.8 + 0.15 * rng.normal(size=(100, 6))])
    images = np.clip(images, 0, 1) * np.array([1.0, 1.0, 1.0, 1.0, 0.5, 0.1])
    ld = LinearDiffusion(n_styles=2, contrast="pixelwise").fit(["a"] * 300, images)
    contrast, mask = of_scored(ld), np.arange(6) >= 3
    some = images[[0, 250, 1, 251]]
    own = np.array([0, 1, 0, 1])
    for prompts in (["a"] * 4, None):
        drawn = ld.inpaint(some, np.tile(mask, (4, 1)), prompts, seed=0, n_samples=5)
        pixels = without(ld).inpaint(some, np.tile(mask, (4, 1)), prompts, seed=0, n_samples=5)
        expected = np.clip(pixels * contrast.gain[own][:, None] + contrast.offset[own][:, None], 0, 1)
        assert_allclose(drawn[..., mask], expected[..., mask], atol=1e-5)
        assert_allclose(drawn[..., ~mask], np.broadcast_to(some[:, None], drawn.shape)[..., ~mask], atol=1e-6)
        other = np.clip(pixels * contrast.gain[1 - own][:, None] + contrast.offset[1 - own][:, None], 0, 1)
        assert np.abs(other - expected)[..., mask].max() > 0.05  # control
    mean = ld.inpaint(some, np.tile(mask, (4, 1)), ["a"] * 4, n_samples=0)
    assert_array_equal(mean, without(ld).inpaint(some, np.tile(mask, (4, 1)), ["a"] * 4, n_samples=0))


def test_restored_images_have_the_numbers_of_the_prompt(digits):
    """Two prompts without styles, by what is measured: the means of blocks of four pixels."""
    prompts, images = digits
    ld = LinearDiffusion(40, contrast="pixelwise").fit(prompts, images)
    operator = np.kron(np.kron(np.eye(4), np.ones((1, 2))), np.kron(np.eye(4), np.ones((1, 2)))) / 4
    some, own = images[[0, 1, 2]], [0, 1, 2]
    how = {"operator": operator, "noise_std": 0.1, "prompts": ["0", "1", "2"], "seed": 0, "n_samples": 3}
    measured = some.reshape(3, 64) @ operator.T
    drawn, pixels = (m.restore(measured, **how).reshape(3, 3, 64) for m in (ld, without(ld)))
    contrast = of_scored(ld)
    gain, offset = (table[own][:, None] for table in (contrast.gain, contrast.offset))
    assert_allclose(drawn, np.clip(pixels * gain + offset, 0, 16), atol=2e-3)
    assert np.abs(drawn - np.clip(pixels * gain[::-1] + offset[::-1], 0, 16)).max() > 1  # control


# ---------------------------------------------------------------------- what it needs, and what it touches


def test_what_was_not_counted_is_refused(digits):
    few = [digits[0][:300], digits[1][:300]]
    sentence = "needs the moments of each (style|prompt)'s pixels, which were not counted"
    ld = LinearDiffusion(10, n_styles=2).fit(*few)
    drawn = ld.predict(["3"], seed=0)
    with pytest.raises(ValueError, match=sentence):
        ld.refit(contrast="pixelwise")
    assert_array_equal(ld.predict(["3"], seed=0), drawn)
    encoded = LinearDiffusion(image_encoder=ld.image_encoder_).fit(*few)
    with pytest.raises(ValueError, match=sentence):
        encoded.refit(contrast="pixelwise")
    with pytest.raises(ValueError, match=sentence):
        encoded.set_params(contrast="pixelwise").partial_fit(*few)
    plain = LinearDiffusion(10).fit(*few).refit(contrast="pixelwise")  # moments of pixels tell it
    same(plain.contrast_, LinearDiffusion(10, contrast="pixelwise").fit(*few).contrast_)
    counted = LinearDiffusion(10, n_styles=2, contrast="pixelwise").fit(*few)
    again = without(counted).refit(contrast="pixelwise")
    same(again.contrast_, counted.contrast_, 1e-7)


@pytest.mark.parametrize(
    "settings", [{"text_encoder": "words"}, {"text_encoder": "words", "n_styles": 2}, "numbers"]
)
def test_regressions_have_the_affine_contrast(digits, settings):
    prompts, images = digits
    if settings == "numbers":
        prompts, settings = np.random.default_rng(0).normal(size=(len(images), 2)), {}
    found, affine = (
        LinearDiffusion(20, contrast=c, **settings).fit(prompts, images) for c in ("pixelwise", "affine")
    )
    assert isinstance(found.contrast_, AffineContrast)
    assert found.contrast_ == affine.contrast_


def test_streams_merges_and_forgetting(digits):
    """Statistics of pixels add up and subtract, also of styles and of latents."""
    prompts, images = digits[0], digits[1].astype(np.float64)
    encoder = LinearDiffusion(20).fit(prompts, images).image_encoder_
    whole = LinearDiffusion(image_encoder=encoder, contrast="pixelwise").fit(prompts, images)
    halves = [
        LinearDiffusion(image_encoder=encoder, contrast="pixelwise").fit(prompts[i::2], images[i::2])
        for i in (0, 1)
    ]
    merged = copy.deepcopy(halves[0]).merge(halves[1])
    same(merged.contrast_, whole.contrast_)
    merged.forget(prompts[1::2], images[1::2])
    same(merged.contrast_, halves[0].contrast_)
    with pytest.raises(AssertionError):  # control
        same(merged.contrast_, whole.contrast_)
    styled = LinearDiffusion(20, n_styles=2, contrast="pixelwise", style_rank=0.25).fit(prompts, images)
    more = copy.deepcopy(styled).partial_fit(prompts[:100], images[:100])
    for some in (slice(None), slice(100)):
        more.partial_fit_styles(prompts[some], images[some])
    left = more.statistics_.styles.without_images().pixels
    assert not left.weight.any()
    forgotten = copy.deepcopy(styled)
    forgotten.forget(prompts[:100], images[:100])
    style = style_of(styled, prompts, images)
    pixels = forgotten.statistics_.styles.pixels
    for g in (0, 7, 19):
        own = images[100:][style[100:] == g].reshape(-1, 64)
        assert_allclose(pixels.mean[g], own.mean(axis=0), atol=1e-9)
        assert_allclose(pixels.variance[g], own.var(axis=0), atol=1e-9)


def test_missing_pixels(digits):
    """Moments of pixels that expectation maximisation fills, with an encoder too."""
    prompts, images = np.array(digits[0]), digits[1]
    few = np.flatnonzero(np.isin(prompts, ["0", "4"]))[:200]
    prompts, images = prompts[few].tolist(), images[few].astype(np.float64)
    holed = np.where(np.random.default_rng(0).random(images.shape) < 0.05, np.nan, images)
    settings = {"missing": "em", "contrast": "pixelwise", "n_components": 10}
    ld = LinearDiffusion(**settings).fit(prompts, holed)
    encoded = LinearDiffusion(**settings).set_params(image_encoder=ld.image_encoder_).fit(prompts, holed)
    same(encoded.contrast_, ld.contrast_)
    assert encoded.statistics_.encoder is not None
    mean = encoded.statistics_.pixels.pooled().mean[0]
    assert_allclose(mean, images.mean(axis=0).ravel(), atol=0.5)
    assert np.abs(np.nan_to_num(holed).mean(axis=0).ravel() - images.mean(axis=0).ravel()).max() > 0.5  # control


def test_weights_of_images(digits):
    """A weight of 0 leaves an image out, of the variance too; n is the effective number of images."""
    prompts, images = digits
    weight = np.where(np.arange(len(images)) % 2, 1.0, 1e-12)
    ld = LinearDiffusion(20, contrast="pixelwise", shrinkage=0)
    found = copy.deepcopy(ld).fit(prompts, images, sample_weight=weight)
    kept = Statistics.of(prompts[1::2], images[1::2]).moments
    rows = images[1::2].reshape(-1, 64).astype(np.float64)
    own = rows[np.array(prompts[1::2]) == "4"]
    assert_allclose(found.statistics_.moments.mean[4], kept.mean[4], atol=1e-6)
    first, second = errors(found.predict(["4"] * 10_000, seed=0), own, own.var(axis=0))
    assert np.abs([first, second]).max() < 5


def test_it_touches_pictures_only(digits, styled):
    images, raw = digits[1], without(styled)
    assert_array_equal(styled.law("7~1").covariance, raw.law("7~1").covariance)
    assert_array_equal(styled.score_samples(images[:20]), raw.score_samples(images[:20]))
    a, b = (m.predict(["7"], seed=1, return_trajectory=True)[1] for m in (styled, raw))
    assert_array_equal(a, b)
