"""Check the input of the metrics: features, images and prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

__all__ = ["check_images", "check_prompts", "check_same_shape", "flatten"]


def check_images(name: str, images: ArrayLike) -> NDArray[Any]:
    """Return finite images (n, ...), n >= 1, in their own dtype."""
    return np.asarray(check_array(images, dtype="numeric", allow_nd=True, input_name=name))


def check_prompts(name: str, prompts: Any, n: int) -> NDArray[np.str_]:
    """Return prompts (n,) as strings, so that 7 and "7" are the same prompt."""
    words = np.asarray(prompts)
    if words.shape != (n,):
        raise ValueError(f"{name} have the shape {words.shape}; expected ({n},), one for each of {n} images")
    return words.astype(str)


def check_same_shape(name: str, a: NDArray[Any], other_name: str, b: NDArray[Any]) -> None:
    """Raise ValueError unless the images, or features, of both arrays have the same shape."""
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"{name} have the shape {a.shape} and {other_name} {b.shape}; expected the same shape after the "
            "first axis"
        )


def flatten(images: NDArray[Any]) -> NDArray[Any]:
    """Return images (n, ...) as rows (n, D)."""
    return images.reshape(len(images), -1)
