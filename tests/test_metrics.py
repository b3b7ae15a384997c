"""Metrics against brute force, prdc, POT and scipy; known cases; and input that must be refused."""

import tracemalloc
from collections import Counter

import numpy as np
import ot
import pytest
import scipy.linalg
from prdc import compute_prdc
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression

from lineardiffusion import LinearDiffusion
from lineardiffusion.metrics import copies as copies_module
from lineardiffusion.metrics import (
    copying,
    copying_ratio,
    fit_classifier,
    frechet_distance,
    nearest,
    nearest_style,
    precision_recall_density_coverage,
    prompt_fidelity,
    train_on_synthetic,
)
from lineardiffusion.metrics import features as features_module


def clouds(n=400, m=300, k=6, shift=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)), shift + rng.normal(size=(m, k)) @ rng.normal(size=(k, k))


# ------------------------------------------------------------------ Frechet distance


def test_frechet_is_the_formula_by_scipy_and_the_distance_by_pot():
    real, generated = clouds()
    a, b = (np.cov(x, rowvar=False) for x in (real, generated))
    shift = np.square(real.mean(0) - generated.mean(0)).sum()
    formula = shift + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    found = frechet_distance(real, generated)
    assert found == pytest.approx(formula, rel=1e-9)
    by_pot = ot.gaussian.bures_wasserstein_distance(real.mean(0), generated.mean(0), a, b)
    assert found == pytest.approx(float(by_pot) ** 2, rel=1e-9)
    assert frechet_distance(generated, real) == pytest.approx(found, rel=1e-9)


def test_frechet_with_features_that_nothing_excites():
    real, generated = clouds()
    wider = [np.hstack([x, np.zeros((len(x), 3)), x[:, :1]]) for x in (real, generated)]
    a, b = (np.cov(x, rowvar=False) for x in wider)
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    shift = np.square(wider[0].mean(0) - wider[1].mean(0)).sum()
    assert frechet_distance(*wider) == pytest.approx(shift + np.trace(a + b) - 2 * overlap, rel=1e-6)
    assert frechet_distance(np.zeros((4, 3)), np.ones((5, 3))) == pytest.approx(3)


def test_frechet_of_one_feature_and_of_a_set_to_itself():
    real, generated = clouds(k=1)
    by_hand = (real.mean() - generated.mean()) ** 2 + (real.std(ddof=1) - generated.std(ddof=1)) ** 2
    assert frechet_distance(real, generated) == pytest.approx(by_hand)
    assert frechet_distance(real, real[::-1]) < 1e-9


# ------------------------------------------------------------------ precision, recall, density, coverage


@pytest.mark.parametrize("k", [2, 6, 40])
@pytest.mark.parametrize("n_neighbors", [1, 5])
def test_four_shares_are_those_of_prdc(k, n_neighbors, monkeypatch):
    monkeypatch.setattr(features_module, "_WORKING_MEMORY", 0.2)  # MiB: several blocks
    real, generated = clouds(k=k)
    theirs = compute_prdc(real, generated, nearest_k=n_neighbors)
    found = precision_recall_density_coverage(real, generated, n_neighbors)._asdict()
    assert found == pytest.approx(theirs, abs=1e-12)


def test_four_shares_by_brute_force():
    real, generated = clouds(60, 50, 3)
    radius, other = (np.sort(cdist(x, x), axis=1)[:, 4] for x in (real, generated))
    d = cdist(real, generated)
    inside = d < radius[:, None]
    found = precision_recall_density_coverage(real, generated, n_neighbors=4)
    assert found.precision == pytest.approx(inside.any(0).mean())
    assert found.recall == pytest.approx((d < other).any(1).mean())
    assert found.density == pytest.approx(inside.sum() / (4 * len(generated)))
    assert found.coverage == pytest.approx(inside.any(1).mean())


@pytest.mark.parametrize("k", [3, 40])
def test_identical_sets_disjoint_sets_and_order(k):
    real, generated = clouds(k=k)
    assert precision_recall_density_coverage(real, real[::-1]) == pytest.approx((1, 1, 1, 1))
    assert precision_recall_density_coverage(real, real + 1000) == (0, 0, 0, 0)
    moved = precision_recall_density_coverage(real + 1e6, generated + 1e6)
    assert moved == pytest.approx(precision_recall_density_coverage(real, generated), abs=0.01)
    shuffled = (np.random.default_rng(1).permutation(x) for x in (real, generated))
    assert precision_recall_density_coverage(*shuffled) == pytest.approx(
        precision_recall_density_coverage(real, generated)
    )


