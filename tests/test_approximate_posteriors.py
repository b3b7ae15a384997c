"""Posteriors by approximate methods: their laws against Bayes' rule, draws of a loop, and formulas by hand."""

import re
from itertools import pairwise

import numpy as np
import pytest

from lineardiffusion import Gaussian, Mixture, samplers, schedules
from lineardiffusion.posteriors import METHODS, posterior_denoiser, posterior_law

D, M, TAU = 5, 3, 0.4
RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(D, D)) * np.array([0.8, 0.6, 0.5, 0.3, 0.2])[:, None]
LAW = Gaussian(RNG.normal(size=D), ROOT @ ROOT.T)
A = RNG.normal(size=(M, D))
Y = A @ LAW.draw(1, seed=1)[0] + TAU * RNG.normal(size=M)
EXACT = LAW.condition(Y, A, TAU**2 * np.eye(M))
APART = 0.1 * np.sqrt(np.trace(EXACT.covariance))  # a distance that no rounding explains


def law(method, sampler="ddpm", num_steps=20, **others):
    return posterior_law(LAW, Y, A, TAU, method=method, sampler=sampler, num_steps=num_steps, **others)


def cosine(num_steps):
    t = np.linspace(1, 0, num_steps + 1)
    return list(zip(np.sin(0.5 * np.pi * (1 - t)), np.sin(0.5 * np.pi * t), strict=True))


# ---------------------------------------------------------------- exact


@pytest.mark.parametrize("method", ["exact", "tmpd"])
def test_the_exact_denoiser_conditions_on_both_measurements(method):
    """y and x are one measurement of z with D + M rows; ``pigdm`` is the control."""
    x = np.random.default_rng(2).normal(size=D)
    for alpha, sigma in cosine(7)[:-1]:
        both = np.concatenate([Y, x]), np.vstack([A, alpha * np.eye(D)])
        expected = LAW.condition(*both, np.diag([TAU**2] * M + [sigma**2] * D)).mean
        found, other = (
            posterior_denoiser(LAW, Y, A, TAU, method=one)(x[None, None], alpha, sigma)[0, 0]
            for one in (method, "pigdm")
        )
        np.testing.assert_allclose(found, expected, atol=1e-10)
        assert np.abs(other - expected).max() > 1e-3


@pytest.mark.parametrize(("sampler", "expected"), [("ddim", 1), ("ddpm", 1), ("heun", 2)])
def test_the_exact_denoiser_leads_to_the_posterior_with_the_order_of_the_sampler(sampler, expected):
    steps = np.array([100, 200, 400])
    errors = [law("exact", sampler, int(n)).wasserstein(EXACT) for n in steps]
    assert abs(-np.polyfit(np.log(steps), np.log(errors), 1)[0] - expected) < 0.1
    assert law("pigdm", sampler, 400).wasserstein(EXACT) > max(APART, 10 * errors[-1])  # control


def test_the_exact_sampler_has_the_law_of_the_posterior():
    for method in ("exact", "tmpd"):
        assert law(method, "exact").wasserstein(EXACT) < 1e-5
    assert law("pigdm", "exact").wasserstein(EXACT) > APART


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "heun", "dpm++2m"])
def test_tmpd_is_exact_for_a_gaussian(sampler):
    """p(z | x) is a Gaussian with Tweedie's covariance, so its likelihood of y is no approximation."""
    found, expected = law("tmpd", sampler), law("exact", sampler)
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-10)
    np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-10)
    assert all(
        law(other, sampler).wasserstein(expected) > APART for other in ("tmpd_diagonal", "pigdm", "dps_score")
    )


