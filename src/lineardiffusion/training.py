"""Training: images and prompts to statistics, and statistics to a fitted model.

    measure      batch -> moments of the pixels in one pass, or of the latents in two
    add_styles   batch -> moments of its styles, in a pass of its own
    solve        statistics -> encoder, denoisers and contrast, in closed form

The statistics add up, so a stream costs one ``solve``, when the model is first used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lineardiffusion._arrays import Indices, members_of
from lineardiffusion._cache import Cache, computed_once
from lineardiffusion._noise import for_kmeans
from lineardiffusion._validation import warn
from lineardiffusion.contrast import AffineContrast, Contrast, HistogramContrast
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.diffusion.regression import RegressionDenoiser
from lineardiffusion.encoders.clusters import CENTRED_ON, IMAGES_A_STYLE, StyleClusters
from lineardiffusion.encoders.conditioning import Conditioner, StyleFrequencies
from lineardiffusion.encoders.image import Encoder, ImageEncoder, latents_of
from lineardiffusion.encoders.text import fit_text_encoder, vocabulary
from lineardiffusion.fitted import FittedDiffusion
from lineardiffusion.inverse.measurement import PixelModel, rounding_variance
from lineardiffusion.parameters import Parameters
from lineardiffusion.statistics.batch import Batch
from lineardiffusion.statistics.dataset import Statistics, same_encoder
from lineardiffusion.statistics.histogram import Histogram
from lineardiffusion.statistics.joint import JointMoments
from lineardiffusion.statistics.missing import complete
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.shrinkage import shrink
from lineardiffusion.statistics.styles import StyleStatistics

LARGE = 4096  # pixels from which fewer images than pixels are read twice
SOLVED_BY = ("n_components", "scale", "image_encoder", "text_encoder", "n_styles", "shrinkage", "contrast")


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


def fit(batch: Batch, parameters: Parameters) -> Learned:
    """Fit a model to a data set, and solve it."""
    if batch.has_missing:
        statistics, batch = measure_missing(None, batch, parameters)
    else:
        statistics = measure(batch, parameters)
    if parameters.has_styles:
        statistics = add_styles(statistics, batch, parameters)
    learned = Learned(statistics, parameters)
    _ = learned.fitted
    return learned


def update(before: Statistics | None, batch: Batch, parameters: Parameters) -> Learned:
    """Add a batch to the statistics of a stream; styles begin anew, for the latents change."""
    D = batch.rows.shape[1]
    if parameters.image_encoder is None:
        known = vocabulary([*batch.known, *(before.prompts if before else ())])
        needed = Moments.nbytes(len(known), D) if known else batch.nbytes(D)
        if before is not None and before.encoder is not None:
            instead = f"give all images to fit, or all to partial_fit, with max_memory={1.01 * needed:.3g}"
            raise ValueError(f"a model that fit made in two passes cannot go on; {instead}")
        what = f"the moments of all {D} pixels under every prompt, which partial_fit keeps,"
        _check_memory(needed, parameters, what, "give all images to fit, which then goes over them twice")
    else:
        _latent_size(parameters.image_encoder, batch)
    if batch.has_missing:
        statistics, _ = measure_missing(before, batch, parameters)
    else:
        histogram = parameters.contrast == "histogram"
        statistics = Statistics.measure(batch, parameters.image_encoder, histogram=histogram)
    if before is not None:
        check_histogram(before, parameters)
        statistics = before.without_styles() + statistics
    return Learned(statistics, parameters)


def forget(before: Learned, batch: Batch) -> Learned:
    """Subtract a batch from the statistics; a ValueError if it cannot have been in the data."""
    statistics, parameters = before.statistics, before.parameters
    if unknown := sorted(set(batch.known) - set(statistics.prompts)):
        raise ValueError(f"cannot forget images of the unknown prompt {unknown[0]!r}: the model never saw them")
    (low, high), (least, most) = statistics.pixel_range, (batch.rows.min(), batch.rows.max())
    if least < low or most > high:
        what = f"their pixels reach from {least:g} to {most:g}, those of the data from {low:g} to {high:g}"
        raise ValueError(f"cannot forget images that were never in the data: {what}")
    embeddings = None
    if batch.known and isinstance(statistics.moments, JointMoments):
        text = fit_text_encoder(parameters.text_encoder, statistics.prompts)
        assert text is not None
        embeddings = text.embed(batch.known)
    part = Statistics.measure(batch, statistics.encoder, embeddings, statistics.histogram is not None)
    if embeddings is not None:
        part = replace(part, prompts=statistics.prompts)
    if (styles := statistics.styles) is not None:
        empty = replace(statistics, styles=StyleStatistics.empty(styles.clusters, styles.encoder))
        part = replace(part, styles=_count_styles(empty, batch).styles)
    return Learned(statistics - part, parameters)


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
        vars(learned)["fitted"] = replace(before.fitted, parameters=parameters, cache=cache)
    _ = learned.fitted
    return learned


def calibrated(before: Learned, temperature: float) -> Learned:
    """Return the same model, as solved, with another temperature."""
    learned = replace(before, temperature=temperature)
    vars(learned).update(encoder=before.encoder, fitted=replace(before.fitted, temperature=temperature))
    return learned


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
    check_histogram(statistics, new)


def _changes(old: Parameters, new: Parameters, *names: str) -> list[str]:
    """Return which of these parameters differ."""
    return [name for name in names if not _equal(getattr(old, name), getattr(new, name))]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, ImageEncoder):
        return same_encoder(a, b)
    if hasattr(a, "get_params") and type(a) is type(b):
        return bool(a.get_params() == b.get_params())
    return a is b or bool(a == b)


def check_histogram(statistics: Statistics, parameters: Parameters) -> None:
    """Raise an error if the contrast needs a histogram of pixels that were not counted."""
    if parameters.contrast == "histogram" and statistics.histogram is None:
        what = 'contrast="histogram" needs the histogram of the data\'s pixels, which were not counted'
        raise ValueError(f'{what}; fit again with it, or use "affine", which follows from the moments')


def measure(batch: Batch, parameters: Parameters) -> Statistics:
    """Compute a batch's statistics: in one pass over the pixels where memory allows, or else in two."""
    D, n = batch.rows.shape[1], len(batch.rows)
    histogram = parameters.contrast == "histogram"
    encoder: Encoder | None = parameters.image_encoder
    if encoder is None and not takes_one_pass(batch.nbytes(D), n, D, parameters.max_memory):
        settings = (parameters.n_components, batch.image_shape)
        of_rows, of_pixels = 8 * n * D if n < D else np.inf, Moments.nbytes(1, D)
        what = f"the components of {n} images of {D} pixels"
        _check_memory(min(of_rows, of_pixels), parameters, what, "use fewer or smaller images")
        if of_rows <= parameters.max_memory:
            encoder = ImageEncoder.fit_rows(batch.rows, batch.sample_weight, *settings, parameters.scale)
        else:
            pooled = Moments.of(batch.rows, np.zeros(n, np.intp), 1, batch.sample_weight)
            encoder = ImageEncoder.fit(pooled, *settings, batch.rows.dtype, parameters.scale)
    if encoder is None:
        return Statistics.measure(batch, histogram=histogram)
    d, embeddings = _latent_size(encoder, batch), None
    if batch.known and batch.nbytes(d) > parameters.max_memory:
        text = fit_text_encoder(parameters.text_encoder, batch.known)
        embeddings = None if text is None else text.embed(batch.known)
    needed = batch.nbytes(d) if embeddings is None else JointMoments.nbytes(embeddings.shape[1], d)
    if needed > parameters.max_memory:
        k = None if embeddings is None else embeddings.shape[1]
        sizes = range(1, d)
        nbytes = [batch.nbytes(i) if k is None else min(batch.nbytes(i), JointMoments.nbytes(k, i)) for i in sizes]
        fitting = int(np.searchsorted(nbytes, parameters.max_memory, side="right"))
        instead = f"use n_components={fitting}" if fitting else "use fewer prompts, or embeddings of fewer entries"
        _check_memory(needed, parameters, f"the moments of all prompts in {d} components", instead)
    return Statistics.measure(batch, encoder, embeddings, histogram)


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
    if encoder is not None:
        moments = moments.project(encoder.mean, encoder.analysis)
    rows: Any = batch.rows
    histogram = Histogram.of_present(rows, batch.sample_weight) if parameters.contrast == "histogram" else None
    parts = batch.known, batch.image_shape, (low, high), batch.rows.dtype, encoder
    return Statistics(moments, *parts, histogram=histogram), filled


