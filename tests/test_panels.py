"""The plots of a model show the model's numbers."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from lineardiffusion import LinearDiffusion, plot, samplers


@pytest.fixture(scope="module")
def ld(digits):
    return LinearDiffusion(n_components=30).fit(*digits)


@pytest.fixture(scope="module")
def styled(digits):
    return LinearDiffusion(n_components=30, n_styles=7).fit(*digits)


@pytest.fixture(scope="module")
def color(digits):
    """Fit digits in colour: red is the digit, green its mirror image, blue is empty."""
    prompts, images = digits
    return LinearDiffusion(10).fit(prompts, np.stack([images, images[:, :, ::-1], 0 * images], axis=3))


def drawn(figure: Figure) -> np.ndarray:
    return np.stack([np.asarray(axes.images[0].get_array()) for axes in figure.axes])


def captions(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def labels(figure: Figure) -> list[str]:
    return [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]


def frames(path) -> list[Image.Image]:
    with Image.open(path) as film:
        return [frame.copy() for frame in ImageSequence.Iterator(film)]


# ---------------------------------------------------------------------- step by step


@pytest.mark.parametrize("settings", [{}, {"sampler": "ddim", "guidance_scale": 2.0}])
def test_denoising_shows_every_step_in_one_row_a_prompt(ld, settings):
    figure = plot.denoising(ld, ["7", "3"], seed=5, num_steps=4, **settings)
    steps = list(ld.staged_predict(["7", "3"], seed=5, num_steps=4, **settings))
    np.testing.assert_array_equal(drawn(figure), np.concatenate(np.stack(steps, axis=1)))
    assert captions(figure) == ["noise", "step 1", "step 2", "step 3", "step 4", *[""] * 5]
    assert labels(figure) == ['"7"', '"3"']
    assert {axes.images[0].get_clim() for axes in figure.axes} == {(0.0, 16.0)}


def test_denoising_that_starts_from_an_image_has_fewer_steps(ld, digits):
    partway = {"start": digits[1][:1], "strength": 0.5}
    figure = plot.denoising(ld, ["7"], seed=5, num_steps=8, **partway)
    steps = np.concatenate(list(ld.staged_predict(["7"], seed=5, num_steps=8, **partway)))
    assert len(steps) == 5
    np.testing.assert_array_equal(drawn(figure), steps)


@pytest.mark.parametrize("name", ["film.gif", "film.png", "film.APNG"])
def test_frames_are_the_staged_images(ld, tmp_path, name):
    path = plot.animate(ld, ["7", "3", "1"], tmp_path / name, seed=5, num_steps=6, columns=2, zoom=3)
    assert path == tmp_path / name
    film = frames(path)
    assert len(film) == 7
    for frame, images in zip(film, ld.staged_predict(["7", "3", "1"], seed=5, num_steps=6), strict=True):
        ink = 255 - np.clip(np.rint(images * (255 / 16)), 0, 255)
        blank = np.full((8, 8), 255)
        sheet = np.block([[ink[0], ink[1]], [ink[2], blank]])
        np.testing.assert_array_equal(np.asarray(frame.convert("L")), np.kron(sheet, np.ones((3, 3))))


def test_an_animation_repeats_and_holds_the_last_frame(ld, tmp_path):
    with Image.open(plot.animate(ld, ["7"], tmp_path / "film.gif", seed=5, num_steps=3)) as film:
        assert film.info["loop"] == 0
        stays = [frame.info["duration"] for frame in ImageSequence.Iterator(film)]
    assert stays == [80, 80, 80, 2000]


def test_an_animation_in_color_is_not_inverted(color, tmp_path):
    path = plot.animate(color, ["7"], tmp_path / "film.png", seed=5, num_steps=2, zoom=1)
    for frame, images in zip(frames(path), color.staged_predict(["7"], seed=5, num_steps=2), strict=True):
        levels = np.clip(np.rint(images[0] * (255 / 16)), 0, 255)
        np.testing.assert_array_equal(np.asarray(frame.convert("RGB")), levels)


def test_an_animation_without_columns_is_nearly_square(ld, tmp_path):
    path = plot.animate(ld, list("01234"), tmp_path / "film.png", seed=5, num_steps=1, zoom=1)
    assert frames(path)[0].size == (24, 16)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("film.mp4", {}, "mp4"),
        ("film.gif", {"zoom": 0}, "zoom == 0"),
        ("film.gif", {"columns": 0}, "columns == 0"),
        ("film.gif", {"sampler": "none"}, "'none'"),
    ],
)
def test_a_refused_animation_leaves_no_file(ld, tmp_path, name, options, message):
    with pytest.raises(ValueError, match=message):
        plot.animate(ld, ["7"], tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_an_animation_of_an_unknown_prompt_leaves_no_file(ld, tmp_path):
    with pytest.raises(ValueError, match="banana"):
        plot.animate(ld, ["banana"], tmp_path / "film.gif")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- part by part


def test_components_are_drawn_around_white(ld):
    figure = plot.components(ld, 12, columns=4)
    np.testing.assert_array_equal(drawn(figure).reshape(12, 64), ld.components_[:12])
    low, high = figure.axes[0].images[0].get_clim()
    assert -low == high == abs(ld.components_[:12]).max()
    assert captions(figure) == [str(i) for i in range(1, 13)]
    assert len(plot.components(ld, 99).axes) == 30


def test_components_in_color_are_drawn_around_gray(color):
    found = color.components_[:3].reshape(3, 8, 8, 3)
    np.testing.assert_allclose(drawn(plot.components(color, 3)), 0.5 + found / (2 * abs(found).max()))


@pytest.mark.parametrize("model", ["ld", "styled"])
def test_means_and_stds_are_those_of_the_generated_images(model, request):
    model = request.getfixturevalue(model)
    figure = plot.means(model, ["4", "9"])
    mean, std = drawn(figure).reshape(2, 2, 8, 8)
    many = np.stack([model.predict([prompt] * 20_000, seed=0) for prompt in "49"])
    assert abs(mean - many.mean(axis=1)).max() < 0.2
    assert abs(std - many.std(axis=1)).max() < 0.15
    assert abs(std - many.std(axis=1)[::-1]).max() > 1.0  # another prompt's would be noticed
    assert captions(figure) == ['"4"', '"9"', "", ""]
    assert labels(figure) == ["mean", f"std, 0 to {std.max():.3g}"]
    ranges = [axes.images[0].get_clim() for axes in figure.axes]
    assert ranges == [(0.0, 16.0)] * 2 + [(0.0, std.max())] * 2


def test_means_are_the_data_s_where_every_direction_is_kept(digits):
    prompts, images = digits
    ld = LinearDiffusion(shrinkage=0).fit(prompts, images)
    mean, std = drawn(plot.means(ld)).reshape(2, 10, 8, 8)
    for digit in range(10):
        own = images[np.array(prompts) == str(digit)]
        np.testing.assert_allclose(mean[digit], own.mean(axis=0), atol=1e-5)  # decoded in float32
        np.testing.assert_allclose(std[digit], own.std(axis=0), atol=1e-5)


def test_means_in_color_have_three_channels(color):
    mean = color.decode(color.law("7").mean)
    np.testing.assert_allclose(drawn(plot.means(color, ["7"]))[0], np.clip(mean / 16, 0, 1))


def test_singular_values_are_those_of_the_map(ld):
    figure = plot.singular_values(ld, "7", ["exact", "ddim", "one_step"], num_steps=5)
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["exact", "ddim, 5 steps", "one_step"]
    for line, sampler in zip(axes.lines, ["exact", "ddim", "one_step"], strict=True):
        matrix = ld.affine("7", sampler=sampler, num_steps=5)[0]
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 31))
        np.testing.assert_allclose(line.get_ydata(), np.linalg.svd(matrix)[1], rtol=1e-6)
    assert axes.get_yscale() == "log"
    assert axes.get_title() == 'From noise to "7"'


def test_singular_values_count_the_noise_of_every_step(ld):
    """A stochastic sampler's line is the standard deviation of its latents in their principal directions."""
    (line,) = plot.singular_values(ld, "7", ["ddpm"], num_steps=8).axes[0].lines
    latents = ld.encode(ld.predict(["7"] * 20_000, seed=0, sampler="ddpm", num_steps=8))
    found = np.sqrt(np.linalg.eigvalsh(np.cov(latents.T)))[::-1]
    np.testing.assert_allclose(line.get_ydata(), found, rtol=0.05)