def test_each_method_is_exact_where_its_assumption_holds():
    ways = {"sampler": "ddpm", "num_steps": 20}
    isotropic, independent = Gaussian(LAW.mean, 4 * np.eye(D)), Gaussian(LAW.mean, np.diag([4.0, 1, 1, 2, 3]))
    cases = [
        ("pigdm", isotropic, A, TAU),
        ("tmpd_diagonal", independent, [0, 2, 3], TAU),
        ("dps_score", LAW, A, 1e4),
    ]
    for method, prior, operator, noise_std in cases:
        others = {"data_std": 2.0} if method == "pigdm" else {}
        found = posterior_law(prior, Y, operator, noise_std, method=method, **ways, **others)
        assert found.wasserstein(posterior_law(prior, Y, operator, noise_std, **ways)) < 1e-6
    wrong = posterior_law(isotropic, Y, A, TAU, method="pigdm", **ways)  # control: data_std=1
    assert wrong.wasserstein(posterior_law(isotropic, Y, A, TAU, **ways)) > 1e-2


# ---------------------------------------------------------------- against a loop over draws


def gradient(function, x, h=1e-3):
    """Central differences, which are exact for a quadratic function."""
    return np.stack([function(x + h * e) - function(x - h * e) for e in np.eye(D)], axis=-1) / (2 * h)


def drawn(method, num_steps, step, n=10_000):
    """Ancestral sampling by scores (Ho et al. 2020), with the likelihood differentiated numerically."""
    rng, schedule = np.random.default_rng(3), schedules.VPLinear()
    levels = np.stack(schedule(schedule.times(num_steps)), axis=1)
    x = levels[0, 1] * rng.normal(size=(n, D))
    for (a, s), (a_, s_) in pairwise(levels):
        precision = np.linalg.inv(a**2 * LAW.covariance + s**2 * np.eye(D))
        W = np.linalg.inv(s**2 / (a**2 + s**2) * A @ A.T + TAU**2 * np.eye(M)) if method == "pigdm" else np.eye(M)

        def squares(x, a=a, precision=precision, W=W):
            guess = LAW.mean + a * (x - a * LAW.mean) @ precision @ LAW.covariance
            return (((Y - guess @ A.T) @ W) * (Y - guess @ A.T)).sum(axis=-1)

        score, correction = -(x - a * LAW.mean) @ precision, gradient(squares, x)
        if method == "pigdm":
            score = score - 0.5 * correction
        kept = a / a_  # x = kept x' + noise of variance fresh
        fresh = s**2 - kept**2 * s_**2
        x = (x + fresh * score) / kept + np.sqrt(fresh) * s_ / s * rng.normal(size=x.shape)
        if method == "dps":
            x = x - step * correction
    return x


def scores(draws, law):
    """z-scores of the means and of all entries of the covariance, independent for draws of the law."""
    n, i, j = len(draws), *np.triu_indices(D)
    white = np.linalg.solve(np.linalg.cholesky(law.covariance), (draws - law.mean).T).T
    products = (white[:, i] * white[:, j]).mean(axis=0) - (i == j)
    return np.sqrt(n) * np.concatenate([white.mean(axis=0), products / np.where(i == j, np.sqrt(2), 1)])


@pytest.mark.parametrize(("method", "step"), [("pigdm", None), ("dps", 0.02)])
def test_draws_of_a_loop_have_the_law(method, step):
    draws = drawn(method, 10, step)
    ways = {"schedule": "vp", "step": step}
    z = scores(draws, law(method, num_steps=10, **ways))
    assert 0.6 < np.sqrt(np.mean(z**2)) < 1.4
    for other in (law("exact", num_steps=10, schedule="vp"), law(method, num_steps=12, **ways)):  # controls
        assert np.sqrt(np.mean(scores(draws, other) ** 2)) > 3


# ---------------------------------------------------------------- diffusion posterior sampling


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_dps_composes_the_steps_of_its_algorithm(eta):
    """x = F z + b + noise of covariance R, step by step with the gradient by hand."""

    def composed(step):
        F, b, R = np.eye(D), np.zeros(D), np.zeros((D, D))
        for (a, s), (a_, s_) in pairwise(cosine(12)):
            K = a * LAW.covariance @ np.linalg.inv(a**2 * LAW.covariance + s**2 * np.eye(D))
            tau = eta * s_ * np.sqrt(max(1 - (a * s_ / (a_ * s)) ** 2, 0))
            c = np.sqrt(s_**2 - tau**2) / s
            G = c * np.eye(D) + (a_ - c * a) * K - 2 * step * K.T @ A.T @ A @ K
            m = LAW.mean - a * K @ LAW.mean
            F, b = G @ F, G @ b + (a_ - c * a) * m + 2 * step * K.T @ A.T @ (Y - A @ m)
            R = G @ R @ G.T + tau**2 * np.eye(D)
        return Gaussian(b, F @ F.T + R)

    found = law("dps", samplers.ddim(12, eta=eta), None, step=0.03)
    np.testing.assert_allclose(found.mean, composed(0.03).mean, atol=1e-9)
    np.testing.assert_allclose(found.covariance, composed(0.03).covariance, atol=1e-9)
    assert found.wasserstein(composed(0.033)) > 1e-3  # control


