"""Models of known Gaussians and of given statistics: their laws, draws, scores, and what they refuse."""

import numpy as np
import pytest
import scipy.stats

from lineardiffusion import Gaussian, ImageEncoder, LinearDiffusion, Statistics
from lineardiffusion.distributions.gaussian import DiagonalGaussian


def covariance(d, seed, rank=None):
    root = np.random.default_rng(seed).normal(size=(rank or d + 2, d))
    return root.T @ root


def pixel_law(ld, prompt="", **how):
    residual = how.pop("residual", False)
    return ld.fitted_.pixel_law(ld.law(prompt, **how), residual)


MEAN = np.array([1.0, -2.0, 0.0, 50.0, 0.5, 3.0])


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize(
    "C", [covariance(6, 0), covariance(6, 1, rank=2), np.array([4.0, 0.0, 1e-3, 9.0, 0.0, 2.0]), np.zeros(6)]
)
def test_the_law_is_the_gaussian(C, scale):
    ld = LinearDiffusion.from_gaussian(MEAN, C, scale=scale)
    law, truth = pixel_law(ld), C if C.ndim == 2 else np.diag(C)
    np.testing.assert_allclose(law.mean, MEAN, rtol=1e-12)
    np.testing.assert_allclose(law.covariance, truth, atol=1e-13 * (1 + truth.max()))
    assert ld.law("").rank == np.linalg.matrix_rank(truth)
    sampled = pixel_law(ld, sampler="ddim", num_steps=10)  # control
    assert truth.any() == (abs(sampled.covariance - truth).max() > 1e-3 * truth.max())


def test_several_prompts_in_any_order():
    means = np.stack([MEAN, -MEAN, 0 * MEAN])
    covariances = np.stack([covariance(6, seed, rank) for seed, rank in enumerate([None, 1, 3])])
    ld = LinearDiffusion.from_gaussian(means, covariances, prompt=["c", "a", "b"], weight=[3.0, 1.0, 1.0])
    assert ld.prompts_.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(ld.prompt_prior_, [0.2, 0.2, 0.6])
    assert set(ld.shrinkage_.values()) == {0.0}
    for prompt, m, C in zip("cab", means, covariances, strict=True):
        law = pixel_law(ld, prompt)
        np.testing.assert_allclose(law.mean, m, atol=1e-12)
        np.testing.assert_allclose(law.covariance, C, atol=1e-12)
    spectra = [np.arange(6.0), np.ones(6), np.zeros(6)]  # as diagonals
    flat = LinearDiffusion.from_gaussian(means, spectra, prompt=[7, 8, 9])
    np.testing.assert_allclose(pixel_law(flat, "7").covariance, np.diag(spectra[0]), atol=1e-12)
    np.testing.assert_allclose(pixel_law(flat, "9").covariance, np.zeros((6, 6)), atol=1e-12)
    automatic = flat.refit(shrinkage="auto")  # a Gaussian is not estimated, so nothing is shrunk
    assert max(automatic.shrinkage_.values()) < 1e-15


@pytest.mark.parametrize("C", [covariance(6, 3), np.array([4.0, 0.0, 1e-3, 9.0, 0.0, 2.0])])
def test_what_a_model_can_do(C, tmp_path):
    """Draws, scores, posteriors, samplers of all kinds, contrast and files, diagonal or not."""
    shape = (2, 3)
    ld = LinearDiffusion.from_gaussian(MEAN.reshape(shape), C, contrast="pixelwise", pixel_range=(-60.0, 60.0))
    plain = LinearDiffusion.from_gaussian(MEAN.reshape(shape), C)
    images = plain.predict([""] * 4000, seed=0)
    assert images.shape == (4000, *shape)
    assert images.dtype == np.float64
    truth = C if C.ndim == 2 else np.diag(C)
    rows = images.reshape(4000, 6) - MEAN
    size = np.sqrt(np.outer(np.diag(truth), np.diag(truth)) + truth**2) / np.sqrt(4000)
    assert (abs(rows.T @ rows / 4000 - truth) <= 4.5 * size + 1e-12).all()
    # guidance needs full maps, and so do inverses; of one prompt guidance changes nothing
    few = images[:3]
    for how in ({"sampler": "heun", "num_steps": 4}, {"sampler": "ddpm", "num_steps": 4}):
        a = plain.law("", **how, guidance_scale=2.0)
        np.testing.assert_allclose(a.covariance, plain.law("", **how).covariance, atol=1e-9)
    np.testing.assert_allclose(plain.predict([""] * 3, latents=plain.invert([""] * 3, few)), few, atol=1e-8)
    seen = plain.inpaint(few, np.eye(2, 3, dtype=bool), n_samples=0).reshape(3, 6)
    missing, known = [0, 4], [1, 2, 3, 5]
    posterior = [Gaussian(MEAN, truth).condition(x[known], known) for x in few.reshape(3, 6)]
    np.testing.assert_allclose(seen[:, missing], [one.mean[missing] for one in posterior], atol=2e-2)
    assert np.isfinite(ld.predict([""], seed=1)).all()
    plain.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    np.testing.assert_array_equal(again.predict([""], seed=2), plain.predict([""], seed=2))