def test_the_same_law_scores_high_and_mode_collapse_shows_in_recall_and_coverage():
    rng = np.random.default_rng(0)
    real, fresh = rng.normal(size=(2, 1000, 4))
    good = precision_recall_density_coverage(real, fresh)
    assert min(good) > 0.85
    collapsed = precision_recall_density_coverage(real, real[0] + 0.02 * fresh)
    assert collapsed.precision == 1
    assert max(collapsed.recall, collapsed.coverage) < 0.1
    noisy = precision_recall_density_coverage(
        real, 5 * fresh
    )  # realistic images are rare, but all real ones are near some
    assert noisy.precision < 0.4 < noisy.recall


# ------------------------------------------------------------------ copies


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_nearest_is_that_of_brute_force_for_every_dtype_and_batch(dtype, monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(101, 5, 4, 3)).astype(dtype)
    training = rng.integers(0, 256, size=(203, 5, 4, 3)).astype(dtype)
    brute = cdist(images.reshape(101, -1).astype(float), training.reshape(203, -1).astype(float))
    for batch in (7, 4096):
        monkeypatch.setattr(copies_module, "_BATCH", batch)
        distances, indices = nearest(images, training)
        np.testing.assert_allclose(distances, brute.min(axis=1), rtol=1e-6)
        np.testing.assert_array_equal(indices, brute.argmin(axis=1))


@pytest.mark.parametrize("far", [1e6, 1e9])
def test_a_copy_far_from_the_origin_has_distance_zero(far):
    training = far + np.random.default_rng(0).normal(size=(300, 50))
    distances, indices = nearest(training[::-1], training)
    assert (distances == 0).all()
    np.testing.assert_array_equal(indices, np.arange(300)[::-1])


def test_nearest_does_not_hold_all_distances():
    images = np.random.default_rng(0).normal(size=(3000, 4))
    all_distances = 8 * len(images) ** 2
    tracemalloc.start()
    try:
        nearest(images, images[::-1])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        cdist(images, images[::-1])  # the control, which holds all
        assert peak < 0.1 * all_distances < all_distances <= tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_copies_are_near_0_new_draws_near_1_noise_above():
    rng = np.random.default_rng(0)
    training, test, fresh = rng.normal(size=(3, 1000, 4, 5))
    assert copying_ratio(training[:200], training, test) == 0
    assert copying_ratio(training + 0.01 * fresh, training, test) < 0.03
    assert copying_ratio(fresh, training, test) == pytest.approx(1, abs=0.03)
    assert copying_ratio(3 * fresh, training, test) > 2
    assert copying_ratio(fresh[::-1], training[::-1], test[::-1]) == pytest.approx(
        copying_ratio(fresh, training, test), rel=1e-6
    )


def test_copying_by_brute_force():
    """The i-th smallest of l distances, i = (l + 1) / 20, and the most frequent index of the other half."""
    rng = np.random.default_rng(0)
    sizes = {"a": (200, 99), "b": (150, 39), "few": (40, 11)}  # generated and test images
    training = rng.normal(size=(60, 3, 2))
    prompts, real_prompts = (np.repeat(list(sizes), counts) for counts in zip(*sizes.values(), strict=True))
    images, test = (rng.normal(size=(len(words), 3, 2)) for words in (prompts, real_prompts))
    groups = rng.choice(list("xyz"), len(prompts))
    d, of_test = (cdist(x.reshape(-1, 6), training.reshape(-1, 6)) for x in (images, test))
    distances, real = d.min(axis=1), of_test.min(axis=1)
    limits = {"a": np.sort(real[:99])[4], "b": np.sort(real[99:138])[1]}
    all_149 = np.sort(real)  # 150 / 20 = 7.5: half-way from the seventh to the eighth
    limits["few"] = all_149[6:8].mean()
    hits = 0
    for group in "xyz":
        own = d.argmin(axis=1)[groups == group].tolist()
        for one, other in ((own[::2], own[1::2]), (own[1::2], own[::2])):
            ((_, most),) = Counter(one).most_common(1)
            hits += other.count(min(k for k, count in Counter(one).items() if count == most))
    found = copying(prompts, images, real_prompts, test, training, groups=groups, test_groups=real_prompts)
    assert found.ratio == pytest.approx(copying_ratio(images, training, test), rel=1e-12)
    assert found.share == np.mean([x <= limits[word] for x, word in zip(distances, prompts, strict=True)])
    assert found.concentration == hits / len(prompts)
    by_prompt = copying(real_prompts, test, real_prompts, test, training)
    assert by_prompt.concentration == by_prompt.concentration_of_test == found.concentration_of_test


