"""Pictures of pictures: a grid of images, each under its prompt.

The sheet is laid out in inches, from the sizes of the pictures and of the texts as they will be
drawn, so that no title can run into a picture or into its neighbour::

                    title of the sheet
             "0"      "0"      "1"      "1"       a strip for the captions, where a row has some
            +----+   +----+   +----+   +----+
     label  |    |   |    |   |    |   |    |     the longer side of a picture: `size` inches
            +----+   +----+   +----+   +----+

A column is as wide as a picture, or as the widest caption if that is wider. All the pictures of a grid
share one range of values, so that a grey means the same in every one of them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["grid"]

# Inches, but for the font sizes, which are in points.
_MARGIN = 0.12
_GAP = 0.1
_PAD = 0.05
_CAPTION_FONT, _TITLE_FONT = 10, 13
_LONGEST_ROW = 20  # pictures

Pictures = npt.NDArray[np.float64]


class Look(NamedTuple):
    """How values become colours: those of `low` and `high` are the two ends of the colour map."""

    cmap: str | Colormap
    low: float
    high: float


def grid(
    images: npt.ArrayLike,
    prompts: Sequence[str] | None = None,
    *,
    captions: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    columns: int | None = None,
    cmap: str | Colormap = "gray_r",
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
    captions : sequence of str, length n, default=None
        The same without quotes, instead of prompts; ``""`` writes nothing, and a row without any
        captions takes no room for them.
    labels : sequence of str, one a row, default=None
        What to write on the left of each row.
    columns : int, default=None
        Pictures a row. None takes the run length if the prompts come in runs of 2 to 20 equal ones,
        all runs as long (``"0", "0", "0", "1", "1", "1"`` gives rows of 3), else the square root of
        n, rounded up.
    cmap : str or matplotlib.colors.Colormap, default="gray_r"
        The colour map of grey pictures, by matplotlib's name or itself; the default is black ink on white
        paper. One ``with_extremes(bad=...)`` shows pixels that are NaN in that colour. Without effect on
        colour.
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
        If the shapes or lengths do not fit, there is no image or no finite pixel, there are both prompts
        and captions, or `columns`, `size`, `vmin` and `vmax` make no sense.
    TypeError
        If the images are not real numbers, `prompts`, `captions` or `labels` is a single string, or
        `columns` is no integer.

    Examples
    --------
    >>> from lineardiffusion.datasets import load_digits
    >>> prompts, images = load_digits()
    >>> figure = grid(images[:20], prompts[:20], columns=10, title="Twenty digits")
    >>> len(figure.axes), figure.axes[3].get_title()
    (20, '"3"')
    """
    pictures = check_pictures(images)
    n = len(pictures)
    if prompts is not None and captions is not None:
        raise ValueError("both prompts and captions; pass one of them, captions are written as they are")
    words = None if prompts is None else _texts(prompts, n, "prompt", "image")
    columns = _columns(words, n) if columns is None else min(operator.index(columns), n)
    if columns < 1:
        raise ValueError(f"columns={columns}; expected at least 1, or None to have it chosen")
    if not 0 < size < math.inf:
        raise ValueError(f"size={size}; expected the longer side of a picture, in inches")
    if captions is not None:
        words = _texts(captions, n, "caption", "image")
    elif words is not None:
        words = [f'"{word}"' for word in words]
    margin = None if labels is None else _texts(labels, -(-n // columns), "label", "row")
    look = Look(cmap, *_range(pictures, vmin, vmax))
    return lay_out(pictures, [look] * n, columns, words, margin, title, size)


def lay_out(
    pictures: Pictures,
    looks: Sequence[Look],
    columns: int,
    captions: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    size: float = 0.8,
) -> Figure:
    """A sheet of checked pictures, each with a look and a caption of its own; see :func:`grid`."""
    from matplotlib.figure import Figure

    n, height, width = pictures.shape[:3]
    rows = -(-n // columns)
    picture_w, picture_h = (size * side / max(height, width) for side in (width, height))
    figure = Figure()
    figure.set_layout_engine("none")  # whatever the user's matplotlibrc says
    titles = []
    for i, (picture, look) in enumerate(zip(pictures, looks, strict=True)):
        axes = figure.add_axes((0, 0, 1, 1), label=str(i))
        if picture.ndim == 3:
            picture = _intensities(picture, look)
        axes.imshow(np.ma.masked_invalid(picture), cmap=look.cmap, vmin=look.low, vmax=look.high)
        axes.set_axis_off()
        if captions is not None:
            titles.append(axes.set_title(captions[i], fontsize=_CAPTION_FONT, pad=72 * _PAD))
    margin = [
        figure.text(0, 0, label, fontsize=_CAPTION_FONT, ha="right", va="center") for label in labels or ()
    ]
    for text in (*titles, *margin):
        text.set_parse_math(False)  # as it is: a dollar sign in a prompt starts no formula
    sheet = [] if title is None else [figure.suptitle(title, fontsize=_TITLE_FONT, va="top")]
    caption_w, caption_h = _extent(figure, titles)
    label_w, title_w, title_h = _extent(figure, margin)[0], *_extent(figure, sheet)
    label_w += _GAP if margin else 0.0

    strips = [
        caption_h + 2 * _PAD
        if any(text.get_text() for text in titles[row * columns : (row + 1) * columns])
        else 0
        for row in range(rows)
    ]
    column_w = max(picture_w, caption_w) + _GAP
    block_w = label_w + columns * column_w - _GAP
    total_w = max(block_w, title_w) + 2 * _MARGIN
    top = _MARGIN + (title_h + _MARGIN if sheet else 0.0)
    total_h = top + sum(strips) + rows * (picture_h + _GAP) - _GAP + _MARGIN
    left = (total_w - block_w) / 2 + label_w
    figure.set_size_inches(total_w, total_h)
    for i, axes in enumerate(figure.axes):
        row, column = divmod(i, columns)
        x = left + column * column_w + (column_w - _GAP - picture_w) / 2
        y = total_h - top - sum(strips[: row + 1]) - row * (picture_h + _GAP) - picture_h
        axes.set_position((x / total_w, y / total_h, picture_w / total_w, picture_h / total_h))
        if margin and column == 0:
            margin[row].set_position(((left - _GAP) / total_w, (y + picture_h / 2) / total_h))
    for text in sheet:
        text.set_y(1 - _MARGIN / total_h)
    return figure


def check_pictures(images: npt.ArrayLike) -> Pictures:
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


def _texts(texts: Sequence[str], n: int, what: str, whose: str) -> list[str]:
    if isinstance(texts, str):
        raise TypeError(f"{what}s is the string {texts!r}; expected a list, one {what} for each {whose}")
    if len(texts) != n:
        raise ValueError(f"{len(texts)} {what}s for {n} {whose}s; expected one {what} for each {whose}")
    return [str(text) for text in texts]


def _columns(prompts: list[str] | None, n: int) -> int:
    lengths = {len(list(run)) for _, run in groupby(prompts or [])}
    if len(lengths) == 1 and 1 < (length := lengths.pop()) <= _LONGEST_ROW:
        return length
    return math.isqrt(n - 1) + 1


def _range(pictures: Pictures, vmin: float | None, vmax: float | None) -> tuple[float, float]:
    finite = pictures[np.isfinite(pictures)]
    if finite.size == 0:
        raise ValueError("no pixel of the images is finite; expected pictures, got NaN or infinity")
    low = float(finite.min() if vmin is None else vmin)
    high = float(finite.max() if vmax is None else vmax)
    if not -math.inf < low <= high < math.inf:
        raise ValueError(f"values from {low:g} to {high:g}; expected finite vmin <= vmax")
    return low, high


def _intensities(picture: Pictures, look: Look) -> Pictures:
    """RGB from 0 to 1, as matplotlib wants it; white where a pixel is not finite."""
    shares = np.clip((picture - look.low) / (look.high - look.low or 1.0), 0.0, 1.0)
    shares[~np.isfinite(picture).all(axis=2)] = 1.0
    return shares


def _extent(figure: Figure, texts: Sequence[Text]) -> tuple[float, float]:
    """The greatest width and the greatest height of the texts, in inches."""
    distinct = {text.get_text(): text for text in texts}.values()
    boxes = [text.get_window_extent() for text in distinct]
    width: float = max((box.width for box in boxes), default=0.0)
    height: float = max((box.height for box in boxes), default=0.0)
    return width / figure.dpi, height / figure.dpi
