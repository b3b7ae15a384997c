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

k-means starts from k-means++ (Arthur and Vassilvitskii 2007). A step of Lloyd's algorithm is two products, of the
latents and the centres for the distances |z - c|^2 = |z|^2 - 2 z c + |c|^2, and of the latents and a sparse matrix
that sums each cluster. Latents are float32; prompts are worked on side by side, with one BLAS thread each.

References
----------
Arthur and Vassilvitskii (2007), k-means++: the advantages of careful seeding. SODA.
Lloyd (1982), Least squares quantization in PCM. IEEE Transactions on Information Theory 28(2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.cluster import kmeans_plusplus

from lineardiffusion._arrays import ROWS, Array, Indices, freeze, members_of
from lineardiffusion._linalg import one_thread, side_by_side

CENTRED_ON = 10_000  # images of a prompt that k-means uses
IMAGES_A_STYLE = 60  # with n_styles="auto"
STEPS = 50  # of Lloyd's algorithm at most
TOLERANCE = 1e-4  # share of the inertia by which it falls at least in a step that another one follows


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
        latents: NDArray[np.floating],
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
        weight, seeds = np.ones(len(latents)) if w is None else w, [seed] * len(counts)
        if isinstance(seed, np.random.RandomState):  # which is not for several threads
            seeds = seed.randint(2**31 - 1, size=len(counts)).tolist()
        if means is not None:
            with one_thread():
                found = _centres(latents - means[prompts], weight, int(counts[0]), seeds[0])
            centres = (means[:, None] + found).reshape(-1, means.shape[1])
            return cls(centres, np.repeat(np.arange(len(means)), len(found)), requested, shared=True)

        def centres_of(task: tuple[Indices, int, Any]) -> Array:
            own, count, seed = task
            return _centres(latents[own], weight[own], count, seed)

        tasks = zip(members_of(prompts, len(counts)), counts.tolist(), seeds, strict=True)
        every = side_by_side(centres_of, list(tasks))
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

    def assign(self, latents: NDArray[np.floating], prompts: Indices) -> Indices:
        """Return the style (n,) of latents (n, d): the nearest centre of its prompt, by products in float64."""
        style = np.empty(len(latents), np.intp)
        first = np.searchsorted(self.prompt, np.arange(self.prompt.max() + 2))

        def nearest(task: tuple[int, Indices]) -> None:
            u, rows = task
            z, c = latents[rows].astype(np.float64), self.centres[first[u] : first[u + 1]]
            style[rows] = first[u] + ((c**2).sum(axis=1) - 2 * z @ c.T).argmin(axis=1)

        members = enumerate(members_of(prompts, len(first) - 1))
        side_by_side(nearest, [(u, own[i : i + ROWS]) for u, own in members for i in range(0, len(own), ROWS)])
        return style

    def words(self) -> Array:
        """Return the embeddings (g, k) of styles that all prompts share: unit vectors."""
        prompts = int(self.prompt.max()) + 1
        return np.tile(np.eye(len(self.prompt) // prompts), (prompts, 1))


def _centres(latents: NDArray[np.floating], weight: Array, requested: int, seed: Any) -> Array:
    """Return the centres of k-means (k, d), k at most as many as requested, by falling frequency."""
    mean = latents.mean(axis=0, dtype=np.float64)
    z = (latents - mean).astype(np.float32) + np.float32(0.0)  # -0 is 0
    weight = np.maximum(weight / weight.max(), 1e-30)  # in float32
    if _has_more(z, requested):
        start, _ = kmeans_plusplus(z.astype(np.float64), requested, sample_weight=weight, random_state=seed)
        centres, place = _lloyd(z, weight.astype(np.float32), start.astype(np.float32))
    else:
        _, one, place = np.unique(z, axis=0, return_index=True, return_inverse=True)
        centres, mean = latents[one] + 0.0, np.zeros_like(mean)
    frequency = np.bincount(place.ravel(), weight, len(centres))
    order = np.argsort(-frequency, kind="stable")[: np.count_nonzero(frequency)]
    return np.asarray(mean + centres[order])


def _has_more(z: NDArray[np.float32], n: int) -> bool:
    """Return whether more than n rows differ; of many different rows it reads n + 1."""
    different = set()
    for row in z:
        different.add(row.tobytes())
        if len(different) > n:
            return True
    return False


def _lloyd(
    z: NDArray[np.float32], weight: NDArray[np.float32], centres: NDArray[np.float32]
) -> tuple[NDArray[np.float32], Indices]:
    """Improve the centres (k, d) of rows (n, d) by Lloyd's algorithm; return them, and the cluster of each row."""
    (n, k), centres, inertia = (len(z), len(centres)), centres.copy(), np.inf
    constant = float(weight @ np.einsum("ij,ij->i", z, z))
    for _ in range(STEPS):
        distance = z @ (-2 * centres.T)  # squared, less the square of the row
        distance += np.einsum("ij,ij->i", centres, centres)
        place = distance.argmin(axis=1)
        before, inertia = inertia, constant + float(weight @ distance[np.arange(n), place].astype(np.float64))
        if before - inertia <= TOLERANCE * inertia:
            break
        sums = csr_array((weight, place, np.arange(n + 1)), shape=(n, k)).T @ z
        total = np.bincount(place, weight, k).astype(np.float32)
        np.divide(sums, total[:, None], out=centres, where=total[:, None] > 0)  # an empty cluster stays
    return centres, place
