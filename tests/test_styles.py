"""Styles: clusters, their shrunk covariances, the mixtures that they make, their sums; and the affine contrast."""

import copy
import warnings

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.stats import ks_2samp, multivariate_normal
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import CountVectorizer
from threadpoolctl import threadpool_limits

from lineardiffusion import Gaussian, LinearDiffusion, Mixture
from lineardiffusion.contrast import censored
from lineardiffusion.encoders.clusters import StyleClusters
from lineardiffusion.encoders.text import BagOfWords
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.styles import StyleStatistics


@pytest.fixture(scope="module")
def blobs():
    """Two prompts, three far blobs each with 40, 60 and 100 images of 2 x 2 pixels."""
    rng = np.random.default_rng(0)
    centres = 40 * rng.normal(size=(2, 3, 4))
    images, prompts, blob = [], [], []
    for u, name in enumerate("ab"):
        for k, n in enumerate((40, 60, 100)):
            images.append(centres[u, k] + rng.normal(size=(n, 4)) * [3.0, 2.0, 1.0, 0.5])
            prompts += [name] * n
            blob += [k] * n
    order = rng.permutation(400)
    images = np.concatenate(images)[order].reshape(-1, 2, 2)
    return [prompts[i] for i in order], images, np.array(blob)[order]


@pytest.fixture(scope="module")
def ld(blobs):
    prompts, images, _ = blobs
    return LinearDiffusion(n_styles=3, shrinkage=0).fit(prompts, images)


def of(blobs, prompt, k):
    prompts, images, blob = blobs
    return images[(np.array(prompts) == prompt) & (blob == k)]


def test_a_style_is_a_blob(ld, blobs):
    """Numbered by falling frequency; drawn with its unbiased covariance, scored with one shrunk to its prompt's."""
    scored = ld.fitted_.scored
    for prompt in "ab":
        within = sum(
            n * np.cov(ld.encode(of(blobs, prompt, k)).T, bias=True) for n, k in ((100, 2), (60, 1), (40, 0))
        )
        counts, means = ld.styles_[prompt]
        assert counts.tolist() == [100, 60, 40]
        for style, k in enumerate((2, 1, 0)):
            own = of(blobs, prompt, k)
            np.testing.assert_allclose(means[style], own.mean(axis=0), atol=1e-9)
            z = ld.encode(own)
            law, g = ld.law(f"{prompt}~{style}"), style + 3 * "ab".index(prompt)
            np.testing.assert_allclose(law.mean, z.mean(axis=0), atol=1e-9)
            np.testing.assert_allclose(law.covariance, np.cov(z.T), atol=1e-9)  # in all four directions
            shrunk = (z - law.mean).T @ (z - law.mean) + 20 * within / 200
            S = (scored.basis[g] * scored.variance[g]) @ scored.basis[g].T
            np.testing.assert_allclose(S, shrunk / (len(z) + 20), atol=1e-9)
            np.testing.assert_allclose(scored.mean[g], law.mean, atol=1e-12)


def test_styles_by_k_means(digits):
    """Against scikit-learn's k-means with the same seed: the same split, its moments by numpy."""
    prompts, images = digits
    ld = LinearDiffusion(20, n_styles=4, random_state=7).fit(prompts, images)
    z = ld.encode(images)[np.array(prompts) == "3"]
    labels = KMeans(4, n_init=1, random_state=7, max_iter=50).fit(z.astype(np.float32)).labels_
    counts, means = ld.styles_["3"]
    order = np.argsort(-np.bincount(labels), kind="stable")
    assert np.abs(counts - np.bincount(labels)[order]).sum() <= 2  # an image on the border
    np.testing.assert_allclose(means, [ld.decode(z[labels == k].mean(axis=0)) for k in order], atol=0.2)


def test_a_prompt_draws_its_styles_by_frequency(ld, blobs):
    drawn = ld.predict(["a"] * 4000, seed=1).reshape(4000, 4)
    _, means = ld.styles_["a"]
    nearest = ((drawn[:, None] - means.reshape(3, 4)) ** 2).sum(axis=2).argmin(axis=1)
    share = np.bincount(nearest, minlength=3) / 4000
    np.testing.assert_allclose(share, [0.5, 0.3, 0.2], atol=5 * 0.5 / np.sqrt(4000))
    # image i depends on its seed alone, in a batch of any size
    np.testing.assert_allclose(ld.predict(["a"] * 7, seed=1).reshape(7, 4), drawn[:7], atol=1e-9)
    np.testing.assert_allclose(ld.predict(["a"], seed=[1])[0].ravel(), drawn[0], atol=1e-9)


