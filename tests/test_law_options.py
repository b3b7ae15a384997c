"""Laws of other trajectories: other times, starts and ends, pixels; the denoiser and the flow of latents.

The second road is the simulation of the same sampler, or Gaussians by hand.
"""

import copy
import warnings
from itertools import pairwise

import numpy as np
import pytest

from lineardiffusion import Gaussian, LinearDiffusion, Mixture, samplers
from lineardiffusion.schedules import Cosine, Discrete, Karras, VPLinear

ABAR = np.cumprod(1 - np.linspace(0.0008, 0.12, 40))
OPTIONS = {"symbols": {}, "styles": {"n_styles": 2, "style_rank": 1.0}, "words": {"text_encoder": "words"}}
KINDS = list(OPTIONS)


@pytest.fixture(scope="module")
def models(tiny):
    prompts, images = tiny
    return {kind: LinearDiffusion(5, **one).fit(prompts, images) for kind, one in OPTIONS.items()}


def components(law):
    return law.components if isinstance(law, Mixture) else [law]


def assert_same(a, b, tolerance=1e-9):
    for one, other in zip(components(a), components(b), strict=True):
        np.testing.assert_allclose(one.mean, other.mean, atol=tolerance)
        np.testing.assert_allclose(one.covariance, other.covariance, atol=tolerance)


# ---------------------------------------------------------------- times, stop and at


@pytest.mark.parametrize("sampler", ["exact", "ddim", "heun", "rk4", "dpm++2m", "ddpm", "em", "ei", "euler"])
def test_the_schedule_s_own_times_change_nothing(models, sampler):
    ld, times = models["symbols"], Cosine().times(8)
    law = ld.law("up", sampler=sampler, num_steps=8)
    assert_same(ld.law("up", sampler=sampler, times=times), law, 0)
    assert_same(ld.law("up", sampler=sampler, num_steps=8, at=8, stop=0.0), law, 0)
    other = ld.law("up", sampler=sampler, times=times**1.5)  # control
    assert (np.abs(other.covariance - law.covariance).max() > 1e-4) == (sampler != "exact")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampler", ["exact", "heun"])
def test_at_is_the_state_after_some_steps(models, kind, sampler):
    """Against the trajectory that predict simulates, for every other k."""
    ld, prompt = models[kind], "up~1" if kind == "styles" else "up"
    noise = np.random.default_rng(0).normal(size=(3, ld.n_components_))
    way = {"sampler": sampler, "num_steps": 6}
    _, states = ld.predict([prompt] * 3, latents=noise, return_trajectory=True, **way)
    for k, state in list(enumerate(states))[::2]:
        matrix, offset = ld.affine(prompt, at=k, **way)
        np.testing.assert_allclose(noise @ matrix.T + offset, state, atol=1e-6)
        law = ld.law(prompt, at=k, **way)
        np.testing.assert_allclose(law.mean, offset, atol=1e-12)
        np.testing.assert_allclose(law.covariance, matrix @ matrix.T, atol=1e-9)


def test_at_counts_the_noise_that_was_added(models):
    """Three steps of ddpm, by hand: x' = A x + b + tau n."""
    ld, times = models["symbols"], Cosine().times(6)
    denoiser = ld.denoiser("left")
    mean, covariance = np.zeros(5), np.eye(5)
    levels = list(zip(*(level.tolist() for level in Cosine()(times)), strict=True))
    for k, ((alpha, sigma), (alpha_, sigma_)) in enumerate(pairwise(levels[:4]), 1):
        kept = (alpha * sigma_ / (alpha_ * sigma)) ** 2
        tau = sigma_ * np.sqrt(1 - kept)
        direction = np.sqrt(sigma_**2 - tau**2) / sigma
        offset = denoiser(np.zeros((1, 5)), alpha, sigma)[0]
        A = direction * np.eye(5) + (alpha_ - direction * alpha) * (denoiser(np.eye(5), alpha, sigma) - offset).T
        mean = A @ mean + (alpha_ - direction * alpha) * offset
        covariance = A @ covariance @ A.T + tau**2 * np.eye(5)
        assert_same(ld.law("left", sampler="ddpm", num_steps=6, at=k), Gaussian(mean, covariance))


