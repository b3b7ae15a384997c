"""Samplers: their order, their textbook formulas, the law they draw from, and samplers as values.

Where a sampler loses its order, the tests below say where and why:

- dpm++2m, all but karras: the last steps halve sigma (h = log 2 however many steps there are), which adds
  a logarithm, log(n) / n^2.
- heun and dpm++2m, karras: the last step, from sigma_min, is of first order and has a fixed length.
- em, flow: the law of a Gaussian has the second order.
- heun, vp: where the data has no variance, x' = sigma'/sigma x ~ x / 2t, which is singular at 0. Even steps
  of sqrt(t) save the first order; even steps of t would leave order 1/2.
"""

import pickle
import sys
from dataclasses import FrozenInstanceError, dataclass
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chi2

from lineardiffusion import LinearDiffusion, samplers
from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.diffusion.guidance import Combination
from lineardiffusion.diffusion.regression import RegressionDenoiser
from lineardiffusion.diffusion.samplers import SAMPLERS, get_sampler, velocity
from lineardiffusion.diffusion.schedules import SCHEDULES, Karras, get_schedule
from lineardiffusion.diffusion.trajectory import Trajectory, compose, simulate
from lineardiffusion.statistics.joint import JointMoments

D = 4
FINE_KARRAS = Karras(sigma_min=1e-5)  # its last step plays no part


def course(sampler, schedule, num_steps=None):
    """The trajectory of a sampler: a name or a function with its number of steps, or an object."""
    return Trajectory(get_sampler(sampler, num_steps), get_schedule(schedule), every_step=True)


def gaussian(variance=(2.0, 1.0, 0.5, 0.25), p=1):
    """Gaussians of these eigenvalues, each prompt with a mean and a basis of its own."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(p, D, D)))
    return GaussianDenoiser(rng.normal(size=(p, D)), np.tile(variance, (p, 1)), basis)


def words(p=2):
    """A regression on two numbers, which no basis makes diagonal."""
    rng = np.random.default_rng(1)
    e = rng.normal(size=(50, 2))
    z = e @ rng.normal(size=(2, D)) + e[:, :1] * rng.normal(size=(50, D)) + rng.normal(size=(50, D))
    joint = JointMoments.of(e, z / 2).project(np.zeros(D), np.eye(D))
    return RegressionDenoiser.from_moments(joint).select(e[:p])


# ---------------------------------------------------------------- order of convergence

STEPS = np.array([100, 200, 400, 800])


def errors(sampler, schedule, denoiser, steps=STEPS):
    """Distance of the composed map to the exact flow's, for each number of steps."""
    exact, *maps = (
        compose(denoiser, 1, D, course(name, schedule, int(n)))
        for name, n in [("exact", 1), *((sampler, n) for n in steps)]
    )
    rows = [np.vstack([x.matrix[0], x.offset]) for x in maps]
    return np.array([np.linalg.norm(one - np.vstack([exact.matrix[0], exact.offset])) for one in rows])


def order(errors, steps=STEPS):
    """Minus the slope of log error against log number of steps."""
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


def lopsided_heun(denoise, x, schedule, times, add_noise):
    """Heun's method with weights 0.6 and 0.4."""
    for t, t_ in pairwise(times.tolist()):
        v = velocity(denoise, x, schedule, t)
        if schedule(t_)[1] > 0.0:
            v = 0.6 * v + 0.4 * velocity(denoise, x + (t_ - t) * v, schedule, t_)
        x = x + (t_ - t) * v
        yield x


def classical(last_by_euler=False, middle=2.0):
    """rk4 with `middle` times the weight of an end for the slopes in the middle; right is 2."""

    def sampler(denoise, x, schedule, times, add_noise):
        for t, t_ in pairwise(times.tolist()):
            h = t_ - t
            slope = velocity(denoise, x, schedule, t)
            if schedule(t_)[1] > 0.0 or not last_by_euler:
                inside = [t + 0.5 * h, t + 0.5 * h, t_ if schedule(t_)[1] > 0.0 else t + 0.999 * h]
                k = [slope]
                for at, share in zip(inside, (0.5, 0.5, 1.0), strict=True):
                    k.append(velocity(denoise, x + (share * h) * k[-1], schedule, at))
                slope = (1 / (2 + 2 * middle)) * (k[0] + middle * k[1] + middle * k[2] + k[3])
            x = x + h * slope
            yield x

    return sampler


def two_step(weight):
    """dpm++2m with `weight` h / h_last for the extrapolation; right is 0.5, none is 0."""

    def sampler(denoise, x, schedule, times, add_noise):
        x0_last, h_last = None, None
        levels = zip(*(level.tolist() for level in schedule(times)), strict=True)
        for (alpha, sigma), (alpha_, sigma_) in pairwise(levels):
            with np.errstate(divide="ignore"):
                h = np.log(np.float64(alpha_) / sigma_ if sigma_ else np.inf) - np.log(np.float64(alpha) / sigma)
            x0 = estimate = denoise(x, alpha, sigma)
            if x0_last is not None and np.isfinite(h) and np.isfinite(h_last):
                estimate = x0 + float(weight * h / h_last) * (x0 - x0_last)
            x = (sigma_ / sigma) * x + float(-alpha_ * np.expm1(-h)) * estimate
            x0_last, h_last = x0, h
            yield x

    return sampler