def test_the_law_of_a_prompt_is_the_mixture_that_is_drawn(ld):
    law = ld.law("a", sampler="ddpm", num_steps=6)
    assert isinstance(law, Mixture)
    drawn = ld.encode(ld.predict(["a"] * 20_000, seed=2, sampler="ddpm", num_steps=6))
    mine, theirs = (law.log_prob(x) for x in (law.draw(20_000, seed=3), drawn))
    assert ks_2samp(mine, theirs).pvalue > 1e-3
    # control: styles drawn evenly, not by frequency
    even = Mixture([1 / 3] * 3, law.components)
    assert ks_2samp(law.log_prob(even.draw(20_000, seed=3)), theirs).pvalue < 1e-6


def test_a_mixture_by_scipy(ld):
    law = ld.law("b")
    x = law.draw(200, seed=0)
    by_hand = sum(
        w * multivariate_normal(c.mean, c.covariance).pdf(x)
        for w, c in zip(law.weights, law.components, strict=True)
    )
    np.testing.assert_allclose(law.log_prob(x), np.log(by_hand), rtol=1e-9)
    many = law.draw(200_000, seed=1)
    scale = np.sqrt(np.trace(law.covariance))
    np.testing.assert_allclose(many.mean(axis=0), law.mean, atol=5 * scale / np.sqrt(200_000))
    np.testing.assert_allclose(np.cov(many.T), law.covariance, atol=0.02 * scale**2)
    alone = Mixture([1.0], [Gaussian(np.zeros(2), np.eye(2))])
    np.testing.assert_allclose(alone.covariance, np.eye(2))


def test_denoising_a_mixture_is_its_posterior_mean(ld):
    """By Bayes' rule on many draws: those whose noisy image comes near weigh by the noise's density."""
    law, sigma = ld.law("a"), 30.0
    x = ld.encode(ld.styles_["a"][1][:1]) + 0.3
    clean = law.draw(400_000, seed=0)
    level = sigma / ld.scaling_factor_
    weight = np.exp(-((x - clean) ** 2).sum(axis=1) / (2 * level**2))
    expected = weight @ clean / weight.sum()
    found = ld.encode(ld.denoise(["a"], ld.decode(x), sigma))[0]
    spread = np.sqrt(np.trace(law.covariance))
    np.testing.assert_allclose(found, expected, atol=0.01 * spread)
    named = ld.encode(ld.denoise(["a~0"], ld.decode(x), sigma))[0]
    assert np.abs(named - expected).max() > 0.02 * spread  # one style alone answers otherwise


def test_score_of_styles_is_the_mixture_s(ld, blobs):
    prompts, images, _ = blobs
    total, scored, g = np.zeros(2), ld.fitted_.scored, 0
    for prompt in "ab":
        own, drawn = ld.encode(images[np.array(prompts) == prompt]), ld.law(prompt)
        parts = [
            Gaussian(scored.mean[k], (q := scored.basis[k]) * scored.variance[k] @ q.T) for k in (g, g + 1, g + 2)
        ]
        total += [law.log_prob(own).sum() for law in (Mixture(drawn.weights, parts), drawn)]
        g += 3
    expected, wrong = total / 400 - 4 * np.log(ld.scaling_factor_)  # full rank: latents are pixels, scaled
    assert ld.score(prompts, images) == pytest.approx(expected, rel=1e-6)
    assert ld.score(prompts, images) != pytest.approx(wrong, rel=1e-4)  # control: the drawn law
    assert ld.score(prompts, images) > LinearDiffusion().fit(prompts, images).score(prompts, images) + 1


def test_a_second_pass_over_a_stream(blobs):
    """The same images in batches: the same styles, and the moments of the centres' cells."""
    prompts, images, _ = blobs
    stream = LinearDiffusion(n_styles=3)
    for part in np.array_split(np.arange(400), 3):
        stream.partial_fit([prompts[i] for i in part], images[part])
    with pytest.raises(ValueError, match="partial_fit_styles"):
        stream.predict(["a"])
    for part in np.array_split(np.arange(400), 3):
        stream.partial_fit_styles([prompts[i] for i in part], images[part])
    whole = LinearDiffusion(n_styles=3).fit(prompts, images)
    for prompt in "ab":  # far blobs: a third of the images finds the same centres
        np.testing.assert_array_equal(stream.styles_[prompt][0], whole.styles_[prompt][0])
        np.testing.assert_allclose(stream.styles_[prompt][1], whole.styles_[prompt][1], atol=1e-9)
    stream.partial_fit(prompts[:5], images[:5])
    with pytest.raises(ValueError, match="partial_fit_styles"):
        stream.predict(["a"])


def scored(moments):
    """The covariances S of two styles of one prompt with these moments."""
    styles = StyleStatistics(StyleClusters(moments.mean, np.array([0, 0]), 2), moments, None)
    variance, basis = styles.scored(styles.shrink_within(0.0)[0])
    return (basis * variance[:, None]) @ basis.mT