def test_a_step_of_dps_that_diverges_is_refused_and_a_smaller_one_named():
    with pytest.raises(ValueError, match=r"'dps' diverges with ddpm, 400 steps.*take a step below") as error:
        law("dps", num_steps=400, step=1.0)
    advised = float(re.search(r"below ([\d.e-]+)", str(error.value)).group(1))
    assert np.trace(law("dps", num_steps=400, step=0.95 * advised).covariance) < np.trace(LAW.covariance)
    with pytest.raises(ValueError, match="diverges"):
        law("dps", num_steps=400, step=10 * advised)


def test_the_score_of_dps_diverges_in_few_steps_and_is_refused():
    """An explicit step is unstable until there are as many as C / tau^2; the flow is solved all the same."""
    with pytest.raises(ValueError, match=r"'dps_score' diverges with ddim.*more steps, or the sampler 'exact'"):
        posterior_law(LAW, Y, A, 1e-2, method="dps_score", sampler="ddim", num_steps=40)
    assert np.trace(posterior_law(LAW, Y, A, 0.3, method="dps_score", sampler="exact").covariance) < 10


# ---------------------------------------------------------------- measurements


@pytest.mark.parametrize("method", ["exact", "tmpd", "pigdm", "dps"])
def test_a_diagonal_law_is_a_law(method):
    step = 0.05 if method == "dps" else None
    variance = np.array([2.0, 1.0, 0.5, 0.0, 0.1])
    for operator in ([0, 2, 4], A):
        one, other = (
            posterior_law(prior, Y, operator, TAU, method=method, step=step)
            for prior in (Gaussian.diagonal(LAW.mean, variance), Gaussian(LAW.mean, np.diag(variance)))
        )
        assert one.wasserstein(other) < 1e-6


@pytest.mark.parametrize("method", ["exact", "tmpd"])
def test_without_noise_draws_have_the_measured_values(method):
    """Also where the law is singular; ``pigdm`` misses them, because its spread is not that of z."""
    flat = Gaussian(LAW.mean, ROOT[:, :3] @ ROOT[:, :3].T)
    y = A[:2] @ flat.draw(1, seed=4)[0]
    for one in (flat, LAW):
        found = posterior_law(one, y, A[:2], 0.0, method=method, num_steps=30)
        np.testing.assert_allclose(A[:2] @ found.mean, y, atol=1e-7)
        np.testing.assert_allclose(A[:2] @ found.covariance @ A[:2].T, 0, atol=1e-7)
    other = posterior_law(LAW, y, A[:2], 0.0, method="pigdm", num_steps=30)
    assert np.abs(A[:2] @ other.mean - y).max() > 1e-4


