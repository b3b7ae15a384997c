"""The model as a network of diffusers: full pixels through its schedulers against the closed form in latents.

The responses of a scheduler to the zero image and to every basis image of starting noise are its affine map. The
library's own sampler with the same levels, composed into one map of latents, is the other road to it.
"""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[diffusers]'")
diffusers = pytest.importorskip("diffusers", reason="needs diffusers: pip install '.[diffusers]'")

from diffusers import (  # noqa: E402
    CMStochasticIterativeScheduler,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchLCMScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
)

from lineardiffusion import Gaussian, LinearDiffusion, samplers  # noqa: E402
from lineardiffusion.diffusion.denoisers import GaussianDenoiser, MixtureDenoiser  # noqa: E402
from lineardiffusion.diffusion.schedules import Schedule  # noqa: E402
from lineardiffusion.diffusion.trajectory import Trajectory, compose  # noqa: E402
from lineardiffusion.integrations.diffusers import LinearModel, LinearPipeline, teleport  # noqa: E402
from lineardiffusion.integrations.noise_levels import PREDICTED, levels  # noqa: E402
from lineardiffusion.integrations.torch_gaussians import Gaussians  # noqa: E402
from lineardiffusion.oracle.adapters import get_adapter  # noqa: E402
from lineardiffusion.oracle.adapters.diffusers import CONVENTIONS, REFUSED  # noqa: E402
from lineardiffusion.oracle.adapters.tensors import replaced_noise  # noqa: E402
from lineardiffusion.oracle.noise import Draws  # noqa: E402
from lineardiffusion.oracle.target import PrincipalDenoiser  # noqa: E402

pytestmark = [
    pytest.mark.diffusers,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # theirs, of NumPy's
]
DOUBLE = {"torch_dtype": torch.float64}
STEPS = 8


@pytest.fixture(scope="module")
def ld(tiny):
    return LinearDiffusion(n_components=5).fit(*tiny)


@pytest.fixture(scope="module")
def styled(tiny):
    return LinearDiffusion(n_components=5, n_styles=2, contrast="pixelwise").fit(*tiny)


@pytest.fixture(scope="module")
def coloured():
    rng = np.random.default_rng(1)
    images = (rng.normal(size=(60, 18)) @ rng.normal(size=(18, 18)) * 10 + 128).reshape(60, 3, 2, 3)
    return LinearDiffusion(n_components=6).fit(["a", "b"] * 30, images)


def ddim():
    return DDIMScheduler(clip_sample=False)


def basis_noise(model):
    """Starting noise: the zero image, and every basis image."""
    c, h, w = model.samples.shape
    eye = torch.eye(c * h * w, dtype=torch.float64)
    return torch.cat([0 * eye[:1], eye]).reshape(-1, c, h, w)


def push(model, scheduler, x, timesteps=None):
    """A user's loop from starting noise of standard deviation 1, or from samples at later timesteps."""
    if timesteps is None:
        x, timesteps = x * getattr(scheduler, "init_noise_sigma", 1.0), scheduler.timesteps
    for t in timesteps:
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(model(scaled, t).sample, t, x).prev_sample
    return x


class Levels(Schedule):
    """The levels of a scheduler, in units of the latents."""

    def __init__(self, scheduler, unit):
        alpha, sigma = levels(scheduler)
        self.alpha, self.sigma = np.append(1.0, alpha[::-1]), np.append(0.0, sigma[::-1] / unit)
        self.grid = np.linspace(0.0, 1.0, len(self.alpha))

    def __call__(self, t):
        return np.interp(t, self.grid, self.alpha), np.interp(t, self.grid, self.sigma)


def closed_form(ld, prompt, sampler, scheduler, guidance_scale=1.0):
    """The answers to basis noise, by the map of latents that the library composes."""
    fitted = ld.fitted_
    low, high = ld.pixel_range_
    unit = (high - low) / 2
    trajectory = Trajectory(sampler, Levels(scheduler, ld.scaling_factor_ / unit))
    (condition,) = fitted.conditioner.request([prompt], guidance_scale).conditions
    found = compose(fitted.denoiser(condition), 1, fitted.d, trajectory)
    V = ld.components_
    matrix, offset = found.matrix[0], found.offset[0]
    # x = alpha o + U w starts at the noise, ours at w = sigma n
    (alpha, *_), (sigma, *_) = levels(scheduler)
    noise = float(getattr(scheduler, "init_noise_sigma", 1.0)) * np.vstack([np.zeros(len(V.T)), np.eye(len(V.T))])
    latents = offset + (noise - alpha * ((ld.mean_ - low) / unit - 1)) @ V.T / sigma @ matrix
    return (ld.mean_ + latents * ld.scaling_factor_ @ V - low) / unit - 1


def pixel_law(ld, prompt):
    """Mean, principal variances and directions of the samples of a prompt."""
    low, high = ld.pixel_range_
    unit, law = (high - low) / 2, ld.law(prompt)
    S = ld.image_encoder_.synthesis / unit
    variance, Q = np.linalg.eigh(S.T @ law.covariance @ S)
    return (ld.mean_ - low) / unit - 1 + law.mean @ S, variance.clip(0), Q


def exact_flow(mean, variance, Q, rows, start, end):
    """The probability flow of rows of pixels from one level (alpha, sigma) to another."""
    ratio = np.sqrt((end[0] ** 2 * variance + end[1] ** 2) / (start[0] ** 2 * variance + start[1] ** 2))
    return end[0] * mean + (rows - start[0] * mean) @ (Q * ratio) @ Q.T