def test_new_draws_have_the_share_of_a_twentieth():
    """Within 4 standard errors over 400 prompts; with numpy's default quantile, the control, they have more."""
    rng = np.random.default_rng(0)
    scales = np.resize([1, 10, 100], 400)  # the distances of the prompts differ
    prompts, real_prompts = (np.repeat(np.arange(400), count) for count in (20, 59))
    images, test, training = (
        scales[words, None] * rng.normal(size=(len(words), 3)) for words in (prompts, real_prompts, np.arange(400))
    )
    d, of_test = nearest(images, training)[0], nearest(test, training)[0].reshape(400, 59)
    error = np.sqrt(0.05 * 0.95 * (1 / len(prompts) + 1 / len(real_prompts)))
    assert abs(copying(prompts, images, real_prompts, test, training).share - 0.05) < 4 * error
    assert np.mean(d <= np.quantile(of_test, 0.05, axis=1)[prompts]) - 0.05 > 4 * error


def test_copies_among_a_tenth_of_the_draws_show_in_the_share_and_not_in_the_ratio():
    rng = np.random.default_rng(0)
    training, test, honest = rng.normal(size=(3, 2000, 10))
    prompts = ["a"] * 2000
    error = np.sqrt(0.05 * 0.95 / 1000)
    partly = np.concatenate([training[:200], honest[200:]])
    fair, found = (copying(prompts, images, prompts, test, training) for images in (honest, partly))
    assert found.ratio == pytest.approx(fair.ratio, abs=0.04)  # the ratio has an error of some 0.01
    assert found.share == pytest.approx(0.1 + 0.9 * 0.05, abs=4 * error)
    assert fair.share == pytest.approx(0.05, abs=4 * error)


def test_copies_do_not_hide_behind_a_prompt_whose_images_are_alike():
    rng = np.random.default_rng(0)
    scale = np.repeat([0.1, 1], 500)[:, None]
    training, test, images = scale * rng.normal(size=(3, 1000, 10))
    images[500:] = training[500:] + 0.3 * rng.normal(size=(500, 10))  # farther than any image of the first prompt
    prompts = np.repeat(["alike", "varied"], 500)
    assert copying(prompts, images, prompts, test, training).share > 0.4
    one = ["any"] * 1000  # the control: one quantile for both
    assert copying(one, images, one, test, training).share < 0.08


def test_copies_count_where_some_test_images_are_training_images():
    training, test, fresh = np.random.default_rng(0).normal(size=(3, 500, 4))
    test[:50] = training[:50]  # the quantile is 0
    prompts = ["a"] * 500
    assert copying(prompts, training[::-1], prompts, test, training).share == 1
    assert copying(prompts, fresh, prompts, test, training).share == 0


def test_noise_hides_copies_in_pixels_and_not_in_features():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(400, 5)))[0].T
    training, test = rng.normal(size=(2, 500, 5)) @ basis
    noisy = training + 0.1 * rng.normal(size=training.shape)
    prompts = ["a"] * 500
    assert copying(prompts, noisy, prompts, test, training).share < 0.05
    projected = (images @ basis.T for images in (noisy, test, training))
    noisy, test, training = projected
    assert copying(prompts, noisy, prompts, test, training).share > 0.3


