"""The model from end to end: the same pictures computed in several ways."""

import copy
import functools
import math
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, kstest, multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from lineardiffusion import LinearDiffusion, samplers, training
from lineardiffusion.diffusion.schedules import Karras, Schedule

SAMPLERS = ["exact", "ddim", "ddpm", "euler", "heun", "dpm++2m", "one_step"]
GREY = 0.05  # grey levels of 256 by which the same pictures may differ


def pictures(ld, seed=137):
    return ld.predict(list(ld.prompts_), seed=seed)


# ---------------------------------------------------------------------- fit in several ways


@settings(deadline=None, max_examples=25)
@given(order=st.permutations(range(90)), cuts=st.sets(st.integers(1, 89), max_size=6))
def test_stream_in_any_order_and_batches_is_fit(tiny, order, cuts):
    prompts, images = tiny
    whole = LinearDiffusion().fit(prompts, images)
    stream = LinearDiffusion()
    for part in np.split(np.array(order), sorted(cuts)):
        stream.partial_fit([prompts[i] for i in part], images[part])
    np.testing.assert_allclose(pictures(stream), pictures(whole), atol=1e-8)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_stream_and_merge_are_fit(digits, dtype):
    prompts, images = digits[0], digits[1].astype(dtype)
    whole = LinearDiffusion().fit(prompts, images)
    stream, rng = LinearDiffusion(), np.random.default_rng(0)
    for part in np.array_split(rng.permutation(len(prompts)), 7):
        stream.partial_fit([prompts[i] for i in part], images[part])
    # a model of digits below 5 and one of all the others: vocabularies differ
    low = np.array([p < "5" for p in prompts])
    a, b = (
        LinearDiffusion().fit([p for p, k in zip(prompts, keep, strict=True) if k], images[keep])
        for keep in (low, ~low)
    )
    for other in (stream, a.merge(b), b.merge(a)):
        assert np.abs(pictures(other) - pictures(whole)).max() < GREY * 16 / 255
    assert list(a.prompts_) == list("01234")


def test_merging_many_models_is_merging_them_one_by_one(digits):
    """In place in one set of arrays; an unfitted model is the zero on both sides."""
    prompts, images = digits
    parts = [LinearDiffusion(n_components=20).fit(prompts[i::5], images[i::5]) for i in range(5)]
    before = [part.statistics_.moments.scatter.copy() for part in parts]
    empty = LinearDiffusion(n_components=20)
    at_once = LinearDiffusion.merge_all(parts)
    in_turn = functools.reduce(LinearDiffusion.merge, parts, empty)
    with_zeros = LinearDiffusion.merge_all([empty, *parts[:2], LinearDiffusion(), *parts[2:]])
    whole = LinearDiffusion(n_components=20).fit(prompts, images)
    for merged in (at_once, in_turn, with_zeros):
        assert merged.statistics_.moments.weight.sum() == len(prompts)
        np.testing.assert_allclose(pictures(merged), pictures(whole), atol=1e-3)
        assert merged.get_params() == whole.get_params()
    np.testing.assert_allclose(pictures(in_turn), pictures(at_once), atol=1e-4)
    for part, scatter in zip(parts, before, strict=True):
        np.testing.assert_array_equal(part.statistics_.moments.scatter, scatter)
    assert np.abs(pictures(LinearDiffusion.merge_all(parts[:3])) - pictures(whole)).max() > 0.1  # control


def test_an_unfitted_model_is_the_zero_of_merge(tiny):
    ld = LinearDiffusion(n_components=5, random_state=3).fit(*tiny)
    for merged in (ld.merge(LinearDiffusion()), LinearDiffusion(n_components=5).merge(ld)):
        np.testing.assert_array_equal(pictures(merged), pictures(ld))
        assert merged is not ld
    assert LinearDiffusion(n_components=4).merge(ld).n_components_ == 4  # the first model's parameters
    zero = LinearDiffusion()
    for none in (LinearDiffusion(n_components=4).merge(zero), LinearDiffusion.merge_all([zero, zero])):
        with pytest.raises(NotFittedError):
            none.predict(["up"])
        none.partial_fit(*tiny)  # which can go on
    with pytest.raises(ValueError, match="no models"):
        LinearDiffusion.merge_all([])
    with pytest.raises(TypeError, match="str"):
        LinearDiffusion.merge_all([ld, "other"])


