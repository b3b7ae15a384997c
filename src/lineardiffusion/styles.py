"""Styles: a word that the data did not come with.

k-means splits each prompt's latents into styles, and each style has moments of its own. "7" draws a style
by its frequency, "7~12" names one. The law of "7" is then a mixture of Gaussians. Styles are numbered by
falling frequency (among the images that chose them), so "7~0" is the commonest way to write a 7.

A style g of n images in d dimensions has a covariance C of rank n - 1 at most, and the smaller half of its
eigenvalues is mostly accident. Two things make it sound. It is taken together with the covariance W within
the styles of its prompt u, as if that had been seen in k = 20 images more,

    S = (n C + k W) / (n + k),        W = sum_g n_g C_g / sum_g n_g  over the styles g of u,

the posterior mean under an inverse Wishart prior. And drawn are its n / 4 largest directions (at least 1)
only, which leaves four images for every direction: a stroke has few ways to vary. The rest of S is counted
where an image is scored and left out where one is drawn, like the components that the encoder leaves out.
(Under weights n is Kish's effective number, (sum w)^2 / sum w^2.)

Where prompts share words, styles are shared, too: k-means splits z - m_u, what an image is beyond its
prompt's mean, of all prompts together. "4 2~3" is then in the fourth style, as any
other prompt may be, and the style is one more word of the embedding; to the regression its moments go as
they are.

The first images seen choose the centres (``CENTRED_ON`` a prompt at most, by the model's ``random_state``);
every image then goes to its prompt's nearest. So a stream may follow, and no latent is kept.

References
----------
Chen (1979), Bayesian inference for a normal dispersion matrix and its application to stochastic multiple
regression analysis. JRSS B 41(2): the inverse Wishart prior.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from lineardiffusion.encode import ImageEncoder
from lineardiffusion.lapack import eigh, one_thread
from lineardiffusion.moments import Array, Moments

CENTRED_ON = 10_000  # images of a prompt that k-means looks at
IMAGES_A_DIRECTION = 4
PRIOR_IMAGES = 20.0  # k


class Sound(NamedTuple):
    """The covariances S of g styles: ``basis @ diag(drawn + rest) @ basis.T``, drawn or rest 0 everywhere."""

    drawn: Array
    rest: Array
    basis: Array

    def moments(self, styles: Moments) -> Moments:
        """The moments of what is drawn, whose weights and means are those of `styles`."""
        with one_thread():
            scatter = (self.basis * (styles.weight[:, None] * self.drawn)[:, None]) @ self.basis.mT
        return Moments(styles.weight, styles.mean, scatter)


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
    shared : bool
        Whether style k of one prompt is style k of all.
    """

    centres: Array
    prompt: NDArray[np.intp]
    moments: Moments
    squares: Array
    requested: int
    encoder: ImageEncoder
    shared: bool = False

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
        """Choose each prompt's centres from latents (n, d) of `prompts` (n,); no image is counted yet.

        Returns
        -------
        styles : Styles
        small : list of int
            The prompts that have fewer distinct images than `requested`, and so fewer styles.
        """
        centres, owner, small = [], [], []
        for u in range(int(prompts.max()) + 1):
            members = np.flatnonzero(prompts == u)
            weight = None if sample_weight is None else sample_weight[members]
            found = _centres(latents[members], weight, requested, seed)
            if len(found) < requested:
                small.append(u)
            centres.append(found)
            owner.append(np.full(len(found), u))
        return cls._empty(np.concatenate(centres), np.concatenate(owner), requested, encoder), small

    @classmethod
    def find_shared(
        cls,
        latents: Array,
        prompts: NDArray[np.intp],
        sample_weight: Array | None,
        requested: int,
        seed: Any,
        encoder: ImageEncoder,
        means: Array,
    ) -> tuple[Styles, list[int]]:
        """The same for styles that all prompts share, whose means are (p, d)."""
        found = _centres(latents - means[prompts], sample_weight, requested, seed)
        centres = (means[:, None] + found).reshape(-1, means.shape[1])
        owner = np.repeat(np.arange(len(means)), len(found))
        small = [] if len(found) == requested else list(range(len(means)))
        return replace(cls._empty(centres, owner, requested, encoder), shared=True), small

    @classmethod
    def _empty(cls, centres: Array, owner: NDArray[np.intp], requested: int, encoder: ImageEncoder) -> Styles:
        g, d = centres.shape
        none = Moments(np.zeros(g), np.zeros((g, d)), np.zeros((g, d, d)))
        return cls(centres, owner, none, np.zeros(g), requested, encoder)

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

    def sound(self) -> Sound:
        """S of every style, what is drawn of it and what is not."""
        n = self.moments.weight**2 / np.maximum(self.squares, np.finfo(float).tiny)
        covariance = self.moments.covariance
        S = np.empty_like(covariance)
        for u in np.unique(self.prompt):
            own = self.prompt == u
            share = n[own] / max(n[own].sum(), np.finfo(float).tiny)
            W = np.tensordot(share, covariance[own], 1)
            k = PRIOR_IMAGES / (n[own] + PRIOR_IMAGES)
            S[own] = (1 - k)[:, None, None] * covariance[own] + k[:, None, None] * W
        variance, basis = eigh(S)
        variance = np.maximum(variance, 0.0)
        d = variance.shape[1]
        rank = np.maximum(n / IMAGES_A_DIRECTION, 1.0).astype(int)
        kept = np.arange(d) >= d - rank[:, None]
        return Sound(np.where(kept, variance, 0.0), np.where(kept, 0.0, variance), basis)

    def frequency(self) -> Array:
        """How often each style is met, shape (k,), of styles that all prompts share."""
        weight = self.moments.weight.reshape(int(self.prompt.max()) + 1, -1).sum(axis=0)
        return np.asarray(weight / weight.sum())

    def words(self) -> Array:
        """The embeddings of the styles (g, k), of styles that all prompts share."""
        prompts = int(self.prompt.max()) + 1
        return np.tile(np.eye(len(self.prompt) // prompts), (prompts, 1))


def _centres(latents: Array, weight: Array | None, requested: int, seed: Any) -> Array:
    """Centres of k-means (k, d), k at most as many as are requested, by falling frequency."""
    z = latents.astype(np.float32)
    # to count distinct images is slow; of many, k-means leaves superfluous centres empty
    k = min(requested, len(np.unique(z, axis=0)) if len(z) <= 4 * requested else len(z))
    found = KMeans(k, n_init=1, random_state=seed, max_iter=50).fit(z, sample_weight=weight)
    frequency = np.bincount(found.labels_, weights=weight, minlength=k)
    order = np.argsort(-frequency, kind="stable")[: np.count_nonzero(frequency)]
    return np.asarray(found.cluster_centers_[order], dtype=np.float64)
