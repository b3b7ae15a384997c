"""The levels of optimal_times in the schedulers of diffusers: what set_timesteps does with them, and the law."""

import numpy as np
import pytest

from lineardiffusion import Gaussian
from lineardiffusion.oracle.optimal import optimal_times
from test_optimal_times import distance, drawn

torch = pytest.importorskip("torch", reason="needs torch and diffusers: pip install '.[diffusers]'")
diffusers = pytest.importorskip("diffusers", reason="needs diffusers: pip install '.[diffusers]'")
pytestmark = pytest.mark.diffusers

LAW = Gaussian(np.array([3.0, -1.0, 0.5, 0.0]), np.diag([9.0, 1.0, 0.1, 0.004]))


def law_of(scheduler, start, model):
    """The law of a scheduler's loop from the exact marginal, by responses to the mean and to each direction."""
    alpha, sigma = start
    std = np.sqrt(alpha**2 * np.diag(LAW.covariance) + sigma**2)
    x = torch.tensor(alpha * LAW.mean + np.vstack([np.zeros(4), np.diag(std)]))
    for t in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(x, t)  # Euler warns without it; the model below takes x itself
        s = float(scheduler.sigmas[scheduler.step_index or 0])
        x = scheduler.step(model(x, s), t, x).prev_sample
    rows = x.double().numpy()
    M = rows[1:] - rows[0]
    return Gaussian(rows[0], M.T @ M)


def denoised(x, alpha, sigma):
    """The posterior mean under LAW of z in x = alpha z + sigma n."""
    variance, mean = torch.tensor(np.diag(LAW.covariance)), torch.tensor(LAW.mean)
    return mean + alpha * variance / (alpha**2 * variance + sigma**2) * (x.double() - alpha * mean)


def epsilon(x, sigma):
    return (x.double() - denoised(x, 1.0, sigma)) / sigma


def flow(x, t):
    """n - z, the prediction of a rectified flow at x = (1 - t) z + t n."""
    z = denoised(x, 1.0 - t, t)
    return (x.double() - z) / t


def euler(sigmas):
    scheduler = diffusers.EulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=sigmas.tolist())
    return scheduler


def edm_euler(sigmas):
    """The places of the levels on the ramp of Karras et al.: set_timesteps(sigmas=...) takes those."""
    scheduler = diffusers.EDMEulerScheduler(sigma_max=80.0, sigma_min=0.002, rho=7.0, prediction_type="epsilon")
    roots = sigmas[:-1] ** (1 / 7)
    first, last = 80.0 ** (1 / 7), 0.002 ** (1 / 7)
    scheduler.set_timesteps(sigmas=torch.tensor((roots - first) / (last - first)))
    return scheduler


def heun(sigmas):
    """The times between which its table of levels is interpolated linearly: it takes no levels."""
    scheduler = diffusers.HeunDiscreteScheduler(beta_end=0.03)  # levels up to 270
    table = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt().numpy()
    scheduler.set_timesteps(timesteps=np.interp(sigmas[:-1], table, np.arange(len(table))))
    return scheduler


@pytest.mark.parametrize(("make", "sampler"), [(euler, "ddim"), (heun, "heun")])
def test_the_law_is_the_one_predicted(make, sampler):
    sigmas = optimal_times(LAW, 6, sampler)
    scheduler = make(sigmas)
    levels = scheduler.sigmas[[0, *range(1, len(scheduler.sigmas), 1 if sampler == "ddim" else 2)]]
    np.testing.assert_allclose(levels.numpy(), sigmas, rtol=1e-4)
    found, predicted = law_of(scheduler, (1.0, sigmas[0]), epsilon), drawn(LAW, sampler, sigmas)
    np.testing.assert_allclose(found.covariance, predicted.covariance, rtol=1e-3, atol=1e-6)
    assert found.wasserstein(LAW) == pytest.approx(distance(LAW, sampler, sigmas), rel=1e-3)
    karras = np.append(np.linspace(80.0 ** (1 / 7), 0.05 ** (1 / 7), 6) ** 7, 0.0)
    assert law_of(make(karras), (1.0, 80.0), epsilon).wasserstein(LAW) > 1.2 * found.wasserstein(LAW)


def test_flow_match_euler_takes_sigma_over_one_plus_sigma_without_the_last():
    sigmas = optimal_times(LAW, 6)
    t = sigmas / (1 + sigmas)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=t[:-1].tolist())
    np.testing.assert_allclose(scheduler.sigmas.numpy(), t, rtol=1e-6)
    found = law_of(scheduler, (1 - t[0], t[0]), flow)
    np.testing.assert_allclose(found.covariance, drawn(LAW, "ddim", sigmas).covariance, rtol=1e-3, atol=1e-6)


def test_euler_appends_no_zero_and_edm_euler_takes_places_on_its_ramp():
    sigmas = optimal_times(LAW, 6)
    assert euler(sigmas[:-1]).sigmas[-1] == pytest.approx(sigmas[-2])  # the noise that is left
    assert len(euler(sigmas[:-1]).timesteps) == 5
    np.testing.assert_allclose(edm_euler(sigmas).sigmas.numpy(), sigmas, rtol=1e-5)
    scheduler = diffusers.EDMEulerScheduler(sigma_max=80.0)
    scheduler.set_timesteps(sigmas=torch.tensor(sigmas[:-1]))
    assert float(scheduler.sigmas.abs().max()) > 1e9  # the levels themselves, taken for places
