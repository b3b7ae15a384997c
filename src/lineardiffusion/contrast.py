"""Contrast: the last step from pixels to pictures.

A Gaussian pixel spills over black and white, and its greys are too grey. The picture is

    y = clip(gain x + offset, low, high)

with the two numbers chosen so that the pixels of all pictures together have the mean and the variance of
the data's. Both sides are known. For a pixel x ~ N(m, v) of the law, gain x + offset ~ N(m', s^2), and with
a = (low - m') / s, b = (high - m') / s, the standard normal density phi and distribution Phi, and
P = Phi(b) - Phi(a),

    E[y]   = low Phi(a) + high (1 - Phi(b)) + m' P + s (phi(a) - phi(b))
    E[y^2] = low^2 Phi(a) + high^2 (1 - Phi(b)) + (m'^2 + s^2) P + 2 m' s (phi(a) - phi(b))
             + s^2 (a phi(a) - b phi(b))

(the moments of a doubly censored normal). So nothing is sampled and nothing is tuned. It touches pictures
only: laws and likelihoods are those of the latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import ndtr

from lineardiffusion.encode import ImageEncoder
from lineardiffusion.moments import Array, Moments

GAIN_MAX = 50.0  # black and white images would have it infinite


@dataclass(frozen=True)
class Contrast:
    """A gain, an offset and a clip to the range, in pixel units."""

    gain: float
    offset: float
    low: float
    high: float

    @classmethod
    def solve(cls, moments: Moments, encoder: ImageEncoder, pixel_range: tuple[float, float]) -> Contrast:
        """The contrast of the law whose groups have these moments of latents."""
        low, high = pixel_range
        if high == low:
            return cls(1.0, 0.0, low, high)
        mean = encoder.mean + moments.mean @ encoder.synthesis
        variance = np.stack(
            [((c @ encoder.synthesis) * encoder.synthesis).sum(axis=0) for c in moments.covariance]
        )
        share = moments.weight / moments.weight.sum()
        deviation = np.sqrt(np.maximum(variance, 0.0)) + 1e-9 * (high - low)
        unit = high - low
        target_mean = float(encoder.mean.mean())
        target_square = float(np.mean(encoder.mean**2) + encoder.pixel_variance)
        target_deviation = np.sqrt(target_square - target_mean**2)

        def error(numbers: Array) -> Array:
            first, second = censored(
                np.exp(numbers[0]) * mean + unit * numbers[1], np.exp(numbers[0]) * deviation, low, high
            )
            e1, e2 = float(share @ first.mean(axis=1)), float(share @ second.mean(axis=1))
            spread = np.sqrt(max(e2 - e1**2, 0.0))
            return np.asarray([e1 - target_mean, spread - target_deviation]) / unit

        found = least_squares(
            error, np.zeros(2), bounds=([-5.0, -50.0], [np.log(GAIN_MAX), 50.0]), xtol=1e-12
        )
        return cls(float(np.exp(found.x[0])), float(unit * found.x[1]), low, high)

    def __call__(self, images: NDArray[np.floating]) -> NDArray[np.floating]:
        """Pictures of images, in pixel units and of the same type."""
        pictures = np.clip(images * self.gain + self.offset, self.low, self.high)
        return np.asarray(pictures, dtype=images.dtype)


def censored(mean: Array, deviation: Array, low: float, high: float) -> tuple[Array, Array]:
    """First and second moment of a normal variable clipped to [low, high]."""
    a, b = (low - mean) / deviation, (high - mean) / deviation
    density_a, density_b = (np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi) for x in (a, b))
    below, above = ndtr(a), ndtr(-b)
    inside = 1.0 - below - above
    slope = deviation * (density_a - density_b)
    first = low * below + high * above + mean * inside + slope
    second = (
        low**2 * below
        + high**2 * above
        + (mean**2 + deviation**2) * inside
        + 2 * mean * slope
        + deviation**2 * (a * density_a - b * density_b)
    )
    return first, second
