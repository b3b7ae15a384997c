"""The number of free parameters: against the rank of a derivative, and as BIC chooses a model."""

import numpy as np
import pytest

from lineardiffusion import ImageEncoder, LinearDiffusion, Statistics


def law(ld):
    """The mean and the covariance in pixels under every prompt, as one vector."""
    encoder, found = ld.fitted_.encoder, []
    D, V, R = len(encoder.mean), encoder.components, np.diag(encoder.pixel_scale)
    for prompt in ld.prompts_:
        latent = ld.law(prompt)
        inside = encoder.scaling_factor**2 * V.T @ latent.covariance @ V
        covariance = R @ (inside + encoder.residual_variance * (np.eye(D) - V.T @ V)) @ R
        found += [encoder.mean + latent.mean @ encoder.synthesis, covariance[np.triu_indices(D)]]
    return np.concatenate(found)


@pytest.mark.parametrize(
    ("D", "d", "p", "n", "scale"),
    [(4, 2, 2, 24, False), (4, 2, 2, 24, True), (5, 4, 2, 24, True), (6, 2, 2, 24, True), (4, 4, 2, 24, True),
     (5, 3, 2, 8, False), (8, 8, 2, 6, False), (8, 8, 2, 6, True)],
)  # fmt: skip
def test_it_is_the_rank_of_the_law_s_derivative(D, d, p, n, scale):
    """How many directions of the law can the training images move? In the last case ranks are limited by n."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(n, D)) * np.linspace(3, 1, D) + rng.normal(size=(p, D))[np.arange(n) % p]
    prompts, step, rows = [str(i % p) for i in range(n)], 1e-5, []

    def fit(images):
        return LinearDiffusion(d, scale=scale, shrinkage=0).fit(prompts, images)

    for at in np.ndindex(n, D):
        ends = []
        for sign in (1, -1):
            moved = images.copy()
            moved[at] += sign * step
            ends.append(law(fit(moved)))
        rows.append((ends[0] - ends[1]) / (2 * step))
    singular = np.linalg.svd(np.array(rows), compute_uv=False)
    assert np.sum(singular > 1e-7 * singular[0]) == fit(images).n_parameters_


def test_one_covariance_of_many_prompts_of_few_images():
    """With ``shrinkage=1`` all prompts of 3 images have W, whose rank is not limited by 3."""
    images = np.random.default_rng(0).normal(size=(30, 5))
    ld = LinearDiffusion(shrinkage=1).fit([str(i % 10) for i in range(30)], images)
    assert ld.n_parameters_ == 10 * 5 + 15


def test_shrinkage_counts_the_trace_of_the_smoother(tiny):
    """S_u as a linear function of C_1, ..., C_p, entry by entry."""
    prompts, images = tiny
    share, amount = np.full(3, 1 / 3), np.array([0.3] * 3)
    smoother = np.diag(1 - amount) + amount[:, None] * share
    means = 3 * 12
    for shrinkage, trace in ((0, 3.0), (0.3, np.trace(smoother)), (1, 1.0)):
        ld = LinearDiffusion(shrinkage=shrinkage).fit(prompts, images)
        assert ld.n_parameters_ == pytest.approx(means + trace * 78)


def test_styles_regressions_and_bases():
    rng = np.random.default_rng(0)
    prompts, images = ["a x", "a y", "b x", "b y"] * 50, rng.normal(size=(200, 5))
    plain = LinearDiffusion(3, shrinkage=0).fit(prompts, images)
    assert plain.n_parameters_ == 3 * 2 + 3 + 4 * (3 + 6)
    words = LinearDiffusion(3, text_encoder="words").fit(prompts, images)
    assert words.n_parameters_ == 3 * 2 + 3 + 4 * (3 + 6)  # 3 x 3 means and 45 of G are more
    basis = LinearDiffusion(image_encoder=ImageEncoder.from_basis(np.eye(5)[:3], Statistics.of(prompts, images)))
    assert basis.set_params(shrinkage=0).fit(prompts, images).n_parameters_ == 3 + 4 * (3 + 6)
    styled = LinearDiffusion(3, n_styles=2, shrinkage=0.3).fit(prompts, images)
    n = styled.statistics_.styles.moments.weight
    within, whole = np.kron(np.eye(4), np.ones((2, 2))) * n / n.reshape(4, 2).sum(axis=1).repeat(2), n / n.sum()
    k = (20 / (n + 20))[:, None]
    smoother = np.diag(1 - k.ravel()) + k * (0.7 * within + 0.3 * whole)  # row g: S_g of C_1, ..., C_8
    assert styled.n_parameters_ == pytest.approx(3 * 2 + 3 + 4 + 8 * 3 + np.trace(smoother) * 6)


def test_criteria_by_hand_and_the_model_that_they_choose():
    """Images of two directions and noise: both criteria find two components among one to five."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(400, 2)) @ (3 * rng.normal(size=(2, 6))) + rng.normal(size=(400, 6))
    prompts, found = ["a", "b"] * 200, {}
    for d in range(1, 6):
        ld = LinearDiffusion(d, shrinkage=0).fit(prompts, images)
        log_prob = ld.score_samples(images, prompts).sum()
        assert ld.aic(prompts, images) == pytest.approx(-2 * log_prob + 2 * ld.n_parameters_)
        assert ld.bic(prompts, images) == pytest.approx(-2 * log_prob + np.log(400) * ld.n_parameters_)
        found[d] = ld.bic(prompts, images), ld.aic(prompts, images), -log_prob
    assert [min(found, key=lambda d: found[d][i]) for i in range(3)] == [2, 2, 5]  # control: the likelihood alone
