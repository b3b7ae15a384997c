"""The state: what the data left behind, whole.

It never changes; a batch makes a new one, and two data sets' states add up. A model adopts a new state in
one step or keeps the old one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lineardiffusion.encode import ImageEncoder
from lineardiffusion.histogram import Histogram
from lineardiffusion.joint import JointMoments
from lineardiffusion.moments import Moments
from lineardiffusion.styles import Styles
from lineardiffusion.text import symbols, vocabulary


@dataclass(frozen=True, eq=False)
class State:
    """Moments, and what they are of.

    Attributes
    ----------
    moments : Moments or JointMoments
        Of the pixels, or with an `encoder` of the latents; one group a known prompt, or joint with the
        embeddings.
    known : tuple of str
        The prompts, sorted; empty when they are embeddings.
    image_shape : tuple of int
    pixel_range : tuple of float
        Smallest and largest pixel.
    pixel_dtype : numpy dtype
    encoder : ImageEncoder or None
        The basis of the latents, where the moments are of latents.
    styles : Styles or None
        Of the latents. New data makes new latents: a sum has none.
    histogram : Histogram or None
        Of the pixels, where a contrast needs it; a sum has it if both data sets do.
    """

    moments: Moments | JointMoments
    known: tuple[str, ...]
    image_shape: tuple[int, ...]
    pixel_range: tuple[float, float]
    pixel_dtype: np.dtype[Any]
    encoder: ImageEncoder | None = None
    styles: Styles | None = None
    histogram: Histogram | None = None

    def __add__(self, other: State) -> State:
        """The state of both data sets, moments of pixels both."""
        known = vocabulary([*self.known, *other.known])
        total: Moments | JointMoments
        if isinstance(self.moments, JointMoments) and isinstance(other.moments, JointMoments):
            total = self.moments + other.moments
        else:
            total = self._spread(known) + other._spread(known)
        histogram = None
        if self.histogram is not None and other.histogram is not None:
            histogram = self.histogram + other.histogram
        (low_a, high_a), (low_b, high_b) = self.pixel_range, other.pixel_range
        return State(
            total,
            known,
            self.image_shape,
            (min(low_a, low_b), max(high_a, high_b)),
            np.result_type(self.pixel_dtype, other.pixel_dtype),
            histogram=histogram,
        )

    def _spread(self, known: tuple[str, ...]) -> Any:
        if known == self.known or isinstance(self.moments, JointMoments):
            return self.moments
        return self.moments.spread(symbols(self.known, known), len(known))
