"""Schedules against the quadrature of their stochastic differential equations, and finite differences.

dz = f(t) z dt + g(t) dw has z_t = alpha z_0 + sigma n with alpha = exp(int f), sigma^2 = alpha^2 int
(g / alpha)^2: Song et al. (2021), eq. 29. f and g^2 stand here as the papers give them.
"""

import math
import pickle
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from lineardiffusion import LinearDiffusion, samplers
from lineardiffusion.diffusion.schedules import (
    SCHEDULES,
    Cosine,
    Discrete,
    FunctionSchedule,
    Karras,
    RectifiedFlow,
    Schedule,
    VPLinear,
    get_schedule,
)


def rate(t):
    return 0.1 + 19.9 * t


def cosine_rate(t):
    return np.pi * np.tan(np.pi * t / 2)


SDE = {  # name: drift f(t), squared diffusion g(t)^2
    "vp": (lambda t: -rate(t) / 2, rate),
    "cosine": (lambda t: -cosine_rate(t) / 2, cosine_rate),
    "karras": (lambda t: 0.0, lambda t: 2 * t),
    "flow": (lambda t: -1 / (1 - t), lambda t: 2 * t / (1 - t)),
}


def by_quadrature(name, t):
    drift, diffusion = SDE[name]

    def alpha(s):
        return math.exp(quad(drift, 0, s, epsabs=1e-13)[0])

    return alpha(t), alpha(t) * math.sqrt(quad(lambda s: diffusion(s) / alpha(s) ** 2, 0, t, epsabs=1e-12)[0])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("fraction", [1e-3, 0.2, 0.5, 0.9])
def test_is_the_solution_of_its_sde(name, fraction):
    schedule = get_schedule(name)
    t = fraction * schedule.t_max
    np.testing.assert_allclose(schedule(t), by_quadrature(name, t), rtol=1e-9)


def test_vp_takes_any_rate():
    schedule = VPLinear(beta_min=0.5, beta_max=12.0)
    exponent = quad(lambda t: 0.5 + 11.5 * t, 0, 0.7)[0]
    alpha = math.exp(-exponent / 2)
    np.testing.assert_allclose(schedule(0.7), (alpha, math.sqrt(1 - alpha**2)), rtol=1e-13)


@pytest.mark.parametrize("name", ["vp", "cosine"])
@settings(deadline=None)
@given(t=st.floats(0, 1))
def test_variance_is_preserved(name, t):
    alpha, sigma = get_schedule(name)(t)
    assert alpha**2 + sigma**2 == pytest.approx(1.0, abs=1e-15)


def stencil(function, t, h):
    """Central differences of the sixth order."""
    return sum(c * (function(t + k * h) - function(t - k * h)) for k, c in ((1, 45), (2, -9), (3, 1))) / 60 / h


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("fraction", [1e-3, 0.1, 0.5, 0.97, 1.0])
def test_derivative_is_that_of_finite_differences(name, fraction):
    schedule = get_schedule(name)
    t = fraction * schedule.t_max
    expected = [stencil(lambda s, i=i: float(schedule(s)[i]), t, t / 200) for i in (0, 1)]
    np.testing.assert_allclose(schedule.derivative(t), expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("analytic", [VPLinear(), Cosine(), RectifiedFlow()], ids=repr)
@pytest.mark.parametrize("t", [0.1, 0.4, 0.8, 0.999])
def test_derivative_of_a_function_is_the_analytic_one(analytic, t):
    np.testing.assert_allclose(FunctionSchedule(analytic.__call__).derivative(t), analytic.derivative(t), atol=5e-9)


@pytest.mark.parametrize("t", [1e-6, 1 - 1e-6])
def test_derivative_of_a_function_stays_between_the_ends(t):
    def function(s):
        assert 0.0 <= s <= 1.0
        return 1 - s, s

    np.testing.assert_allclose(FunctionSchedule(function).derivative(t), (-1, 1), atol=1e-9)


@pytest.mark.parametrize(("analytic", "t"), [(VPLinear(), 1.0), (Cosine(), 1.0), (Cosine(), 1e-6)], ids=repr)
def test_derivative_of_a_function_at_the_ends(analytic, t):
    np.testing.assert_allclose(FunctionSchedule(analytic.__call__).derivative(t), analytic.derivative(t), atol=5e-9)


@pytest.mark.parametrize(
    ("name", "signal", "noise"),
    [("vp", math.exp(-10.05 / 2), 1.0), ("cosine", 0, 1), ("karras", 1, 80), ("flow", 0, 1)],
)
def test_ends(name, signal, noise):
    schedule = get_schedule(name)
    assert tuple(map(float, schedule(0.0))) == (1.0, 0.0)
    alpha, sigma = schedule(schedule.t_max)
    assert (alpha, sigma) == pytest.approx((signal, noise), rel=1e-4, abs=1e-15)
    assert (alpha / sigma) ** 2 < 2e-4
    assert (alpha == 0) == (signal == 0)  # zero, not a rounding error


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 2, 17])
def test_times_fall_from_pure_noise_to_none(name, num_steps):
    schedule = get_schedule(name)
    times = schedule.times(num_steps)
    assert len(times) == num_steps + 1
    assert times[0] == pytest.approx(schedule.t_max, rel=1e-14)
    assert times[-1] == 0.0
    assert (np.diff(times) < 0).all()
    alpha, sigma = schedule(times)  # an array at once, or time by time
    np.testing.assert_array_equal(np.transpose([alpha, sigma]), [schedule(t) for t in times])
    assert (np.diff(alpha / np.maximum(sigma, 1e-300)) > 0).all()  # there is ever more signal