@pytest.mark.parametrize("schedule", ["cosine", "vp", FINE_KARRAS, "flow"], ids=str)
@pytest.mark.parametrize(("sampler", "expected"), [("ddim", 1), ("euler", 1), ("heun", 2)])
def test_order_of_convergence(sampler, expected, schedule):
    assert abs(order(errors(sampler, schedule, gaussian())) - expected) < 0.06


FEWER = np.array([20, 40, 80, 160])


@pytest.mark.parametrize("schedule", ["cosine", "vp", FINE_KARRAS, "flow"], ids=str)
def test_order_of_the_classical_method(schedule):
    """Also in its last step, to no noise, which is another method."""
    assert abs(order(errors("rk4", schedule, gaussian(), FEWER), FEWER) - 4) < 0.1


@pytest.mark.parametrize(
    ("broken", "expected"), [(classical(last_by_euler=True), 2), (classical(middle=1.0), 2)], ids=["end", "weights"]
)
def test_a_broken_classical_method_shows_the_wrong_order(broken, expected):
    """Controls: Euler's method to the end; a method whose weights are those of no order above 2."""
    assert abs(order(errors(broken, "cosine", gaussian(), FEWER), FEWER) - expected) < 0.2


def test_order_of_dpm_solver():
    assert abs(order(errors("dpm++2m", FINE_KARRAS, gaussian())) - 2) < 0.06
    for schedule in ("cosine", "flow"):  # log(n) / n^2
        found = errors("dpm++2m", schedule, gaussian())
        assert 1.7 < order(found) < 1.9
        assert abs(order(found / np.log(STEPS)) - 2) < 0.1


@pytest.mark.parametrize(
    "broken",
    [lopsided_heun, two_step(0.0), two_step(0.4)],
    ids=["heun with other weights", "dpm++2m without extrapolation", "dpm++2m with too little"],
)
def test_a_broken_sampler_shows_the_wrong_order(broken):
    """The control: what is wrong in one symbol is of first order, and found out."""
    assert order(errors(broken, FINE_KARRAS, gaussian())) < 1.2


def test_the_times_of_vp_keep_the_second_order():
    assert 1.7 < order(errors("dpm++2m", "vp", gaussian())) < 2.1
    assert abs(order(errors("heun", "vp", gaussian())) - 2) < 0.06


@pytest.mark.parametrize("sampler", ["heun", "dpm++2m"])
def test_karras_stops_at_the_error_of_its_last_step(sampler):
    """sqrt(l) - l / sqrt(l + sigma_min^2), about sigma_min^2 / (2 sqrt(l)): no number of steps helps."""
    variance = np.array([1e-1, 1e-2, 1e-3, 1e-4])
    denoiser = GaussianDenoiser(np.zeros((1, D)), variance[None], np.eye(D)[None])
    maps = [compose(denoiser, 1, D, course(name, "karras", 6000)).matrix[0] for name in (sampler, "exact")]
    floor = np.sqrt(variance) - variance / np.sqrt(variance + 0.002**2)
    np.testing.assert_allclose(np.diag(maps[1] - maps[0]), floor, rtol=0.03)


@pytest.mark.parametrize(("sampler", "expected"), [("euler", 1), ("heun", 1)])
def test_order_one_on_vp_where_the_data_has_no_variance(sampler, expected):
    """ddim, in sigma / alpha, makes no error at all."""
    certain = gaussian([0.0] * D)
    steps = 2 * STEPS
    assert abs(order(errors(sampler, "vp", certain, steps), steps) - expected) < 0.1
    assert errors("ddim", "vp", certain, [5])[0] < 1e-14
    assert errors("ddim", "vp", gaussian(), [5])[0] > 1e-2


def law_errors(sampler, schedule, steps=STEPS):
    """Distance of mean and covariance to those of the data, for each number of steps."""
    denoiser = gaussian()
    Q, m = denoiser.basis[0], denoiser.mean[0]
    C = (Q * denoiser.variance[0]) @ Q.T
    maps = [compose(denoiser, 1, D, course(sampler, schedule, int(n))) for n in steps]
    return np.array([np.linalg.norm(x.covariance[0] - C) + np.linalg.norm(x.offset[0] - m) for x in maps])


@pytest.mark.parametrize("schedule", ["cosine", "vp", FINE_KARRAS, "flow"], ids=str)
@pytest.mark.parametrize("sampler", ["ddpm", samplers.ddpm(variance="fixed_large"), "em", "ei"], ids=str)
def test_stochastic_samplers_draw_from_the_law_of_the_data_as_steps_grow(sampler, schedule):
    expected = 2 if (sampler, schedule) == ("em", "flow") else 1
    assert abs(order(law_errors(sampler, schedule)) - expected) < 0.1


