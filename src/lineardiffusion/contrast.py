"""Contrast: the last step of decoding, from pixels to finished pictures.

A Gaussian pixel exceeds the data's range, and gives too many intermediate grey levels. Three contrasts correct
that. All match the pixels of the law to the pixels of the data, and both distributions are known, so nothing is
sampled or tuned.

**Affine.** The picture is y = clip(gain x + offset, low, high), with the two numbers chosen so that the
pixels of all pictures together have the mean and the variance of the data's. For a pixel x ~ N(m, v) of the
law, gain x + offset ~ N(m', s^2), and with a = (low - m') / s, b = (high - m') / s, the standard normal
density phi and distribution Phi, and P = Phi(b) - Phi(a)::

    E[y]   = low Phi(a) + high (1 - Phi(b)) + m' P + s (phi(a) - phi(b))
    E[y^2] = low^2 Phi(a) + high^2 (1 - Phi(b)) + (m'^2 + s^2) P + 2 m' s (phi(a) - phi(b))
             + s^2 (a phi(a) - b phi(b))

(the moments of a doubly censored normal). Groups times pixels are some 10^5 normals. They are first replaced by few
(`condense`), which moves the picture by 0.01 grey levels on MNIST with 500 styles. One Newton step for all normals
then leaves 10^-5 of it.

**Pixelwise.** The same, with a gain and an offset for each pixel j of each prompt or style g, such that the
clipped pixel has the mean mu_gj and the variance v_gj of that pixel in the images of g: the unbiased variance of a
style's (statistics/styles.py), the shrunk one of a prompt's without styles. In units of the range, with a = t b
the mean and b the deviation of the normal before the clip to [0, 1],

    E[y] = mu_gj,    Var[y] = v_gj                                    two equations for t and b               (1)

have one solution for 0 < v < mu (1 - mu). They are solved by Newton's method for log E[y] and log Var[y] in t and
log b. It starts from the solution for a clip at 0 only (Tobin 1958), where E[y]^2 / Var[y] depends on t alone.
Where mu > 1/2 the pixel is mirrored first. The drawn pixel has the mean m_gj and the deviation s_gj, so gain = b /
s_gj and offset = a - gain m_gj. Where s_gj is 0 the picture is mu_gj. Everything that is no prompt or style of its
own, such as the unconditional Gaussian, has the affine contrast. A posterior is of the law by which images are
scored (statistics/styles.py), so its pictures have the s_gj of that law, with what the encoder discards.

So the pixels of a style have the data's mean and variance, with the variance that the encoder discards; only a
variance above BINARY mu (1 - mu) is cut to it. A clip lowers correlations; a style that is drawn in few directions
has higher ones, which makes up for it (style_rank.py). Posteriors are of Gaussians with other variances, so their
gains are scaled by the ratio of the deviations (`rescaled`).

**Histogram.** The picture is y = Q(F(x)), the monotone curve that gives all pixels together the histogram of
the data's. Over groups u of share p_u and pixels j, D of them,

    F(x) = sum_u p_u / D sum_j Phi((x - m_uj) / s_uj)          of the law
    Q(F) = the smallest value v_k with C_k >= F                of the data, C_k its share of pixels up to v_k

so the curve is a step function: y = v_k for t_(k-1) < x <= t_k, with thresholds t_k = F^-1(C_k). A picture has
the data's values and no others. A pixel that never varies stays constant under any curve: it gets the value at
the middle of F's step there.

Here too the normals are first condensed: those with nearly equal mean and deviation are replaced by one of the
same mean and variance, which moves F by 1.4 10^-4 at most on MNIST with 500 styles. F is then inverted between the
points of a grid that are placed by its mass: it rises by some 1 / 800 at most from one point to the next, which
bounds the error of every share C_k. On MNIST F(t_k) is C_k within 3 10^-5, with both errors.

Contrast touches pictures only: laws and likelihoods are those of the latents.

References
----------
Tobin (1958), Estimation of relationships for limited dependent variables. Econometrica 26(1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.optimize import least_squares
from scipy.special import ndtr, ndtri

from lineardiffusion._arrays import Array, Indices, freeze
from lineardiffusion._device import as_like, cast, dtype_of, namespace
from lineardiffusion._linalg import side_by_side, split
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.diffusion.guidance import TimedWeight
from lineardiffusion.encoders.conditioning import Condition
from lineardiffusion.encoders.image import ImageEncoder
from lineardiffusion.statistics.histogram import Histogram

GAIN_MAX = 50.0  # for images in black and white only, whose gain would be infinite
CORRECTED = 2  # evaluations of all pixels, after the two numbers were solved for few normals
GRID = 1024  # points by mass, and as many by distance, on which F is inverted
NODES = ndtri((np.arange(256) + 0.5) / 256)  # quantiles that represent a normal where the grid is placed
CONSTANT = 1e-4  # deviation of a pixel, as a share of the range, below which it does not vary
BINARY = (
    0.98  # share of mu (1 - mu), the variance of a pixel that is only black or white, that a variance has at most
)
LEAST_T = -4.0  # least mean of the normal before the clip, in its deviations
STEPS = 60  # of Newton's method at most
ENTRIES = 2**23  # of pixels that get a contrast of their own at a time
NODES_A_SIDE = 48  # of the table that it starts from
ALIKE = 0.15  # differences of means in deviations, and of log-deviations, below which normals are merged


@dataclass(frozen=True)
class AffineContrast:
    """A gain, an offset and a clip to the range, in pixel units."""

    gain: float
    offset: float
    low: float
    high: float

    @classmethod
    def solve(
        cls,
        weight: Array,
        law: GaussianDenoiser,
        encoder: ImageEncoder,
        pixel_range: tuple[float, float],
        brightness: tuple[float, float] | None = None,
    ) -> AffineContrast:
        """Solve for the contrast of latents of these Gaussians, with weights (g,).

        `brightness` is the mean and the deviation of the data's pixels; None for those that the encoder tells.
        """
        low, high = pixel_range
        if high == low:
            return cls(1.0, 0.0, low, high)
        share, mean, deviation = pixels(weight, law, encoder)
        unit = high - low
        deviation = np.maximum(deviation, 1e-9 * unit)
        told = float(encoder.mean.mean()), float(np.sqrt(encoder.mean.var() + encoder.pixel_variance))
        target = np.array(told if brightness is None else brightness)

        def error(numbers: Array, share: Array, normals: Array) -> Array:
            gain, offset = np.exp(numbers[0]), unit * numbers[1]

            def clipped(part: Array) -> Array:
                found = censored(gain * part[:, 0] + offset, gain * part[:, 1], low, high)
                return np.array([moment.mean(axis=1) for moment in found])

            e1, e2 = np.concatenate(split(clipped, normals), axis=1) @ share
            return np.asarray(([e1, np.sqrt(np.maximum(e2 - e1**2, 0.0))] - target) / unit)

        few = condense(share, mean, deviation)
        bounds, few_normals = ([-5.0, -50.0], [np.log(GAIN_MAX), 50.0]), np.stack(few[1:], axis=1)[:, :, None]
        near = least_squares(error, np.zeros(2), bounds=bounds, xtol=1e-12, args=(few[0], few_normals))
        every = share, np.stack([mean, deviation], axis=1)
        found = least_squares(error, near.x, lambda *_: near.jac, bounds, max_nfev=CORRECTED, args=every)
        return cls(float(np.exp(found.x[0])), float(unit * found.x[1]), low, high)

    def __call__(self, images: Any) -> Any:
        """Return the pictures of images, in pixel units and of the same type."""
        return cast(namespace(images).clip(images * self.gain + self.offset, self.low, self.high), dtype_of(images))


@dataclass(frozen=True, eq=False)
class HistogramContrast:
    """A monotone step function from pixels of the law to values of the data, in pixel units.

    A pixel up to the first threshold gets the first value, and so on.
    """

    thresholds: Array  # (k - 1,), rising
    values: Array  # (k,), rising

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def solve(
        cls, weight: Array, law: GaussianDenoiser, encoder: ImageEncoder, histogram: Histogram
    ) -> HistogramContrast:
        """Solve for the contrast of latents of these Gaussians, with weights (g,), to data with this histogram."""
        share, mean, deviation = pixels(weight, law, encoder)
        unit = float((np.abs(mean) + deviation).max()) or 1.0
        rounding = 32 * float(np.finfo(encoder.dtype).eps) * unit  # no step of F is narrower
        normals = condense(share, mean, np.maximum(deviation, rounding))
        x = grid(*normals)
        return cls(np.interp(histogram.cumulative()[:-1], distribution(*normals, x), x), histogram.values)

    def __call__(self, images: Any) -> Any:
        """Return the pictures of images, in pixel units and of the same type."""
        thresholds, values = (as_like(array, images, dtype_of(images)) for array in (self.thresholds, self.values))
        return values[namespace(images).searchsorted(thresholds, images)]


@dataclass(frozen=True, eq=False)
class PixelwiseContrast:
    """A gain and an offset for each pixel of each symbol, and a clip to the range, in pixel units."""

    gain: NDArray[np.float32]  # (g, D)
    offset: NDArray[np.float32]  # (g, D)
    rest: AffineContrast  # of everything that is no symbol

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def solve(
        cls, mean: Array, variance: Array, law: GaussianDenoiser, encoder: ImageEncoder, rest: AffineContrast
    ) -> PixelwiseContrast:
        """Solve for the contrast of latents of these Gaussians.

        `mean` and `variance` (g, D) are those that the pixels of the pictures get.
        """
        low, unit = rest.low, (rest.high - rest.low) or 1.0
        gain, offset = (np.empty(mean.shape, np.float32) for _ in range(2))
        spread = deviations(law, encoder)

        def fill(g: int) -> None:
            mu, s = (mean[g] - low) / unit, spread[g] / unit
            t, b = before_clip(mu, variance[g] / unit**2)
            drawn = (s > CONSTANT / 10) & (b > 0)
            slope = np.divide(b, s, out=np.zeros_like(b), where=drawn)
            centre = encoder.mean + law.mean[g] @ encoder.synthesis
            gain[g] = slope
            offset[g] = low + unit * np.where(drawn, t * b, mu) - slope * centre

        side_by_side(fill, range(len(mean)))
        return cls(gain, offset, rest)

    def rescaled(
        self, drawn: GaussianDenoiser, scored: GaussianDenoiser, encoder: ImageEncoder, residual_noise: bool
    ) -> PixelwiseContrast:
        """Return the contrast that gives pictures of Gaussians of the same means, `scored`, the same moments.

        With `residual_noise` their pixels have the residual variance, too. The normals before the clip stay.
        """
        spread = deviations(scored, encoder)
        if residual_noise:
            discarded = encoder.pixel_scale**2 * (1.0 - np.square(encoder.components).sum(axis=0))
            spread = np.sqrt(np.square(spread) + encoder.residual_variance * discarded)
        ratio = np.divide(deviations(drawn, encoder), spread, out=np.zeros_like(spread), where=spread > 0)
        gain = (self.gain * ratio).astype(np.float32)
        centre = encoder.mean + scored.mean @ encoder.synthesis
        return replace(self, gain=gain, offset=(self.offset + (self.gain - gain) * centre).astype(np.float32))

    def __call__(self, images: Any, conditions: Sequence[Condition], place: Indices) -> Any:
        """Return the pictures of images (n, ...) in pixel units, where image i is of ``conditions[place[i]]``."""
        xp, dtype = namespace(images), dtype_of(images)
        rows = images.reshape(len(images), -1)
        step = max(1, ENTRIES // rows.shape[1])
        blocks = []
        for start in range(0, len(rows), step):
            used, own = np.unique(place[start : start + step], return_inverse=True)
            numbers = zip(*(self._of(conditions[i]) for i in used), strict=True)
            gain, offset = (as_like(np.stack(column).astype(dtype)[own], images, dtype) for column in numbers)
            blocks.append(xp.clip(rows[start : start + step] * gain + offset, self.rest.low, self.rest.high))
        return xp.concat(blocks).reshape(images.shape) if blocks else images

    def _of(self, condition: Condition) -> tuple[Array, Array]:
        """Return gain and offset (D,) of a condition: the mean of those of its parts of positive weight."""
        gain, offset, total = np.zeros(self.gain.shape[1]), np.zeros(self.gain.shape[1]), 0.0
        for part, w in condition:
            # that of a scale which depends on the time at its value 1
            weight = w.slope + w.constant if isinstance(w, TimedWeight) else float(w)
            if weight > 0:
                gain += weight * (self.gain[part] if isinstance(part, int) else self.rest.gain)
                offset += weight * (self.offset[part] if isinstance(part, int) else self.rest.offset)
                total += weight
        return gain / total, offset / total


Contrast = AffineContrast | HistogramContrast | PixelwiseContrast


def before_clip(mean: Array, variance: Array) -> tuple[Array, Array]:
    """Return t and b (n,) of the normals N(t b, b^2) whose clips to [0, 1] have these moments: equations (1).

    b is 0 where the variance is.
    """
    t, b = np.zeros_like(mean), np.zeros_like(mean)
    mean = np.clip(mean, 0.0, 1.0)
    bound = mean * (1.0 - mean)
    varies = np.flatnonzero((variance > CONSTANT**2) & (bound > CONSTANT**2))
    mirrored = mean[varies] > 0.5
    mu = np.where(mirrored, 1.0 - mean[varies], mean[varies])
    share = np.minimum(variance[varies] / bound[varies], BINARY)
    sd = np.sqrt(share * bound[varies])
    start, step, table = _table()
    place = [(coordinate - s) / h for coordinate, s, h in zip(_coordinates(mu, share), start, step, strict=True)]
    found, log_b = _newton(mu, sd, *(map_coordinates(one, place, order=1, mode="nearest") for one in table))
    b[varies] = np.exp(log_b)
    t[varies] = np.where(mirrored, 1.0 / b[varies] - found, found)
    return t, b


def _coordinates(mu: Array, share: Array) -> tuple[Array, Array]:
    """Return log mu, and the logit of the variance as a share of mu (1 - mu)."""
    return np.log(mu), np.log(share / (1.0 - share))


@cache
def _table() -> tuple[Array, Array, tuple[Array, Array]]:
    """Return the first node and the step of both coordinates, and t - mu / sd and log(b / sd) at the nodes."""
    ends = np.array([[1e-6, 1e-8], [0.5, BINARY]])
    first, last = (np.concatenate(_coordinates(*one[:, None])) for one in ends)
    grid = np.meshgrid(*(np.linspace(*one, NODES_A_SIDE) for one in zip(first, last, strict=True)), indexing="ij")
    mu, share = np.exp(grid[0].ravel()), 1.0 / (1.0 + np.exp(-grid[1].ravel()))
    sd = np.sqrt(share * mu * (1.0 - mu))
    # for a clip at 0 only, mu / sd tells t
    t = np.linspace(LEAST_T, 8.0, 600)
    density, below = np.exp(-0.5 * t**2) / np.sqrt(2 * np.pi), ndtr(t)
    one = density + t * below
    ratio = one / np.sqrt((t**2 + 1) * below + t * density - one**2)
    near = np.interp(mu / sd, ratio, t)
    unclipped = mu / sd >= ratio[-1]
    near = (
        np.where(unclipped, 0.0, near - mu / sd),
        np.where(unclipped, 0.0, np.log(mu / np.interp(near, t, one) / sd)),
    )
    found, log_b = _newton(mu, sd, *near)
    shape = grid[0].shape
    return (
        first,
        (last - first) / (NODES_A_SIDE - 1),
        ((found - mu / sd).reshape(shape), (log_b - np.log(sd)).reshape(shape)),
    )


def _newton(mu: Array, sd: Array, more_t: Array, more_b: Array) -> tuple[Array, Array]:
    """Return t and log b (n,) for clipped means mu of 1/2 at most and deviations sd.

    The iteration starts from t - mu / sd = `more_t` and log(b / sd) = `more_b`.
    """
    found, log_b, active = more_t + mu / sd, more_b + np.log(sd), np.arange(len(mu))
    for _ in range(STEPS):
        T, L = found[active], log_b[active]
        B = np.exp(L)
        e1, e2 = censored(T * B, B, 0.0, 1.0)
        v = np.maximum(e2 - e1**2, 1e-300)
        r1, r2 = np.log(e1 / mu[active]), 0.5 * np.log(v / sd[active] ** 2)
        going = np.maximum(np.abs(r1), np.abs(r2)) > 1e-6
        if not going.any():
            break
        active = active[going]
        T, L, B, e1, e2, v, r1, r2 = (x[going] for x in (T, L, B, e1, e2, v, r1, r2))
        up = ndtr(T - 1.0 / B)  # share above 1
        # derivatives of E[y] and of E[y^2] by t and by log b
        e1_t, e1_b, e2_t, e2_b = B * (ndtr(T) - up), e1 - up, 2.0 * B * (e1 - up), 2.0 * (e2 - up)
        j11, j12 = e1_t / e1, e1_b / e1
        j21, j22 = (e2_t - 2.0 * e1 * e1_t) / (2.0 * v), (e2_b - 2.0 * e1 * e1_b) / (2.0 * v)
        determinant = j11 * j22 - j12 * j21
        determinant = np.where(np.abs(determinant) < 1e-12, 1e-12, determinant)
        most = 0.5 * (1.0 + np.abs(T))
        step_t, step_b = (j22 * r1 - j12 * r2) / determinant, (j11 * r2 - j21 * r1) / determinant
        found[active] = np.maximum(T - np.clip(step_t, -most, most), LEAST_T)
        log_b[active] = np.clip(L - np.clip(step_b, -0.7, 0.7), -12.0, 5.0)
    return found, log_b


def pixels(weight: Array, law: GaussianDenoiser, encoder: ImageEncoder) -> tuple[Array, Array, Array]:
    """Return the share (g,) of each Gaussian of latents, and mean and deviation (g, D) of its pixels."""
    mean = encoder.mean + law.mean @ encoder.synthesis
    return weight / weight.sum(), mean, deviations(law, encoder)


def deviations(law: GaussianDenoiser, encoder: ImageEncoder) -> Array:
    """Return the deviation (g, D) of each pixel of Gaussians of latents.

    The variance of a pixel is the sum of the squares of its column of F^T S, with the thin factor
    F = Q_r diag(l_r)^(1/2) of the r directions that are drawn, and the synthesis S, in single precision.
    """
    unit = float(np.abs(encoder.synthesis).max()) or 1.0
    basis = [np.eye(len(encoder.components))] * len(law.mean) if law.basis is None else law.basis
    synthesis = (encoder.synthesis / unit).astype(np.float32)
    variance = np.empty((len(law.mean), synthesis.shape[1]), np.float32)

    def fill(g: int) -> None:
        drawn = law.variance[g] > 0
        factor = basis[g][:, drawn] * np.sqrt(law.variance[g][drawn])
        spread = factor.T.astype(np.float32) @ synthesis
        np.einsum("ij,ij->j", spread, spread, out=variance[g])

    side_by_side(fill, range(len(law.mean)))
    return unit * np.sqrt(variance, dtype=np.float64)


def condense(share: Array, mean: Array, deviation: Array) -> tuple[Array, Array, Array]:
    """Return weight, mean and deviation (n,) of few normals whose mixture approximates that of all pixels.

    Normals whose log-deviation and mean fall into one cell of a lattice become one normal of the same mean and
    variance; a cell is as wide in the mean as its deviation allows. Deviations must be positive.
    """
    weight = np.repeat(share / mean.shape[1], mean.shape[1])
    kept = weight > 0
    weight, mean, deviation = weight[kept], mean.ravel()[kept], deviation.ravel()[kept]
    level = np.floor(np.log(deviation) / np.log1p(ALIKE))
    width = ALIKE * np.exp(level * np.log1p(ALIKE))
    column = np.floor(mean / width)
    order = np.lexsort((column, level))
    new = (np.diff(level[order]) != 0) | (np.diff(column[order]) != 0)
    cell = np.empty(len(order), np.intp)
    cell[order] = np.concatenate([[0], np.cumsum(new)])
    beyond = mean - column * width  # squares of small numbers, whatever the mean
    total = np.bincount(cell, weight).astype(np.float64)
    first, second = (np.bincount(cell, weight * x) / total for x in (beyond, beyond**2 + deviation**2))
    corner = np.bincount(cell, weight * column * width) / total
    return total, corner + first, np.sqrt(second - first**2)


def distribution(weight: Array, mean: Array, deviation: Array, x: Array) -> Array:
    """Return F at the points x (m,) of the mixture of normals (n,)."""
    F = np.empty_like(x)
    for start in range(0, len(x), 128):  # blocks of a few megabytes
        block = slice(start, start + 128)
        F[block] = ndtr((x[block, None] - mean) / deviation) @ weight
    return F


def grid(weight: Array, mean: Array, deviation: Array) -> Array:
    """Return points between which F rises by little, dense in its tails too."""
    points = (mean[:, None] + deviation[:, None] * NODES).ravel()
    order = np.argsort(points)
    mass = np.cumsum(np.repeat(weight, len(NODES))[order])
    levels = np.linspace(0.0, mass[-1], GRID)
    by_mass = points[order][np.minimum(np.searchsorted(mass, levels), len(points) - 1)]
    ends = (mean - 6 * deviation).min(), (mean + 6 * deviation).max()
    return np.union1d(by_mass, np.linspace(*ends, GRID))


def censored(mean: Array, deviation: Array, low: float, high: float) -> tuple[Array, Array]:
    """Return the first and second moment of a normal variable clipped to [low, high]."""
    a, b = (low - mean) / deviation, (high - mean) / deviation
    density_a, density_b = (np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi) for x in (a, b))
    below, above = ndtr(a), ndtr(-b)
    inside = 1.0 - below - above
    slope = deviation * (density_a - density_b)
    first = low * below + high * above + mean * inside + slope
    second = low**2 * below + high**2 * above + (mean**2 + deviation**2) * inside + 2 * mean * slope
    return first, second + deviation**2 * (a * density_a - b * density_b)
