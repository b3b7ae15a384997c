"""Pictures: arrays in the units of the data as 8-bit images of Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import Images

if TYPE_CHECKING:
    from PIL.Image import Image


def to_bytes(images: Images, pixel_range: tuple[float, float]) -> NDArray[np.uint8]:
    """Convert images (n, h, w) or (n, h, w, c), c one of 1, 3 or 4, to 8 bits: `pixel_range` becomes 0 to 255."""
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.ndim != 3 and not (images.ndim == 4 and images.shape[-1] in (3, 4)):
        raise ValueError(
            "only images of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) make pictures, these are "
            f"{images.shape[1:]}; in Python, output_type='np' gives them as an array"
        )
    low, high = pixel_range
    levels = (images.astype(np.float64) - low) * (255 / (high - low or 1.0))
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def to_pil(images: Images, pixel_range: tuple[float, float]) -> list[Image]:
    """Return images that `to_bytes` converts as Pillow images."""
    from PIL import Image

    return [Image.fromarray(picture) for picture in to_bytes(images, pixel_range)]