@pytest.mark.parametrize(("name", "clock"), [("cosine", np.asarray), ("flow", np.asarray), ("vp", np.sqrt)])
def test_times_are_even(name, clock):
    """Of sqrt(t) where sigma grows like it at t = 0."""
    schedule = get_schedule(name)
    np.testing.assert_allclose(np.diff(clock(schedule.times(9))), -1 / 9, rtol=1e-13)
    near = np.array([1e-8, 4e-8])
    np.testing.assert_allclose(np.ptp(schedule(near)[1] / clock(near)), 0.0, atol=1e-6)


@settings(deadline=None)
@given(st.integers(2, 60), st.floats(1.0, 200.0), st.floats(1e-4, 0.5), st.floats(1.0, 10.0))
def test_karras_grid_is_equation_5(N, sigma_max, sigma_min, rho):
    grid = [
        (sigma_max ** (1 / rho) + i / (N - 1) * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
        for i in range(N)
    ]
    schedule = Karras(sigma_max=sigma_max, sigma_min=sigma_min, rho=rho)
    np.testing.assert_allclose(schedule.times(N), [*grid, 0.0], rtol=1e-10)
    assert schedule.t_max == sigma_max


def test_get_schedule_takes_a_name_a_schedule_or_a_function():
    mine = VPLinear(0.2, 9.0)
    assert get_schedule(mine) is mine
    assert repr(mine) == "VPLinear(beta_min=0.2, beta_max=9.0)"
    assert get_schedule(lambda t: (1 - t, t))(0.25) == RectifiedFlow()(0.25)
    for name, kind in SCHEDULES.items():
        assert type(get_schedule(name)) is kind


def test_get_schedule_says_what_it_takes():
    with pytest.raises(ValueError, match="cosin"):
        get_schedule("cosin")
    for wrong in (3, None, ["cosine"], Cosine):
        with pytest.raises(TypeError, match="schedule"):
            get_schedule(wrong)
    with pytest.raises(TypeError, match="__call__"):
        Schedule()(0.5)


def test_schedules_are_equal_by_value_and_hashable():
    objects = [VPLinear(), VPLinear(0.2, 9.0), Cosine(), Karras(), Karras(sigma_max=90.0), RectifiedFlow()]
    objects += [Discrete(ABAR), Discrete(ABAR[:-1])]
    again = [pickle.loads(pickle.dumps(one)) for one in objects]
    assert again == objects
    assert len(set(objects) | set(again)) == len(objects)


# ---------------------------------------------------------------- discrete levels


BETAS = np.linspace(1e-3, 0.2, 30)
ABAR = np.cumprod(1 - BETAS)


@pytest.mark.parametrize("levels", [ABAR, ABAR.tolist(), np.append(ABAR, 0.0)], ids=["array", "list", "no signal"])
def test_discrete_levels_are_met_at_the_timesteps(levels):
    schedule = Discrete(levels)
    alpha, sigma = schedule(np.arange(len(levels)))
    np.testing.assert_allclose(alpha**2, levels, rtol=1e-12)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, rtol=1e-12)
    assert schedule.t_max == len(levels) - 1
    assert (alpha[-1] == 0.0) == (levels[-1] == 0.0)  # zero, not a rounding error
    np.testing.assert_allclose(schedule.times(4), np.linspace(len(levels) - 1, 0, 5))
    assert tuple(map(float, schedule(-1))) == (1.0, 0.0)
    for t in (-1, 0.25, 3):
        assert tuple(map(float, schedule(t))) == pytest.approx(
            [one[0] for one in schedule(np.array([t]))], rel=1e-15
        )


