"""The rank of styles: how many directions a style is drawn in, chosen on held-out images.

A style of n images is drawn in floor(rank n) directions (statistics/styles.py). Few directions keep the pictures
of a style near a plane, and many leave them without the structure of an image, since clipping at black and white
(contrast.py) lowers the correlations of the pixels. Which is best depends on the data. So a tenth of the sample
that chose the styles is held out, the styles are estimated from the others, and each of `RANKS` draws pictures,
with the pixelwise contrast, in the styles of the held-out images and twice as many. The rank is that of the least
Frechet distance between held-out images and pictures::

    |m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2)

where m, C and m', C' are mean and covariance of their local contrasts: the standard deviations of the pixels in
blocks of two along every axis of the image. All ranks give every pixel the same mean and variance, and differ in
how a pixel varies with its neighbours.

A rank that copies is no choice. Of real images one in twenty is nearer to the training images of its style than
the 5 % quantile of held-out images of its prompt. A rank is left out if this holds for more than COPIES of its
pictures and two standard errors of that share of real images, unless no rank copies less.

The images are their decoded latents, so the choice needs no pass over the data. It takes part of the styles, and
of a style TRAINING images at most, so its cost is bounded. All ranks share their random numbers. Sample weights
take no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import Array, Indices, members_of
from lineardiffusion._linalg import side_by_side
from lineardiffusion.contrast import before_clip
from lineardiffusion.distributions.gaussian import Gaussian
from lineardiffusion.encoders.clusters import StyleClusters
from lineardiffusion.encoders.image import Encoder, ImageEncoder
from lineardiffusion.statistics.sample import Sample
from lineardiffusion.statistics.styles import RANK, number_of_directions

RANKS = (1.0, 0.5, 0.25, 0.125)
HELD_OUT, TRAINING, NEAR = 1200, 1000, 200  # images at most: held out, of a style, and of a style to be near to
LEAST = 100  # held-out images, below which there is no choice
SMALL = 10  # images of a style, below which it takes no part
BLOCKS = 256  # local contrasts at most
DRAWS = 2  # for each held-out image
QUANTILE, COPIES = 0.05, 0.08  # of distances to training images, and the share of pictures below it at most

Pictures = NDArray[np.float32]


def choose_rank(
    sample: Sample, clusters: StyleClusters, encoder: Encoder, pixel_range: tuple[float, float]
) -> float:
    """Return the rank of styles whose pictures are most like held-out images; RANK if they cannot tell."""
    if clusters.shared or not isinstance(encoder, ImageEncoder) or pixel_range[0] == pixel_range[1]:
        return RANK
    style, rng = clusters.assign(sample.latents, sample.prompts), np.random.default_rng(0)
    members = [rng.permutation(own) for own in members_of(style, len(clusters))]
    order = [g for g in rng.permutation(len(members)).tolist() if len(members[g]) >= SMALL]
    held = [min(len(members[g]) // SMALL, NEAR) for g in order]
    chosen = order[: int(np.searchsorted(np.cumsum(held), HELD_OUT)) + 1]
    if sum(held[: len(chosen)]) < LEAST:
        return RANK
    seeds = rng.integers(2**63, size=len(chosen)).tolist()

    def of_style(i: int) -> list[tuple[Array, Array]]:
        own, n = members[chosen[i]], int(held[i])
        training, *pictures = _pictures(
            sample.latents[own[n : n + TRAINING]],
            sample.latents[own[:n]],
            len(own) - n,
            encoder,
            pixel_range,
            seeds[i],
        )
        return [(local_contrast(one, encoder.image_shape), _nearest(one, training[:NEAR])) for one in pictures]

    columns = list(zip(*side_by_side(of_style, range(len(chosen))), strict=True))  # real ones, and each rank's
    distances = [[far for _, far in column] for column in columns]
    features = [np.concatenate([one for one, _ in column]) for column in columns]
    real, *drawn = (Gaussian(x.mean(axis=0), np.atleast_2d(np.cov(x.T))) for x in features)
    distance = np.array([law.wasserstein(real) for law in drawn])
    copies = np.array([_copies(distances[0], one, clusters.prompt[chosen]) for one in distances[1:]])
    variance = (
        QUANTILE * (1 - QUANTILE) * (1 / len(features[0]) + 1 / len(features[1]))
    )  # of the share of real ones
    allowed = max(COPIES + 2 * variance**0.5, copies.min())
    return RANKS[int(np.argmin(np.where(copies <= allowed, distance, np.inf)))]


def _copies(real: Sequence[Array], drawn: Sequence[Array], prompt: Indices) -> float:
    """Return the share of distances of pictures below the quantile of real ones of their prompt, style by style."""
    below = 0
    for u in np.unique(prompt):
        own = np.flatnonzero(prompt == u).tolist()
        bound = float(np.quantile(np.concatenate([real[i] for i in own]), QUANTILE, method="weibull"))
        below += sum(int((drawn[i] <= bound * (1 + 1e-4)).sum()) for i in own)  # ties, whatever their rounding
    return below / sum(map(len, drawn))


def _pictures(
    latents: NDArray[np.floating],
    held_out: NDArray[np.floating],
    n: int,
    encoder: ImageEncoder,
    pixel_range: tuple[float, float],
    seed: int,
) -> list[Pictures]:
    """Return training and held-out pictures of a style, and those that each rank draws of n images, from 0 to 1."""
    low, high = pixel_range
    mean, synthesis = latents.mean(axis=0), encoder.synthesis.astype(np.float32)

    def decode(z: NDArray[np.floating]) -> Pictures:
        pixels = (z.astype(np.float32) @ synthesis + encoder.mean.astype(np.float32) - low) / (high - low)
        return np.asarray(np.clip(pixels, 0.0, 1.0), dtype=np.float32)

    images = decode(latents)
    t, b = before_clip(images.mean(axis=0, dtype=np.float64), images.var(axis=0, ddof=1, dtype=np.float64))
    _, spread, directions = np.linalg.svd(latents - mean, full_matrices=False)
    factor = ((spread[:, None] * directions).astype(np.float32) @ synthesis).astype(np.float32)
    noise = np.random.default_rng(seed).standard_normal((DRAWS * len(held_out), len(spread)), np.float32)
    found = [images, decode(held_out)]
    for rank in RANKS:
        r = int(number_of_directions(np.array(n), rank, len(spread)))
        drawn = noise[:, :r] @ factor[:r]
        deviation = np.sqrt((factor[:r] ** 2).sum(axis=0))
        unit = np.divide(b, deviation, out=np.zeros_like(b), where=deviation > 1e-6 * deviation.max())
        centre = np.where(unit > 0, t * b, images.mean(axis=0))
        found.append(np.clip(drawn * unit + centre, 0.0, 1.0).astype(np.float32))
    return found


def _nearest(pictures: Pictures, training: Pictures) -> Array:
    """Return the distance (m,) of pictures (m, D) to the nearest of others."""
    x, y = pictures - training.mean(axis=0), training - training.mean(axis=0)
    squares = (x**2).sum(axis=1)[:, None] - 2 * x @ y.T + (y**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares.min(axis=1), 0.0)), dtype=np.float64)


def local_contrast(pictures: NDArray[np.floating], shape: tuple[int, ...]) -> Array:
    """Return the standard deviations (n, k) of pixels (n, D) in blocks of two along every axis of four or more.

    If there are many, they are those of `BLOCKS` blocks at random. A shorter axis, such as that of colours, is left
    as it is. Without a longer one the pixels themselves are returned.
    """
    n, axes = len(pictures), [i for i, size in enumerate(shape) if size >= 4]
    if not axes:
        return pictures.astype(np.float64)
    cut = tuple(slice(size - size % 2) if i in axes else slice(None) for i, size in enumerate(shape))
    x = pictures.reshape(n, *shape)[(slice(None), *cut)].astype(np.float64)
    first, second = x, x**2
    for axis in axes:  # means of two neighbours
        even, odd = (tuple([slice(None)] * (axis + 1) + [slice(start, None, 2)]) for start in (0, 1))
        first, second = (0.5 * (one[even] + one[odd]) for one in (first, second))
    found = np.sqrt(np.maximum(second - first**2, 0.0)).reshape(n, -1)
    chosen: Indices = np.sort(np.random.default_rng(0).permutation(found.shape[1])[:BLOCKS])
    return np.asarray(found[:, chosen])