def test_stop_ends_at_a_time_above_none(models):
    """Exactly, the state there is alpha z + sigma n; a sampler that stops converges to it."""
    ld = models["symbols"]
    z, (alpha, sigma) = ld.law("up"), map(float, Cosine()(0.2))
    state = Gaussian(alpha * z.mean, alpha**2 * z.covariance + sigma**2 * np.eye(5))
    assert_same(ld.law("up", stop=0.2), state)
    found = [ld.law("up", sampler="heun", num_steps=n, stop=0.2).wasserstein(state) for n in (20, 40, 80)]
    assert 3.5 < found[0] / found[1] < 4.5
    assert 3.5 < found[1] / found[2] < 4.5
    assert z.wasserstein(state) > 0.1  # control
    times = np.linspace(1.0, 0.2, 21)
    assert_same(ld.law("up", sampler="heun", num_steps=20, stop=0.2), ld.law("up", sampler="heun", times=times))


def test_a_generator_function_gets_these_times(models):
    seen = []

    def sampler(denoise, x, schedule, times, add_noise):
        seen.append(times.tolist())
        yield from samplers.ddim()(denoise, x, schedule, times, add_noise)

    models["symbols"].law("up", sampler=sampler, times=[1.0, 0.5, 0.1])
    models["symbols"].law("up", sampler=sampler, num_steps=2, stop=0.5)
    models["symbols"].law("up", sampler=sampler, num_steps=4, at=1)  # all of the times; the first state is taken
    assert seen == [[1.0, 0.5, 0.1], [1.0, 0.75, 0.5], [1.0, 0.75, 0.5, 0.25, 0.0]]


@pytest.mark.parametrize(
    ("way", "error", "message"),
    [
        ({"times": [0.0, 1.0]}, ValueError, "fall"),
        ({"times": [1.0, 0.5, 0.0, -0.1]}, ValueError, "sigma above 0"),
        ({"times": [1.0]}, ValueError, "two or more"),
        ({"times": [1.0, np.nan]}, ValueError, "finite"),
        ({"times": [1.0, 0.0], "num_steps": 2}, ValueError, "leave out num_steps"),
        ({"times": [1.0, 0.0], "stop": 0.1}, ValueError, "leave out stop"),
        ({"stop": 1.0}, ValueError, "stop must be a time from 0"),
        ({"stop": -0.5}, ValueError, "^stop must be a time from 0"),  # the schedule is not at fault
        ({"num_steps": 4, "at": 5}, ValueError, "beyond the 4 steps"),
        ({"at": -1}, ValueError, "at"),
        ({"at": 1.5}, TypeError, "at"),
        ({"start": "nowhere"}, TypeError, "marginal"),
        ({"start": Gaussian(np.zeros(2), np.eye(2))}, ValueError, "5 entries"),
        ({"space": "images"}, ValueError, "pixels"),
        ({"step": 5}, TypeError, "step"),
    ],
)
def test_bad_options(models, way, error, message):
    with pytest.raises(error, match=message):
        models["symbols"].law("up", **way)


# ---------------------------------------------------------------- starts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", [VPLinear(), Karras(sigma_max=3.0)], ids=["vp", "karras"])
def test_from_the_marginal_the_exact_sampler_draws_the_data_s_law(models, kind, schedule):
    """Each style from its own; from noise it does not, and the model warns."""
    true, ld = models[kind].law("up"), copy.copy(models[kind])
    ld.refit(schedule=schedule)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(ld.law("up", start="marginal"), true)
        one = ld.law("up", start="marginal", times=[0.5 * schedule.t_max, 0.0])
    assert_same(one, true)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ld.law("up").wasserstein(true) > 1e-3