def flat(samples):
    """Samples as rows of pixels in the order of the model's images."""
    return samples.permute(0, 2, 3, 1).reshape(len(samples), -1).numpy()


# ---------------------------------------------------------------------- the two roads


@pytest.mark.parametrize(
    ("make", "sampler"),
    [
        (ddim, samplers.ddim(STEPS)),
        (DPMSolverMultistepScheduler, samplers.dpmpp_2m(STEPS)),
        (EulerDiscreteScheduler, samplers.ddim(STEPS)),  # Euler in sigma / alpha is ddim
        (FlowMatchEulerDiscreteScheduler, samplers.ddim(STEPS)),
        (EDMEulerScheduler, samplers.ddim(STEPS)),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_full_pixels_through_a_scheduler_are_the_closed_form(ld, make, sampler):
    scheduler = make()
    model = LinearModel.for_scheduler(ld, scheduler, prompt="left", **DOUBLE)
    scheduler.set_timesteps(STEPS)
    expected = closed_form(ld, "left", sampler, scheduler)
    found = flat(push(model, scheduler, basis_noise(model)))
    # schedulers keep their levels in single precision; at fractional timesteps Euler's sigma is interpolated
    np.testing.assert_allclose(found, expected, atol=1e-4 if make is EulerDiscreteScheduler else 1e-5)


def test_a_network_of_another_prediction_type_is_far_from_the_closed_form(ld):
    scheduler = ddim()
    scheduler.set_timesteps(STEPS)
    expected = closed_form(ld, "left", samplers.ddim(STEPS), scheduler)
    wrong = LinearModel(ld, "v_prediction", prompt="left", **DOUBLE)
    assert np.abs(flat(push(wrong, scheduler, basis_noise(wrong))) - expected).max() > 0.1


def test_colours_and_images_that_are_not_square(coloured):
    scheduler = ddim()
    model = LinearModel(coloured, prompt="b", **DOUBLE)
    assert model.samples.shape == (3, 3, 2)
    scheduler.set_timesteps(STEPS)
    expected = closed_form(coloured, "b", samplers.ddim(STEPS), scheduler)
    found = push(model, scheduler, basis_noise(model))
    order = np.arange(18).reshape(3, 2, 3).transpose(2, 0, 1).ravel()  # the place of each basis image
    np.testing.assert_allclose(flat(found)[1:][np.argsort(order)], expected[1:], atol=1e-5)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_every_prediction_type_gives_a_scheduler_the_same_sample(ld, kind):
    scheduler = DDIMScheduler(clip_sample=False, prediction_type=kind, rescale_betas_zero_snr=kind != "epsilon")
    model = LinearModel.for_scheduler(ld, scheduler, prompt="up", **DOUBLE)
    assert model.config.prediction_type == kind
    scheduler.set_timesteps(STEPS)
    expected = closed_form(ld, "up", samplers.ddim(STEPS), scheduler)
    np.testing.assert_allclose(flat(push(model, scheduler, basis_noise(model))), expected, atol=1e-5)


@pytest.mark.parametrize("make", [LCMScheduler, FlowMatchLCMScheduler, CMStochasticIterativeScheduler])
def test_a_consistency_model_solves_the_flow_in_one_step(ld, make):
    options = {"clip_denoised": False} if make is CMStochasticIterativeScheduler else {}
    scheduler = make(**options)
    model = LinearModel.for_scheduler(ld, scheduler, prompt="left", **DOUBLE)
    scheduler.set_timesteps(1)
    expected = closed_form(ld, "left", samplers.exact(1), scheduler)
    last = 0.002 if make is CMStochasticIterativeScheduler else 1e-5  # where its flow ends
    np.testing.assert_allclose(flat(push(model, scheduler, basis_noise(model))), expected, atol=last)
    if make is LCMScheduler:  # control: the posterior mean in place of the consistency function
        scheduler.set_timesteps(1)
        mean = LinearModel(ld, "epsilon", prompt="left", **DOUBLE)
        assert np.abs(flat(push(mean, scheduler, basis_noise(mean))) - expected).max() > 0.01


def test_a_consistency_model_at_the_boundary(ld):
    """The scalings of a scheduler, which matter where the noise is small, give back the consistency function."""
    law, x = pixel_law(ld, "up"), torch.randn(5, 1, 4, 3, dtype=torch.float64)
    scheduler = LCMScheduler()
    model = LinearModel.for_scheduler(ld, scheduler, prompt="up", **DOUBLE)
    (alpha,), (sigma,) = model._levels(np.array([1.0]))
    skip, out = scheduler.get_scalings_for_boundary_condition_discrete(1)
    clean = skip * x + out * (x - sigma * model(x, 1).sample) / alpha
    np.testing.assert_allclose(flat(clean), exact_flow(*law, flat(x), (alpha, sigma), (1.0, 0.0)), atol=1e-6)

    scheduler, sigma = CMStochasticIterativeScheduler(), torch.tensor(0.01, dtype=torch.float64)
    model = LinearModel.for_scheduler(ld, scheduler, prompt="up", **DOUBLE)
    skip, out = scheduler.get_scalings_for_boundary_condition(sigma)
    scaled = x / (sigma**2 + 0.5**2).sqrt()
    clean = skip * x + out * model(scaled, 250 * sigma.log()).sample
    np.testing.assert_allclose(flat(clean), exact_flow(*law, flat(x), (1.0, 0.01), (1.0, 0.002)), atol=1e-9)


def test_noise_levels_that_a_scheduler_changes(ld):
    """UnCLIPScheduler has its own betas, which its configuration does not tell."""
    scheduler = diffusers.UnCLIPScheduler()
    model = LinearModel.for_scheduler(ld, scheduler)
    alpha, _ = model._levels(np.arange(0, 1000, 100.0))
    np.testing.assert_allclose(alpha**2, scheduler.alphas_cumprod[::100], rtol=1e-4)
    plain = LinearModel(ld)
    assert np.abs(plain._levels(np.array([500.0]))[0] - alpha[5]) > 0.1  # control


# ---------------------------------------------------------------------- every scheduler

PAGE = Path(__file__).parent.parent / "docs" / "use" / "diffusers.md"
VARIANCE = np.array([0.0, 0.04, 0.3, 2.0])
MANY, DRAWS = 30, 2000
START = np.random.default_rng(0).normal(size=(DRAWS, 4))
BOUND = 0.2  # of the distance to the law after MANY steps; the spread is 1.5, and of the draws' moments 0.05
CONSISTENCY = ("CMStochasticIterative", "FlowMatchLCM", "LCM")
CLIPS = {"clip_sample": False, "clip_denoised": False}


def make(name):
    """A scheduler that does not clip; of DPMSolverSDE also where torchsde is not installed."""
    if not hasattr(diffusers, f"{name}Scheduler"):
        pytest.skip(f"diffusers {diffusers.__version__} has no {name}Scheduler")
    kind = getattr(diffusers, f"{name}Scheduler")
    if "dummy" in kind.__module__:
        kind = get_adapter(kind).kind
    return kind(**{one: CLIPS[one] for one in CLIPS if one in inspect.signature(kind.__init__).parameters})


def by_pipeline(scheduler, skip=0):
    """What LinearPipeline draws of a known Gaussian, perhaps after a jump, in double precision."""
    known = LinearDiffusion.from_gaussian(np.ones((1, 4)), VARIANCE[None], pixel_range=(-1.0, 1.0))
    model = LinearModel.for_scheduler(known, scheduler, **DOUBLE)
    x, noise = torch.tensor(START).reshape(DRAWS, 1, 1, 4), Draws(np.random.default_rng(1), START.shape)
    scheduler.set_timesteps(MANY)
    if hasattr(scheduler, "noise_sampler"):  # a Brownian tree, which another call of set_timesteps would make anew
        scheduler.set_timesteps = lambda *_, **__: None
        scheduler.noise_sampler = lambda a, b: torch.tensor(
            noise.increment(float(a), float(b)) / abs(float(b) - float(a)) ** 0.5
        ).reshape(x.shape)
    with replaced_noise(noise, keep_double=True):
        if skip:
            law, x = Gaussian.diagonal(np.ones(4), VARIANCE), x * getattr(scheduler, "init_noise_sigma", 1.0)
            found = push(model, scheduler, *teleport(law, x, scheduler, skip=skip))
        else:
            pipe = quiet(LinearPipeline(model, scheduler))
            found = pipe(batch_size=DRAWS, num_inference_steps=MANY, latents=x, output_type="latent").images
    return found.reshape(DRAWS, 4).numpy()


def by_oracle(scheduler, **options):
    """The same, of the same noise, by the loop and the denoiser of the oracle."""
    adapter, noise = get_adapter(scheduler, **options), Draws(np.random.default_rng(1), START.shape)
    start = adapter.start(MANY).noise_std * START
    return adapter.run(MANY, start, PrincipalDenoiser(VARIANCE, np.ones(DRAWS)), noise)


def distance(rows):
    """The Wasserstein distance of Gaussians, whose directions are the pixels."""
    return np.hypot(*map(np.linalg.norm, (rows.mean(0) - 1, rows.std(0) - VARIANCE**0.5)))


@pytest.mark.parametrize("name", sorted(PREDICTED))
def test_the_pipeline_draws_from_the_law_under_every_scheduler(name):
    scheduler = make(name)
    found = by_pipeline(scheduler)
    network = None if name in CONSISTENCY else "diffusion"
    np.testing.assert_allclose(found, by_oracle(scheduler, network=network), atol=2e-6)
    assert distance(found) < BOUND


def test_a_step_of_unclip_that_is_not_told_where_it_ends_draws_another_law(monkeypatch):  # control
    step = diffusers.UnCLIPScheduler.step
    monkeypatch.setattr(diffusers.UnCLIPScheduler, "step", lambda *a, prev_timestep, **k: step(*a, **k))
    assert distance(by_pipeline(make("UnCLIP"))) > 5 * BOUND


def test_timesteps_of_stable_video_diffusion():
    options = {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    scheduler = EulerDiscreteScheduler(timestep_type="continuous", **options)
    found = by_pipeline(scheduler)
    np.testing.assert_allclose(found, by_oracle(scheduler), atol=2e-6)
    assert distance(found) < BOUND


@pytest.mark.parametrize("name", sorted(set(PREDICTED) - {"PNDM", "LMSDiscrete", "UnCLIP", "DPMSolverSDE"}))
def test_a_jump_over_half_of_the_steps_under_every_scheduler(name):
    assert distance(by_pipeline(make(name), skip=MANY // 2)) < BOUND


def test_the_page_lists_what_runs_and_all_else_is_refused(ld):
    page = PAGE.read_text(encoding="utf-8").split("| scheduler |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| ([^|`]+?) \|", page, re.MULTILINE)
    assert sorted(name for row in rows for name in row.split(", ")) == sorted(PREDICTED)
    assert PREDICTED.keys() <= CONVENTIONS.keys()
    refused = [one.removesuffix("Scheduler") for one in REFUSED]
    for name in [*refused, *(CONVENTIONS.keys() - PREDICTED.keys())]:
        with pytest.raises(ValueError, match=f"{name}.* is refused"):
            LinearModel.for_scheduler(ld, object.__new__(type(f"{name}Scheduler", (), {})))


# ---------------------------------------------------------------------- one call of the network


MIXED = [
    ({"n_styles": 2}, ["left", "up", "left~1"], 1e-9),
    ({"n_styles": 3, "style_rank": 0.1}, ["left", "up", "left~1"], 1e-9),
    ({}, [{"left": 0.3, "up": 0.7}, "left", "left"], 1e-9),
    ({"text_encoder": "words"}, ["left", "up", "left"], 1e-9),
]


@pytest.mark.parametrize(("settings", "prompts", "atol"), MIXED, ids=str)
def test_the_answer_is_that_of_denoise(tiny, settings, prompts, atol):
    ld = LinearDiffusion(n_components=5, **settings).fit(*tiny)
    model, x = LinearModel(ld, "sample", **DOUBLE), torch.randn(3, 1, 4, 3, dtype=torch.float64)
    alpha, sigma = model._levels(np.array([400.0]))
    noisy = model.samples.images(x / alpha[0])
    clean = ld.denoise(prompts, noisy, model.samples.unit * sigma[0] / alpha[0])
    found = model(x, 400, prompt=prompts).sample
    np.testing.assert_allclose(model.samples.images(found), clean, atol=atol * 100)
    single = LinearModel(ld, "sample")(x.float(), 400, prompt=prompts).sample
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, found, atol=1e-4)
    other = model(x, 500, prompt=prompts).sample  # control
    assert (other - found).abs().max() > 1e-3


def test_standardised_pixels(tiny):
    """With scale=True noise of the pixels is not isotropic in the latents: Bayes' rule on the pixels is."""
    ld = LinearDiffusion(n_components=5, scale=True).fit(*tiny)
    model, x = LinearModel(ld, "sample", **DOUBLE), torch.randn(1, 1, 4, 3, dtype=torch.float64)
    (alpha,), (sigma,) = model._levels(np.array([300.0]))
    mean, variance, Q = pixel_law(ld, "up")
    pixels = Gaussian(mean, (Q * variance) @ Q.T)
    mean = pixels.condition(flat(x)[0], alpha * np.eye(12), sigma**2 * np.eye(12)).mean
    np.testing.assert_allclose(flat(model(x, 300, prompt="up").sample)[0], mean, atol=1e-8)


def test_prompts_labels_and_timesteps_of_each_sample(ld):
    model, x = LinearModel(ld, **DOUBLE), torch.randn(3, 1, 4, 3, dtype=torch.float64)
    prompts, t = ["left", "up", "left"], [7, 300.5, 999]
    each = [model(x[i : i + 1], t[i], prompt=prompts[i]).sample for i in range(3)]
    together = model(x, torch.tensor(t), prompt=prompts)
    torch.testing.assert_close(together.sample, torch.cat(each))
    labels = torch.tensor([ld.prompts_.tolist().index(one) for one in prompts])
    (by_label,) = model(x, torch.tensor(t), labels, return_dict=False)
    torch.testing.assert_close(by_label, together.sample)
    unconditional = model(x, torch.tensor(t)).sample
    assert (unconditional - by_label).abs().max() > 1e-3
    ratio = np.divide(*model._levels(np.array([300.0, 300.5, 301.0]))[::-1])
    np.testing.assert_allclose(ratio[1], np.sqrt(ratio[0] * ratio[2]))


@pytest.mark.parametrize("settings", [{}, {"text_encoder": "words"}], ids=str)
def test_what_is_learned_later_does_not_change_the_network(tiny, tmp_path, settings):
    prompts, images = tiny
    ld = LinearDiffusion(5, **settings).fit(prompts, images)
    model, x = LinearModel(ld, "sample", prompt="left", **DOUBLE), torch.ones(1, 1, 4, 3, dtype=torch.float64)
    ld.predict(["left"])
    before, expected = model(x, 300).sample, ld.predict(["left"], seed=0)
    for changed in (ld, model.ld):
        changed.partial_fit(["left"] * 40, 30 + images[:40])
        changed.set_params(n_components=2).fit(prompts[:60], images[:60])
    torch.testing.assert_close(model(x, 300).sample, before)
    assert (
        LinearModel(ld, "sample", prompt="left", **DOUBLE)(x, 300).sample - before
    ).abs().max() > 1e-3  # control
    model.save_pretrained(tmp_path)
    again = LinearModel.from_pretrained(tmp_path, **DOUBLE)
    torch.testing.assert_close(again(x, 300).sample, before)
    np.testing.assert_allclose(again.ld.predict(["left"], seed=0), expected)


@pytest.mark.parametrize("scale", [False, True])
def test_covariances_that_are_diagonal(scale):
    """Their denoisers have no basis; each pixel has its own gain."""
    mean, variance = np.arange(12.0).reshape(4, 3), np.linspace(0.5, 3, 12)
    ld = LinearDiffusion.from_gaussian(mean, variance, pixel_range=(-1.0, 1.0), scale=scale)
    assert ld.fitted_.unconditional.basis is None
    model, x = LinearModel(ld, "sample", **DOUBLE), torch.randn(3, 1, 4, 3, dtype=torch.float64)
    (alpha,), (sigma,) = model._levels(np.array([300.0]))
    gain = alpha * variance / (alpha**2 * variance + sigma**2)
    expected = mean.ravel() + gain * (flat(x) - alpha * mean.ravel())
    np.testing.assert_allclose(flat(model(x, 300).sample), expected, atol=1e-9)
    scheduler = ddim()
    scheduler.set_timesteps(STEPS)
    law = Gaussian.diagonal(mean.ravel(), variance)
    by_law, by_model = (teleport(one, x, scheduler, skip=3)[0] for one in (law, ld))
    np.testing.assert_allclose(by_model, by_law, atol=1e-9)


@pytest.mark.parametrize("n_styles", [1, 2])
def test_models_of_one_component(tiny, n_styles):
    """With one entry of a latent every covariance is diagonal."""
    ld = LinearDiffusion(1, n_styles=n_styles).fit(*tiny)
    assert ld.fitted_.unconditional.basis is None
    model, x = LinearModel(ld, "sample", **DOUBLE), torch.randn(2, 1, 4, 3, dtype=torch.float64)
    (alpha,), (sigma,) = model._levels(np.array([400.0]))
    prompts = ["left", "up~1" if n_styles > 1 else "up"]
    clean = ld.denoise(prompts, model.samples.images(x / alpha), model.samples.unit * sigma / alpha)
    np.testing.assert_allclose(model.samples.images(model(x, 400, prompt=prompts).sample), clean, atol=1e-7)
    scheduler = ddim()
    scheduler.set_timesteps(STEPS)
    mean, variance, Q = pixel_law(ld, "left")
    by_law = teleport(Gaussian(mean, (Q * variance) @ Q.T), x, scheduler, skip=3)[0]
    np.testing.assert_allclose(teleport(ld, x, scheduler, skip=3, prompt="left")[0], by_law, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"n_styles": 2}, {"text_encoder": "words"}], ids=str)
def test_a_timestep_without_noise(tiny, settings):
    """An image that the model can draw is its own clean image: eps is 0, and the velocity is minus the image."""
    ld = LinearDiffusion(5, **settings).fit(*tiny)
    sample = LinearModel(ld, "sample", prompt="left", **DOUBLE)
    x = sample(torch.randn(3, 1, 4, 3, dtype=torch.float64), 300).sample
    model = LinearModel(ld, "flow_prediction", prompt="left", **DOUBLE)
    torch.testing.assert_close(model(x, 0).sample, -x, atol=1e-8, rtol=0)
    torch.testing.assert_close(model((1 - 1e-6) * x, 1e-3).sample, -x, atol=1e-4, rtol=0)
    if not settings:
        model = LinearModel(ld, "flow_consistency", prompt="left", **DOUBLE)
        torch.testing.assert_close(model(x, 0).sample, -x, atol=1e-8, rtol=0)


def test_a_mixture_of_gaussians_without_a_basis():
    rng = np.random.default_rng(3)
    law, weights = GaussianDenoiser(rng.normal(size=(3, 4)), rng.uniform(0.1, 2, (3, 4))), np.array([0.2, 0.3, 0.5])
    x, level = rng.normal(size=(6, 4)), (0.8, 0.6)
    a, s = (torch.full((6, 1), one, dtype=torch.float64) for one in level)
    found = Gaussians(law, torch.float64).mixture_mean(torch.tensor(x), [0, 1, 2], torch.tensor(weights), a, s)
    np.testing.assert_allclose(found, MixtureDenoiser(law, weights)(x[None], *level)[0])


def test_gradients_pass_through_the_network(ld):
    """The posterior mean of a Gaussian is linear with a symmetric matrix."""
    model = LinearModel(ld, "sample", prompt="left", **DOUBLE)
    noise = basis_noise(model)
    responses = flat(model(noise, 500).sample)
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x, 500).sample, noise[:1]).reshape(12, 12)
    np.testing.assert_allclose(jacobian, responses[1:] - responses[0], atol=1e-10)
    np.testing.assert_allclose(jacobian, jacobian.T, atol=1e-10)