def test_singular_values_that_are_zero_are_not_drawn(styled):
    matrix = styled.affine("7~6")[0]
    (line,) = plot.singular_values(styled, "7~6").axes[0].lines
    drawn = np.isfinite(line.get_ydata())
    assert drawn.sum() == np.linalg.matrix_rank(matrix) < 30
    np.testing.assert_allclose(line.get_ydata()[drawn], np.linalg.svd(matrix)[1][drawn], rtol=1e-6)


def test_singular_values_of_sampler_objects_and_functions(ld):
    def halving(denoise, x, schedule, times, add_noise):
        for _ in times[1:]:
            x = 0.5 * x
            yield x

    figure = plot.singular_values(ld, "7", [samplers.heun(3), halving, "exact"], num_steps=2)
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["heun, 2 steps", "halving, 2 steps", "exact"]
    np.testing.assert_allclose(lines[1].get_ydata(), 0.25)
    law = ld.law("7", sampler="heun", num_steps=2)
    np.testing.assert_allclose(lines[0].get_ydata() ** 2, np.linalg.eigvalsh(law.covariance)[::-1])
    (kept,) = plot.singular_values(ld, "7", [samplers.heun(3)]).axes[0].lines
    assert kept.get_label() == "heun, 3 steps"


def test_singular_values_can_be_drawn_beside_something_else(ld):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot.singular_values(ld, "7", ["ddim"], ax=right) is figure
    assert not left.lines
    assert [line.get_label() for line in right.lines] == ["ddim, 50 steps"]
    part = figure.subfigures(1, 2)[0]
    assert plot.singular_values(ld, "7", ax=part.add_subplot()) is figure