def test_small_styles_are_shrunk():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 10)) * np.geomspace(10, 1, 10)
    moments = Moments.of(rows, [0] * 8 + [1] * 32, 2)
    within = moments.scatter.sum(axis=0) / 40
    for g, n in ((0, 8), (1, 32)):
        S = (moments.scatter[g] + 20 * within) / (n + 20)
        np.testing.assert_allclose(scored(moments)[g], S, atol=1e-10 * np.trace(S))


def test_shrinkage_predicts_new_images():
    """Styles of 30 images in 10 directions: new ones are likelier under S than under C."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(10, 10))
    rows, new = rng.normal(size=(30, 10)) @ root, rng.normal(size=(2000, 10)) @ root
    other = rng.normal(size=(300, 10)) @ root
    moments = Moments.of(np.concatenate([rows, other]), [0] * 30 + [1] * 300, 2)
    mean = moments.mean[0]
    shrunk, alone = (Gaussian(mean, c).log_prob(new).mean() for c in (scored(moments)[0], moments.covariance[0]))
    assert shrunk > alone + 1


def test_guided_and_weighed_styles(ld):
    """Parts keep their style: weights of two named styles are the combination of the two."""
    both = ld.predict([{"a~0": 0.5, "b~1": 0.5}], seed=1, sampler="heun")
    matrix, offset = ld.affine({"a~0": 0.5, "b~1": 0.5}, sampler="heun")
    noise = np.random.default_rng(1).normal(size=(1, 4))
    np.testing.assert_allclose(ld.encode(both)[0], matrix @ noise[0] + offset, atol=1e-8)
    drawn = ld.predict([{"a": 0.5, "b": 0.5}] * 50, seed=1, sampler="heun")
    assert len(np.unique(np.round(drawn.reshape(50, -1).mean(axis=1) / 5))) > 3  # of nine combinations
    assert len(ld.law({"a": 0.5, "b": 0.5}, sampler="heun").components) == 9


def test_score_counts_what_is_not_drawn():
    """Styles of few images are drawn on a plane, but scored with S: scipy's mixture, by hand."""
    rng = np.random.default_rng(0)
    images = np.concatenate([rng.normal(size=(12, 5)), 9 + rng.normal(size=(20, 5))])
    ld = LinearDiffusion(n_styles=2).fit(["a"] * 32, images)
    assert [law.rank for law in ld.law("a").components] == [5, 3]
    np.testing.assert_allclose(ld.law("a").weights, [20 / 32, 12 / 32])
    within = sum(n * np.cov(own.T, bias=True) for n, own in ((12, images[:12]), (20, images[12:]))) / 32
    new = np.concatenate([rng.normal(size=(5, 5)), 9 + rng.normal(size=(5, 5))])
    density = 0.0
    for n, own in ((12, images[:12]), (20, images[12:])):
        S = (n * np.cov(own.T, bias=True) + 20 * within) / (n + 20)
        density += n / 32 * stats.multivariate_normal(own.mean(axis=0), S).pdf(new)
    assert ld.score(["a"] * 10, new) == pytest.approx(np.log(density).mean(), rel=1e-6)


# ---------------------------------------------------------------------- styles of several words


@pytest.fixture(scope="module")
def worded():
    """Prompts colour x size: a mean for each word, and two hands that are the same for all."""
    rng = np.random.default_rng(0)
    colour = {c: 6 * rng.normal(size=6) for c in ("red", "blue", "green")}
    size = {s: 6 * rng.normal(size=6) for s in ("big", "small")}
    hand = [np.array([9.0, 0, 0, 0, 0, 0]), np.array([-27.0, 0, 0, 0, 0, 0])]
    prompts, images, hands = [], [], []
    for c, s in [(c, s) for c in colour for s in size if (c, s) != ("green", "small")]:
        for k, n in enumerate((1500, 500)):
            images.append(colour[c] + size[s] + hand[k] + rng.normal(size=(n, 6)) * [1, 2, 3, 1, 2, 3])
            prompts += [f"{c} {s}"] * n
            hands += [k] * n
    truth = colour["green"] + size["small"]
    return prompts, np.concatenate(images), np.array(hands), truth, hand


@pytest.mark.parametrize("encoder", ["words", "positions", CountVectorizer()])
def test_styles_shared_by_words(worded, encoder):
    """An unseen combination, each hand of it: mean and spread are those that it was made without."""
    prompts, images, _hands, truth, hand = worded
    ld = LinearDiffusion(text_encoder=encoder, n_styles=2).fit(prompts, images)
    for k in range(2):
        drawn = ld.predict([f"green small~{k}"] * 4000, seed=0)
        np.testing.assert_allclose(drawn.mean(axis=0), truth + hand[k], atol=0.6)
        np.testing.assert_allclose(drawn.std(axis=0), [1, 2, 3, 1, 2, 3], rtol=0.15)
    assert np.abs(truth + hand[0] - ld.predict(["green small~1"] * 4000, seed=0).mean(axis=0)).max() > 30
    law = ld.law("green small")
    np.testing.assert_allclose(law.weights, [0.75, 0.25])
    mixed = ld.predict(["green small"] * 4000, seed=0)
    of_first = np.abs(mixed[:, 0] - (truth + hand[0])[0]) < 10
    assert of_first.mean() == pytest.approx(0.75, abs=0.04)
    np.testing.assert_allclose(ld.styles_["red big"][0], [1500, 500])
    one = LinearDiffusion(text_encoder=encoder).fit(prompts, images)  # control: one Gaussian has one hump
    assert one.law("green small").covariance[0, 0] > 3 * law.components[0].covariance[0, 0]