def takes_one_pass(nbytes: float, n: int, D: int, max_memory: float) -> bool:
    """Return whether `fit` keeps the moments of the pixels, of so many bytes, of n images of D pixels.

    They must fit into the memory, and are much larger than few large images themselves.
    """
    return nbytes <= max_memory and (D < LARGE or n >= D)


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
    latents = np.asarray(encoder.encode(batch.images[:1]))
    if latents.ndim != 2 or len(latents) != 1 or not np.isfinite(latents).all():
        raise ValueError(f"encode must return finite latents (n, d) of n images, got {latents.shape} of one")
    return int(latents.shape[1])


def add_styles(statistics: Statistics, batch: Batch, parameters: Parameters) -> Statistics:
    """Count a batch's styles, and find their centres in it if there are none yet."""
    styles, encoder = statistics.styles, image_encoder(statistics, parameters)
    d = _latent_size(encoder, batch)
    counts = style_counts(statistics, parameters, d)
    needed = Moments.nbytes(int(counts.sum()), d)
    if parameters.shares_words:
        needed = max(needed, JointMoments.nbytes(_words(statistics, parameters) + int(counts[0]), d))
    _check_memory(needed, parameters, "the moments of all styles", "use fewer styles or components")
    places, asked = batch.places(statistics.prompts), (parameters.n_styles, parameters.shares_words)
    if styles is None or (styles.clusters.requested, styles.clusters.shared) != asked:
        clusters = _find_clusters(statistics, batch, places, encoder, parameters, counts)
        statistics = replace(statistics, styles=StyleStatistics.empty(clusters, encoder))
    counted = _count_styles(statistics, batch)
    assert counted.styles is not None
    if counted.styles.moments.weight.sum() > (1 + 1e-9) * float(statistics.moments.pooled().weight[0]):
        raise ValueError("these images have been counted in their styles already: give each batch once")
    return counted


