"""The plots of the plane and of schedules show the model's numbers, each computed a second time here."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from scipy.stats import multivariate_normal
from sklearn.datasets import make_moons

from lineardiffusion import LinearDiffusion, Mixture, plot, schedules

SIGMA = 0.2


@pytest.fixture(scope="module")
def moons():
    points, moon = make_moons(600, noise=0.05, random_state=0)
    keep = (moon == 0) | (np.arange(600) % 3 == 0)  # of unequal frequency
    return moon[keep], points[keep] * [1.0, 2.0]


@pytest.fixture(scope="module")
def gaussian(moons):
    return LinearDiffusion().fit(*moons)


@pytest.fixture(scope="module")
def styled(moons):
    return LinearDiffusion(n_styles=5).fit(*moons)


@pytest.fixture(scope="module")
def scaled(moons):
    return LinearDiffusion(n_styles=5, scale=True).fit(*moons)


def log_density(ld, prompt, x, noise):
    """Return the log-density of noisy points (n, 2) from scipy's normal densities; `noise` is a variance."""
    frequencies = {str(u): w for u, w in zip(ld.prompts_, ld.prompt_prior_, strict=True)}
    total = 0.0
    for name, frequency in frequencies.items() if prompt is None else [(prompt, 1.0)]:
        law = ld.law(name, space="pixels")
        parts = zip(law.weights, law.components, strict=True) if isinstance(law, Mixture) else [(1.0, law)]
        for weight, part in parts:
            density = multivariate_normal(part.mean, part.covariance + np.diag(np.broadcast_to(noise, 2)))
            total = total + frequency * weight * density.pdf(x)
    return np.log(total)


def arrows(figure):
    """Return where the arrows start, and their vectors in the unit of the score."""
    quiver = figure.axes[0].collections[-1]
    return quiver.XY, np.stack([quiver.U, quiver.V], axis=1)


@pytest.mark.parametrize("prompt", ["1", None])
@pytest.mark.parametrize("name", ["gaussian", "styled", "scaled"])
def test_arrows_are_the_gradient_of_the_log_density_of_noisy_points(name, prompt, moons, request):
    ld, h = request.getfixturevalue(name), 1e-4
    at, score = arrows(plot.score_field(ld, prompt, sigma=SIGMA, n=9))
    unit = moons[1].std(axis=0) if name == "scaled" else 1.0

    def error(sigma):
        noise = (sigma * unit) ** 2
        gradient = [
            (log_density(ld, prompt, at + step, noise) - log_density(ld, prompt, at - step, noise)) / (2 * h)
            for step in h * np.eye(2)
        ]
        return abs(score - np.transpose(gradient)).max() / abs(score).max()

    assert len(at) == 81
    assert error(SIGMA) < 1e-6
    assert error(1.2 * SIGMA) > 0.02  # control: the density at another noise level


def test_density_below_the_arrows_is_that_of_noisy_points_in_the_limits(styled):
    limits = (-1.0, 3.0, -3.0, 3.0)
    for prompt in ("1", None):
        (shades,) = plot.score_field(styled, prompt, sigma=SIGMA, limits=limits).axes[0].images
        drawn = np.asarray(shades.get_array())
        rows, columns = drawn.shape
        x = -1.0 + 4.0 * (np.arange(columns) + 0.5) / columns
        y = -3.0 + 6.0 * (np.arange(rows) + 0.5) / rows
        expected = np.exp(log_density(styled, prompt, np.stack(np.meshgrid(x, y), axis=2), SIGMA**2))
        assert tuple(shades.get_extent()) == limits
        assert shades.origin == "lower"
        np.testing.assert_allclose(drawn, expected, rtol=1e-6, atol=1e-12)
        assert not np.allclose(drawn, expected.T, atol=0.01)  # control: a transposed picture


def test_limits_hold_the_noisy_points_of_all_prompts(styled, moons):
    axes = plot.score_field(styled, sigma=SIGMA).axes[0]
    noisy = moons[1] + SIGMA * np.random.default_rng(0).normal(size=moons[1].shape)
    middle, half = noisy.mean(axis=0), 2.6 * noisy.std(axis=0).max()
    expected = np.stack([middle - half, middle + half], axis=1)
    np.testing.assert_allclose([axes.get_xlim(), axes.get_ylim()], expected, atol=0.06)


def test_points_take_the_place_of_the_density_and_axes_can_be_given(styled, moons):
    first = plot.score_field(styled, "0", sigma=SIGMA)
    figure = plot.score_field(styled, "1", sigma=SIGMA, points=moons[1], ax=first.axes[0])
    assert figure is first
    cloud = figure.axes[0].collections[1]
    np.testing.assert_array_equal(cloud.get_offsets(), moons[1])
    assert len(figure.axes[0].images) == 1  # that of the first call


def test_a_score_field_refuses_what_it_cannot_draw(styled, digits):
    for settings, message in (
        ({"prompt": "5", "sigma": 1.0}, "unknown prompt '5'"),
        ({"sigma": 0.0}, "sigma"),
        ({"sigma": float("inf")}, "sigma"),
        ({"sigma": 1.0, "n": 1}, "n == 1"),
    ):
        with pytest.raises(ValueError, match=message):
            plot.score_field(styled, **settings)
    with pytest.raises(ValueError, match=r"shape \(2,\), not \(8, 8\)"):
        plot.score_field(LinearDiffusion(5).fit(*digits), sigma=1.0)


# ---------------------------------------------------------------------- paths


