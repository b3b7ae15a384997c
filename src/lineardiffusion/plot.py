"""Pictures of pictures: a grid of images, each under its prompt.

The sheet is laid out in inches, from the sizes of the pictures and of the texts as they will be
drawn, so that no title can run into a picture or into its neighbour::

                title of the sheet
       "0"      "0"      "1"      "1"       one strip for the prompts
      +----+   +----+   +----+   +----+
      |    |   |    |   |    |   |    |     the longer side of a picture: `size` inches
      +----+   +----+   +----+   +----+

A column is as wide as a picture, or as the widest prompt if that is wider. All the pictures share
one range of values, so that a grey means the same in every one of them.

matplotlib is imported when a grid is drawn, not before, and pyplot never: the figure belongs to the
caller, needs no display, and is freed with its last reference.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["grid"]

# Inches, but for the font sizes, which are in points.
_MARGIN = 0.12
_GAP = 0.1
_PAD = 0.05
_PROMPT_FONT, _TITLE_FONT = 10, 13
_LONGEST_ROW = 20  # pictures


def grid(
    images: npt.ArrayLike,
    prompts: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    cmap: str = "gray_r",
    title: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    size: float = 0.8,
) -> Figure:
    """Draw images in rows, each under its prompt.

    Parameters
    ----------
    images : array-like of shape (n, h, w), (n, h, w, 1) or (n, h, w, 3)
        Grey or RGB pictures, in any units. NaN and infinite pixels stay blank.
    prompts : sequence of str, length n, default=None
        What to write above each picture, in quotes. None writes nothing.
    columns : int, default=None
        Pictures a row. None takes the run length if the prompts come in runs of 2 to 20 equal ones,
        all runs as long (``"0", "0", "0", "1", "1", "1"`` gives rows of 3), else the square root of
        n, rounded up.
    cmap : str, default="gray_r"
        matplotlib's colour map of grey pictures; the default is black ink on white paper. Without
        effect on colour.
    title : str, default=None
        What to write above the whole grid.
    vmin, vmax : float, default=None
        The pixel values, in the units of `images`, that are drawn as the two ends of the colour
        map, or in colour as 0 and as full intensity; pixels beyond are clipped. None takes the
        least and the greatest finite pixel of all images.
    size : float, default=0.8
        The longer side of a picture, in inches.

    Returns
    -------
    matplotlib.figure.Figure
        With one axes a picture, in the order of `images`. Save it with ``figure.savefig(path)``;
        a notebook shows it where it is the last expression of a cell.

    Raises
    ------
    ValueError
        If the shapes or lengths do not fit, there is no image or no finite pixel, or `columns`,
        `size`, `vmin` and `vmax` make no sense.
    TypeError
        If the images are not real numbers, `prompts` is a single string, or `columns` is no
        integer.

    Examples
    --------
    >>> from lineardiffusion.datasets import load_digits
    >>> prompts, images = load_digits()
    >>> figure = grid(images[:20], prompts[:20], columns=10, title="Twenty digits")
    >>> len(figure.axes), figure.axes[3].get_title()
    (20, '"3"')
    """
    from matplotlib.figure import Figure

    pictures = _pictures(images)
    n, height, width = pictures.shape[:3]
    if prompts is not None:
        prompts = _prompts(prompts, n)
    columns = _columns(prompts, n) if columns is None else min(operator.index(columns), n)
    if columns < 1:
        raise ValueError(f"columns={columns}; expected at least 1, or None to have it chosen")
    if not 0 < size < math.inf:
        raise ValueError(f"size={size}; expected the longer side of a picture, in inches")
    low, high = _range(pictures, vmin, vmax)
    if pictures.ndim == 4:
        pictures = _intensities(pictures, low, high)

    rows = -(-n // columns)
    picture_w, picture_h = (size * side / max(height, width) for side in (width, height))
    figure = Figure()
    figure.set_layout_engine("none")  # whatever the user's matplotlibrc says
    titles = []
    for i, picture in enumerate(pictures):
        axes = figure.add_axes((0, 0, 1, 1), label=str(i))
        axes.imshow(np.ma.masked_invalid(picture), cmap=cmap, vmin=low, vmax=high)
        axes.set_axis_off()
        if prompts is not None:
            # Text as it is: a dollar sign in a prompt starts no formula.
            titles.append(axes.set_title(f'"{prompts[i]}"', fontsize=_PROMPT_FONT, pad=72 * _PAD))
            titles[-1].set_parse_math(False)
    prompt_w, prompt_h = _extent(figure, titles)
    strip = prompt_h + 2 * _PAD if titles else 0.0
    sheet = []
    if title is not None:
        sheet.append(figure.suptitle(title, fontsize=_TITLE_FONT, va="top"))
    title_w, title_h = _extent(figure, sheet)

    column_w, row_h = max(picture_w, prompt_w) + _GAP, strip + picture_h + _GAP
    total_w = max(columns * column_w - _GAP, title_w) + 2 * _MARGIN
    top = _MARGIN + (title_h + _MARGIN if sheet else 0.0)
    total_h = top + rows * row_h - _GAP + _MARGIN
    left = (total_w - (columns * column_w - _GAP)) / 2 + (column_w - _GAP - picture_w) / 2
    figure.set_size_inches(total_w, total_h)
    for i, axes in enumerate(figure.axes):
        row, column = divmod(i, columns)
        x = left + column * column_w
        y = total_h - top - row * row_h - strip - picture_h
        axes.set_position((x / total_w, y / total_h, picture_w / total_w, picture_h / total_h))
    for text in sheet:
        text.set_y(1 - _MARGIN / total_h)
    return figure


def _pictures(images: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The images as floats, (n, h, w) or (n, h, w, 3)."""
    array = np.asarray(images)
    if array.dtype.kind not in "buif":
        raise TypeError(f"images of dtype {array.dtype}; expected real numbers")
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 and not (array.ndim == 4 and array.shape[3] == 3):
        raise ValueError(
            f"images of shape {array.shape}; expected (n, h, w) in grey or (n, h, w, 3) in colour; "
            "for a single image pass image[None], without an alpha channel images[..., :3]"
        )
    if array.size == 0:
        raise ValueError(f"images of shape {array.shape}; expected at least one image and one pixel")
    return array.astype(np.float64)


