"""Prompts as conditions: words, positions, transformers, weights and guidance; each computed in two ways."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from lineardiffusion import LinearDiffusion

WORDS = ["red big", "red small", "blue big", "blue small", "big red"]


@pytest.fixture(scope="module")
def coloured():
    """Images whose mean and spread are sums of what their words say; prompts of two words."""
    rng = np.random.default_rng(0)
    effect = {word: 10 * rng.normal(size=6) for word in ("red", "blue", "big", "small")}
    prompts = [WORDS[i % 4] for i in range(400)]
    mix = rng.normal(size=(6, 6))
    means = np.array([sum(effect[word] for word in prompt.split()) for prompt in prompts])
    return prompts, (means + rng.normal(size=(400, 6)) @ mix).reshape(400, 2, 3), effect


def test_bag_of_words_is_the_regression_on_its_counts(coloured):
    """The per-prompt moments give what the rows' joint moments give: numbers as prompts do that."""
    prompts, images, _ = coloured
    counts = CountVectorizer().fit(prompts)
    words = LinearDiffusion(text_encoder="words").fit(prompts, images)
    rows = LinearDiffusion().fit(counts.transform(prompts).toarray(), images)
    custom = LinearDiffusion(text_encoder=CountVectorizer()).fit(prompts, images)
    embeddings = counts.transform(WORDS).toarray()
    for sampler in ("exact", "ddim", "heun"):
        expected = rows.predict(embeddings, seed=1, sampler=sampler)
        np.testing.assert_allclose(words.predict(WORDS, seed=1, sampler=sampler), expected, atol=1e-5)
        np.testing.assert_allclose(custom.predict(WORDS, seed=1, sampler=sampler), expected, atol=1e-5)
        np.testing.assert_allclose(
            words.predict(embeddings[:, [2, 0, 3, 1]][:, np.argsort([2, 0, 3, 1])], seed=1, sampler=sampler),
            expected,
            atol=1e-5,
        )
    # the order of words is nothing to a bag of them
    np.testing.assert_array_equal(*(words.predict([p], seed=1) for p in ("red big", "big red")))
    tfidf = LinearDiffusion(text_encoder=TfidfVectorizer()).fit(prompts, images)
    assert np.abs(tfidf.predict(WORDS[:4], seed=1)).max() < 200


def test_a_prompt_never_seen_has_the_mean_that_its_words_say(coloured):
    """Of data whose means add up; a symbol a prompt cannot answer at all."""
    prompts, images, effect = coloured
    seen = [i for i, prompt in enumerate(prompts) if prompt != "blue small"]
    for encoder in ("words", "positions"):
        ld = LinearDiffusion(text_encoder=encoder).fit([prompts[i] for i in seen], images[seen])
        law = ld.law("blue small")
        found = ld.decode(law.mean).ravel()
        # least squares on 300 images: some standard errors of the noise
        real = images[[p == "blue small" for p in prompts]].reshape(-1, 6)
        error = np.abs(found - effect["blue"] - effect["small"])
        assert (error < 10 * real.std(axis=0) / np.sqrt(75)).all()
        control = np.abs(ld.decode(ld.law("red small").mean).ravel() - found).max()
        assert control > 10
    onehot = LinearDiffusion().fit([prompts[i] for i in seen], images[seen])
    with pytest.raises(ValueError, match="blue small"):
        onehot.predict(["blue small"])


def test_positions_tell_places_apart(coloured):
    _, images, _ = coloured
    swapped = [("a b", "b a")[i % 2] for i in range(400)]
    shifted = images + 30 * (np.arange(400) % 2)[:, None, None]
    positions, words = (
        LinearDiffusion(text_encoder=encoder).fit(swapped, shifted) for encoder in ("positions", "words")
    )
    onehot = LinearDiffusion().fit(swapped, shifted)
    for prompt in ("a b", "b a"):
        np.testing.assert_allclose(positions.law(prompt).mean, onehot.law(prompt).mean, atol=1e-5)
    gap = np.linalg.norm(words.law("a b").mean - words.law("b a").mean)
    assert gap < 1e-9 < 0.1 < np.linalg.norm(onehot.law("a b").mean - onehot.law("b a").mean)


