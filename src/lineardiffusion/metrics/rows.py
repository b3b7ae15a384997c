"""What the metrics compare, as rows of numbers: images flattened, features as they are, and their checks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BLOCK = 4096  # rows: a block of images stays below some ten MB, large enough for a fast product


def check_features(name: str, features: ArrayLike, at_least: int) -> NDArray[np.float64]:
    """Features (n, k) as float64, n of `at_least` or more."""
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or not rows.shape[1]:
        raise ValueError(
            f"{name} have the shape {rows.shape}; expected (n, k), k features of each of n images. "
            "Pixels are features too, as images.reshape(len(images), -1)"
        )
    if len(rows) < at_least:
        raise ValueError(f"{name} are those of {len(rows)} images; expected {at_least} or more")
    _check_finite(name, rows)
    return rows


def check_same_width(name: str, a: NDArray[Any], other: str, b: NDArray[Any]) -> None:
    """An error unless both have images, or features, of the same shape."""
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"{name} have the shape {a.shape} and {other} {b.shape}; expected the same after the first axis"
        )


def check_images(name: str, images: ArrayLike) -> NDArray[Any]:
    """Images (n, ...) of real numbers, one or more, in their own dtype."""
    array = np.asarray(images)
    if array.ndim < 2 or not array.size:
        raise ValueError(
            f"{name} have the shape {array.shape}; expected (n, ...), one image or more. "
            "A single image goes in as image[None]"
        )
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name} have the dtype {array.dtype}; expected real numbers")
    _check_finite(name, array)
    return array


def check_prompts(name: str, prompts: Any, n: int) -> NDArray[np.str_]:
    """Prompts (n,) as strings: 7 and "7" are the same."""
    words = np.asarray(prompts)
    if words.shape != (n,):
        raise ValueError(f"{name} have the shape {words.shape}; expected ({n},), one for each of {n} images")
    return words.astype(str)


def flatten(images: NDArray[Any]) -> NDArray[Any]:
    """Images (n, ...) as rows (n, D)."""
    return images.reshape(len(images), -1)


def _check_finite(name: str, array: NDArray[Any]) -> None:
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), BLOCK):
        if not np.isfinite(array[start : start + BLOCK]).all():
            raise ValueError(f"{name} hold NaN or infinity; expected finite numbers")
