"""Posteriors and inversion: exact on small images, on real digits, and there and back again."""

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

from lineardiffusion import LinearDiffusion, operators


@pytest.fixture(scope="module")
def fitted(digits):
    prompts, images = digits
    return LinearDiffusion(40).fit(prompts[:1500], images[:1500]), prompts[1500:], images[1500:]


LOWER = np.broadcast_to(np.arange(8)[:, None] >= 4, (8, 8))


def pixel_law(ld, prompt):
    """Mean and covariance of the prompt's pixels by hand (probabilistic PCA), floored as documented."""
    encoder, law = ld.fitted_.encoder, ld.law(prompt)
    s, V = ld.scaling_factor_, ld.components_
    floor = ((ld.pixel_range_[1] - ld.pixel_range_[0]) / 255) ** 2 / 12
    variance, basis = np.linalg.eigh(law.covariance * s**2)
    kept = (basis * np.maximum(variance, floor)) @ basis.T
    rest = max(encoder.residual_variance, floor) * (np.eye(V.shape[1]) - V.T @ V)
    return ld.mean_ + s * law.mean @ V, V.T @ kept @ V + rest


def test_inpainted_mean_and_spread_are_the_conditional_gaussians(fitted):
    """Against the Schur complement; 1,000 draws a digit, each missing pixel within 5 standard errors."""
    ld, prompts, images = fitted
    seen, gone = np.flatnonzero(~LOWER), np.flatnonzero(LOWER)
    n = 1000
    found = ld.inpaint(images[:3], LOWER, prompts[:3], n_samples=0).reshape(3, -1)
    drawn = ld.inpaint(images[:3], LOWER, prompts[:3], seed=0, n_samples=n, residual_noise=True)
    drawn = drawn.reshape(3, n, -1)
    for i in range(3):
        mean, C = pixel_law(ld, prompts[i])
        gain = np.linalg.solve(C[np.ix_(seen, seen)], C[np.ix_(seen, gone)]).T
        by_hand = mean[gone] + gain @ (images[i].ravel()[seen] - mean[seen])
        left = np.diag(C[np.ix_(gone, gone)] - gain @ C[np.ix_(seen, gone)])
        np.testing.assert_allclose(found[i, gone], by_hand, atol=1e-3)
        error = (drawn[i][:, gone].mean(axis=0) - by_hand) / np.sqrt(left / n)
        assert np.abs(error).max() < 5
        np.testing.assert_allclose(drawn[i][:, gone].var(axis=0), left, rtol=0.25)
        assert (np.diag(C)[gone] / left).max() > 1.5  # control: the prior spreads more
        assert np.abs(mean[gone] - by_hand).max() > 1
        np.testing.assert_array_equal(drawn[i][:, seen], np.tile(images[i].ravel()[seen], (n, 1)))


def test_one_mask_is_a_mask_an_image_and_is_nan(fitted):
    ld, _, images = fitted
    once = ld.inpaint(images[:6], LOWER, seed=3)
    np.testing.assert_allclose(ld.inpaint(images[:6], np.tile(LOWER, (6, 1, 1)), seed=3), once)
    holed = np.where(LOWER, np.nan, images[:6].astype(float))
    np.testing.assert_allclose(ld.inpaint(holed, seed=3), once, atol=1e-4)
    np.testing.assert_allclose(ld.inpaint(images[:6], seed=3), images[:6])  # nothing is missing
    masks = np.random.default_rng(0).random((6, 8, 8)) < 0.5
    together = ld.inpaint(images[:6], masks, seed=list(range(6)))
    for i in range(6):
        alone = ld.inpaint(images[i : i + 1], masks[i], seed=[i])
        np.testing.assert_allclose(alone[0], together[i], atol=1e-3)
    np.testing.assert_allclose(
        ld.inpaint(images[:6], masks, seed=0)[:2], ld.inpaint(images[:2], masks[:2], seed=0), atol=1e-3
    )


