"""Training: images and prompts to statistics, and statistics to a fitted model.

    measure      source -> moments of the pixels, in one pass; or its principal components, and moments of latents
    add_styles   source -> moments of its styles, in one or two passes more
    known_gaussians   means and covariances -> the same statistics, without images
    solve        statistics -> encoder, denoisers and contrast, in closed form

A source (statistics/source.py) can be read more than once, and every pass is a sum over its batches. The statistics
add up, too, so a stream costs one ``solve``, when the model is first used.

Moments of all pixels under every prompt serve any number of components, but take 8 D^2 bytes a prompt and n D^2
products. So they are kept for images of fewer than LARGE pixels, if they fit into the memory. Otherwise the
components are found first (encoders/basis.py), and moments are of the latents.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lineardiffusion._arrays import Array, Indices
from lineardiffusion._cache import Cache, computed_once
from lineardiffusion._device import to_numpy
from lineardiffusion._linalg import diagonals
from lineardiffusion._noise import for_kmeans
from lineardiffusion._validation import warn
from lineardiffusion.contrast import AffineContrast, Contrast, HistogramContrast, PixelwiseContrast
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.diffusion.regression import RegressionDenoiser
from lineardiffusion.distributions.bayes import TOLERANCE, check_covariance
from lineardiffusion.encoders import basis
from lineardiffusion.encoders.clusters import CENTRED_ON, IMAGES_A_STYLE, StyleClusters
from lineardiffusion.encoders.conditioning import Conditioner, StyleFrequencies
from lineardiffusion.encoders.image import LARGE, Encoder, ImageEncoder, latents_of
from lineardiffusion.encoders.text import fit_text_encoder, vocabulary
from lineardiffusion.fitted import FittedDiffusion
from lineardiffusion.inverse.measurement import PixelModel, rounding_variance
from lineardiffusion.parameters import Parameters
from lineardiffusion.statistics.batch import Batch
from lineardiffusion.statistics.dataset import Statistics, same_encoder
from lineardiffusion.statistics.histogram import Histogram
from lineardiffusion.statistics.joint import JointMoments
from lineardiffusion.statistics.missing import complete
from lineardiffusion.statistics.moments import Moments, is_positive
from lineardiffusion.statistics.pixels import PixelMoments
from lineardiffusion.statistics.sample import Sample
from lineardiffusion.statistics.shrinkage import shrink
from lineardiffusion.statistics.source import InMemory, Source
from lineardiffusion.statistics.styles import StyleStatistics
from lineardiffusion.style_rank import choose_rank

UNLIMITED = 1e20  # images behind a known Gaussian, of which shrinkage="auto" leaves every digit
SPREAD = 3.0  # standard deviations from the mean to the ends of the range of pixels of a known Gaussian

SOLVED_BY = (
    "n_components",
    "scale",
    "image_encoder",
    "text_encoder",
    "n_styles",
    "style_rank",
    "shrinkage",
    "contrast",
)


@dataclass(frozen=True, eq=False)
class Learned:
    """Statistics with the parameters to solve them by; both are immutable, so it may be solved at any time."""

    statistics: Statistics
    parameters: Parameters
    temperature: float = 1.0  # of the likelihood that prompts are inferred by; 1 is uncalibrated

    @computed_once
    def encoder(self) -> Encoder:
        """The image encoder; it needs no styles."""
        return image_encoder(self.statistics, self.parameters)

    @computed_once
    def fitted(self) -> FittedDiffusion:
        """The solved model."""
        return replace(solve(self.statistics, self.parameters, self.encoder), temperature=self.temperature)


# ---------------------------------------------------------------------- from a batch to statistics


def fit(source: Source, parameters: Parameters, basis: ImageEncoder | None = None) -> Learned:
    """Fit a model to a data set, and solve it; with a `basis`, moments are of its latents."""
    if isinstance(source, InMemory) and source.batch.has_missing:
        statistics, filled = measure_missing(None, source.batch, parameters)
        source = InMemory(filled)
    else:
        statistics = measure(source, parameters, basis)
    if parameters.has_styles:
        statistics = add_styles(statistics, source, parameters)
    learned = Learned(statistics, parameters)
    _ = learned.fitted
    return learned


def from_statistics(statistics: Statistics, parameters: Parameters) -> Learned:
    """Solve statistics that were computed elsewhere; a ValueError if they do not determine this model."""
    encoder, styles = parameters.image_encoder, statistics.styles
    if encoder is not None and not same_encoder(encoder, statistics.encoder):
        what = "image_encoder must be that of the latents whose moments these statistics hold"
        raise ValueError(f"{what}: compute them with it, Statistics.of(prompts, images, encoder=image_encoder)")
    if not parameters.has_styles:
        statistics = statistics.without_styles()
    elif styles is None or styles.clusters.requested != parameters.n_styles:
        found = "no styles" if styles is None else f"n_styles={styles.clusters.requested}"
        raise ValueError(f"n_styles={parameters.n_styles} needs the images: these statistics have {found}")
    learned = Learned(statistics, parameters)
    _ = learned.fitted
    return learned


def known_gaussians(
    prompts: Sequence[str],
    means: Sequence[Any],
    covariances: Sequence[Any],
    weights: Any = 1.0,
    pixel_range: tuple[float, float] | None = None,
) -> Statistics:
    """Return the statistics of infinitely many images of known Gaussians, whose weights add up to these.

    A mean has the shape of an image; a covariance has the shape (D, D), and its diagonal (D,) or that of an image.
    """
    p, counts = len(prompts), [len(one) if np.iterable(one) else 1 for one in (means, covariances)]
    if twice := [one for i, one in enumerate(prompts) if one in prompts[:i]]:
        raise ValueError(f"prompts must differ, but {twice[0]!r} is among them twice")
    if counts != [p, p]:
        found = f"{counts[0]} and {counts[1]}"
        raise ValueError(f"{p} prompts need {p} means and {p} covariances, one for each prompt; got {found}")
    if any(np.iscomplexobj(one) for given in (means, covariances) for one in given):
        raise ValueError("mean and covariance must be real, got complex numbers")
    shape = np.shape(means[0])
    if not shape or 0 in shape or any(np.shape(one) != shape for one in means):
        what = "a mean must have the shape of an image, (d,) or (h, w) or (h, w, c)"
        raise ValueError(f"{what}, and each of several prompts needs a mean of its own; got {shape}")
    D = math.prod(shape)
    mean, weight = np.reshape(np.asarray(means, dtype=np.float64), (p, D)), np.asarray(weights, dtype=np.float64)
    if not np.isfinite(mean).all():
        raise ValueError("mean must be finite, got NaN or infinity among it")
    if weight.shape not in ((), (p,)) or not (np.isfinite(weight) & (weight > 0)).all():
        raise ValueError(f"weight must be above 0 and finite, one number or one a prompt; got {weights!r}")
    weight, scatter = np.broadcast_to(weight, p), np.zeros((p, D, D))
    order = sorted(range(p), key=lambda u: prompts[u])
    mean, weight = mean[order], weight[order]
    for place, u in enumerate(order):
        given = np.asarray(covariances[u], dtype=np.float64)
        if given.shape == (D, D):
            C = check_covariance(given, D)
            scatter[place] = weight[place] * C
            positive = is_positive(C, TOLERANCE * float(np.abs(C).max()))
        elif given.shape in (shape, (D,)):
            np.fill_diagonal(scatter[place], weight[place] * given)
            positive = bool((given >= 0).all() and np.isfinite(given).all())
        else:
            what = f"covariance must have the shape ({D}, {D}), or that of its diagonal, ({D},) or {shape}"
            raise ValueError(f"{what}; got {given.shape} for {prompts[u]!r}")
        if not positive:
            raise ValueError(
                f"covariance of {prompts[u]!r}: variances must be finite, and 0 or more in all directions"
            )
    spread = SPREAD * np.sqrt(np.diagonal(scatter, axis1=1, axis2=2) / weight[:, None])
    low, high = (mean - spread).min(), (mean + spread).max()
    if pixel_range is not None:
        low, high = pixel_range if np.shape(pixel_range) == (2,) else (0.0, 0.0)
        if not -np.inf < low < high < np.inf:
            raise ValueError(f"pixel_range must be two finite numbers, the smaller one first; got {pixel_range!r}")
    moments, known = Moments(weight, weight**2 / UNLIMITED, mean, scatter), tuple(prompts[u] for u in order)
    return Statistics(moments, known, shape, (float(low), float(high)), np.dtype(np.float64))


def identity(parameters: Parameters, basis: Any = None) -> str:
    """Return what determines the sums over a data set, as a text by which a checkpoint is known.

    Raise a ValueError for parameters with which a fit cannot go on.
    """
    names = ("n_components", "scale", "basis_tolerance", "text_encoder", "n_styles", "max_memory", "random_state")
    values = {name: repr(getattr(parameters, name)) for name in names}
    if not isinstance(parameters.image_encoder, ImageEncoder | None):
        raise ValueError("a checkpoint cannot hold this image_encoder, which is not linear; fit without one")
    if parameters.has_styles and not isinstance(parameters.random_state, int | np.integer | None):
        raise ValueError(
            "a fit goes on with the same styles if random_state is an int or None; fit without checkpoint"
        )
    arrays = [parameters.image_encoder, basis[0] if basis else None]
    sums = [
        zlib.crc32(one.components.tobytes(), zlib.crc32(one.mean.tobytes())) for one in arrays if one is not None
    ]
    return f"{values} {parameters.counted} {sums}"


def update(
    before: Learned | None, batch: Batch, parameters: Parameters, basis: ImageEncoder | None = None
) -> Learned:
    """Add a batch to the statistics of a stream; styles begin anew, for the latents change.

    Moments are of latents if those before are, or if there is an encoder or a `basis`.
    """
    D, old = batch.rows.shape[1], None if before is None else before.statistics
    encoder = parameters.image_encoder if old is None or old.encoder is None else old.encoder
    encoder = basis if encoder is None and old is None else encoder
    if encoder is None:
        known = vocabulary([*batch.known, *(old.prompts if old else ())])
        needed = Moments.nbytes(len(known), D) if known else batch.nbytes(D)
        what = f"the moments of all {D} pixels under every prompt, which partial_fit keeps,"
        instead = "call fit_basis before, or give all images to fit or fit_batches, which keep moments of latents"
        _check_memory(needed, parameters, what, instead)
    else:
        _latent_size(encoder, batch)
    if before is not None:
        check_solvable(before.statistics.without_styles(), before.parameters, parameters)
    if batch.has_missing:
        statistics, _ = measure_missing(old, batch, replace(parameters, image_encoder=encoder))
    elif before is None:
        statistics = Statistics.measure(batch, encoder, contrast=parameters.counted)
    else:
        statistics = _measure_alike(before, batch)
    if old is not None:
        check_counted(old, parameters)
        statistics = old.without_styles() + statistics
    return Learned(statistics, parameters)


def forget(before: Learned, batch: Batch) -> Learned:
    """Subtract a batch from the statistics; a ValueError if it cannot have been in the data."""
    statistics, parameters = before.statistics, before.parameters
    if unknown := sorted(set(batch.known) - set(statistics.prompts)):
        raise ValueError(f"cannot forget images of the unknown prompt {unknown[0]!r}: the model never saw them")
    (low, high), (least, most) = statistics.pixel_range, (float(batch.rows.min()), float(batch.rows.max()))
    if least < low or most > high:
        what = f"their pixels reach from {least:g} to {most:g}, those of the data from {low:g} to {high:g}"
        raise ValueError(f"cannot forget images that were never in the data: {what}")
    part = _measure_alike(before, batch)
    if (styles := statistics.styles) is not None:
        part = replace(part, styles=_count_styles(styles.without_images(), statistics.prompts, batch))
    return Learned(statistics - part, parameters)


def _measure_alike(before: Learned, batch: Batch) -> Statistics:
    """Return the statistics of a batch, of the kind of those before: joint or not, of pixels or of latents."""
    statistics, embeddings = before.statistics, None
    if batch.known and isinstance(statistics.moments, JointMoments):
        if unknown := sorted(set(batch.known) - set(statistics.prompts)):
            what = "joint moments of all prompts take no other prompts"
            raise ValueError(f"{what}, but {unknown[0]!r} is new; fit again, or allow more with max_memory")
        text = fit_text_encoder(before.parameters.text_encoder, statistics.prompts)
        assert text is not None
        batch, embeddings = batch.among(statistics.prompts), text.embed(statistics.prompts)
    kept = {"histogram": statistics.histogram, "pixelwise": statistics.pixels}
    counted = next((name for name, one in kept.items() if one is not None), None)
    return Statistics.measure(batch, statistics.encoder, embeddings, counted)


def refit(before: Learned, parameters: Parameters) -> Learned:
    """Solve a model's statistics with other parameters; those that only draw leave it solved."""
    statistics, styles = before.statistics, before.statistics.styles
    if parameters.n_styles == 1:
        statistics = statistics.without_styles()
    elif styles is None or styles.clusters.requested != parameters.n_styles:
        raise ValueError("n_styles: other styles need the images: fit again, or use partial_fit_styles")
    check_solvable(statistics, before.parameters, parameters)
    learned = Learned(statistics, parameters)
    if not _changes(before.parameters, parameters, *SOLVED_BY):
        learned, cache = replace(learned, temperature=before.temperature), Cache(parameters.cache_memory)
        vars(learned)["fitted"] = _as_solved(before.fitted, parameters=parameters, cache=cache)
    _ = learned.fitted
    return learned


