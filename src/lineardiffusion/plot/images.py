"""Draw images in a grid, in one range of values, so that a grey level means the same in every picture.

matplotlib's constrained layout places the pictures, captions, labels and the title. The layout divides a figure
of given size, whereas the user gives the size of a picture. So the pictures are first laid out in a figure that is
too large; the figure then shrinks by what the cells have in excess. A cell is as wide as a picture, or as the
widest caption if that is wider, because constrained layout ignores the width of captions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

from lineardiffusion._validation import check_integer

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["check_columns", "check_pictures", "draw_grid", "grid"]

_GAP = 0.1  # inches between neighbouring cells
_CAPTION_PAD = 3.6  # points between a caption and its picture


def grid(
    images: ArrayLike,
    prompts: Sequence[str] | None = None,
    *,
    captions: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    columns: int | None = None,
    cmap: str | Colormap = "gray_r",
    title: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    row_ranges: bool = False,
    size: float = 0.8,
) -> Figure:
    """Draw images in a grid, each under its prompt.

    Parameters
    ----------
    images : array-like of shape (n, h, w), (n, h, w, 1) or (n, h, w, 3)
        Grey or RGB pictures in any unit. Pixels that are NaN or infinite stay blank.
    prompts : sequence of str, length n, default=None
        Prompts to write above the pictures, in quotes.
    captions : sequence of str, length n, default=None
        Texts to write above the pictures as they are, instead of prompts. An empty string writes nothing.
    labels : sequence of str, one per row, default=None
        Texts to write on the left of the rows.
    columns : int, default=None
        Number of pictures per row; None takes the square root of n, rounded up.
    cmap : str or matplotlib.colors.Colormap, default="gray_r"
        Colour map of grey pictures; the default draws large values black on white. Use
        ``with_extremes(bad=...)`` of a colour map to colour NaN pixels. Without effect on RGB pictures.
    title : str, default=None
        Text to write above the grid.
    vmin, vmax : float, default=None
        Pixel values at the two ends of the colour map, or at no and full intensity in RGB; values beyond are
        clipped. None takes the least and the greatest finite pixel of all images.
    row_ranges : bool, default=False
        Whether None takes the least and the greatest finite pixel of each row instead, so that rows of pictures in
        different units or of different contrast can be compared.
    size : float, default=0.8
        Length of the longer side of a picture, in inches.

    Returns
    -------
    matplotlib.figure.Figure
        Figure with one axes per picture. Save it with ``figure.savefig(path)``, or end a notebook cell with it.

    Raises
    ------
    ValueError
        If shapes or lengths do not fit, the images are not real numbers, there is no image or no finite pixel,
        both prompts and captions are given, or `columns`, `size`, `vmin` or `vmax` is out of range.
    TypeError
        If `prompts`, `captions` or `labels` is a single string, or `columns` is not an integer.

    Examples
    --------
    >>> from lineardiffusion.datasets import load_digits
    >>> from lineardiffusion.plot import grid
    >>> prompts, images = load_digits()
    >>> figure = grid(images[:20], prompts[:20], columns=10, title="Twenty digits")
    >>> len(figure.axes), figure.axes[3].get_title()
    (20, '"3"')
    """
    pictures = check_pictures(images)
    n = len(pictures)
    if prompts is not None and captions is not None:
        raise ValueError("both prompts and captions are given; expected one of them")
    columns = check_columns(columns, n)
    if not 0 < size < math.inf:
        raise ValueError(f"size={size}; expected a positive number of inches")
    _check_texts("prompts", prompts, n)
    _check_texts("captions", captions, n)
    _check_texts("labels", labels, -(-n // columns))
    if prompts is not None:
        captions = [f'"{prompt}"' for prompt in prompts]
    group = columns if row_ranges else n
    rows = [pictures[start : start + group] for start in range(0, n, group)]
    scales = [(cmap, *_choose_range(row, vmin, vmax)) for row in rows for _ in row]
    return draw_grid(pictures, scales, columns, captions, labels, title, size)


def _check_texts(name: str, texts: Sequence[str] | None, n: int) -> None:
    if isinstance(texts, str):
        raise TypeError(f"{name} is the string {texts!r}; expected a list of {n}")
    if texts is not None and len(texts) != n:
        raise ValueError(f"{len(texts)} {name}; expected {n}, one per {'row' if name == 'labels' else 'image'}")


def _choose_range(pictures: NDArray[np.float64], vmin: float | None, vmax: float | None) -> tuple[float, float]:
    finite = pictures[np.isfinite(pictures)]
    if finite.size == 0:
        raise ValueError("no pixel of the images is finite; expected some finite pixels")
    low = float(finite.min() if vmin is None else vmin)
    high = float(finite.max() if vmax is None else vmax)
    if not -math.inf < low <= high < math.inf:
        raise ValueError(f"values from {low:g} to {high:g}; expected finite vmin <= vmax")
    return low, high


def check_pictures(images: ArrayLike) -> NDArray[np.float64]:
    """Return images as floats of shape (n, h, w) for grey or (n, h, w, 3) for colour."""
    array: NDArray[np.float64] = check_array(
        images, dtype=np.float64, allow_nd=True, ensure_2d=False, ensure_all_finite=False, input_name="images"
    )
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 and not (array.ndim == 4 and array.shape[3] == 3):
        raise ValueError(
            f"images of shape {array.shape}; expected (n, h, w) in grey or (n, h, w, 3) in colour: image[None] of "
            "a single image, images[..., :3] of an alpha channel; points and vectors are no pictures"
        )
    return array


def check_columns(columns: int | None, n: int) -> int:
    """Return the number of columns for n pictures: at most n, by default the square root of n, rounded up."""
    return min(math.isqrt(max(n - 1, 0)) + 1 if columns is None else check_integer(columns, "columns"), n)


def draw_grid(
    pictures: NDArray[np.float64],
    scales: Sequence[tuple[str | Colormap, float, float]],
    columns: int,
    captions: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    size: float = 0.8,
) -> Figure:
    """Draw checked pictures, each with its own cmap, vmin and vmax; `grid` documents the parameters."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    height, width = pictures.shape[1:3]
    rows = -(-len(pictures) // columns)
    engine = ConstrainedLayoutEngine(w_pad=_GAP / 2, h_pad=_GAP / 2, wspace=0.0, hspace=0.0)
    figure = Figure(layout=engine)
    cells = figure.add_gridspec(rows, columns)
    font: dict[str, Any] = {"fontsize": 10, "parse_math": False}  # a dollar sign does not start a formula
    texts = []
    for i, (picture, (cmap, low, high)) in enumerate(zip(pictures, scales, strict=True)):
        axes = figure.add_subplot(cells[divmod(i, columns)])
        pixels = np.ma.masked_invalid(picture if picture.ndim == 2 else _intensities(picture, low, high))
        axes.imshow(pixels, cmap=cmap, vmin=low, vmax=high, aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        texts.append(axes.set_title(captions[i] if captions is not None else "", pad=_CAPTION_PAD, **font))
    caption_width = _extent(texts)[0]
    for row, label in enumerate(labels or ()):
        axes = figure.axes[row * columns]
        texts.append(axes.set_ylabel(label, rotation="horizontal", ha="right", va="center", **font))
    title_width = 0.0
    if title is not None:
        texts.append(figure.suptitle(title, fontsize=13, parse_math=False))
        title_width = _extent(texts[-1:])[0] + 2 * _GAP

    picture_size = size * np.array([width, height]) / max(height, width)
    cell = np.maximum(picture_size, [caption_width, 0.0])
    margin = _extent(texts) + 1.0
    figure.set_size_inches((cell + margin) * [columns, rows] + margin)
    engine.execute(figure)
    excess = figure.axes[0].get_position(original=True).size * figure.get_size_inches() - cell
    figure.set_size_inches(np.maximum(figure.get_size_inches() - excess * [columns, rows], [title_width, 0.0]))
    for axes in figure.axes:
        axes.set_aspect("equal", anchor="N")  # at the top of the cell, next to the caption
    return figure


def _extent(texts: Sequence[Text]) -> NDArray[np.float64]:
    """Return the greatest width and the greatest height of the texts, in inches."""
    extents = [text.get_window_extent(dpi=72).size for text in texts]  # 72 dots per inch
    return np.asarray(np.max(extents, axis=0) / 72)


def _intensities(picture: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Scale RGB to the range from 0 to 1 that matplotlib expects; pixels that are not finite become white."""
    shares = np.clip((picture - low) / (high - low or 1.0), 0.0, 1.0)
    shares[~np.isfinite(picture).all(axis=2)] = 1.0
    return shares