def test_what_is_refused(ld, styled, tiny):
    x, numbers = torch.randn(2, 1, 4, 3), LinearDiffusion(3).fit(np.eye(90)[:, :4], tiny[1])

    def expected(kind, **options):
        return LinearModel.for_scheduler(ld, kind(**options))

    for match, call in (
        ("unknown prediction_type 'noise'", lambda: LinearModel(ld, "noise")),
        ("did you mean 'left'", lambda: LinearModel(ld, prompt="lefd")),
        ("shape", lambda: LinearModel(ld)(x[:, :, :3], 5)),
        ("one prompt for each of 2", lambda: LinearModel(ld)(x, 5, prompt=["left"])),
        ("no consistency function", lambda: LinearModel(styled, "consistency")(x, 5, prompt="left")),
        ("IPNDM", lambda: LinearModel.for_scheduler(ld, diffusers.IPNDMScheduler())),
        ("mask", lambda: LinearModel.for_scheduler(ld, diffusers.RePaintScheduler())),
        ("use_flow_sigmas=True", lambda: expected(DPMSolverMultistepScheduler, prediction_type="flow_prediction")),
        ("use_flow_sigmas needs", lambda: expected(DPMSolverMultistepScheduler, use_flow_sigmas=True)),
        ("invert_sigmas", lambda: expected(FlowMatchEulerDiscreteScheduler, invert_sigmas=True)),
        ("sigma_min=0.002 .*got 0.01", lambda: expected(CMStochasticIterativeScheduler, sigma_min=0.01)),
        ("timestep_scaling=10.0 .*got 5.0", lambda: expected(LCMScheduler, timestep_scaling=5.0)),
        ("variance from the network", lambda: expected(DDPMScheduler, variance_type="learned_range")),
        ('needs "v_pred', lambda: LinearModel(ld, timestep_type="continuous")),
        ('must be "discrete"', lambda: LinearModel(ld, timestep_type="log")),
        ("from 0 to 2, got .3, 0", lambda: LinearModel(ld)(x, 5, torch.tensor([3, 0]))),
        ("from 0 to 2, got .-1, 0", lambda: LinearModel(ld)(x, 5, torch.tensor([-1, 0]))),
        ("from 0 to 2, got", lambda: LinearModel(ld)(x, 5, torch.tensor([0.0, 1.0]))),
        ("no prompts", lambda: LinearModel(numbers)(x, 5, torch.tensor([0, 1]))),
        ("embeddings, got strings", lambda: LinearModel(numbers)(x, 5, prompt="left")),
        ("from 0 to 99", lambda: LinearModel(ld, num_train_timesteps=100)(x, 500)),
        ("from 0 to 1000", lambda: LinearModel(ld, "flow_prediction")(x, 1001)),
        ("from 0 to 999", lambda: LinearModel(ld)(x, torch.tensor([5, -1]))),
        ("each of 2 images, got 3", lambda: LinearModel(styled).request(["up"] * 2, [seeded(0)] * 3)),
        (
            "each of 2 images, got 1",
            lambda: LinearPipeline(LinearModel(ld), ddim())(["up"] * 2, generator=[seeded(0)]),
        ),
        ("v_prediction", lambda: LinearPipeline(LinearModel(ld, "v_prediction"), ddim())(["left"])),
        ("beta_end", lambda: LinearPipeline(LinearModel(ld, beta_end=0.03), ddim())(["left"])),
        ("output_type", lambda: LinearPipeline(LinearModel(ld), ddim())(["left"], output_type="jpg")),
        ("latents", lambda: LinearPipeline(LinearModel(ld), ddim())(["left"], latents=x)),
        (r"\(h, w\)", lambda: LinearModel(LinearDiffusion(2).fit(tiny[0], tiny[1].reshape(90, 12)))),
    ):
        with pytest.raises(ValueError, match=match):
            call()


