"""Joint moments of prompt embeddings and images, for prompts that are vectors.

With e~ = [1, e] (k + 1 entries) and x~ = [1, x - o] (d + 1 entries, o an origin near the mean)

    M = sum_i w_i (e~_i (x) x~_i) (e~_i (x) x~_i)^T,        (x) the Kronecker product,

is a sufficient statistic of the regression on prompt, image and their products. It adds up over images, and
its size does not grow with their number: ((k + 1)(d + 1))^2 numbers. Where prompts repeat, the same matrix
follows from their moments,

    M = sum_u w_u (e~_u e~_u^T) (x) [[1, m_u^T], [m_u, C_u + m_u m_u^T]].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion._arrays import Array, freeze
from lineardiffusion._device import to_numpy
from lineardiffusion._triangles import condensed, whole
from lineardiffusion.statistics.moments import NEGATIVE, Moments, is_positive

BLOCK_BYTES = 2**26  # of products e~ (x) x~ at a time


@dataclass(frozen=True, eq=False)
class JointMoments:
    """M, symmetric to the last bit, its axes in the order embedding, image, embedding, image; and its origin."""

    matrix: Array  # (k + 1, d + 1, k + 1, d + 1)
    origin: Array  # o, (d,)

    def __post_init__(self) -> None:
        freeze(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the upper triangle of M."""
        k, d, _, _ = self.matrix.shape
        return _restored, (self.matrix.shape, self.origin, condensed(self.matrix.reshape(1, k * d, k * d)))

    @classmethod
    def of(cls, embeddings: Array, rows: NDArray[np.generic], sample_weight: Array | None = None) -> JointMoments:
        """Compute the joint moments of `rows` (n, d) and `embeddings` (n, k), with weights (n,), in one pass."""
        rows = to_numpy(rows)
        origin = rows[:1024].mean(axis=0, dtype=np.float64)
        k, d = embeddings.shape[1] + 1, rows.shape[1] + 1
        matrix, step = np.zeros((k * d, k * d)), max(1, BLOCK_BYTES // (8 * k * d))
        for block in (slice(start, start + step) for start in range(0, len(rows), step)):
            e, x = _with_one(embeddings[block]), _with_one(rows[block] - origin)
            if sample_weight is not None:
                x *= np.sqrt(sample_weight[block])[:, None]
            products = (e[:, :, None] * x[:, None, :]).reshape(len(e), -1)
            matrix += products.T @ products
        return cls(matrix.reshape(k, d, k, d), origin)

    @classmethod
    def of_prompts(cls, embeddings: Array, moments: Moments) -> JointMoments:
        """Compute the same from each prompt's moments; `embeddings` (g, k), one row per group."""
        e, m = _with_one(embeddings), _with_one(moments.mean)
        second = moments.weight[:, None, None] * (m[:, :, None] * m[:, None, :])
        second[:, 1:, 1:] += moments.scatter
        squares = (e[:, :, None] * e[:, None, :]).reshape(len(e), -1)
        k, d = e.shape[1], m.shape[1]
        matrix = (squares.T @ second.reshape(len(e), -1)).reshape(k, k, d, d)
        return cls(matrix.transpose(0, 2, 1, 3).copy(), np.zeros(d - 1))

    @staticmethod
    def nbytes(k: int, d: int) -> int:
        """Bytes of M for embeddings of k entries and images of d."""
        return 8 * ((k + 1) * (d + 1)) ** 2

    def __add__(self, other: JointMoments) -> JointMoments:
        """Return the moments of both data sets together, about this one's origin."""
        return JointMoments(self.matrix + other._about(self.origin), self.origin)

    def __sub__(self, other: JointMoments) -> JointMoments:
        """Return the moments without a part of the data; a ValueError if it was not in the data."""
        matrix = self.matrix - other._about(self.origin)
        n = matrix.shape[0] * matrix.shape[1]
        total = NEGATIVE * float(np.einsum("ijij->", self.matrix))
        if matrix[0, 0, 0, 0] <= 0 or not is_positive(matrix.reshape(n, n), total):
            raise ValueError("cannot subtract images that were never added (a moment would be below 0), nor all")
        return JointMoments(matrix, self.origin)

    def _about(self, origin: Array) -> Array:
        return self.project(origin, np.eye(len(origin))).matrix

    def project(self, origin: Array, basis: Array) -> JointMoments:
        """Return the moments of ``(x - origin) @ basis``, `basis` (d, c): [1, x - o] is multiplied by a matrix."""
        matrix = np.zeros((len(basis) + 1, basis.shape[1] + 1))
        matrix[0, 0] = 1.0
        matrix[0, 1:] = (self.origin - origin) @ basis
        matrix[1:, 1:] = basis
        M: Array = np.einsum("iajb,ac,be->icje", self.matrix, matrix, matrix, optimize=True)
        # einsum leaves an ulp between the halves, and the axes in any order in memory
        M = np.ascontiguousarray(0.5 * (M + M.transpose(2, 3, 0, 1)))
        return JointMoments(M, np.zeros(basis.shape[1]))

    def pooled(self) -> Moments:
        """Return the moments of all images as one group."""
        second = self.matrix[0, :, 0, :]
        weight, total = second[0, 0], second[0, 1:]
        scatter = second[1:, 1:] - np.outer(total, total) / weight
        return Moments(
            weight[None].copy(), weight[None].copy(), (self.origin + total / weight)[None], scatter[None]
        )


def _restored(shape: tuple[int, ...], origin: Array, stored: tuple[Any, ...]) -> JointMoments:
    return JointMoments(whole(*stored).reshape(shape), origin)


def _with_one(rows: Array) -> Array:
    return np.concatenate([np.ones((len(rows), 1)), rows], axis=1)