def calibrated(before: Learned, temperature: float) -> Learned:
    """Return the same model, as solved, with another temperature."""
    learned = replace(before, temperature=temperature)
    vars(learned).update(encoder=before.encoder, fitted=_as_solved(before.fitted, temperature=temperature))
    return learned


def _as_solved(before: FittedDiffusion, **changes: Any) -> FittedDiffusion:
    """Return a solved model with changes on which the Gaussians by which it scores do not depend."""
    found = replace(before, **changes)
    if "scored" in vars(before):
        vars(found)["scored"] = before.scored
    return found


def check_solvable(statistics: Statistics, old: Parameters, new: Parameters) -> None:
    """Raise an error unless statistics that were measured with old parameters can be solved with new ones."""
    fixed = ["image_encoder"]
    if statistics.encoder is not None or statistics.styles is not None:
        fixed += ["n_components", "scale"]
    if joint := isinstance(statistics.moments, JointMoments) and bool(statistics.prompts):
        fixed += ["text_encoder"]
    if changed := _changes(old, new, *fixed):
        what = "the joint moments of all prompts" if joint else "the moments"
        raise ValueError(f"{changed[0]} is fixed by {what} that were measured; fit again")
    check_counted(statistics, new)


def _changes(old: Parameters, new: Parameters, *names: str) -> list[str]:
    """Return which of these parameters differ."""
    return [name for name in names if not _equal(getattr(old, name), getattr(new, name))]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, ImageEncoder):
        return same_encoder(a, b)
    if hasattr(a, "get_params") and type(a) is type(b):
        return bool(a.get_params() == b.get_params())
    return a is b or bool(a == b)


