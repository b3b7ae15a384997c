"""Image encoders: images to latents and back.

An encoder answers ``encode`` (images to latents) and ``decode`` (latents to images). The linear one takes an
image x of D pixels to a latent z of d <= D entries:

    z = V ((x - mean) / r) / s,        x = mean + r (s V^T z)

mean  (D,)    the mean image
r     (D,)    1, or with ``scale=True`` each pixel's standard deviation (where the pixel is constant, the
              root mean square of the others')
V     (d, D)  orthonormal rows: the leading eigenvectors of the covariance of (x - mean) / r (PCA), or any
              other basis (cosines, wavelets, random directions)
s     scalar  makes the latents' variance 1 on average: the counterpart of Stable Diffusion's scaling
              factor. With ``scale=True`` it is 1, for the standardised pixel is the unit already.

The variance outside of the span of V is kept as one number, the mean residual variance of a discarded
direction: for PCA, the maximum-likelihood noise of probabilistic PCA (Tipping and Bishop 1999, eq. 8).

References
----------
Tipping and Bishop (1999), Probabilistic principal component analysis. JRSS B 61(3).
Rombach et al. (2022), High-resolution image synthesis with latent diffusion models. Section G.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import scipy.sparse.linalg
from numpy.typing import ArrayLike, DTypeLike, NDArray

from lineardiffusion._arrays import BLOCK, ROWS, Array, Images, Indices, freeze, working_dtype
from lineardiffusion._cache import computed_once
from lineardiffusion._device import as_like, cast, dtype_of, empty, is_tensor, namespace, to_numpy
from lineardiffusion._linalg import diagonals, side_by_side

PIXELS = 2**21  # of a block, unless EQUAL rows have more
EQUAL = 256  # rows of every product in single precision, the last one filled up, for BLAS sums few in another order
LARGE = 1500  # pixels from which a few eigenvectors are found without a full decomposition


class Encoder(Protocol):
    """The interface of an image encoder; one that is linear is an :class:`ImageEncoder`."""

    def encode(self, images: NDArray[Any]) -> Array:
        """Return latents (n, d) of images (n, \\*image_shape)."""

    def decode(self, latents: Images) -> Images:
        """Return images (..., \\*image_shape) of latents (..., d)."""


@dataclass(frozen=True, eq=False, repr=False)
class ImageEncoder:
    """Linear image encoder: PCA, or any other orthonormal basis.

    Attributes
    ----------
    mean : ndarray of shape (D,)
        Mean image, in pixel units.
    components : ndarray of shape (d, D)
        Matrix V. PCA's rows come by falling variance, and the largest entry of each is positive.
    variance : ndarray of shape (d,)
        Variance of the (standardised) pixels along each component.
    residual_variance : float
        Mean variance of the D - d directions that are left out; 0 if there are none.
    pixel_variance : float
        Mean over the pixels of their variance, in squared pixel units.
    pixel_scale : ndarray of shape (D,)
        Divisor r of each pixel; 1 for pixels that are not standardised.
    scaling_factor : float
        Divisor s of the scores.
    image_shape : tuple of int
        Shape of one image.
    dtype : numpy dtype
        Type of decoded images, float32 or float64.

    See Also
    --------
    LinearDiffusion : Its attribute ``image_encoder_`` is one.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion
    >>> from lineardiffusion.datasets import load_digits
    >>> prompts, images = load_digits()
    >>> encoder = LinearDiffusion(20).fit(prompts, images).image_encoder_
    >>> encoder.encode(images[:5]).shape, encoder.decode(encoder.encode(images[:5])).shape
    ((5, 20), (5, 8, 8))
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

    def __post_init__(self) -> None:
        freeze(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out what follows from the fields."""
        return ImageEncoder, tuple(getattr(self, one.name) for one in fields(self))

    @classmethod
    def fit(
        cls, moments: Any, n_components: float, image_shape: tuple[int, ...], dtype: np.dtype[Any], scale: bool
    ) -> ImageEncoder:
        """Fit PCA from the moments of one group.

        Directions in which the images do not vary are left out.

        Parameters
        ----------
        moments : Moments
            Moments of the pixels, in one group.
        n_components : int or float
            Number of components; a float below 1 asks for as many as hold that share of the variance.
        image_shape : tuple of int
            Shape of one image.
        dtype : numpy dtype
            Type of the pixels, which tells how exact the moments are.
        scale : bool
            Whether to standardise each pixel.

        Returns
        -------
        ImageEncoder
            Encoder with at most ``n_components`` components.
        """
        scatter, weight, mean = moments.scatter[0], float(moments.weight[0]), moments.mean[0]
        deviation = np.sqrt(np.maximum(np.diag(scatter), 0.0) / weight)
        pixel_scale, varies = scale_of_pixels(deviation, mean, dtype, scale)
        if not varies.all():
            scatter = scatter * varies * varies[:, None]
        if scale:
            scatter = scatter / pixel_scale / pixel_scale[:, None]
        found = _principal(scatter, n_components, dtype)
        eigenvalues, V, total = leading(*found, n_components, float(np.trace(scatter)))
        pixels = {"mean": mean, "pixel_scale": pixel_scale, "image_shape": image_shape, "dtype": dtype}
        return cls.of(V, eigenvalues / weight, total / weight, deviation, scale, **pixels)

    @classmethod
    def from_basis(cls, basis: ArrayLike, statistics: Any) -> ImageEncoder:
        """Build an encoder from any basis of the pixels, for example cosines.

        Parameters
        ----------
        basis : array-like of shape (d, D)
            One direction per row, d <= D, linearly independent. Rows that are not orthonormal are
            orthonormalised (QR), which leaves their span.
        statistics : Statistics
            Statistics of the pixels of the training images: they give the mean image, the scaling factor
            and the residual variance.

        Returns
        -------
        ImageEncoder
            For ``LinearDiffusion(image_encoder=...)``.

        Raises
        ------
        ValueError
            If the basis has another number of pixels, or rows that depend on each other.

        Examples
        --------
        >>> import numpy as np
        >>> from lineardiffusion import ImageEncoder, LinearDiffusion, Statistics
        >>> from lineardiffusion.datasets import load_digits
        >>> prompts, images = load_digits()
        >>> encoder = ImageEncoder.from_basis(np.eye(64)[:32], Statistics.of(prompts, images))
        >>> LinearDiffusion(image_encoder=encoder).fit(prompts, images).n_components_
        32
        """
        V = np.array(basis, dtype=np.float64)
        moments = statistics.pixel_moments()
        D = moments.mean.shape[1]
        if V.ndim != 2 or not 1 <= len(V) <= D or V.shape[1] != D:
            raise ValueError(f"basis must have the shape (d, {D}) with d from 1 to {D}, got {V.shape}")
        if not np.isfinite(V).all():
            raise ValueError("basis must be finite, got NaN or infinity among it")
        if not np.allclose(V @ V.T, np.eye(len(V)), rtol=0, atol=1e-12):
            Q, R = np.linalg.qr(V.T)
            scale = np.abs(np.diag(R))
            if scale.min() <= 1e-10 * np.linalg.norm(V, axis=1).max():
                raise ValueError("the rows of the basis depend on each other; leave the superfluous ones out")
            V = (Q * np.where(np.diag(R) < 0, -1.0, 1.0)).T
        weight, scatter = float(moments.weight[0]), moments.scatter[0]
        deviation = np.sqrt(np.maximum(np.diag(scatter), 0.0) / weight)
        variance = np.maximum(np.einsum("ij,jk,ik->i", V, scatter, V, optimize=True), 0.0) / weight
        pixels = {"mean": moments.mean[0], "pixel_scale": np.ones(D), "image_shape": statistics.image_shape}
        total, V = float(np.trace(scatter)) / weight, np.ascontiguousarray(V)
        return cls.of(V, variance, total, deviation, False, dtype=statistics.pixel_dtype, **pixels)

    @classmethod
    def of(
        cls, V: Array, variance: Array, total: float, deviation: Array, scale: bool, dtype: Any, **pixels: Any
    ) -> ImageEncoder:
        """Build the encoder of an orthonormal basis from the variances along it.

        Parameters
        ----------
        V : ndarray of shape (d, D)
            Orthonormal rows.
        variance : ndarray of shape (d,)
            Variance of the (standardised) pixels along each row.
        total : float
            Variance of all D directions together.
        deviation : ndarray of shape (D,)
            Standard deviation of each pixel, in pixel units.
        scale : bool
            Whether the pixels are standardised.
        dtype : numpy dtype
            Type of the pixels.
        **pixels
            Attributes ``mean``, ``pixel_scale`` and ``image_shape``.

        Returns
        -------
        ImageEncoder
            Encoder of this basis.
        """
        d, D = V.shape
        rest = total - float(variance.sum())
        return cls(
            components=V,
            variance=variance,
            residual_variance=0.0 if d == D or rest <= D * np.finfo(float).eps * total else rest / (D - d),
            pixel_variance=float(np.mean(deviation**2)),
            scaling_factor=1.0 if scale else math.sqrt(variance.mean()) or 1.0,
            dtype=working_dtype(dtype),
            **pixels,
        )

    @computed_once
    def pixels(self) -> Indices | None:
        """Pixel of each component (d,), if every component is one pixel; None otherwise."""
        single = np.count_nonzero(self.components) == len(self.components)  # each has the length 1
        return np.nonzero(self.components)[1] if single else None

    @computed_once
    def analysis(self) -> Array:
        """Matrix (D, d) from centred pixels to latents."""
        return (self.components / (self.pixel_scale * self.scaling_factor)).T.copy()

    @computed_once
    def _single_analysis(self) -> NDArray[np.float32]:
        return self.analysis.astype(np.float32)

    @computed_once
    def synthesis(self) -> Array:
        """Matrix (d, D) from latents to centred pixels."""
        return self.components * (self.pixel_scale * self.scaling_factor)

    @computed_once
    def decoder(self) -> tuple[Images, Images]:
        """Synthesis matrix (d, D) and mean (D,), in the type of the decoded images."""
        return self.synthesis.astype(self.dtype), self.mean.astype(self.dtype)

    @property
    def explained_variance_ratio(self) -> Array:
        """Share of the (standardised) pixels' variance along each component, (d,)."""
        d, D = self.components.shape
        return self.variance / (float(self.variance.sum() + (D - d) * self.residual_variance) or 1.0)

    def encode(self, images: NDArray[np.generic], dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """Return the latents of images.

        In single precision an image has the same latent, to the last bit, among any others.

        Parameters
        ----------
        images : ndarray or Tensor of shape (n, \\*image_shape)
            Images, in pixel units.
        dtype : numpy dtype, default=numpy.float64
            Type of the products, float32 or float64.

        Returns
        -------
        ndarray or Tensor of shape (n, d)
            Latents; those of a tensor are a tensor on its device.
        """
        rows = images.reshape(len(images), -1)
        single = np.dtype(dtype) == np.float32
        analysis, step, least = (self._single_analysis, EQUAL, EQUAL) if single else (self.analysis, BLOCK, 0)
        origin = self.mean.astype(working_dtype(dtype_of(rows)) if single else np.float64)
        shift = ((origin - self.mean) @ self.analysis).astype(dtype)  # what single precision loses of the mean
        step = min(step, max(EQUAL, PIXELS // len(origin)))
        starts = range(0, len(rows), step)
        if is_tensor(rows):
            o, V, more = (as_like(array, rows, array.dtype) for array in (origin, analysis, shift))
            blocks = (rows[start : start + step] for start in starts)
            found: NDArray[Any] = namespace(rows).concat(
                [cast(cast(x, origin.dtype) - o, dtype) @ V + more for x in blocks]
            )
            return found
        latents = np.empty((len(rows), len(self.components)), dtype)

        def fill(start: int) -> None:
            block = rows[start : start + step]
            x = np.zeros((max(len(block), least), len(origin)), dtype)
            np.subtract(block, origin, out=x[: len(block)], dtype=origin.dtype, casting="same_kind")
            latents[start : start + step] = (x @ analysis)[: len(block)] + shift

        side_by_side(fill, starts)
        return latents

    def decode(self, latents: Images) -> Images:
        """Return the images of latents.

        Parameters
        ----------
        latents : ndarray or Tensor of shape (..., d)
            Latents.

        Returns
        -------
        ndarray or Tensor of shape (..., \\*image_shape)
            Images, in pixel units.
        """
        synthesis, mean = self.decoder
        rows = cast(latents.reshape(-1, len(synthesis)), self.dtype, copy=False)
        synthesis, mean = as_like(synthesis, rows, self.dtype), as_like(mean, rows, self.dtype)
        pixels = empty((len(rows), len(mean)), rows, self.dtype)
        for start in range(0, len(rows), BLOCK):  # the mean is added while a block is in the processor's cache
            block = slice(start, start + BLOCK)
            namespace(rows).matmul(rows[block], synthesis, out=pixels[block])
            pixels[block] += mean
        images: Images = pixels.reshape(*latents.shape[:-1], *self.image_shape)
        return images


def latents_of(encoder: Encoder, images: NDArray[Any]) -> NDArray[np.floating]:
    """Return latents (n, d) as exact as the pixels: in single precision where pixels have at most that.

    An encoder that is not linear gives them in its own precision, block by block.
    """
    if isinstance(encoder, ImageEncoder):
        return encoder.encode(images, working_dtype(dtype_of(images)))
    blocks = [encoder.encode(images[start : start + ROWS]) for start in range(0, len(images), ROWS)]
    return np.concatenate([to_numpy(block) for block in blocks])


def scale_of_pixels(deviation: Array, mean: Array, dtype: Any, scale: bool) -> tuple[Array, NDArray[np.bool_]]:
    """Return the divisor of each pixel (D,), and whether the pixel varies by more than rounding (D,)."""
    precision = np.finfo(working_dtype(dtype))
    digits = 256 if precision.bits == 64 else 4  # units in the last place that a mean may lose
    least = 1e-16 if precision.bits == 32 else 1e-70  # whose square is a number with all its digits
    varies = deviation > np.maximum(digits * precision.eps * np.abs(mean), least)
    if not scale or not varies.any():
        return np.ones_like(deviation), varies
    return np.where(varies, deviation, np.sqrt(np.mean(deviation[varies] ** 2))), varies


def leading(eigenvalues: Array, V: Array, n_components: float, total: float) -> tuple[Array, Array, float]:
    """Return the leading pairs, of this number or share of `total`; and `total`, 0 if no other direction varies."""
    if n_components >= 1:
        return eigenvalues, V, total if len(V) == n_components else 0.0
    n = 1 + int(np.searchsorted(np.cumsum(eigenvalues)[:-1], n_components * total))
    return eigenvalues[:n], np.ascontiguousarray(V[:n]), total if len(V) > n else 0.0


def _principal(scatter: Array, n_components: float, pixel_dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
    """Return the leading eigenvalues (d,), falling, and eigenvectors (d, D); all of them for a share below 1.

    Those that are rounding are left out. A diagonal matrix is not decomposed, and so has none.
    """
    D = len(scatter)
    n_components = int(n_components) if n_components >= 1 else D
    if (variance := diagonals(scatter)) is not None:
        order = np.argsort(-variance, kind="stable")[: min(n_components, max(1, np.count_nonzero(variance)))]
        components = np.zeros((len(order), D))
        components[np.arange(len(order)), order] = 1.0
        return variance[order], components
    if LARGE <= D and n_components < D // 8:
        eigenvalues, vectors = _few(scatter, n_components, _floor(pixel_dtype, D))
    else:
        # numpy's and not scipy's: two libraries with a pool of threads each would wait for each other
        eigenvalues, vectors = np.linalg.eigh(scatter)
    order = np.argsort(eigenvalues)[::-1][:n_components]
    return trim(eigenvalues[order], vectors.T[order], pixel_dtype)


def _few(scatter: Array, n_components: int, floor: float) -> tuple[Array, Array]:
    """Return a few eigenpairs of a large matrix: by Lanczos, or exactly if its range is small."""
    rng = np.random.default_rng(0)
    sketch = scatter @ rng.normal(size=(len(scatter), n_components + 10))
    basis, spread, _ = np.linalg.svd(sketch, full_matrices=False)
    kept = spread > floor * spread[0]
    if not kept.all():  # the sketch holds the whole range
        basis = basis[:, kept]
        eigenvalues, inner = np.linalg.eigh(basis.T @ scatter @ basis)
        return eigenvalues, basis @ inner
    return scipy.sparse.linalg.eigsh(scatter, n_components, v0=rng.normal(size=len(scatter)))


def _floor(pixel_dtype: np.dtype[np.generic], D: int) -> float:
    """Return the share of the largest eigenvalue below which an eigenvalue is rounding error."""
    exact = pixel_dtype.itemsize == 1 or working_dtype(pixel_dtype) == np.float64
    return float(D * np.finfo(np.float64).eps if exact else 10 * np.finfo(np.float32).eps)


def trim(eigenvalues: Array, components: Array, pixel_dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
    """Drop directions that are rounding errors, and fix the signs."""
    D = components.shape[1]
    rank = max(1, int(np.sum(eigenvalues > _floor(pixel_dtype, D) * eigenvalues[0])))
    eigenvalues, components = np.maximum(eigenvalues[:rank], 0.0), components[:rank]
    peak = components[np.arange(rank), np.argmax(np.abs(components), axis=1)]
    components = components * np.where(peak < 0, -1.0, 1.0)[:, None]
    return eigenvalues, np.ascontiguousarray(components)  # products differ in an ulp by the order in memory
