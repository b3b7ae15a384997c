"""Moments: weight, mean and scatter of the images of every prompt.

For every prompt u, over its images x_i with sample weights w_i,

    weight   w_u = sum_i w_i
    mean     m_u = sum_i w_i x_i / w_u
    scatter  S_u = sum_i w_i (x_i - m_u) (x_i - m_u)^T

They are sufficient statistics: the PCA, the denoiser at every noise level and the law of what is generated
are functions of them. The sum of the squared weights, kept too, tells how many images are behind them
(`effective`). They add up (Chan, Golub and LeVeque 1983), with w = w_a + w_b and D = m_b - m_a:

    m = m_a + (w_b / w) D,        S = S_a + S_b + (w_a w_b / w) D D^T

so data can stream, merge and be distributed. Solved for the first data set, the same equations subtract:

    w_a = w - w_b,    m_a = m + (w_b / w_a) (m - m_b),    S_a = S - S_b - (w_a w_b / w) (m_b - m_a) (m_b - m_a)^T

Sums are taken about an origin o near the mean, S_u = sum w (x - o)(x - o)^T - w_u (m_u - o)(m_u - o)^T,
so that no digit is lost to images offset by 10,000. The products run in float32 when the pixels have at
most that precision, block by block, and the blocks are added in float64. Bytes less 128 have products
of at most 2^14, so 2^10 of them sum to at most 2^24: every float32 product of a block of bytes is exact.

References
----------
Chan, Golub and LeVeque (1983), Algorithms for computing the sample variance: analysis and
recommendations. The American Statistician 37(3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from lineardiffusion._arrays import BLOCK, Array, Images, Indices, freeze, members_of, working_dtype
from lineardiffusion._device import as_like, cast, dtype_of, empty, is_tensor, namespace, to_numpy
from lineardiffusion._linalg import one_thread, side_by_side
from lineardiffusion._triangles import condensed, whole

M = TypeVar("M")
NEGATIVE = 1e-7  # share of the whole scatter that differences of scatters may miss by rounding
STRIP = 64  # rows of a matrix worked on at a time
ALONE = 0.75  # share of the rows above which BLAS splits the products of a group among its threads
ROUNDING = 1e-9  # share of an entry's variance below which what a subtraction leaves of it is rounding


@dataclass(frozen=True, eq=False)
class Moments:
    """Weight, mean and scatter of g groups of vectors with d entries.

    The scatter is symmetric to the last bit where it was measured or added up, so the upper triangle determines it.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[1.0, 2.0], [3.0, 6.0], [5.0, 5.0]])
    >>> both = Moments.of(rows, [0, 0, 1], 2)
    >>> both.mean
    array([[2., 4.],
           [5., 5.]])
    >>> stream = Moments.of(rows[:1], [0], 2) + Moments.of(rows[1:], [0, 1], 2)
    >>> np.allclose(stream.scatter, both.scatter)
    True
    """

    weight: Array  # (g,)
    squares: Array  # sum of the squared weights, (g,)
    mean: Array  # (g, d), zero where the weight is zero
    scatter: Array  # (g, d, d)

    def __post_init__(self) -> None:
        freeze(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the upper triangles of the scatters of groups that have one."""
        return _restored, (self.weight, self.squares, self.mean, condensed(self.scatter))

    @classmethod
    def zeros(cls, n_groups: int, d: int) -> Moments:
        """Return the moments of no data."""
        return cls(np.zeros(n_groups), np.zeros(n_groups), np.zeros((n_groups, d)), np.zeros((n_groups, d, d)))

    @classmethod
    def of(
        cls,
        rows: NDArray[Any],
        groups: ArrayLike,
        n_groups: int,
        sample_weight: Array | None = None,
        dtype: DTypeLike | None = None,
    ) -> Moments:
        """Compute the moments of rows (n, d) of any real dtype in one pass; zeros for a group without rows.

        The products have the `dtype`, by default what the type of the rows needs. The groups are computed side by
        side, with one BLAS thread each, unless one of them has nearly all rows.
        """
        groups = np.asarray(groups, dtype=np.intp)
        d = rows.shape[1]
        weight, mean, scatter = np.zeros(n_groups), np.zeros((n_groups, d)), np.zeros((n_groups, d, d))
        each = np.ones(len(groups)) if sample_weight is None else sample_weight
        squares = np.bincount(groups, each**2, n_groups).astype(np.float64)  # of no rows they are integers
        members = members_of(groups, n_groups)
        working = working_dtype(dtype_of(rows) if sample_weight is None else np.float64) if dtype is None else dtype

        def fill(g: int) -> None:
            w = None if sample_weight is None else sample_weight[members[g]]
            if w is None or w.any():
                weight[g], mean[g] = _accumulate(rows, members[g], w, scatter[g], np.dtype(working))

        sizes = np.array([len(own) for own in members])
        largest_first = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)].tolist()
        if sizes.max(initial=0) <= ALONE * len(groups) and not is_tensor(rows):
            side_by_side(fill, largest_first)
        else:
            for g in largest_first:
                fill(g)
        return cls(weight, squares, mean, scatter)

    @staticmethod
    def nbytes(n_groups: int, d: int) -> int:
        """Bytes of the scatter of that many groups in d dimensions."""
        return 8 * n_groups * d**2

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both data sets together; the groups are in the same order."""
        return Moments.total([self, other])

    @classmethod
    def total(cls, terms: Iterable[Moments]) -> Moments:
        """Add the moments of several data sets in one set of arrays; at least one term is needed."""
        every = iter(terms)
        first = next(every)
        weight, squares, mean, scatter = (getattr(first, one.name).copy() for one in fields(cls))
        for term in every:
            before = weight.copy()
            weight += term.weight
            squares += term.squares
            share = np.divide(term.weight, weight, out=np.zeros_like(weight), where=weight > 0)
            step = term.mean - mean
            coefficient = before * share
            for g in np.flatnonzero(term.weight):  # most styles have no image in a small batch
                scatter[g] += term.scatter[g]
                if coefficient[g]:
                    scatter[g] += coefficient[g] * np.outer(step[g], step[g])  # symmetric to the last bit
            mean += share[:, None] * step
        return cls(weight, squares, mean, scatter)

    def __sub__(self, other: Moments) -> Moments:
        """Return the moments of this data set without a part of it; a ValueError if it was not in the data."""
        return self.minus(other)

    def minus(self, other: Moments, nearest: bool = False) -> Moments:
        """Subtract; with `nearest` the nearest scatter takes the place of one that has a negative variance.

        That is for scatters that were stored as approximations.
        """
        weight = self.weight - other.weight
        weight[np.abs(weight) <= 1e-9 * self.weight] = 0.0
        if (weight < 0).any():
            raise ValueError("cannot subtract images that were never added: a weight would be negative")
        kept = weight > 0
        ratio = np.divide(other.weight, weight, out=np.zeros_like(weight), where=kept)
        mean = np.where(kept[:, None], self.mean + ratio[:, None] * (self.mean - other.mean), 0.0)
        scatter = self.scatter - other.scatter
        share = np.divide(weight * other.weight, self.weight, out=np.zeros_like(weight), where=kept)
        step = other.mean - mean
        scatter[~kept] = 0.0
        for g, coefficient in enumerate(share):
            if coefficient:
                scatter[g] -= coefficient * np.outer(step[g], step[g])
        before = np.diagonal(self.scatter, axis1=1, axis2=2)
        # rounding is relative to the whole data, for what is subtracted may have been most of a group
        centre = self.weight @ self.mean / self.weight.sum()
        size = float(before.sum() + self.weight @ ((self.mean - centre) ** 2).sum(axis=1))
        for g in np.flatnonzero(kept & (other.weight > 0)).tolist():
            if not is_positive(scatter[g], NEGATIVE * size):
                if not nearest:
                    raise ValueError("cannot subtract images that were never added: a variance would be negative")
                variance, basis = np.linalg.eigh(scatter[g])
                root = basis * np.sqrt(np.maximum(variance, 0.0))
                scatter[g] = root @ root.T
            constant = np.diagonal(scatter[g]) <= ROUNDING * before[g]
            scatter[g][constant] = scatter[g][:, constant] = 0.0
        for g in np.flatnonzero(~kept & (self.weight > 0)).tolist():  # whose images are all subtracted
            apart = self.weight[g] * ((self.mean[g] - other.mean[g]) ** 2).sum()
            if not nearest and max(np.abs(self.scatter[g] - other.scatter[g]).max(), apart) > NEGATIVE * size:
                raise ValueError("cannot subtract images that were never added: they are not all of a group's")
        squares = self.squares - other.squares
        if (squares < -1e-9 * self.squares).any():
            raise ValueError("cannot subtract images that were never added with these weights")
        # of unequal weights rounding may leave nothing of the squares
        squares = np.where(kept, np.maximum(squares, 1e-15 * self.squares), 0.0)
        return Moments(weight, squares, mean, scatter)

    def __getitem__(self, groups: Indices) -> Moments:
        """Return the moments of some of the groups."""
        return chosen(self, groups)

    def spread(self, positions: ArrayLike, n_groups: int) -> Moments:
        """Return the same groups at other positions among ``n_groups``, the new ones empty."""
        return spread(self, positions, n_groups)

    def pooled(self) -> Moments:
        """Return the moments of all groups as one: scatter within plus scatter between."""
        weight = self.weight.sum(keepdims=True)
        mean = self.weight @ self.mean / weight
        between = self.mean - mean
        scatter = (between.T * self.weight) @ between
        for within in self.scatter:
            scatter += within
        return Moments(weight, self.squares.sum(keepdims=True), mean[None], scatter[None])

    def project(self, origin: Array, basis: Array) -> Moments:
        """Return the moments of ``(x - origin) @ basis``; `origin` (d,), `basis` (d, k)."""
        mean = np.where(self.weight[:, None] > 0, self.mean - origin, 0.0) @ basis
        scatter = np.empty((len(mean), basis.shape[1], basis.shape[1]))

        def fill(g: int) -> None:  # one group at a time in memory
            np.matmul(basis.T, self.scatter[g] @ basis, out=scatter[g])

        side_by_side(fill, range(len(mean)))
        return Moments(self.weight, self.squares, mean, scatter)

    @property
    def effective(self) -> Array:
        """Effective number of images of each group, (sum w)^2 / sum w^2 (Kish 1965); 0 without images."""
        return self.weight**2 / np.where(self.squares > 0, self.squares, 1.0)

    @property
    def covariance(self) -> Array:
        """Maximum-likelihood covariance of each group, shape (g, d, d): divided by the weight."""
        return self.scatter / np.where(self.weight > 0, self.weight, 1.0)[:, None, None]


def chosen(moments: M, groups: Indices) -> M:
    """Return some groups of moments, whose arrays have a row for each group."""
    names = [one.name for one in fields(moments)]  # type: ignore[arg-type]
    return type(moments)(*(getattr(moments, name)[groups] for name in names))


def spread(moments: M, positions: ArrayLike, n_groups: int) -> M:
    """Return moments with their groups at other positions among ``n_groups``, the new ones empty."""
    names = [one.name for one in fields(moments)]  # type: ignore[arg-type]
    other = {name: np.zeros((n_groups, *getattr(moments, name).shape[1:])) for name in names}
    for name, array in other.items():
        array[np.asarray(positions)] = getattr(moments, name)
    return type(moments)(**other)


def _restored(weight: Array, squares: Array, mean: Array, stored: tuple[Any, ...]) -> Moments:
    return Moments(weight, squares, mean, whole(*stored))


def is_positive(scatter: Array, tolerance: float) -> bool:
    """Return whether no direction of a symmetric matrix has a variance below ``-tolerance``."""
    try:
        with one_thread():
            np.linalg.cholesky(scatter + max(tolerance, np.finfo(float).tiny) * np.eye(len(scatter)))
    except np.linalg.LinAlgError:
        return False
    return True


def _accumulate(
    rows: NDArray[Any], members: Indices, weights: Array | None, scatter: Array, dtype: np.dtype[Any]
) -> tuple[float, Array]:
    """Add one group's scatter into `scatter` (d, d), by products of this type; return its weight and mean (d,).

    Entries that do not vary within the group, such as an image's frame, take no part in the products.
    """
    mean = to_numpy(rows[members[0]]).astype(np.float64)
    varying = _varying(rows, members)
    whole, k = len(varying) == rows.shape[1], len(varying)
    origin = _origin(rows, members, dtype)[varying]
    xp, weight = namespace(rows), 0.0
    o, columns = as_like(origin, rows, dtype), as_like(varying, rows, np.intp)
    total = as_like(np.zeros(k), rows, np.float64)  # sums are float64 wherever they are
    summed: Any = scatter if whole and not is_tensor(rows) else as_like(np.zeros((k, k)), rows, np.float64)
    buffer, product = (empty((m, k), rows, dtype) for m in (min(BLOCK, len(members)), k))
    for start in range(0, len(members), BLOCK):
        part = members[start : start + BLOCK]
        x = buffer[: len(part)]
        x[...] = rows[part] if whole else xp.take(rows[part], columns, axis=1)
        x -= o
        if weights is None:
            weight += len(x)
            total += x.sum(0)
        else:
            w = as_like(weights[start : start + BLOCK], x, np.float64)
            weight += float(w.sum())
            total += w @ x
            x *= w[:, None] ** 0.5
        summed += xp.matmul(x.T, x, out=product)
    offset, within = to_numpy(total) / weight, to_numpy(summed)
    for start in range(0, k, STRIP):  # by strips of rows: no second matrix in memory
        strip = slice(start, start + STRIP)
        within[strip] -= weight * np.outer(offset[strip], offset)  # the weight last: symmetric to the last bit
    mean[varying] = origin + offset
    if within is not scatter:
        scatter[np.ix_(varying, varying)] = within
    return weight, mean


def _varying(rows: NDArray[Any], members: Indices) -> Indices:
    """The entries in which the members differ."""
    first, xp = rows[members[0]], namespace(rows)
    differs = np.zeros(rows.shape[1], bool)
    for start in range(0, len(members), BLOCK):
        block = rows[members[start : start + BLOCK]]
        differs |= to_numpy((xp.min(block, axis=0) != first) | (xp.max(block, axis=0) != first))
        if differs.all():
            break
    return np.flatnonzero(differs)


def _origin(rows: NDArray[Any], members: Indices, dtype: np.dtype[np.floating]) -> Images:
    """A vector near the mean that the working type holds exactly: 128 for bytes."""
    kind = dtype_of(rows)
    if kind.kind in "bui" and kind.itemsize == 1:
        return np.full(rows.shape[1], 128 if kind.kind == "u" else 0, dtype)
    return to_numpy(cast(rows[members[:BLOCK]], np.float64).mean(0)).astype(dtype)
