"""From noise to image, step by step: on one sheet, or as a moving picture.

The frames of the moving picture are the images themselves, enlarged by a whole number and set in rows, 8
bits a pixel::

    frame = rint(255 (pixels - low) / (high - low)),      clipped to the data's range [low, high]

Grey ones are turned to black ink on white paper, as in the grid. Pillow writes them, so neither a display
nor a film encoder is needed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineardiffusion.plot.sheet import Pictures, check_pictures, grid

if TYPE_CHECKING:
    from os import PathLike

    from matplotlib.figure import Figure

    from lineardiffusion.estimator import LinearDiffusion

FRAME_MS, LAST_MS = 80, 2000  # how long a frame stays: GIF counts in tens of milliseconds
_FORMATS = {".gif": "GIF", ".png": "PNG", ".apng": "PNG"}


def denoising(
    ld: LinearDiffusion,
    prompts: Sequence[str],
    seed: int | Sequence[int] | None = None,
    *,
    num_steps: int = 9,
    **settings: Any,
) -> Figure:
    """Draw how noise becomes an image, step by step: a row for each prompt.

    Parameters
    ----------
    ld : LinearDiffusion
        A fitted model.
    prompts : list of str
        What to draw; ``["7"]`` for one prompt.
    seed : int, list of int or None, default=None
        As in :meth:`LinearDiffusion.predict`.
    num_steps : int, default=9
        Steps of the sampler; there is one picture more, the noise.
    **settings
        Others of :meth:`LinearDiffusion.staged_predict`: ``sampler``, ``guidance_scale``, ``start``, ...

    Returns
    -------
    matplotlib.figure.Figure
        In the units of the training images, clipped to their range.

    See Also
    --------
    animate : The same as a moving picture.

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
    n, columns = steps.shape[:2]  # with `strength`, fewer steps than num_steps are taken
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
    """Write the denoising of some prompts as a moving picture.

    Parameters
    ----------
    ld : LinearDiffusion
        A fitted model of images (h, w), (h, w, 1) or (h, w, 3).
    prompts : list of str or dict
        What to draw, one image each.
    path : str or path-like
        Where to write to: GIF if it ends in ``.gif`` (256 colours), APNG if in ``.png`` or ``.apng``.
    seed : int, list of int or None, default=None
        As in :meth:`LinearDiffusion.predict`.
    num_steps : int, default=30
        Steps of the sampler; there is one frame more, the noise, and the last one stays for two seconds.
    columns : int, default=None
        Images a row; None for the square root of their number, rounded up.
    zoom : int, default=2
        Pixels of the film along each side of a pixel of the images.
    **settings
        Others of :meth:`LinearDiffusion.staged_predict`: ``sampler``, ``guidance_scale``, ``start``, ...

    Returns
    -------
    pathlib.Path
        That of the file; a notebook shows it by ``IPython.display.Image(path)``.

    Raises
    ------
    ValueError
        If the ending is none of the three, `columns` or `zoom` is below 1, or the model does not know a
        prompt.

    See Also
    --------
    denoising : The same on one sheet.

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
        Image.fromarray(_tile(_ink(check_pictures(images), ld.pixel_range_), columns, zoom))
        for images in ld.staged_predict(prompts, seed, num_steps=num_steps, **settings)
    ]
    stays = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    frames[0].save(
        path,
        format=_FORMATS[path.suffix.lower()],
        save_all=True,
        append_images=frames[1:],
        duration=stays,
        loop=0,  # for ever
    )
    return path


def _ink(pictures: Pictures, pixel_range: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Pictures (n, h, w) or (n, h, w, 3) of 8 bits, grey ones as ink on paper."""
    low, high = pixel_range
    levels = np.clip(np.rint((pictures - low) * (255 / (high - low or 1.0))), 0, 255)
    return (255 - levels if pictures.ndim == 3 else levels).astype(np.uint8)


def _tile(pictures: npt.NDArray[np.uint8], columns: int, zoom: int) -> npt.NDArray[np.uint8]:
    """One picture of all, in rows, each pixel enlarged `zoom` times; what is left over is white."""
    n, h, w, *channels = pictures.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    blank = np.full((rows * columns - n, h, w, *channels), 255, np.uint8)
    cells = np.concatenate([pictures, blank]).reshape(rows, columns, h, w, *channels)
    sheet = cells.swapaxes(1, 2).reshape(rows * h, columns * w, *channels)
    return sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)
