"""The image encoder: principal components, from moments alone.

An image of D pixels is x; its latent z has d <= D entries:

    z = V ((x - mean) / r) / s,        x = mean + r (s V^T z)

mean  (D,)    the mean image
r     (D,)    1, or with ``scale=True`` each pixel's standard deviation (where it is constant, the
              root mean square of the others')
V     (d, D)  the leading eigenvectors of the covariance of (x - mean) / r, one a row
s     scalar  makes the latents' variance 1 on average: the counterpart of Stable Diffusion's scaling
              factor. With ``scale=True`` it is 1: the standardised pixel is the unit already.

What V leaves out is kept as one number, the residual variance a discarded direction has on average: the
maximum-likelihood noise of probabilistic PCA (Tipping and Bishop 1999, eq. 8).

References
----------
Tipping and Bishop (1999), Probabilistic principal component analysis. JRSS B 61(3).
Rombach et al. (2022), High-resolution image synthesis with latent diffusion models. Section G.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse.linalg
from numpy.typing import NDArray

from lineardiffusion.moments import BLOCK, Array, Moments, working_dtype

LANCZOS_FROM = 4096  # pixels from which a few eigenvectors come faster one by one than all at once


@dataclass(frozen=True, eq=False)
class ImageEncoder:
    """Images to latents and back.

    Attributes
    ----------
    mean : ndarray of shape (D,)
        The mean image, in pixel units.
    components : ndarray of shape (d, D)
        Orthonormal rows, by falling variance; each row's largest entry is positive, as in
        :class:`sklearn.decomposition.PCA`.
    variance : ndarray of shape (d,)
        Variance of the (standardised) pixels along each component.
    residual_variance : float
        Mean variance of the D - d directions left out; 0 when there are none.
    pixel_variance : float
        Mean over the pixels of their variance, in squared pixel units.
    pixel_scale : ndarray of shape (D,)
        What each pixel is divided by: ones, or standard deviations.
    scaling_factor : float
        What the scores are divided by.
    image_shape : tuple of int
        Shape of one image, D entries in all.
    dtype : numpy dtype
        float32 or float64, the type of decoded images.
    """

    mean: Array
    components: Array
    variance: Array
    residual_variance: float
    pixel_variance: float
    pixel_scale: Array
    scaling_factor: float
    image_shape: tuple[int, ...]
    dtype: np.dtype[np.floating]

    @classmethod
    def fit(
        cls,
        moments: Moments,
        n_components: int,
        image_shape: tuple[int, ...],
        pixel_dtype: np.dtype[np.generic],
        scale: bool = False,
    ) -> ImageEncoder:
        """Principal components of one group's moments.

        Parameters
        ----------
        moments : Moments of one group of D entries
            Of the flattened images.
        n_components : int
            How many components at most; directions in which the images do not vary are left out.
        image_shape : tuple of int
            Shape of one image.
        pixel_dtype : numpy dtype
            Type of the images' pixels: it tells how exact the moments are.
        scale : bool, default=False
            Whether to standardise the pixels first.
        """
        covariance = moments.scatter[0]  # times the weight, to spare a copy of a large matrix
        weight = float(moments.weight[0])
        deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0) / weight)
        pixel_scale, varies = _pixel_scale(deviation, moments.mean[0], pixel_dtype, scale)
        if not varies.all():
            covariance = covariance * varies * varies[:, None]
        if scale:
            covariance = covariance / pixel_scale / pixel_scale[:, None]
        total, spectrum = float(np.trace(covariance)), _principal(covariance, n_components, pixel_dtype)
        return cls._build(
            moments.mean[0],
            deviation,
            pixel_scale,
            spectrum,
            total,
            weight,
            n_components,
            image_shape,
            pixel_dtype,
            scale,
        )

    @classmethod
    def fit_rows(
        cls,
        rows: NDArray[np.generic],
        sample_weight: Array | None,
        n_components: int,
        image_shape: tuple[int, ...],
        scale: bool = False,
    ) -> ImageEncoder:
        """The same from fewer images than pixels: `rows` (n, D) themselves, by singular values.

        Neither memory nor time grow with D^2.
        """
        w = np.ones(len(rows)) if sample_weight is None else sample_weight
        weight = float(w.sum())
        x = rows.astype(np.float64)
        mean = (w @ x) / weight
        x -= mean
        x *= np.sqrt(w)[:, None]
        deviation = np.sqrt((x**2).sum(axis=0) / weight)
        pixel_scale = _pixel_scale(deviation, mean, rows.dtype, scale)[0]
        x /= pixel_scale
        _, singular, components = np.linalg.svd(x, full_matrices=False)
        total, kept = float((singular**2).sum()), slice(n_components)
        return cls._build(
            mean, deviation, pixel_scale, (singular[kept] ** 2, components[kept]), total, weight,
            n_components, image_shape, rows.dtype, scale,
        )  # fmt: skip

    @classmethod
    def _build(
        cls,
        mean: Array,
        deviation: Array,
        pixel_scale: Array,
        spectrum: tuple[Array, Array],
        total: float,
        weight: float,
        n_components: int,
        image_shape: tuple[int, ...],
        pixel_dtype: np.dtype[np.generic],
        scale: bool,
    ) -> ImageEncoder:
        """From the leading eigenvalues and eigenvectors of the scatter, and its trace `total`."""
        scatter, components = _trim(*spectrum, pixel_dtype)
        variance = scatter / weight
        d, D = components.shape
        rest = (total - float(scatter.sum())) / weight
        negligible = rest <= D * np.finfo(float).eps * total / weight
        complete = d < min(n_components, D) or negligible  # no other direction varies
        return cls(
            mean=mean,
            components=components,
            variance=variance,
            residual_variance=0.0 if complete or d == D else rest / (D - d),
            pixel_variance=float(np.mean(deviation**2)),
            pixel_scale=pixel_scale,
            scaling_factor=1.0 if scale else math.sqrt(variance.mean()) or 1.0,
            image_shape=image_shape,
            dtype=working_dtype(pixel_dtype),
        )

    @cached_property
    def analysis(self) -> Array:
        """The matrix (D, d) that takes centred pixels to latents."""
        return (self.components / (self.pixel_scale * self.scaling_factor)).T.copy()

    @cached_property
    def synthesis(self) -> Array:
        """The matrix (d, D) that takes latents to centred pixels."""
        return self.components * (self.pixel_scale * self.scaling_factor)

    def encode(self, images: NDArray[np.generic]) -> Array:
        """Latents of shape (n, d) of images of shape (n, \\*image_shape)."""
        rows = images.reshape(len(images), -1)
        latents = np.empty((len(rows), len(self.components)))
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            latents[block] = (rows[block].astype(np.float64) - self.mean) @ self.analysis
        return latents

    def decode(self, latents: Array) -> NDArray[np.floating]:
        """Images of shape (..., \\*image_shape), in pixel units, of latents of shape (..., d)."""
        pixels = latents.astype(self.dtype) @ self.synthesis.astype(self.dtype)
        pixels += self.mean.astype(self.dtype)
        return pixels.reshape(*latents.shape[:-1], *self.image_shape)


def _pixel_scale(
    deviation: Array, mean: Array, pixel_dtype: np.dtype[np.generic], scale: bool
) -> tuple[Array, NDArray[np.bool_]]:
    """What each pixel is divided by (D,), and whether it varies by more than rounding (D,)."""
    precision = np.finfo(working_dtype(pixel_dtype))
    digits = 256 if precision.bits == 64 else 4  # that a mean of many means may lose
    varies = deviation > digits * precision.eps * np.abs(mean)
    if not scale or not varies.any():
        return np.ones_like(deviation), varies
    return np.where(varies, deviation, np.sqrt(np.mean(deviation[varies] ** 2))), varies


def _principal(scatter: Array, n_components: int, pixel_dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
    """Leading eigenvalues (d,), falling, and eigenvectors (d, D)."""
    D = len(scatter)
    if not scatter.any():
        return np.zeros(1), np.eye(1, D)
    if LANCZOS_FROM <= D and n_components < D // 8:
        eigenvalues, vectors = _few(scatter, n_components, _floor(pixel_dtype, D))
    else:
        # numpy's, not scipy's: the products before and after run on numpy's threads, and a second pool
        # of threads would wait for the first to fall asleep
        eigenvalues, vectors = np.linalg.eigh(scatter)
    order = np.argsort(eigenvalues)[::-1][:n_components]
    return eigenvalues[order], vectors.T[order]


def _few(scatter: Array, n_components: int, floor: float) -> tuple[Array, Array]:
    """A few eigenvalues and eigenvectors of a large matrix: by Lanczos, or on its range if that is small."""
    rng = np.random.default_rng(0)
    sketch = scatter @ rng.normal(size=(len(scatter), n_components + 10))
    basis, spread, _ = np.linalg.svd(sketch, full_matrices=False)
    kept = spread > floor * spread[0]
    if not kept.all():  # the sketch holds the whole range
        basis = basis[:, kept]
        eigenvalues, inner = np.linalg.eigh(basis.T @ scatter @ basis)
        return eigenvalues, basis @ inner
    found: tuple[Array, Array] = scipy.sparse.linalg.eigsh(
        scatter, n_components, v0=rng.normal(size=len(scatter))
    )
    return found


def _floor(pixel_dtype: np.dtype[np.generic], D: int) -> float:
    """The share of the largest eigenvalue below which one is rounding error."""
    exact = pixel_dtype.itemsize == 1 or working_dtype(pixel_dtype) == np.float64
    return float(D * np.finfo(np.float64).eps if exact else 10 * np.finfo(np.float32).eps)


def _trim(eigenvalues: Array, components: Array, pixel_dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
    """Leave out directions of rounding errors, and fix the signs."""
    D = components.shape[1]
    rank = max(1, int(np.sum(eigenvalues > _floor(pixel_dtype, D) * eigenvalues[0])))
    eigenvalues, components = np.maximum(eigenvalues[:rank], 0.0), components[:rank]
    peak = components[np.arange(rank), np.argmax(np.abs(components), axis=1)]
    components = components * np.where(peak < 0, -1.0, 1.0)[:, None]
    return eigenvalues, np.ascontiguousarray(components)  # products differ in an ulp by the order in memory
