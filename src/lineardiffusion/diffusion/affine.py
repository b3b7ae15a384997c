"""Affine maps as objects: a whole trajectory in one matrix.

    x = z M + b + n R,        z, n ~ N(0, I) independent

z is the starting noise, M (d, d) and b (d,) the map, and R (d, d) a root of the covariance R^T R of the noise
that a stochastic sampler adds. An affine map is determined by its values at a few points: the rows of M are
the images of the basis vectors, b is the image of the origin. So the object keeps those rows, one below the
other. A linear operation on x is the same operation on every row; a constant changes the last row only:

    rows = [M; R; b],     c x -> c rows,     x + y -> rows_x + rows_y,     x A -> rows A

A sampler that is plain arithmetic on x (``c * x``, ``x + y``, ``x @ A``, ``x + b``) therefore runs on a
batch of latents and on an affine map alike. When every step is diagonal, in the eigenbasis of the prompt's
covariance, M and R are diagonal too, one row each, and ``x * gain`` takes the place of ``x @ A``. The map of
x = u Q^T is kept as it is, with the basis Q beside it, and has two forms of equal value,

    x = (z Q M + b + n Q R) Q^T  =  z (Q M Q^T) + b Q^T + n (Q R Q^T)

The first costs 2 d^2 an image and nothing before; the second costs d^2 an image, and d^3 for the product of the
matrices. So the first is taken for at most d images.

A thin basis Q (d, r) has r + 1 coordinates: those of x Q, and one that stands for all directions outside of the
span of Q, with the gains M_0 and R_0 and the offset b_0 of a fixed vector `beyond`,

    x = z M + b + n R,    M = Q diag(M_k - M_0) Q^T + M_0 I,    b = sum_k b_k q_k + b_0 beyond,    R as M

and costs 2 d r an image where M_0 and R_0 are 0, as they are for the exact sampler.

Fresh noise, x + tau n', adds tau^2 I to R^T R. The new root is one of the sum only, so a map from before the
noise cannot be added to a map from after it; each map counts its noises and refuses. (Two maps with different
noises of equal number are not told apart; a sampler has one state, and never adds such maps.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion._device import as_like, dtype_of


@dataclass(frozen=True, eq=False)
class Affine:
    """The affine maps of p prompts at once, ``x = z M + b + n R``.

    Examples
    --------
    >>> x = Affine.identity(1, 2)
    >>> y = 3.0 * x + np.array([[[1.0, 0.0]]])
    >>> y.matrix[0]
    array([[3., 0.],
           [0., 3.]])
    >>> y(np.array([[[1.0, 1.0]]]))
    array([[[4., 3.]]])
    """

    rows: Array  # M, then R once there is noise, then b, (p, r, d)
    diagonal: bool = False  # whether M and R are diagonal, each kept as one row
    n_noises: int = 0  # number of times that noise was added
    basis: Array | None = None  # Q, (p, d, r), where the rows of a diagonal map are those of u = x Q
    beyond: Array | None = None  # vector (p, d) outside of the span of a thin basis

    __array_ufunc__: ClassVar[None] = None  # so that ndarray * Affine calls Affine.__rmul__
    __iter__: ClassVar[None] = None  # a map is no sequence, although it has items

    @classmethod
    def identity(cls, p: int, d: int, *, diagonal: bool = False) -> Affine:
        """Return the map x = z for p prompts in d dimensions."""
        matrix = np.ones((1, d)) if diagonal else np.eye(d)
        return cls(np.repeat(np.concatenate([matrix, np.zeros((1, d))])[None], p, axis=0), diagonal)

    def __mul__(self, gain: float | Array) -> Affine:
        """Scale by a number; by a gain (p, 1, d) entry by entry when the map is diagonal."""
        if isinstance(gain, Affine):
            raise TypeError("a product of two states is not affine; a sampler may scale and add states only")
        if isinstance(gain, np.ndarray) and gain.ndim and (not self.diagonal or self.basis is not None):
            raise TypeError("a full affine map takes a matrix, x @ A, not a gain an entry")
        return replace(self, rows=self.rows * gain)

    __rmul__ = __mul__

    def __neg__(self) -> Affine:
        return -1.0 * self

    def __truediv__(self, divisor: float) -> Affine:
        return (1.0 / divisor) * self

    def __matmul__(self, matrix: Array) -> Affine:
        """Multiply by matrices of shape (d, d) or (p, d, d) on the right."""
        if self.diagonal:
            raise TypeError("a diagonal affine map takes a gain an entry, not a matrix")
        return replace(self, rows=self.rows @ matrix)

    def __add__(self, other: Affine | Array) -> Affine:
        """Add a map of the same noises, or a constant of shape (p, 1, d)."""
        if self.basis is not None:
            raise TypeError("a rotated affine map is complete: add first, then rotate")
        if isinstance(other, Affine):
            if self.n_noises != other.n_noises:
                raise ValueError("affine maps from before and after noise do not add up; add noise last in a step")
            return replace(self, rows=self.rows + other.rows)
        rows = self.rows.copy()
        rows[:, -1:] += other
        return replace(self, rows=rows)

    __radd__ = __add__

    def __sub__(self, other: Affine) -> Affine:
        return self + (-1.0) * other

    def with_noise(self, tau: float) -> Affine:
        """Return ``x + tau n`` with fresh noise n ~ N(0, I), tau above 0."""
        matrix, root, offset = np.split(self.rows, [self._size, -1], axis=1)
        root = root if root.size else np.zeros_like(matrix)
        if self.diagonal:
            root = np.hypot(root, tau)
        else:
            root = np.asarray(np.linalg.cholesky(root.mT @ root + tau**2 * np.eye(self._size)).mT)
        rows = np.concatenate([matrix, root, offset], axis=1)
        return replace(self, rows=rows, n_noises=self.n_noises + 1)

    def rotate(self, basis: Array, beyond: Array | None = None) -> Affine:
        """Return the map of x of a diagonal map in coordinates ``u = x Q``, Q = `basis` (p, d, d).

        The noises z and n are isotropic, so their laws are the same in both coordinates. A thin basis (p, d, r)
        needs the vector `beyond` (p, d) of the last coordinate.
        """
        if not self.diagonal or self.basis is not None:
            raise TypeError("only a diagonal affine map rotates, and once; use x @ A on a full one")
        return replace(self, basis=basis, beyond=beyond)

    def __call__(self, z: Any, n: Any = None) -> Any:
        """Return values (p, m, d) at starting noise `z` (p, m, d) and sampler noise `n` (p, m, d), or none.

        The products have the precision of z and n, and run on their device if they are tensors.
        """
        dtype = dtype_of(z)
        if self.beyond is not None:
            return self._thin([z] if n is None else [z, n], dtype)
        if self.basis is not None and z.shape[1] <= z.shape[2]:
            Q = as_like(self.basis, z, dtype)
            rows = as_like(self.rows, z, dtype)
            M, *R, b = (rows[:, i : i + 1] for i in range(rows.shape[1]))
            u = (z @ Q) * M + b
            return (u if n is None else u + (n @ Q) * R[0]) @ Q.mT
        x = z @ as_like(self.matrix, z, dtype) + as_like(self.offset[:, None], z, dtype)
        return x if n is None else x + n @ as_like(self.root, z, dtype)

    def _thin(self, noises: list[Any], dtype: Any) -> Any:
        """Return the values of a map with a thin basis at z, or at z and n."""
        assert self.basis is not None
        assert self.beyond is not None
        Q, rows, beyond = (as_like(array, noises[0], dtype) for array in (self.basis, self.rows, self.beyond))
        u, x = rows[:, -1:, :-1], rows[:, -1:, -1:] * beyond[:, None]
        for i, noise in enumerate(noises):
            own, rest = rows[:, i : i + 1, :-1], rows[:, i : i + 1, -1:]
            u = u + (noise @ Q) * (own - rest)
            if self.rows[:, i, -1].any():
                x = x + noise * rest
        return u @ Q.mT + x

    @property
    def _size(self) -> int:
        return 1 if self.diagonal else self.rows.shape[-1]

    def _full(self, block: Array) -> Array:
        if self.basis is not None and self.beyond is not None:
            rest = block[:, :, -1:]
            return (self.basis * (block[:, :, :-1] - rest)) @ self.basis.mT + rest * np.eye(self.basis.shape[1])
        if self.basis is not None:
            return (self.basis * block) @ self.basis.mT
        return block.mT * np.eye(block.shape[-1]) if self.diagonal else block

    @property
    def matrix(self) -> Array:
        """M, shape (p, d, d)."""
        return self._full(self.rows[:, : self._size])

    @property
    def root(self) -> Array:
        """R, shape (p, d, d); zero without noise."""
        return self._full(self.rows[:, self._size : -1]) if self.n_noises else np.zeros_like(self.matrix)

    @property
    def offset(self) -> Array:
        """b, shape (p, d)."""
        if self.basis is None:
            return self.rows[:, -1]
        if self.beyond is None:
            return np.asarray((self.rows[:, -1:] @ self.basis.mT)[:, 0])
        return np.asarray((self.rows[:, -1:, :-1] @ self.basis.mT)[:, 0] + self.rows[:, -1, -1:] * self.beyond)

    def singular(self) -> tuple[Array, Array, Array]:
        """Return U, s and V^T of M = U diag(s) V^T, of the map of one prompt."""
        if self.basis is None or self.beyond is not None:
            return np.linalg.svd(self.matrix[0])
        gain = self.rows[0, 0]
        return self.basis[0] * np.where(gain < 0, -1.0, 1.0), np.abs(gain), self.basis[0].T

    @property
    def variance(self) -> Array:
        """Variances (p, d) of u = x Q, of a diagonal map: the sum of the squares in M and R."""
        return np.asarray((self.rows[:, :-1] ** 2).sum(axis=1))

    @property
    def covariance(self) -> Array:
        """Covariance of x over z and n, M^T M + R^T R, shape (p, d, d)."""
        if self.diagonal:
            return self._full(self.variance[:, None])
        covariance: Array = self.matrix.mT @ self.matrix
        return covariance + self.root.mT @ self.root if self.n_noises else covariance

    def __getitem__(self, p: int) -> Affine:
        """Return the map of one prompt, as a stack of one."""
        basis, beyond = (None if one is None else one[p : p + 1] for one in (self.basis, self.beyond))
        return replace(self, rows=self.rows[p : p + 1], basis=basis, beyond=beyond)