def test_stochastic_samplers_of_a_sum_of_denoisers_have_one_limit():
    """It is not that of the probability flow, nor that of half of the noise; by Richardson's extrapolation."""
    denoiser = gaussian(p=2)
    guided = Combination([denoiser.select(np.array([k])) for k in (0, 1)], [1.5, -0.5])

    def limit(sampler):
        a, b = (compose(guided, 1, D, course(sampler, "vp", n)).covariance[0] for n in (200, 400))
        return 2 * b - a

    ddpm, large, em, ei, half, flow = map(
        limit, ("ddpm", samplers.ddpm(variance="fixed_large"), "em", "ei", samplers.ddim(eta=0.5), "ddim")
    )
    for same in (large, em, ei):
        np.testing.assert_allclose(same, ddpm, atol=2e-3)
    assert np.abs(half - ddpm).max() > 0.02  # controls
    assert np.abs(flow - ddpm).max() > 0.02


def reverse(noise=1.0, score=1.0):
    """em with `noise` times the variance and `score` times the score; right is 1."""

    def sampler(denoise, x, schedule, times, add_noise):
        for t, t_ in pairwise(times.tolist()):
            (alpha, sigma), h = map(float, schedule(t)), t - t_
            f = schedule.derivative(t)[0] / alpha
            g2 = 2 * sigma * schedule.derivative(t)[1] - 2 * f * sigma**2
            s = (alpha * denoise(x, alpha, sigma) - x) / sigma**2
            x = add_noise(x - h * (f * x - score * g2 * s), float(np.sqrt(noise * h * g2)))
            yield x

    return sampler


def test_the_reverse_sde_needs_both_of_its_terms():
    """em written once more as the SDE has it; and controls, a wrong factor of which no number of steps mends."""
    right = law_errors("em", "vp")
    np.testing.assert_allclose(law_errors(reverse(), "vp"), right, rtol=1e-9)
    for wrong in (reverse(noise=0.9), reverse(score=0.9)):
        found = law_errors(wrong, "vp")
        assert order(found) < 0.3
        assert found[-1] > 20 * right[-1]


# ---------------------------------------------------------------- textbook formulas


def steps_of(sampler, schedule):
    """Every step on latents: state, guess, levels, next state, and the noise asked for (0 is added)."""
    denoiser, way = gaussian(), course(sampler, schedule)
    x = way.start[1] * np.random.default_rng(2).normal(size=(1, 3, D))
    asked = []

    def add_noise(x, tau):
        asked.append(tau)
        return x

    levels = list(zip(*way.schedule(way.times), strict=True))
    for (now, then), x_ in zip(
        pairwise(levels), sampler(denoiser, x, way.schedule, way.times, add_noise), strict=True
    ):
        yield x, denoiser(x, *now), now, then, x_, asked.pop() if asked else 0.0
        x = x_


@pytest.mark.parametrize("schedule", ["cosine", "vp"])
def test_ddpm_is_the_posterior_of_ho(schedule):
    """q(x_s | x_t, x0), the beta of the step from s to t being 1 - abar_t / abar_s (Ho 2020, eq. 6-7)."""
    for x, x0, (alpha, _), (alpha_, _), x_, tau in steps_of(samplers.ddpm(6), schedule):
        abar_t, abar_s = alpha**2, alpha_**2
        beta = 1 - abar_t / abar_s
        mean = (np.sqrt(abar_s) * beta * x0 + np.sqrt(1 - beta) * (1 - abar_s) * x) / (1 - abar_t)
        np.testing.assert_allclose(x_, mean, atol=1e-12)
        np.testing.assert_allclose(tau**2, (1 - abar_s) / (1 - abar_t) * beta, atol=1e-12)


@pytest.mark.parametrize("schedule", ["cosine", "vp"])
def test_the_large_variance_is_beta(schedule):
    """Ho 2020, section 3.2, with none at the last step; the mean is that of the small one."""
    both = zip(
        *(steps_of(samplers.ddpm(6, variance=v), schedule) for v in ("fixed_small", "fixed_large")), strict=True
    )
    for (*_, small, tau), (*_, (alpha, _), (alpha_, sigma_), large, wide) in both:
        np.testing.assert_allclose(large, small, atol=1e-14)
        np.testing.assert_allclose(wide**2, 1 - (alpha / alpha_) ** 2 if sigma_ else 0.0, atol=1e-12)
        assert wide > tau or not sigma_


def test_the_large_variance_is_right_for_standard_normal_data():
    """Then x' given x is drawn exactly, whatever the schedule; with the small variance only for a single point."""
    for schedule in ("cosine", "karras"):
        for variance, kind, exact in ((1.0, "fixed_large", True), (1.0, "fixed_small", False)):
            denoiser, way = gaussian([variance] * D), course(samplers.ddpm(6, variance=kind), schedule)
            way = Trajectory(way.sampler, way.schedule, at=5)
            x, (alpha, sigma) = compose(denoiser, 1, D, way), way.schedule(way.times[5])
            alpha0, sigma0 = way.start
            start = (alpha0**2 * variance + sigma0**2) / sigma0**2 * np.eye(D)
            found = x.matrix[0].T @ start @ x.matrix[0] + x.root[0].T @ x.root[0]
            assert np.allclose(found, (alpha**2 + sigma**2) * np.eye(D), atol=1e-10) == exact