def test_a_row_measured_twice_has_half_the_noise_variance():
    """Two rows that are equal are one singular value and one zero; row sums alone count the row twice."""
    for method in set(METHODS) - {"dps", "tmpd_diagonal"}:
        once = posterior_law(LAW, Y, A, TAU, method=method, num_steps=20)
        twice = posterior_law(LAW, np.tile(Y, 2), np.tile(A, (2, 1)), np.sqrt(2) * TAU, method=method, num_steps=20)
        assert once.wasserstein(twice) < 1e-6


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": "pgdm"}, ValueError, "unknown method 'pgdm'; choose one of 'exact', 'tmpd'"),
        ({"law": Mixture([1.0], [LAW])}, TypeError, "must be a Gaussian, got Mixture; given a mixture"),
        ({"method": "dps"}, ValueError, "that method needs it"),
        ({"step": 0.1}, ValueError, "no other takes it"),
        ({"method": "dps", "step": -0.1}, ValueError, "step == -0.1"),
        ({"method": "dps", "step": 0.1, "sampler": "heun"}, ValueError, "ddim or ddpm, got the sampler heun"),
        ({"method": "dps_score", "noise_std": 0.0}, ValueError, "noise_std must be above 0"),
        ({"noise_std": -1.0}, ValueError, "noise_std == -1"),
        ({"noise_std": np.nan}, ValueError, "noise_std must be finite, got nan"),
        ({"method": "dps", "step": np.nan}, ValueError, "step must be finite, got nan"),
        ({"method": "pigdm", "data_std": 0.0}, ValueError, "data_std == 0"),
        ({"method": "pigdm", "data_std": np.inf}, ValueError, "data_std must be finite"),
        ({"method": "tmpd", "data_std": 1.0}, ValueError, "data_std is a setting of method 'pigdm', and 'tmpd'"),
        ({"y": Y[:2]}, ValueError, "needs y of the shape"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(change, error, message):
    with pytest.raises(error, match=message):
        posterior_law(**({"law": LAW, "y": Y, "operator": A, "noise_std": TAU} | change))


@pytest.mark.parametrize("method", [one for one in METHODS if one != "dps_score"])
def test_an_impossible_measurement_is_refused_by_every_method(method):
    step = 0.02 if method == "dps" else None
    flat = Gaussian.diagonal(np.zeros(2), [1.0, 0.0])
    for y, operator in (([1.0], [[0.0, 0.0]]), ([1.0, 2.0], [[1.0, 0.0]] * 2), ([1.0], [1])):
        with pytest.raises(ValueError, match="the probability 0"):
            posterior_law(flat, y, operator, 0.0, method=method, step=step)
    possible = posterior_law(flat, [1.0, 1.0], [[1.0, 0.0]] * 2, 0.0, method=method, step=step)  # control
    assert possible.dim == 2


def test_dps_has_no_denoiser():
    with pytest.raises(ValueError, match="use posterior_law, or method='dps_score'"):
        posterior_denoiser(LAW, Y, A, TAU, method="dps")


# ---------------------------------------------------------------- another library


@pytest.mark.diffusers
@pytest.mark.parametrize("method", ["tmpd", "tmpd_diagonal"])
def test_azula_has_the_same_denoisers(method):
    """azula differentiates the denoiser; its ``mmps`` solves for V = C_x, and its ``tmpd`` takes row sums."""
    torch = pytest.importorskip("torch", reason="needs torch: pip install '.[torch]'")
    azula = pytest.importorskip("azula", reason="needs azula: pip install azula")
    assert azula
    from azula.denoise import GaussianDenoiser
    from azula.guidance.mmps import MMPSDenoiser
    from azula.guidance.tmpd import TMPDenoiser
    from azula.linalg.covariance import FullCovariance, IsotropicCovariance
    from azula.noise import CosineSchedule

    def tensor(array):
        return torch.tensor(np.asarray(array), dtype=torch.float64)

    rows, variance, basis = tensor(A), *np.linalg.eigh(LAW.covariance)
    prior = GaussianDenoiser(tensor(LAW.mean), FullCovariance(tensor(basis), tensor(variance)), CosineSchedule())
    if method == "tmpd":
        theirs = MMPSDenoiser(prior, tensor(Y), lambda x: x @ rows.T, IsotropicCovariance(TAU**2), iterations=M)
    else:
        theirs = TMPDenoiser(prior, tensor(Y), lambda x: x @ rows.T, TAU**2)
    ours = posterior_denoiser(LAW, Y, A, TAU, method=method)
    x = np.random.default_rng(5).normal(size=(1, 4, D))
    for t in (0.1, 0.5, 0.9):
        alpha, sigma = map(float, prior.schedule(tensor(t)))
        np.testing.assert_allclose(ours(x, alpha, sigma), theirs(tensor(x), tensor(t)).mean, atol=1e-6)
