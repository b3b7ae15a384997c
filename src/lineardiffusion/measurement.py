"""Measurements: what a linear look at an image tells of it, in as many numbers as a latent has.

An image is measured as y = A x + n, n ~ N(0, tau^2 I); a whole image is A = I, a masked one some of its
rows. In the latents' unit, x = mean + r s xi (r, s, V of encode.py), an image of latent z is

    xi = V^T z + q,        q ~ N(0, v (I - V^T V))

with v the variance of a discarded direction (probabilistic PCA). With A' = A diag(r s) and F = A' V^T, an
image whose latent has the law N(m, C) is measured as

    y - A mean ~ N(F m, B + F (C - v I) F^T),        B = v A' A'^T + tau^2 I = L L^T.

L and the singular values of L^-1 F = U diag(f) W^T are the measurement's own, whatever the law. What is seen
of y is y~ = L^-1 (y - A mean), its part b = U^T y~ in the plane of the latents, and its rest. Then

    L^-1 Cov(y) L^-T = (I - U U^T) + U T U^T,        T = I - v f^2 + f W^T C W f

so each law costs one small matrix T (evidence.py). T is positive definite, for v f^2 <= 1. Of a whole image
without noise v f^2 = 1, and T = f W^T C W f; of a part of one it is the squared cosine between the plane of
the latents and that of the rows of A'. Where nothing is discarded v is free, and 1 will do.

References
----------
Tipping and Bishop (1999), Probabilistic principal component analysis. JRSS B 61(3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from lineardiffusion.encode import ImageEncoder
from lineardiffusion.moments import Array

CUTOFF = 1e-12  # of the largest eigenvalue of B, below which a direction of y is not measured


def is_sparse(matrix: Any) -> bool:
    """Whether a matrix is one of scipy's sparse ones."""
    return bool(scipy.sparse.issparse(matrix))


def check_operator(operator: Any, D: int) -> Any:
    """The operator as a matrix of numbers with D columns, dense or sparse."""
    if isinstance(operator, LinearOperator):
        if operator.shape[1] == D:
            operator = operator @ np.eye(D)
    elif not is_sparse(operator):
        operator = np.asarray(operator)
    if operator.ndim != 2 or operator.shape[1] != D or not operator.shape[0]:
        raise ValueError(
            f"operator must have the shape (m, {D}), a column for each number of the flattened image; got "
            f"{operator.shape}"
        )
    sparse = is_sparse(operator)
    values = operator.data if sparse else operator
    if values.dtype.kind not in "buif" or not np.isfinite(values).all():
        raise ValueError("operator must hold finite real numbers")
    return (scipy.sparse.csr_array(operator) if sparse else operator).astype(np.float64)


def rounding_variance(pixel_range: tuple[float, float]) -> float:
    """The variance of rounding a pixel of this range to 256 levels, in squared pixel units."""
    low, high = pixel_range
    return ((high - low or 1.0) / 255) ** 2 / 12


@dataclass(frozen=True, eq=False)
class Canvas:
    """Where latents meet pixels: the encoder, and the least variance that a direction may have.

    Attributes
    ----------
    encoder : ImageEncoder
    floor : float
        In the latents' unit, squared: that of rounding to 256 levels.
    v : float
        Variance of a discarded direction, in the same unit; 1 where there is none.
    """

    encoder: ImageEncoder
    floor: float
    v: float

    @classmethod
    def of(cls, encoder: ImageEncoder, pixel_range: tuple[float, float]) -> Canvas:
        unit = encoder.scaling_factor**2
        floor = rounding_variance(pixel_range) / float(np.mean(encoder.pixel_scale**2)) / unit
        d, D = encoder.components.shape
        return cls(encoder, floor, 1.0 if d == D else max(encoder.residual_variance / unit, floor))

    @property
    def scale(self) -> Array:
        """r s, in pixels a latents' unit, shape (D,)."""
        return self.encoder.pixel_scale * self.encoder.scaling_factor


@dataclass(frozen=True, eq=False)
class Seen:
    """n measurements, reduced.

    Attributes
    ----------
    centred : ndarray of shape (n, m)
        y - A mean.
    whitened : ndarray of shape (n, k)
        y~.
    inside : ndarray of shape (n, p)
        b.
    rest : ndarray of shape (n,)
        Squared length of y~ outside the plane of the latents.
    """

    centred: Array
    whitened: Array
    inside: Array
    rest: Array

    def __getitem__(self, members: NDArray[np.intp]) -> Seen:
        """Some of them."""
        return Seen(self.centred[members], self.whitened[members], self.inside[members], self.rest[members])