def check_counted(statistics: Statistics, parameters: Parameters) -> None:
    """Raise an error if the contrast needs what was not counted."""
    needed, styles = "", statistics.styles
    if parameters.contrast == "histogram" and statistics.histogram is None:
        needed = "the histogram of the data's pixels"
    elif parameters.counted == "pixelwise" and statistics.prompts:
        if styles is not None and styles.pixels is None:
            needed = "the moments of each style's pixels"
        elif styles is None and statistics.encoder is not None and statistics.pixels is None:
            needed = "the moments of each prompt's pixels"
    if needed:
        what = f'contrast="{parameters.contrast}" needs {needed}, which were not counted (in all of the data)'
        raise ValueError(f'{what}; fit again with it, or use "affine", which follows from the moments')


def measure(source: Source, parameters: Parameters, basis: ImageEncoder | None = None) -> Statistics:
    """Compute the statistics of a data set: in one pass over the pixels where memory allows, or else in several."""
    encoder: Encoder | None = basis if parameters.image_encoder is None else parameters.image_encoder
    if encoder is None and source.first.rows.shape[1] < LARGE:
        found = _total(source, parameters, None)
        if isinstance(found, Statistics):
            return found
    encoder = fit_basis(source, parameters) if encoder is None else encoder
    found = _total(source, parameters, encoder)
    if isinstance(found, Statistics):
        return found
    known, d = found, _latent_size(encoder, source.first)
    text = fit_text_encoder(parameters.text_encoder, known) if known else None
    k = 0 if text is None else text.embed(known[:1]).shape[1]
    counts = parameters.counted == "pixelwise"
    more = PixelMoments.nbytes(len(known), source.first.rows.shape[1]) if counts else 0
    of_prompts = functools.partial(Moments.nbytes, len(known)) if known else source.first.nbytes
    nbytes = [more + min(of_prompts(i), JointMoments.nbytes(k, i) if k else np.inf) for i in range(1, d + 1)]
    fitting = int(np.searchsorted(nbytes, parameters.max_memory, side="right"))
    instead = f"use n_components={fitting}" if fitting else "use fewer prompts, or embeddings of fewer entries"
    _check_memory(nbytes[-1], parameters, f"the moments of all prompts in {d} components", instead)
    assert text is not None
    total = source.total(functools.partial(_joint, known, encoder, text.embed(known), parameters.counted))
    return replace(total, encoder=encoder)