def test_shared_styles_are_the_regression_with_one_more_word(worded):
    """By least squares on what would be the embeddings had the hands been told."""
    prompts, images, hands, *_ = worded
    ld = LinearDiffusion(text_encoder="words", n_styles=2).fit(prompts, images)
    words = BagOfWords.fit(prompts).embed(prompts)
    told = LinearDiffusion().fit(np.hstack([words, np.eye(2)[hands]]), images)
    row = np.hstack([BagOfWords.fit(prompts).embed(["green small"]), [[0, 1]]])
    a, b = ld.affine("green small~1", sampler="heun"), told.affine(row[0], sampler="heun")
    np.testing.assert_allclose(a[0], b[0], atol=1e-7)
    np.testing.assert_allclose(a[1], b[1], atol=1e-7)


def test_shared_styles_as_a_stream_refitted_weighed_and_embedded(worded):
    prompts, images, _, _truth, _hand = worded
    ld = LinearDiffusion(text_encoder="words", n_styles=2).fit(prompts, images)
    stream, parts = LinearDiffusion(text_encoder="words", n_styles=2), np.array_split(np.arange(10_000), 3)
    for way in (stream.partial_fit, stream.partial_fit_styles):
        for part in parts[::-1]:
            way([prompts[i] for i in part], images[part])
    again = ld.predict(["green small~1", "red big"], seed=3)
    np.testing.assert_allclose(stream.predict(["green small~1", "red big"], seed=3), again, atol=1e-6)
    other = clone(ld).set_params(text_encoder="positions").fit(prompts, images)
    refitted = clone(ld).fit(prompts, images).refit(text_encoder="positions")
    np.testing.assert_allclose(
        refitted.predict(["red small~0"], seed=1), other.predict(["red small~0"], seed=1), atol=1e-9
    )
    with pytest.raises(ValueError, match="text_encoder"):
        refitted.refit(text_encoder=None)
    halfway = ld.predict([{"red big~0": 0.5, "blue big~0": 0.5}] * 4000, seed=0).mean(axis=0)
    ends = [ld.predict([f"{c} big~0"] * 4000, seed=0).mean(axis=0) for c in ("red", "blue")]
    np.testing.assert_allclose(halfway, (ends[0] + ends[1]) / 2, atol=0.5)
    row = BagOfWords.fit(prompts).embed(["red big"])
    np.testing.assert_allclose(ld.predict(row, seed=5), ld.predict(["red big"], seed=5))
    with pytest.raises(ValueError, match="0 to 1"):
        ld.predict(["red big~2"])
    with pytest.raises(ValueError, match="pink"):
        ld.predict(["pink big~1"])
    with pytest.raises(ValueError, match="name one"):
        ld.denoise(["red big"], images[:1], 1.0)


def test_symbols_as_embeddings_are_weights(blobs):
    prompts, images, _ = blobs
    ld = LinearDiffusion().fit(prompts, images)
    drawn = ld.predict(np.array([[1.0, 0.0], [0.25, 0.75]]), seed=0)
    np.testing.assert_array_equal(drawn, ld.predict(["a", {"a": 0.25, "b": 0.75}], seed=0))


def test_few_guided_images_are_simulated_to_where_the_map_leads(digits):
    """`exact` with guidance: two images follow the flow, three hundred share a map of it."""
    ld = LinearDiffusion(20).fit(*digits)
    few = ld.predict(["7"] * 2, seed=0, guidance_scale=2.0)
    many = ld.predict(["7"] * 300, seed=0, guidance_scale=2.0)
    np.testing.assert_allclose(few, many[:2], atol=1e-4)
    assert np.abs(few - ld.predict(["7"] * 2, seed=0, guidance_scale=1.9)).max() > 0.05  # control


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.predict(["a~999"]), ValueError, "0 to 2"),
        (lambda m: m.predict(["c~1"]), ValueError, "'c'"),
        (lambda m: m.predict(["a~x"]), ValueError, "a~x"),
        (lambda m: m.affine("a"), ValueError, "name one"),
        (lambda m: m.refit(n_styles=2), ValueError, "n_styles"),
        (lambda m: m.refit(n_components=2), ValueError, "n_components"),
        (lambda m: m.refit(text_encoder="words"), ValueError, "text_encoder"),
        (lambda m: m.refit(contrast="loud"), ValueError, "loud"),
        (lambda m: LinearDiffusion(n_styles=0).fit(["a"], np.ones((1, 2))), ValueError, "n_styles"),
        (lambda m: LinearDiffusion(n_styles=2).fit([[1.0]], [[2.0]]), ValueError, "styles"),
    ],
)
def test_bad_styles(ld, call, error, message):
    with pytest.raises(error, match=message):
        call(ld)
    assert ld.predict(["a"], seed=0).shape == (1, 2, 2)