def test_too_many_prompts_keep_joint_moments(coloured):
    """Where one block a prompt is too large, the joint moments give the same answer."""
    prompts, images, _ = coloured
    rng = np.random.default_rng(1)
    images = np.tile(images.reshape(400, 6), (1, 10)) + rng.normal(size=(400, 60))
    prompts = [f"{prompt.split()[0]} {'x' * (i % 30)}".strip() for i, prompt in enumerate(prompts)]
    encoder = CountVectorizer(max_features=2)
    blocks = LinearDiffusion(20, text_encoder=encoder).fit(prompts, images)
    needed = 8 * (3 * 21) ** 2  # two words and 20 components
    assert len(blocks.prompts_) * 20**2 * 8 > needed > 8 * 60**2  # blocks do not fit, the basis does
    joint = LinearDiffusion(20, text_encoder=encoder, max_memory=needed).fit(prompts, images)
    assert joint.statistics_.moments.matrix.nbytes == needed
    asked = prompts[:6]
    np.testing.assert_allclose(joint.predict(asked, seed=1), blocks.predict(asked, seed=1), atol=1e-5)
    with pytest.raises(ValueError, match="joint"):
        joint.refit(text_encoder="words")
    with pytest.raises(ValueError, match="max_memory"):
        LinearDiffusion(20, text_encoder=encoder, max_memory=needed - 1).fit(prompts, images)
    with pytest.raises(ValueError, match="frequency"):
        joint.sample()


def test_refit_is_fit(coloured):
    prompts, images, _ = coloured
    expected = LinearDiffusion(4, text_encoder="words", scale=True).fit(prompts, images)
    found = LinearDiffusion().fit(prompts, images).refit(n_components=4, text_encoder="words", scale=True)
    np.testing.assert_array_equal(found.predict(WORDS, seed=0), expected.predict(WORDS, seed=0))
    with pytest.raises(ValueError, match="poems"):
        found.refit(text_encoder="poems")
    np.testing.assert_array_equal(found.predict(WORDS, seed=0), expected.predict(WORDS, seed=0))


# ---------------------------------------------------------------------- guidance and weights


@pytest.mark.parametrize("scale", [-0.5, 0.0, 2.5])
def test_guidance_on_equal_covariances_shifts_the_mean(scale):
    """Exactly N(m_c + (w - 1)(m_c - m_n), S), with a negative prompt for m_n."""
    half = np.random.default_rng(1).normal(size=(200, 4)) * [3, 2, 1, 0.5]
    images = np.concatenate([half, half + np.array([1, 2, -4, 3])])
    ld = LinearDiffusion().fit(["c"] * 200 + ["n"] * 200, images)
    c, n = ld.law("c"), ld.law("n")
    law = ld.law("c", guidance_scale=scale, negative_prompt="n")
    np.testing.assert_allclose(law.mean, c.mean + (scale - 1) * (c.mean - n.mean), atol=1e-6)
    np.testing.assert_allclose(law.covariance, c.covariance, atol=1e-6)


def test_guidance_steps_as_diffusers_says(tiny):
    """D_uncond + w (D_cond - D_uncond), written out for one ddim step from the pooled data."""
    prompts, images = tiny
    ld = LinearDiffusion(schedule="flow", sampler="ddim", num_steps=2).fit(prompts, images)
    pooled = LinearDiffusion(schedule="flow").fit(["all"] * 90, images)
    noise = np.random.default_rng(2).normal(size=(1, ld.n_components_))

    def denoised(x, t):
        """x = (1 - t) z + t n in latents; denoise() wants z + sigma n in pixels."""
        sigma = t / (1 - t) * ld.scaling_factor_
        noisy = ld.decode(x / (1 - t))
        uncond, cond = (m.encode(m.denoise([p], noisy, sigma)) for m, p in ((pooled, "all"), (ld, "up")))
        return uncond + 3.0 * (cond - uncond)

    means = [ld.encode(images[np.array(prompts) == "up"]).mean(axis=0), ld.encode(images).mean(axis=0)]
    x0 = means[1] + 3.0 * (means[0] - means[1])  # of noise alone, the denoiser knows the means
    x = 0.5 * x0 + 0.5 * noise
    expected = denoised(x, 0.5)
    found = ld.predict(["up"], latents=noise, guidance_scale=3.0)
    np.testing.assert_allclose(ld.encode(found), expected, atol=1e-8)


