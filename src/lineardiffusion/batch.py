"""A batch: prompts and images as they come in, checked, and measured.

Prompts are strings, one symbol each, or rows of numbers, taken as embeddings. Images have any shape
(n, \\*image_shape) and any real dtype. A batch is measured in one pass over its pixels, or, where the
moments of every prompt in pixel space would be too large, in two: first the images as one group, which
gives the basis, then the moments in the latent space. Projecting commutes with taking moments, so both
give the same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion.encode import ImageEncoder
from lineardiffusion.histogram import Histogram
from lineardiffusion.joint import JointMoments
from lineardiffusion.moments import Array, Moments
from lineardiffusion.state import State
from lineardiffusion.text import symbols, vocabulary

ROWS = 8192  # images encoded at a time


@dataclass(frozen=True)
class Batch:
    """Checked prompts and images.

    Attributes
    ----------
    known : tuple of str
        The distinct prompts, sorted; empty when prompts are embeddings.
    prompts : ndarray of shape (n,) or (n, k)
        The place of each prompt in `known`, or the embeddings.
    rows : ndarray of shape (n, D)
        The flattened images.
    image_shape : tuple of int
    sample_weight : ndarray of shape (n,) or None
    """

    known: tuple[str, ...]
    prompts: NDArray[Any]
    rows: NDArray[np.generic]
    image_shape: tuple[int, ...]
    sample_weight: Array | None

    @classmethod
    def of(
        cls, prompts: list[str] | Array, images: NDArray[np.generic], sample_weight: Array | None
    ) -> Batch:
        """Drop the images of no weight, index the prompts, flatten the images."""
        if sample_weight is not None and not sample_weight.all():
            kept = np.flatnonzero(sample_weight)
            images, sample_weight = images[kept], sample_weight[kept]
            prompts = [prompts[i] for i in kept] if isinstance(prompts, list) else prompts[kept]
        known: tuple[str, ...] = ()
        places: NDArray[Any] = np.asarray(prompts)
        if isinstance(prompts, list):
            known = vocabulary(prompts)
            places = symbols(prompts, known)
        rows = images.reshape(len(images), -1)
        return cls(known, places, rows, images.shape[1:], sample_weight)

    def state(
        self, moments: Moments | JointMoments, encoder: ImageEncoder | None = None, histogram: bool = False
    ) -> State:
        """The state of these moments of the batch; with `histogram` its pixels are counted, too."""
        pixel_range = float(self.rows.min()), float(self.rows.max())
        counts = Histogram.of(self.rows, self.sample_weight) if histogram else None
        return State(
            moments, self.known, self.image_shape, pixel_range, self.rows.dtype, encoder, histogram=counts
        )

    def nbytes(self, d: int) -> int:
        """Bytes of the moments of every prompt in d dimensions."""
        if self.known:
            return Moments.nbytes(len(self.known), d)
        return JointMoments.nbytes(self.prompts.shape[1], d)

    def moments(self) -> Moments | JointMoments:
        """The moments of the pixels under every prompt: one pass."""
        return self._measure(self.rows, slice(None))

    def pooled(self) -> Moments:
        """The moments of the pixels, all prompts as one group."""
        everyone = np.zeros(len(self.rows), np.intp)
        return Moments.of(self.rows, everyone, 1, self.sample_weight)

    def latent_moments(
        self, encoder: ImageEncoder, embeddings: Array | None = None
    ) -> Moments | JointMoments:
        """The moments of the latents under every prompt: a second pass.

        With `embeddings` (g, k) of the known prompts they are joint, for prompts too many to keep a block
        each.
        """
        total: Any = None
        for start in range(0, len(self.rows), ROWS):
            block = slice(start, start + ROWS)
            part = self._measure(encoder.encode(self.rows[block]), block, embeddings)
            total = part if total is None else total + part
        if isinstance(total, JointMoments):
            d = len(total.origin)
            return total.project(np.zeros(d), np.eye(d))
        return total  # type: ignore[no-any-return]

    def _measure(
        self, rows: NDArray[np.generic], block: slice, embeddings: Array | None = None
    ) -> Moments | JointMoments:
        weight = None if self.sample_weight is None else self.sample_weight[block]
        if embeddings is not None:
            return JointMoments.of(embeddings[self.prompts[block]], rows, weight)
        if self.known:
            return Moments.of(rows, self.prompts[block], len(self.known), weight)
        return JointMoments.of(self.prompts[block], rows, weight)


def check_prompts(X: object, weights: bool = False) -> list[Any] | None:
    """The prompts as a list of str, or None when X is numbers, to be checked as an embedding.

    With `weights`, a mapping of prompts to weights may stand for a prompt.

    Raises
    ------
    TypeError
        For a bare string.
    ValueError
        For no prompts at all, numbers in one dimension, or a mixture of strings and others.
    """
    if isinstance(X, str):
        raise TypeError(f"prompts must be a list of strings, got the bare string {X!r}; use [{X!r}]")
    if isinstance(X, list | tuple) and not len(X):
        raise ValueError("no prompts: expected at least one, got an empty list")
    if isinstance(X, np.ndarray) and X.dtype.kind == "U" and X.ndim == 1 and len(X):
        return [str(prompt) for prompt in X]
    if X is None or isinstance(X, int | float | np.generic):
        raise TypeError(f"prompts must be a list of strings (or an array of embeddings), got {X!r}")
    if getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__"):
        if isinstance(X, np.ndarray) and X.dtype.kind in "US":
            raise ValueError(f"prompts must be one list of strings, got an array of shape {X.shape}")
        return None
    prompts: list[Any] = list(X)  # type: ignore[call-overload]
    kinds = set(map(type, prompts))
    if weights and any(issubclass(kind, Mapping) for kind in kinds):
        kinds = {kind for kind in kinds if not issubclass(kind, Mapping)} or {str}
        if all(issubclass(kind, str) for kind in kinds):
            return prompts
    if kinds and all(issubclass(kind, str) for kind in kinds):
        return list(map(str, prompts))
    if any(issubclass(kind, str) for kind in kinds):
        odd = next(prompt for prompt in prompts if not isinstance(prompt, str))
        raise ValueError(f"prompts must all be strings, got {odd!r} among them")
    if any(issubclass(kind, list | tuple | np.ndarray) for kind in kinds) and isinstance(
        np.ravel(prompts[0])[0] if np.size(prompts[0]) else None, str
    ):
        raise ValueError("prompts must be one list of strings, got a list of lists")
    if kinds and all(issubclass(kind, bytes) for kind in kinds):
        raise ValueError("prompts must be strings, got bytes; decode them")
    if kinds and all(issubclass(kind, int | float | np.number) for kind in kinds):
        raise ValueError(
            f"prompts must be strings, got the numbers {prompts[:3]}...; pass "
            "[str(label) for label in labels]. Reshape your data to (n, 1) if they are an embedding"
        )
    return None


def check_images(
    images: object, n: int, image_shape: tuple[int, ...] | None = None, missing: bool = False
) -> NDArray[np.generic]:
    """The images as an ndarray of shape (n, \\*image_shape) with finite, real pixels.

    With `missing` NaN stands for a pixel that is not there.

    Raises
    ------
    ValueError
        For another number of images than prompts, another shape, no pixels, pixels that are not
        numbers, or NaN or infinite ones.
    """
    if images is None:
        raise ValueError("fit requires y to be passed, but the target y is None: pass the images")
    if hasattr(images, "toarray"):
        raise TypeError("images must be a dense array, got a sparse matrix; call .toarray() on it")
    try:
        array = np.asarray(images)
    except ValueError as error:
        raise ValueError("images must all have the same shape (n, h, w) or (n, h, w, c)") from error
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError("images must be an array of numbers, got Python objects") from error
    if array.dtype.kind not in "buif":
        kind = "Complex data not supported: " if array.dtype.kind == "c" else ""
        raise ValueError(f"{kind}images must hold real numbers, got dtype {array.dtype}")
    if array.ndim == 0 or len(array) != n:
        found = "a single number" if array.ndim == 0 else f"{len(array)} images"
        raise ValueError(f"{n} prompts need {n} images, got {found}; pass one prompt an image")
    if array[0].size == 0:
        raise ValueError(f"images have no pixels: got the shape {array.shape}")
    if image_shape is not None and array.shape[1:] != image_shape:
        raise ValueError(
            f"images have the shape {array.shape[1:]}, but this model was fitted on images of "
            f"{image_shape}; resize them, or fit a model of their own"
        )
    if array.dtype.kind == "f":
        peak = 0.0
        for start in range(0, n, ROWS):
            block = array[start : start + ROWS]
            fine = np.isfinite(block) | (np.isnan(block) if missing else False)
            peak = max(peak, float(np.abs(np.nan_to_num(block) if missing else block).max()))
            if not fine.all():
                first = start + int(np.argmin(fine.reshape(len(fine), -1).all(axis=1)))
                raise ValueError(
                    f"images must have finite pixels, but image {first} holds NaN or infinity; "
                    "remove or repair it"
                )
        if peak > 1e150:
            raise ValueError(f"pixels as large as {peak:.3g} cannot be squared; divide the images")
        if array.itemsize < 8 and not 1e-15 < peak < 1e15:
            array = array.astype(np.float64)  # whose squares float32 would not hold
    return array
