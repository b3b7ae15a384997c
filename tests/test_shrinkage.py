"""Shrinkage: the amount against a simulation of the error it minimises, and what a rare prompt does to a model."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from lineardiffusion import LinearDiffusion
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.shrinkage import shrink


def normals(n, seed=0, d=6):
    """Rows of Gaussians of n[u] images each, with their true covariances."""
    rng = np.random.default_rng(seed)
    roots = [np.eye(d) + 0.7 * rng.normal(size=(d, d)) for _ in n]
    rows = [rng.normal(size=(m, d)) @ root.T for m, root in zip(n, roots, strict=True)]
    return np.concatenate(rows), np.repeat(np.arange(len(n)), n), np.stack([root @ root.T for root in roots])


@pytest.mark.parametrize("n", [(12, 300, 300), (40, 40)])
def test_the_amount_has_the_least_squared_error(n):
    """Over 300 data sets: a rare prompt, and two prompts of which each is half of W; against a grid of amounts."""
    amounts, automatic, found = np.linspace(0, 1, 21), [], []
    errors = np.zeros(21)
    _, groups, truths = normals(n)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        rows = [rng.multivariate_normal(np.zeros(6), C, m) for C, m in zip(truths, n, strict=True)]
        moments = Moments.of(np.concatenate(rows), groups, len(n))
        shrunk, amount = shrink(moments, "auto")
        automatic.append(((shrunk.covariance[0] - truths[0]) ** 2).sum())
        found.append(amount[0])
        C, W = moments.covariance[0], shrink(moments, 1.0)[0].covariance[0]
        errors += [(((1 - a) * C + a * W - truths[0]) ** 2).sum() / 300 for a in amounts]
    assert np.mean(automatic) < 1.08 * errors.min()
    assert np.mean(automatic) < min(errors[0], 0.85 * errors[-1])  # control: neither end is as good
    assert abs(np.mean(found) - amounts[errors.argmin()]) < 0.15


def test_shrunk_covariances_by_hand():
    rows, groups, _ = normals((8, 40))
    moments = Moments.of(rows, groups, 2)
    C = [np.cov(rows[groups == u].T, bias=True) for u in range(2)]
    W = (8 * C[0] + 40 * C[1]) / 48
    for amount in (0.0, 0.3, 1.0):
        for u, S in enumerate(shrink(moments, amount)[0].covariance):
            np.testing.assert_allclose(S, (1 - amount) * C[u] + amount * W, rtol=1e-10, atol=1e-12)
    _, found = shrink(moments, "auto")
    for u, n in enumerate((8, 40)):
        error = (1 - n / 48) * (np.trace(C[u] @ C[u]) + np.trace(C[u]) ** 2) / n
        expected = error / np.linalg.norm(C[u] - W) ** 2
        assert found[u] == pytest.approx(min(1.0, expected))


def test_it_falls_with_the_number_of_images_and_not_with_their_weight():
    rows, groups, _ = normals((400, 400))
    few, many = (shrink(Moments.of(rows[i], groups[i], 2), "auto")[1] for i in (slice(0, None, 10), slice(None)))
    assert (many < 0.2 * few).all()
    heavy = shrink(Moments.of(rows, groups, 2, np.full(800, 1e-6)), "auto")[1]
    np.testing.assert_allclose(heavy, many, rtol=1e-6)
    single = np.concatenate([rows[:1], rows[400:]])
    assert shrink(Moments.of(single, [0] + [1] * 400, 2), "auto")[1][0] == 1.0
    assert shrink(Moments.of(rows, groups * 0, 1), "auto")[1][0] == 0.0  # W is C: there is nothing to shrink to


def test_one_covariance_for_all_is_linear_discriminant_analysis():
    rows, groups, _ = normals((300, 300, 200))
    prompts, images = groups.astype(str).tolist(), (rows + groups[:, None]).reshape(-1, 2, 3)
    ld = LinearDiffusion(shrinkage=1).fit(prompts, images)
    lda = LinearDiscriminantAnalysis(solver="lsqr").fit(images.reshape(-1, 6), prompts)
    np.testing.assert_allclose(ld.classify_proba(images), lda.predict_proba(images.reshape(-1, 6)), atol=2e-3)
    free = LinearDiffusion(shrinkage=0).fit(prompts, images)
    assert np.abs(ld.classify_proba(images) - free.classify_proba(images)).max() > 0.1  # control


def test_a_rare_prompt_does_not_ruin_a_model(digits):
    """ "3" with 8 images: held-out digits are likelier with more components; without shrinkage they are not."""
    prompts, images = np.array(digits[0]), digits[1]
    order = np.random.default_rng(0).permutation(len(prompts))
    train, test = order[:1200], order[1200:]
    train = np.concatenate([train[prompts[train] != "3"], train[prompts[train] == "3"][:8]])
    score = {}
    for n in (5, 20, 64):
        for shrinkage in ("auto", 0):
            ld = LinearDiffusion(n, shrinkage=shrinkage).fit(prompts[train].tolist(), images[train])
            score[n, shrinkage] = ld.score(prompts[test].tolist(), images[test])
    assert -170 < score[5, "auto"] < score[20, "auto"] - 20 < score[64, "auto"] - 40
    assert score[20, 0] < score[5, 0] - 1000
    rare, common = ld.refit(shrinkage="auto").shrinkage_["3"], ld.shrinkage_["4"]
    assert rare > 0.5 > 0.2 > common


def test_the_law_that_is_drawn_is_shrunk(tiny):
    prompts, images = tiny
    ld = LinearDiffusion(shrinkage=0.4).fit(prompts, images)
    z, u = ld.encode(images), np.array(prompts)
    C = {p: np.cov(z[u == p].T, bias=True) for p in ld.prompts_}
    expected = 0.6 * C["up"] + 0.4 * sum(C.values()) / 3
    np.testing.assert_allclose(ld.law("up").covariance, expected, atol=1e-10)
    density = multivariate_normal(z[u == "up"].mean(axis=0), expected).logpdf(z)
    scale = ld.n_components_ * np.log(ld.scaling_factor_)
    np.testing.assert_allclose(ld.score_samples(images, ["up"] * 90), density - scale, rtol=1e-9)


def test_merged_and_streamed_models_are_shrunk_alike(tiny):
    prompts, images = tiny
    whole, parts = LinearDiffusion().fit(prompts, images), [slice(0, 30), slice(30, None)]
    stream = LinearDiffusion()
    for part in parts:
        stream.partial_fit(prompts[part], images[part])
    merged = LinearDiffusion.merge_all(LinearDiffusion().fit(prompts[part], images[part]) for part in parts)
    for other in (stream, merged):
        assert other.shrinkage_ == pytest.approx(whole.shrinkage_, rel=1e-9)
    assert whole.refit(shrinkage=0.25).shrinkage_ == dict.fromkeys(("left", "right", "up"), 0.25)


@pytest.mark.mnist
def test_with_thousands_of_digits_nothing_moves(mnist):
    prompts, images = mnist[0][:60_000], mnist[1][:60_000]
    ld = LinearDiffusion(max_memory=2e7).fit(prompts, images)
    asked = [str(i % 10) for i in range(100)]
    shrunk = ld.predict(asked, seed=0)
    assert max(ld.shrinkage_.values()) < 0.01
    moved = shrunk - ld.refit(shrinkage=0).predict(asked, seed=0)
    assert np.sqrt((moved**2).mean()) < 0.5
    moved = shrunk - ld.refit(shrinkage=0.2).predict(asked, seed=0)
    assert np.sqrt((moved**2).mean()) > 5  # control: grey levels can tell


def test_a_rare_prompt_does_not_ruin_styles_either(digits):
    prompts, images = np.array(digits[0]), digits[1]
    train, test = np.arange(0, len(prompts), 2), np.arange(1, len(prompts), 2)
    train = np.concatenate([train[prompts[train] != "3"], train[prompts[train] == "3"][:8]])
    ld = LinearDiffusion(20, n_styles=2).fit(prompts[train].tolist(), images[train])
    shrunk = ld.score(prompts[test].tolist(), images[test])
    assert shrunk > -155
    assert ld.refit(shrinkage=0).score(prompts[test].tolist(), images[test]) < shrunk - 1000


def test_styles_are_shrunk_twice():
    """By hand: towards the covariance within their prompt, and that towards the one within all prompts."""
    rng = np.random.default_rng(0)
    prompts, images = ["a", "b"] * 60, rng.normal(size=(120, 3)) * np.arange(1, 4)
    ld = LinearDiffusion(n_styles=2, shrinkage=0.3).fit(prompts, images)
    styles = ld.statistics_.styles.moments
    n, C = styles.weight, styles.covariance
    W = [(n[i] * C[i] + n[i + 1] * C[i + 1]) / 60 for i in (0, 2)]
    for g in range(4):
        own = 0.7 * W[g // 2] + 0.3 * (W[0] + W[1]) / 2
        expected = (n[g] * C[g] + 20 * own) / (n[g] + 20)
        scored = ld.fitted_.scored
        basis, variance = scored.basis[g], scored.variance[g]
        np.testing.assert_allclose((basis * variance) @ basis.T, expected, atol=1e-10)
    assert ld.shrinkage_ == {"a": 0.3, "b": 0.3}