# ---------------------------------------------------------------------- pipelines


@pytest.mark.parametrize(
    ("theirs", "make"), [(DDPMPipeline, DDPMScheduler), (DDIMPipeline, DDIMScheduler)], ids=["ddpm", "ddim"]
)
def test_pipelines_of_diffusers_draw_what_ours_draws(ld, theirs, make):
    model = LinearModel(ld, prompt="up")
    pipe = quiet(theirs(unet=model, scheduler=make()))
    found = pipe(batch_size=3, num_inference_steps=5, output_type="np", generator=seeded(3)).images
    pipe = quiet(LinearPipeline(model, make()))
    expected = pipe(["up"] * 3, 5, output_type="np", generator=seeded(3)).images
    other = pipe(["left"] * 3, 5, output_type="np", generator=seeded(3)).images
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - other).max() > 0.05  # control


def test_guidance_is_that_of_the_library(ld):
    scheduler = ddim()
    model = LinearModel(ld, **DOUBLE)
    noise = basis_noise(model)
    pipe = quiet(LinearPipeline(model, scheduler))
    found = pipe(["left"] * 13, STEPS, 1.7, latents=noise, output_type="latent").images
    expected = closed_form(ld, "left", samplers.ddim(STEPS), scheduler, guidance_scale=1.7)
    np.testing.assert_allclose(flat(found), expected, atol=1e-5)
    away = pipe("left", STEPS, 1.7, "up", latents=noise[:1], output_type="latent").images
    assert np.abs(flat(away) - expected[:1]).max() > 1e-2