def test_prompts_are_drawn_by_their_posterior(fitted):
    """A digit of which little is seen: the prompts of 2,000 draws against classify_proba of what is seen."""
    ld, _, images = fitted
    mask = np.ones((8, 8), bool)
    mask[2:5, 3:5] = False
    images_, read = ld.inpaint(images[:1], mask, seed=0, n_samples=2000, return_prompts=True)
    assert images_.shape[:2] == read.shape == (1, 2000)
    proba = ld.classify_proba(np.where(mask, np.nan, images[:1].astype(float)))[0]
    found = np.array([(read == prompt).mean() for prompt in ld.prompts_])
    assert np.sort(proba)[-2] > 0.05
    np.testing.assert_array_less(np.abs(found - proba), 5 * np.sqrt(proba * (1 - proba) / 2000) + 1e-3)
    assert np.abs(found - ld.prompt_prior_).max() > 0.1  # control: not by their frequency
    _, best = ld.inpaint(images[:1], mask, n_samples=0, return_prompts=True)
    assert best[0] == ld.prompts_[proba.argmax()]
    mean = ld.inpaint(images[:1], mask, n_samples=0)[0]
    parts = [ld.inpaint(images[:1], mask, [p], n_samples=0)[0] for p in ld.prompts_]
    np.testing.assert_allclose(mean, np.tensordot(proba, parts, 1), atol=1e-3)
    assert ld.inpaint(images[:2], mask, ["3", "8"], return_prompts=True)[1].tolist() == ["3", "8"]


def test_nothing_seen_is_the_prior(fitted):
    ld, _, images = fitted
    everything = np.ones((8, 8), bool)
    drawn = ld.inpaint(images[:1], everything, ["7"], seed=1, n_samples=1500, residual_noise=True)
    drawn = drawn.reshape(1500, -1)
    mean, C = pixel_law(ld, "7")
    varying = np.diag(C) > 0.5
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - mean), 5 * np.sqrt(np.diag(C) / 1500) + 1e-6)
    np.testing.assert_allclose(drawn.var(axis=0)[varying], np.diag(C)[varying], rtol=0.2)
    np.testing.assert_allclose(ld.inpaint(images[:1], everything, ["7"], n_samples=0)[0].ravel(), mean, atol=1e-4)


def test_residual_noise_leaves_the_latents_and_the_known_pixels(fitted):
    """Both draws of a seed have one latent; without the noise, less of the discarded part is drawn, or nothing."""
    ld, _, images = fitted
    for mask in (LOWER, np.ones((8, 8), bool), np.random.default_rng(0).random((20, 8, 8)) < 0.5):
        plain, noisy = (ld.inpaint(images[:20], mask, seed=3, residual_noise=r) for r in (False, True))
        np.testing.assert_allclose(ld.encode(plain), ld.encode(noisy), atol=1e-4)
        known = ~np.broadcast_to(mask, plain.shape)
        np.testing.assert_array_equal(plain[known], images[:20][known])
        off = [x - ld.decode(ld.encode(x)) for x in (plain, noisy)]
        assert np.square(off[0]).sum() < 0.95 * np.square(off[1]).sum()
        if mask.all():
            assert np.abs(off[0]).max() < 1e-4


def test_restored_images_measure_what_was_measured(fitted):
    ld, prompts, images = fitted
    A = operators.downsampling((8, 8), 2) @ operators.blurring((8, 8), 0.6)
    y = images[:5].reshape(5, -1) @ A.T
    for n_samples in (0, None, 2):
        x = ld.restore(y, A, 0.0, prompts[:5], seed=0, n_samples=n_samples)
        again = np.repeat(y, max(n_samples or 1, 1), axis=0)
        np.testing.assert_allclose(x.reshape(-1, 64) @ A.T, again, atol=1e-3)
    mask = operators.masking(LOWER)
    by_mask = ld.restore(images[:5].reshape(5, -1) @ mask.T, mask, 0.0, n_samples=0)
    np.testing.assert_allclose(by_mask, ld.inpaint(images[:5], LOWER, n_samples=0), atol=1e-3)