def test_two_passes_are_one(digits):
    prompts, images = digits
    once = LinearDiffusion(20).fit(prompts, images)
    twice = LinearDiffusion(20, max_memory=10 * 64**2 * 8 - 1).fit(prompts, images)
    assert once.statistics_.moments.mean.shape == (10, 64)
    assert twice.statistics_.moments.mean.shape == (10, 20)
    assert np.abs(pictures(twice) - pictures(once)).max() < GREY * 16 / 255
    with pytest.raises(ValueError, match="fit_basis"):
        twice.merge(once)


@pytest.mark.mnist
def test_bytes_of_mnist_by_stream_merge_and_two_passes(mnist):
    """Blocks of more than 1,024 images a prompt and a frame of pixels that never vary, in bytes."""
    some = [i for i, prompt in enumerate(mnist[0][:12_000]) if prompt in "01"]
    prompts, images = [mnist[0][i] for i in some], mnist[1][some]
    whole = LinearDiffusion(40).fit(prompts, images)
    assert whole.statistics_.moments.weight.min() > 1024
    stream = LinearDiffusion(40).partial_fit(prompts[:2_000], images[:2_000])
    merged = stream.merge(LinearDiffusion(40).partial_fit(prompts[2_000:], images[2_000:]))
    stream.partial_fit(prompts[2_000:], images[2_000:])
    twice = LinearDiffusion(40, max_memory=2 * 784**2 * 8 - 1).fit(prompts, images)
    assert twice.statistics_.moments.mean.shape == (2, 40)
    for other in (stream, merged, twice):
        assert np.abs(pictures(other) - pictures(whole)).max() < GREY


def test_two_passes_of_embeddings_are_one(tiny):
    _, images = tiny
    embeddings = np.random.default_rng(1).normal(size=(90, 2))
    once = LinearDiffusion(n_components=5).fit(embeddings, images)
    needed = 8 * (3 * 13) ** 2
    twice = LinearDiffusion(n_components=5, max_memory=needed - 1).fit(embeddings, images)
    assert len(twice.statistics_.moments.origin) == 5
    np.testing.assert_allclose(twice.predict(embeddings, seed=0), once.predict(embeddings, seed=0), atol=1e-6)


def test_weights_are_repetitions(tiny):
    prompts, images = tiny
    weight = np.random.default_rng(2).integers(0, 4, size=90)
    weighted = LinearDiffusion(shrinkage=0).fit(prompts, images, sample_weight=weight)
    index = np.repeat(np.arange(90), weight)
    repeated = LinearDiffusion(shrinkage=0).fit([prompts[i] for i in index], images[index])
    np.testing.assert_allclose(pictures(weighted), pictures(repeated), atol=1e-9)
    np.testing.assert_allclose(weighted.prompt_prior_, repeated.prompt_prior_)
    even = LinearDiffusion(shrinkage=0).fit(prompts, images)
    assert np.abs(pictures(weighted) - pictures(even)).max() > 1  # weights do matter


def test_embeddings_stream_too(tiny):
    _, images = tiny
    embeddings = np.random.default_rng(3).normal(size=(90, 2))
    whole = LinearDiffusion().fit(embeddings, images)
    stream = LinearDiffusion().partial_fit(embeddings[:50], images[:50])
    stream.partial_fit(embeddings[50:], images[50:])
    np.testing.assert_allclose(
        stream.predict(embeddings[:5], seed=0), whole.predict(embeddings[:5], seed=0), atol=1e-6
    )


def test_one_hot_embeddings_are_prompts(tiny):
    """Numbers as prompts take the general regression; on unit vectors it is the Gaussian of each prompt."""
    prompts, images = tiny
    units = np.eye(3)[[("left", "right", "up").index(p) for p in prompts]]
    words, numbers = (LinearDiffusion(shrinkage=0).fit(X, images) for X in (prompts, units))
    for sampler in ("exact", "ddim", "heun"):
        np.testing.assert_allclose(
            numbers.predict(np.eye(3), seed=5, sampler=sampler),
            words.predict(["left", "right", "up"], seed=5, sampler=sampler),
            atol=1e-4,
        )
    assert numbers.score(units, images) == pytest.approx(words.score(prompts, images), rel=1e-5)