@dataclass(frozen=True, eq=False)
class Measurement:
    """An operator, ready to be applied to any law.

    Attributes
    ----------
    canvas : Canvas
    operator : ndarray or scipy sparse array of shape (m, D)
        A' = A diag(r s).
    offset : ndarray of shape (m,)
        A mean.
    noise_std : float
        tau, in the unit of y.
    whitener : ndarray of shape (m,) or (k, m)
        L^-1, where it is diagonal as a vector; k < m where rows of A repeat one another.
    null : ndarray of shape (m - k, m)
        The directions in which y - A mean can only be 0.
    U, f, W : ndarray of shape (k, p), (p,), (d, p)
        The singular values of L^-1 F, p of them.
    log_det : float
        log det B.
    """

    canvas: Canvas
    operator: Any
    offset: Array
    noise_std: float
    whitener: Array
    null: Array
    U: Array
    f: Array
    W: Array
    log_det: float

    @classmethod
    def of(cls, canvas: Canvas, operator: Any, noise_std: float = 0.0) -> Measurement:
        """The measurement by a matrix (m, D), dense or sparse, in pixel units."""
        encoder = canvas.encoder
        offset = np.asarray(operator @ encoder.mean)
        scaled = operator * canvas.scale[None]
        if is_sparse(scaled):
            scaled = scipy.sparse.csr_array(scaled)
        gram = scaled @ scaled.T
        whitener, null, log_det = _whiten(canvas.v * gram, noise_std**2)
        F = np.asarray(scaled @ encoder.components.T)
        phi = whitener[:, None] * F if whitener.ndim == 1 else whitener @ F
        if min(phi.shape):
            U, f, Wt = np.linalg.svd(phi, full_matrices=False)
        else:
            U, f, Wt = np.zeros((len(phi), 0)), np.zeros(0), np.zeros((0, phi.shape[1]))
        return cls(canvas, scaled, offset, noise_std, whitener, null, U, f, Wt.T, log_det)

    @classmethod
    def of_pixels(cls, canvas: Canvas, seen: NDArray[np.bool_]) -> Measurement:
        """The noise-free measurement of the pixels where `seen` (D,) is True."""
        if seen.all():
            return cls._of_all(canvas)
        rows = scipy.sparse.csr_array(scipy.sparse.eye_array(len(seen)))
        return cls.of(canvas, rows[np.flatnonzero(seen)])

    @classmethod
    def _of_all(cls, canvas: Canvas) -> Measurement:
        """A = I, whose singular values need no work: L = sqrt(v) diag(r s), L^-1 F = V^T / sqrt(v)."""
        encoder, scale = canvas.encoder, canvas.scale
        d, D = encoder.components.shape
        operator = scipy.sparse.csr_array(scipy.sparse.diags_array(scale))
        log_det = D * np.log(canvas.v) + 2 * np.log(scale).sum()
        f = np.full(d, canvas.v**-0.5)
        whitener, null = f[0] / scale, np.zeros((0, D))
        U, W = encoder.components.T, np.eye(d)
        return cls(canvas, operator, encoder.mean, 0.0, whitener, null, U, f, W, float(log_det))

    @property
    def size(self) -> int:
        """Numbers that are measured: those of y less those that could be nothing else."""
        return len(self.whitener)

    def see(self, y: Array) -> Seen:
        """Reduce measurements (n, m), in the unit of y.

        Raises
        ------
        ValueError
            Where a measurement without noise contradicts itself.
        """
        centred = y - self.offset
        if len(self.null):
            out = np.abs(centred @ self.null.T).max(axis=1)
            scale = np.abs(y).max(axis=1) + np.abs(self.offset).max()
            if (wrong := np.flatnonzero(out > 1e-6 * scale)).size:
                raise ValueError(
                    f"measurement {wrong[0]} contradicts itself: the operator's rows depend on each other, "
                    "and no image has these values. If they are noisy, say so: noise_std above 0"
                )
        return self.see_difference(centred)

    def see_difference(self, centred: Array) -> Seen:
        """Reduce y - A mean, (n, m)."""
        whitened = centred * self.whitener if self.whitener.ndim == 1 else centred @ self.whitener.T
        inside = whitened @ self.U
        rest = np.einsum("ij,ij->i", whitened, whitened) - np.einsum("ij,ij->i", inside, inside)
        return Seen(centred, whitened, inside, np.maximum(rest, 0.0))

    def back(self, whitened: Array) -> Array:
        """A'^T L^-T of (n, k), in the latents' unit, shape (n, D)."""
        y = whitened * self.whitener if self.whitener.ndim == 1 else whitened @ self.whitener
        return np.asarray((self.operator.T @ y.T).T)


def _whiten(gram: Any, noise_variance: float) -> tuple[Array, Array, float]:
    """L^-1, the directions without variance, and log det of the others, for B = gram + noise_variance I."""
    m = gram.shape[0]
    diagonal = np.asarray(gram.diagonal(), dtype=np.float64)
    if is_sparse(gram):
        if m and gram.count_nonzero() == np.count_nonzero(diagonal) and (diagonal + noise_variance).all():
            diagonal = diagonal + noise_variance
            return diagonal**-0.5, np.zeros((0, m)), float(np.log(diagonal).sum())
        gram = gram.toarray()
    if not m:
        return np.zeros(0), np.zeros((0, 0)), 0.0
    variance, basis = np.linalg.eigh(gram + noise_variance * np.eye(m))
    kept = variance > CUTOFF * variance[-1]
    whitener = (basis[:, kept] / np.sqrt(variance[kept])).T
    return whitener, basis[:, ~kept].T, float(np.log(variance[kept]).sum())
