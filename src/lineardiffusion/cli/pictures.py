"""Read and write image files.

The pixel values of a file are used unchanged, in the units of the training images, with three exceptions:

- A PNG file written by this command has the model's pixel range stretched to 0..255 and records the range in
  its text chunk ``pixel_range``; reading the file reverses this.
- A model of float images has units that no ordinary file has; for it, 0..255 is the model's pixel range.
- 16-bit grey is reduced to 8 bits, except for a model of integers wider than 8 bits.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from lineardiffusion import LinearDiffusion, __version__
from lineardiffusion.cli.common import is_grid_file

_KEPT_MODES = ("L", "RGB", "RGBA", "I", "F")
_CONVERTED_MODES = {"1": "L", "LA": "RGBA", "PA": "RGBA", "La": "RGBA", "RGBa": "RGBA"}  # others: RGB
_MODE_OF_CHANNELS: dict[tuple[int, ...], str] = {(): "L", (1,): "L", (3,): "RGB", (4,): "RGBA"}
_GAP = 2  # pixels between the images of a grid


def _open(path: Path) -> Image.Image:
    """Open and decode an image file, or raise an error that names it."""
    with path.open("rb") as file:  # outside the try block: file system errors already name the file
        try:
            picture = Image.open(file)
            picture.load()
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            reason = "unknown image format" if isinstance(error, UnidentifiedImageError) else error
            raise ValueError(f"cannot read '{path}' as an image: {reason}") from error
    return picture


def read_pixels(path: Path) -> NDArray[Any]:
    """Return the pixels (h, w) or (h, w, c) of an image file, c 3 or 4, in the file's own units."""
    picture = _open(path)
    if picture.mode not in _KEPT_MODES and not picture.mode.startswith("I;16"):
        picture = picture.convert(_CONVERTED_MODES.get(picture.mode, "RGB"))
    return np.asarray(picture)


def pixels_for_model(path: Path, model: LinearDiffusion, resize: bool) -> NDArray[Any]:
    """Return the pixels of an image file in the shape and units of a model's images."""
    shape = model.image_shape_
    if len(shape) not in (2, 3) or shape[2:] not in _MODE_OF_CHANNELS:
        raise ValueError(f"this model's images have shape {shape}; expected (h, w) or (h, w, c), c 1, 3 or 4")
    picture = _at_model_size(_open(path), path, model, resize)
    dtype, mode = np.dtype(model.pixel_dtype_), _MODE_OF_CHANNELS[shape[2:]]
    is_float, is_wide = picture.mode == "F", picture.mode[0] == "I"
    same_units = (is_float and dtype.kind == "f") or (is_wide and dtype.kind in "iu" and dtype.itemsize > 1)
    if mode == "L" and same_units:
        return np.asarray(picture).reshape(shape)
    if is_float:
        raise ValueError(f"'{path}' has float pixels, but the model's are {dtype}; convert the file first")
    pixels = np.asarray((_to_grey(picture) if is_wide else picture).convert(mode))
    pixel_range = model.pixel_range_ if dtype.kind == "f" else None
    with contextlib.suppress(KeyError, ValueError, AttributeError):  # not written by this command
        low, high = map(float, picture.info["pixel_range"].split())
        if np.isfinite([low, high]).all():
            pixel_range = low, high
    if pixel_range is not None:
        low, high = pixel_range
        pixels = low + pixels * ((high - low) / 255)
    return pixels.reshape(shape)


def find_missing(path: Path, is_mask: bool, model: LinearDiffusion, resize: bool) -> NDArray[np.bool_]:
    """Return which pixels (h, w) are missing: white pixels of a mask, transparent pixels of an image.

    After resizing, a pixel is missing if any part of it is, since the posterior keeps known pixels unchanged.
    """
    picture = _open(path)
    if is_mask:
        missing = np.asarray(_to_grey(picture)) >= 128
    else:
        missing = np.asarray(picture.convert("RGBA").getchannel("A")) < 255
    share = _at_model_size(Image.fromarray(missing.astype(np.float32)), path, model, resize)
    return np.asarray(share) > 1e-6


def _to_grey(picture: Image.Image) -> Image.Image:
    """Convert to 8-bit grey: white is 1 in floats, and 65535 in integers if one of them exceeds 255."""
    if picture.mode == "F":
        picture = Image.fromarray((np.asarray(picture).clip(0, 1) * 255).astype(np.uint8))
    if picture.mode.startswith("I;16") or (picture.mode == "I" and np.asarray(picture).max(initial=0) > 255):
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))
    return picture.convert("L")


def _at_model_size(picture: Image.Image, path: Path, model: LinearDiffusion, resize: bool) -> Image.Image:
    """Resize a picture to the size of a model's images, with a filter that keeps its range of values."""
    height, width = model.image_shape_[:2]
    if picture.size == (width, height):
        return picture
    if not resize:
        raise ValueError(
            f"'{path}' has {picture.width} x {picture.height} pixels, but the model's images have "
            f"{width} x {height}; give --resize, or resize the file first"
        )
    if picture.mode in ("1", "P"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    shrinks = width <= picture.width and height <= picture.height
    return picture.resize((width, height), Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)


def write_pictures(
    output: Path,
    pictures: Iterable[Image.Image],
    names: Iterable[tuple[str, dict[str, Any]]],
    grid: dict[str, list[Any]],
    columns: int,
    settings: Mapping[str, object],
    model: LinearDiffusion,
    zoom: int,
) -> list[dict[str, Any]]:
    """Write pictures to a folder, or as a grid with `columns` to one PNG file; describe each file.

    `names` has each picture's file name and description, `grid` is the description of the grid. The text
    chunks of a file are its description, the settings, the version and the pixel range.
    """
    low, high = model.pixel_range_
    own_chunks = {"version": f"lineardiffusion {__version__}", "pixel_range": f"{low!r} {high!r}"}
    settings = {**settings, **own_chunks}
    if is_grid_file(output):
        text = {name.removesuffix("s"): "\n".join(map(str, values)) for name, values in grid.items()}
        _write_png(output, _make_grid(list(pictures), columns), {**text, **settings}, zoom)
        return [{"file": str(output), **grid}]
    files = []
    for picture, (name, own) in zip(pictures, names, strict=True):
        path = output / f"{name}.png"
        _write_png(path, picture, {**own, **settings}, zoom)
        files.append({"file": str(path), **own})
    return files


def _make_grid(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Arrange pictures of one size in rows, with white gaps."""
    width, height = pictures[0].width + _GAP, pictures[0].height + _GAP
    size = (width * columns - _GAP, height * (len(pictures) // columns) - _GAP)
    grid = Image.new(pictures[0].mode, size, "white")
    for i, picture in enumerate(pictures):
        grid.paste(picture, (i % columns * width, i // columns * height))
    return grid


def _write_png(path: Path, picture: Image.Image, text: Mapping[str, object], zoom: int) -> None:
    """Write a PNG file in one step, so that an interrupt leaves no part of it."""
    if zoom > 1:
        picture = picture.resize((zoom * picture.width, zoom * picture.height), Image.Resampling.NEAREST)
    chunks = PngImagePlugin.PngInfo()
    for key, value in text.items():
        chunks.add_text(key, str(value))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        picture.save(partial, format="PNG", pnginfo=chunks)
        os.replace(partial, path)
    except OSError as error:  # name the file that the user asked for, not the partial one
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
