"""Batches: checked prompts and images, indexed for the statistics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import Array, Indices
from lineardiffusion._device import dtype_of, is_tensor, namespace, to_numpy
from lineardiffusion.encoders.text import symbols, vocabulary
from lineardiffusion.statistics.joint import JointMoments
from lineardiffusion.statistics.moments import Moments


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts and images without those of weight 0."""

    known: tuple[str, ...]  # the distinct prompts, sorted; empty when prompts are embeddings
    prompts: NDArray[Any]  # the place of each prompt in `known`, (n,), or the embeddings, (n, k)
    rows: NDArray[np.generic]  # the flattened images, (n, D); tensors where the user's images are
    image_shape: tuple[int, ...]
    sample_weight: Array | None  # (n,); None for 1 each

    @classmethod
    def of(cls, prompts: list[str] | Array, images: NDArray[Any], sample_weight: Array | None = None) -> Batch:
        """Index checked prompts and flatten checked images."""
        if sample_weight is not None and not sample_weight.all():
            kept = np.flatnonzero(sample_weight)
            images, sample_weight = images[kept], sample_weight[kept]
            prompts = [prompts[i] for i in kept] if isinstance(prompts, list) else prompts[kept]
        known = vocabulary(prompts) if isinstance(prompts, list) else ()
        places = symbols(prompts, known) if isinstance(prompts, list) else prompts
        return cls(known, places, images.reshape(len(images), -1), tuple(images.shape[1:]), sample_weight)

    @classmethod
    def joined(cls, batches: list[Batch]) -> Batch:
        """Return several batches of images of one shape as one."""
        first, *others = batches
        if not others:
            return first
        known = vocabulary(prompt for one in batches for prompt in one.known)
        weight = joined_weights([one.sample_weight for one in batches], list(map(len, batches)))
        prompts = np.concatenate([one.among(known).prompts for one in batches])
        parts = [one.rows for one in batches]
        if not all(map(is_tensor, parts)):
            parts = [to_numpy(rows) for rows in parts]
        rows = namespace(parts[0]).concat(parts)
        return cls(known, prompts, rows, first.image_shape, weight)

    @property
    def images(self) -> NDArray[np.generic]:
        """The images (n, \\*image_shape)."""
        return self.rows.reshape(-1, *self.image_shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type of the pixels."""
        return dtype_of(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, images: slice | Indices) -> Batch:
        """Return some of the images; `known` stays as it is."""
        weight = None if self.sample_weight is None else self.sample_weight[images]
        return replace(self, prompts=self.prompts[images], rows=self.rows[images], sample_weight=weight)

    @property
    def has_strings(self) -> bool:
        """Whether prompts are strings, rather than embeddings."""
        return bool(self.known)

    @property
    def has_missing(self) -> bool:
        """Whether some pixels are NaN."""
        return self.dtype.kind == "f" and bool(namespace(self.rows).isnan(self.rows).any())

    def nbytes(self, d: int) -> int:
        """Return the bytes of the moments of every prompt in d dimensions."""
        if self.known:
            return Moments.nbytes(len(self.known), d)
        return JointMoments.nbytes(self.prompts.shape[1], d)

    def among(self, known: tuple[str, ...]) -> Batch:
        """Return the same batch with its prompts numbered among other known prompts."""
        return self if known == self.known else replace(self, known=known, prompts=self.places(known))

    def places(self, known: tuple[str, ...]) -> Indices:
        """Return the place of each image's prompt among other known prompts."""
        return np.asarray(symbols(self.known, known)[self.prompts])


def joined_weights(weights: list[Array | None], sizes: list[int]) -> Array | None:
    """Return the sample weights of several batches of these sizes as one; None if all are 1."""
    if all(w is None for w in weights):
        return None
    return np.concatenate([np.ones(n) if w is None else w for w, n in zip(weights, sizes, strict=True)])
