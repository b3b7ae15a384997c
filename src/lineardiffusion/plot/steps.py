"""Draw the steps of the denoising, in a grid or as an animation.

A frame of the animation shows the images after one step in rows, each pixel as zoom x zoom pixels of 8 bits:

    frame = rint(255 (pixels - low) / (high - low)),      clipped to the range of the data [low, high]

Frames of grey images are inverted, so that large values are black on white as in `grid`. Pillow writes the
file, so no display and no video encoder is needed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion.plot._layout import check_pictures
from lineardiffusion.plot.images import grid

if TYPE_CHECKING:
    from os import PathLike

    from matplotlib.figure import Figure

    from lineardiffusion.estimator import LinearDiffusion

__all__ = ["animate", "denoising"]

_FRAME_MS, _LAST_MS = 80, 2000  # duration of a frame and of the last frame; GIF counts in tens of ms
_FORMATS = {".gif": "GIF", ".png": "PNG", ".apng": "PNG"}


def denoising(
    ld: LinearDiffusion,
    prompts: Sequence[str],
    seed: int | Sequence[int] | None = None,
    *,
    num_steps: int = 9,
    **settings: Any,
) -> Figure:
    """Draw every step of the denoising, from noise to image, in one row per prompt.

    Parameters
    ----------
    ld : LinearDiffusion
        Fitted model.
    prompts : list of str
        Prompts to draw; ``["7"]`` for one prompt.
    seed : int, list of int or None, default=None
        Seed of the noise, or one seed per prompt; see :meth:`LinearDiffusion.predict`.
    num_steps : int, default=9
        Number of steps of the sampler; the noise is drawn as one more picture.
    **settings
        Further parameters of :meth:`LinearDiffusion.staged_predict`, as ``sampler`` or ``guidance_scale``.

    Returns
    -------
    matplotlib.figure.Figure
        Figure with one axes per prompt and step, in the range of the training images.

    See Also
    --------
    animate : Write the same steps as an animation.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, plot
    >>> from lineardiffusion.datasets import load_digits
    >>> ld = LinearDiffusion().fit(*load_digits())
    >>> figure = plot.denoising(ld, ["7", "3"], seed=137)
    >>> len(figure.axes), figure.axes[9].get_title()
    (20, 'step 9')
    """
    steps = np.stack(list(ld.staged_predict(prompts, seed, num_steps=num_steps, **settings)), axis=1)
    n, columns = steps.shape[:2]  # `strength` makes columns smaller than num_steps + 1
    captions = ["noise", *(f"step {i}" for i in range(1, columns))] + [""] * ((n - 1) * columns)
    low, high = ld.pixel_range_
    return grid(
        steps.reshape(-1, *ld.image_shape_),
        captions=captions,
        labels=[f'"{prompt}"' for prompt in prompts],
        columns=columns,
        vmin=low,
        vmax=high,
    )


def animate(
    ld: LinearDiffusion,
    prompts: Sequence[str],
    path: str | PathLike[str],
    seed: int | Sequence[int] | None = None,
    *,
    num_steps: int = 30,
    columns: int | None = None,
    zoom: int = 2,
    **settings: Any,
) -> Path:
    """Write the steps of the denoising as an animated GIF or PNG.

    Parameters
    ----------
    ld : LinearDiffusion
        Fitted model of images (h, w), (h, w, 1) or (h, w, 3).
    prompts : list of str or dict
        Prompts to draw, one image each.
    path : str or path-like
        File to write: a GIF (256 colours) if the name ends in ``.gif``, an animated PNG if it ends in
        ``.png`` or ``.apng``.
    seed : int, list of int or None, default=None
        Seed of the noise, or one seed per prompt; see :meth:`LinearDiffusion.predict`.
    num_steps : int, default=30
        Number of steps of the sampler; the noise is one more frame. The last frame lasts two seconds.
    columns : int, default=None
        Number of images per row; None takes the square root of the number of prompts, rounded up.
    zoom : int, default=2
        Side of an image pixel in pixels of the animation.
    **settings
        Further parameters of :meth:`LinearDiffusion.staged_predict`, as ``sampler`` or ``guidance_scale``.

    Returns
    -------
    pathlib.Path
        Path of the file; ``IPython.display.Image(path)`` displays the animation in a notebook.

    Raises
    ------
    ValueError
        If the ending of `path` is none of the three, `columns` or `zoom` is below 1, or the model does not
        know a prompt.

    See Also
    --------
    denoising : Draw the same steps in a grid.

    Examples
    --------
    >>> import tempfile
    >>> from lineardiffusion import LinearDiffusion, plot
    >>> from lineardiffusion.datasets import load_digits
    >>> ld = LinearDiffusion().fit(*load_digits())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = plot.animate(ld, ["7", "3"], f"{folder}/digits.gif", seed=137, num_steps=10)
    ...     path.stat().st_size > 1000
    True
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(f"cannot animate into '{path}'; its name must end in {', '.join(_FORMATS)}")
    columns = math.isqrt(max(len(prompts) - 1, 0)) + 1 if columns is None else operator.index(columns)
    for name, value in (("columns", columns), ("zoom", operator.index(zoom))):
        if value < 1:
            raise ValueError(f"{name}={value}; expected at least 1")
    frames = [
        Image.fromarray(_tile(_to_bytes(check_pictures(images), ld.pixel_range_), columns, zoom))
        for images in ld.staged_predict(prompts, seed, num_steps=num_steps, **settings)
    ]
    frames[0].save(
        path,
        format=_FORMATS[path.suffix.lower()],
        save_all=True,
        append_images=frames[1:],
        duration=[_FRAME_MS] * (len(frames) - 1) + [_LAST_MS],
        loop=0,  # without end
    )
    return path


def _to_bytes(pictures: NDArray[np.float64], pixel_range: tuple[float, float]) -> NDArray[np.uint8]:
    """Convert pictures (n, h, w) or (n, h, w, 3) to 8 bits, and invert grey pictures."""
    low, high = pixel_range
    levels = np.clip(np.rint((pictures - low) * (255 / (high - low or 1.0))), 0, 255)
    return (255 - levels if pictures.ndim == 3 else levels).astype(np.uint8)


def _tile(pictures: NDArray[np.uint8], columns: int, zoom: int) -> NDArray[np.uint8]:
    """Return one picture of all pictures in rows, with each pixel enlarged; empty cells are white."""
    n, h, w, *channels = pictures.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    blank = np.full((rows * columns - n, h, w, *channels), 255, np.uint8)
    cells = np.concatenate([pictures, blank]).reshape(rows, columns, h, w, *channels)
    tiled = cells.swapaxes(1, 2).reshape(rows * h, columns * w, *channels)
    return tiled.repeat(zoom, axis=0).repeat(zoom, axis=1)