def test_more_styles_than_images():
    images = np.random.default_rng(0).normal(size=(6, 3))
    with pytest.warns(UserWarning, match="'b'"):
        ld = LinearDiffusion(n_styles=3).fit(["a"] * 4 + ["b"] * 2, images)
    assert len(ld.styles_["b"][0]) == 2
    assert np.isfinite(ld.predict(["a", "b"] * 20, seed=0)).all()


# ---------------------------------------------------------------------- contrast


def test_moments_of_a_clipped_normal_by_simulation():
    rng = np.random.default_rng(0)
    mean, deviation = np.array([-1.0, 0.3, 2.0, 0.5]), np.array([1.0, 0.2, 3.0, 1e-9])
    y = np.clip(mean + deviation * rng.normal(size=(400_000, 4)), 0, 1)
    first, second = censored(mean, deviation, 0.0, 1.0)
    np.testing.assert_allclose(first, y.mean(axis=0), atol=5 * 0.5 / 632)
    np.testing.assert_allclose(second, (y**2).mean(axis=0), atol=5 * 0.5 / 632)
    wrong, _ = censored(mean + 0.05, deviation, 0.0, 1.0)  # control
    assert np.abs(wrong - y.mean(axis=0)).max() > 0.01


@pytest.mark.parametrize("n_styles", [1, 3])
@pytest.mark.parametrize("scale", [False, True])
def test_contrast_gives_the_pixels_of_the_data(digits, n_styles, scale):
    """8,000 pictures drawn by frequency: mean and deviation of all pixels, in closed form."""
    prompts, images = digits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ld = LinearDiffusion(n_styles=n_styles, scale=scale, contrast="affine").fit(prompts, images)
    drawn, _ = ld.sample(8_000, seed=0)
    assert drawn.min() == 0.0
    assert drawn.max() == 16.0
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [images.mean(), images.std()], rtol=0.004)
    plain, _ = LinearDiffusion().fit(prompts, images).sample(5_000, seed=0)
    assert plain.min() < -1  # control: without contrast pixels spill, and clipping alone greys them
    assert abs(plain.clip(0, 16).std() / images.std() - 1) > 0.01


@pytest.mark.parametrize("params", [{}, {"n_styles": 8}, {"text_encoder": "words"}])
@pytest.mark.parametrize("unit", [1, 1e-20])
def test_contrast_is_that_of_every_pixel_s_normal(digits, params, unit):
    """To 1e-3 of 256 grey levels, from covariances in double precision, without factors and condensing."""
    prompts, images = digits[0], digits[1] * unit
    ld = LinearDiffusion(20, contrast="affine", **params).fit(prompts, images)
    synthesis = (ld.decode(np.eye(20)) - ld.decode(np.zeros((1, 20)))).reshape(20, 64)
    share, laws = [], []
    for prompt, weight in zip(ld.prompts_, ld.statistics_.moments.weight, strict=True):
        counts = ld.styles_[prompt][0] if "n_styles" in params else [weight]
        share += list(counts)
        laws += [ld.law(f"{prompt}~{k}" if len(counts) > 1 else prompt) for k in range(len(counts))]
    mean = ld.decode(np.array([law.mean for law in laws])).reshape(len(laws), 64)
    variance = [np.einsum("ij,ik,kj->j", synthesis, law.covariance, synthesis) for law in laws]
    deviation = np.sqrt(np.maximum(variance, 1e-18 * unit**2))

    def error(x):
        gain, offset = x[0], 16 * unit * x[1]
        first, second = censored(gain * mean + offset, gain * deviation, 0.0, 16.0 * unit)
        first, second = (np.average(moment.mean(axis=1), weights=share) for moment in (first, second))
        return (np.array([first, np.sqrt(second - first**2)]) - [images.mean(), images.std()]) / unit

    gain, offset = optimize.root(error, [1.0, 0.0], tol=1e-12).x
    ends = (np.array([0, 1]) - offset) / gain  # pixels that become black and white
    level = ends * ld.contrast_.gain + ld.contrast_.offset / (16 * unit)
    np.testing.assert_allclose(level, [0, 1], atol=1e-3 / 256)
    assert np.abs(ends - [0, 1]).max() > 0.01  # control: without contrast


