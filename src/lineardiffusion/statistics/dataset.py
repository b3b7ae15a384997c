"""The statistics of a data set: all that fitting needs of prompts and images.

    images, prompts -> moments (of pixels, or of latents with an encoder), styles, histogram

They are immutable, and they add and subtract: the statistics of two data sets together are the sum of their
statistics, so data can stream, merge, be distributed and be forgotten. Everything else in a fitted model
follows from them.

Moments are computed in one pass over the pixels, or, with an encoder, in one pass over the latents. Projection
commutes with taking moments, so both give the same model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from lineardiffusion._arrays import ROWS, Array
from lineardiffusion._device import to_numpy
from lineardiffusion._validation import check_images, check_prompts, check_sample_weight
from lineardiffusion.encoders.image import Encoder, ImageEncoder
from lineardiffusion.encoders.text import symbols, vocabulary
from lineardiffusion.statistics.batch import Batch
from lineardiffusion.statistics.histogram import Histogram
from lineardiffusion.statistics.joint import JointMoments
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.pixels import PixelMoments
from lineardiffusion.statistics.residual import Residual
from lineardiffusion.statistics.styles import StyleStatistics


@dataclass(frozen=True, eq=False, repr=False)
class Statistics:
    """Sufficient statistics of prompts and images; they add and subtract.

    Attributes
    ----------
    moments : Moments or JointMoments
        Moments of the pixels, or with an `encoder` of the latents: one group a known prompt, or joint with
        the embeddings.
    prompts : tuple of str
        The distinct prompts, sorted; empty when they are embeddings.
    image_shape : tuple of int
        Shape of one image.
    pixel_range : tuple of float
        Smallest and largest pixel. A difference keeps the range of the whole.
    pixel_dtype : numpy dtype
        Type of the pixels.
    encoder : Encoder or None
        Encoder of the latents, where the moments are of latents.
    styles : StyleStatistics or None
        Statistics of the styles.
    histogram : Histogram or None
        Histogram of the pixels, where a contrast needs it.
    residual : Residual or None
        What moments of the latents of a linear encoder do not tell of the pixels.
    pixels : PixelMoments or None
        Moments of each pixel under every prompt, where a contrast needs them and the moments are of latents.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion import Statistics
    >>> from lineardiffusion.datasets import load_digits
    >>> prompts, images = load_digits()
    >>> whole = Statistics.of(prompts, images)
    >>> parts = Statistics.of(prompts[:900], images[:900]) + Statistics.of(prompts[900:], images[900:])
    >>> bool(np.allclose(parts.moments.mean, whole.moments.mean))
    True
    >>> bool(np.allclose((whole - Statistics.of(prompts[900:], images[900:])).moments.weight.sum(), 900))
    True
    """

    moments: Moments | JointMoments
    prompts: tuple[str, ...]
    image_shape: tuple[int, ...]
    pixel_range: tuple[float, float]
    pixel_dtype: np.dtype[Any]
    encoder: Encoder | None = None
    styles: StyleStatistics | None = None
    histogram: Histogram | None = None
    residual: Residual | None = None
    pixels: PixelMoments | None = None

    @classmethod
    def of(
        cls,
        prompts: Any,
        images: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        encoder: Encoder | None = None,
        histogram: bool = False,
    ) -> Statistics:
        """Compute the statistics of a data set.

        Parameters
        ----------
        prompts : list of str, or array-like of shape (n, k)
            One prompt an image: strings, or embeddings.
        images : array-like of shape (n, \\*image_shape)
            Images of any real dtype.
        sample_weight : array-like of shape (n,), default=None
            Weight of each image; None for 1 each.
        encoder : Encoder, default=None
            Encoder whose latents the moments are of; None for moments of the pixels.
        histogram : bool, default=False
            Whether to count the pixels too.

        Returns
        -------
        Statistics
            Sums over these images.

        Raises
        ------
        ValueError
            If lengths differ, or pixels are not finite.

        See Also
        --------
        LinearDiffusion.from_statistics : The model of statistics.

        Examples
        --------
        >>> from lineardiffusion import Statistics
        >>> Statistics.of(["left", "left", "right"], [[0.0], [2.0], [9.0]]).moments.mean.tolist()
        [[1.0], [9.0]]
        """
        words = check_prompts(prompts)
        found = words if words is not None else check_array(prompts, dtype=np.float64)
        checked = check_images(images, len(found))
        weight = None if sample_weight is None else check_sample_weight(sample_weight, checked)
        return cls.measure(Batch.of(found, checked, weight), encoder, contrast="histogram" if histogram else None)

    @classmethod
    def measure(
        cls,
        batch: Batch,
        encoder: Encoder | None = None,
        embeddings: Array | None = None,
        contrast: str | None = None,
    ) -> Statistics:
        """Compute the statistics of a batch, with those that a contrast needs.

        Parameters
        ----------
        batch : Batch
            Checked prompts, images and weights.
        encoder : Encoder, default=None
            Encoder whose latents the moments are of; None for moments of the pixels.
        embeddings : ndarray of shape (g, k), default=None
            Embeddings of the known prompts. With them the moments of the latents are joint, for prompts that are
            too many to keep a block each.
        contrast : {None, "affine", "histogram", "pixelwise"}, default=None
            Contrast whose statistics are computed too.

        Returns
        -------
        Statistics
            Sums over the batch.
        """
        rows, residual, pixels = batch.rows, None, None
        if contrast == "pixelwise" and encoder is not None and batch.known and embeddings is None:
            pixels = PixelMoments.of(rows, batch.prompts, len(batch.known), batch.sample_weight)
        if encoder is None:
            moments = _moments(batch, rows)
        else:
            moments, residual = _of_latents(batch, encoder, embeddings)
        return cls(
            moments,
            batch.known,
            batch.image_shape,
            (float(rows.min()), float(rows.max())),
            batch.dtype,
            encoder,
            histogram=Histogram.of(to_numpy(rows), batch.sample_weight) if contrast == "histogram" else None,
            residual=residual,
            pixels=pixels,
        )

    @property
    def has_strings(self) -> bool:
        """Whether prompts are strings, rather than embeddings."""
        return bool(self.prompts)

    def pixel_moments(self) -> Moments:
        """Return the moments of all pixels as one group.

        Returns
        -------
        Moments
            Moments of the pixels, in one group.

        Raises
        ------
        ValueError
            If the moments are of latents.
        """
        if self.encoder is not None:
            raise ValueError("these statistics hold moments of latents, not of pixels")
        return self.moments.pooled()

    def without_styles(self) -> Statistics:
        """Return the same statistics without styles.

        Returns
        -------
        Statistics
            Statistics whose ``styles`` are None.
        """
        return replace(self, styles=None)

    def __add__(self, other: Statistics) -> Statistics:
        """Return the statistics of both data sets."""
        return Statistics.total([self, other]) if isinstance(other, Statistics) else NotImplemented

    def __radd__(self, other: object) -> Statistics:
        """Add to the 0 with which ``sum`` begins."""
        return self if other == 0 else NotImplemented

    def __repr__(self) -> str:
        under = f"{len(self.prompts)} prompts" if self.prompts else "embeddings"
        weight = float(self.moments.pooled().weight[0])
        return f"<Statistics of images of shape {self.image_shape} under {under}, weight {weight:g}>"

    @classmethod
    def total(cls, terms: Iterable[Statistics]) -> Statistics:
        """Add the statistics of several data sets in place, in one set of arrays.

        Parameters
        ----------
        terms : iterable of Statistics
            One or more terms.

        Returns
        -------
        Statistics
            Statistics of all data sets together.

        Raises
        ------
        ValueError
            If they do not add up: other image shapes or kinds of prompts, latents of other encoders, styles
            with other centres.
        """
        first, *rest = every = list(terms)
        for one in rest:
            first._check_addable(one)
        known = vocabulary(prompt for one in every for prompt in one.prompts)
        joint = isinstance(first.moments, JointMoments)
        return cls(
            _sum([one.moments for one in every]) if joint else Moments.total(one._spread(known) for one in every),
            known,
            first.image_shape,
            (min(one.pixel_range[0] for one in every), max(one.pixel_range[1] for one in every)),
            np.result_type(*(one.pixel_dtype for one in every)),
            first.encoder,
            styles=_sum([one.styles for one in every]),
            histogram=_sum([one.histogram for one in every]),
            residual=_sum([one.residual for one in every]),
            pixels=_sum([one._spread_pixels(known) for one in every]),
        )

    def __sub__(self, other: Statistics) -> Statistics:
        """Return the statistics without a part of the data; prompts that are left without images go.

        Raises
        ------
        ValueError
            If the part cannot have been in the data: a weight or a variance would be negative.
        """
        self._check_addable(other)
        if unknown := sorted(set(other.prompts) - set(self.prompts)):
            raise ValueError(f"cannot subtract images that were never added: unknown prompt {unknown[0]!r}")
        parts = {name: _minus(getattr(self, name), getattr(other, name)) for name in ("histogram", "residual")}
        styles = _minus(self.styles, other.styles)
        if isinstance(self.moments, JointMoments):
            return replace(self, moments=_minus(self.moments, other.moments), **parts)
        part = other._spread(self.prompts)
        if (over := np.flatnonzero(part.weight > (1 + 1e-9) * self.moments.weight)).size:
            what = f"the prompt {self.prompts[over[0]]!r} has the weight {self.moments.weight[over[0]]:.6g}"
            raise ValueError(f"cannot subtract images that were never added: {what}, less than theirs")
        moments = self.moments - part
        if not (kept := np.flatnonzero(moments.weight)).size:
            raise ValueError("cannot subtract all images: nothing would be left")
        known = tuple(self.prompts[u] for u in kept)
        styles = None if styles is None else styles.of_prompts(kept)
        pixels = _minus(self.pixels, other._spread_pixels(self.prompts))
        parts["pixels"] = None if pixels is None else pixels[kept]
        return replace(self, moments=moments[kept], prompts=known, styles=styles, **parts)

    def moments_of(self, known: tuple[str, ...]) -> Moments:
        """Return the moments of some prompts, empty for prompts that are not in the data.

        Parameters
        ----------
        known : tuple of str
            Prompts.

        Returns
        -------
        Moments
            Moments with one group for each of these prompts.
        """
        every = vocabulary([*known, *self.prompts])
        return self._spread(every)[symbols(known, every)]

    def _spread(self, known: tuple[str, ...]) -> Moments:
        """Return the moments with a group for each of other known prompts."""
        assert isinstance(self.moments, Moments)
        if known == self.prompts:
            return self.moments
        return self.moments.spread(symbols(self.prompts, known), len(known))

    def _spread_pixels(self, known: tuple[str, ...]) -> PixelMoments | None:
        """Return the moments of the pixels with a group for each of other known prompts."""
        if self.pixels is None or known == self.prompts:
            return self.pixels
        return self.pixels.spread(symbols(self.prompts, known), len(known))

    def _check_addable(self, other: Statistics) -> None:
        if self.image_shape != other.image_shape:
            raise ValueError(f"images of the shapes {self.image_shape} and {other.image_shape} do not add up")
        if type(self.moments) is not type(other.moments) or bool(self.prompts) != bool(other.prompts):
            raise ValueError("a model of strings and one of embeddings do not add up")
        if isinstance(self.moments, JointMoments) and isinstance(other.moments, JointMoments):
            sizes = len(self.moments.matrix) - 1, len(other.moments.matrix) - 1
            if sizes[0] != sizes[1]:
                raise ValueError(f"embeddings of {sizes[0]} and {sizes[1]} entries do not add up")
            if self.prompts != other.prompts:
                raise ValueError("joint moments of different prompts do not add up: allow more with max_memory")
        if not same_encoder(self.encoder, other.encoder):
            raise ValueError(
                "moments of latents of different encoders do not add up: begin both models with the same "
                "image_encoder, or with copies of one on which fit_basis was called"
            )
        if (self.styles is None) != (other.styles is None):
            raise ValueError(
                "one model has styles and the other has none, so they do not add up: drop the styles with "
                "refit(n_styles=1), merge, and give all batches to partial_fit_styles afterwards"
            )


def same_encoder(a: Encoder | None, b: Encoder | None) -> bool:
    """Return whether two encoders give the same latents."""
    names = ("mean", "components", "pixel_scale", "scaling_factor")
    linear = isinstance(a, ImageEncoder) and isinstance(b, ImageEncoder)
    return a is b or (linear and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names))


def _of_latents(
    batch: Batch, encoder: Encoder, embeddings: Array | None
) -> tuple[Moments | JointMoments, Residual | None]:
    """Return the moments of the latents of a batch, and what they do not tell of the pixels, block by block."""
    total: Any = None
    residual: Any = None
    for start in range(0, len(batch), ROWS):
        block = batch[start : start + ROWS]
        latents = encoder.encode(block.images)
        moments = _moments(block, latents, embeddings)
        total = moments if total is None else total + moments
        if isinstance(encoder, ImageEncoder):
            sums = Residual.of(block.rows, latents, encoder, block.sample_weight)
            residual = sums if residual is None else residual + sums
    if isinstance(total, JointMoments):
        d = len(total.origin)
        total = total.project(np.zeros(d), np.eye(d))
    return total, residual


def _moments(batch: Batch, rows: Any, embeddings: Array | None = None) -> Moments | JointMoments:
    """Return the moments of rows (n, d) under the prompts of a batch."""
    weight = batch.sample_weight
    if embeddings is not None:
        return JointMoments.of(embeddings[batch.prompts], rows, weight)
    if batch.known:
        return Moments.of(rows, batch.prompts, len(batch.known), weight)
    return JointMoments.of(batch.prompts, rows, weight)


def _sum(parts: list[Any]) -> Any:
    """Add all parts; None if one of them is."""
    return None if any(part is None for part in parts) else reduce(add, parts)


def _minus(whole: Any, part: Any) -> Any:
    """Subtract a part; None if one of the two is."""
    return None if whole is None or part is None else whole - part