def test_pictures_are_those_of_predict(styled):
    """One step of the exact consistency function from pure noise is the exact sampler; contrast comes after it."""
    scheduler = FlowMatchLCMScheduler()
    model = LinearModel.for_scheduler(styled, scheduler, **DOUBLE)
    noise = torch.randn(4, 1, 4, 3, generator=seeded(0), dtype=torch.float64)
    latents, prompts = flat(noise) @ model.samples.basis, ["left~0", "left~1", "up~0", "right~1"]
    expected = styled.predict(prompts, latents=latents)
    low, high = styled.pixel_range_
    pipe = quiet(LinearPipeline(model, scheduler))
    found = {kind: pipe(prompts, 1, latents=noise, output_type=kind).images for kind in ("np", "pt", "pil")}
    np.testing.assert_allclose(found["np"][..., 0], (expected - low) / (high - low), atol=1e-4)
    np.testing.assert_allclose(found["pt"][:, 0], found["np"][..., 0], atol=1e-6)
    pictures = np.stack([np.asarray(one) for one in found["pil"]])
    np.testing.assert_allclose(pictures, 255 * found["np"][..., 0], atol=0.51)


def test_an_image_draws_one_of_the_styles_of_its_prompt(styled):
    model = LinearModel(styled)
    request = model.request(["left"] * 2000, seeded(1))
    weight = styled.styles_["left"][0]
    drawn = np.array([condition[0][0] for condition in request.conditions])[request.place]
    share = weight[0] / weight.sum()
    error = np.sqrt(share * (1 - share) / 2000)
    assert abs(np.mean(drawn == drawn.min()) - share) < 4 * error
    alike = [seeded(1) for _ in range(10)]
    assert len(model.request(["left"] * 10, alike).conditions) == 1  # a generator an image
    pipe, noise = quiet(LinearPipeline(model, ddim())), torch.zeros(20, 1, 4, 3)
    found = []
    for seed in (0, 0, 1):  # without one, PyTorch's own
        torch.manual_seed(seed)
        found.append(pipe(["left"] * 20, 3, latents=noise, output_type="latent").images)
    torch.testing.assert_close(found[0], found[1])
    assert (found[2] - found[0]).abs().max() > 1e-2


