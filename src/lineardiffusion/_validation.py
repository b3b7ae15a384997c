"""Checks of what users give: each returns the value as the library works with it, or raises an error."""

from __future__ import annotations

import numbers
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_scalar
from sklearn.utils.validation import _check_sample_weight

from lineardiffusion._arrays import ROWS, Array

_PACKAGE = str(Path(__file__).parent)


def check_prompts(X: object, weights: bool = False) -> list[Any] | None:
    """Return the prompts as a list of str, or None if X holds numbers (embeddings).

    With `weights`, a mapping of prompts to weights may stand for a prompt.
    """
    if isinstance(X, str):
        raise TypeError(f"prompts must be a list of strings, got the bare string {X!r}; use [{X!r}]")
    if X is None or isinstance(X, int | float | np.generic):
        raise TypeError(f"prompts must be a list of strings (or an array of embeddings), got {X!r}")
    ndim = getattr(X, "ndim", 1)
    if ndim != 1 or not hasattr(X, "__len__"):
        if ndim > 2:
            raise ValueError(f"prompts come first, then images; got an array of {ndim} dimensions as prompts")
        if isinstance(X, np.ndarray) and X.dtype.kind in "US":
            raise ValueError(f"prompts must be one list of strings, got an array of shape {X.shape}")
        return None
    prompts: list[Any] = list(X)  # type: ignore[call-overload]
    if not prompts:
        raise ValueError("no prompts: expected at least one, got an empty list")
    others = [one for one in prompts if not isinstance(one, str) and not (weights and isinstance(one, Mapping))]
    if not others:
        return prompts if weights else list(map(str, prompts))
    if len(others) < len(prompts):
        raise ValueError(f"prompts must all be strings, got {others[0]!r} among them")
    if isinstance(others[0], bytes):
        raise ValueError("prompts must be strings, got bytes; decode them")
    if all(isinstance(one, int | float | np.number) for one in others):
        raise ValueError(
            f"prompts must be strings, got the numbers {others[:3]}...; pass [str(label) for label in labels]. "
            "Reshape your data to (n, 1) if they are an embedding"
        )
    if isinstance(np.ravel(others[0])[0] if np.size(others[0]) else None, str):
        raise ValueError("prompts must be one list of strings, got a list of lists")
    return None


def check_images(
    images: object, n: int, image_shape: tuple[int, ...] | None = None, missing: bool = False
) -> NDArray[np.generic]:
    """Return the images (n, \\*image_shape), whose pixels are finite; with `missing`, NaN is a missing pixel."""
    if images is None:
        raise ValueError("fit requires y to be passed, but the target y is None: pass the images")
    if hasattr(images, "toarray"):
        raise TypeError("images must be a dense array, got a sparse matrix; call .toarray() on it")
    try:
        array = np.asarray(images)
    except ValueError as error:
        raise ValueError("images must all have the same shape (n, h, w) or (n, h, w, c)") from error
    if array.dtype.kind in "US" or (array.dtype.kind == "O" and array.size and isinstance(array.flat[0], str)):
        raise ValueError("prompts come first, then images; got strings for the images")
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError("images must be an array of numbers, got Python objects") from error
    if array.dtype.kind not in "buif":
        kind = "Complex data not supported: " if array.dtype.kind == "c" else ""
        raise ValueError(f"{kind}images must hold real numbers, got dtype {array.dtype}")
    if array.ndim == 0 or len(array) != n:
        found = "a single number" if array.ndim == 0 else f"{len(array)} images"
        raise ValueError(f"{n} prompts need {n} images, got {found}; pass one prompt per image")
    if array[0].size == 0:
        raise ValueError(f"images have no pixels: got the shape {array.shape}")
    if image_shape is not None and array.shape[1:] != image_shape:
        raise ValueError(
            f"images have the shape {array.shape[1:]}, but this model was fitted on images of "
            f"{image_shape}; resize them, or fit a model of their own"
        )
    if array.dtype.kind == "f":
        peak = 0.0
        for start in range(0, n, ROWS):
            block = array[start : start + ROWS]
            fine = np.isfinite(block) | (np.isnan(block) if missing else False)
            peak = max(peak, float(np.abs(np.nan_to_num(block) if missing else block).max()))
            if not fine.all():
                first = start + int(np.argmin(fine.reshape(len(fine), -1).all(axis=1)))
                raise ValueError(
                    f"images must have finite pixels, but image {first} holds NaN or infinity; remove or "
                    'repair it (fit takes NaN for missing pixels with missing="em")'
                )
        if peak > 1e150:
            raise ValueError(f"pixels as large as {peak:.3g} cannot be squared; divide the images")
        if array.itemsize < 8 and not 1e-15 < peak < 1e15:
            array = array.astype(np.float64)  # whose squares float32 would not hold
    return array


def check_integer(value: Any, name: str, min_val: int = 1) -> int:
    """Return an int of `min_val` or more."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an int, got {value!r}")
    return int(check_scalar(value, name, numbers.Integral, min_val=min_val))


def warn(message: str) -> None:
    """Warn the user, naming the first line outside of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level + 1)


def check_sample_weight(sample_weight: ArrayLike, rows: Any) -> Array:
    """Return sample weights (n,) as float64, not negative and not all 0."""
    weight: Array = _check_sample_weight(sample_weight, rows, dtype=np.float64, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("sample weights are all zero: at least one image needs a weight")
    return weight


def check_mask(mask: ArrayLike, n: int, image_shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask of one image or of n images as (n, D)."""
    array = np.asarray(mask)
    if array.dtype != bool:
        raise TypeError(f"mask must be bool, True where a pixel is missing; got {array.dtype}")
    if array.shape not in (image_shape, (n, *image_shape)):
        raise ValueError(
            f"mask must have the shape {image_shape}, one for all images, or {(n, *image_shape)}, one per image; "
            f"got {array.shape}"
        )
    return np.broadcast_to(array, (n, *image_shape)).reshape(n, -1)