def _count_styles(statistics: Statistics, batch: Batch) -> Statistics:
    """Count a batch in the styles."""
    styles, places = statistics.styles, batch.places(statistics.prompts)
    assert styles is not None
    latents = latents_of(styles.encoder, batch.images)
    return replace(statistics, styles=styles.count(latents, places, batch.sample_weight))


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
    statistics: Statistics, batch: Batch, places: Indices, encoder: Encoder, parameters: Parameters, counts: Indices
) -> StyleClusters:
    """Find the centres of each prompt's styles, or of those that prompts of several words share."""
    shared, known = parameters.shares_words, statistics.prompts
    if (missing := sorted(set(known) - set(batch.known))) and not shared:
        what = f"the batch that chooses the styles must have every prompt, but {missing[0]!r} is not in it"
        raise ValueError(f"{what}; give a larger or a better mixed batch first")
    if not isinstance(statistics.moments, Moments):
        raise ValueError("styles need the moments of every prompt; allow more with max_memory")
    order = np.random.default_rng(0).permutation(len(places))
    own = [order[members][:CENTRED_ON] for members in members_of(places[order], len(known))]
    few = np.sort(order[:CENTRED_ON] if shared else np.concatenate(own))
    weight = None if batch.sample_weight is None else batch.sample_weight[few]
    latents = latents_of(encoder, batch.images[few])
    means = latent_moments(statistics, encoder).mean if shared else None  # type: ignore[union-attr]
    n_styles, seed = parameters.n_styles, for_kmeans(parameters.random_state)
    asked = n_styles if isinstance(n_styles, str) else int(n_styles), counts, seed, means
    clusters = StyleClusters.find(latents, places[few], weight, *asked)
    if (small := clusters.small()).size:
        what = f"{known[small[0]]!r} has fewer distinct images than n_styles={n_styles}, and so fewer styles"
        warn(f"{what} (prompts with fewer styles: {len(small)})")
    return clusters


# ---------------------------------------------------------------------- from statistics to a model


def image_encoder(statistics: Statistics, parameters: Parameters) -> Encoder:
    """Return the image encoder: that of the latents, or the PCA of the moments of pixels."""
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
    return statistics.moments.project(encoder.mean, encoder.analysis)


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
    size, undrawn, amount, table = len(known), None, None, None
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
        law, (shrunk, amount) = styles.moments, styles.shrink(parameters.shrinkage)
        conditional, undrawn = GaussianDenoiser(law.mean, shrunk.drawn, shrunk.basis), shrunk.undrawn
    else:
        law, amount = shrink(moments, parameters.shrinkage)
        conditional = GaussianDenoiser.from_moments(law)
    conditioner, cache = Conditioner(known, text, table, size), Cache(parameters.cache_memory)
    pixels = PixelModel.of(encoder, statistics.pixel_range) if isinstance(encoder, ImageEncoder) else None
    contrast = _contrast(statistics, parameters, encoder, law, conditional)
    return FittedDiffusion(
        parameters,
        statistics,
        encoder,
        conditioner,
        unconditional,
        conditional,
        amount,
        undrawn,
        pixels,
        contrast,
        cache,
    )


def _contrast(
    statistics: Statistics, parameters: Parameters, encoder: Encoder, law: Moments, conditional: Any
) -> Contrast | None:
    """Solve for the contrast of the exact sampler without guidance."""
    if parameters.contrast is None:
        return None
    check_histogram(statistics, parameters)
    if not isinstance(encoder, ImageEncoder):
        raise ValueError("a contrast needs a linear image encoder, whose pixels have a known law")
    drawn = conditional if isinstance(conditional, GaussianDenoiser) else GaussianDenoiser.from_moments(law)
    if parameters.contrast == "affine":
        return AffineContrast.solve(law.weight, drawn, encoder, statistics.pixel_range)
    assert statistics.histogram is not None
    return HistogramContrast.solve(law.weight, drawn, encoder, statistics.histogram)