def test_between_timesteps_the_logarithm_of_the_ratio_is_linear():
    """As it is in k-diffusion, log sigma of alpha = 1; outside sigma or alpha is, to its end."""
    schedule = Discrete(np.append(ABAR, 0.0))
    ratio = lambda t: np.divide(*schedule(np.asarray(t))[::-1])  # noqa: E731
    np.testing.assert_allclose(ratio(3.25), ratio(3) ** 0.75 * ratio(4) ** 0.25, rtol=1e-12)
    np.testing.assert_allclose(ratio(-0.25), 0.75 * ratio(0), rtol=1e-12)
    np.testing.assert_allclose(1 / ratio(29.25), 0.75 / ratio(29), rtol=1e-12)
    fine = np.linspace(-1, 29.9, 400)
    assert (np.diff(ratio(fine)) > 0).all()


def test_the_derivative_between_timesteps():
    schedule = Discrete(ABAR)
    for t in (0.5, 7.3, 28.7):
        expected = [stencil(lambda s, i=i: float(schedule(s)[i]), t, 0.05) for i in (0, 1)]
        np.testing.assert_allclose(schedule.derivative(t), expected, rtol=1e-6)


def test_ancestral_sampling_on_every_timestep_is_ho_s():
    """With the betas themselves, and the step to no noise from t = 0."""
    schedule, x, asked = Discrete(ABAR), np.array([[[0.3, -1.2]]]), []

    def denoise(x, alpha, sigma):
        return 0.4 * x + 0.1

    def add_noise(x, tau):
        asked.append(tau)
        return x

    times = np.arange(29.0, -2.0, -1.0)
    before, last = np.append(ABAR[-2::-1], 1.0), ABAR[::-1]
    run = samplers.ddpm()(denoise, x, schedule, times, add_noise)
    for beta, abar, abar_, found in zip(BETAS[::-1], last, before, run, strict=True):
        x0 = denoise(x, np.sqrt(abar), np.sqrt(1 - abar))
        x = np.sqrt(abar_) * beta / (1 - abar) * x0 + np.sqrt(1 - beta) * (1 - abar_) / (1 - abar) * x
        np.testing.assert_allclose(found, x, rtol=1e-9)
    np.testing.assert_allclose(np.square(asked), ((1 - before) / (1 - last) * BETAS[::-1])[:-1], rtol=1e-9)


@pytest.mark.diffusers
@pytest.mark.parametrize(
    ("settings", "last"),
    [
        ({"beta_schedule": "scaled_linear", "set_alpha_to_one": False, "steps_offset": 1}, 0),
        ({}, -1),
        ({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, -1),
    ],
    ids=["stable diffusion", "default", "no signal"],
)
def test_ddim_of_diffusers_is_ddim_on_these_levels(tiny, settings, last):
    """The scheduler calls the model's own denoiser."""
    torch = pytest.importorskip("torch", reason="needs torch")
    diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
    scheduler = diffusers.DDIMScheduler(clip_sample=False, prediction_type="sample", **settings)
    scheduler.set_timesteps(20)
    timesteps, abar = scheduler.timesteps.tolist(), scheduler.alphas_cumprod.double()
    ld = LinearDiffusion(4, schedule=Discrete(abar)).fit(*tiny)
    denoiser, noise = ld.denoiser("up"), np.random.default_rng(0).normal(size=(3, 4))
    x = torch.from_numpy(noise * float((1 - abar[timesteps[0]]) ** 0.5))
    for t in timesteps:
        clean = denoiser(x.numpy(), float(abar[t] ** 0.5), float((1 - abar[t]) ** 0.5))
        x = scheduler.step(torch.from_numpy(clean), t, x).prev_sample
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the first level holds signal
        matrix, offset = ld.affine("up", sampler="ddim", times=[*timesteps, last])
    np.testing.assert_allclose(x.numpy(), noise @ matrix.T + offset, atol=1e-5)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([0.9], "2 levels"),
        (np.ones((2, 2)), "2 levels"),
        ([0.5, 0.9], "fall"),
        ([1.0, 0.5], "fall"),
        ([0.9, 0.5, 0.5], "fall"),
        ([0.9, -0.1], "fall"),
        ([0.9, np.nan], "fall"),
    ],
)
def test_bad_discrete_levels(levels, message):
    with pytest.raises(ValueError, match=message):
        Discrete(levels)


