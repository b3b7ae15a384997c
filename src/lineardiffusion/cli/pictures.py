"""Read and write picture files.

A picture file holds the numbers 0 to 255, and the images of a model have units of their own. A PNG file that this
command wrote holds the model's pixel range stretched to 0..255, and records that range [low, high] in its text
chunk ``pixel_range``; its pixel p stands for low + p (high - low) / 255. These are the rules:

- ``fit`` reads the pixels in the units that a file records, and unchanged without a record. All pictures of a
  folder must have one unit.
- Every other command reads a picture as ``fit`` would have, if the result has the unit of the model's pixels:
  if the overlap of the file's range and the model's is more than half of their union. The range of a file
  without a record is 0..255. Otherwise the file's range becomes the model's.
- A file without a record has the unit of a model of integers, unless its pixels or the model's go beyond
  eight times the range of the other: scikit-learn's digits are files of the numbers 0 to 16.
- Grey of 16 bits is reduced to 8 bits, except by ``fit`` and for a model of integers wider than 8 bits. Pillow
  reduces colours of 16 bits to 8 bits.

The orientation that a camera records (EXIF) is undone, in every format that has one. A colour palette is RGB, a
palette of greys is grey, and a colour that stands for transparency (tRNS) makes RGBA.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from lineardiffusion import LinearDiffusion, __version__
from lineardiffusion.cli.common import is_grid_file
from lineardiffusion.io.replacing import replacing

Range = tuple[float, float]

_BYTES: Range = (0.0, 255.0)  # range of a file that records none
_FAR = 8.0  # ratio of two largest pixels above which integers do not have one unit
_BYTE_MODES = ("L", "RGB", "RGBA")
_CONVERTED_MODES = {"1": "L", "LA": "RGBA", "PA": "RGBA", "La": "RGBA", "RGBa": "RGBA"}  # others: RGB
_MODE_OF_CHANNELS: dict[tuple[int, ...], str] = {(): "L", (1,): "L", (3,): "RGB", (4,): "RGBA"}
_GAP = 2  # pixels between the images of a grid
_MAX_NAME = 100  # bytes of a file's name that come from the prompt
_HASHED = re.compile(r"-[0-9a-f]{8}$")
_RESERVED = re.compile(r"(con|prn|aux|nul|conin_|conout_|(com|lpt)[\d\u00b9\u00b2\u00b3]) *(\.|$)", re.IGNORECASE)


# ---------------------------------------------------------------------- reading


def _open(path: Path) -> Image.Image:
    """Open and decode an image file, upright and in one of few modes, or raise an error that names it."""
    with path.open("rb") as file:  # outside the try block: file system errors already name the file
        try:
            picture: Image.Image = Image.open(file)
            picture.load()
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            reason = "unknown image format" if isinstance(error, UnidentifiedImageError) else error
            raise ValueError(f"cannot read '{path}' as an image: {reason}") from error
    if picture.format != "TIFF":  # which Pillow turns as it loads, and before version 10.1 keeps the tag
        with contextlib.suppress(Exception):  # damaged EXIF can end in any, and tells no orientation
            picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return picture
    if "transparency" in picture.info:
        return picture.convert("RGBA")
    if picture.mode == "P":
        red, green, blue = np.reshape(picture.getpalette() or [], (-1, 3)).T
        return picture.convert("L" if (red == green).all() and (green == blue).all() else "RGB")
    return picture if picture.mode in _BYTE_MODES else picture.convert(_CONVERTED_MODES.get(picture.mode, "RGB"))


def read_pixels(path: Path, size: tuple[int, int] | None = None) -> tuple[NDArray[Any], Range | None]:
    """Return the pixels (h, w) or (h, w, c) of a file, c 3 or 4, unchanged, and the range that it records.

    With `size`, width and height, the picture is resized.
    """
    picture = _open(path)
    return np.asarray(picture if size is None else _resize(picture, size)), _recorded_range(picture)


def _recorded_range(picture: Image.Image) -> Range | None:
    """Return the pixel range that stands for 0..255 in a picture of this command, None for other pictures."""
    with contextlib.suppress(KeyError, ValueError, AttributeError):
        low, high = map(float, picture.info["pixel_range"].split())
        if picture.mode in _BYTE_MODES and np.isfinite([low, high]).all():
            return low, high
    return None


def in_units(pixels: NDArray[Any], pixel_range: Range | None) -> NDArray[Any]:
    """Return pixels of 0..255 in the units in which this is `pixel_range`."""
    low, high = pixel_range or _BYTES
    if (low, high) == _BYTES:
        return pixels
    return (low + pixels * ((high - low) / 255)).astype(np.float32)


def is_one_unit(a: Range | None, b: Range | None) -> bool:
    """Return whether two ranges overlap in more than half of their union, or begin alike and have similar sizes."""
    (low, high), (other_low, other_high) = a or _BYTES, b or _BYTES
    if low == other_low and 1 / _FAR <= (high - low) / ((other_high - low) or 1.0) <= _FAR:
        return True
    overlap, union = min(high, other_high) - max(low, other_low), max(high, other_high) - min(low, other_low)
    return a == b or overlap > union / 2


def pixels_for_model(path: Path, model: LinearDiffusion, resize: bool) -> NDArray[Any]:
    """Return the pixels of an image file in the shape and units of a model's images."""
    shape = model.image_shape_
    if len(shape) not in (2, 3) or shape[2:] not in _MODE_OF_CHANNELS:
        raise ValueError(f"this model's images have shape {shape}; expected (h, w) or (h, w, c), c 1, 3 or 4")
    picture = _at_model_size(_open(path), path, model, resize)
    dtype, mode = np.dtype(model.pixel_dtype_), _MODE_OF_CHANNELS[shape[2:]]
    is_float, is_wide = picture.mode == "F", picture.mode[0] == "I"
    if is_float and (mode != "L" or dtype.kind != "f"):
        raise ValueError(f"'{path}' has float pixels, but the model's are {dtype}; convert the file first")

    def is_near(pixels: NDArray[Any], largest: int) -> bool:
        high = model.pixel_range_[1]
        return dtype.kind != "f" and bool(pixels.max() <= _FAR * high and high <= _FAR * largest)

    if mode == "L" and (is_float or (is_wide and dtype.itemsize > 1)):
        pixels = np.asarray(picture).reshape(shape)
        if is_float or is_near(pixels, 65535):
            return pixels
    pixels = np.asarray((_to_grey(picture) if is_wide else picture).convert(mode)).reshape(shape)
    recorded = _recorded_range(picture)
    if recorded is None and is_near(pixels, 255):
        return pixels
    return in_units(pixels, recorded if is_one_unit(recorded, model.pixel_range_) else model.pixel_range_)