def test_contrast_touches_pictures_only(digits):
    prompts, images = digits
    plain, ld = (LinearDiffusion(contrast=c).fit(prompts, images) for c in (None, "affine"))
    np.testing.assert_array_equal(ld.law("7").covariance, plain.law("7").covariance)
    assert ld.score(prompts[:200], images[:200]) == plain.score(prompts[:200], images[:200])
    a, b = (m.predict(["7"], seed=1, return_trajectory=True)[1] for m in (plain, ld))
    np.testing.assert_array_equal(a, b)
    contrast = ld.contrast_
    expected = np.clip(contrast.gain * plain.predict(["7"], seed=1) + contrast.offset, 0, 16)
    np.testing.assert_allclose(ld.predict(["7"], seed=1), expected, rtol=1e-6)
    (picture,) = ld.predict(["7"], seed=1, output_type="pil")
    np.testing.assert_allclose(np.asarray(picture), expected[0] * 255 / 16, atol=0.51)
    np.testing.assert_array_equal(plain.refit(contrast="affine").predict(["7"], seed=1), ld.predict(["7"], seed=1))


def test_a_style_depends_on_the_image_s_seed_alone(ld):
    """Not on what else is in the batch, nor on guidance."""
    alone = ld.predict(["a"] * 30, seed=1)
    among = ld.predict(["a"] * 30 + [{"a": 0.5, "b": 0.5}], seed=1)[:30]
    guided = ld.predict(["a"] * 30, seed=1, guidance_scale=1.0 + 1e-6, sampler="heun")
    plain = ld.predict(["a"] * 30, seed=1, sampler="heun")
    np.testing.assert_allclose(among, alone, atol=1e-9)
    np.testing.assert_allclose(guided, plain, atol=1e-3)


def test_normalised_weights_are_no_fewer_images(blobs):
    prompts, images, _ = blobs
    ld = LinearDiffusion(n_styles=3).fit(prompts, images)
    tiny = LinearDiffusion(n_styles=3).fit(prompts, images, sample_weight=np.full(400, 1 / 400))
    np.testing.assert_allclose(tiny.predict(["a", "b"], seed=0), ld.predict(["a", "b"], seed=0), atol=1e-7)


def test_a_rare_prompt_has_its_style():
    rng = np.random.default_rng(0)
    prompts = ["b"] * 15_000
    prompts[7] = "a"
    with pytest.warns(UserWarning, match="'a'"):
        ld = LinearDiffusion(n_styles=2).fit(prompts, rng.normal(size=(15_000, 2)))
    assert ld.styles_["a"][0].tolist() == [1.0]
    with pytest.warns(UserWarning, match="fewer"):
        twice = LinearDiffusion(n_styles=5).fit(["a"] * 40, np.repeat(rng.normal(size=(2, 3)), 20, axis=0))
    assert twice.styles_["a"][0].tolist() == [20.0, 20.0]


def test_inertia_is_scikit_learns():
    """Within 1 %, with weights and without; every second of the centres alone is far worse: the control."""
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(60, 8))[rng.integers(0, 60, 3000)] * 2 + rng.normal(size=(3000, 8))).astype(np.float32)
    u, weight = np.repeat([0, 1], [1000, 2000]), rng.exponential(size=3000)

    def inertia(centres, z, w):
        return float(w @ ((z[:, None] - centres) ** 2).sum(axis=2).min(axis=1))

    for w in (None, weight):
        clusters = StyleClusters.find(z, u, w, "auto", np.array([20, 30]), 3, None)
        for k, n in ((0, 20), (1, 30)):
            own, mine = z[u == k], clusters.centres[clusters.prompt == k]
            each = np.ones(len(own)) if w is None else w[u == k]
            theirs = KMeans(n, n_init=1, random_state=3).fit(own, sample_weight=each).cluster_centers_
            assert len(mine) == n
            assert inertia(mine, own, each) < 1.01 * inertia(theirs, own, each)
            assert inertia(mine[::2], own, each) > 1.1 * inertia(theirs, own, each)
            nearest = ((own[:, None] - mine) ** 2).sum(axis=2).argmin(axis=1)
            frequency = np.bincount(nearest, each)
            assert (np.diff(frequency) < 0.02 * frequency[0]).all()  # falling, but for images on borders


@pytest.mark.parametrize("seed", [7, np.random.RandomState(7)])
def test_centres_do_not_depend_on_threads(seed):
    rng = np.random.default_rng(0)
    z, u, found = rng.normal(size=(4000, 150)).astype(np.float32), rng.integers(0, 4, 4000), []
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            found.append(StyleClusters.find(z, u, None, 9, np.full(4, 9), copy.deepcopy(seed), None).centres)
    np.testing.assert_array_equal(*found)
    other = StyleClusters.find(z, u, None, 9, np.full(4, 9), 8, None).centres
    assert not np.array_equal(found[0], other)  # control