# ---------------------------------------------------------------------- images of all kinds


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 5, 3), (2, 2, 2, 2)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float32", "float64", "bool"])
def test_shapes_and_dtypes(shape, dtype):
    rng = np.random.default_rng(4)
    raw = rng.normal(60, 20, size=(40, *shape))
    images = (raw > 60) if dtype == "bool" else raw.astype(dtype)
    prompts = [f"word {i % 3}" for i in range(40)]
    ld = LinearDiffusion().fit(prompts, images)
    drawn = ld.predict(["word 1"] * 4000, seed=0)
    wide = np.dtype(dtype) in (np.int64, np.float64)
    assert drawn.dtype == (np.float64 if wide else np.float32)
    assert drawn.shape == (4000, *shape)
    # the mean over draws is the prompt's, within 5 standard errors
    real = images[1::3].astype(float)
    error = np.abs(drawn.mean(axis=0) - real.mean(axis=0))
    assert (error < 5 * real.std(axis=0) / np.sqrt(4000) + 1e-3).all()


def test_one_prompt_one_image_and_few_images():
    image = np.arange(12.0).reshape(1, 3, 4)
    np.testing.assert_allclose(LinearDiffusion().fit(["it"], image).predict(["it"], seed=0), image)
    rng = np.random.default_rng(5)
    images = rng.normal(size=(7, 16, 16)).astype(np.float32)
    prompts = ["a"] * 6 + ["single"]
    ld = LinearDiffusion(shrinkage=0).fit(prompts, images)
    assert ld.n_components_ == 6
    np.testing.assert_allclose(ld.predict(["single"], seed=0)[0], images[6], atol=1e-4)
    # what is drawn lies in the span of the images
    drawn = ld.predict(["a"], seed=0)[0].ravel() - images[:6].mean(axis=0).ravel()
    span = (images[:6] - images[:6].mean(axis=0)).reshape(6, -1).T
    rest = drawn - span @ np.linalg.lstsq(span, drawn, rcond=None)[0]
    assert np.linalg.norm(rest) < 1e-3 * np.linalg.norm(drawn)


def test_offset_does_not_matter(digits):
    """Images offset by 10,000 in float32 give the same pictures, offset."""
    prompts, images = digits
    plain = LinearDiffusion(n_components=30).fit(prompts, images)
    offset = LinearDiffusion(n_components=30).fit(prompts, images.astype(np.float32) + 10_000)
    np.testing.assert_allclose(pictures(offset) - 10_000, pictures(plain), atol=0.01)


def test_words_for_prompts(digits):
    """The mean over draws is the data's, within 5 standard errors."""
    prompts, images = digits
    named = [f"the digit {p}" for p in prompts]
    ld = LinearDiffusion(40).fit(named, images)
    drawn = ld.predict(["the digit 7"] * 2000, seed=1)
    real = images[np.array(prompts) == "7"].astype(float)
    error = np.abs(drawn.mean(axis=0) - ld.decode(ld.encode(real)).mean(axis=0))
    assert (error < 5 * drawn.std(axis=0) / np.sqrt(2000) + 1e-3).all()
    with pytest.raises(ValueError, match="mean 'the digit 7'"):
        ld.predict(["the digits 7"])


# ---------------------------------------------------------------------- the law


def law_statistic(ld, prompt, law, **settings_):
    """Kolmogorov-Smirnov p-value of 100,000 draws' Mahalanobis distances against chi-square."""
    images = ld.predict([prompt] * 100_000, seed=11, **settings_)
    z = ld.encode(images) - law.mean
    d = len(law.mean)
    distance = np.einsum("ij,jk,ik->i", z, np.linalg.inv(law.covariance), z)
    return kstest(distance, chi2(d).cdf).pvalue


@pytest.mark.parametrize("sampler", ["exact", "ddim", "ddpm", "dpm++2m"])
def test_law_against_draws(tiny, sampler):
    ld = LinearDiffusion(n_components=6, sampler=sampler, num_steps=7).fit(*tiny)
    law = ld.law("up")
    assert law_statistic(ld, "up", law) > 0.001
    # negative control: a law wider by 2 % must be told apart
    wrong = copy.copy(law)
    object.__setattr__(wrong, "covariance", 1.02 * law.covariance)
    assert law_statistic(ld, "up", wrong) < 1e-6


