"""Bayes' rule for a linear measurement of a Gaussian that may be singular.

From x ~ N(m, C) and y = A x + n, n ~ N(0, R), follow the law of y and the law of x given y. Both are computed
from roots, C = L L^T and R = T T^T: all randomness is a standard normal w, of which y determines a part.

    x = m + [L 0] w,      y - A m = G w,      G = [A L  T] = U S V^T
    y      ~  N(A m, U S^2 U^T)
    w | y  ~  N(V S^-1 U^T (y - A m), I - V V^T)
    x | y  ~  N(m + [L 0] V S^-1 U^T (y - A m), H H^T),      H = [L 0] N,   N the complement of V

Nothing is subtracted, so after a measurement without noise the covariance has the right rank, to rounding.

A variance below n eps of the largest, n the larger side of the matrix, is rounding and counts as 0. A point on
a plane may miss it by 1e-6 of its size, the rounding of float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike

from lineardiffusion._arrays import Array
from lineardiffusion._linalg import diagonals
from lineardiffusion.distributions.law import check_indices

TOLERANCE = 1e-6  # relative; asymmetry, negative variances and distances within it are rounding of float32

IMPOSSIBLE = (
    "this law gives this y the probability 0: without noise, y contradicts the law's fixed directions or "
    "itself (dependent rows of the operator). If y is noisy, pass the noise's covariance or standard deviation"
)


def condition(
    mean: Array, root: Array, y: Array, A: Array, noise_root: Array
) -> tuple[tuple[Array, Array], tuple[int, float]]:
    """Condition N(m, L L^T) on y (m,), for L (d, r), A (m, d) and T (m, k), L and T of full column rank.

    Return the mean (d,) and the covariance (d, d) of x given y; the dimension of the plane of the law of y, and the
    log-density of y on it (-inf if y lies off the plane).
    """
    r = root.shape[1]
    expected = A @ mean
    G = np.hstack([A @ root, noise_root])
    U, s, Vt = np.linalg.svd(G)
    # not s[0]: G is all rounding if A measures directions without variance only
    largest = np.linalg.norm(root, axis=0).max(initial=0.0)
    size = float(np.linalg.norm(np.hstack([A * largest, noise_root]), axis=1).max())
    p = int(np.sum(s**2 > rounding(max(G.shape)) * size**2))
    U, s, V, N = U[:, :p], s[:p], Vt[:p, :r].T, Vt[p:, :r].T
    step, H = y - expected, root @ N
    log_prob = log_prob_on(step, U, s, size + np.abs(y).max() + np.abs(expected).max())
    return (mean + root @ (V @ (U.T @ step / s)), H @ H.T), (p, float(log_prob))


def log_prob_on(r: Array, basis: Array, std: Array, size: Array | float) -> Array:
    """Return the log-density of N(0, B diag(std^2) B^T) at r (..., d) on the plane of B (d, p), and -inf off it.

    `size` (...) is the size of the numbers whose difference r is.
    """
    inside = r @ basis
    log_prob = -0.5 * (np.log(2 * np.pi * std**2).sum() + ((inside / std) ** 2).sum(axis=-1))
    if basis.shape[0] == basis.shape[1]:
        return np.asarray(log_prob)
    off = np.abs(r - inside @ basis.T).max(axis=-1)
    return np.where(off > TOLERANCE * size, -np.inf, log_prob)


def spectrum(covariance: Array) -> tuple[Array, Array]:
    """Return eigenvalues (d,), ascending, with rounding set to 0, and eigenvectors (d, d)."""
    if (variance := diagonals(covariance)) is not None:
        order = np.argsort(variance, kind="stable")
        variance, basis = variance[order], np.eye(len(order))[:, order]
    else:
        variance, basis = np.linalg.eigh(covariance)
    if variance[0] < -TOLERANCE * abs(variance[-1]):
        found = f"{variance[0]:.3g} (the largest is {variance[-1]:.3g}); was it estimated entry by entry?"
        raise ValueError(f"covariance must have no eigenvalue below 0, got {found} Clip its eigenvalues at 0")
    return np.where(variance > rounding(len(variance)) * variance[-1], variance, 0.0), basis


def rounding(n: int) -> float:
    """Return the share of the largest variance below which a variance is rounding, for a side n."""
    return float(n * np.finfo(float).eps)


def check_covariance(covariance: ArrayLike, d: int, name: str = "covariance") -> Array:
    """Return an array (d, d), finite and symmetric; :func:`spectrum` checks the eigenvalues."""
    C = np.asarray(covariance, dtype=np.float64)
    if C.shape != (d, d):
        raise ValueError(f"{name} must have the shape ({d}, {d}), got {C.shape}")
    if not np.isfinite(C).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity among it")
    if (gap := np.abs(C - C.T).max()) > TOLERANCE * np.abs(C).max():
        raise ValueError(f"{name} must be symmetric, but some entries differ by {gap:.3g} from their mirror")
    return C


def check_measurement(
    y: ArrayLike, operator: Any, noise_covariance: ArrayLike | None, d: int
) -> tuple[Array, Array, Array]:
    """Return y (m,), A (m, d) and T (m, k), which has no columns if there is no noise."""
    dense = operator.toarray() if hasattr(operator, "toarray") else operator
    if isinstance(dense, slice) or np.asarray(dense).ndim != 2:
        A = np.eye(d)[check_indices(dense, d)]
    else:
        A = np.asarray(dense, dtype=np.float64)
    seen, m = np.asarray(y, dtype=np.float64), len(A)
    if not m or A.shape[1] != d:
        raise ValueError(f"operator must have the shape (m, {d}) for a law of {d} coordinates, got {A.shape}")
    if seen.shape != (m,):
        raise ValueError(f"an operator of {m} rows needs y of the shape ({m},), got {seen.shape}")
    if not (np.isfinite(seen).all() and np.isfinite(A).all()):
        raise ValueError("y and operator must be finite; leave out rows that were not measured")
    if noise_covariance is None:
        return seen, A, np.zeros((m, 0))
    if np.ndim(noise_covariance) != 2:
        got = f"{np.shape(noise_covariance)}; for noise of standard deviation s it is s**2 * np.eye({m})"
        raise ValueError(f"noise_covariance must have the shape ({m}, {m}), got {got}")
    variance, basis = spectrum(check_covariance(noise_covariance, m, "noise_covariance"))
    kept = variance > 0
    return seen, A, basis[:, kept] * np.sqrt(variance[kept])


def check_transform(
    operator: Any, offset: ArrayLike | None, noise_covariance: ArrayLike | None, d: int
) -> tuple[Any, Array, Array]:
    """Return A (m, d), an array or sparse, b (m,), and R (m, m) or its diagonal (m,)."""
    sparse = scipy.sparse.issparse(operator)
    A: Any = scipy.sparse.csr_array(operator) if sparse else np.asarray(operator, dtype=np.float64)
    if A.ndim != 2 or A.shape[1] != d or not A.shape[0]:
        raise ValueError(f"operator must have the shape (m, {d}) for a law of {d} coordinates, got {A.shape}")
    m = A.shape[0]
    b = np.zeros(m) if offset is None else np.asarray(offset, dtype=np.float64)
    if b.shape != (m,):
        raise ValueError(f"an operator of {m} rows needs an offset of the shape ({m},), got {b.shape}")
    if not (np.isfinite(A.data if sparse else A).all() and np.isfinite(b).all()):
        raise ValueError("operator and offset must be finite, got NaN or infinity among them")
    R = np.zeros(m) if noise_covariance is None else np.asarray(noise_covariance, dtype=np.float64)
    if R.ndim != 1:
        return A, b, check_covariance(R, m, "noise_covariance")
    if R.shape != (m,) or not np.isfinite(R).all() or (R < 0).any():
        raise ValueError(f"noise_covariance must have the shape ({m}, {m}), or hold {m} variances of 0 or more")
    return A, b, R