@pytest.mark.parametrize("n", [3, 40, 4000])
def test_as_many_styles_as_distinct_images(n):
    """However many copies there are of each: three of them, of different frequency, and -0 is 0."""
    three = np.array([[0.0, 1e-3], [1e4, 0.0], [1e4, 1e-2]])
    place = np.minimum(np.arange(n) % 6, 2) if n > 3 else np.arange(3)
    z = three[place] * np.where(np.arange(n) % 2, 1.0, -1.0)[:, None] ** (three[place] == 0)
    clusters = StyleClusters.find(z, np.zeros(n, int), None, 10, np.array([10]), 0, None)
    assert len(clusters) == 3
    for centre in three:
        assert (clusters.centres == centre).all(axis=1).sum() == 1
    if n > 3:
        np.testing.assert_array_equal(clusters.centres[0], three[2])


def test_moments_of_styles_do_not_depend_on_how_a_stream_is_cut():
    """Of latents in single precision: to 1e-12, where products in single precision differ by 1e-7."""
    rng = np.random.default_rng(0)
    z, u = (3 + rng.normal(size=(3000, 6))).astype(np.float32), rng.integers(0, 2, 3000)
    clusters = StyleClusters.find(z, u, None, 4, np.array([4, 4]), 0, None)
    empty = StyleStatistics.empty(clusters, None)
    whole, stream, order = empty.count(z, u).moments, empty, rng.permutation(3000)
    for part in np.split(order, [1, 20, 1500, 1503]):
        stream = stream.count(z[part], u[part])
    for name in ("weight", "mean", "scatter"):
        np.testing.assert_allclose(getattr(stream.moments, name), getattr(whole, name), rtol=1e-12, atol=1e-11)
    single = Moments.of(z, clusters.assign(z, u), 8)
    assert np.abs(single.scatter - whole.scatter).max() > 1e-6  # control


def test_parameters_set_after_styles_wait_for_fit(blobs):
    prompts, images, _ = blobs
    ld = LinearDiffusion(n_styles=3).fit(prompts, images)
    drawn = ld.predict(["a"], seed=0)
    with pytest.raises(ValueError, match="n_components"):  # the styles' latents fix it
        ld.set_params(n_components=2).refit(contrast="affine")
    np.testing.assert_array_equal(ld.predict(["a"], seed=0), drawn)
    ld.set_params(n_components=144).refit(contrast="affine")
    assert np.abs(ld.predict(["a"], seed=0) - ld.contrast_(drawn)).max() < 1e-9
    ld.set_params(n_styles=2)
    with pytest.raises(ValueError, match="n_styles"):
        ld.refit(text_encoder=None)
    ld.partial_fit_styles(prompts, images)  # begins anew
    assert len(ld.styles_["a"][0]) == 2
    assert sum(ld.styles_["a"][0]) == 200
    with pytest.raises(ValueError, match="max_memory"):
        LinearDiffusion(n_styles=3, max_memory=700).fit(prompts, images)
    stream = LinearDiffusion(n_styles=3).partial_fit(prompts, images)
    assert not hasattr(stream, "styles_")
    assert stream.mean_.shape == (4,)


def test_contrast_of_black_and_white(digits):
    """No gain is enough; the largest comes near."""
    prompts, images = digits
    binary = (images > 8).astype(np.uint8)
    ld = LinearDiffusion(30, contrast="affine").fit(prompts, binary)
    drawn, _ = ld.sample(5000, seed=0)
    assert drawn.mean() == pytest.approx(binary.mean(), rel=0.03)
    assert drawn.std() == pytest.approx(binary.std(), rel=0.03)


@pytest.mark.parametrize("weights", [{"a": "x"}, {"a": 0.5, "b": None}, {"a": [0.5]}])
def test_weights_are_numbers(ld, weights):
    with pytest.raises(TypeError, match="weights"):
        ld.predict([weights])


def test_one_style_is_as_far_from_all_as_from_each_in_the_mean(ld):
    one, law = ld.law("a~0"), ld.law("a")
    squared = [one.wasserstein(c) ** 2 for c in law.components]
    assert one.wasserstein(law) == pytest.approx(np.sqrt(np.dot(law.weights, squared)), rel=1e-9)


# ---------------------------------------------------------------------- styles as sums


def halves(blobs):
    """Two models with the centres of the first half's images, each with one half of the images counted."""
    prompts, images, _ = blobs
    base = LinearDiffusion(n_styles=3).partial_fit(prompts, images)
    base.partial_fit_styles(prompts[:200], images[:200])
    empty = StyleStatistics.empty(base.statistics_.styles.clusters, base.statistics_.styles.encoder)
    parts = []
    for part in (slice(None, 200), slice(200, None)):
        known = base.prompts_.tolist()
        places = np.array([known.index(p) for p in prompts[part]])
        parts.append(empty.count(empty.encoder.encode(images[part]), places))
    return base.partial_fit_styles(prompts[200:], images[200:]), parts