def test_sigmas_and_options_of_a_step(ld):
    scheduler = EulerDiscreteScheduler()
    model = LinearModel.for_scheduler(ld, scheduler, **DOUBLE)
    options = {"latents": torch.ones(1, 1, 4, 3), "output_type": "latent", "generator": seeded(0)}
    pipe = quiet(LinearPipeline(model, scheduler))
    calm = pipe("up", sigmas=[150.0, 20.0, 3.0, 0.5, 0.0], **options).images
    np.testing.assert_allclose(scheduler.sigmas[:4], [150.0, 20.0, 3.0, 0.5])
    churned = pipe("up", sigmas=[150.0, 20.0, 3.0, 0.5, 0.0], s_churn=1.0, **options).images
    assert (calm - churned).abs().max() > 1e-3


# ---------------------------------------------------------------------- teleportation


JUMPED = [ddim, DPMSolverMultistepScheduler, HeunDiscreteScheduler, FlowMatchEulerDiscreteScheduler]


@pytest.mark.parametrize("make", JUMPED)
def test_a_jump_is_the_exact_flow_to_the_level_of_the_next_step(ld, make):
    scheduler = make()
    model = LinearModel.for_scheduler(ld, scheduler, prompt="left", **DOUBLE)
    scheduler.set_timesteps(STEPS)
    noise = basis_noise(model) * getattr(scheduler, "init_noise_sigma", 1.0)
    sample, left = teleport(ld, noise, scheduler, skip=4, prompt="left")
    assert len(left) == len(scheduler.timesteps) - 4 * scheduler.order
    alpha, sigma = levels(scheduler)
    at = 4 * scheduler.order
    assert getattr(scheduler, "begin_index", at) == at
    start, end = (alpha[0], sigma[0]), (alpha[at], sigma[at])
    mean, variance, Q = pixel_law(ld, "left")
    np.testing.assert_allclose(flat(sample), exact_flow(mean, variance, Q, flat(noise), start, end), atol=1e-9)
    by_law = Gaussian(mean, (Q * variance) @ Q.T)  # the same as a law of samples
    np.testing.assert_allclose(teleport(by_law, noise, scheduler, skip=4)[0], sample, atol=1e-6)
    diagonal = Gaussian.diagonal(mean, variance)
    expected = exact_flow(mean, variance, np.eye(12), flat(noise), start, end)
    np.testing.assert_allclose(flat(teleport(diagonal, noise, scheduler, skip=4)[0]), expected, atol=1e-9)


