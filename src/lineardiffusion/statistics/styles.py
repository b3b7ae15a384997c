"""Moments of styles, and the two covariances that follow from them: the drawn one and the scored one.

A style g of n images in d dimensions has a maximum-likelihood covariance C of rank n - 1 at most, whose small
eigenvalues are mostly noise.

**Drawn.** With C = Q diag(l) Q^T, l falling, images are drawn in the r leading directions, with variances that are
scaled so that their total is the whole unbiased variance of the style,

    l'_k = s l_k  for k <= r,    s = (n / (n - 1)) sum_k l_k / sum_{k <= r} l_k,    r = max(1, floor(rank n))

so no variance is lost, and no image is stored. `rank`, directions for each image, is chosen on held-out images
(style_rank.py). A style of fewer than 4 images would draw copies of them. Instead it is drawn in
floor(rank (n + k)) directions of S, equation (1), with the variance of S.

**Scored.** Where images are scored, C is shrunk towards the covariance W within the styles of the prompt u, as if W
had been observed in k = 20 images more,

    S = (n C + k W) / (n + k),        W = sum_g n_g C_g / sum_g n_g  over the styles g of u,                  (1)

with W itself shrunk towards that of all prompts (shrinkage.py), for a prompt may be rare; its images in g styles
tell as much about W as sum_g (n_g - 1) + 1 images of a single style. S is the posterior mean under an inverse
Wishart prior (Chen 1979). Every direction counts there. With sample weights n is Kish's effective number of images,
(sum w)^2 / sum w^2.

Where prompts share words the regression takes the moments of the styles as they are.

References
----------
Chen (1979), Bayesian inference for a normal dispersion matrix and its application to stochastic multiple
regression analysis. JRSS B 41(2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import Array, Indices, freeze
from lineardiffusion._linalg import side_by_side
from lineardiffusion.encoders.clusters import StyleClusters
from lineardiffusion.encoders.image import Encoder
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.pixels import PixelMoments
from lineardiffusion.statistics.shrinkage import shrink

RANK = 0.25  # directions for each image, where nothing tells which number is best
PRIOR_IMAGES = 20.0  # k
FEW = 4  # images; a style of fewer is drawn from S
ROUNDING = 1e-6  # of an effective number of images


@dataclass(frozen=True, eq=False)
class StyleStatistics:
    """Sufficient statistics of g styles; they add and subtract."""

    clusters: StyleClusters
    moments: Moments  # of the latents of each style
    encoder: Encoder  # of the latents
    rank: float = RANK  # directions that a style is drawn in, for each of its images, as held-out images choose it
    pixels: PixelMoments | None = None  # of each style, where a contrast needs them
    truncated: bool = False  # whether they were stored as approximations (io/low_rank.py)

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def empty(
        cls, clusters: StyleClusters, encoder: Encoder, rank: float = RANK, n_pixels: int | None = None
    ) -> StyleStatistics:
        """Return the statistics of no image; with `n_pixels`, moments of the pixels are counted too."""
        g, d = clusters.centres.shape
        pixels = None if n_pixels is None else PixelMoments.zeros(g, n_pixels)
        return cls(clusters, Moments.zeros(g, d), encoder, rank, pixels)

    def without_images(self) -> StyleStatistics:
        """Return the statistics of no image in the same styles."""
        D = None if self.pixels is None else self.pixels.mean.shape[1]
        return StyleStatistics.empty(self.clusters, self.encoder, self.rank, D)

    def count(
        self, latents: NDArray[np.floating], prompts: Indices, sample_weight: Array | None = None, rows: Any = None
    ) -> StyleStatistics:
        """Add images by their latents (n, d), each to the style of the nearest centre of its prompt.

        Products are float64 whatever the latents, so that the order of the images makes no difference. `rows`
        (n, D) are the pixels, where their moments are counted.
        """
        styles, pixels = self.clusters.assign(latents, prompts), self.pixels
        more = Moments.of(latents, styles, len(self.clusters), sample_weight, np.float64)
        if pixels is not None:
            pixels = pixels + PixelMoments.of(rows, styles, len(self.clusters), sample_weight)
        return replace(self, moments=self.moments + more if self.moments.weight.any() else more, pixels=pixels)

    def __add__(self, other: StyleStatistics) -> StyleStatistics:
        """Return the statistics of both data sets, whose styles have the same centres."""
        self._check_same(other)
        both = self.pixels is not None and other.pixels is not None
        pixels = self.pixels + other.pixels if both else None  # type: ignore[operator]
        truncated = self.truncated or other.truncated
        return replace(self, moments=self.moments + other.moments, pixels=pixels, truncated=truncated)

    def __sub__(self, other: StyleStatistics) -> StyleStatistics:
        """Return the statistics without a part of the data."""
        self._check_same(other)
        both = self.pixels is not None and other.pixels is not None
        nearest = self.truncated or other.truncated
        pixels = self.pixels.minus(other.pixels, nearest) if both else None  # type: ignore[union-attr, arg-type]
        return replace(self, moments=self.moments.minus(other.moments, nearest), pixels=pixels)

    def of_prompts(self, kept: Indices) -> StyleStatistics:
        """Return the statistics of some of the prompts, which are numbered anew."""
        old = self.clusters
        own = np.flatnonzero(np.isin(old.prompt, kept))
        clusters = replace(old, centres=old.centres[own], prompt=np.searchsorted(kept, old.prompt[own]))
        pixels = None if self.pixels is None else self.pixels[own]
        return replace(self, clusters=clusters, moments=self.moments[own], pixels=pixels)

    def _check_same(self, other: StyleStatistics) -> None:
        if not self.clusters.same_centres(other.clusters):
            raise ValueError(
                "these styles have different centres, so their statistics do not add up. Fit one model on both "
                "data sets; or merge models without styles, refit(n_styles=1), and give all batches to "
                "partial_fit_styles afterwards"
            )

    def within(self) -> Moments:
        """Return moments whose covariances are those within the styles of each prompt, W, and whose means are 0."""
        n, moments, prompt = self.moments.effective, self.moments, self.clusters.prompt
        p, d = int(prompt.max()) + 1, moments.mean.shape[1]
        total, scatter = np.bincount(prompt, n, p).astype(np.float64), np.zeros((p, d, d))
        for g in np.flatnonzero(moments.weight):
            scatter[prompt[g]] += (n[g] / moments.weight[g]) * moments.scatter[g]
        return Moments(total, total, np.zeros((p, d)), scatter)

    def shrink_within(self, shrinkage: float | str) -> tuple[Array, Array]:
        """Return the covariances W (p, d, d) within prompts, shrunk towards that of all, and the amounts (p,)."""
        n, prompt = self.moments.effective, self.clusters.prompt
        images = 1.0 + np.bincount(prompt, np.maximum(n - 1, 0.0))
        shrunk, amount = shrink(self.within(), shrinkage, np.asarray(images, dtype=np.float64))
        return shrunk.covariance, amount

    def pictured(self) -> tuple[Array, Array]:
        """Return the mean and the variance (g, D) of the pixels of each style: unbiased, and S's for few images."""
        assert self.pixels is not None
        n, pixels, owner = self.moments.effective[:, None], self.pixels, self.clusters.prompt
        within, weight = np.zeros((int(owner.max()) + 1, pixels.mean.shape[1])), np.bincount(owner, pixels.weight)
        np.add.at(within, owner, pixels.scatter)
        within /= np.where(weight > 0, weight, 1.0)[:, None]
        k = PRIOR_IMAGES / (n + PRIOR_IMAGES)
        shrunk = (1 - k) * pixels.variance + k * within[owner]
        return pixels.mean, np.where(n < FEW - ROUNDING, shrunk, pixels.variance * n / np.maximum(n - 1, 1.0))

    def scored(self, within: Array) -> tuple[Array, Array]:
        """Return the eigenvalues (g, d) and eigenvectors (g, d, d) of S, with W = `within` (p, d, d)."""
        variance, basis = np.empty_like(self.moments.mean), np.empty_like(self.moments.scatter)

        def fill(g: int) -> None:  # one style at a time in memory
            variance[g], basis[g] = np.linalg.eigh(self._shrunk(g, within))

        side_by_side(fill, range(len(variance)))
        return np.maximum(variance, 0.0), basis

    def drawn(self, rank: float, within: Array) -> tuple[Array, Array]:
        """Return variances l' (g, r), falling, and directions (g, d, r) that styles are drawn in.

        r is that of the style of most images. The other styles' are filled up with zeros, or if r is d with
        directions without variance.
        """
        n, (g, d) = self.moments.effective, self.moments.mean.shape
        few = n < FEW - ROUNDING
        r = number_of_directions(np.where(few, n + PRIOR_IMAGES, n), rank, d)
        variance, basis = np.zeros((g, r.max())), np.zeros((g, d, r.max()))

        def fill(k: int) -> None:
            if few[k]:
                C, unbiased, most = self._shrunk(k, within), 1.0, d
            else:
                C, unbiased = self.moments.scatter[k] / self.moments.weight[k], n[k] / (n[k] - 1)
                most = int(np.ceil(n[k])) - 1
            found, own = leading(C, int(r[k]), most)
            if (total := found.sum()) > 0:
                variance[k, : len(found)] = unbiased * np.trace(C) / total * found
            basis[k, :, : len(found)] = own
            if len(found) < d == basis.shape[2]:  # a whole basis, of styles with fewer directions too
                basis[k, :, len(found) :] = np.linalg.qr(np.hstack([own, np.eye(d)])).Q[:, len(found) :]

        side_by_side(fill, range(g))
        return variance, basis

    def _shrunk(self, g: int, within: Array) -> Array:
        """Return S (d, d) of a style."""
        n, weight = float(self.moments.effective[g]), float(self.moments.weight[g]) or 1.0
        k = PRIOR_IMAGES / (n + PRIOR_IMAGES)
        return np.asarray((1 - k) / weight * self.moments.scatter[g] + k * within[self.clusters.prompt[g]])