def test_styles_of_the_same_centres_add_up_and_subtract(blobs):
    whole, (a, b) = halves(blobs)
    styles = whole.statistics_.styles
    for total in (a + b, b + a):
        np.testing.assert_allclose(total.moments.scatter, styles.moments.scatter, atol=1e-9)
        np.testing.assert_allclose(total.moments.mean, styles.moments.mean, atol=1e-12)
        np.testing.assert_array_equal(total.moments.squares, styles.moments.squares)
    rest = styles - a
    np.testing.assert_array_equal(rest.moments.weight, b.moments.weight)
    np.testing.assert_allclose(rest.moments.scatter, b.moments.scatter, atol=1e-8)
    np.testing.assert_allclose(rest.moments.squares, b.moments.squares)
    with pytest.raises(ValueError, match="never"):
        a - styles


def test_models_of_the_same_centres_merge(blobs):
    """A model that streams its styles from a loaded one's centres, in two halves: their sum is the whole."""
    prompts, images, _ = blobs
    start = LinearDiffusion(n_styles=3).partial_fit(prompts, images).partial_fit_styles(prompts, images)
    a, b = copy.deepcopy(start), copy.deepcopy(start)
    twice = a.merge(b)
    for prompt in "ab":
        np.testing.assert_allclose(twice.styles_[prompt][0], 2 * start.styles_[prompt][0])
        np.testing.assert_allclose(twice.styles_[prompt][1], start.styles_[prompt][1], atol=1e-9)
    assert twice.statistics_.moments.weight.sum() == 800
    repeated = LinearDiffusion(n_styles=3).partial_fit(prompts * 2, np.concatenate([images, images]))
    repeated.partial_fit_styles(prompts, images).partial_fit_styles(prompts, images)
    asked = ["a", "b~1", "a~2"]
    np.testing.assert_allclose(twice.predict(asked, seed=3), repeated.predict(asked, seed=3), atol=1e-7)
    rest = twice.statistics_ - a.statistics_
    np.testing.assert_allclose(rest.styles.moments.scatter, b.statistics_.styles.moments.scatter, atol=1e-7)


def test_models_of_other_centres_do_not_merge(blobs):
    prompts, images, _ = blobs
    a, b = (LinearDiffusion(n_styles=3).fit(prompts[i::2], images[i::2]) for i in range(2))
    drawn = a.predict(["a"], seed=0)
    for call in (
        lambda: a.merge(b),
        lambda: LinearDiffusion.merge_all([a, b]),
        lambda: a.statistics_ + b.statistics_,
        lambda: a.statistics_ - b.statistics_,
    ):
        with pytest.raises(ValueError, match="centres"):
            call()
    with pytest.raises(ValueError, match="styles"):
        a.merge(LinearDiffusion().fit(prompts, images))
    np.testing.assert_array_equal(a.predict(["a"], seed=0), drawn)
    plain = a.refit(n_styles=1)  # what the errors advise
    assert plain.statistics_.styles is None


def test_what_a_merge_advises_works(blobs):
    """Without styles, from the pixels' moments, and the styles in a second pass afterwards."""
    prompts, images, _ = blobs
    a, b = (LinearDiffusion(n_styles=3).fit(prompts[i::2], images[i::2]) for i in range(2))
    merged = a.refit(n_styles=1).merge(b.refit(n_styles=1)).set_params(n_styles=3)
    merged.partial_fit_styles(prompts, images)
    whole = LinearDiffusion(n_styles=3).fit(prompts, images)
    np.testing.assert_allclose(merged.predict(["a", "b"], seed=0), whole.predict(["a", "b"], seed=0), atol=1e-7)


@pytest.mark.parametrize("shared", [False, True])
def test_every_image_belongs_to_the_nearest_centre_of_its_prompt(blobs, shared):
    prompts, images, _ = blobs
    z, u = images.reshape(400, 4), np.array([ord(p) - ord("a") for p in prompts])
    means = np.stack([z[u == k].mean(axis=0) for k in range(2)])
    clusters = StyleClusters.find(z, u, None, 3, np.array([3, 3]), 0, means if shared else None)
    assert clusters.shared == shared
    assert len(clusters) == 6
    found = clusters.assign(z, u)
    distance = ((z[:, None] - clusters.centres) ** 2).sum(axis=2)
    distance[u[:, None] != clusters.prompt] = np.inf
    np.testing.assert_array_equal(found, distance.argmin(axis=1))
    if shared:
        offsets = clusters.centres.reshape(2, 3, 4) - means[:, None]
        np.testing.assert_allclose(offsets[0], offsets[1], atol=1e-12)
        np.testing.assert_array_equal(clusters.words(), np.tile(np.eye(3), (2, 1)))
