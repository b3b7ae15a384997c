"""Typicality: against scipy's chi-square and exact finite sums, uniform over draws, and on anomalous digits."""

import numpy as np
import pytest
from scipy.special import gammaln, logsumexp
from scipy.stats import chi2, kstest, multivariate_normal, norm
from sklearn.metrics import roc_auc_score

from lineardiffusion import LinearDiffusion
from lineardiffusion.inference import _log_gamma_tails


@pytest.fixture(scope="module")
def fitted(digits):
    """A model of 1,300 digits, and the others, held out."""
    prompts, images = digits
    order = np.random.default_rng(0).permutation(len(images))
    prompts, images = np.array(prompts)[order], images[order]
    return LinearDiffusion(40).fit(prompts[:1300], images[:1300]), prompts[1300:], images[1300:].astype(float)


def draws(ld, prompts, seed=0, residual_noise=True):
    nothing = np.full((len(prompts), *ld.image_shape_), np.nan)
    return ld.inpaint(nothing, prompts=prompts, seed=seed, residual_noise=residual_noise)


def test_one_gaussian_is_scipys_chi_square():
    """InMemory images, and images with missing pixels, whose marginal law has fewer degrees of freedom."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)) + 3
    ld = LinearDiffusion().fit(["a"] * 400, images)
    asked = np.vstack(
        [images[:20], images.mean(axis=0) + 0.1 * (images[:20] - images.mean(axis=0)), 3 * images[:5]]
    )
    for seen in ([0, 1, 2, 3, 4, 5], [1, 4]):
        rows = np.where(np.isin(np.arange(6), seen), asked, np.nan)
        C = np.cov(images.T, bias=True)[np.ix_(seen, seen)]
        step = asked[:, seen] - images.mean(axis=0)[seen]
        distance = np.einsum("ij,ij->i", step @ np.linalg.inv(C), step)
        by_hand = 2 * np.minimum(chi2.cdf(distance, len(seen)), chi2.sf(distance, len(seen)))
        np.testing.assert_allclose(ld.typicality(rows), by_hand, rtol=1e-5)
        wrong = 2 * np.minimum(chi2.cdf(distance, 7), chi2.sf(distance, 7))
        assert np.abs(wrong - by_hand).max() > 0.1  # control: the degrees of freedom matter
    assert ld.typicality(np.full((1, 6), np.nan))[0] == 1.0  # nothing is seen


def test_a_mixture_is_the_sum_of_its_parts():
    """Two prompts of two pixels: a frequency of simulated parts, and the exact law where they do not overlap."""
    rng = np.random.default_rng(0)
    images = np.concatenate([rng.normal(size=(300, 2)) * [1, 2], rng.normal(size=(100, 2)) * [5, 3] + [90, 0]])
    prompts = ["a"] * 300 + ["b"] * 100
    ld = LinearDiffusion().fit(prompts, images)
    laws = [multivariate_normal(x.mean(axis=0), np.cov(x.T, bias=True)) for x in (images[:300], images[300:])]
    drawn = [law.rvs(n, random_state=1) for law, n in zip(laws, (30_000, 10_000), strict=True)]
    of_law = np.concatenate(
        [
            np.logaddexp(*(np.log(w) + law.logpdf(x) for w, law in zip((0.75, 0.25), laws, strict=True)))
            for x in drawn
        ]
    )
    asked = np.concatenate([images[::40], laws[0].mean[None], [[4.0, 4.0]]])
    F = np.array([(of_law <= x).mean() for x in ld.score_samples(asked)])
    np.testing.assert_allclose(ld.typicality(asked), 2 * np.minimum(F, 1 - F), atol=0.02)
    of_a = ld.typicality(asked, ["a"] * len(asked))
    assert np.abs(of_a - 2 * np.minimum(F, 1 - F)).max() > 0.1  # control


@pytest.mark.parametrize("n_styles", [1, 3])
@pytest.mark.parametrize("given", [True, False])
def test_typicality_of_own_draws_is_uniform(digits, n_styles, given):
    """Kolmogorov-Smirnov; draws without the residual, which the law has, are no draws of it."""
    ld = LinearDiffusion(30, n_styles=n_styles).fit(*digits)
    prompts = np.random.default_rng(0).choice(ld.prompts_, p=ld.prompt_prior_, size=500)
    found = ld.typicality(draws(ld, prompts), prompts if given else None)
    assert kstest(found, "uniform").pvalue > 0.01
    smooth = ld.typicality(draws(ld, prompts, residual_noise=False), prompts if given else None)
    assert kstest(smooth, "uniform").pvalue < 1e-6  # control
    others = ld.typicality(draws(ld, prompts), np.roll(prompts, 1))
    assert kstest(others, "uniform").pvalue < 1e-6  # control


def test_anomalous_digits_are_told(fitted):
    ld, prompts, real = fitted
    rng = np.random.default_rng(0)
    plain = np.ones_like(real) * rng.uniform(0, 16, len(real))[:, None, None]
    turned = real[:, ::-1, ::-1]
    fakes = {"noise": rng.uniform(0, 16, real.shape), "plain": plain, "turned": turned}
    least = {"noise": 0.99, "plain": 0.98, "turned": 0.9}
    for given in (prompts, None):
        found = ld.typicality(real, given)
        for name, fake in fakes.items():
            scores = np.concatenate([found, ld.typicality(fake, given)])
            assert roc_auc_score([1] * len(real) + [0] * len(real), scores) > least[name], name


def test_plain_pictures_are_likelier_than_textures_and_less_typical():
    """In 432 numbers: log-densities prefer the plain ones, and both tails are far below 1e-308."""
    rng = np.random.default_rng(0)
    images = 128 + 40 * rng.normal(size=(400, 12, 12, 3))
    ld = LinearDiffusion(20).fit(["a"] * 300, images[:300])
    plain = 128 + rng.normal(size=(100, 1, 1, 1)) * np.ones((12, 12, 3))
    noise = 128 + 400 * rng.normal(size=(100, 12, 12, 3))
    kind = np.repeat([1, 0], 100)
    assert roc_auc_score(kind, np.r_[ld.score_samples(images[300:]), ld.score_samples(plain)]) < 0.05
    real, *others = (ld.typicality(x) for x in (images[300:], plain, noise))
    for other in others:
        assert roc_auc_score(kind, np.r_[real, other]) > 0.99
        assert 0 < other.max() < 1e-300 < real.min()
        assert len(np.unique(other)) == 100
    order = np.argsort(ld.score_samples(noise))
    assert (np.diff(others[1][order]) > 0).all()  # the more noise, the less typical


def test_tails_below_the_smallest_number_are_finite_sums():
    """P(X >= x) = sum_(k < a) e^-x x^k / k! for whole a; P(X <= x) as the series of DLMF 8.7.1."""
    for a in (3.0, 40.0, 600.0):
        x = a * np.array([1e-9, 1e-3, 0.1, 0.9, 1.1, 3.0, 10.0, 400.0])
        k = np.arange(int(a))
        upper = logsumexp(k * np.log(x)[:, None] - x[:, None] - gammaln(k + 1), axis=1)
        n = np.arange(2000)
        lower = logsumexp((a + n) * np.log(x)[:, None] - x[:, None] - gammaln(a + n + 1), axis=1)
        found = _log_gamma_tails(a, x)
        np.testing.assert_allclose(found[1], upper, rtol=1e-5, atol=1e-12)
        few = x < 3 * a  # where the series has enough terms
        np.testing.assert_allclose(found[0][few], lower[few], rtol=1e-5, atol=1e-12)
        assert min(upper.min(), lower.min()) < -600 or a == 3.0
    assert norm.logsf(1.0) == pytest.approx(_log_gamma_tails(0.5, np.array(0.5))[1] - np.log(2))
