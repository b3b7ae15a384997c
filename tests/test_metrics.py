"""Metrics against brute force, prdc, POT and scipy; known cases; and input that must be refused."""

import tracemalloc

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
    copying_ratio,
    fit_classifier,
    frechet_distance,
    nearest,
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
