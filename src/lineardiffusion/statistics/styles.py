"""Moments of styles, and their covariances shrunk towards the prompt's.

A style g of n images in d dimensions has a covariance C of rank n - 1 at most, whose small eigenvalues are
mostly noise. It is shrunk towards the covariance W within the styles of its prompt u, as if W had been observed
in k = 20 images more,

    S = (n C + k W) / (n + k),        W = sum_g n_g C_g / sum_g n_g  over the styles g of u,

with W itself shrunk towards that of all prompts (shrinkage.py), for a prompt may be rare; its images in g styles
tell as much about W as sum_g (n_g - 1) + 1 images of a single style. S is the posterior mean under an inverse
Wishart prior (Chen 1979). Images are drawn in the n / 4 leading directions of S (at least 1), so four images stand
behind every direction. The other directions count where an image is scored and are left out where one is drawn,
like the directions that the encoder discards. With sample weights n is Kish's effective number of images,
(sum w)^2 / sum w^2.

Where prompts share words the regression takes the moments of the styles as they are.

References
----------
Chen (1979), Bayesian inference for a normal dispersion matrix and its application to stochastic multiple
regression analysis. JRSS B 41(2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import Array, Indices, freeze
from lineardiffusion._linalg import side_by_side
from lineardiffusion.encoders.clusters import StyleClusters
from lineardiffusion.encoders.image import Encoder
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.shrinkage import shrink

IMAGES_A_DIRECTION = 4
PRIOR_IMAGES = 20.0  # k


class ShrunkCovariances(NamedTuple):
    """The covariances S of g styles, ``basis @ diag(drawn + undrawn) @ basis.T``.

    In every direction one of `drawn` and `undrawn`, both (g, d), is 0; `basis` is (g, d, d).
    """

    drawn: Array
    undrawn: Array
    basis: Array


@dataclass(frozen=True, eq=False)
class StyleStatistics:
    """Sufficient statistics of g styles; they add and subtract."""

    clusters: StyleClusters
    moments: Moments  # of the latents of each style
    encoder: Encoder  # of the latents

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def empty(cls, clusters: StyleClusters, encoder: Encoder) -> StyleStatistics:
        """Return the statistics of no image."""
        g, d = clusters.centres.shape
        return cls(clusters, Moments.zeros(g, d), encoder)

    def count(
        self, latents: NDArray[np.floating], prompts: Indices, sample_weight: Array | None = None
    ) -> StyleStatistics:
        """Add images by their latents (n, d), each to the style of the nearest centre of its prompt.

        Products are float64 whatever the latents, so that the order of the images makes no difference.
        """
        styles = self.clusters.assign(latents, prompts)
        more = Moments.of(latents, styles, len(self.clusters), sample_weight, np.float64)
        return replace(self, moments=self.moments + more if self.moments.weight.any() else more)

    def __add__(self, other: StyleStatistics) -> StyleStatistics:
        """Return the statistics of both data sets, whose styles have the same centres."""
        self._check_same(other)
        return replace(self, moments=self.moments + other.moments)

    def __sub__(self, other: StyleStatistics) -> StyleStatistics:
        """Return the statistics without a part of the data."""
        self._check_same(other)
        return replace(self, moments=self.moments - other.moments)

    def of_prompts(self, kept: Indices) -> StyleStatistics:
        """Return the statistics of some of the prompts, which are numbered anew."""
        old = self.clusters
        own = np.flatnonzero(np.isin(old.prompt, kept))
        clusters = replace(old, centres=old.centres[own], prompt=np.searchsorted(kept, old.prompt[own]))
        return StyleStatistics(clusters, self.moments[own], self.encoder)

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

    def shrink(self, shrinkage: float | str) -> tuple[ShrunkCovariances, Array]:
        """Shrink each style's covariance towards that within its prompt, and split it by what is drawn.

        Return the covariances, and the amounts (p,) by which those within prompts are shrunk.
        """
        n, moments, prompt = self.moments.effective, self.moments, self.clusters.prompt
        images = 1.0 + np.bincount(prompt, np.maximum(n - 1, 0.0))
        shrunk, amount = shrink(self.within(), shrinkage, np.asarray(images, dtype=np.float64))
        k, within = PRIOR_IMAGES / (n + PRIOR_IMAGES), shrunk.covariance
        own = (1 - k) / np.where(moments.weight > 0, moments.weight, 1.0)
        variance, basis = np.empty_like(moments.mean), np.empty_like(moments.scatter)

        def fill(g: int) -> None:  # one style at a time in memory
            S = own[g] * moments.scatter[g] + k[g] * within[prompt[g]]
            variance[g], basis[g] = np.linalg.eigh(S)

        side_by_side(fill, range(len(n)))
        np.maximum(variance, 0.0, out=variance)
        d = moments.mean.shape[1]
        rank = np.maximum(n / IMAGES_A_DIRECTION, 1.0).astype(int)
        kept = np.arange(d) >= d - rank[:, None]
        return ShrunkCovariances(np.where(kept, variance, 0.0), np.where(kept, 0.0, variance), basis), amount