@pytest.mark.parametrize("sampler", ["heun", "ddpm"])
def test_a_start_is_that_of_what_is_simulated(models, sampler):
    """By draws of the state at the first time, with a control."""
    ld, rng = models["symbols"], np.random.default_rng(0)
    start = Gaussian(rng.normal(size=5), np.cov(rng.normal(size=(5, 20))))
    times = np.linspace(0.7, 0.1, 5)
    law = ld.law("up", sampler=sampler, times=times, start=start)
    x, denoiser = start.draw(40_000, seed=1)[None], ld.denoiser("up")

    def add_noise(x, tau):
        return x + tau * rng.normal(size=x.shape)

    run = samplers.get_sampler(sampler)(
        lambda x, *level: denoiser(x[0], *level)[None], x, Cosine(), times, add_noise
    )
    *_, (x,) = run
    white = np.linalg.solve(np.linalg.cholesky(law.covariance), (x - law.mean).T)
    assert len(x) * np.sum(white.mean(axis=1) ** 2) < 25  # chi-squared of 5 degrees of freedom
    assert 0.5 * len(x) * np.sum((np.cov(white) - np.eye(5)) ** 2) < 45  # of 15
    other = ld.law("up", sampler=sampler, times=times, start="marginal")  # control
    white = np.linalg.solve(np.linalg.cholesky(other.covariance), (x - other.mean).T)
    assert len(x) * np.sum(white.mean(axis=1) ** 2) > 100


def test_noise_is_a_gaussian_as_any(models):
    for kind in KINDS:
        ld = models[kind]
        for sampler in ("ddim", "ddpm"):
            way = {"sampler": sampler, "times": [0.8, 0.4, 0.0]}
            noise = Gaussian(np.zeros(5), float(Cosine()(0.8)[1]) ** 2 * np.eye(5))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert_same(ld.law("up", start=noise, **way), ld.law("up", **way))