@pytest.mark.parametrize("make", JUMPED[:3])
def test_a_jump_reduces_the_error_of_as_many_evaluations(ld, make):
    scheduler = make()
    model = LinearModel.for_scheduler(ld, scheduler, prompt="left", **DOUBLE)
    noise = basis_noise(model) * getattr(scheduler, "init_noise_sigma", 1.0)
    mean, variance, Q = pixel_law(ld, "left")
    true = Gaussian(mean, (Q * variance) @ Q.T)
    distance = []
    for steps, skip in ((STEPS, 0), (2 * STEPS, STEPS)):
        scheduler.set_timesteps(steps)
        sample, left = teleport(ld, noise, scheduler, skip=skip, prompt="left")
        assert len(left) <= len(scheduler.timesteps) - skip * scheduler.order
        rows = flat(push(model, scheduler, sample, left))
        matrix = rows[1:] - rows[0]
        distance.append(Gaussian(rows[0], matrix.T @ matrix).wasserstein(true))
    assert distance[1] < 0.8 * distance[0]


def test_a_jump_of_a_prompt_with_styles_is_that_of_its_moments(styled):
    scheduler = ddim()
    scheduler.set_timesteps(STEPS)
    mean, variance, Q = pixel_law(styled, "left")
    pixels, noise = Gaussian(mean, (Q * variance) @ Q.T), basis_noise(LinearModel(styled))
    by_prompt, by_law = (
        teleport(one, noise, scheduler, skip=3, prompt=p)[0] for one, p in ((styled, "left"), (pixels, None))
    )
    np.testing.assert_allclose(by_prompt, by_law, atol=1e-6)
    assert (teleport(styled, noise, scheduler, skip=3)[0] - by_law).abs().max() > 1e-3  # control


