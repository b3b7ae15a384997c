"""Likelihood and classification: by scipy's Gaussians and scikit-learn's Bayes rule, and on real digits."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from lineardiffusion import LinearDiffusion
from lineardiffusion._cache import Cache


@pytest.fixture(scope="module")
def blobs():
    """Two prompts of unequal frequency, each two blobs, in 5 pixels; float64."""
    rng = np.random.default_rng(0)
    centre = {"a": [0, 12], "b": [6, 20]}
    prompts, images = [], []
    for prompt, n in (("a", 150), ("b", 90)):
        for c, share in zip(centre[prompt], (2, 1), strict=True):
            images.append(c + rng.normal(size=(n * share, 5)) @ rng.normal(size=(5, 5)))
            prompts += [prompt] * (n * share)
    return prompts, np.concatenate(images)


def by_hand(law, x):
    """Log-density of a law of latents in full rank: the latents' unit aside, scipy's mixture."""
    parts = getattr(law, "components", [law])
    weights = getattr(law, "weights", [1.0])
    terms = [
        np.log(w) + multivariate_normal(g.mean, g.covariance).logpdf(x) for w, g in zip(weights, parts, strict=True)
    ]
    return logsumexp(terms, axis=0)


@pytest.mark.parametrize("n_styles", [1, 2])
@pytest.mark.parametrize(
    "way", [{}, {"sampler": "heun", "num_steps": 7}, {"sampler": "ddpm", "guidance_scale": 1.5}]
)
def test_score_samples_is_the_law_in_pixels(blobs, n_styles, way):
    """The law's own density, its volume counted in pixels; with prompts and without; of any sampler.

    That of styles is the law of a model that would draw from their scored Gaussians.
    """
    prompts, images = blobs
    ld = LinearDiffusion(n_styles=n_styles).fit(prompts, images)
    z, volume = ld.encode(images), 5 * np.log(ld.scaling_factor_)
    model = replace(ld.fitted_, conditional=ld.fitted_.scored, cache=Cache(1e6))
    of = {p: by_hand(model.law(model.resolve([p], way)), z) - volume for p in "ab"}
    own = np.where(np.array(prompts) == "a", of["a"], of["b"])
    np.testing.assert_allclose(ld.score_samples(images, prompts, **way), own, rtol=1e-6)
    mixed = np.logaddexp(np.log(450 / 720) + of["a"], np.log(270 / 720) + of["b"])
    np.testing.assert_allclose(ld.score_samples(images, **way), mixed, rtol=1e-6)
    proba = softmax([np.log(450 / 720) + of["a"], np.log(270 / 720) + of["b"]], axis=0).T
    np.testing.assert_allclose(ld.classify_proba(images, **way), proba, atol=1e-6)
    other = ld.score_samples(images, prompts, sampler="heun", num_steps=2)
    assert np.abs(other - own).max() > 0.05  # control: another sampler has another density
    drawn = by_hand(ld.law("a", **way), z) - volume
    assert (np.abs(drawn - of["a"]).max() > 0.05) == (n_styles == 2)  # control: the law that styles are drawn from


def test_density_integrates_to_one_in_pixels():
    """Two pixels, one component: the discarded direction, too. By quadrature on a grid."""
    rng = np.random.default_rng(1)
    images = rng.normal(size=(60, 2)) @ np.array([[30.0, 10.0], [0.0, 9.0]]) + 100
    prompts = ["a", "b", "b"] * 20
    for parameters in ({}, {"scale": True}, {"n_styles": 2}):
        ld = LinearDiffusion(1, **parameters).fit(prompts, images)
        axis = np.linspace(-60, 260, 321)
        grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        density = np.exp(ld.score_samples(grid)).sum() * (axis[1] - axis[0]) ** 2
        assert density == pytest.approx(1.0, abs=1e-3)


def test_missing_pixels_are_integrated_out():
    """The marginal by quadrature over the missing pixel, whole mixture and discarded direction included."""
    rng = np.random.default_rng(1)
    images = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 3)) * 20 + 100
    ld = LinearDiffusion(2, n_styles=2).fit(["a", "b"] * 30, images)
    axis = np.linspace(-400, 600, 20_001)
    whole = np.tile(images[0], (len(axis), 1))
    whole[:, 1] = axis
    holed = images[:1].copy()
    holed[0, 1] = np.nan
    for prompts in (None, ["b"]):
        density = np.exp(ld.score_samples(whole, None if prompts is None else prompts * len(axis)))
        integral = np.log(density.sum() * (axis[1] - axis[0]))
        assert ld.score_samples(holed, prompts)[0] == pytest.approx(integral, abs=1e-6)
    joint = [ld.score_samples(holed, [p])[0] + np.log(0.5) for p in "ab"]
    np.testing.assert_allclose(ld.classify_proba(holed)[0], softmax(joint), atol=1e-9)
    assert ld.score_samples(holed)[0] != pytest.approx(ld.score_samples(images[:1])[0], abs=0.1)


def test_images_with_holes_of_their_own_among_whole_ones(digits):
    prompts, images = digits
    ld = LinearDiffusion(20).fit(prompts, images)
    some = images[:30].astype(float)
    some[np.random.default_rng(0).random(some.shape) < 0.3] = np.nan
    some[::3] = images[:30:3]
    some[4] = np.nan  # nothing is left of it
    alone = np.concatenate([ld.score_samples(some[i : i + 1]) for i in range(30)])
    np.testing.assert_allclose(ld.score_samples(some), alone, rtol=1e-10)
    assert alone[4] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(ld.classify_proba(some)[4], ld.prompt_prior_)
    assert np.isfinite(ld.bits_per_dim(some)).all()


def test_bits_are_those_of_rounded_pixels():
    """-log2 of the probability of an image's own cell, of one grey level a side, by scipy's cdf."""
    rng = np.random.default_rng(0)
    images = np.clip(np.rint(rng.normal(size=(500, 2)) * [40, 25] + 128), 0, 255).astype(np.uint8)
    images[0], images[1] = 0, 255
    ld = LinearDiffusion().fit(["a"] * 500, images)
    law = multivariate_normal(images.mean(axis=0), np.cov(images.T, bias=True))
    x = images[2:7].astype(float)
    cell = law.cdf(x + 0.5, lower_limit=x - 0.5)
    np.testing.assert_allclose(ld.bits_per_dim(images[2:7]), -np.log2(cell) / 2, rtol=1e-4)
    halved = LinearDiffusion().fit(["a"] * 500, images / 510 - 0.1)  # in any unit
    np.testing.assert_allclose(halved.bits_per_dim(x / 510 - 0.1), ld.bits_per_dim(x), rtol=1e-9)


def test_classify_is_quadratic_discriminant_analysis(blobs):
    """With maximum-likelihood covariances; scikit-learn's analysis divides them by n - 1."""
    prompts, images = blobs
    ld = LinearDiffusion(shrinkage=0).fit(prompts, images)
    members = [images[np.array(prompts) == p] for p in ld.prompts_]
    laws = [multivariate_normal(x.mean(axis=0), np.cov(x.T, bias=True)) for x in members]
    joint = np.stack([law.logpdf(images) for law in laws], axis=1) + np.log([len(x) for x in members])
    expected = softmax(joint, axis=1)
    np.testing.assert_allclose(ld.classify_proba(images), expected, atol=1e-5)
    qda = QuadraticDiscriminantAnalysis().fit(images, prompts)
    np.testing.assert_allclose(ld.classify_proba(images), qda.predict_proba(images), atol=0.02)
    assert (ld.classify(images) == qda.predict(images)).mean() > 0.99