def _total(source: Source, parameters: Parameters, encoder: Encoder | None) -> Statistics | tuple[str, ...]:
    """Return the statistics of all batches with a group for every prompt, or the prompts if memory is short."""
    d = source.first.rows.shape[1] if encoder is None else _latent_size(encoder, source.first)
    counts = parameters.counted == "pixelwise" and encoder is not None
    of_pixels = PixelMoments.nbytes(1, source.first.rows.shape[1]) if counts else 0
    how = d, of_pixels, parameters.max_memory
    measure = functools.partial(_measure, *how, encoder, parameters.counted)
    found: Statistics | tuple[str, ...] = source.total(measure, functools.partial(_add, *how))
    return replace(found, encoder=encoder) if isinstance(found, Statistics) else found


def _measure(
    d: int, of_pixels: int, max_memory: float, encoder: Encoder | None, contrast: str | None, batch: Batch
) -> Statistics | tuple[str, ...]:
    if batch.nbytes(d) + len(batch.known) * of_pixels > max_memory:
        return batch.known
    # without the encoder, which may be larger than they are, and is the same for all batches
    return replace(Statistics.measure(batch, encoder, contrast=contrast), encoder=None)


def _add(
    d: int,
    of_pixels: int,
    max_memory: float,
    one: Statistics | tuple[str, ...],
    other: Statistics | tuple[str, ...],
) -> Statistics | tuple[str, ...]:
    known = vocabulary(u for part in (one, other) for u in (part if isinstance(part, tuple) else part.prompts))
    needed = Moments.nbytes(len(known), d) + len(known) * of_pixels
    if isinstance(one, tuple) or isinstance(other, tuple) or needed > max_memory:
        return known
    return one + other


