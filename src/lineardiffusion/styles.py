"""Styles: a word that the data did not come with.

k-means splits each prompt's latents into styles, and each style has moments of its own. "7" draws a style
by its frequency, "7~12" names one. The law of "7" is then a mixture of Gaussians. Styles are numbered by
falling frequency, so "7~0" is the commonest way to write a 7.

A style of n images in d dimensions has a covariance of rank n - 1 at most, and the smaller half of its
eigenvalues is mostly accident. Kept are the n / 4 largest (at least 1), which leaves four images for every
direction; the rest is taken as no variance at all, as in the images that a style is drawn as: a stroke has
few ways to vary.

The first images seen choose the centres (``CENTRED_ON`` a prompt at most, by the model's ``random_state``);
every image then goes to its prompt's nearest. So a stream may follow, and no latent is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from lineardiffusion.moments import Array, Moments

CENTRED_ON = 10_000  # images of a prompt that k-means looks at
IMAGES_A_DIRECTION = 4


@dataclass(frozen=True, eq=False)
class Styles:
    """The styles of p prompts.

    Attributes
    ----------
    centres : ndarray of shape (g, d)
        Of all prompts' styles, in the latents' unit.
    prompt : ndarray of int, shape (g,)
        The prompt of each style; equal ones stand together.
    moments : Moments of g groups
        Of the latents of each style.
    """

    centres: Array
    prompt: NDArray[np.intp]
    moments: Moments

    @classmethod
    def find(
        cls, latents: Array, prompts: NDArray[np.intp], n_styles: int, seed: int
    ) -> tuple[Styles, list[int]]:
        """Choose centres from latents (n, d) of `prompts` (n,); no image is counted yet.

        Returns
        -------
        styles : Styles
        small : list of int
            The prompts that have fewer distinct images than `n_styles`, and so fewer styles.
        """
        centres, owner, small = [], [], []
        rng = np.random.default_rng(seed)
        for u in range(int(prompts.max()) + 1):
            members = np.flatnonzero(prompts == u)
            if len(members) > CENTRED_ON:
                members = rng.choice(members, CENTRED_ON, replace=False)
            z = latents[members].astype(np.float32)
            distinct = len(np.unique(z, axis=0)) if len(z) <= 4 * n_styles else n_styles
            k = min(n_styles, distinct)
            if k < n_styles:
                small.append(u)
            found = KMeans(k, n_init=1, random_state=seed, max_iter=50).fit(z)
            order = np.argsort(-np.bincount(found.labels_, minlength=k), kind="stable")
            centres.append(found.cluster_centers_[order].astype(np.float64))
            owner.append(np.full(k, u))
        g, d = sum(map(len, centres)), latents.shape[1]
        empty = Moments(np.zeros(g), np.zeros((g, d)), np.zeros((g, d, d)))
        return cls(np.concatenate(centres), np.concatenate(owner), empty), small

    def add(self, latents: Array, prompts: NDArray[np.intp], sample_weight: Array | None = None) -> Styles:
        """Count images, each with its prompt's nearest centre."""
        style = np.empty(len(latents), np.intp)
        for u in np.unique(prompts):
            members, own = np.flatnonzero(prompts == u), np.flatnonzero(self.prompt == u)
            z, c = latents[members], self.centres[own]
            distance = (c**2).sum(axis=1) - 2 * z @ c.T
            style[members] = own[distance.argmin(axis=1)]
        more = Moments.of(latents, style, len(self.prompt), sample_weight)
        return Styles(self.centres, self.prompt, self.moments + more)

    def sound(self) -> Moments:
        """The styles' moments, of low rank where images are few."""
        variance, basis = np.linalg.eigh(self.moments.scatter)
        d = variance.shape[1]
        rank = np.maximum(self.moments.weight / IMAGES_A_DIRECTION, 1.0).astype(int)
        kept = np.where(np.arange(d) >= d - rank[:, None], np.maximum(variance, 0.0), 0.0)
        scatter = (basis * kept[:, None]) @ basis.mT
        return Moments(self.moments.weight, self.moments.mean, scatter)