def _prompts(prompts: Sequence[str], n: int) -> list[str]:
    if isinstance(prompts, str):
        raise TypeError(f"prompts is the string {prompts!r}; expected a list, one prompt an image")
    if len(prompts) != n:
        raise ValueError(f"{len(prompts)} prompts for {n} images; expected one prompt an image")
    return [str(prompt) for prompt in prompts]


def _columns(prompts: list[str] | None, n: int) -> int:
    lengths = {len(list(run)) for _, run in groupby(prompts or [])}
    if len(lengths) == 1 and 1 < (length := lengths.pop()) <= _LONGEST_ROW:
        return length
    return math.isqrt(n - 1) + 1


def _range(pictures: npt.NDArray[np.float64], vmin: float | None, vmax: float | None) -> tuple[float, float]:
    finite = pictures[np.isfinite(pictures)]
    if finite.size == 0:
        raise ValueError("no pixel of the images is finite; expected pictures, got NaN or infinity")
    low = float(finite.min() if vmin is None else vmin)
    high = float(finite.max() if vmax is None else vmax)
    if not -math.inf < low <= high < math.inf:
        raise ValueError(f"values from {low:g} to {high:g}; expected finite vmin <= vmax")
    return low, high


def _intensities(pictures: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    """RGB from 0 to 1, as matplotlib wants it; white where a pixel is not finite."""
    shares = np.clip((pictures - low) / (high - low or 1.0), 0.0, 1.0)
    shares[~np.isfinite(pictures).all(axis=3)] = 1.0
    return shares


def _extent(figure: Figure, texts: Sequence[Text]) -> tuple[float, float]:
    """The greatest width and the greatest height of the texts, in inches."""
    distinct = {text.get_text(): text for text in texts}.values()
    boxes = [text.get_window_extent() for text in distinct]
    width: float = max((box.width for box in boxes), default=0.0)
    height: float = max((box.height for box in boxes), default=0.0)
    return width / figure.dpi, height / figure.dpi