def test_scores_are_the_density():
    C = covariance(6, 4)
    ld = LinearDiffusion.from_gaussian(MEAN, C, prompt="x")
    x = Gaussian(MEAN, C).draw(5, seed=0)
    np.testing.assert_allclose(ld.score_samples(x), Gaussian(MEAN, C).log_prob(x), rtol=1e-9)
    diagonal = LinearDiffusion.from_gaussian(MEAN, np.arange(1.0, 7.0))
    law = Gaussian.diagonal(MEAN, np.arange(1.0, 7.0))
    np.testing.assert_allclose(diagonal.score_samples(x), law.log_prob(x), rtol=1e-9)
    turn = np.linalg.qr(C)[0]  # small variances are those of the Gaussian too
    for C in (np.diag([1.0, 1e-8, 1e-3, 1.0, 1.0, 5.0]), (turn * np.array([1, 1e-8, 1e-3, 1, 1, 5])) @ turn.T):
        thin, x = scipy.stats.multivariate_normal(MEAN, C), Gaussian(MEAN, C).draw(3, seed=1)
        for pixel_range in (None, (-100.0, 100.0)):
            ld = LinearDiffusion.from_gaussian(MEAN, C, pixel_range=pixel_range)
            np.testing.assert_allclose(ld.score_samples(x), thin.logpdf(x), rtol=1e-5)
    x = law.draw(5, seed=0)
    both = LinearDiffusion.from_gaussian([MEAN, MEAN], [C, np.eye(6)], prompt=["thin", "wide"])
    estimated = both.partial_fit(["wide"] * 2, np.stack([MEAN, MEAN + 1])).score_samples([MEAN], ["thin"])
    assert estimated < thin.logpdf(MEAN) - 2  # control: images were rounded, so variances have a floor
    # a singular one has the variance of rounding to 256 grey levels in every direction
    flat = LinearDiffusion.from_gaussian(MEAN, np.arange(6.0), pixel_range=(0.0, 25.5))
    law = Gaussian.diagonal(MEAN, np.arange(6.0)).regular(0.1**2 / 12)
    np.testing.assert_allclose(flat.score_samples(x), law.log_prob(x), rtol=1e-9)


def test_images_are_added_to_a_gaussian():
    """It counts as `weight` images of its moments: fit on images that have them is the same model."""
    C, rng = covariance(6, 5), np.random.default_rng(6)
    whole = rng.normal(size=(40, 6))
    whole = (whole - whole.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(whole.T, ddof=0))).T
    old, new = MEAN + whole @ np.linalg.cholesky(C).T, rng.normal(size=(10, 6))
    ld = LinearDiffusion.from_gaussian(MEAN, C, weight=40.0).partial_fit([""] * 10, new)
    fitted = LinearDiffusion(6, shrinkage=0.0).fit([""] * 50, np.concatenate([old, new]))
    for part in ("mean", "covariance"):
        np.testing.assert_allclose(getattr(pixel_law(ld), part), getattr(pixel_law(fitted), part), atol=1e-9)
    light = LinearDiffusion.from_gaussian(MEAN, C).partial_fit([""] * 10, new)  # control
    assert abs(pixel_law(light).mean - pixel_law(fitted).mean).max() > 0.1


