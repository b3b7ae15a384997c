"""Guidance by a function of the time, and the variance of a guided law."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from lineardiffusion import LinearDiffusion, samplers, schedules
from lineardiffusion.diffusion.guidance import TimedWeight

WARNED = "multiplies the variance"


@pytest.fixture(scope="module")
def ld(digits):
    return LinearDiffusion(12).fit(*digits)


@pytest.mark.parametrize("schedule", ["cosine", "vp", "karras", "flow"])
def test_the_time_is_found_from_the_level(schedule):
    """Whatever the scale of (alpha, sigma), and beyond the ends the nearest."""
    schedule = schedules.get_schedule(schedule)
    identity = TimedWeight.of(lambda t: t, schedule, schedule.times(7))
    for t in schedule.times(7)[1:-1].tolist():
        alpha, sigma = schedule(t)
        assert identity(3.0 * alpha, 3.0 * sigma) == t  # to the last bit, for a user's t <= 0.7
        alpha, sigma = schedule(0.99 * t)
        assert identity(3.0 * alpha, 3.0 * sigma) == pytest.approx(0.99 * t, rel=1e-7)
    assert identity(1.0, 0.0) == 0.0
    assert identity(0.0, 1.0) == pytest.approx(schedule.t_max)


@pytest.mark.parametrize("sampler", ["exact", "ddim", "ddpm", "heun", "one_step"])
def test_a_constant_function_is_that_number(ld, sampler):
    number, function = ({"sampler": sampler, "num_steps": 8, "guidance_scale": w} for w in (1.8, lambda t: 1.8))
    np.testing.assert_allclose(ld.law("3", **function).covariance, ld.law("3", **number).covariance, atol=1e-6)
    same = [ld.predict(["3", "5"], seed=0, negative_prompt="8", **way) for way in (number, function)]
    np.testing.assert_allclose(*same, atol=1e-4)
    other = ld.predict(["3", "5"], seed=0, negative_prompt="8", **(number | {"guidance_scale": 1.5}))
    assert np.abs(other - same[0]).max() > 0.1  # control


def test_a_function_guides_some_of_the_steps(ld):
    """ddim by hand: no guidance above t = 0.6, then w = 3; composed, simulated and as a law."""

    def scale(t):
        return 1.0 if t > 0.6 else 3.0

    noise = np.random.default_rng(0).normal(size=(1, 12))
    t = np.linspace(1, 0, 11)
    fitted = ld.fitted_
    own, pooled = fitted.conditional.select(np.array([7])), fitted.unconditional
    x = noise[None]
    for start, end in pairwise(t):
        alpha, sigma, alpha_, sigma_ = (f(np.pi * s / 2) for s in (start, end) for f in (np.cos, np.sin))
        w = scale(start)
        x0 = w * own(x, alpha, sigma) + (1 - w) * pooled(x, alpha, sigma)
        x = alpha_ * x0 + sigma_ * (x - alpha * x0) / sigma
    way = {"sampler": "ddim", "num_steps": 10, "guidance_scale": scale}
    images, trajectory = ld.predict(["7"], latents=noise, return_trajectory=True, **way)
    np.testing.assert_allclose(trajectory[-1], x[0], atol=1e-9)
    np.testing.assert_allclose(ld.predict(["7"], latents=noise, **way), images, atol=1e-4)
    matrix, offset = ld.affine("7", **way)
    np.testing.assert_allclose(matrix @ noise[0] + offset, x[0, 0], atol=1e-9)
    always = ld.affine("7", **(way | {"guidance_scale": 3.0}))[0]
    assert np.linalg.norm(matrix) < 0.8 * np.linalg.norm(always)


def test_embeddings_are_guided_by_functions_too(digits):
    one_hot = np.eye(10)[[int(p) for p in digits[0]]]
    ld = LinearDiffusion(4, sampler="ddim", num_steps=5, guidance_scale=lambda t: 2.0 - t).fit(one_hot, digits[1])
    drawn = ld.predict(one_hot[:2], seed=0)
    composed = ld.predict(np.repeat(one_hot[:2], 20, axis=0), latents=np.repeat(np.zeros((2, 4)), 20, axis=0))
    np.testing.assert_allclose(composed[0], ld.predict(one_hot[:1], latents=np.zeros((1, 4)))[0], atol=1e-4)
    assert np.abs(drawn - ld.predict(one_hot[:2], seed=0, guidance_scale=1.0)).max() > 0.1


def test_a_function_is_asked_anew_at_every_call(ld):
    """It may read what has changed, so neither maps nor laws of it are kept."""
    strength = [1.5]

    def scale(t):
        return strength[0]

    for _ in range(2):
        expected = ld.law("3", sampler="ddim", guidance_scale=strength[0]).mean
        np.testing.assert_allclose(ld.law("3", sampler="ddim", guidance_scale=scale).mean, expected, atol=1e-9)
        scores = [ld.score_samples(np.zeros((1, 8, 8)), ["3"], sampler="ddim", guidance_scale=w)
                  for w in (scale, strength[0])]  # fmt: skip
        np.testing.assert_allclose(*scores, rtol=1e-6)
        strength[0] = 2.0


def test_refusals(ld, digits, tmp_path):
    for odd in (np.nan, None, "3", [3.0]):
        with pytest.raises(ValueError, match="finite"):
            ld.predict(["3"], sampler="ddim", guidance_scale=lambda t, w=odd: w)
    with pytest.raises(TypeError, match="function"):
        ld.predict(["3"], guidance_scale="strong")
    function = LinearDiffusion(4, guidance_scale=lambda t: 1.0).fit(*digits)
    with pytest.raises(ValueError, match=r"guidance_scale.*refit"):
        function.save_pretrained(tmp_path)


@pytest.mark.parametrize("sampler", ["exact", samplers.heun(40)])
def test_a_guided_law_of_many_times_the_variance_is_warned_of_once(digits, sampler):
    ld = LinearDiffusion(12, sampler=sampler).fit(*digits)
    plain = np.trace(ld.law("7").covariance)
    times = {w: np.trace(ld.law("7", guidance_scale=w).covariance) / plain for w in (1.5, 4.0)}
    assert times[1.5] < 3 < 5 < times[4.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ld.predict(["7"], seed=0, guidance_scale=1.5)
        ld.predict([{"3": 0.5, "8": 0.5}], seed=0)
    with pytest.warns(UserWarning, match=WARNED) as told:
        ld.predict(["7"], seed=0, guidance_scale=4.0)
    assert float(str(told[0].message).split("images by ")[1].split(";")[0]) == pytest.approx(times[4.0], rel=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ld.predict(["7", "5"], seed=0, guidance_scale=4.0)
        ld.law("7", guidance_scale=7.0)  # who asks for the law is told by it
    with pytest.warns(UserWarning, match=WARNED):
        LinearDiffusion(12, sampler=sampler).fit(*digits).predict(["7"], guidance_scale=lambda t: 4.0)


def test_the_guided_variance_of_one_direction():
    """l (l / L)^(w - 1): one pixel, so both denoisers share their direction."""
    images = np.array([-3.0, 3.0, -1.0, 1.0]).reshape(4, 1, 1)
    ld = LinearDiffusion(shrinkage=0).fit(["wide", "wide", "narrow", "narrow"], images)
    for prompt, variance in (("wide", 9.0), ("narrow", 1.0)):
        for w in (0.5, 2.0, 4.0):
            found = ld.law(prompt, guidance_scale=w).covariance[0, 0] * ld.scaling_factor_**2
            assert found == pytest.approx(variance * (variance / 5.0) ** (w - 1), rel=1e-5)


def test_stochastic_samplers_have_a_limit_of_their_own_under_guidance(ld):
    """Deterministic ones converge to exact; without guidance all do."""

    def error(sampler, n, w):
        return ld.law("7", sampler=sampler, num_steps=n, guidance_scale=w).wasserstein(
            ld.law("7", guidance_scale=w)
        )

    assert error("ddim", 800, 3.0) < 0.3 * error("ddim", 200, 3.0)
    assert error("ddpm", 800, 1.0) < 0.3 * error("ddpm", 200, 1.0)
    assert error("ddpm", 800, 3.0) > 0.9 * error("ddpm", 200, 3.0) > 0.1


@pytest.mark.parametrize("pulse", [(0.28, 0.30), (0.47, 0.49), (0.68, 0.70), (0.1, 0.12)])
def test_the_flow_does_not_step_over_a_pulse(pulse):
    """One pixel: the flow's gain is exp of an integral, which scipy computes piece by piece."""
    images = np.array([-3.0, 3.0, -1.0, 1.0]).reshape(4, 1, 1)
    ld = LinearDiffusion(shrinkage=0).fit(["wide", "wide", "narrow", "narrow"], images)
    wide, every = 9.0 / ld.scaling_factor_**2, 5.0 / ld.scaling_factor_**2

    def scale(t):
        return 5.0 if pulse[0] < t < pulse[1] else 1.0

    def rate(t):
        alpha, sigma = np.cos(np.pi * t / 2), np.sin(np.pi * t / 2)
        own, pooled = (alpha * v / (alpha**2 * v + sigma**2) for v in (wide, every))
        gain = scale(t) * own + (1 - scale(t)) * pooled
        return np.pi / 2 * (-sigma * gain + alpha * (1 - alpha * gain) / sigma)

    gain = np.exp(-quad(rate, 0, 1, points=pulse, epsabs=1e-12, epsrel=1e-12, limit=200)[0])
    assert gain**2 > 1.01 * wide  # control: the pulse matters
    assert ld.affine("wide", guidance_scale=scale)[0][0, 0] == pytest.approx(gain, rel=1e-6)
    one = ld.predict(["wide"], latents=[[1.0]], guidance_scale=scale).item() / ld.scaling_factor_
    assert one == pytest.approx(gain, rel=1e-5)


def test_a_schedule_whose_ratio_turns_back_has_no_time(digits):
    def wavy(t):
        return 1 - t, t + 0.9 * np.sin(6 * np.pi * t) * t * (1 - t)

    ld = LinearDiffusion(4, schedule=wavy, sampler="ddim").fit(*digits)
    ld.predict(["3"], guidance_scale=1.5)
    with pytest.raises(ValueError, match="rise"):
        ld.predict(["3"], guidance_scale=lambda t: 1.5)