def test_guided_maps_are_guided_simulations(tiny):
    ld = LinearDiffusion(guidance_scale=2.0, num_steps=6).fit(*tiny)
    for sampler in ("exact", "ddim", "heun", "dpm++2m"):
        images, trajectory = ld.predict(["up", "left"], seed=3, sampler=sampler, return_trajectory=True)
        composed = ld.predict(["up", "left"], seed=3, sampler=sampler)
        np.testing.assert_allclose(composed, images, atol=1e-5 if sampler == "exact" else 1e-9)
        matrix, offset = ld.affine("up", sampler=sampler)
        np.testing.assert_allclose(matrix @ trajectory[0][0] + offset, trajectory[-1][0], atol=1e-6)
    plain = ld.predict(["up", "left"], seed=3, guidance_scale=1.0)
    assert np.abs(plain - composed).max() > 1.0


def test_guidance_of_numbers_is_guidance_of_words(tiny):
    prompts, images = tiny
    units = np.eye(3)[[("left", "right", "up").index(p) for p in prompts]]
    words, numbers = (LinearDiffusion(shrinkage=0, sampler="dpm++2m").fit(X, images) for X in (prompts, units))
    asked = {"seed": 5, "guidance_scale": 1.7}
    np.testing.assert_allclose(
        numbers.predict(np.eye(3), **asked), words.predict(["left", "right", "up"], **asked), atol=1e-7
    )


def test_weights_of_prompts(tiny):
    prompts, images = tiny
    ld = LinearDiffusion(shrinkage=0, sampler="dpm++2m").fit(prompts, images)
    whole = ld.predict(["up"], seed=1)
    np.testing.assert_allclose(ld.predict([{"up": 3.0, "left": 0.0}], seed=1), whole, atol=1e-9)
    half = ld.law({"up": 1, "left": 1})
    # at the mean of both, where the denoisers' errors cancel, the half-way law has the half-way mean
    units = np.eye(3)[[("left", "right", "up").index(p) for p in prompts]]
    numbers = LinearDiffusion(sampler="dpm++2m").fit(units, images)
    expected = numbers.law([0.5, 0.0, 0.5])
    np.testing.assert_allclose(half.mean, expected.mean, atol=1e-8)
    np.testing.assert_allclose(half.covariance, expected.covariance, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.predict(["red bigg"]), ValueError, "bigg"),
        (lambda m: m.predict([" "]), ValueError, "no word"),
        (lambda m: m.predict([""]), ValueError, "no word"),
        (lambda m: m.predict([{"red big": -1.0}]), ValueError, "0 or more"),
        (lambda m: m.predict([{"red big": 0.0}]), ValueError, "not all 0"),
        (lambda m: m.predict([{}]), ValueError, "not all 0"),
        (lambda m: m.predict(["red"], negative_prompt="blue"), ValueError, "guidance_scale"),
        (lambda m: m.predict(["red"], guidance_scale="much"), TypeError, "number"),
        (lambda m: m.predict(["red"], guidance_scale=np.inf), ValueError, "finite"),
        (lambda m: m.predict(np.ones((1, 3))), ValueError, "4 entries"),
        (lambda m: m.refit(text_encoder=3), TypeError, "text_encoder"),
    ],
)
def test_bad_prompts(coloured, call, error, message):
    prompts, images, _ = coloured
    with pytest.raises(error, match=message):
        call(LinearDiffusion(text_encoder="words").fit(prompts, images))


def test_bad_places(coloured):
    prompts, images, _ = coloured
    ld = LinearDiffusion(text_encoder="positions").fit(prompts, images)
    with pytest.raises(ValueError, match="position 2"):
        ld.predict(["red red"])
    with pytest.raises(ValueError, match="3 words"):
        ld.predict(["red big big"])
