"""Size of a page, and the number of components or of styles with which the page of a model would fit.

The bytes of an array are proportional to the number of components d, to the number of symbols K, to both, or to the
entries of roots of covariances. The root of a covariance of rank r has r rows that are not zero, and zeros take no
space after gzip:

    entries(r) = r d - r (r - 1) / 2,    r = min(d, n - 1) for a style of n images

With fewer styles there are fewer roots, each of more images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion._triangles import triangle

LARGEST = 3_000_000  # bytes of a page
MARGIN = 0.93  # of the largest size, because other styles have other covariances
BY_SYMBOL = ("symbols", "contrast.constant", "contrast.size", "contrast.level", "contrast.ratio")
EXAMPLE = 'The model "mnist-small", which ships with the library, has a page.'


class Layout(NamedTuple):
    """Numbers that the sizes of the arrays depend on."""

    d: int  # components
    K: float  # symbols
    images: Array | None = None  # effective number of images of each style, or None without styles

    def with_symbols(self, K: float) -> Layout:
        """Return the layout with K symbols, of the same images in all."""
        images = None if self.images is None else self.images * (self.K / K)
        return Layout(self.d, K, images)

    def units(self, name: str) -> float:
        """Return what the bytes of an array are proportional to."""
        d, K, images = self
        group, _, part = name.partition(".")
        if name in BY_SYMBOL:
            return K
        if group in ("laws", "scored"):
            if part != "roots":
                return K * d
            if group == "scored" or images is None:
                return K * triangle(d)
            r = np.clip(images - 1.0, 0.0, d)
            return float(K / len(images) * np.sum(r * d - r * (r - 1) / 2)) or 1.0
        if name in ("pooled.roots", "regression.left"):
            return d * d
        return d if name == "components" or group in ("pooled", "regression") else 1


def refusal(size: float, limit: int, length: Mapping[str, float], now: Layout, prompts: int) -> str:
    """Return the message for a page that is too large.

    Parameters
    ----------
    size : float
        Bytes of the page.
    limit : int
        Bytes that are allowed.
    length : mapping of str to float
        Bytes in the page of each array, by name, and of the description of the symbols (``"symbols"``).
    now : Layout
        Numbers of the model.
    prompts : int
        Number of prompts.

    Returns
    -------
    str
        Sizes, and the largest ``n_components`` and ``n_styles`` of which each alone makes the page fit.
    """

    def fits(then: Layout) -> bool:
        change = sum(bytes_ * (then.units(name) / now.units(name) - 1) for name, bytes_ in length.items())
        return size + change <= MARGIN * limit

    choices = [f"n_components={d}" for d in range(now.d - 1, 0, -1) if fits(now._replace(d=d))][:1]
    if now.images is not None:
        most = int(np.ceil(now.K / prompts)) - 1
        choices += [f"n_styles={s}" for s in range(most, 0, -1) if fits(now.with_symbols(s * prompts))][:1]
    advice = f"about {' or '.join(choices)} would fit" if choices else "fit on smaller images or with fewer prompts"
    allowed = f"{limit / 1e6:.3g} MB"
    return f"the page would have {size / 1e6:.2f} MB, and at most {allowed} are allowed; {advice}. {EXAMPLE}"