def test_diagonal_models_stay_diagonal(monkeypatch):
    """Nothing is decomposed, and no law has a matrix; the dense model of the same Gaussian is the second road."""
    rng = np.random.default_rng(7)
    mean, variance = rng.normal(size=20), np.r_[np.zeros(3), rng.uniform(size=17) ** 4]
    dense = LinearDiffusion.from_gaussian(mean, np.diag(variance) + 1e-300, schedule="vp")
    for name in ("eigh", "svd", "cholesky"):
        monkeypatch.setattr(np.linalg, name, None)
    ld = LinearDiffusion.from_gaussian(mean, variance, schedule="vp")
    monkeypatch.undo()
    assert ld.n_components_ == 17
    assert ld.fitted_.conditional.basis is None
    starts = ("marginal", "noise", Gaussian.diagonal(rng.normal(size=17), rng.uniform(size=17)))
    for start, sampler in [(start, one) for start in starts for one in ("exact", "euler", "ddpm")]:
        way = {"sampler": sampler, "num_steps": 3, "stop": 0.1}
        law = ld.law("", start=start, space="pixels", **way)
        assert isinstance(law, DiagonalGaussian)
        assert "covariance" not in vars(law)
        if not isinstance(start, str):  # the same start in the other model's coordinates
            place = ld.components_ @ dense.components_.T
            start = start.transform(place.T)
        truth = dense.law("", start=start, space="pixels", **way)
        np.testing.assert_allclose(law.mean, truth.mean, atol=1e-12)
        np.testing.assert_allclose(law.covariance, truth.covariance, atol=1e-12)
    found = ld.law("", start="marginal", space="pixels")
    np.testing.assert_allclose(found.variance, variance, atol=1e-14)
    np.testing.assert_allclose(found.mean, mean, atol=1e-14)


def test_fewer_components_are_the_leading_ones():
    variance = np.array([1.0, 5.0, 0.0, 3.0])
    for C in (variance, np.diag(variance) + 1e-300):  # diagonal and not
        ld = LinearDiffusion.from_gaussian(np.ones(4), C, n_components=2)
        np.testing.assert_allclose(np.diag(pixel_law(ld).covariance), [0, 5, 0, 3], atol=1e-12)
        np.testing.assert_allclose(np.diag(pixel_law(ld, residual=True).covariance), [0.5, 5, 0.5, 3], atol=1e-12)
        share = LinearDiffusion.from_gaussian(np.ones(4), C, n_components=0.5)
        assert share.n_components_ == 1


def test_bad_input():
    make = LinearDiffusion.from_gaussian
    bad = [
        (lambda: make(0.0, 1.0), ValueError, "shape of an image"),
        (lambda: make(np.zeros(3), np.eye(2)), ValueError, r"\(3, 3\).*got \(2, 2\)"),
        (lambda: make(np.zeros(2), [[1.0, 2.0], [2.0, 1.0]]), ValueError, "0 or more"),
        (lambda: make(np.zeros(2), [[1.0, 0.5], [0.0, 1.0]]), ValueError, "symmetric"),
        (lambda: make(np.zeros(2), [1.0, -1.0]), ValueError, "0 or more"),
        (lambda: make(np.zeros(2), [1.0, np.nan]), ValueError, "finite"),
        (lambda: make([0.0, np.inf], np.ones(2)), ValueError, "mean must be finite"),
        (lambda: make(np.zeros(2), np.ones(2), weight=0.0), ValueError, "above 0"),
        (lambda: make(np.zeros(2), np.ones(2), pixel_range=(1.0, 0.0)), ValueError, "smaller"),
        (lambda: make([np.zeros(2)], [np.ones(2)], prompt=["a", "b"]), ValueError, "need 2 means.*got 1 and 1"),
        (lambda: make(5.0, np.eye(2), prompt=["a", "b"]), ValueError, "need 2 means.*got 1 and 2"),
        (lambda: make(np.zeros(2), np.eye(2), prompt=["a", "b"]), ValueError, "a mean of its own"),
        (
            lambda: make([np.zeros(2)] * 2, [np.ones(2)] * 2, prompt=["a", "a"]),
            ValueError,
            "'a' is among them twice",
        ),
        (lambda: make(np.zeros(2), np.ones(2), pixel_range=3), ValueError, "two finite numbers"),
        (lambda: make([1j, 0.0], np.ones(2)), ValueError, "must be real"),
        (lambda: make(np.zeros(2), np.eye(2) * 1j), ValueError, "must be real"),
        (lambda: make([np.zeros(2), np.zeros(3)], [np.ones(2)] * 2, prompt=["a", "b"]), ValueError, "shape"),
        (lambda: make(np.zeros(2), np.ones(2), n_styles=3), ValueError, "needs the images"),
        (lambda: make(np.zeros(2), np.ones(2), contrast="histogram"), ValueError, "histogram"),
        (lambda: make(np.zeros(2), np.ones(2), banana=1), TypeError, "banana"),
        (lambda: LinearDiffusion.from_statistics("mnist"), TypeError, "Statistics"),
    ]
    for call, error, message in bad:
        with pytest.raises(error, match=message):
            call()


