"""`grid` draws the right pixels under the right prompts, and nothing overlaps."""

import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lineardiffusion.plot import grid

SRC = Path(__file__).parents[1] / "src"


@pytest.fixture
def images() -> np.ndarray:
    """Six grey pictures, 4 x 3, of 72 different values: none can be taken for another."""
    return np.random.default_rng(0).permutation(72).reshape(6, 4, 3).astype(np.uint8)


def drawn(figure: Figure) -> list[np.ndarray]:
    """The array in each axes."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def rendered(figure: Figure) -> np.ndarray:
    """The pixels of the figure, RGBA."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def corners(figure: Figure) -> list[tuple[float, float]]:
    """The left and the bottom of each picture, in inches, rounded."""
    figure.draw_without_rendering()
    size = figure.get_size_inches()
    return [tuple(np.round(axes.get_position().p0 * size, 4)) for axes in figure.axes]


def n_columns(figure: Figure) -> int:
    return figure.axes[0].get_gridspec().ncols


def test_each_axes_has_its_picture_under_its_prompt(images):
    prompts = [f"prompt {i}" for i in range(6)]
    figure = grid(images, prompts, title="Six pictures")
    np.testing.assert_array_equal(drawn(figure), images)
    assert [axes.get_title() for axes in figure.axes] == [f'"{prompt}"' for prompt in prompts]
    assert figure.get_suptitle() == "Six pictures"


def test_no_prompts_and_no_title_write_nothing_and_one_channel_is_grey(images):
    figure = grid(images[..., None])
    np.testing.assert_array_equal(drawn(figure), images)
    assert {axes.get_title() for axes in figure.axes} == {""}
    assert figure.get_suptitle() == ""


def test_captions_are_written_as_they_are_and_labels_on_the_left_of_each_row(images):
    figure = grid(images, captions=["a", "b", "$x$", "", "", ""], labels=["first", "second"], columns=3)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "$x$", "", "", ""]
    figure.draw_without_rendering()
    assert [axes.get_ylabel() for axes in figure.axes] == ["first", "", "", "second", "", ""]
    for axes in figure.axes[::3]:
        words, picture = axes.yaxis.label.get_window_extent(), axes.images[0].get_window_extent()
        assert 0 <= words.x0 < words.x1 < picture.x0
        assert picture.y0 < (words.y0 + words.y1) / 2 < picture.y1


def test_a_row_without_captions_leaves_no_space_for_them(images):
    figure = grid(images, captions=["a"] * 4 + [""] * 2, columns=2)
    lower, upper = np.diff(sorted({bottom for _, bottom in corners(figure)}))
    assert lower == pytest.approx(0.8 + 0.1, abs=0.01)  # the side of a picture and the gap
    assert upper > 1.0


@pytest.mark.parametrize("label", ["a", "a label that is much wider than any of the pictures"])
@pytest.mark.parametrize("prompt", ["7", "a wide prompt"])
def test_texts_do_not_change_the_size_of_the_pictures(images, label, prompt):
    figure = grid(images, [prompt] * 6, labels=[label] * 2, columns=3, title="Six pictures")
    figure.draw_without_rendering()
    for axes in figure.axes:
        np.testing.assert_allclose(axes.images[0].get_window_extent().height / figure.dpi, 0.8, rtol=1e-3)
        cell = axes.get_position(original=True).height * figure.get_size_inches()[1]
        np.testing.assert_allclose(cell, 0.8, rtol=1e-3)  # no empty space between the rows


def test_pictures_run_along_the_rows_from_the_top_left(images):
    lefts, bottoms = np.array(corners(grid(images, columns=4))).T
    assert len(set(lefts)) == 4
    assert len(set(bottoms)) == 2
    assert sorted(range(6), key=lambda i: (-bottoms[i], lefts[i])) == list(range(6))