def _joint(
    known: tuple[str, ...], encoder: Encoder, embeddings: Array, contrast: str | None, batch: Batch
) -> Statistics:
    return replace(Statistics.measure(batch.among(known), encoder, embeddings, contrast), encoder=None)


def fit_basis(source: Source, parameters: Parameters) -> ImageEncoder:
    """Find the principal components of all images: of their moments, or of large images in some passes."""
    first, n_components, scale = source.first, parameters.n_components, parameters.scale
    D, shape = first.rows.shape[1], first.image_shape
    if D < LARGE and Moments.nbytes(1, D) <= parameters.max_memory:
        pooled = source.total(_pooled)
        return ImageEncoder.fit(pooled.moments, n_components, shape, pooled.pixel_dtype, scale)
    what, instead = f"the components of images of {D} pixels", "use smaller images, or fewer components"
    sample, settings = source.sample, (shape, scale)
    if source.sample_is_all:
        _check_memory(16.0 * len(sample) * D, parameters, what, instead)
        return basis.fit_all(to_numpy(sample.rows), sample.sample_weight, n_components, *settings)
    _check_memory(basis.nbytes(D, n_components), parameters, what, instead)

    def one_pass(*columns: Array) -> basis.Products:
        return source.total(functools.partial(_products, columns))

    rows, how = to_numpy(sample.rows), (n_components, parameters.basis_tolerance, *settings)
    return basis.fit_basis(one_pass, rows, *how, parameters.max_memory)


def _pooled(batch: Batch) -> Statistics:
    """Return the moments of all pixels, as under one prompt."""
    return Statistics.measure(replace(batch, known=("",), prompts=np.zeros(len(batch), np.intp)))


def _products(columns: tuple[Array, ...], batch: Batch) -> basis.Products:
    origin, scale, Q = columns
    return basis.Products.of(batch.rows, batch.sample_weight, origin, scale, Q)


def measure_missing(before: Statistics | None, batch: Batch, parameters: Parameters) -> tuple[Statistics, Batch]:
    """Compute a batch's expected statistics, and fill its missing pixels (statistics/missing.py)."""
    D, encoder = batch.rows.shape[1], parameters.image_encoder
    if not batch.known or (before is not None and before.encoder is not None):
        what = "embeddings" if not batch.known else "a model of latents"
        raise ValueError(f'missing="em" fills pixels from the moments of all pixels of a prompt, not with {what}')
    if encoder is not None and not isinstance(encoder, ImageEncoder):
        raise ValueError(
            'missing="em" needs a linear image encoder, which takes moments of pixels to those of latents'
        )
    what = f"the moments of all {D} pixels under every prompt, which missing pixels need,"
    _check_memory(batch.nbytes(D), parameters, what, "use smaller images, or fill the missing pixels yourself")
    low, high = float(np.nanmin(batch.rows)), float(np.nanmax(batch.rows))
    if before is not None:
        low, high = min(low, before.pixel_range[0]), max(high, before.pixel_range[1])
    known = None if before is None else before.moments_of(batch.known)
    moments, filled = complete(batch, known, parameters.shrinkage, rounding_variance((low, high)))
    pixels = None
    if encoder is not None:
        pixels = PixelMoments.of_moments(moments) if parameters.counted == "pixelwise" else None
        moments = moments.project(encoder.mean, encoder.analysis)
    rows: Any = batch.rows
    histogram = Histogram.of_present(rows, batch.sample_weight) if parameters.contrast == "histogram" else None
    parts = batch.known, batch.image_shape, (low, high), batch.rows.dtype, encoder
    return Statistics(moments, *parts, histogram=histogram, pixels=pixels), filled