def find_missing(path: Path, is_mask: bool, model: LinearDiffusion, resize: bool) -> NDArray[np.bool_]:
    """Return which pixels (h, w) are missing: white pixels of a mask, transparent pixels of an image.

    After resizing, a pixel is missing if any part of it is, since the posterior keeps known pixels unchanged.
    """
    picture = _open(path)
    if is_mask:
        missing = np.asarray(_to_grey(picture)) >= 128
    elif picture.mode == "RGBA":
        missing = np.asarray(picture.getchannel("A")) < 255
    else:
        missing = np.zeros(picture.size[::-1], bool)
    share = _at_model_size(Image.fromarray(missing.astype(np.float32)), path, model, resize)
    return np.asarray(share) > 1e-6


def _to_grey(picture: Image.Image) -> Image.Image:
    """Convert to 8-bit grey: white is 1 in floats, and 65535 in integers if one of them exceeds 255."""
    if picture.mode == "F":
        picture = Image.fromarray((np.asarray(picture).clip(0, 1) * 255).astype(np.uint8))
    if picture.mode.startswith("I;16") or (picture.mode == "I" and np.asarray(picture).max(initial=0) > 255):
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) // 256).astype(np.uint8))
    return picture.convert("L")


def _at_model_size(picture: Image.Image, path: Path, model: LinearDiffusion, resize: bool) -> Image.Image:
    """Resize a picture to the size of a model's images, or raise an error if it has another."""
    height, width = model.image_shape_[:2]
    if picture.size != (width, height) and not resize:
        found = f"'{path}' has {picture.width} x {picture.height} pixels"
        expected = f"the model's images have {width} x {height}"
        raise ValueError(f"{found}, but {expected}; give --resize, or resize the file first")
    return _resize(picture, (width, height))


def _resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a picture with a filter that keeps its range of values."""
    if picture.size == size:
        return picture
    shrinks = size[0] <= picture.width and size[1] <= picture.height
    return picture.resize(size, Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)


# ---------------------------------------------------------------------- writing


def file_name(prompt: str) -> str:
    """Return a name for `prompt` that every file system accepts and that no other prompt has.

    A prompt in lower case that is a valid file name is used as it is. For every other prompt, forbidden
    characters are replaced and a hash of the prompt is appended.
    """
    plain = re.sub(r"[^\w .~+-]+", "_", prompt).strip(" .-")  # no folder, hidden file or option
    name = unicodedata.normalize("NFC", plain).encode()[:_MAX_NAME].decode(errors="ignore")
    reserved = _RESERVED.match(name)  # by Windows, with any suffix
    if name and name == prompt == prompt.casefold() and not _HASHED.search(name) and not reserved:
        return name
    return f"{'_' if reserved else ''}{name or '_'}-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}"


def prompt_of_folder(name: str, files: Iterable[Path]) -> str:
    """Return the prompt whose pictures `files` a folder of this name has: the inverse of `file_name`.

    The name of a folder may have been stored in another Unicode normal form than it was written in.
    """
    name = unicodedata.normalize("NFC", name)
    for path in files if _HASHED.search(name) else ():
        with contextlib.suppress(OSError, SyntaxError, ValueError, KeyError), Image.open(path) as picture:
            if file_name(prompt := str(picture.info["prompt"])) == name:
                return prompt
    return name


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
    settings = {**settings, "version": f"lineardiffusion {__version__}", "pixel_range": f"{low!r} {high!r}"}
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
    chunks = PngImagePlugin.PngInfo()
    for key, value in text.items():
        chunks.add_text(key, str(value))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        ImageOps.scale(picture, zoom, Image.Resampling.NEAREST).save(partial, format="PNG", pnginfo=chunks)