@pytest.mark.parametrize("n_styles", [1, 3])
def test_labels_of_single_precision_are_those_of_double(digits, n_styles, monkeypatch):
    """Against the largest probabilities; without the bound of rounding some labels of near images differ."""
    prompts, images = digits
    ld = LinearDiffusion(60, n_styles=n_styles).fit(prompts[:900], images[:900])
    pair = np.flatnonzero(np.isin(prompts, ["3", "8"]))[:200]
    x = images[pair].astype(float)
    low, high = np.zeros(len(x)), np.ones(len(x))
    for _ in range(45):  # the points between two digits at which the label changes, to the last digits
        middle = (low + high)[:, None, None] / 2
        other = ld.classify_proba((1 - middle) * x + middle * x[::-1]).argmax(axis=1)
        same = other == ld.classify_proba(x).argmax(axis=1)
        low, high = np.where(same, (low + high) / 2, low), np.where(same, high, (low + high) / 2)
    near = np.concatenate([(1 - t) * x + t * x[::-1] for t in (low[:, None, None], high[:, None, None])])
    truth = ld.prompts_[ld.classify_proba(near).argmax(axis=1)]
    np.testing.assert_array_equal(ld.classify(near), truth)
    monkeypatch.setattr("lineardiffusion.inverse.posterior.EPSILON", 0.0)
    assert (LinearDiffusion(60, n_styles=n_styles).fit(prompts[:900], images[:900]).classify(near) != truth).any()


@pytest.mark.parametrize(("offset", "unit"), [(1e6, 1e-3), (1e6, 1.0), (-1e12, 1.0), (0.0, 1e-50), (0.0, 1e50)])
def test_labels_of_images_beyond_single_precision(blobs, offset, unit):
    """In float32 images of this offset are all equal, and images of these units 0 or infinite."""
    prompts, images = blobs
    moved = images * unit + offset
    ld = LinearDiffusion(shrinkage=0).fit(prompts, moved)
    qda = LinearDiffusion(shrinkage=0).fit(prompts, (moved - moved.mean(axis=0)) / unit)
    np.testing.assert_array_equal(ld.classify(moved), qda.classify((moved - moved.mean(axis=0)) / unit))
    proba = qda.classify_proba((moved - moved.mean(axis=0)) / unit)
    np.testing.assert_allclose(ld.classify_proba(moved), proba, atol=1e-3)
    assert (ld.classify(moved) == prompts).mean() > 0.8