def test_statistics_give_the_model_of_fit(tiny):
    prompts, images = tiny
    parts = [Statistics.of(prompts[i::2], images[i::2]) for i in range(2)]
    found = LinearDiffusion.from_statistics(sum(parts), n_components=5, contrast="affine", sampler="heun")
    fitted = LinearDiffusion(5, contrast="affine", sampler="heun").fit(prompts, images)
    np.testing.assert_allclose(found.predict(["up"], seed=0), fitted.predict(["up"], seed=0), rtol=1e-9)
    styled = LinearDiffusion(5, n_styles=2, random_state=0).fit(prompts, images)
    again = LinearDiffusion.from_statistics(styled.statistics_, n_components=5, n_styles=2)
    np.testing.assert_array_equal(again.predict(["up~1"], seed=0), styled.predict(["up~1"], seed=0))
    assert not hasattr(LinearDiffusion.from_statistics(styled.statistics_, n_components=5), "styles_")
    with pytest.raises(ValueError, match="n_styles=2"):
        LinearDiffusion.from_statistics(styled.statistics_, n_styles=3)


def test_statistics_of_embeddings_and_of_latents(tiny):
    prompts, images = tiny
    embeddings = np.eye(3)[[ord(one[0]) % 3 for one in prompts]]
    found = LinearDiffusion.from_statistics(Statistics.of(embeddings, images), n_components=5)
    fitted = LinearDiffusion(5).fit(embeddings, images)
    np.testing.assert_allclose(found.predict(embeddings[:2], seed=0), fitted.predict(embeddings[:2], seed=0))
    assert found.n_features_in_ == fitted.n_features_in_ == 3
    encoder = ImageEncoder.from_basis(np.eye(12)[:4], Statistics.of(prompts, images))
    latents = Statistics.of(prompts, images, encoder=encoder)
    found = LinearDiffusion.from_statistics(latents, image_encoder=encoder)
    fitted = LinearDiffusion(image_encoder=encoder).fit(prompts, images)
    np.testing.assert_allclose(found.predict(["up"], seed=0), fitted.predict(["up"], seed=0), rtol=1e-9)
    with pytest.raises(ValueError, match="encoder=image_encoder"):
        LinearDiffusion.from_statistics(Statistics.of(prompts, images), image_encoder=encoder)


def test_the_law_of_pixels_is_that_of_drawn_images(tiny):
    prompts, images = tiny
    ld = LinearDiffusion(6, n_styles=2, scale=True, random_state=0).fit(prompts, images)
    drawn = ld.predict(["up"] * 20_000, seed=0).reshape(-1, 12)
    law = pixel_law(ld, "up")
    np.testing.assert_allclose(law.mean, drawn.mean(axis=0), atol=0.05 * np.sqrt(np.diag(law.covariance).max()))
    size = np.sqrt(np.outer(np.diag(law.covariance), np.diag(law.covariance)))
    off = abs(np.cov(drawn.T) - law.covariance) / size
    assert off.max() < 0.05
    assert (abs(np.cov(drawn.T) - pixel_law(ld, "right").covariance) / size).max() > 0.3  # control
    # with the residual: the same as conditioned, by the definition of a projection
    V, r = ld.components_, ld.fitted_.encoder.pixel_scale
    more = pixel_law(ld, "up", residual=True).covariance - law.covariance
    standard = more / np.outer(r, r)
    np.testing.assert_allclose(V @ standard, 0.0, atol=1e-9)
    outside = np.eye(12) - V.T @ V
    np.testing.assert_allclose(standard, ld.fitted_.encoder.residual_variance * outside, atol=1e-9)


def test_the_residual_makes_pixels_score_as_images_do(tiny):
    prompts, images = tiny
    ld = LinearDiffusion(6).fit(prompts, images)
    law = pixel_law(ld, "up", residual=True)
    np.testing.assert_allclose(
        ld.score_samples(images[:9], ["up"] * 9), law.log_prob(images[:9].reshape(9, 12)), rtol=1e-6
    )
