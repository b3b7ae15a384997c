"""Forgetting: the model without some images against one that never saw them."""

import numpy as np
import pytest

from lineardiffusion import LinearDiffusion
from lineardiffusion.encoders.image import latents_of
from lineardiffusion.statistics.moments import Moments

KINDS = {
    "plain": {},
    "scale": {"scale": True},
    "words": {"n_components": 12, "text_encoder": "words"},
    "contrast": {"contrast": "histogram"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_model_that_never_saw_them(digits, kind):
    prompts, images = digits
    gone = np.arange(len(prompts)) % 7 == 3
    gone |= np.array(prompts) == "8"  # and a whole prompt
    left, out = np.flatnonzero(~gone), np.flatnonzero(gone)
    whole = LinearDiffusion(**KINDS[kind]).fit(prompts, images)
    before = whole.predict(["3", "7"], seed=0)
    whole.forget([prompts[i] for i in out], images[out])
    fresh = LinearDiffusion(**KINDS[kind]).fit([prompts[i] for i in left], images[left])
    assert whole.prompts_.tolist() == fresh.prompts_.tolist() == list("012345679")
    drawn = whole.predict(["3", "7"], seed=0)
    np.testing.assert_allclose(drawn, fresh.predict(["3", "7"], seed=0), atol=2e-5)  # float32 pixels up to 16
    np.testing.assert_allclose(whole.law("3").covariance, fresh.law("3").covariance, atol=1e-9)
    np.testing.assert_allclose(whole.decode(whole.law("3").mean), fresh.decode(fresh.law("3").mean), atol=1e-6)
    assert np.abs(drawn - before).max() > 0.5  # control


def test_a_pixel_that_varied_in_the_forgotten_images_only_is_constant_again():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (400, 6)).astype(np.uint8)
    images[:, 2] = 7
    odd = images[:3].copy()
    odd[:, 2] = 200
    ld = LinearDiffusion(scale=True).fit(["a"] * 403, np.concatenate([images, odd])).forget(["a"] * 3, odd)
    fresh = LinearDiffusion(scale=True).fit(["a"] * 400, images)
    assert ld.n_components_ == fresh.n_components_ == 5
    np.testing.assert_allclose(ld.predict(["a"], seed=0), fresh.predict(["a"], seed=0), atol=1e-3)


def test_styles_keep_their_centres(digits):
    """Each image leaves the style that it was counted in: the counts and means are those of the others."""
    prompts, images = digits
    ld = LinearDiffusion(20, n_styles=3).fit(prompts, images)
    styles = ld.statistics_.styles
    u = np.array([list("0123456789").index(p) for p in prompts])
    latents = latents_of(ld.fitted_.encoder, images)
    own = styles.clusters.assign(latents, u)
    ld.forget(prompts[:300], images[:300])
    after = ld.statistics_.styles
    np.testing.assert_array_equal(after.clusters.centres, styles.clusters.centres)
    expected = Moments.of(latents[300:].astype(float), own[300:], 30)
    np.testing.assert_array_equal(after.moments.weight, expected.weight)
    np.testing.assert_allclose(after.moments.mean, expected.mean, atol=1e-6)  # latents of bytes are float32
    np.testing.assert_allclose(after.moments.covariance, expected.covariance, atol=1e-6)


def test_latents_embeddings_and_joint_moments(digits):
    prompts, images = digits
    for kind in ({"n_components": 20, "max_memory": 3e5}, {"n_components": 8, "text_encoder": "words"}):
        ld = LinearDiffusion(**kind).fit(prompts, images)
        fresh = LinearDiffusion(**kind, image_encoder=ld.fitted_.encoder).fit(prompts[100:], images[100:])
        if ld.statistics_.encoder is None:
            fresh = LinearDiffusion(**kind).fit(prompts[100:], images[100:])
        ld.forget(prompts[:100], images[:100])
        np.testing.assert_allclose(ld.law("3").covariance, fresh.law("3").covariance, atol=1e-8)
    numbers = np.random.default_rng(0).normal(size=(len(prompts), 2))
    ld = LinearDiffusion(5).fit(numbers, images).forget(numbers[:100], images[:100])
    fresh = LinearDiffusion(5).fit(numbers[100:], images[100:])
    np.testing.assert_allclose(ld.law([0.3, 1.0]).covariance, fresh.law([0.3, 1.0]).covariance, atol=1e-8)


@pytest.mark.parametrize("kind", ["plain", "styles", "embeddings"])
def test_what_was_never_there_is_refused(digits, kind):
    prompts, images = digits[0][:900], digits[1][:900]
    if kind == "embeddings":
        prompts = np.eye(10)[[int(p) for p in prompts]]
    ld = LinearDiffusion(20, n_styles=2 if kind == "styles" else 1).fit(prompts, images)
    before = ld.statistics_
    # twice as bright but for one pixel; the same images twice over; all images
    for some in (slice(0, 60), slice(300, 305)):
        odd = np.where(np.arange(64).reshape(8, 8) % 2, 16, 0) * np.ones((len(prompts[some]), 1, 1))
        with pytest.raises(ValueError, match="never"):
            ld.forget(prompts[some], odd)
    with pytest.raises(ValueError, match="never"):
        ld.forget(np.repeat(prompts[:400], 2, axis=0), np.repeat(images[:400], 2, axis=0))
    with pytest.raises(ValueError, match="never"):
        ld.forget(np.repeat(prompts, 2, axis=0), np.repeat(images, 2, axis=0))
    with pytest.raises(ValueError, match="from 17"):
        ld.forget(prompts[:1], np.full((1, 8, 8), 17))
    with pytest.raises(ValueError, match="all"):
        ld.forget(prompts, images)
    if kind != "embeddings":
        with pytest.raises(ValueError, match="unknown prompt 'ten'"):
            ld.forget(["ten"], images[:1])
    with pytest.raises(ValueError, match="shape"):
        ld.forget(prompts[:1], images[:1, :4])
    assert ld.statistics_ is before


def test_a_forgotten_batch_can_be_learned_again(tiny):
    prompts, images = tiny
    ld = LinearDiffusion().fit(prompts, images)
    before = ld.predict(["up"], seed=0)
    ld.forget(prompts[:20], images[:20]).partial_fit(prompts[:20], images[:20])
    np.testing.assert_allclose(ld.predict(["up"], seed=0), before, atol=1e-8)


def test_images_in_single_precision_fewer_than_pixels():
    """Rounding of float32 is relative to the whole scatter, and is no sign of images that were not there."""
    images = np.random.default_rng(0).random((60, 400), dtype=np.float32)
    ld = LinearDiffusion(20).fit(["a"] * 60, images).forget(["a"] * 30, images[:30])
    fresh = LinearDiffusion(20).fit(["a"] * 30, images[30:])
    np.testing.assert_allclose(ld.law("a").covariance, fresh.law("a").covariance, atol=1e-4)
    with pytest.raises(ValueError, match="never"):
        ld.forget(["a"] * 5, images[:5])


def test_the_last_images_of_a_prompt_are_compared(digits):
    """Nothing would be left of the prompt, so no variance turns negative; but these are not its images."""
    prompts, images = np.array(digits[0]), digits[1]
    own = prompts == "7"
    half = np.flatnonzero(own)[: own.sum() // 2]
    ld = LinearDiffusion().fit(prompts, images).forget(prompts[half], images[half])
    left = ld.statistics_.moments.weight[7]
    for other in (np.flatnonzero(own)[: int(left)], np.flatnonzero(prompts == "1")[: int(left)]):
        with pytest.raises(ValueError, match="never"):
            ld.forget(["7"] * int(left), images[other])
    rest = np.flatnonzero(own)[len(half) :]
    assert "7" not in ld.forget(prompts[rest], images[rest]).prompts_


def test_weights_that_images_did_not_have(tiny):
    prompts, images = tiny
    ld = LinearDiffusion().fit(prompts, images)
    with pytest.raises(ValueError, match="never"):
        ld.forget(prompts[:1], images[:1], sample_weight=[3.0])


def test_other_images_under_the_same_embeddings(digits):
    numbers, images = np.random.default_rng(0).normal(size=(300, 2)), digits[1][:300]
    ld = LinearDiffusion(5).fit(numbers, images)
    with pytest.raises(ValueError, match="never"):
        ld.forget(numbers[:200], digits[1][300:500])
    ld.forget(numbers[:200], images[:200])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 1000])
def test_one_by_one_to_the_last_image(dtype, offset):
    """What is left of a prompt is rounding at the end, which is no sign of other images."""
    images = (np.random.default_rng(0).normal(size=(60, 3, 4)) + offset).astype(dtype)
    prompts = np.array(["a"] * 37 + ["b"] * 23)
    ld = LinearDiffusion().fit(prompts, images)
    for i in range(37, 59):
        ld.forget(prompts[i : i + 1], images[i : i + 1])
    with pytest.raises(ValueError, match="never"):
        ld.forget(["b"], images[:1])  # not the image that is left
    assert ld.forget(["b"], images[59:]).prompts_.tolist() == ["a"]
    fresh = LinearDiffusion().fit(prompts[:37], images[:37])
    np.testing.assert_allclose(ld.predict(["a"], seed=0), fresh.predict(["a"], seed=0), atol=1e-3)