@pytest.mark.parametrize("n", [1, 2, 4, 5, 9, 10])
def test_columns_are_those_of_the_least_square_that_holds_all(n):
    assert n_columns(grid(np.eye(3)[None].repeat(n, axis=0))) == int(np.ceil(np.sqrt(n)))


def test_columns_can_be_given_and_are_never_more_than_the_pictures(images):
    assert n_columns(grid(images, columns=3)) == 3
    assert n_columns(grid(images[:3], columns=99)) == 3


def test_range_is_common_to_all_pictures(images):
    figure = grid(images / 10 - 3)
    assert {axes.images[0].get_clim() for axes in figure.axes} == {(-3.0, 71 / 10 - 3)}
    figure = grid(images, vmin=-5, vmax=300)
    assert {axes.images[0].get_clim() for axes in figure.axes} == {(-5.0, 300.0)}


def test_color_is_scaled_by_the_common_range_and_clipped():
    images = np.random.default_rng(1).integers(0, 256, size=(3, 5, 4, 3), dtype=np.uint8)
    low, high = int(images.min()), int(images.max())
    np.testing.assert_allclose(drawn(grid(images)), (images.astype(float) - low) / (high - low))
    clipped = np.clip((images.astype(float) - 50) / 100, 0, 1)
    np.testing.assert_allclose(drawn(grid(images, vmin=50, vmax=150)), clipped)


def test_pixels_that_are_not_finite_stay_blank():
    images = np.arange(8.0).reshape(2, 2, 2)
    images[0, 0] = np.nan, -np.inf
    first = grid(images).axes[0].images[0]
    np.testing.assert_array_equal(np.ma.getmaskarray(first.get_array()), [[True] * 2, [False] * 2])
    assert first.get_clim() == (2.0, 7.0)

    color = np.zeros((1, 2, 2, 3))
    color[0, 1, 1] = 1.0
    color[0, 0, 0, 2] = np.nan
    np.testing.assert_array_equal(drawn(grid(color))[0][0, 0], [1.0, 1.0, 1.0])


def test_missing_pixels_can_have_a_color_of_their_own():
    bad = matplotlib.colormaps["gray_r"].with_extremes(bad="blue")
    for cmap, corner in (("gray_r", [255, 255, 255]), (bad, [0, 0, 255])):
        figure = grid([[[np.nan, 1.0], [0.0, 0.5]]], cmap=cmap)
        pixels = rendered(figure)
        box = figure.axes[0].images[0].get_window_extent()
        at = int(figure.bbox.height - box.y1) + 3, int(box.x0) + 3
        np.testing.assert_array_equal(pixels[at][:3], corner)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float16, np.float32])
def test_any_real_dtype_can_be_rendered(dtype, tmp_path):
    with warnings.catch_warnings(action="error"):
        grid(np.eye(4).astype(dtype)[None], ["a"]).savefig(tmp_path / "grid.png")


def test_a_constant_picture_is_no_error(tmp_path):
    with warnings.catch_warnings(action="error"):
        grid(np.full((1, 3, 3), 7.0)).savefig(tmp_path / "grey.png")
        grid(np.full((1, 3, 3, 3), 7.0)).savefig(tmp_path / "color.png")


@pytest.mark.parametrize(
    "prompts",
    [
        list("012345"),
        ["ankle boot"] * 6,
        ["a picture of $3 or $4, with a prompt much wider than itself", "two\nlines", *"0123"],
    ],
)
@pytest.mark.parametrize(("shape", "size"), [((28, 28), 0.3), ((10, 40), 0.3), ((40, 10), 1.5)])
def test_no_text_touches_a_picture_or_another_text(prompts, shape, size):
    figure = grid(np.zeros((6, *shape)), prompts, columns=3, title="A title, gjpqy", size=size)
    figure.draw_without_rendering()
    texts = [axes.title.get_window_extent() for axes in figure.axes]
    pictures = [axes.images[0].get_window_extent() for axes in figure.axes]
    everything = [*texts, *pictures, figure._suptitle.get_window_extent()]
    for i, one in enumerate(everything):
        assert not any(one.overlaps(other) for other in everything[i + 1 :])
        assert one.min.min() >= 0
        assert (one.max <= figure.bbox.max).all()
    # The longer side is `size` inches, and the pixels are square.
    height, width = (size * side / max(shape) * figure.dpi for side in shape)
    for box in pictures:
        np.testing.assert_allclose([box.height, box.width], [height, width], rtol=1e-3)


