"""A sample of the images of each prompt, as latents, from which the centres of styles are chosen.

Each image has a key, a hash of its pixels, and the `most` images of a prompt with the smallest keys are kept, in
their own order. So the sample is random, but depends neither on how the images are cut into batches nor on the
machine that reads them, and samples add.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import Array, Indices
from lineardiffusion._device import to_numpy
from lineardiffusion.statistics.batch import joined_weights

Latents = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Sample:
    """Latents (n, d) of sampled images, their prompts, keys and weights."""

    latents: Latents
    prompts: Indices  # (n,)
    keys: NDArray[np.uint64]  # (n,)
    sample_weight: Array | None  # (n,)
    most: int  # images of a prompt at most
    seen: int  # images that the sample is taken from

    @classmethod
    def of(
        cls, rows: NDArray[Any], latents: Latents, prompts: Indices, sample_weight: Array | None, most: int
    ) -> Sample:
        """Sample images (n, D) with these latents (n, d)."""
        return cls(latents, prompts, _keys(rows), sample_weight, most, len(rows))._trimmed()

    @property
    def is_whole(self) -> bool:
        """Whether all images are in the sample."""
        return len(self.keys) == self.seen

    def __add__(self, other: Sample) -> Sample:
        """Return the sample of both data sets."""
        weight = joined_weights([self.sample_weight, other.sample_weight], [len(self.keys), len(other.keys)])
        latents = np.concatenate([self.latents, other.latents])
        prompts = np.concatenate([self.prompts, other.prompts])
        keys = np.concatenate([self.keys, other.keys])
        return Sample(latents, prompts, keys, weight, self.most, self.seen + other.seen)._trimmed()

    def _trimmed(self) -> Sample:
        """Return the images of each prompt with the smallest keys."""
        if np.bincount(self.prompts).max(initial=0) <= self.most:
            return self
        order = np.lexsort((self.keys, self.prompts))
        prompts = self.prompts[order]
        rank = np.arange(len(order)) - np.searchsorted(prompts, prompts)
        kept = np.sort(order[rank < self.most])
        weight = None if self.sample_weight is None else self.sample_weight[kept]
        return Sample(self.latents[kept], self.prompts[kept], self.keys[kept], weight, self.most, self.seen)


def _keys(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a hash of the bytes of each row (n, D), as numbers whose order is random."""
    hashed = (zlib.crc32(row.data) for row in np.ascontiguousarray(to_numpy(rows)).view(np.uint8))
    keys = np.fromiter(hashed, np.uint64, len(rows))
    keys *= np.uint64(0x9E3779B97F4A7C15)  # an odd number: distinct keys stay distinct
    keys ^= keys >> np.uint64(29)
    keys *= np.uint64(0xBF58476D1CE4E5B9)
    return keys ^ (keys >> np.uint64(32))