def number_of_directions(images: Array, rank: float, d: int, least: int = 1) -> Indices:
    """Return the number (g,) of directions of styles of so many images (g,), from `least` to d."""
    return np.clip(rank * images + ROUNDING, min(least, d), d).astype(np.intp)


def leading(C: Array, r: int, rank: int) -> tuple[Array, Array]:
    """Return the r largest eigenvalues of C (d, d), falling, and their eigenvectors (d, r); fewer if C has fewer.

    If C has the `rank` at most, its range is spanned by as many products with random vectors, and the decomposition
    is of a small matrix. Images of unequal weights may have more directions; then all of C is decomposed.
    """
    d, total = len(C), float(np.trace(C))
    size = rank + 5
    if total <= 0:
        return np.zeros(0), np.zeros((d, 0))
    if size < d // 3:
        Q = np.linalg.qr(C @ np.random.default_rng(0).standard_normal((d, size))).Q
        inner = Q.T @ C @ Q
        if abs(np.trace(inner) - total) <= 1e-9 * total:
            values, vectors = np.linalg.eigh(inner)
            kept = np.flatnonzero(values[::-1][:r] > 1e-12 * total)
            return values[::-1][kept], Q @ vectors[:, ::-1][:, kept]
    values, vectors = np.linalg.eigh(C)
    kept = np.flatnonzero(values[::-1][:r] > 1e-12 * total)
    return values[::-1][kept], vectors[:, ::-1][:, kept]
