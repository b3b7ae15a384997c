"""Pictures: image files in and out.

A file's numbers are the pixels, in the units of the training images, as ``fit`` took them. Two kinds of files
say otherwise. A PNG that this program wrote has stretched the model's range to 0..255, and says so in its
text chunk ``pixel_range``; reading it undoes that. And a model of float images has units that no file has: to
it 0..255 is the range of its pixels. Grey of 16 bits is brought to 8, but for a model of whole numbers wider
than a byte.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from lineardiffusion import LinearDiffusion, __version__

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
_PLAIN = {"1": "L", "LA": "RGBA", "PA": "RGBA", "La": "RGBA", "RGBa": "RGBA"}  # else RGB
_AS_THEY_ARE = ("L", "RGB", "RGBA", "I", "F")
_MODES: dict[tuple[int, ...], str] = {(): "L", (1,): "L", (3,): "RGB", (4,): "RGBA"}
_GAP = 2  # pixels between the pictures of a sheet


def open_picture(path: Path) -> Image.Image:
    """The picture, decoded to the end.

    Raises
    ------
    ValueError
        If the file is no picture or a broken one.
    OSError
        If it cannot be opened.
    """
    with path.open("rb") as file:  # whose errors are those of the file system, and say so
        try:
            picture = Image.open(file)
            picture.load()
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            reason = "no known format" if isinstance(error, UnidentifiedImageError) else error
            raise ValueError(f"cannot read '{path}' as a picture: {reason}") from error
    return picture


def read_picture(path: Path) -> NDArray[Any]:
    """The pixels (h, w) or (h, w, c) as they are in the file, c 3 or 4."""
    picture = open_picture(path)
    if picture.mode not in _AS_THEY_ARE and not picture.mode.startswith("I;16"):
        picture = picture.convert(_PLAIN.get(picture.mode, "RGB"))
    return np.asarray(picture)


def fit_picture(picture: Image.Image, path: Path, model: LinearDiffusion, resize: bool) -> NDArray[Any]:
    """The pixels of a picture in the shape and the units of a model's images.

    Raises
    ------
    ValueError
        If it has another size and is not to be resized, or the model's images are no pictures.
    """
    shape = model.image_shape_
    if len(shape) not in (2, 3) or shape[2:] not in _MODES:
        raise ValueError(f"this model's images have the shape {shape}, which is not that of a picture")
    picture = at_size(picture, path, model, resize)
    low, high = model.pixel_range_
    stated = _stated_range(picture)
    dtype, mode = np.dtype(model.pixel_dtype_), _MODES[shape[2:]]
    fractions, wide = picture.mode == "F", picture.mode[0] == "I"
    as_it_is = (fractions and dtype.kind == "f") or (wide and dtype.kind in "iu" and dtype.itemsize > 1)
    if mode == "L" and as_it_is:
        return np.asarray(picture).reshape(shape)
    if fractions:
        raise ValueError(f"'{path}' holds fractions, the model's pixels are {dtype}: convert it")
    pixels = np.asarray((grey(picture) if wide else picture).convert(mode))
    if stated is None and dtype.kind == "f":
        stated = low, high
    if stated is not None:
        pixels = stated[0] + pixels * ((stated[1] - stated[0]) / 255)
    return pixels.reshape(shape)


def grey(picture: Image.Image) -> Image.Image:
    """The picture in grey of 8 bits; of fractions, 1 is white, and of 32 bits what is above 255 says 16."""
    if picture.mode == "F":
        picture = Image.fromarray((np.asarray(picture).clip(0, 1) * 255).astype(np.uint8))
    if picture.mode.startswith("I;16") or (picture.mode == "I" and np.asarray(picture).max(initial=0) > 255):
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))
    return picture.convert("L")


def at_size(picture: Image.Image, path: Path, model: LinearDiffusion, resize: bool) -> Image.Image:
    """The picture in the size of a model's images; resized, if at all, without overshooting its range."""
    height, width = model.image_shape_[:2]
    if picture.size == (width, height):
        return picture
    if not resize:
        raise ValueError(
            f"'{path}' is {picture.width} x {picture.height} pixels, but the model's images are "
            f"{width} x {height}; resize it, or use --resize"
        )
    if picture.mode in ("1", "P"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    smaller = width <= picture.width and height <= picture.height
    return picture.resize((width, height), Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR)


def _stated_range(picture: Image.Image) -> tuple[float, float] | None:
    """What a PNG of this program says of its 0 and its 255; None for other files."""
    with contextlib.suppress(ValueError, AttributeError):
        low, high = map(float, picture.info.get("pixel_range", "").split())
        if np.isfinite([low, high]).all():
            return low, high
    return None


def sheet(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Pictures of one size in rows, white between them; a single one is itself."""
    if len(rows) == 1 and len(rows[0]) == 1:
        return rows[0][0]
    width, height = rows[0][0].size
    across, down = width + _GAP, height + _GAP
    white = "white" if rows[0][0].mode != "L" else 255
    size = (across * max(map(len, rows)) - _GAP, down * len(rows) - _GAP)
    paper = Image.new(rows[0][0].mode, size, white)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            paper.paste(picture, (j * across, i * down))
    return paper


def write_png(
    path: Path, picture: Image.Image, model: LinearDiffusion, text: Mapping[str, object], zoom: int
) -> None:
    """Write a PNG whole or not at all, with `text`, the version and the range of the pixels in its chunks."""
    if zoom > 1:
        picture = picture.resize((zoom * picture.width, zoom * picture.height), Image.Resampling.NEAREST)
    chunks = PngImagePlugin.PngInfo()
    low, high = model.pixel_range_
    about = {**text, "version": f"lineardiffusion {__version__}", "pixel_range": f"{low!r} {high!r}"}
    for key, value in about.items():
        chunks.add_text(key, str(value))
    unfinished = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        picture.save(unfinished, format="PNG", pnginfo=chunks)
        os.replace(unfinished, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error  # not of the .part
    finally:
        unfinished.unlink(missing_ok=True)
