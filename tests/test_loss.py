"""The denoising loss against simulation, against the affine map of the denoiser, and at its limits."""

import numpy as np
import pytest

from lineardiffusion import LinearDiffusion
from lineardiffusion.loss import _of_affine, _of_gaussian


def simulated(ld, prompts, images, sigma, rounds=25):
    """Mean and standard error, over rounds of fresh noise, of the squared error a pixel of `denoise`."""
    rng = np.random.default_rng(0)
    r = ld.fitted_.encoder.pixel_scale.reshape(images.shape[1:])
    found = []
    for _ in range(rounds):
        clean = ld.denoise(prompts, images + sigma * r * rng.normal(size=images.shape), sigma)
        found.append((((clean - images) / r) ** 2).mean())
    return np.mean(found), np.std(found, ddof=1) / np.sqrt(rounds)


MODELS = [
    ({"n_components": 12, "shrinkage": 0.0}, None),
    ({"n_components": 5, "shrinkage": 0.3}, None),
    ({"n_components": 5, "scale": True}, "up"),
    ({"n_components": 6, "text_encoder": "words"}, None),
    ({"n_components": 6, "text_encoder": "words"}, "left"),
    ({"n_components": 12, "n_styles": 2, "random_state": 0}, "left~1"),
    ({"n_components": 12, "n_styles": 2, "random_state": 0, "style_rank": 0.25}, "up~0"),
]


@pytest.mark.parametrize(("parameters", "prompt"), MODELS)
def test_the_loss_is_the_error_of_denoise_on_the_training_data(tiny, parameters, prompt):
    prompts, images = (np.array(one) for one in tiny)
    ld = LinearDiffusion(**parameters).fit(list(prompts), images)
    name, rows, given = prompt, np.ones(len(images), bool), prompts.tolist()
    if prompt is not None:
        name = prompt.split("~")[0]
        rows = prompts == name
        if "~" in prompt:
            clusters = ld.statistics_.styles.clusters
            places = np.array([["left", "right", "up"].index(one) for one in prompts])
            own = np.flatnonzero(clusters.prompt == places[rows][0])[int(prompt[-1])]
            rows = rows & (clusters.assign(ld.encode(images), places) == own)
        given = [prompt] * int(rows.sum())
    for sigma in (0.5, 5.0) if not parameters.get("scale") else (0.1, 1.0):
        mean, error = simulated(ld, given, images[rows], sigma)
        loss = ld.denoising_loss(sigma, prompt)
        assert abs(mean - loss) < 4.5 * error + 1e-4 * loss
        wrong = ld.denoising_loss(2 * sigma, prompt)  # control
        assert abs(mean - wrong) > 6 * error


def test_the_two_formulas_agree(tiny):
    prompts, images = tiny
    for parameters in ({"n_components": 7}, {"n_components": 7, "n_styles": 3, "style_rank": 0.125}):
        ld = LinearDiffusion(**parameters).fit(prompts, images)
        denoiser = ld.fitted_.conditional.select(np.array([1]))
        m, C = denoiser.mean[0], np.cov(np.random.default_rng(0).normal(size=(7, 20)))
        found = _of_gaussian(denoiser, C, np.array([0.1, 1.0]))
        truth = [_of_affine(denoiser, m, C, sigma) for sigma in (0.1, 1.0)]
        np.testing.assert_allclose(found, truth, rtol=1e-9)


def test_limits_and_shapes(tiny):
    prompts, images = tiny
    ld = LinearDiffusion(5).fit(prompts, images)
    encoder = ld.fitted_.encoder
    sigma = np.array([1e-150, 0.1, 1.0, 10.0, 1e150])
    loss = ld.denoising_loss(sigma, "up")
    assert (np.diff(loss) > 0).all()
    own = images[np.array(prompts) == "up"]
    assert loss[0] == pytest.approx(((ld.decode(ld.encode(own)) - own) ** 2).mean(), rel=1e-9)
    spread = encoder.scaling_factor**2 * ld.encode(own).var(axis=0).sum() / 12
    assert loss[-1] == pytest.approx(loss[0] + spread, rel=1e-6)
    assert isinstance(ld.denoising_loss(1.0), float)
    by_prompt = [ld.denoising_loss(1.0, one) for one in ld.prompts_]
    assert ld.denoising_loss(1.0) == pytest.approx(ld.prompt_prior_ @ by_prompt)


def test_known_gaussians_have_the_least_error():
    variance, sigma = np.array([4.0, 1.0, 0.0]), np.array([0.1, 1.0, 3.0])
    closed = (variance * sigma[:, None] ** 2 / (variance + sigma[:, None] ** 2)).mean(axis=1)
    for C in (variance, np.diag(variance) + 1e-300):
        ld = LinearDiffusion.from_gaussian(np.ones(3), C)
        np.testing.assert_allclose(ld.denoising_loss(sigma), closed, rtol=1e-12)


def test_what_has_no_closed_form_is_refused(tiny):
    prompts, images = tiny
    ld = LinearDiffusion(5, n_styles=2).fit(prompts, images)
    for prompt in ("up", None):
        with pytest.raises(ValueError, match=r"name a style, as in '\w+~0'"):
            ld.denoising_loss(1.0, prompt)
    plain = LinearDiffusion(5, text_encoder="words").fit(prompts, images)
    with pytest.raises(ValueError, match="it has none"):
        plain.denoising_loss(1.0, "up left")
    with pytest.raises(ValueError, match="unknown prompt"):
        LinearDiffusion(5).fit(prompts, images).denoising_loss(1.0, "down")
    embedded = LinearDiffusion(5).fit(np.eye(3)[np.arange(90) % 3], images)
    with pytest.raises(ValueError, match="embeddings"):
        embedded.denoising_loss(1.0)
    for sigma in (0.0, -1.0, np.nan, [[1.0]]):
        with pytest.raises(ValueError, match="sigma must be"):
            plain.denoising_loss(sigma)
    with pytest.raises(TypeError, match="one known prompt"):
        plain.denoising_loss(1.0, [0.5, 0.5])