@pytest.mark.parametrize("sampler", ["exact", "heun", "ei", "rk4"])
def test_a_schedule_may_say_that_it_ends_in_noise(tiny, sampler):
    """Its last level is then where the state is decoded; one that does not say so is refused."""

    class Early(VPLinear):
        def times(self, num_steps):
            return np.linspace(1.0, 0.1, num_steps + 1)

    with pytest.raises(ValueError, match="ends_clean"):
        LinearDiffusion(schedule=Early(), sampler=sampler).fit(*tiny)
    told = type("Told", (Early,), {"ends_clean": False})()
    ld = LinearDiffusion(4, schedule=told, sampler=sampler, num_steps=400).fit(*tiny)
    law, (alpha, sigma) = LinearDiffusion(4).fit(*tiny).law("up"), told(0.1)
    expected = alpha**2 * law.covariance + sigma**2 * np.eye(4)
    np.testing.assert_allclose(ld.law("up", start="marginal").covariance, expected, rtol=0.02, atol=0.02)
    assert np.abs(law.covariance - expected).max() > 0.1  # control


# ---------------------------------------------------------------- subclasses, and their derivatives


class LateCosine(Cosine):
    def __call__(self, t):
        return super().__call__(t**1.5)


class SlowKarras(Karras):
    def __call__(self, t):
        return np.ones_like(t, dtype=float), np.asarray(t, dtype=float) ** 2 / self.sigma_max


@dataclass(frozen=True)
class Warped(VPLinear):
    power: float = 1.2

    def __call__(self, t):
        return super().__call__(t**self.power)


class Clock:
    """A mixin before a schedule."""

    def __call__(self, t):
        return RectifiedFlow()(np.asarray(t) ** 1.3)


class ClockedFlow(Clock, RectifiedFlow):
    pass


class LaterStill(LateCosine):
    """A subclass of a subclass, which changes nothing."""


SUBCLASSES = [
    (LateCosine(), Cosine),
    (SlowKarras(), Karras),
    (Warped(), VPLinear),
    (ClockedFlow(), RectifiedFlow),
    (LaterStill(), Cosine),
]


@pytest.mark.parametrize(("schedule", "base"), SUBCLASSES, ids=lambda one: type(one).__name__)
def test_a_subclass_that_changes_the_levels_does_not_keep_the_old_derivative(schedule, base, tiny):
    """Euler's method converges to the exact law, with an error of first order."""
    for t in (0.2 * schedule.t_max, 0.7 * schedule.t_max):
        expected = [stencil(lambda s, i=i: float(schedule(s)[i]), t, t / 200) for i in (0, 1)]
        np.testing.assert_allclose(schedule.derivative(t), expected, rtol=1e-6, atol=1e-6)
        assert np.abs(np.subtract(base.derivative(schedule, t), expected)).max() > 1e-2  # control
    ld = LinearDiffusion(4, schedule=schedule).fit(*tiny)
    exact = ld.law("up").covariance
    errors = [np.abs(ld.law("up", sampler=samplers.euler(n)).covariance - exact).max() for n in (500, 2000)]
    assert errors[1] < 0.03 * np.abs(exact).max()
    assert errors[1] < 0.4 * errors[0]


def test_a_subclass_that_keeps_the_levels_keeps_the_derivative():
    class Even(VPLinear):
        def times(self, num_steps):
            return np.linspace(1.0, 0.0, num_steps + 1)

    assert Even().derivative(0.3) == VPLinear().derivative(0.3)
    assert Even.derivative is VPLinear.derivative


def test_a_subclass_may_state_both():
    class Half(RectifiedFlow):
        def __call__(self, t):
            return 1.0 - t, 0.5 * t

        def derivative(self, t):
            return -1.0, 0.5

    assert Half().derivative(0.3) == (-1.0, 0.5)
    assert Half.derivative is not Schedule.derivative


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_a_wrong_derivative_is_refused(tiny, sampler):
    class Wrong(RectifiedFlow):
        def __call__(self, t):
            return 1.0 - t, 0.5 * t

        def derivative(self, t):
            return -1.0, 1.0  # of the straight line that sigma no longer is

    with pytest.raises(ValueError, match="derivative"):
        LinearDiffusion(schedule=Wrong(), sampler=sampler).fit(*tiny)
    right = type("Right", (Wrong,), {"derivative": Schedule.derivative})()
    LinearDiffusion(schedule=right, sampler=sampler).fit(*tiny)  # control


def test_a_schedule_without_settings_is_a_subclass_of_three_lines(tiny):
    class Line(Schedule):
        def __call__(self, t):
            return 1.0 - t, t

    one, other = (LinearDiffusion(schedule=s, sampler="heun").fit(*tiny) for s in (Line(), "flow"))
    np.testing.assert_allclose(one.affine("up")[0], other.affine("up")[0], atol=1e-7)
