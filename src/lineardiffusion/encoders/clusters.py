"""Styles: clusters of each prompt's latents, found by k-means.

Every cluster ("style") of a prompt gets its own Gaussian; "7" draws a style by its frequency and "7~12" names
one, so the law of "7" is a mixture of Gaussians. Styles are numbered by falling frequency among the images that
k-means used, so "7~0" is the commonest one.

Where prompts share words, they share styles, too: k-means clusters z - m_u, the latent less the mean of its
prompt, of all prompts together. The fourth style of "4 2" is then the fourth style of every other prompt, and
the style is one more word of the embedding.

With ``n_styles="auto"`` a prompt has a style for every ``IMAGES_A_STYLE`` images: fewer images give a covariance
that is mostly noise, and more leave out differences between images.

The first images choose the centres (``CENTRED_ON`` for each prompt at most); every image then belongs to the
nearest centre of its prompt. So a stream may follow, and no latent is kept.

References
----------
Lloyd (1982), Least squares quantization in PCM. IEEE Transactions on Information Theory 28(2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from lineardiffusion._arrays import Array, Indices, freeze

CENTRED_ON = 10_000  # images of a prompt that k-means uses
IMAGES_A_STYLE = 60  # with n_styles="auto"


@dataclass(frozen=True, eq=False)
class StyleClusters:
    """The centres of the styles of p prompts."""

    centres: Array  # of all prompts' styles, (g, d), in the latents' unit
    prompt: Indices  # of each style, (g,), in rising order
    requested: int | str  # number of styles of each prompt, or "auto"
    shared: bool = False  # whether style k of one prompt is style k of all

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def find(
        cls,
        latents: Array,
        prompts: Indices,
        w: Array | None,
        requested: int | str,
        counts: Indices,
        seed: Any,
        means: Array | None,
    ) -> StyleClusters:
        """Find the centres of each prompt from latents (n, d) of `prompts` (n,), with sample weights w (n,).

        `counts` (p,) are the numbers of styles. With the `means` (p, d) of the prompts, the centres are those that
        all prompts share. A prompt with fewer distinct latents gets as many styles as it has latents.
        """
        if means is not None:
            found = _centres(latents - means[prompts], w, int(counts[0]), seed)
            centres = (means[:, None] + found).reshape(-1, means.shape[1])
            return cls(centres, np.repeat(np.arange(len(means)), len(found)), requested, shared=True)
        every = []
        for u, count in enumerate(counts.tolist()):
            own = prompts == u
            every.append(_centres(latents[own], None if w is None else w[own], count, seed))
        owner = np.repeat(np.arange(len(every)), [len(one) for one in every])
        return cls(np.concatenate(every), owner, requested)

    def __len__(self) -> int:
        return len(self.prompt)

    def same_centres(self, other: StyleClusters) -> bool:
        """Return whether both assign every image alike."""
        return (
            self.shared == other.shared
            and np.array_equal(self.prompt, other.prompt)
            and np.array_equal(self.centres, other.centres)
        )

    def small(self) -> Indices:
        """Return the prompts that have fewer styles than requested."""
        least = 1 if isinstance(self.requested, str) else self.requested
        return np.flatnonzero(np.bincount(self.prompt) < least)

    def assign(self, latents: Array, prompts: Indices) -> Indices:
        """Return the style (n,) of latents (n, d): the nearest centre of its prompt."""
        style = np.empty(len(latents), np.intp)
        for u in np.unique(prompts):
            members, own = np.flatnonzero(prompts == u), np.flatnonzero(self.prompt == u)
            z, c = latents[members], self.centres[own]
            style[members] = own[((c**2).sum(axis=1) - 2 * z @ c.T).argmin(axis=1)]
        return style

    def words(self) -> Array:
        """Return the embeddings (g, k) of styles that all prompts share: unit vectors."""
        prompts = int(self.prompt.max()) + 1
        return np.tile(np.eye(len(self.prompt) // prompts), (prompts, 1))


def _centres(latents: Array, weight: Array | None, requested: int, seed: Any) -> Array:
    """Return the centres of k-means (k, d), k at most as many as requested, by falling frequency."""
    z = latents.astype(np.float32)
    if weight is not None:
        weight = np.maximum(weight / weight.max(), 1e-30)  # in float32
    # counting distinct images is slow; of many images, k-means leaves superfluous centres empty
    k = min(requested, len(np.unique(z, axis=0)) if len(z) <= 4 * requested else len(z))
    found = KMeans(k, n_init=1, random_state=seed, max_iter=50).fit(z, sample_weight=weight)
    frequency = np.bincount(found.labels_, weights=weight, minlength=k)
    order = np.argsort(-frequency, kind="stable")[: np.count_nonzero(frequency)]
    return np.asarray(found.cluster_centers_[order], dtype=np.float64)
