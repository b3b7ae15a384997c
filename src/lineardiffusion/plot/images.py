"""Draw images in a grid, in one range of values, so that a grey level means the same in every picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lineardiffusion.plot._layout import ColorScale, check_columns, check_pictures, draw_grid

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = ["grid"]


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
    scale = ColorScale(cmap, *_choose_range(pictures, vmin, vmax))
    return draw_grid(pictures, [scale] * n, columns, captions, labels, title, size)


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