def test_restoration_is_the_best_of_all_guesses(fitted):
    """The mean's squared error over noisy digits: below a draw's, the prior's and the naive inverse's."""
    ld, prompts, images = fitted
    A = operators.downsampling((8, 8), 2)
    x = images.reshape(len(images), -1)
    y = x @ A.T + 0.5 * np.random.default_rng(0).normal(size=(len(x), 16))

    def error(guess):
        return float(((guess.reshape(len(x), -1) - x) ** 2).sum(axis=1).mean())

    mean = error(ld.restore(y, A, 0.5, n_samples=0))
    assert mean < 0.75 * error(ld.restore(y, A, 0.5, seed=0))
    assert mean < 0.5 * error(np.linalg.lstsq(A.toarray(), y.T, rcond=None)[0].T)
    assert mean < 0.5 * error(ld.predict(prompts, seed=0))


@pytest.mark.parametrize(
    "kind", [np.asarray, scipy.sparse.csc_matrix, scipy.sparse.dok_array, scipy.sparse.lil_array, aslinearoperator]
)
def test_operators_of_every_kind(fitted, kind):
    ld, prompts, images = fitted
    A = operators.downsampling((8, 8), 4).toarray()
    y = images[:4].reshape(4, -1) @ A.T
    known = ld.restore(y, operators.downsampling((8, 8), 4), 1.0, prompts[:4], n_samples=0)
    np.testing.assert_allclose(ld.restore(y, kind(A), 1.0, prompts[:4], n_samples=0), known, atol=1e-4)
    np.testing.assert_allclose(ld.restore(y.reshape(4, 2, 2), A, 1.0, prompts[:4], n_samples=0), known, atol=1e-4)


def test_styles_weigh_their_evidence(digits):
    """Two styles, by hand: the means of each, weighed by frequency times evidence."""
    prompts, images = digits
    ld = LinearDiffusion(15, n_styles=2).fit(prompts, images)
    holed = np.where(LOWER, np.nan, images[:1].astype(float))
    parts = [ld.inpaint(holed, prompts=[f"0~{k}"], n_samples=0)[0] for k in range(2)]
    share = np.array([np.log(ld.styles_["0"][0][k]) + ld.score_samples(holed, [f"0~{k}"])[0] for k in range(2)])
    share = np.exp(share - share.max()) / np.exp(share - share.max()).sum()
    mean = ld.inpaint(holed, prompts=["0"], n_samples=0)[0]
    np.testing.assert_allclose(mean, np.tensordot(share, parts, 1), atol=1e-3)


def test_contrast_is_for_draws_and_leaves_known_pixels(digits):
    prompts, images = digits
    plain = LinearDiffusion(30).fit(prompts, images)
    loud = LinearDiffusion(30, contrast="affine").fit(prompts, images)
    a, b = (m.inpaint(images[:9], LOWER, seed=0) for m in (plain, loud))
    np.testing.assert_array_equal(a[:, ~LOWER], b[:, ~LOWER])
    np.testing.assert_allclose(loud.contrast_(a)[:, LOWER], b[:, LOWER], atol=1e-3)
    assert np.abs(a - b).max() > 0.5
    means = [m.inpaint(images[:9], LOWER, n_samples=0) for m in (plain, loud)]
    np.testing.assert_allclose(*means, atol=1e-3)


# ---------------------------------------------------------------------- inversion, and a noised start


@pytest.mark.parametrize(
    "way", [{}, {"sampler": "ddim", "num_steps": 20}, {"guidance_scale": 1.3, "sampler": "heun"}]
)
def test_inversion_there_and_back(fitted, way):
    ld, prompts, images = fitted
    noise = ld.invert(prompts[:20], images[:20], **way)
    back = ld.predict(prompts[:20], latents=noise, **way)
    np.testing.assert_allclose(back, ld.decode(ld.encode(images[:20])), atol=1e-2)
    other = ld.predict(["8"] * 20, latents=noise, **way)
    assert np.abs(other - back).max() > 3
    z = np.random.default_rng(0).normal(size=(4, 40))
    drawn = ld.predict(["3"] * 4, latents=z, **way)
    np.testing.assert_allclose(ld.invert(["3"] * 4, drawn, **way), z, atol=1e-2)