def test_all_styles_are_drawn_under_their_names_and_shares(styled):
    figure = plot.styles(styled, "3")
    count, mean = styled.styles_["3"]
    words = [caption.split() for caption in captions(figure)]
    order = [int(name.removeprefix("3~")) for name, _ in words]
    assert sorted(order) == list(range(7))
    assert [share for _, share in words] == [f"{x:.0%}" for x in (count / count.sum())[order]]
    np.testing.assert_array_equal(drawn(figure), mean[order])


def test_adjacent_styles_are_similar(digits):
    """Compare the mean distance of adjacent styles with the mean distances in random orders."""
    first = [i for i, prompt in enumerate(digits[0]) if prompt in "012"]
    ld = LinearDiffusion(n_components=30, n_styles=16).fit([digits[0][i] for i in first], digits[1][first])

    def apart(pictures: np.ndarray) -> float:
        sheet = pictures.reshape(4, 4, -1)
        steps = sheet[1:] - sheet[:-1], sheet[:, 1:] - sheet[:, :-1]
        return float(np.mean([np.linalg.norm(step, axis=2).mean() for step in steps]))

    rng = np.random.default_rng(0)
    for prompt in "012":
        found = drawn(plot.styles(ld, prompt, columns=4))
        assert len(found) == 16
        chance = [apart(rng.permutation(found)) for _ in range(200)]
        assert apart(found) < np.quantile(chance, 0.05)


@pytest.mark.parametrize("n_styles", [2, 3])
@pytest.mark.parametrize("n_components", [1, 5])
def test_few_styles_and_few_components(digits, n_styles, n_components):
    ld = LinearDiffusion(n_components, n_styles=n_styles).fit(*digits)
    assert len(plot.styles(ld, "0").axes) == n_styles


def test_bad_input(ld, styled):
    with pytest.raises(ValueError, match="n == 0"):
        plot.components(ld, 0)
    with pytest.raises(ValueError, match="banana"):
        plot.means(ld, ["banana"])
    with pytest.raises(TypeError, match=r"\['exact'\]"):
        plot.singular_values(ld, "7", "exact")
    with pytest.raises(ValueError, match="'none'"):
        plot.singular_values(ld, "7", ["none"])
    with pytest.raises(ValueError, match="mixture"):
        plot.singular_values(styled, "7")
    with pytest.raises(AttributeError, match="styles"):
        plot.styles(ld, "7")
    with pytest.raises(ValueError, match="banana"):
        plot.styles(styled, "banana")
    with pytest.raises(ValueError, match="columns == 0"):
        plot.styles(styled, "7", columns=0)