def test_a_dollar_in_a_prompt_starts_no_formula(tmp_path):
    with warnings.catch_warnings(action="error"):
        grid(np.zeros((1, 2, 2)), [r"$\nonsense$"]).savefig(tmp_path / "grid.png")


def test_color_map_changes_the_pixels_of_the_figure(images):
    default, same, other = (
        rendered(grid(images[:1], **cmap)) for cmap in ({}, {"cmap": "gray_r"}, {"cmap": "gray"})
    )
    np.testing.assert_array_equal(default, same)
    assert (default != other).any()


@pytest.mark.parametrize(
    ("shape", "options", "error", "message"),
    [
        ((4, 3), {}, ValueError, r"image\[None\]"),
        ((2, 4, 3, 2), {}, ValueError, r"\(2, 4, 3, 2\)"),
        ((2, 4, 3, 4), {}, ValueError, "alpha"),
        ((0, 4, 3), {}, ValueError, r"0 sample\(s\)"),
        ((2, 4, 3), {"prompts": ["a"]}, ValueError, "1 prompts"),
        ((2, 4, 3), {"prompts": "ab"}, TypeError, "prompts"),
        ((2, 4, 3), {"captions": ["a"]}, ValueError, "1 captions"),
        ((2, 4, 3), {"captions": "ab"}, TypeError, "captions"),
        ((2, 4, 3), {"captions": ["a", "b"], "prompts": ["a", "b"]}, ValueError, "both"),
        ((2, 4, 3), {"labels": ["a", "b"]}, ValueError, "2 labels"),
        ((2, 4, 3), {"columns": 0}, ValueError, "columns == 0"),
        ((2, 4, 3), {"columns": 1.5}, TypeError, "columns"),
        ((2, 4, 3), {"size": 0.0}, ValueError, "size=0"),
        ((2, 4, 3), {"size": float("nan")}, ValueError, "size=nan"),
        ((2, 4, 3), {"vmin": 2, "vmax": 1}, ValueError, "2 to 1"),
        ((2, 4, 3), {"vmax": float("nan")}, ValueError, "finite"),
    ],
)
def test_bad_input_is_refused(shape, options, error, message):
    with pytest.raises(error, match=message):
        grid(np.zeros(shape), **options)


@pytest.mark.parametrize(("pixel", "message"), [(1j, "Complex"), (np.nan, "finite")])
def test_bad_pixels_are_refused(pixel, message):
    with pytest.raises(ValueError, match=message):
        grid(np.full((2, 3, 3), pixel))


def test_matplotlib_is_imported_by_the_first_grid_and_pyplot_never():
    program = """
import sys
import lineardiffusion.datasets, lineardiffusion.plot
assert "matplotlib" not in sys.modules
lineardiffusion.plot.grid([[[0.0, 1.0]]], ["1"], title="t")
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SRC)!r}){program}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_rows_have_ranges_of_their_own_on_demand():
    images = np.stack([np.arange(4.0), 10 * np.arange(4.0), 5 + np.arange(4.0)]).reshape(3, 2, 2)
    for row_ranges, limits in ((True, [(0, 30), (0, 30), (5, 8)]), (False, [(0, 30)] * 3)):
        figure = grid(images, columns=2, row_ranges=row_ranges)
        assert [axes.images[0].get_clim() for axes in figure.axes[:3]] == limits