def _check_memory(needed: float, parameters: Parameters, what: str, instead: str) -> None:
    """Raise an error if so many bytes are more than the parameters allow."""
    if needed > parameters.max_memory:
        how = f"{instead}, or allow it: LinearDiffusion(max_memory={1.01 * needed:.3g})"  # not rounded down
        raise ValueError(f"{what} take {needed / 1e6:,.3g} MB; {how}")


def _latent_size(encoder: Encoder, batch: Batch) -> int:
    """Return the number of entries of a latent; a ValueError if the encoder does not fit the images."""
    shape = getattr(encoder, "image_shape", batch.image_shape)
    if shape != batch.image_shape:
        raise ValueError(f"the image encoder is of images of shape {shape}, got images of {batch.image_shape}")
    latents = to_numpy(encoder.encode(batch.images[:1]))
    if latents.ndim != 2 or len(latents) != 1 or not np.isfinite(latents).all():
        raise ValueError(f"encode must return finite latents (n, d) of n images, got {latents.shape} of one")
    return int(latents.shape[1])


def add_styles(statistics: Statistics, source: Source, parameters: Parameters) -> Statistics:
    """Count the styles of a data set, and find their centres in it if there are none yet."""
    styles, encoder, known = statistics.styles, latent_encoder(statistics, parameters), statistics.prompts
    d = _latent_size(encoder, source.first)
    counts = style_counts(statistics, parameters, d)
    needed = Moments.nbytes(int(counts.sum()), d)
    D = source.first.rows.shape[1] if parameters.counted == "pixelwise" else None
    needed += 0 if D is None else PixelMoments.nbytes(int(counts.sum()), D)
    if parameters.shares_words:
        needed = max(needed, JointMoments.nbytes(_words(statistics, parameters) + int(counts[0]), d))
    _check_memory(needed, parameters, "the moments of all styles", "use fewer styles or components")
    asked = (parameters.n_styles, parameters.shares_words)
    if styles is None or (styles.clusters.requested, styles.clusters.shared) != asked:
        most = CENTRED_ON if not parameters.shares_words else -(-CENTRED_ON // len(known))
        most = max(min(most, int(parameters.max_memory / (8 * d * len(known)))), int(counts.max()))
        sample = source.total(functools.partial(_sample, encoder, known, most))
        clusters = _find_clusters(statistics, sample, parameters, counts)
        rank = choose_rank(sample, clusters, encoder, statistics.pixel_range)
        styles = StyleStatistics.empty(clusters, encoder, rank, D)
        if sample.is_whole and D is None:
            return replace(statistics, styles=styles.count(sample.latents, sample.prompts, sample.sample_weight))
    counted = styles + source.total(functools.partial(_count_styles, styles.without_images(), known))
    if counted.moments.weight.sum() > (1 + 1e-9) * float(statistics.moments.pooled().weight[0]):
        raise ValueError("these images have been counted in their styles already: give each batch once")
    return replace(statistics, styles=counted)


def _sample(encoder: Encoder, known: tuple[str, ...], most: int, batch: Batch) -> Sample:
    latents = to_numpy(latents_of(encoder, batch.images))
    return Sample.of(batch.rows, latents, batch.places(known), batch.sample_weight, most)


def _count_styles(empty: StyleStatistics, known: tuple[str, ...], batch: Batch) -> StyleStatistics:
    latents = to_numpy(latents_of(empty.encoder, batch.images))
    return empty.count(latents, batch.places(known), batch.sample_weight, batch.rows)


def style_counts(statistics: Statistics, parameters: Parameters, d: int) -> Indices:
    """Return the number of styles (p,) of each prompt, for latents of d entries."""
    p, asked = len(statistics.prompts), parameters.n_styles
    if not isinstance(asked, str):
        return np.full(p, asked)
    if not isinstance(statistics.moments, Moments):
        raise ValueError("styles need the moments of every prompt; allow more with max_memory")
    counts = statistics.moments.effective / IMAGES_A_STYLE
    most = parameters.max_memory / Moments.nbytes(1, d)  # styles whose moments fit into the memory
    if parameters.shares_words:
        k = _words(statistics, parameters)
        most = p * min(most / p, (parameters.max_memory / 8) ** 0.5 / (d + 1) - 1 - k)
        counts = np.full(p, counts.mean())
    counts = counts * min(1.0, most / max(counts.sum(), 1.0))
    return np.asarray(np.maximum(np.rint(counts), 1.0), dtype=np.intp)


def _words(statistics: Statistics, parameters: Parameters) -> int:
    """Return the number of entries of the embedding of a prompt."""
    text = fit_text_encoder(parameters.text_encoder, statistics.prompts)
    assert text is not None
    return int(text.embed(statistics.prompts[:1]).shape[1])


def _find_clusters(
    statistics: Statistics, sample: Sample, parameters: Parameters, counts: Indices
) -> StyleClusters:
    """Find the centres of each prompt's styles, or of those that prompts of several words share."""
    shared, known, n_styles = parameters.shares_words, statistics.prompts, parameters.n_styles
    if (missing := np.setdiff1d(np.arange(len(known)), sample.prompts)).size and not shared:
        what = f"the batch that chooses the styles must have every prompt, but {known[missing[0]]!r} is not in it"
        raise ValueError(f"{what}; give a larger or a better mixed batch first")
    if not isinstance(statistics.moments, Moments):
        raise ValueError("styles need the moments of every prompt; allow more with max_memory")
    encoder, seed = latent_encoder(statistics, parameters), for_kmeans(parameters.random_state)
    means = latent_moments(statistics, encoder).mean if shared else None  # type: ignore[union-attr]
    asked = n_styles if isinstance(n_styles, str) else int(n_styles), counts, seed, means
    clusters = StyleClusters.find(sample.latents, sample.prompts, sample.sample_weight, *asked)
    if (small := clusters.small()).size:
        what = f"{known[small[0]]!r} has fewer styles than n_styles={n_styles}: fewer distinct images, or clusters"
        warn(f"{what} without images (prompts with fewer styles: {len(small)})")
    return clusters


# ---------------------------------------------------------------------- from statistics to a model


def image_encoder(statistics: Statistics, parameters: Parameters) -> Encoder:
    """Return the image encoder with the variances of all data, and unless it was given with their mean image."""
    encoder, residual = latent_encoder(statistics, parameters), statistics.residual
    if residual is None or not isinstance(encoder, ImageEncoder):
        return encoder
    variance = np.diag(statistics.moments.pooled().covariance[0])
    return residual.apply(encoder, variance, moves=parameters.image_encoder is None)


def latent_encoder(statistics: Statistics, parameters: Parameters) -> Encoder:
    """Return the encoder of the latents: a fixed one, or the PCA of the moments of pixels."""
    if statistics.encoder is not None:
        return statistics.encoder
    if statistics.styles is not None:
        return statistics.styles.encoder
    pooled, shape, dtype = statistics.moments.pooled(), statistics.image_shape, statistics.pixel_dtype
    return ImageEncoder.fit(pooled, parameters.n_components, shape, dtype, parameters.scale)


def latent_moments(statistics: Statistics, encoder: Encoder) -> Moments | JointMoments:
    """Return the moments of the latents."""
    if statistics.encoder is not None:
        return statistics.moments
    assert isinstance(encoder, ImageEncoder)
    moments, pixels = statistics.moments, encoder.pixels
    if pixels is None or not isinstance(moments, Moments) or (scatter := diagonals(moments.scatter)) is None:
        return moments.project(encoder.mean, encoder.analysis)
    scale = (encoder.scaling_factor * encoder.pixel_scale)[pixels]  # the product of diagonal matrices
    mean = np.where(moments.weight[:, None] > 0, moments.mean - encoder.mean, 0.0)[:, pixels] / scale
    return replace(moments, mean=mean, scatter=(scatter[:, pixels] / scale**2)[:, None] * np.eye(len(scale)))


def solve(statistics: Statistics, parameters: Parameters, encoder: Encoder) -> FittedDiffusion:
    """Solve for the denoisers and the contrast."""
    styles, known = statistics.styles, statistics.prompts
    if styles is None and parameters.has_styles:
        raise ValueError("styles take a second pass: give the batches to partial_fit_styles, too")
    if styles is not None and styles.clusters.shared != parameters.shares_words:
        what = "styles of whole prompts are not those that prompts of several words share"
        raise ValueError(f"{what}: fit again, or use partial_fit_styles, with this text_encoder")
    moments = latent_moments(statistics, encoder)
    unconditional = GaussianDenoiser.from_moments(moments.pooled())
    text = fit_text_encoder(parameters.text_encoder, known) if known else None
    law = moments if isinstance(moments, Moments) else moments.pooled()  # of what the exact sampler draws
    conditional: GaussianDenoiser | RegressionDenoiser
    size, within, amount, table = len(known), None, None, None
    if styles is not None:
        table = StyleFrequencies(styles.clusters.prompt, styles.moments.weight, styles.clusters.shared)
    if not isinstance(moments, Moments):
        size = len(moments.matrix) - 1
        conditional = RegressionDenoiser.from_moments(moments)
    elif text is not None:
        embeddings = text.embed(known)
        size = embeddings.shape[1]
        if styles is not None:
            law = styles.moments
            embeddings = np.hstack([embeddings[styles.clusters.prompt], styles.clusters.words()])
        conditional = RegressionDenoiser.from_moments(JointMoments.of_prompts(embeddings, law))
    elif styles is not None:
        law, (within, amount) = styles.moments, styles.shrink_within(parameters.shrinkage)
        rank = parameters.style_rank
        conditional = GaussianDenoiser(
            law.mean, *styles.drawn(styles.rank if isinstance(rank, str) else rank, within)
        )
    else:
        law, amount = shrink(moments, parameters.shrinkage)
        conditional = GaussianDenoiser.from_moments(law)
    conditioner, cache = Conditioner(known, text, table, size), Cache(parameters.cache_memory)
    pixels = None
    if isinstance(encoder, ImageEncoder):
        known_laws = conditional.variance if isinstance(conditional, GaussianDenoiser) and _are_known(law) else None
        pixels = PixelModel.of(encoder, statistics.pixel_range, known_laws)
    contrast = _contrast(statistics, parameters, encoder, law, conditional, amount)
    return FittedDiffusion(
        parameters,
        statistics,
        encoder,
        conditioner,
        unconditional,
        conditional,
        amount,
        within,
        pixels,
        contrast,
        cache,
    )


def _are_known(moments: Moments) -> bool:
    """Return whether all moments are those of known Gaussians, see :func:`known_gaussians`."""
    return bool((moments.effective > 0.5 * UNLIMITED).all())


def _contrast(
    statistics: Statistics,
    parameters: Parameters,
    encoder: Encoder,
    law: Moments,
    conditional: Any,
    amount: Array | None,
) -> Contrast | None:
    """Solve for the contrast of the exact sampler without guidance."""
    if parameters.contrast is None:
        return None
    check_counted(statistics, parameters)
    if not isinstance(encoder, ImageEncoder):
        raise ValueError("a contrast needs a linear image encoder, whose pixels have a known law")
    drawn = conditional if isinstance(conditional, GaussianDenoiser) else GaussianDenoiser.from_moments(law)
    if parameters.contrast == "histogram":
        assert statistics.histogram is not None
        return HistogramContrast.solve(law.weight, drawn, encoder, statistics.histogram)
    residual, fixed = statistics.residual, statistics.encoder
    told = residual.brightness(fixed) if residual and isinstance(fixed, ImageEncoder) else None
    affine = AffineContrast.solve(law.weight, drawn, encoder, statistics.pixel_range, told)
    if parameters.contrast == "affine" or drawn is not conditional:
        return affine
    return PixelwiseContrast.solve(*_pictured(statistics, amount), drawn, encoder, affine)


def _pictured(statistics: Statistics, amount: Array | None) -> tuple[Array, Array]:
    """Return the mean and the variance (g, D) of the pixels of each prompt or style."""
    if statistics.styles is not None:
        return statistics.styles.pictured()
    pixels = statistics.pixels
    if pixels is None:
        assert isinstance(statistics.moments, Moments)
        pixels = PixelMoments.of_moments(statistics.moments)
    a = np.zeros((1, 1)) if amount is None else amount[:, None]
    within = pixels.scatter.sum(axis=0) / pixels.weight.sum()
    return pixels.mean, (1 - a) * pixels.variance + a * within