def test_exact_law_is_the_data_s(tiny):
    prompts, images = tiny
    ld = LinearDiffusion(shrinkage=0).fit(prompts, images)
    z = ld.encode(images)[np.array(prompts) == "left"]
    law = ld.law("left")
    np.testing.assert_allclose(law.mean, z.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(law.covariance, np.cov(z.T, bias=True), atol=1e-10)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("schedule", ["cosine", "vp", "karras", "flow"])
def test_composed_equals_simulated(tiny, sampler, schedule):
    ld = LinearDiffusion(sampler=sampler, schedule=schedule, num_steps=9, scale=True).fit(*tiny)
    prompts = ["up", "left", "up", "right"]
    noise = np.random.default_rng(0).normal(size=(4, ld.n_components_))
    images, trajectory = ld.predict(prompts, latents=noise, seed=0, return_trajectory=True)
    stages = list(ld.staged_predict(prompts, latents=noise, seed=0))
    np.testing.assert_allclose(np.array(stages), ld.decode(trajectory), atol=1e-9)
    np.testing.assert_array_equal(stages[-1], images)
    assert len(trajectory) == (2 if sampler == "one_step" else 10)
    if sampler == "ddpm":
        return  # its noise is its own: test_law_against_draws
    np.testing.assert_allclose(ld.predict(prompts, latents=noise), images, atol=1e-9)
    for i, prompt in enumerate(prompts):
        matrix, offset = ld.affine(prompt)
        np.testing.assert_allclose(matrix @ noise[i] + offset, trajectory[-1, i], atol=1e-10)


def test_score_is_the_density_in_pixels(tiny):
    prompts, images = tiny
    ld = LinearDiffusion(n_components=5, shrinkage=0).fit(prompts, images)
    W = ld.components_
    v = (np.cov(images.reshape(90, -1).T, bias=True).trace() - 0) - ld.fitted_.encoder.variance.sum()
    outside = np.eye(12) - W.T @ W
    total = 0.0
    for prompt in ld.prompts_:
        x = images[np.array(prompts) == prompt].reshape(-1, 12)
        mean = ld.mean_ + W.T @ (W @ (x.mean(axis=0) - ld.mean_))
        covariance = W.T @ W @ np.cov(x.T, bias=True) @ W.T @ W + v / 7 * outside
        total += multivariate_normal(mean, covariance).logpdf(x).sum()
    assert ld.score(prompts, images) == pytest.approx(total / 90, rel=1e-8)


def test_denoise_is_the_posterior_mean(tiny):
    """At full rank, against the Wiener filter written in pixels."""
    prompts, images = tiny
    ld = LinearDiffusion(shrinkage=0).fit(prompts, images)
    noisy = images[:3] + 2.0 * np.random.default_rng(6).normal(size=(3, 4, 3))
    clean = ld.denoise(prompts[:3], noisy, 2.0)
    for i in range(3):
        x = images[np.array(prompts) == prompts[i]].reshape(-1, 12)
        C, m = np.cov(x.T, bias=True), x.mean(axis=0)
        wiener = m + C @ np.linalg.solve(C + 4.0 * np.eye(12), noisy[i].ravel() - m)
        np.testing.assert_allclose(clean[i].ravel(), wiener, atol=1e-8)
    by_numbers = LinearDiffusion().fit(np.eye(3)[[0, 1, 2] * 30], images)
    np.testing.assert_allclose(by_numbers.denoise(np.eye(3), noisy, 2.0), clean, atol=1e-8)


def test_digits_are_read_right(digits):
    """A classifier of real digits reads the drawn ones (8 x 8 pixels; MNIST's figure: benchmarks/)."""
    prompts, images = digits
    judge = SVC(gamma="scale").fit(images[:1200].reshape(-1, 64), prompts[:1200])
    assert judge.score(images[1200:].reshape(-1, 64), prompts[1200:]) > 0.94  # the judge can read
    asked = list("0123456789") * 100
    exact = LinearDiffusion().fit(prompts, images)
    original = LinearDiffusion(scale=True, sampler="one_step").fit(prompts, images)
    right = [judge.score(ld.predict(asked, seed=0).reshape(-1, 64), asked) for ld in (exact, original)]
    assert right[0] > 0.94
    assert right[1] < right[0] - 0.02


# ---------------------------------------------------------------------- seeds


@pytest.mark.parametrize("sampler", ["exact", "ddpm"])
def test_seeds(tiny, sampler):
    ld = LinearDiffusion(sampler=sampler, num_steps=5).fit(*tiny)
    many = ld.predict(["up", "left"] * 10, seed=137)
    np.testing.assert_allclose(ld.predict(["up", "left"], seed=137), many[:2], atol=1e-9)
    np.testing.assert_allclose(ld.predict(["up"], seed=[137]), many[:1], atol=1e-9)
    mixed = ld.predict(["left", "up", "up"], seed=[3, 137, 4])
    np.testing.assert_allclose(mixed[1], many[0], atol=1e-9)
    assert np.abs(mixed[1] - mixed[2]).max() > 0.1
    a, b = (list(ld.staged_predict(["up", "left"][:n], seed=137)) for n in (1, 2))
    np.testing.assert_allclose(np.array(a)[:, 0], np.array(b)[:, 0], atol=1e-9)
    assert np.abs(ld.predict(["up"]) - ld.predict(["up"])).max() > 0.1
    ld.refit(random_state=137)
    np.testing.assert_allclose(ld.predict(["up"]), many[:1], atol=1e-9)


def test_sample_draws_prompts_by_frequency(tiny):
    prompts, images = tiny
    weight = np.where(np.array(prompts) == "up", 2.0, 1.0)
    ld = LinearDiffusion().fit(prompts, images, sample_weight=weight)
    drawn, names = ld.sample(8000, seed=1)
    share = [names.count(p) / 8000 for p in ("left", "right", "up")]
    np.testing.assert_allclose(share, [0.25, 0.25, 0.5], atol=5 * 0.5 / np.sqrt(8000))
    np.testing.assert_array_equal(drawn, ld.predict(names, seed=1))


# ---------------------------------------------------------------------- as scikit-learn has it


def test_clone_pickle_and_grid_search(tiny):
    prompts, images = tiny
    ld = LinearDiffusion(n_components=4, schedule=Karras(sigma_max=90.0)).fit(prompts, images)
    again = clone(ld).fit(prompts, images)
    np.testing.assert_array_equal(pictures(again), pictures(ld))
    np.testing.assert_array_equal(pictures(pickle.loads(pickle.dumps(ld))), pictures(ld))
    search = GridSearchCV(LinearDiffusion(), {"n_components": [1, 4, 8]}, cv=3)
    search.fit(prompts, images)
    # held-out likelihood by hand, one fold
    train, test = np.arange(30, 90), np.arange(30)
    by_hand = LinearDiffusion(n_components=8).fit([prompts[i] for i in train], images[train])
    expected = by_hand.score([prompts[i] for i in test], images[test])
    assert search.cv_results_["split0_test_score"][2] == pytest.approx(expected)


def test_fit_forgets_and_seed_does_not_matter(tiny, digits):
    prompts, images = tiny
    ld = LinearDiffusion(random_state=0).fit(*digits).fit(prompts, images)
    np.testing.assert_array_equal(pictures(ld), pictures(LinearDiffusion().fit(prompts, images)))
    numbers = ld.fit(np.arange(90.0).reshape(90, 1), images)
    assert not hasattr(numbers, "prompts_")
    assert numbers.n_features_in_ == 1
    assert not hasattr(numbers.fit(prompts, images), "n_features_in_")


def test_pictures_for_people(digits):
    prompts, images = digits
    ld = LinearDiffusion().fit(prompts, images)
    (picture,) = ld.predict(["7"], seed=137, output_type="pil")
    expected = np.clip(ld.predict(["7"], seed=137)[0], 0, 16) * 255 / 16
    np.testing.assert_allclose(np.asarray(picture), expected, atol=0.51)


def test_warns_where_noise_is_no_start(tiny):
    def weak(t):  # like Stable Diffusion's schedule, it stops before the signal is gone
        return 1 - 0.8 * t, np.sqrt(1 - (1 - 0.8 * t) ** 2)

    with pytest.warns(UserWarning, match="alpha=0.2"):
        LinearDiffusion(schedule=weak).fit(*tiny).predict(["up"], seed=0)


# ---------------------------------------------------------------------- large images, hard pixels


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_fewer_images_than_pixels_by_singular_values(tiny, scale, weighted):
    """Where the moments of the pixels do not fit, the basis of few images comes from the images."""
    prompts, images = tiny
    images = np.concatenate([images, images[::-1] ** 2 / 40, np.sin(images)], axis=2)[:30]
    weight = np.random.default_rng(0).uniform(0.5, 2, 30) if weighted else None
    settings_ = {"n_components": 8, "scale": scale}
    pixels = LinearDiffusion(**settings_).fit(prompts[:30], images, weight)
    rows = LinearDiffusion(**settings_, max_memory=3 * 36**2 * 8 - 1).fit(prompts[:30], images, weight)
    assert rows.statistics_.moments.mean.shape == (3, 8)
    np.testing.assert_allclose(rows.components_, pixels.components_, atol=1e-9)
    np.testing.assert_allclose(pictures(rows), pictures(pixels), atol=1e-8)
    assert rows.score(prompts[:30], images) == pytest.approx(pixels.score(prompts[:30], images))


def test_score_does_not_depend_on_the_dtype(digits):
    prompts, images = digits
    scores = [
        LinearDiffusion().fit(prompts[:300], x[:300]).score(prompts[300:], x[300:])
        for x in (images, images.astype(np.float32), images.astype(float))
    ]
    assert scores == pytest.approx([scores[0]] * 3, rel=1e-5)


@pytest.mark.parametrize("unit", [1e-24, 1e25])
def test_units_do_not_matter(digits, unit):
    """Squares of such pixels are beyond float32."""
    prompts, images = digits
    plain = LinearDiffusion().fit(prompts, images)
    scaled = LinearDiffusion().fit(prompts, (images * unit).astype(np.float32))
    np.testing.assert_allclose(pictures(scaled) / unit, pictures(plain), atol=1e-3)


# ---------------------------------------------------------------------- parameters that are set


CHANGES = {
    "n_components": 5,
    "scale": True,
    "text_encoder": "words",
    "contrast": "affine",
    "schedule": "flow",
    "sampler": samplers.ddim(3, eta=0.5),
    "num_steps": 3,
    "guidance_scale": 2.0,
    "random_state": 5,
}
LOOKS = {
    "predict": lambda ld: ld.predict(["up"], seed=0),
    "score": lambda ld: ld.score(["up"], np.zeros((1, 4, 3))),
    "n_components_": lambda ld: ld.n_components_,
    "fitted_": lambda ld: ld.fitted_.compose,
    "components_": lambda ld: ld.components_,
    "classify": lambda ld: ld.classify(np.zeros((1, 4, 3))),
    "law": lambda ld: ld.law("up"),
    "pickle": pickle.dumps,
}


def seen(ld):
    """Everything that a user sees of a model."""
    return [ld.n_components_, ld.predict(["up", "left"], seed=0), ld.predict(["up"]), ld.law("up").covariance]


def assert_same(a, b):
    for one, other in zip(seen(a), seen(b), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_a_parameter_that_is_set_waits(tiny, name, how):
    """For the next fit, partial_fit or refit; until then the model is the one that was fitted."""
    way = {"num_steps": 7, "sampler": "ddim", "random_state": 0}
    ld, before = (getattr(LinearDiffusion(**way), how)(*tiny) for _ in range(2))
    ld.set_params(**{name: CHANGES[name]})
    assert_same(ld, before)
    assert_same(pickle.loads(pickle.dumps(ld)), before)
    expected = getattr(LinearDiffusion(**(way | {name: CHANGES[name]})), how)(*tiny)
    assert_same(ld.refit(), expected)
    assert any(not np.array_equal(a, b) for a, b in zip(seen(ld), seen(before), strict=True))  # control


@pytest.mark.parametrize("look", LOOKS)
def test_looking_changes_nothing(tiny, look):
    """After partial_fit and set_params the answers are the same whether or not somebody looked in between."""
    prompts, images = tiny
    looked, unseen = (LinearDiffusion(8, random_state=0).partial_fit(prompts[:60], images[:60]) for _ in range(2))
    LOOKS[look](looked)
    for ld in (looked, unseen):
        ld.set_params(n_components=5)
    assert looked.n_components_ == unseen.n_components_ == 8
    assert_same(looked, unseen)
    LOOKS[look](looked)
    for ld in (looked, unseen):
        ld.partial_fit(prompts[60:], images[60:])
    assert looked.n_components_ == unseen.n_components_ == 5
    assert_same(looked, unseen)
    whole = LinearDiffusion(n_components=5, random_state=0).fit(prompts, images)
    for one, other in zip(seen(looked), seen(whole), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


def test_the_model_that_was_fitted_is_the_model_that_is_saved(digits, tmp_path):
    prompts, images = digits
    ld = LinearDiffusion(n_components=40).fit(prompts, images)
    drawn = pictures(ld)
    ld.set_params(n_components=5, sampler="ddim")
    ld.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert again.n_components_ == again.n_components == 40
    np.testing.assert_array_equal(pictures(again), drawn)
    assert again.refit(n_components=5).n_components_ == ld.refit().n_components_ == 5


def test_a_copy_draws_what_the_model_draws(tiny):
    ld = LinearDiffusion(random_state=0).fit(*tiny)
    for again in (copy.copy(ld), copy.deepcopy(ld), pickle.loads(pickle.dumps(ld))):
        assert_same(again, ld)
        again.partial_fit(["new"], np.zeros((1, 4, 3)))
        assert "new" not in ld.prompts_


def test_schedules_cannot_change_under_a_model(tiny):
    schedule = Karras()
    ld = LinearDiffusion(schedule=schedule, sampler="ddim", num_steps=4).fit(*tiny)
    before = pictures(ld)
    with pytest.raises(FrozenInstanceError):
        schedule.sigma_max = 500.0
    changed = ld.refit(schedule=Karras(sigma_max=500.0))
    assert np.abs(pictures(changed) - before).max() > 1e-3
    np.testing.assert_array_equal(pictures(changed.refit(schedule="karras")), before)


def test_a_schedule_of_a_user_that_changes_is_seen(tiny):
    """A function, or an object that is no frozen dataclass, is told by its levels."""

    class Mine(Schedule):
        power = 1.0

        def __call__(self, t):
            return 1 - t**self.power, t**self.power

    schedule = Mine()
    ld = LinearDiffusion(schedule=schedule, sampler="ddim", num_steps=4).fit(*tiny)
    before = pictures(ld)
    schedule.power = 2.0
    ld.refit()
    np.testing.assert_allclose(pictures(ld), pictures(clone(ld).fit(*tiny)), atol=1e-9)
    assert np.abs(pictures(ld) - before).max() > 1e-3


def test_any_function_is_a_schedule(tiny):
    def floats_only(t):
        return math.cos(t * math.pi / 2), math.sin(t * math.pi / 2)

    for sampler in ("ddim", "heun", "exact"):
        one, other = (
            LinearDiffusion(schedule=schedule, sampler=sampler, num_steps=9).fit(*tiny)
            for schedule in (floats_only, "cosine")
        )
        np.testing.assert_allclose(pictures(one), pictures(other), atol=1e-6)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_many_images_of_few_embeddings(tiny, sampler):
    """Composed for many images, simulated for few: the same pictures."""
    prompts, images = tiny
    units = np.eye(3)[[("left", "right", "up").index(p) for p in prompts]]
    ld = LinearDiffusion(sampler=sampler, num_steps=5).fit(units, images)
    many = ld.predict(np.tile(np.eye(3), (40, 1)), seed=3)
    np.testing.assert_allclose(ld.predict(np.eye(3), seed=3), many[:3], atol=1e-7)


def test_few_large_images_keep_moments_of_latents(monkeypatch):
    """The model is that of the pixels' moments, which are larger than the images, and advice can be followed."""
    monkeypatch.setattr(training, "LARGE", 100)
    rng = np.random.default_rng(0)
    prompts, images = ["a", "b"] * 10, rng.normal(size=(20, 12, 12)).astype(np.float32)
    ld = LinearDiffusion().fit(prompts, images)
    assert ld.statistics_.moments.scatter.shape[1] == ld.n_components_ == 19
    stream = LinearDiffusion().partial_fit(prompts[:10], images[:10]).partial_fit(prompts[10:], images[10:])
    np.testing.assert_allclose(ld.predict(["a"], seed=0), stream.predict(["a"], seed=0), atol=1e-3)
    with pytest.raises(ValueError, match="fit_basis"):
        ld.merge(LinearDiffusion().fit(prompts, images[::-1]))