def test_em_is_the_formula_of_song():
    """Song 2021b, eq. 6 and 11: f = -beta / 2 and g^2 = beta for the variance preserving SDE."""
    way = course(samplers.em(6), "vp")
    for i, (x, x0, (alpha, sigma), _, x_, tau) in enumerate(steps_of(samplers.em(6), "vp")):
        t, h = way.times[i], way.times[i] - way.times[i + 1]
        beta, score = 0.1 + 19.9 * t, (alpha * x0 - x) / sigma**2
        np.testing.assert_allclose(x_, x + h * (0.5 * beta * x + beta * score), rtol=1e-10)
        np.testing.assert_allclose(tau**2, h * beta, rtol=1e-10)


def test_ei_is_the_formula_of_pierret():
    """dx = (b x + 2 b s) dt + sqrt(2 b) dw, solved with s held constant; B is the integral of b."""

    def B(t):
        return 0.05 * t + 9.95 / 2 * t**2

    way = course(samplers.ei(6), "vp")
    for i, (x, x0, (alpha, sigma), _, x_, tau) in enumerate(steps_of(samplers.ei(6), "vp")):
        growth, score = B(way.times[i]) - B(way.times[i + 1]), (alpha * x0 - x) / sigma**2
        np.testing.assert_allclose(x_, np.exp(growth) * x + 2 * np.expm1(growth) * score, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(tau**2, np.expm1(2 * growth), rtol=1e-9)


@pytest.mark.parametrize("sampler", ["em", "ei"])
def test_the_step_out_of_pure_noise_is_ddpm_s(sampler):
    (first, *_), (expected, *_) = steps_of(get_sampler(sampler, 6), "cosine"), steps_of(samplers.ddpm(6), "cosine")
    assert first[2][0] == 0.0
    np.testing.assert_allclose(first[4], expected[4], atol=1e-14)
    assert first[5] == pytest.approx(expected[5], rel=1e-14)


class Rescaled(Karras):
    """The levels of Karras, divided so that their squares sum to 1."""

    def __call__(self, t):
        alpha, sigma = super().__call__(t)
        return alpha / np.hypot(alpha, sigma), sigma / np.hypot(alpha, sigma)


@pytest.mark.parametrize(
    ("sampler", "same"),
    [("ddim", True), ("ddpm", True), (samplers.ddpm(9, variance="fixed_large"), True), ("dpm++2m", True),
     ("ei", True), ("em", False), ("euler", False), ("heun", False), ("rk4", False)],
    ids=str,
)  # fmt: skip
def test_samplers_by_levels_do_not_see_the_scale(sampler, same):
    """A step of them depends on the ratios alpha / sigma alone; the others depend on the time."""
    a, b = (compose(gaussian(), 1, D, course(sampler, schedule, 9)) for schedule in (Karras(), Rescaled()))
    close = np.allclose(a.covariance, b.covariance, rtol=1e-9) and np.allclose(a.offset, b.offset, rtol=1e-9)
    assert close == same


@pytest.mark.parametrize("schedule", ["cosine", "vp"])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_is_the_formula_of_song(schedule, eta):
    """Song 2021, eq. 12 and 16, in abar."""
    for x, x0, (alpha, _), (alpha_, _), x_, tau in steps_of(samplers.ddim(6, eta=eta), schedule):
        abar_t, abar_s = alpha**2, alpha_**2
        eps = (x - np.sqrt(abar_t) * x0) / np.sqrt(1 - abar_t)
        spread = eta * np.sqrt((1 - abar_s) / (1 - abar_t)) * np.sqrt(1 - abar_t / abar_s)
        direction = np.sqrt(np.maximum(1 - abar_s - spread**2, 0.0))
        np.testing.assert_allclose(x_, np.sqrt(abar_s) * x0 + direction * eps, atol=1e-7)
        np.testing.assert_allclose(tau, spread, atol=1e-12)


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_dpm_solver_is_the_formula_of_lu(schedule):
    """Lu 2022, algorithm 2, written once more in lambda = log(alpha / sigma)."""
    found = compose(words(), 2, D, course("dpm++2m", schedule, 9)).rows
    again = compose(words(), 2, D, course(two_step(0.5), schedule, 9)).rows
    np.testing.assert_allclose(found, again, atol=1e-11)
    none = compose(words(), 2, D, course(two_step(0.0), schedule, 9)).rows
    assert np.abs(found - none).max() > 1e-3  # control


@pytest.mark.parametrize("schedule", ["flow", "karras"])
def test_ddim_is_euler_where_alpha_and_sigma_are_straight(schedule):
    for denoiser, p in ((gaussian(), 1), (words(), 2)):
        a, b = (compose(denoiser, p, D, course(name, schedule, 7)).rows for name in ("ddim", "euler"))
        np.testing.assert_allclose(a, b, atol=1e-12)
        curved = (compose(denoiser, p, D, course(name, "cosine", 7)).rows for name in ("ddim", "euler"))
        assert np.abs(np.subtract(*curved)).max() > 1e-3  # control


def test_one_step_is_the_denoiser_of_pure_noise():
    """x = D(n; 1, 1) = m + C (C + I)^-1 (n - m), whatever the schedule and the number of steps."""
    denoiser = gaussian()
    Q, m = denoiser.basis[0], denoiser.mean[0]
    C = (Q * denoiser.variance[0]) @ Q.T
    gain = np.linalg.solve(C + np.eye(D), C)  # C and (C + I)^-1 commute
    for schedule, n in (("cosine", 1), ("karras", 50)):
        x = compose(denoiser, 1, D, course("one_step", schedule, n))
        np.testing.assert_allclose(x.matrix[0], gain, atol=1e-14)
        np.testing.assert_allclose(x.offset[0], m - gain @ m, atol=1e-14)
    noise = np.random.default_rng(3).normal(size=(2, 5, D))
    x = compose(words(), 2, D, course("one_step", "vp", 1))
    np.testing.assert_allclose(x(noise), words()(noise, 1.0, 1.0), atol=1e-14)


# ---------------------------------------------------------------- composed and simulated


class Pulses:
    """A generator whose `step`-th draw is `vector`, and all others 0."""

    def __init__(self, step=-1, vector=None):
        self.step, self.vector, self.drawn = step, vector, 0

    def normal(self, size):
        self.drawn += 1
        return self.vector if self.drawn - 1 == self.step else np.zeros(size)


KINDS = ["eigenbasis", "full", "words"]


def composed(kind, way):
    """A denoiser of two prompts and its map: made in its eigenbasis, or of full matrices all the way."""
    denoiser = words() if kind == "words" else gaussian(p=2)
    if kind != "full":
        return denoiser, compose(denoiser, 2, D, way)
    start = way.start[1] * Affine.identity(2, D)
    *_, x = way.sampler(denoiser, start, way.own_schedule, way.times, Affine.with_noise)
    return denoiser, x


@pytest.mark.parametrize("schedule", list(SCHEDULES))
@pytest.mark.parametrize("sampler", list(SAMPLERS))
@pytest.mark.parametrize("kind", KINDS)
def test_composed_equals_simulated(kind, sampler, schedule):
    way = course(sampler, schedule, 8)
    denoiser, x = composed(kind, way)
    noise = np.random.default_rng(4).normal(size=(2, 3, D))
    *_, found = simulate(denoiser, noise, way, [Pulses() for _ in range(6)])
    # the flow of shared words is solved numerically, each time with steps of its own
    tolerance = 1e-7 if kind == "words" and sampler == "exact" else 1e-10
    np.testing.assert_allclose(x(noise), found, rtol=tolerance, atol=tolerance)
    assert (x.n_noises > 0) == (sampler in ("ddpm", "em", "ei"))


@pytest.mark.parametrize("schedule", list(SCHEDULES))
@pytest.mark.parametrize("sampler", [samplers.ddpm(6), samplers.ddim(6, eta=0.5), samplers.ei(6)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_gathered_noise_is_the_sum_of_what_each_draw_does(kind, sampler, schedule):
    """Each step's noise, one basis vector at a time, is simulated to the end: R^T R is the sum of squares."""
    way = course(sampler, schedule)
    denoiser, x = composed(kind, way)
    pulses = [Pulses(step, row) for step in range(6) for row in np.eye(D)]
    silent = np.zeros((2, len(pulses) + 1, D))
    generators = [g for _ in range(2) for g in [Pulses(), *(Pulses(q.step, q.vector) for q in pulses)]]
    *_, found = simulate(denoiser, silent, way, generators)
    effect = found[:, 1:] - found[:, :1]
    np.testing.assert_allclose(x.root.mT @ x.root, effect.mT @ effect, atol=1e-11)
    np.testing.assert_allclose(x.covariance, x.matrix.mT @ x.matrix + effect.mT @ effect, atol=1e-11)


def test_a_denoiser_without_a_basis_is_composed_too():
    turned, way = gaussian().coordinates, course("heun", "cosine", 4)
    noise = np.random.default_rng(4).normal(size=(1, 3, D))
    *_, found = simulate(turned, noise, way, [])
    np.testing.assert_allclose(compose(turned, 1, D, way)(noise), found, atol=1e-10)


def test_every_step_is_shown_and_exact_is_exact_at_each():
    denoiser, way = gaussian(), course("exact", "vp", 5)
    noise = np.random.default_rng(5).normal(size=(1, 3, D))
    states = list(simulate(denoiser, noise, way, []))
    assert len(states) == 6
    alpha, sigma = way.schedule(way.times)
    for x, a, s in zip(states, alpha, sigma, strict=True):
        expected = denoiser.flow(sigma[0] * noise, (alpha[0], sigma[0]), (a, s))
        np.testing.assert_allclose(x, expected, atol=1e-12)


# ---------------------------------------------------------------- the law, by drawing from it


def agreement(draws, mean, covariance):
    """p-values of mean and covariance: whitened, both have chi-squared deviations for n large."""
    n, d = draws.shape
    white = np.linalg.solve(np.linalg.cholesky(covariance), (draws - mean).T)
    of_mean = n * np.sum(white.mean(axis=1) ** 2)
    of_covariance = 0.5 * n * np.sum((np.cov(white) - np.eye(d)) ** 2)
    return chi2.sf(of_mean, d), chi2.sf(of_covariance, d * (d + 1) // 2)


class Together:
    """A generator that draws for n latents at once."""

    def __init__(self, rng, n):
        self.rng, self.n = rng, n

    def normal(self, size):
        return self.rng.normal(size=(self.n, size))


@pytest.mark.parametrize(
    ("sampler", "schedule"),
    [(samplers.ddpm(4), "cosine"), (samplers.em(4), "vp"), (samplers.heun(4), "karras")],
    ids=str,
)
@pytest.mark.parametrize("kind", ["basis", "words"])
def test_the_law_is_that_of_what_is_simulated(kind, sampler, schedule):
    denoiser = gaussian() if kind == "basis" else words(p=1)
    way, rng, n = course(sampler, schedule), np.random.default_rng(6), 100_000
    *_, found = simulate(denoiser, rng.normal(size=(1, n, D)), way, [Together(rng, n)])
    x = compose(denoiser, 1, D, way)
    mean, covariance = x.offset[0], x.covariance[0]
    assert min(agreement(found[0], mean, covariance)) > 1e-3
    # controls: one direction's variance off by 5 %, the mean by a fiftieth of a standard deviation
    variance, Q = np.linalg.eigh(covariance)
    off = (Q * np.where(np.arange(D) == 1, 1.05, 1.0) * variance) @ Q.T
    assert agreement(found[0], mean, off)[1] < 1e-6
    assert agreement(found[0], mean + 0.02 * np.sqrt(variance[1]) * Q[:, 1], covariance)[0] < 1e-4


@pytest.mark.parametrize("scale", [1e30, 1e150])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_beyond_all_numbers_is_refused_everywhere(tiny, scale):
    """Not NaN for a picture, whichever way it is asked for; and the far end of what is drawn is finite."""
    ld = LinearDiffusion().fit(*tiny)
    way = {"guidance_scale": scale, "sampler": "ddim", "num_steps": 20}
    calls = [
        lambda: ld.predict(["up"], seed=1, **way),
        lambda: ld.predict(["up"], seed=1, return_trajectory=True, **way),
        lambda: list(ld.staged_predict(["up"], seed=1, **way)),
        lambda: ld.affine("up", **way),
        lambda: ld.law("up", **way),
        lambda: ld.predict(["up"], latents=np.full((1, ld.n_components_), 1e31)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="range of numbers"):
            call()
    single = LinearDiffusion().fit(tiny[0], (1e12 * tiny[1]).astype(np.float32))
    for weight in np.geomspace(10, 1e10, 10):
        try:
            drawn = single.predict(["up"], seed=1, guidance_scale=weight, sampler="ddim", num_steps=5)
        except ValueError:
            continue
        assert np.isfinite(drawn).all()


# ---------------------------------------------------------------- samplers as values


OBJECTS = [
    samplers.exact(7),
    samplers.ddim(7),
    samplers.ddim(7, eta=0.5),
    samplers.ddpm(7),
    samplers.ddpm(7, variance="fixed_large"),
    samplers.em(7),
    samplers.ei(7),
    samplers.rk4(7),
    samplers.euler(7),
    samplers.heun(7),
    samplers.dpmpp_2m(7),
    samplers.one_step(),
]


def test_samplers_are_equal_by_value_and_hashable():
    again = [pickle.loads(pickle.dumps(one)) for one in OBJECTS]
    assert again == OBJECTS
    assert len(set(OBJECTS) | set(again)) == len(OBJECTS)
    assert len({Trajectory(one, Karras()).key for one in [*OBJECTS, *again]}) == len(OBJECTS)
    assert samplers.ddim(7) != samplers.ddim(8)
    for one in OBJECTS:
        with pytest.raises(FrozenInstanceError):
            one.num_steps = 3


def test_names_are_shorthands():
    assert get_sampler("ddim") == samplers.ddim()
    assert get_sampler("heun", 9) == samplers.heun(9) == get_sampler(samplers.heun(3), 9)
    assert get_sampler(samplers.ddim(20, eta=0.5), 4) == samplers.ddim(4, eta=0.5)
    for name, kind in SAMPLERS.items():
        assert type(get_sampler(name)) is kind
    assert get_sampler(lopsided_heun, 4).num_steps == 4


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: samplers.ddim(0), ValueError, "num_steps"),
        (lambda: samplers.heun(2.0), TypeError, "num_steps"),
        (lambda: samplers.ddim(eta=1.5), ValueError, "eta"),
        (lambda: samplers.ddim(eta=-0.1), ValueError, "eta"),
        (lambda: samplers.ddim(eta="much"), TypeError, "eta"),
        (lambda: samplers.ddpm(variance="learned"), ValueError, "fixed_large"),
        (lambda: get_sampler("magic"), ValueError, "magic"),
        (lambda: get_sampler(3), TypeError, "sampler"),
        (lambda: get_sampler(samplers.ddim), TypeError, "ddim"),
    ],
)
def test_bad_samplers(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()


@pytest.mark.parametrize("sampler", OBJECTS, ids=str)
def test_an_object_is_its_name_everywhere(tiny, sampler):
    """In the constructor and in every call; eta has no name."""
    named = {"sampler": type(sampler).name, "num_steps": sampler.num_steps}
    default, own = LinearDiffusion().fit(*tiny), LinearDiffusion(sampler=sampler).fit(*tiny)
    prompts, images = tiny
    for call in (
        lambda ld, **way: ld.predict(["up", "left"], seed=3, **way),
        lambda ld, **way: np.array(list(ld.staged_predict(["up"], seed=3, **way))),
        lambda ld, **way: ld.affine("up", **way)[0],
        lambda ld, **way: ld.law("up", **way).covariance,
        lambda ld, **way: ld.score_samples(images[:4], prompts[:4], **way),
        lambda ld, **way: ld.classify_proba(images[:4], **way),
    ):
        np.testing.assert_array_equal(call(default, sampler=sampler), call(own))
        if sampler == get_sampler(type(sampler).name, sampler.num_steps):
            np.testing.assert_array_equal(call(default, **named), call(own))
    of_eta = default.law("up", sampler=samplers.ddim(7, eta=0.5)).covariance
    assert (np.abs(own.law("up").covariance - of_eta).max() > 1e-3) == (sampler != samplers.ddim(7, eta=0.5))


def own_heun(denoise, x, schedule, times, add_noise):
    """A user's copy of Heun's method."""
    for t, t_ in pairwise(times.tolist()):
        v = velocity(denoise, x, schedule, t)
        if schedule(t_)[1] > 0.0:
            v = 0.5 * (v + velocity(denoise, x + (t_ - t) * v, schedule, t_))
        x = x + (t_ - t) * v
        yield x


def own_ddpm(denoise, x, schedule, times, add_noise):
    """A user's copy of ancestral sampling, in Ho's symbols."""
    levels = zip(*(level.tolist() for level in schedule(times)), strict=True)
    for (alpha, sigma), (alpha_, sigma_) in pairwise(levels):
        beta = 1 - (alpha / alpha_) ** 2
        x0 = denoise(x, alpha, sigma)
        x = ((1 - beta) ** 0.5 * sigma_**2 / sigma**2) * x + (alpha_ * beta / sigma**2) * x0
        if sigma_ > 0:
            x = add_noise(x, sigma_ / sigma * beta**0.5)
        yield x


@dataclass(frozen=True)
class OwnHeun(samplers.Sampler):
    """The same as a subclass, with a setting."""

    half: float = 0.5

    def __call__(self, denoise, x, schedule, times, add_noise):
        for t, t_ in pairwise(times.tolist()):
            v = velocity(denoise, x, schedule, t)
            if schedule(t_)[1] > 0.0:
                w = velocity(denoise, x + (t_ - t) * v, schedule, t_)
                v = (1 - self.half) * v + self.half * w
            x = x + (t_ - t) * v
            yield x


@pytest.mark.parametrize(
    ("own", "built_in"),
    [(own_heun, "heun"), (own_ddpm, "ddpm"), (OwnHeun(7), "heun")],
    ids=["function", "stochastic function", "subclass"],
)
def test_a_user_s_sampler_is_taken_wherever_a_name_is(tiny, own, built_in):
    images = tiny[1]
    theirs = LinearDiffusion(sampler=built_in, num_steps=7).fit(*tiny)
    mine, default = (LinearDiffusion(sampler=s, num_steps=7).fit(*tiny) for s in (own, "exact"))
    pictures = [
        lambda ld, **way: ld.predict(["up", "left"], seed=3, **way),
        lambda ld, **way: ld.predict(["up"], seed=3, guidance_scale=1.5, **way),
        lambda ld, **way: ld.predict(["up"], seed=3, start=images[:1], strength=0.5, **way),
    ]
    for call in (
        *(pictures if built_in != "ddpm" else []),  # its law is the same, and so are its simulations
        lambda ld, **way: ld.predict(["up"], seed=3, return_trajectory=True, **way)[1],
        lambda ld, **way: np.column_stack(ld.affine("up", **way)),
        lambda ld, **way: ld.law("up", **way).covariance,
        lambda ld, **way: ld.score_samples(images[:4], **way),
    ):
        expected = call(theirs)
        np.testing.assert_allclose(call(mine), expected, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(call(default, sampler=own), expected, rtol=1e-7, atol=1e-8)
        assert np.abs(call(default) - expected).max() > 1e-4  # control: the model's own sampler


def test_another_setting_of_a_user_s_sampler_is_another_sampler(tiny):
    """Frozen values are told apart in the cache; so are two functions of one name."""
    ld = LinearDiffusion().fit(*tiny)
    for _ in range(2):
        maps = [ld.affine("up", sampler=OwnHeun(7, half=half))[0] for half in (0.5, 0.4)]
        assert np.abs(maps[0] - maps[1]).max() > 1e-4
        maps = [ld.affine("up", sampler=two_step(weight), num_steps=7)[0] for weight in (0.5, 0.0)]
        assert np.abs(maps[0] - maps[1]).max() > 1e-4
    np.testing.assert_array_equal(
        ld.affine("up", sampler=OwnHeun(7))[0], ld.affine("up", sampler=OwnHeun(), num_steps=7)[0]
    )


class Scaled(samplers.Sampler):
    """A subclass that is no dataclass: ddim, every step scaled."""

    def __init__(self, scale):
        super().__init__(7)
        object.__setattr__(self, "scale", scale)

    def __call__(self, denoise, x, schedule, times, add_noise):
        for state in samplers.ddim(self.num_steps)(denoise, x, schedule, times, add_noise):
            yield self.scale * state


def test_a_subclass_that_is_no_dataclass_is_taken_as_it_is(tiny):
    plain, half = Scaled(1.0), Scaled(0.5)
    ld = LinearDiffusion(sampler=plain).fit(*tiny)
    before = ld.affine("up")[0]
    np.testing.assert_allclose(ld.affine("up", sampler="ddim", num_steps=7)[0], before, atol=1e-12)
    for _ in range(2):
        np.testing.assert_allclose(ld.affine("up", sampler=half)[0], 0.5 * before, atol=1e-12)
        np.testing.assert_allclose(ld.affine("up", sampler=plain)[0], before, atol=1e-12)
    object.__setattr__(half, "scale", 1.0)  # what may change is never taken from the cache
    np.testing.assert_allclose(ld.affine("up", sampler=half)[0], before, atol=1e-12)


def test_a_function_that_reads_a_global_is_never_taken_from_the_cache(tiny, monkeypatch):
    ld = LinearDiffusion(sampler=scaled, num_steps=7).fit(*tiny)
    before = ld.affine("up")[0]
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 0.0)
    np.testing.assert_array_equal(ld.affine("up")[0], 0.0 * before)
    assert np.abs(before).max() > 0.1


SCALE = 1.0


def scaled(denoise, x, schedule, times, add_noise):
    """A user's sampler with a global setting."""
    for state in samplers.ddim(len(times) - 1)(denoise, x, schedule, times, add_noise):
        yield SCALE * state


def drifting(denoise, x, schedule, times, add_noise):
    """A sampler that moves every latent by a vector and turns it, which no eigenbasis knows."""
    rng = np.random.default_rng(0)
    step = None
    for x in samplers.ddim(len(times) - 1)(denoise, x, schedule, times, add_noise):  # noqa: B020
        if step is None:
            d = (x.rows if isinstance(x, Affine) else x).shape[-1]
            step, turn = rng.normal(size=(1, 1, d)), np.linalg.qr(rng.normal(size=(d, d)))[0]
        yield x @ turn + step


def test_whatever_a_sampler_adds_composed_equals_simulated(tiny):
    ld = LinearDiffusion(sampler=drifting, num_steps=5).fit(*tiny)
    for way in ({}, {"guidance_scale": 1.5}):
        images, trajectory = ld.predict(["up", "left"], seed=3, return_trajectory=True, **way)
        np.testing.assert_allclose(ld.predict(["up", "left"], seed=3, **way), images, atol=1e-8)
        matrix, offset = ld.affine("up", **way)
        np.testing.assert_allclose(matrix @ trajectory[0, 0] + offset, trajectory[-1, 0], atol=1e-9)
    assert np.abs(ld.predict(["up", "left"], seed=3, sampler="ddim") - images).max() > 1  # control


def too_few(denoise, x, schedule, times, add_noise):
    yield x


def nothing(denoise, x, schedule, times, add_noise):
    yield from ()


def numbers(denoise, x, schedule, times, add_noise):
    yield from times[1:]


def multiplies(denoise, x, schedule, times, add_noise):
    for _ in times[1:]:
        yield x * x


def returns(denoise, x, schedule, times, add_noise):
    return denoise(x, 1.0, 1.0)


def for_ever(denoise, x, schedule, times, add_noise):
    while True:
        yield x


@pytest.mark.parametrize("wrong", [too_few, nothing, numbers, multiplies, returns, for_ever])
def test_a_function_that_is_no_sampler_is_refused(tiny, wrong):
    ld = LinearDiffusion().fit(*tiny)
    calls = [lambda: ld.predict(["up"], sampler=wrong), lambda: ld.law("up", sampler=wrong)]
    if wrong is not multiplies:  # which latents can do, and maps cannot
        calls.append(lambda: ld.predict(["up"], sampler=wrong, return_trajectory=True))
    for call in calls:
        with pytest.raises((TypeError, ValueError), match=r"sampler|Affine"):
            call()
    assert ld.predict(["up"], seed=0).shape == (1, 4, 3)


def test_names_of_other_libraries():
    """Parity of the samplers themselves is tested in test_oracle_libraries.py."""
    assert get_sampler("DPM++ 2M", 7) == get_sampler("dpmpp_2m", 7) == samplers.dpmpp_2m(7)
    assert get_sampler("Euler a") == samplers.ddpm()
    with pytest.raises(ValueError, match=r"unknown sampler 'Euler' \(other libraries' Euler is 'ddim'\)"):
        get_sampler("Euler")
