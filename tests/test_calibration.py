"""Calibration: temperature and error against scipy, scikit-learn and a loop; what keeps it, what resets it."""

import copy
import json
import pickle

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax
from sklearn.base import clone
from sklearn.metrics import mean_squared_error
from sklearn.preprocessing import LabelBinarizer

from lineardiffusion import LinearDiffusion, operators
from lineardiffusion.metrics import calibration_error

LOWER = np.broadcast_to(np.arange(8)[:, None] >= 4, (8, 8))


@pytest.fixture(scope="module")
def split(digits):
    """Prompts and images in random order: 900 to fit, 400 to calibrate, the rest to test."""
    prompts, images = digits
    order = np.random.default_rng(0).permutation(len(images))
    return [([prompts[i] for i in part], images[part]) for part in (order[:900], order[900:1300], order[1300:])]


@pytest.fixture(scope="module")
def raw(split):
    return LinearDiffusion(20).fit(*split[0])


@pytest.fixture(scope="module")
def ready(raw, split):
    return copy.copy(raw).calibrate(*split[1], LOWER)


def likelihoods(ld, images):
    """log p(x | u), (n, p), prompt by prompt."""
    return np.stack([ld.score_samples(images, [p] * len(images)) for p in ld.prompts_], axis=1)


def hidden(images):
    return np.where(LOWER, np.nan, images.astype(float))


def confidence(ld, images):
    return float(ld.classify_proba(images).max(axis=1).mean())


@pytest.mark.parametrize("n_styles", [1, 2])
def test_temperature_has_the_least_brier_score(split, n_styles):
    """scikit-learn's score, minimised by scipy over prompts' likelihoods that sum over styles."""
    prompts, images = split[1][0], hidden(split[1][1])
    ld = LinearDiffusion(20, n_styles=n_styles).fit(*split[0])
    likelihood, prior, right = (
        likelihoods(ld, images),
        np.log(ld.prompt_prior_),
        LabelBinarizer().fit_transform(prompts),
    )

    def score(t):
        p = softmax(prior + likelihood / np.exp(t), axis=1)
        return mean_squared_error(right, p)

    by_hand = np.exp(minimize_scalar(score, bounds=(-3, 6), method="bounded", options={"xatol": 1e-9}).x)
    assert ld.calibrate(prompts, images).temperature_ == pytest.approx(by_hand, rel=1e-4)
    assert score(np.log(by_hand)) < score(0.0) - 0.0005  # control: the score depends on it
    by_mask = copy.copy(ld).calibrate(split[1][0], split[1][1], LOWER)
    assert by_mask.temperature_ == pytest.approx(ld.temperature_, rel=1e-6)
    proba = softmax(prior + likelihood / by_hand, axis=1)
    np.testing.assert_allclose(ld.classify_proba(images), proba, atol=1e-4)


def test_error_of_half_hidden_digits_falls_and_accuracy_stays(raw, ready, split):
    prompts, images = split[2][0], hidden(split[2][1])
    before, after = (calibration_error(prompts, ld.classify_proba(images), ld.prompts_) for ld in (raw, ready))
    assert before > 0.07
    assert after < 0.045  # of 497 images; a calibrated classifier would have 0.03
    accuracy = [(ld.classify(images) == prompts).mean() for ld in (raw, ready)]
    assert accuracy[0] == pytest.approx(accuracy[1], abs=0.006)


@pytest.mark.mnist
def test_error_of_half_hidden_mnist_is_three_percent_at_most(mnist):
    prompts, images = mnist
    lower = np.arange(28)[:, None] >= np.full(28, 14)
    ld = LinearDiffusion(64).fit(prompts[:10_000], images[:10_000])
    asked, truth = np.where(lower, np.nan, images[60_000::4]), prompts[60_000::4]
    raw = calibration_error(truth, ld.classify_proba(asked), ld.prompts_)
    ld.calibrate(prompts[10_000:12_000], images[10_000:12_000], lower)
    assert calibration_error(truth, ld.classify_proba(asked), ld.prompts_) < 0.03 < 0.09 < raw


def test_draws_choose_prompts_by_the_calibrated_probability(ready, raw, split):
    """2,000 draws of one image: prompts by the tempered posterior, styles within one by the untempered one."""
    images = hidden(split[2][1])
    few = images[np.argsort(np.abs(raw.classify_proba(images).max(axis=1) - 0.9))[:1]]
    proba = ready.classify_proba(few)[0]
    _, read = ready.inpaint(few, seed=0, n_samples=2000, return_prompts=True)
    found = np.array([(read == prompt).mean() for prompt in ready.prompts_])
    np.testing.assert_array_less(np.abs(found - proba), 5 * np.sqrt(proba * (1 - proba) / 2000) + 1e-3)
    assert np.abs(found - raw.classify_proba(few)[0]).max() > 0.1  # control: the untempered one
    mask = operators.masking(LOWER)
    _, again = ready.restore(
        few.reshape(1, -1)[:, ~LOWER.ravel()], mask, 0.0, seed=0, n_samples=2000, return_prompts=True
    )
    assert (again == read).mean() > 0.99
    parts = [ready.inpaint(few, prompts=[p], n_samples=0)[0] for p in ready.prompts_]
    np.testing.assert_allclose(ready.inpaint(few, n_samples=0)[0], np.tensordot(proba, parts, 1), atol=1e-3)