@pytest.mark.parametrize("m", [2, 7, 40])
def test_a_collapsed_style_shows_in_the_concentration_whatever_the_number_of_draws(m):
    """Draws near each of 50 images have 1/50, and not the largest share among few draws, the control."""
    rng = np.random.default_rng(0)
    training = 100 * np.eye(50)
    groups = np.repeat(np.arange(400), m)
    index = rng.integers(50, size=400 * m)
    images = training[index] + rng.normal(size=(400 * m, 50))
    test = training + rng.normal(size=(50, 50))

    def concentration(images):
        found = copying(
            ["a"] * len(images), images, ["a"] * 50, test, training, groups=groups, test_groups=np.arange(50)
        )
        assert found.concentration_of_test is None  # one image in each group
        return found.concentration

    hits = index[::2] == index[1::2] if m == 2 else None
    fair = concentration(images)
    if hits is not None:
        assert fair == hits.mean()
    # two draws of a group that agree count twice, and a half of few draws counts as one
    assert fair == pytest.approx(1 / 50, abs=4 * np.sqrt(2 / 50 / 400))
    largest = [Counter(own).most_common(1)[0][1] / m for own in index.reshape(400, m).tolist()]
    assert np.mean(largest) > 0.07
    assert concentration(training[groups % 50] + rng.normal(size=images.shape)) == 1
    half = np.where((np.arange(len(images)) // 2 % 2)[:, None] == 0, training[groups % 50], images)
    if m == 40:
        assert concentration(half) == pytest.approx(0.5 + 0.5 / 50, abs=0.02)


def test_the_style_of_an_image_has_the_nearest_mean(digits):
    prompts, images = digits
    ld = LinearDiffusion(30, n_styles=4).fit(prompts, images)
    found = nearest_style(ld, prompts[:100], images[:100])
    for prompt, image, name in zip(prompts, images[:100], found, strict=False):
        means = ld.styles_[prompt][1]
        assert name == f"{prompt}~{np.square(means - image).sum(axis=(1, 2)).argmin()}"
    named = [f"{digit}~{k}" for digit in "0123456789" for k in range(4)] * 10
    again = nearest_style(ld, [name[0] for name in named], ld.predict(named, seed=0))
    assert np.mean(np.array(again) == named) > 0.75
    assert nearest_style(LinearDiffusion(30).fit(prompts, images), prompts[:9], images[:9]) == list(prompts[:9])


def test_the_model_draws_no_copies(digits):
    prompts, images = digits
    ld = LinearDiffusion(30).fit(prompts[:1000], images[:1000])
    assert 0.8 < copying_ratio(ld.predict(prompts[:500], seed=0), images[:1000], images[1000:]) < 1.5


# ------------------------------------------------------------------ classifiers


def test_fidelity_with_models_classifiers_and_functions(digits):
    prompts, images = digits
    ld = LinearDiffusion(30).fit(prompts, images)
    assert prompt_fidelity(ld, prompts, images) == (ld.classify(images) == prompts).mean()
    flat = images.reshape(len(images), -1)
    learnt = LogisticRegression(max_iter=300).fit(flat[:900], np.asarray(prompts[:900]).astype(int))
    share = (learnt.predict(flat) == np.asarray(prompts).astype(int)).mean()
    assert prompt_fidelity(learnt, prompts, images) == share  # 7 is "7"
    assert prompt_fidelity(lambda x: [prompts[0]] * len(x), [prompts[0]] * 4, images[:4]) == 1
    assert prompt_fidelity(ld, np.roll(prompts, 1), images) < 0.3  # the control: other images' prompts


def test_the_classifier_does_not_depend_on_the_unit_of_the_pixels(digits):
    prompts, images = digits[0], digits[1].reshape(-1, 64).astype(float)
    one = fit_classifier(prompts[:900], images[:900])
    other = fit_classifier(prompts[:900], 500 + 30 * images[:900])
    assert (one.predict(images) == other.predict(500 + 30 * images)).mean() > 0.998
    fixed = (LogisticRegression(C=10, max_iter=5000).fit(x[:900], prompts[:900]) for x in (images, images / 500))
    assert (
        np.equal(*(model.predict(x) for model, x in zip(fixed, (images, images / 500), strict=True))).mean() < 0.99
    )
    assert one.n_iter_[0] < one.max_iter


def test_the_classifier_minimises_the_documented_loss(digits):
    """The same regression by hand on standardised pixels has the same probabilities."""
    prompts, images = digits[0][:300], digits[1][:300].reshape(300, 64).astype(float)
    centred = images - images.mean(axis=0)
    standardised = centred / np.sqrt(np.square(centred).sum(axis=1).mean())
    by_hand = LogisticRegression(C=10, max_iter=1000, tol=1e-6).fit(standardised, prompts)
    found = fit_classifier(prompts, images).predict_proba(images)
    np.testing.assert_allclose(found, by_hand.predict_proba(standardised), atol=0.01)
    assert abs(found - LogisticRegression(C=1).fit(standardised, prompts).predict_proba(standardised)).max() > 0.1


def test_images_that_do_not_vary_are_no_error():
    assert set(fit_classifier(list("aabb"), np.ones((4, 2, 2))).predict(np.ones((1, 4)))) <= {"a", "b"}


def test_training_on_synthetic_images(digits):
    prompts, images = digits
    some, rest = (prompts[:900], images[:900]), (prompts[900:], images[900:])
    real = train_on_synthetic(*some, *rest)
    assert real == prompt_fidelity(fit_classifier(*some), *rest)
    ld = LinearDiffusion(30).fit(*some)
    generated = train_on_synthetic(prompts[:900], ld.predict(prompts[:900], seed=0), *rest)
    assert real - 0.08 < generated
    wrong = train_on_synthetic(np.random.default_rng(0).permutation(prompts[:900]), images[:900], *rest)
    assert wrong < 0.3 < real
    by_hand = LogisticRegression(max_iter=300).fit(images[:900].reshape(900, -1), prompts[:900])
    score = by_hand.score(images[900:].reshape(len(rest[0]), -1), prompts[900:])
    unfitted = LogisticRegression(max_iter=300)
    assert train_on_synthetic(*some, *rest, unfitted) == pytest.approx(score)
    assert not hasattr(unfitted, "coef_")  # a copy was fitted
    by_bayes = (ld.classify(rest[1]) == rest[0]).mean()
    assert train_on_synthetic(*some, *rest, LinearDiffusion(30)) == by_bayes


# ------------------------------------------------------------------ bad input

GOOD = np.random.default_rng(0).normal(size=(20, 3))
BAD = np.where(np.arange(60).reshape(20, 3) == 7, np.nan, GOOD)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frechet_distance(GOOD[0], GOOD), "2D"),
        (lambda: frechet_distance(GOOD, GOOD[:, :2]), "Incompatible dimension"),
        (lambda: frechet_distance(GOOD, GOOD[:1]), "minimum of 2"),
        (lambda: frechet_distance(GOOD, BAD), "generated_features contains NaN"),
        (lambda: precision_recall_density_coverage(GOOD, GOOD[:5]), "minimum of 6"),
        (lambda: precision_recall_density_coverage(GOOD, GOOD, 0), "n_neighbors == 0"),
        (lambda: copying_ratio(GOOD, GOOD, GOOD), "training images"),
        (lambda: copying_ratio(GOOD[:, :2], GOOD, GOOD + 1), r"shape \(2,\)"),
        (lambda: copying(["a"] * 20, GOOD, ["a"] * 20, GOOD, GOOD), "half of the test images"),
        (lambda: copying(["a"] * 19, GOOD, ["a"] * 20, GOOD + 1, GOOD), "19 prompts"),
        (lambda: copying(["a"] * 20, GOOD[:, :2], ["a"] * 20, GOOD, GOOD), r"shape \(2,\)"),
        (lambda: copying(["a"] * 20, GOOD, ["a"] * 20, GOOD + 1, GOOD, groups=["b"] * 20), "together"),
        (lambda: copying(*[["a"] * 20, GOOD + 1] * 2, GOOD, groups=["b"], test_groups=["b"] * 20), "1 and 20"),
        (lambda: nearest(GOOD[:0], GOOD), "0 sample"),
        (lambda: nearest(GOOD.astype(complex), GOOD), "Complex"),
        (lambda: nearest(BAD, GOOD), "images contains NaN"),
        (lambda: fit_classifier(["a"] * 20, GOOD), "one class"),
        (lambda: fit_classifier(["a", "b"], GOOD), "2 prompts"),
        (lambda: fit_classifier(list("ab") * 10, GOOD).predict(GOOD[:, :2]), "features"),
        (lambda: train_on_synthetic(list("ab") * 10, GOOD, list("ab") * 10, GOOD[:, :2]), r"shape \(2,\)"),
        (lambda: prompt_fidelity(lambda x: ["a"], ["a"] * 20, GOOD), "answers"),
        (lambda: prompt_fidelity(lambda x: [["a"] * 2] * 20, ["a"] * 20, GOOD), "one list"),
        (lambda: prompt_fidelity(lambda x: [], [], GOOD[:0]), "no prompts"),
        (lambda: prompt_fidelity(fit_classifier(list("ab") * 10, GOOD), ["c"] * 20, GOOD), "'c'"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_something_that_is_no_classifier():
    with pytest.raises(TypeError, match="str"):
        prompt_fidelity("7", ["7"] * 20, GOOD)
