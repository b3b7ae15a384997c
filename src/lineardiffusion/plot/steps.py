"""Draw the steps of the denoising, in a grid or as an animation.

A frame of the animation shows the images after one step in rows, in 8 bits:

    frame = rint(255 (pixels - low) / (high - low)),      clipped to the range of the data [low, high]

Frames of grey images are inverted, so that large values are black on white as in `grid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._pictures import to_bytes
from lineardiffusion._validation import check_integer
from lineardiffusion.plot.images import check_columns, grid

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
    prompts : list of str or dict
        Prompts to draw; ``["7"]`` for one prompt.
    seed : int, list of int or None, default=None
        Seed of the noise, or one seed per prompt; see :meth:`~lineardiffusion.LinearDiffusion.predict`.
    num_steps : int, default=9
        Number of steps of the sampler; the noise is one more picture.
    **settings
        Further parameters of :meth:`~lineardiffusion.LinearDiffusion.staged_predict`, as ``sampler`` or
        ``guidance_scale``.

    Returns
    -------
    matplotlib.figure.Figure
        Figure with one axes per prompt and step, in the range of the training images.

    See Also
    --------
    animate : The same steps as an animation.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, datasets, plot
    >>> ld = LinearDiffusion().fit(*datasets.load_digits())
    >>> figure = plot.denoising(ld, ["7", "3"], seed=137)
    >>> len(figure.axes), figure.axes[9].get_title()
    (20, 'step 9')
    """
    steps = np.stack(list(ld.staged_predict(prompts, seed, num_steps=num_steps, **settings)), axis=1)
    n, columns = steps.shape[:2]  # `strength` makes columns smaller than num_steps + 1
    captions = ["noise", *(f"step {i}" for i in range(1, columns))] + [""] * ((n - 1) * columns)
    labels = [f'"{prompt}"' for prompt in prompts]
    images, (low, high) = steps.reshape(-1, *ld.image_shape_), ld.pixel_range_
    return grid(images, captions=captions, labels=labels, columns=columns, vmin=low, vmax=high)


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
        Fitted model.
    prompts : list of str or dict
        Prompts to draw; ``["7"]`` for one prompt.
    path : str or path-like
        File to write: a GIF (256 colours) if its name ends in ``.gif``, an animated PNG for ``.png`` or ``.apng``.
    seed : int, list of int or None, default=None
        Seed of the noise, or one seed per prompt.
    num_steps : int, default=30
        Number of steps of the sampler; the noise is one more frame. The last frame lasts two seconds.
    columns : int, default=None
        Number of images per row; None takes the square root of the number of prompts, rounded up.
    zoom : int, default=2
        Side of an image pixel in pixels of the animation.
    **settings
        Further parameters of :meth:`~lineardiffusion.LinearDiffusion.staged_predict`, as ``sampler`` or
        ``guidance_scale``.

    Returns
    -------
    pathlib.Path
        Path of the file; ``IPython.display.Image(path)`` displays the animation in a notebook.

    Raises
    ------
    ValueError
        If `path` ends in none of the three, `columns` or `zoom` is below 1, or the model does not know a prompt.

    See Also
    --------
    denoising : The same steps in a grid.

    Examples
    --------
    >>> import tempfile
    >>> from lineardiffusion import LinearDiffusion, datasets, plot
    >>> ld = LinearDiffusion().fit(*datasets.load_digits())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = plot.animate(ld, ["7", "3"], f"{folder}/digits.gif", seed=137, num_steps=10)
    ...     path.stat().st_size > 1000
    True
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(f"cannot animate into '{path}'; its name must end in {', '.join(_FORMATS)}")
    columns, zoom = check_columns(columns, len(prompts)), check_integer(zoom, "zoom")
    frames = []
    for images in ld.staged_predict(prompts, seed, num_steps=num_steps, **settings):
        pictures = to_bytes(images, ld.pixel_range_)
        frames.append(Image.fromarray(_tile(255 - pictures if pictures.ndim == 3 else pictures, columns, zoom)))
    first, *rest = frames
    stays = [_FRAME_MS] * len(rest) + [_LAST_MS]
    first.save(path, _FORMATS[path.suffix.lower()], save_all=True, append_images=rest, duration=stays, loop=0)
    return path


def _tile(pictures: NDArray[np.uint8], columns: int, zoom: int) -> NDArray[np.uint8]:
    """Return one picture of all pictures in rows, with each pixel enlarged; empty cells are white."""
    n, h, w, *channels = pictures.shape
    cells = np.pad(pictures, [(0, -n % columns)] + [(0, 0)] * (pictures.ndim - 1), constant_values=255)
    tiled = cells.reshape(-1, columns, h, w, *channels).swapaxes(1, 2).reshape(-1, columns * w, *channels)
    return tiled.repeat(zoom, axis=0).repeat(zoom, axis=1)