def test_styles_within_a_prompt_are_not_tempered(split):
    ld = LinearDiffusion(15, n_styles=2).fit(*split[0]).calibrate(*split[1], LOWER)
    assert ld.temperature_ > 1.5
    one = hidden(split[2][1][:1])
    proba, mean = ld.classify_proba(one)[0], ld.inpaint(one, n_samples=0)[0]
    parts = []
    for prompt in ld.prompts_:
        joint = [np.log(ld.styles_[prompt][0][k]) + ld.score_samples(one, [f"{prompt}~{k}"])[0] for k in range(2)]
        styles = [ld.inpaint(one, prompts=[f"{prompt}~{k}"], n_samples=0)[0] for k in range(2)]
        parts.append(np.tensordot(np.exp(joint - logsumexp(joint)), styles, 1))
    np.testing.assert_allclose(mean, np.tensordot(proba, parts, 1), atol=1e-3)


def test_scores_and_given_prompts_have_no_temperature(raw, ready, split):
    prompts, images = split[2][0][:5], split[2][1][:5]
    np.testing.assert_array_equal(ready.score_samples(images), raw.score_samples(images))
    drawn = [ld.inpaint(images, LOWER, prompts, seed=0) for ld in (raw, ready)]
    np.testing.assert_array_equal(*drawn)


def test_what_keeps_the_temperature(ready, tmp_path):
    T = ready.temperature_
    assert T > 1.5
    ready.save_pretrained(tmp_path)
    loaded = LinearDiffusion.from_pretrained(tmp_path)
    kept = [loaded, copy.copy(ready), copy.deepcopy(ready), pickle.loads(pickle.dumps(ready))]
    kept.append(copy.copy(ready).refit(sampler="ddim", num_steps=20))
    assert [ld.temperature_ for ld in kept] == [T] * 5
    assert json.loads((tmp_path / "config.json").read_text())["temperature"] == T


def test_what_resets_the_temperature(ready, raw, split):
    prompts, images = split[0][0][:300], split[0][1][:300]
    changes = [
        lambda ld: ld.fit(prompts, images),
        lambda ld: ld.partial_fit(prompts, images),
        lambda ld: ld.merge(raw),
        lambda ld: ld.refit(n_components=10),
    ]
    for change in changes:
        assert change(copy.copy(ready)).temperature_ == 1.0
    assert not hasattr(clone(ready), "_learned")
    assert raw.temperature_ == 1.0
    np.testing.assert_array_equal(copy.copy(ready).refit(n_components=20).temperature_, ready.temperature_)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, p, x: m.calibrate(p[:3], x[:4]), "3 prompts"),
        (lambda m, p, x: m.calibrate(["3", "cat"], x[:2]), "cat"),
        (lambda m, p, x: m.calibrate(np.eye(10)[:2], x[:2]), "string"),
        (lambda m, p, x: m.calibrate(p[:9], x[:9]), "temperature"),  # all are read right
        (lambda m, p, x: m.calibrate(p[1:], x[:-1]), "order"),
        (lambda m, p, x: m.calibrate(p, x, LOWER[:4]), "mask"),
        (lambda m, p, x: LinearDiffusion().calibrate(p, x), "fitted"),
        (lambda m, p, x: LinearDiffusion(5).fit(["a"] * 50, x[:50]).calibrate(["a"] * 9, x[:9]), "one prompt"),
        (
            lambda m, p, x: LinearDiffusion(5).fit(np.eye(3)[np.arange(50) % 3], x[:50]).calibrate(p[:9], x[:9]),
            "frequency",
        ),
    ],
)
def test_refused_calibrations_leave_the_temperature(ready, split, call, message):
    before = ready.temperature_
    with pytest.raises(ValueError, match=message):
        call(ready, *split[1])
    assert ready.temperature_ == before


def test_error_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    p = softmax(3 * rng.normal(size=(500, 4)), axis=1)
    known = np.array(["a", "b", "c", "d"])
    prompts = known[[rng.choice(4, p=row) for row in p]]
    confidence, right = p.max(axis=1), known[p.argmax(axis=1)] == prompts
    by_hand = 0.0
    for low in range(15):
        own = (confidence >= low / 15) & (confidence < (low + 1) / 15)
        if own.any():
            by_hand += own.mean() * abs(right[own].mean() - confidence[own].mean())
    assert calibration_error(prompts, p, known) == pytest.approx(by_hand, rel=1e-9)
    assert by_hand < 0.06  # prompts were drawn by p
    assert calibration_error(rng.choice(known, size=500), p, known) > 0.3  # control
    assert calibration_error(["a", "b"], np.eye(2), ["a", "b"]) == 0.0
    assert calibration_error([7, 8], np.eye(2)[::-1], ["7", "8"], n_bins=1) == 1.0


@pytest.mark.parametrize(
    ("prompts", "p", "message"),
    [
        (["a"], [[0.5, 0.5], [1.0, 0.0]], "shape"),
        (["a", "c"], [[0.5, 0.5], [1.0, 0.0]], "'c'"),
        (["a", "b"], [[0.5, 0.6], [1.0, 0.0]], "sum"),
        (["a", "b"], [[0.5, 0.5], [np.nan, 0.0]], "NaN"),
    ],
)
def test_error_of_bad_input(prompts, p, message):
    with pytest.raises(ValueError, match=message):
        calibration_error(prompts, p, ["a", "b"])