def test_what_a_jump_refuses(ld, tiny):
    scheduler, x = ddim(), torch.randn(2, 1, 4, 3)
    scheduler.set_timesteps(STEPS)
    vectors = LinearDiffusion.from_gaussian(np.zeros(4), np.ones(4))
    words = LinearDiffusion(2, text_encoder="words", n_styles=2).fit(*tiny)
    with pytest.raises(TypeError, match="skip must be an instance of int"):
        teleport(ld, x, scheduler, skip=3.5)
    tied = PNDMScheduler()
    tied.set_timesteps(STEPS)
    for match, call in (
        ("from 0 to 7", lambda: teleport(ld, x, scheduler, skip=8)),
        ("12 pixels", lambda: teleport(ld, x[:, :, :3], scheduler, skip=2)),
        ("PNDMScheduler cannot", lambda: teleport(ld, x, tied, skip=2)),
        ("of its own", lambda: teleport(ld, x, diffusers.IPNDMScheduler(), skip=0)),
        ("from image to noise", lambda: teleport(ld, x, diffusers.DDIMInverseScheduler(), skip=0)),
        ("invert_sigmas", lambda: teleport(ld, x, FlowMatchEulerDiscreteScheduler(invert_sigmas=True), skip=0)),
        ("object is not known", lambda: teleport(ld, x, object(), skip=0)),
        ("whose prompts are Gaussians", lambda: teleport(words, x, scheduler, skip=2, prompt="left")),
        ("model of images.* shape .4,", lambda: teleport(vectors, x, scheduler, skip=2)),
        ("set_timesteps of the DDIM", lambda: teleport(ld, x, ddim(), skip=0)),
        ("set_timesteps of the FlowMatchE", lambda: teleport(ld, x, FlowMatchEulerDiscreteScheduler(), skip=0)),
        ("one prompt", lambda: teleport(ld, x, scheduler, skip=2, prompt={"left": 1, "up": 1})),
    ):
        with pytest.raises(ValueError, match=match):
            call()


# ---------------------------------------------------------------------- storage

FRESH = """
import sys, numpy, torch
from diffusers import DDIMPipeline
from lineardiffusion.integrations.diffusers import LinearModel, LinearPipeline
folder, theirs, out = sys.argv[1:]
pipe = LinearPipeline.from_pretrained(folder)
images = pipe(["up~0", "left"], 4, 1.5, generator=torch.Generator().manual_seed(5), output_type="np").images
unet = DDIMPipeline.from_pretrained(theirs, torch_dtype=torch.float64).unet
assert type(unet) is LinearModel and unet.dtype == torch.float64
numpy.savez(out, images=images, sample=unet(torch.ones(1, 1, 4, 3), 300).sample)
"""


def test_a_saved_pipeline_in_a_fresh_process(styled, tmp_path):
    """No pickle, no code beside the model, no network."""
    model = LinearModel(
        styled, "v_prediction", prompt="left", trained_betas=np.linspace(1e-4, 0.03, 500), num_train_timesteps=500
    )
    scheduler = DDIMScheduler(500, trained_betas=np.linspace(1e-4, 0.03, 500), prediction_type="v_prediction")
    pipe = quiet(LinearPipeline(model, scheduler))
    pipe.save_pretrained(tmp_path / "ours")
    expected = pipe(["up~0", "left"], 4, 1.5, generator=seeded(5), output_type="np").images
    DDIMPipeline(unet=model, scheduler=scheduler).save_pretrained(tmp_path / "theirs")
    files = {str(one.relative_to(tmp_path)) for one in (tmp_path / "ours").rglob("*.*")}
    expected_files = ["model_index.json", "scheduler/scheduler_config.json"]
    assert files == {f"ours/{one}" for one in [*expected_files, "model/config.json", "model/model.safetensors"]}
    root = Path(__file__).parent.parent
    paths = os.pathsep.join([*sys.path, str(root / "src")])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-W", "ignore", "-c", FRESH, "ours", "theirs", "out.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert not done.returncode, done.stderr
    found = np.load(tmp_path / "out.npz")
    np.testing.assert_array_equal(found["images"], expected)
    np.testing.assert_allclose(found["sample"], model(torch.ones(1, 1, 4, 3), 300).sample, atol=1e-5)
    again = LinearDiffusion.from_pretrained(tmp_path / "ours" / "model")
    np.testing.assert_array_equal(again.predict(["up"], seed=0), styled.predict(["up"], seed=0))


def test_a_linear_model_is_loaded_as_a_network(ld, tmp_path):
    """The folder of LinearDiffusion.save_pretrained has no configuration of a network: parameters give it."""
    ld.save_pretrained(tmp_path / "sub")
    loaded = LinearModel.from_pretrained(tmp_path, subfolder="sub", prediction_type="sample", prompt="up")
    x = torch.randn(1, 1, 4, 3)
    torch.testing.assert_close(loaded(x, 10).sample, LinearModel(ld, "sample", prompt="up")(x, 10).sample)
    with pytest.raises(ValueError, match="push_to_hub"):
        loaded.save_pretrained(tmp_path, push_to_hub=True)


def test_a_pipeline_of_the_hub(ld, tmp_path, monkeypatch):
    pipe = quiet(LinearPipeline(LinearModel(ld), ddim()))
    pipe.save_pretrained(tmp_path)
    asked = []

    def snapshot_download(name, **options):
        asked.append((name, options))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    loaded = LinearPipeline.from_pretrained("ada/shapes", revision="v1")
    assert asked == [("ada/shapes", {"allow_patterns": ["*.json", "*.safetensors"], "revision": "v1"})]
    x = torch.ones(1, 1, 4, 3)
    torch.testing.assert_close(loaded.model(x, 9).sample, pipe.model(x, 9).sample)


def test_without_diffusers_the_error_names_the_extra():
    code = "import sys; sys.modules['diffusers'] = None; import lineardiffusion.integrations.diffusers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "linear-diffusion[diffusers]"' in done.stderr


def test_the_page_runs():
    """The code of docs/use/diffusers.md, in order."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    found = {}
    for block in blocks:
        exec(block, found)
    assert found["sample"].shape == found["noise"].shape


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe
