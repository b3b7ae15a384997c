"""Linear measurements of an image, reduced to as many numbers as a latent has.

An image is measured as y = A x + n, n ~ N(0, tau^2 I): a whole image with A = I, a masked one with some rows of
I. In the latents' unit, x = mean + r s xi (with r, s, V of encoders/image.py), an image of latent z is

    xi = V^T z + q,        q ~ N(0, v (I - V^T V))

with v the variance of a discarded direction (probabilistic PCA). With A' = A diag(r s) and F = A' V^T, an
image whose latent has the law N(m, C) is measured as

    y - A mean ~ N(F m, B + F (C - v I) F^T),        B = v A' A'^T + tau^2 I = L L^T.

Rows of A may have any units: B is factorised with every row divided by the root of its entry of B's diagonal. L
and the singular values of L^-1 F = U diag(f) W^T depend on the measurement only, not on the law. A measurement
y is reduced to y~ = L^-1 (y - A mean), to b = U^T y~ (its part in the plane of the latents) and to the length of
the rest. Then

    L^-1 Cov(y) L^-T = (I - U U^T) + U T U^T,        T = I - v f^2 + f W^T C W f

so each law costs one small matrix T (posterior.py). T is positive definite, because v f^2 <= 1. For a whole image
without noise v f^2 = 1 and T = f W^T C W f; for a part of an image v f^2 is the squared cosine between the plane
of the latents and the plane of the rows of A'. Where nothing is discarded v is arbitrary, and 1 is used.

References
----------
Tipping and Bishop (1999), Probabilistic principal component analysis. JRSS B 61(3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from lineardiffusion._arrays import Array
from lineardiffusion._cache import computed_once
from lineardiffusion._device import as_like, namespace, to_numpy
from lineardiffusion._linalg import one_thread
from lineardiffusion._validation import refuse_masked
from lineardiffusion.encoders.image import ImageEncoder

CUTOFF = 1e-10  # of the largest eigenvalue of A A^T, above which its eigenvalues are exact enough
ROUNDED, EXACT = 1e-6, 1e-9  # of the largest singular value of A, below which a direction of y is not measured
REGULAR = 1e-12  # of the largest variance of a law, above which its least one is exact enough for a density
FARTHEST = 1e12  # standard deviations of a measured value from its mean


def check_operator(operator: Any, D: int) -> Any:
    """Return the operator as a matrix of numbers with D columns, dense or sparse."""
    if isinstance(operator, LinearOperator) and operator.shape[1] == D:
        operator = operator @ np.eye(D)
    if sparse := scipy.sparse.issparse(operator):
        operator = cast(Any, operator).tocsr()
    refuse_masked(operator, "the operator", "leave out the rows that were not measured")
    matrix: Any = operator if sparse or isinstance(operator, LinearOperator) else np.asarray(operator)
    if matrix.ndim != 2 or matrix.shape[1] != D or not matrix.shape[0]:
        columns = "a column for each number of the flattened image"
        raise ValueError(f"operator must have the shape (m, {D}), {columns}; got {matrix.shape}")
    values = matrix.data if sparse else matrix
    if values.dtype.kind not in "buif" or not np.isfinite(values).all():
        raise ValueError("operator must hold finite real numbers")
    matrix = matrix.astype(np.float64)
    return scipy.sparse.csr_array(matrix) if sparse else matrix


def rounding_variance(pixel_range: tuple[float, float]) -> float:
    """Return the variance of rounding a pixel of this range to 256 levels, in squared pixel units."""
    low, high = pixel_range
    return ((high - low or 1.0) / 255) ** 2 / 12


@dataclass(frozen=True, eq=False)
class PixelModel:
    """The law of pixels given latents: the encoder, and the variances of what it discards.

    Both variances are in squared units of the latents.
    """

    encoder: ImageEncoder
    floor: float  # least variance of a direction: that of rounding to 256 levels, unless all laws are known
    v: float  # variance of a discarded direction; 1 where no direction is discarded

    @classmethod
    def of(cls, encoder: ImageEncoder, pixel_range: tuple[float, float], known: Array | None = None) -> PixelModel:
        """Build the pixel model of an encoder for pixels of this range.

        `known` are the principal variances (p, d) of the laws of latents if these are known, not estimated from
        pixels that were rounded. If all of them have a density, the floor is below their variances: that of
        floating-point numbers.
        """
        unit, (d, D) = encoder.scaling_factor**2, encoder.components.shape
        floor = rounding_variance(pixel_range) / float(np.mean(encoder.pixel_scale**2)) / unit
        if known is not None and (d == D or encoder.residual_variance):
            least = REGULAR * known.max(axis=1, initial=0.0)
            floor = float(least.min()) if (known.min(axis=1, initial=np.inf) > least).all() else floor
        return cls(encoder, floor, 1.0 if d == D else max(encoder.residual_variance / unit, floor))

    @property
    def scale(self) -> Array:
        """Pixels in a unit of the latents, r s, shape (D,)."""
        return self.encoder.pixel_scale * self.encoder.scaling_factor


@dataclass(frozen=True, eq=False)
class ReducedMeasurement:
    """Reduction of n measurements."""

    centred: Array  # y - A mean, (n, m)
    whitened: Array  # y~, (n, k)
    inside: Array  # b, (n, p)
    rest: Array  # squared length of y~ outside of the plane of the latents, (n,)

    def without_rest(self) -> ReducedMeasurement:
        """Return the same without the rest, which all laws share, and next to which other terms may be lost."""
        return replace(self, rest=np.zeros_like(self.rest))

    def __getitem__(self, members: NDArray[np.intp]) -> ReducedMeasurement:
        """Return some of the measurements."""
        parts = (self.centred, self.whitened, self.inside, self.rest)
        return ReducedMeasurement(*(part[members] for part in parts))


@dataclass(frozen=True, eq=False)
class Measurement:
    """A measurement operator, factorised for use with any law."""

    pixel_model: PixelModel
    operator: Any  # A' = A diag(r s), (m, D), an array or sparse
    offset: Array  # A mean, (m,)
    noise_std: float  # tau, in the unit of y
    unit: Array  # root of the diagonal of B, or 1 where that is 0, (m,)
    whitener: Array  # L^-1, (m,) where diagonal, else (k, m); k < m where rows of A depend on each other
    null: Array  # directions in which (y - A mean) / unit can only be 0, or as good as 0, (m - k, m)
    dropped: float  # largest singular value of A' in the null directions, rows in their units
    U: Array  # (k, p), with f (p,) and W (d, p) the singular value decomposition of L^-1 F
    f: Array
    W: Array
    log_det: float  # log det B

    @classmethod
    def of(
        cls, pixel_model: PixelModel, operator: Any, noise_std: float = 0.0, smallest: float = EXACT
    ) -> Measurement:
        """Factorise the measurement by a matrix (m, D), dense or sparse, in pixel units.

        Directions whose singular value is below `smallest`, in units of the largest, count as not measured.
        """
        encoder = pixel_model.encoder
        offset = np.asarray(operator @ encoder.mean)
        scaled = operator * pixel_model.scale[None]
        if not isinstance(scaled, np.ndarray):
            scaled = scipy.sparse.csr_array(scaled)
        unit, whitener, null, dropped, log_det = _whiten(scaled * np.sqrt(pixel_model.v), noise_std, smallest)
        F = np.asarray(scaled @ encoder.components.T)
        phi = whitener[:, None] * F if whitener.ndim == 1 else whitener @ F
        with one_thread():
            U, f, Wt = np.linalg.svd(phi, full_matrices=False)
        return cls(pixel_model, scaled, offset, noise_std, unit, whitener, null, dropped, U, f, Wt.T, log_det)

    @classmethod
    def of_pixels(cls, pixel_model: PixelModel, seen: NDArray[np.bool_]) -> Measurement:
        """Factorise the measurement without noise of the pixels where `seen` (D,) is True.

        That of all, A = I, has the closed form L = sqrt(v) diag(r s), L^-1 F = V^T / sqrt(v).
        """
        if not seen.all():
            rows = scipy.sparse.csr_array(scipy.sparse.eye_array(len(seen)))
            return cls.of(pixel_model, rows[np.flatnonzero(seen)])
        encoder, scale = pixel_model.encoder, pixel_model.scale
        d, D = encoder.components.shape
        operator = scipy.sparse.csr_array(scipy.sparse.diags_array(scale))
        log_det = D * np.log(pixel_model.v) + 2 * np.log(scale).sum()
        f = np.full(d, pixel_model.v**-0.5)
        whitener, null = f[0] / scale, np.zeros((0, D))
        U, W = encoder.components.T, np.eye(d)
        unit, log_det = 1 / whitener, float(log_det)
        return cls(pixel_model, operator, encoder.mean, 0.0, unit, whitener, null, 0.0, U, f, W, log_det)

    @property
    def size(self) -> int:
        """Number of independent measured values."""
        return len(self.whitener)

    def reduce_inside(self, y: Any) -> ReducedMeasurement:
        """Reduce measurements (n, m) without noise to b alone, which tells laws apart; `y` is overwritten."""
        inside = to_numpy(self._centre(y, out=y) @ as_like(self._to_inside, y, np.float64))
        nothing = np.empty((len(inside), 0))
        return ReducedMeasurement(nothing, nothing, inside, np.zeros(len(inside)))

    @computed_once
    def _to_inside(self) -> Array:
        """The matrix (m, p) from y - A mean to b."""
        return self.whitener[:, None] * self.U if self.whitener.ndim == 1 else self.whitener.T @ self.U

    def reduce(self, y: Array) -> ReducedMeasurement:
        """Reduce measurements (n, m); a ValueError for one too far away, or without noise and contradictory."""
        reduced = self.reduce_difference(self._centre(y))
        if len(self.null):
            y, centred = to_numpy(y), reduced.centred
            out = np.abs((centred / self.unit) @ self.null.T).max(axis=1)
            scale = np.abs(y / self.unit).max(axis=1) + np.abs(self.offset / self.unit).max()
            lost = 10 * self.dropped * np.linalg.norm(reduced.whitened, axis=1)
            if (wrong := np.flatnonzero(out > 1e-6 * scale + lost)).size:
                raise ValueError(
                    f"measurement {wrong[0]} contradicts itself: the operator's rows depend on each other, "
                    "and no image has these values. If they are noisy, pass their noise_std"
                )
        return reduced

    def _centre(self, y: Any, out: Any = None) -> Any:
        """Return y - A mean; a ValueError if a measurement is too far away."""
        offset = as_like(self.offset, y, np.float64)
        if out is None:
            centred = y - offset
        else:
            centred = out
            centred -= offset
        xp, most = namespace(y), FARTHEST * self.unit
        extremes = [to_numpy(bound(centred, axis=0)) for bound in (xp.max, xp.min)] if len(y) else [most, -most]
        if self.size and not ((extremes[0] <= most) & (extremes[1] >= -most)).all():
            far = np.flatnonzero((np.abs(to_numpy(centred)) > most).any(axis=1))
            limit = f"{FARTHEST:g} standard deviations from the mean of the training data"
            raise ValueError(f"image {far[0]}, or its measurement, is more than {limit}; is it in the same unit?")
        return centred

    def reduce_difference(self, centred: Array) -> ReducedMeasurement:
        """Reduce differences y - A mean, (n, m); the products run on the device of a tensor."""
        whitener = as_like(self.whitener, centred, np.float64)
        whitened = centred * whitener if self.whitener.ndim == 1 else centred @ whitener.T
        inside = whitened @ as_like(self.U, centred, np.float64)
        centred, whitened, inside = map(to_numpy, (centred, whitened, inside))
        rest = np.einsum("ij,ij->i", whitened, whitened) - np.einsum("ij,ij->i", inside, inside)
        return ReducedMeasurement(centred, whitened, inside, np.maximum(rest, 0.0))

    def back(self, whitened: Array) -> Array:
        """Multiply (n, k) by A'^T L^-T, in the latents' unit; the shape is (n, D)."""
        y = whitened * self.whitener if self.whitener.ndim == 1 else whitened @ self.whitener
        return np.asarray((self.operator.T @ y.T).T)


def _whiten(root: Any, noise_std: float, smallest: float) -> tuple[Array, Array, Array, float, float]:
    """Return the units of the rows, L^-1, the null directions, what they drop, and log det on the others.

    B = root root^T + noise_std^2 I, with `root` (m, D) dense or sparse.
    """
    if not (m := root.shape[0]):
        return np.ones(0), np.zeros(0), np.zeros((0, 0)), 0.0, 0.0
    peak = abs(root).max(axis=1)
    peak = peak if isinstance(peak, np.ndarray) else peak.toarray().ravel()
    rows = _divide(root, np.where(peak > 0, peak, 1.0))  # first, for squares may underflow
    unit = np.hypot(peak * np.sqrt(np.asarray((rows * rows).sum(axis=1))), noise_std)
    unit[unit == 0] = 1.0
    rows, noise = _divide(root, unit), noise_std / unit
    gram: Any = rows @ rows.T
    log_units = 2 * float(np.log(unit).sum())
    if not isinstance(gram, np.ndarray):
        diagonal = gram.diagonal() + noise**2
        if diagonal.all() and gram.count_nonzero() == np.count_nonzero(gram.diagonal()):
            return unit, diagonal**-0.5 / unit, np.zeros((0, m)), 0.0, float(np.log(diagonal).sum()) + log_units
        gram, rows = gram.toarray(), rows.toarray()
    variance, basis = np.linalg.eigh(gram + np.diag(noise**2))
    if variance[0] <= CUTOFF * variance[-1]:  # the product lost digits that the rows have
        wide = np.hstack([rows, np.diag(noise)]) if noise_std else rows
        basis, singular, _ = np.linalg.svd(wide, full_matrices=m > wide.shape[1])
        variance = np.pad(singular**2, (0, m - len(singular)))
    kept = variance > smallest**2 * variance.max()
    whitener = (basis[:, kept] / np.sqrt(variance[kept])).T / unit
    dropped = float(np.sqrt(variance[~kept].max(initial=0.0)))
    return unit, whitener, basis[:, ~kept].T, dropped, float(np.log(variance[kept]).sum()) + log_units


def _divide(rows: Any, by: Array) -> Any:
    """Divide rows (m, D), dense or sparse, by one number each."""
    divided = rows / by[:, None]
    return divided if isinstance(rows, np.ndarray) else scipy.sparse.csr_array(divided)