@pytest.mark.parametrize("kind", KINDS)
def test_guidance_does_not_change_the_marginal(models, kind):
    """No step is taken, so the law is that of the start: of the prompt alone, whatever it is guided by."""
    ld, (alpha, sigma) = models[kind], map(float, Cosine()(0.6))
    z = ld.law("up")
    away = {"symbols": None, "styles": "left~0", "words": "left"}[kind]
    law = ld.law("up", times=[0.6, 0.0], at=0, start="marginal", guidance_scale=2.0, negative_prompt=away)
    expected = [alpha**2 * one.covariance + sigma**2 * np.eye(5) for one in components(z)]
    for one, mean, covariance in zip(components(law), [c.mean for c in components(z)], expected, strict=True):
        np.testing.assert_allclose(one.mean, alpha * mean, atol=1e-7)
        np.testing.assert_allclose(one.covariance, covariance, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_laws_of_pixels_are_those_of_what_is_decoded(models, kind):
    """decode is affine: its values at the origin and at the unit vectors tell the law."""
    ld = models[kind]
    way = {"sampler": "ddpm", "num_steps": 5, "stop": 0.1}
    pixels, latents = ld.law("up", space="pixels", **way), ld.law("up", **way)
    origin = ld.decode(np.zeros(5)).ravel()
    rows = ld.decode(np.eye(5)).reshape(5, -1) - origin
    for one, other in zip(components(pixels), components(latents), strict=True):
        np.testing.assert_allclose(one.mean, origin + other.mean @ rows, atol=1e-9)
        np.testing.assert_allclose(one.covariance, rows.T @ other.covariance @ rows, atol=1e-9)


# ---------------------------------------------------------------- discrete schedules


def test_a_model_of_discrete_levels_ends_at_its_last(tiny):
    """predict decodes the state there; the law says so, and so does the next step, to no noise."""
    prompts, images = tiny
    ld = LinearDiffusion(5, schedule=Discrete(ABAR), sampler="ddim", num_steps=8).fit(prompts, images)
    with pytest.warns(UserWarning, match="signal"):
        drawn, states = ld.predict(["up"] * 4, seed=0, return_trajectory=True)
    np.testing.assert_allclose(ld.decode(states[-1]), drawn, atol=1e-9)
    true, (alpha, sigma) = LinearDiffusion(5).fit(prompts, images).law("up"), map(float, Discrete(ABAR)(0))
    assert alpha**2 == pytest.approx(ABAR[0], rel=1e-12)
    state = Gaussian(alpha * true.mean, alpha**2 * true.covariance + sigma**2 * np.eye(5))
    assert_same(ld.law("up", sampler="exact", start="marginal"), state)
    clean = ld.law("up", sampler="exact", times=[39, -1], start="marginal")  # the step that diffusers may append
    assert_same(clean, true)
    noisy = np.random.default_rng(0).normal(size=(2, 5))
    by_levels = ld.denoiser("up").flow(noisy, Discrete(ABAR)(39), (1.0, 0.0))
    np.testing.assert_allclose(ld.flow(ld.flow(noisy, 39, 0, "up"), 0, -1, "up"), by_levels, atol=1e-9)
    with pytest.raises(ValueError, match="to -1, got s=-2"):
        ld.flow(noisy, 0, -2, "up")
    assert state.wasserstein(true) > 1e-3  # control


# ---------------------------------------------------------------- the denoiser and the flow


@pytest.mark.parametrize("kind", KINDS)
def test_the_denoiser_is_that_of_images(models, kind):
    """alpha 1, by way of the encoder."""
    ld, rng = models[kind], np.random.default_rng(0)
    z = rng.normal(size=(4, 5))
    clean = ld.denoiser("up", guidance_scale=1.0)(z, 1.0, 0.7)
    images = ld.denoise(["up"] * 4, ld.decode(z), 0.7 * ld.scaling_factor_)
    np.testing.assert_allclose(ld.decode(clean), images, atol=1e-6)
    scaled = ld.denoiser("up")(3.0 * z, 3.0, 2.1)
    np.testing.assert_allclose(scaled, clean, atol=1e-10)


def test_a_sampler_of_one_s_own_runs_on_the_denoiser(models, tiny):
    """Euler in sigma with guidance, as k-diffusion writes it, is ddim."""
    ld = models["symbols"]
    denoiser = ld.denoiser("up", guidance_scale=1.5, negative_prompt="left")
    sigmas = Karras().times(7)
    noise = np.random.default_rng(0).normal(size=(3, 5))
    x = sigmas[0] * noise
    for sigma, next_sigma in pairwise(sigmas):
        x = x + (next_sigma - sigma) * (x - denoiser(x, 1.0, sigma)) / sigma
    ld = LinearDiffusion(5, schedule=Karras()).fit(*tiny)
    matrix, offset = ld.affine("up", sampler="ddim", num_steps=7, guidance_scale=1.5, negative_prompt="left")
    np.testing.assert_allclose(x, noise @ matrix.T + offset, atol=1e-9)


def mixed_heun(denoiser, x, schedule, times):
    """Heun's method on the flow of any denoiser."""

    def slope(x, t):
        (alpha, sigma), (alpha_dot, sigma_dot) = schedule(t), schedule.derivative(t)
        x0 = denoiser(x, alpha, sigma)
        return alpha_dot * x0 + sigma_dot / sigma * (x - alpha * x0)

    for t, t_ in pairwise(times):
        v = slope(x, t)
        x = x + (t_ - t) / 2 * (v + slope(x + (t_ - t) * v, t_))
    return x


@pytest.mark.parametrize(
    ("kind", "guidance"), [("symbols", 1.0), ("symbols", 1.5), ("styles", 1.0), ("words", 1.0)]
)
def test_the_flow_is_the_limit_of_small_steps_and_runs_both_ways(models, kind, guidance):
    ld = models[kind]
    x = np.random.default_rng(0).normal(size=(6, 5))
    y = ld.flow(x, 0.9, 0.1, "up", guidance_scale=guidance)
    found = [
        mixed_heun(ld.denoiser("up", guidance_scale=guidance), x, Cosine(), np.linspace(0.9, 0.1, n + 1).tolist())
        for n in (50, 100)
    ]
    limit = found[1] + (found[1] - found[0]) / 3  # Richardson
    np.testing.assert_allclose(y, limit, atol=2e-4)
    np.testing.assert_allclose(ld.flow(y, 0.1, 0.9, "up", guidance_scale=guidance), x, atol=1e-5)
    middle = ld.flow(x, 0.9, 0.5, "up", guidance_scale=guidance)
    np.testing.assert_allclose(ld.flow(middle, 0.5, 0.1, "up", guidance_scale=guidance), y, atol=1e-5)
    assert np.abs(y - ld.flow(x, 0.9, 0.1, "left", guidance_scale=guidance)).max() > 0.1  # control


def test_the_flow_of_styles_moves_the_mixture_s_law(models):
    """Draws of alpha z + sigma n at one time have the law of the other time after the flow."""
    ld, n = models["styles"], 4000
    law, rng = ld.law("up"), np.random.default_rng(0)
    (alpha, sigma), (alpha_, sigma_) = (tuple(map(float, Cosine()(t))) for t in (0.7, 0.3))
    x = alpha * law.draw(n, rng) + sigma * rng.normal(size=(n, 5))
    y = ld.flow(x, 0.7, 0.3, "up")
    mean, covariance = alpha_ * law.mean, alpha_**2 * law.covariance + sigma_**2 * np.eye(5)
    white = np.linalg.solve(np.linalg.cholesky(covariance), (y - mean).T)
    assert n * np.sum(white.mean(axis=1) ** 2) < 25
    assert np.abs(np.cov(white) - np.eye(5)).max() < 0.1


@pytest.mark.parametrize("kind", ["styles", "words"])
def test_the_flow_from_no_noise_is_refused_where_it_is_numerical(models, kind):
    with pytest.raises(ValueError, match="small time above 0"):
        models[kind].flow(np.zeros((1, 5)), 0.0, 1.0, "up")
    noise = models["symbols"].flow(np.ones((1, 5)), 0.0, 1.0, "up")
    np.testing.assert_allclose(models["symbols"].flow(noise, 1.0, 0.0, "up"), 1.0, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda ld: ld.flow(np.zeros((1, 5)), 1.1, 0.0, "up"), ValueError, r"from 1 \(noise\) to 0, got t=1.1"),
        (lambda ld: ld.flow(np.zeros((1, 5)), 1.0, -0.5, "up"), ValueError, "Cosine.* to 0, got s=-0.5"),
        (lambda ld: ld.flow(np.zeros((1, 5)), np.nan, 0.5, "up"), ValueError, "got t=nan"),
        (lambda ld: ld.flow(np.zeros((1, 4)), 1.0, 0.0, "up"), ValueError, r"\(n, 5\)"),
        (lambda ld: ld.flow(np.zeros(5), 1.0, 0.0, "up"), ValueError, r"\(n, 5\)"),
        (lambda ld: ld.flow(np.zeros((1, 5)), 1.0, 0.0, "upp"), ValueError, "unknown prompt"),
        (lambda ld: ld.denoiser("up")(np.zeros((1, 5)), 1.0, 0.0), ValueError, "sigma must be above 0"),
        (lambda ld: ld.denoiser("up")(np.zeros((1, 5)), 1.0, -1.0), ValueError, "a level"),
        (lambda ld: ld.denoiser("up")(np.zeros((1, 5)), np.nan, 1.0), ValueError, "a level"),
    ],
)
def test_bad_levels_and_latents(models, call, error, message):
    with pytest.raises(error, match=message):
        call(models["symbols"])


def test_styles_under_guidance_must_be_named(models):
    with pytest.raises(ValueError, match="name one"):
        models["styles"].denoiser("up", guidance_scale=2.0)
    assert models["styles"].denoiser("up~0", guidance_scale=2.0)(np.zeros((2, 5)), 0.6, 0.8).shape == (2, 5)