def test_singular_laws_have_a_low_and_finite_density(digits):
    """One image in a class; a sampler that ends on a plane: near it the density is high, beside it low."""
    prompts, images = digits
    few = [*prompts[:300], "alone"]
    ld = LinearDiffusion(30, sampler="ddim", num_steps=1).fit(few, images[:301])
    score = ld.score_samples(images[298:301], ["alone"] * 3)
    assert np.isfinite(score).all()
    assert score[2] > score[:2].max() + 100
    assert np.isfinite(ld.score_samples(images[:300])).all()
    assert ld.classify(images[300:301])[0] == "alone"


def test_embeddings_are_scored_by_their_own_laws(digits):
    prompts, images = digits
    one_hot = (np.array(prompts)[:, None] == np.unique(prompts)).astype(float)
    by_numbers = LinearDiffusion(12, sampler="heun").fit(one_hot, images)
    by_names = LinearDiffusion(12, sampler="heun", shrinkage=0).fit(prompts, images)
    found = by_numbers.score_samples(images[:50], one_hot[:50])
    np.testing.assert_allclose(found, by_names.score_samples(images[:50], prompts[:50]), rtol=1e-6)
    with pytest.raises(ValueError, match="frequency"):
        by_numbers.classify(images[:2])


def test_prompts_of_words_are_classified(digits):
    """Bayes' rule over the known prompts whose laws a regression gives."""
    prompts, images = digits
    named = [f"digit {p}" for p in prompts]
    ld = LinearDiffusion(12, text_encoder="words", sampler="heun", num_steps=30).fit(named, images)
    assert (ld.classify(images[:200]) == named[:200]).mean() > 0.93


def test_held_out_likelihood_chooses_styles_and_components(digits):
    prompts, images = digits
    folds = list(StratifiedKFold(2, shuffle=True, random_state=0).split(prompts, prompts))
    search = GridSearchCV(LinearDiffusion(), {"n_components": [5, 20], "n_styles": [1, 3]}, cv=folds)
    search.fit(np.array(prompts), images)
    scores = dict(zip(map(str, search.cv_results_["params"]), search.cv_results_["mean_test_score"], strict=True))
    assert search.best_params_["n_components"] == 20
    assert len({round(score, 3) for score in scores.values()}) == 4


@pytest.mark.mnist
def test_styles_read_more_of_mnist(mnist):
    """After 8,000 images one Gaussian a digit reads 94 % of new ones, eight styles 95 % (all: benchmarks/)."""
    prompts, images = mnist
    new, truth = images[60_000:62_000], prompts[60_000:62_000]
    models = [LinearDiffusion(30, n_styles=k).fit(prompts[:8_000], images[:8_000]) for k in (1, 8)]
    plain, styled = (float((ld.classify(new) == truth).mean()) for ld in models)
    assert plain > 0.93
    assert styled > plain + 0.005


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x: m.score_samples(x, ["a"]), ValueError, "1 prompts"),
        (lambda m, x: m.score_samples(x, ["a", "b", "c"]), ValueError, "'c'"),
        (lambda m, x: m.score_samples(x, steps=3), TypeError, "steps"),
        (lambda m, x: m.score_samples(x, eta=0.5), TypeError, "eta"),
        (lambda m, x: m.score_samples(x, sampler="fast"), ValueError, "fast"),
        (lambda m, x: m.score_samples(x[:0]), ValueError, r"\(n, 5\)"),
        (lambda m, x: m.score_samples(7.0), ValueError, "no images"),
        (lambda m, x: m.classify(x[:, :4]), ValueError, r"\(4,\)"),
        (lambda m, x: m.classify(x * np.inf), ValueError, "finite"),
        (lambda m, x: LinearDiffusion().classify(x), ValueError, "fitted"),
    ],
)
def test_bad_input(blobs, call, error, message):
    prompts, images = blobs
    ld = LinearDiffusion().fit(prompts, images)
    with pytest.raises(error, match=message):
        call(ld, images[:3])


def test_an_image_without_a_pixel_prints_nothing(digits, capfd):
    """LAPACK would complain of matrices of order 0, on the terminal."""
    ld = LinearDiffusion(10).fit(*digits)
    empty = np.full((3, 8, 8), np.nan)
    np.testing.assert_allclose(ld.classify_proba(empty), np.tile(ld.prompt_prior_, (3, 1)), rtol=1e-9)
    assert ld.inpaint(empty, seed=0).shape == (3, 8, 8)
    assert capfd.readouterr().err == ""