def courses(figure, n):
    """Return the paths, shape (n, steps, 2), and the ends of the hollow and filled points."""
    axes = figure.axes[0]
    hollow, filled = axes.collections[-2:]
    return np.stack([line.get_xydata() for line in axes.lines[-n:]]), hollow.get_offsets(), filled.get_offsets()


@pytest.mark.parametrize("sampler", ["exact", "heun", "ddpm"])
def test_paths_of_points_run_from_the_noise_to_what_predict_draws(styled, moons, sampler):
    prompts, settings = ["0", "1", "1"], {"sampler": sampler, "num_steps": 6}
    lines, start, end = courses(plot.paths(styled, prompts, 5, points=moons[1], **settings), 3)
    staged = np.stack(list(styled.staged_predict(prompts, 5, **settings)), axis=1)
    np.testing.assert_allclose(lines, staged, rtol=1e-12)
    np.testing.assert_array_equal(start, lines[:, 0])
    np.testing.assert_array_equal(end, lines[:, -1])
    drawn = styled.predict(prompts, 5, return_trajectory=sampler == "ddpm", **settings)
    np.testing.assert_allclose(end, drawn[0] if sampler == "ddpm" else drawn, rtol=1e-6)
    assert abs(end - styled.predict(prompts, 6, **settings)).max() > 0.05  # control: another seed


def test_paths_of_one_prompt_have_one_colour_and_prompts_are_named(styled):
    figure = plot.paths(styled, ["1", "0", "1"], 5, num_steps=2)
    axes = figure.axes[0]
    first, second = to_rgba("C0"), to_rgba("C1")
    assert [to_rgba(line.get_color()) for line in axes.lines] == [first, second, first]
    np.testing.assert_array_equal(axes.collections[-1].get_facecolors(), [first, second, first])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['"1"', '"0"']
    assert plot.paths(styled, ["1", "1"], 5, num_steps=2).axes[0].get_legend() is None


def test_paths_of_pictures_are_those_of_their_first_two_principal_components(digits):
    prompts, images = digits
    ld = LinearDiffusion(10).fit(prompts, images)
    figure = plot.paths(ld, ["0", "7"], 5, num_steps=4, points=images)
    lines, _, _ = courses(figure, 2)
    centred = images.reshape(len(images), -1) - images.reshape(len(images), -1).mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    plane = vectors[:, [-1, -2]]  # of the largest variance
    signs = np.sign((ld.components_[:2] * plane.T).sum(axis=1))
    scores = centred @ plane * signs / ld.scaling_factor_
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), scores, atol=1e-6)
    pictures = ld.predict(["0", "7"], 5, num_steps=4).reshape(2, -1) - images.reshape(len(images), -1).mean(axis=0)
    np.testing.assert_allclose(lines[:, -1], pictures @ plane * signs / ld.scaling_factor_, atol=1e-4)


def test_paths_need_two_entries_of_the_latents(digits):
    with pytest.raises(ValueError, match="two entries"):
        plot.paths(LinearDiffusion(1).fit(*digits), ["0"])


# ---------------------------------------------------------------------- schedules


def test_curves_of_a_schedule_are_its_formulas():
    levels, ratio = plot.schedule("cosine", lambda t: (1.0 - t, t)).axes
    t = levels.lines[0].get_xdata()
    expected = [np.cos(np.pi * t / 2), np.sin(np.pi * t / 2), 1 - t, t]
    for line, values in zip(levels.lines, expected, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), t)
        np.testing.assert_allclose(line.get_ydata(), values, atol=1e-12)
    assert (t[0], t[-1]) == (0.0, 1.0)
    assert [line.get_linestyle() for line in levels.lines] == ["-", "--"] * 2
    inner = t[1:-1]  # the ratio is infinite at no noise and zero at pure noise
    ratios = -2 * np.log(np.tan(np.pi * inner / 2)), 2 * np.log(1 / inner - 1)
    for line, values in zip(ratio.lines, ratios, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), inner)
        np.testing.assert_allclose(line.get_ydata(), values, atol=1e-9)
    assert [line.get_label() for line in ratio.lines] == ["cosine", "<lambda>"]
    assert levels.get_yscale() == "linear"


def test_schedules_of_different_times_share_their_axis():
    levels, ratio = plot.schedule("vp", schedules.Karras(sigma_max=10.0)).axes
    alpha, sigma, one, exploding = (line.get_xydata() for line in levels.lines)
    np.testing.assert_allclose(alpha[:, 1], np.exp(-0.05 * alpha[:, 0] - 0.25 * 19.9 * alpha[:, 0] ** 2))
    np.testing.assert_allclose(alpha[:, 1] ** 2 + sigma[:, 1] ** 2, 1.0)
    np.testing.assert_array_equal(one[:, 1], 1.0)
    np.testing.assert_allclose(exploding[:, 1], 10.0 * exploding[:, 0])
    assert exploding[-1, 0] == 1.0
    assert levels.get_yscale() == "symlog"
    assert ratio.lines[1].get_ydata()[-1] == pytest.approx(-2 * np.log(10))
    (alone, _) = plot.schedule(schedules.Karras(sigma_max=10.0)).axes
    assert alone.lines[1].get_xdata()[-1] == 10.0  # its own time


def test_schedules_that_are_none_are_refused():
    for names, error, message in (
        ((), ValueError, "no schedule"),
        (("sine",), ValueError, "'sine'"),
        ((3,), TypeError, "3"),
    ):
        with pytest.raises(error, match=message):
            plot.schedule(*names)