def test_inverted_digits_are_standard_noise():
    """Images of the prompt's own law: their starting noise has mean 0 and covariance I. Others' has not."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3000, 4)) @ rng.normal(size=(4, 4))
    prompts = ["a"] * 1500 + ["b"] * 1500
    images[1500:] += 7
    ld = LinearDiffusion(shrinkage=0).fit(prompts, images)
    noise = ld.invert(prompts, images)
    for own in (noise[:1500], noise[1500:]):
        np.testing.assert_allclose(own.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(np.cov(own.T, bias=True), np.eye(4), atol=1e-6)
    assert np.abs(ld.invert(["b"] * 1500, images[:1500]).mean(axis=0)).max() > 1


def test_a_noised_start_has_the_law_that_the_ode_gives(fitted):
    """x = m + sum sqrt(l / (alpha^2 l + sigma^2)) q q^T (alpha z + sigma n - alpha m), at alpha = sigma."""
    ld, _, images = fitted
    z = ld.encode(images[:1])[0]
    law = ld.law("8")
    variance, basis = np.linalg.eigh(law.covariance)
    alpha = sigma = 0.5**0.5  # the cosine schedule at half its time
    root = (basis * np.sqrt(np.maximum(variance, 0) / (alpha**2 * variance + sigma**2))) @ basis.T
    n = np.random.default_rng(5).normal(size=(3, 40))
    by_hand = law.mean + (alpha * z + sigma * n - alpha * law.mean) @ root
    start = np.repeat(images[:1], 3, axis=0)
    drawn = ld.predict(["8"] * 3, latents=n, start=start, strength=0.5)
    np.testing.assert_allclose(drawn, ld.decode(by_hand), atol=1e-3)
    steps = list(ld.staged_predict(["8"] * 3, latents=n, start=start, strength=0.5, num_steps=10))
    assert len(steps) == 6
    np.testing.assert_allclose(steps[-1], drawn, atol=1e-3)
    whole = ld.predict(["8"] * 3, latents=n, start=start, strength=1.0)
    np.testing.assert_allclose(whole, ld.predict(["8"] * 3, latents=n), atol=1e-3)  # nothing is left of the start


@pytest.mark.parametrize("sampler", ["exact", "ddim", "ddpm", "heun", "dpm++2m"])
def test_less_strength_stays_nearer(fitted, sampler):
    ld, prompts, images = fitted
    near, far = (
        ld.predict(prompts[:50], seed=0, start=images[:50], strength=s, sampler=sampler) for s in (0.1, 0.9)
    )
    distance = [np.linalg.norm(x - ld.decode(ld.encode(images[:50]))) for x in (near, far)]
    assert distance[0] < 0.3 * distance[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x: m.inpaint(x, LOWER[:4]), ValueError, "mask"),
        (lambda m, x: m.inpaint(x, np.zeros((2, 8, 8), bool)), ValueError, r"\(3, 8, 8\)"),
        (lambda m, x: m.inpaint(x, LOWER * 1), TypeError, "bool"),
        (lambda m, x: m.inpaint(x, LOWER, ["1"]), ValueError, "1 prompts"),
        (lambda m, x: m.inpaint(x, LOWER, ["1", "2", "cat"]), ValueError, "cat"),
        (lambda m, x: m.inpaint(x, LOWER, n_samples=-1), ValueError, "n_samples"),
        (lambda m, x: m.inpaint(x, LOWER, n_samples=1.5), TypeError, "n_samples"),
        (lambda m, x: m.inpaint(x, LOWER, seed=[1]), ValueError, "1 seeds"),
        (lambda m, x: m.restore(x, np.eye(63), 0.0), ValueError, "operator"),
        (lambda m, x: m.restore(x, np.ones(64), 0.0), ValueError, "operator"),
        (lambda m, x: m.restore(x, np.eye(64) * np.nan, 0.0), ValueError, "finite"),
        (lambda m, x: m.restore(x, np.eye(64)[:9], 0.0), ValueError, r"\(n, 9\)"),
        (lambda m, x: m.restore(x * np.nan, np.eye(64), 0.0), ValueError, "finite"),
        (lambda m, x: m.restore(x, np.eye(64), -1.0), ValueError, "noise_std"),
        (lambda m, x: m.restore(x, np.eye(64), True), ValueError, "noise_std"),
        (lambda m, x: m.restore(x, np.ones((64, 64)), 0.0), ValueError, "contradicts"),
        (lambda m, x: m.invert(["1", "2"], x), ValueError, "3 images"),
        (lambda m, x: m.invert(x, ["1"] * 3), ValueError, "first"),
        (lambda m, x: m.invert(["1"] * 3, x, sampler="ddpm"), ValueError, "ddpm"),
        (lambda m, x: m.invert(["1"] * 3, x, sampler="ddim", num_steps=1), ValueError, "keeps 0"),
        (lambda m, x: m.predict(["1"] * 3, start=x[:2]), ValueError, "2 images"),
        (lambda m, x: m.predict(["1"] * 3, start=x, strength=0.0), ValueError, "strength"),
        (lambda m, x: m.predict(["1"] * 3, start=x, strength=0.01, num_steps=10), ValueError, "num_steps=100"),
    ],
)
def test_bad_input(fitted, call, error, message):
    ld, _, images = fitted
    with pytest.raises(error, match=message):
        call(ld, images[:3].astype(float))


def test_styles_are_flat_and_have_no_inverse(digits):
    ld = LinearDiffusion(20, n_styles=4).fit(*digits)
    with pytest.raises(ValueError, match="name one"):
        ld.invert(["3"], digits[1][:1])
    with pytest.raises(ValueError, match="inverse"):
        ld.invert(["3~0"], digits[1][:1])


@pytest.mark.parametrize("container", [np.asarray, scipy.sparse.csr_array, aslinearoperator])
def test_rows_may_have_any_units(fitted, container):
    """Against the same rows in one unit. The control leaves out the smallest rows, and is another answer."""
    ld, prompts, images = fitted
    flat, how = images[:2].reshape(2, -1).astype(float), {"prompts": prompts[:2], "n_samples": 2, "seed": 0}
    A, unit = np.random.default_rng(0).normal(size=(6, 64)), np.array([1.0, 1e-8, 1e-150, 1.0, 1e100, 1e5])
    expected = ld.restore(flat @ A.T, A, 0.0, **how)
    for units, noise_std in ((unit, 0.0), (np.maximum(unit, 1e-3), 1e-12)):
        found = ld.restore(flat @ A.T * units, container(A * units[:, None]), noise_std, **how)
        np.testing.assert_allclose(found, expected, atol=1e-3)
    kept = unit >= 1.0
    assert np.abs(ld.restore(flat @ A[kept].T, A[kept], 0.0, **how) - expected).max() > 1


@pytest.mark.parametrize("smallest", [1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_exact_measurements_of_any_condition_do_not_contradict_themselves(fitted, smallest, dtype):
    ld, prompts, images = fitted
    flat, how = images[:5].reshape(5, -1).astype(float), {"prompts": prompts[:5], "n_samples": 0}
    U, V = (np.linalg.qr(np.random.default_rng(i).normal(size=(64, 64)))[0] for i in (0, 1))
    A = (U * np.geomspace(1.0, smallest, 64)) @ V.T
    y = (flat @ A.T).astype(dtype)
    for rows in (A, scipy.sparse.csr_array(A)):
        found = ld.restore(y, rows, 0.0, **how).reshape(5, -1)
        assert np.abs(found @ A.T - y).max() < 1e-5
        if dtype == "f8" and smallest >= 1e-8:
            np.testing.assert_allclose(found, flat, atol=1e-5)
    again = y[:, :1] + np.eye(5)[:, 1:2]  # the first row once more, with another answer for one image
    with pytest.raises(ValueError, match="measurement 1"):
        ld.restore(np.hstack([y, again]), np.vstack([A, A[:1]]), 0.0, **how)


def test_no_measurements_restore_no_images(fitted):
    ld, *_ = fitted
    for n_samples, shape in [(None, (0, 8, 8)), (0, (0, 8, 8)), (3, (0, 3, 8, 8))]:
        images, read = ld.restore(np.zeros((0, 2)), np.eye(2, 64), 0.0, n_samples=n_samples, return_prompts=True)
        assert images.shape == shape
        assert read.shape == shape[:-2]
    with pytest.raises(ValueError, match="shape"):
        ld.restore(np.zeros((0, 3)), np.eye(2, 64), 0.0)
