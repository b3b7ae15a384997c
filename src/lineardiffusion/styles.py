"""Styles: a word that the data did not come with.

k-means splits each prompt's latents into styles, and each style has moments of its own. "7" draws a style
by its frequency, "7~12" names one. The law of "7" is then a mixture of Gaussians. Styles are numbered by
falling frequency, so "7~0" is the commonest way to write a 7.

A style of n images in d dimensions has a covariance of rank n - 1 at most, and the smaller half of its
eigenvalues is mostly accident. Kept are the n / 4 largest (at least 1), which leaves four images for every
direction; the rest is taken as no variance at all, as in the images that a style is drawn as: a stroke has
few ways to vary. (Under weights n is Kish's effective number, (sum w)^2 / sum w^2.) So the law of a style
lies on a plane: good for drawing, not for likelihoods.

The first images seen choose the centres (``CENTRED_ON`` a prompt at most, by the model's ``random_state``);
every image then goes to its prompt's nearest. So a stream may follow, and no latent is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from lineardiffusion.encode import ImageEncoder
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
    squares : ndarray of shape (g,)
        Sum of the squared weights of each style's images.
    requested : int
        Styles asked for a prompt.
    encoder : ImageEncoder
        Of the latents.
    """

    centres: Array
    prompt: NDArray[np.intp]
    moments: Moments
    squares: Array
    requested: int
    encoder: ImageEncoder

    @classmethod
    def find(
        cls,
        latents: Array,
        prompts: NDArray[np.intp],
        sample_weight: Array | None,
        requested: int,
        seed: Any,
        encoder: ImageEncoder,
    ) -> tuple[Styles, list[int]]:
        """Choose centres from latents (n, d) of `prompts` (n,); no image is counted yet.

        Returns
        -------
        styles : Styles
        small : list of int
            The prompts that have fewer distinct images than `requested`, and so fewer styles.
        """
        centres, owner, small = [], [], []
        for u in range(int(prompts.max()) + 1):
            members = np.flatnonzero(prompts == u)
            z = latents[members].astype(np.float32)
            weight = None if sample_weight is None else sample_weight[members]
            # to count distinct images is slow; of many, k-means leaves superfluous centres empty
            k = min(requested, len(np.unique(z, axis=0)) if len(z) <= 4 * requested else len(z))
            found = KMeans(k, n_init=1, random_state=seed, max_iter=50).fit(z, sample_weight=weight)
            frequency = np.bincount(found.labels_, weights=weight, minlength=k)
            order = np.argsort(-frequency, kind="stable")[: np.count_nonzero(frequency)]
            if len(order) < requested:
                small.append(u)
            centres.append(found.cluster_centers_[order].astype(np.float64))
            owner.append(np.full(len(order), u))
        g, d = sum(map(len, centres)), latents.shape[1]
        empty = Moments(np.zeros(g), np.zeros((g, d)), np.zeros((g, d, d)))
        both = np.concatenate(centres), np.concatenate(owner)
        return cls(*both, empty, np.zeros(g), requested, encoder), small

    def add(self, latents: Array, prompts: NDArray[np.intp], sample_weight: Array | None = None) -> Styles:
        """Count images, each with its prompt's nearest centre."""
        style = np.empty(len(latents), np.intp)
        for u in np.unique(prompts):
            members, own = np.flatnonzero(prompts == u), np.flatnonzero(self.prompt == u)
            z, c = latents[members], self.centres[own]
            distance = (c**2).sum(axis=1) - 2 * z @ c.T
            style[members] = own[distance.argmin(axis=1)]
        more = Moments.of(latents, style, len(self.prompt), sample_weight)
        square = None if sample_weight is None else sample_weight**2
        squares = np.bincount(style, weights=square, minlength=len(self.prompt))
        return replace(self, moments=self.moments + more, squares=self.squares + squares)

    def sound(self) -> Moments:
        """The styles' moments, of low rank where images are few."""
        variance, basis = np.linalg.eigh(self.moments.scatter)
        d = variance.shape[1]
        n = self.moments.weight**2 / np.maximum(self.squares, np.finfo(float).tiny)
        rank = np.maximum(n / IMAGES_A_DIRECTION, 1.0).astype(int)
        kept = np.where(np.arange(d) >= d - rank[:, None], np.maximum(variance, 0.0), 0.0)
        scatter = (basis * kept[:, None]) @ basis.mT
        return Moments(self.moments.weight, self.moments.mean, scatter)
