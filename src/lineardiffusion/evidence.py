"""Evidence: how well each of many laws explains a measurement, and what the measurement leaves of them.

With the measurement reduced to y~, b, f, W, U (measurement.py) and a law N(m, C) of the latents, let
a = b - f W^T m, T = I - v f^2 + f W^T C W f and t = T^-1 a. The evidence is the density of the measurement,

    log p(y) = -1/2 [ k log(2 pi) + log det B + log det T + |y~|^2 - |b|^2 + a^T t ]

and given it the image is Gaussian again, with the mean (in the latents' unit)

    xi = V^T (m + (C - v I) W f t) + v A'^T L^-T (y~ - U b + U t).

A draw of it needs no second root: draw an image xi' of the law and its measurement y', and correct it by
what y tells more than y',

    xi = xi' + V^T (C - v I) W f T^-1 b' + v A'^T L^-T (y~' - U b' + U T^-1 b'),    y~', b' of y - y'

(Matheron's rule; Doucet 2010). Of a mixture the evidences weigh the components, and each draw chooses one.

References
----------
Doucet (2010), A note on efficient conditional simulation of Gaussian distributions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import softmax

from lineardiffusion.lapack import cholesky, eigh, one_thread, share_out
from lineardiffusion.measurement import Canvas, Measurement, Seen
from lineardiffusion.moments import Array


@dataclass(frozen=True, eq=False)
class Laws:
    """K Gaussian laws of latents, each with at least the floor's variance in every direction.

    Attributes
    ----------
    mean : ndarray of shape (K, d)
    covariance : ndarray of shape (K, d, d)
    """

    mean: Array
    covariance: Array

    @classmethod
    def of(cls, mean: Array, covariance: Array, canvas: Canvas) -> Laws:
        """From means (K, d) and covariances (K, d, d), which may be singular."""
        variance, basis = eigh(covariance)
        with one_thread():
            floored = (basis * np.maximum(variance, canvas.floor)[:, None]) @ basis.mT
        return cls(mean, np.where((variance[:, :1] < canvas.floor)[..., None], floored, covariance))

    def __len__(self) -> int:
        return len(self.mean)

    def roots(self, measurement: Measurement) -> Array:
        """Lower triangular roots of T, shape (K, p, p)."""
        f, v = measurement.f, measurement.canvas.v
        Wf, rest = measurement.W * f, np.diag(np.maximum(1.0 - v * f**2, 0.0))

        def roots(part: Array) -> list[Array]:  # one by one, each in the cache
            return [np.linalg.cholesky(rest + Wf.T @ C @ Wf) for C in part]

        return np.array([root for part in share_out(roots, self.covariance) for root in part])


def log_evidence(measurement: Measurement, seen: Seen, laws: Laws, roots: Array) -> Array:
    """log p(y) of n measurements under K laws, in nats, shape (n, K)."""
    log_det = 2 * np.log(roots.diagonal(axis1=1, axis2=2)).sum(axis=1)
    constant = measurement.size * np.log(2 * np.pi) + measurement.log_det
    centres = (laws.mean @ measurement.W) * measurement.f
    found = np.empty((len(seen.rest), len(laws)))
    b = np.asfortranarray(seen.inside.T)
    for k, root in enumerate(roots):
        half = solve_triangular(
            root, b - centres[k][:, None], lower=True, overwrite_b=True, check_finite=False
        )
        found[:, k] = np.einsum("ij,ij->j", half, half)
    return np.asarray(-0.5 * (constant + log_det + seen.rest[:, None] + found))


def posterior_mean(measurement: Measurement, seen: Seen, laws: Laws, roots: Array, share: Array) -> Array:
    """Mean images (n, D) of n measurements, in the latents' unit; `share` (n, K) of each is a law's."""
    canvas, f, W = measurement.canvas, measurement.f, measurement.W
    latent = share @ laws.mean
    inside = np.zeros_like(seen.inside)
    for k in np.flatnonzero(share.any(axis=0)).tolist():
        members = np.flatnonzero(share[:, k])
        w = share[members, k][:, None]
        t = w * _solve(roots[k], seen.inside[members] - f * (laws.mean[k] @ W))
        inside[members] += t
        latent[members] += _gain(canvas, laws, k, (t * f) @ W.T)
    return _image(measurement, latent, seen, inside)


def posterior_draw(
    measurement: Measurement,
    seen: Seen,
    laws: Laws,
    roots: Array,
    chosen: NDArray[np.intp],
    for_latent: Array,
    for_discarded: Array,
    for_y: Array | None,
) -> Array:
    """Draws of the images of n measurements, in the latents' unit, shape (n, D).

    `chosen` (n,) is the law of each. Standard normal noise is for its latent (n, d), what the encoder
    discards (n, D), and the measurement (n, m), None where that has none.
    """
    canvas, f, W = measurement.canvas, measurement.f, measurement.W
    V = canvas.encoder.components
    latent = np.empty_like(for_latent)
    known = np.unique(chosen)
    for k, root in zip(known.tolist(), cholesky(laws.covariance[known]), strict=True):
        members = np.flatnonzero(chosen == k)
        latent[members] = laws.mean[k] + for_latent[members] @ root.T
    xi = latent @ V
    if len(V) < V.shape[1]:
        xi += np.sqrt(canvas.v) * (for_discarded - (for_discarded @ V.T) @ V)
    y = np.asarray((measurement.operator @ xi.T).T)
    if for_y is not None:
        y = y + measurement.noise_std * for_y
    more = measurement.see_difference(seen.centred - y)
    inside, step = np.empty_like(more.inside), np.empty_like(latent)
    for k in known.tolist():
        members = np.flatnonzero(chosen == k)
        inside[members] = _solve(roots[k], more.inside[members])
        step[members] = _gain(canvas, laws, k, (inside[members] * f) @ W.T)
    return xi + _image(measurement, step, more, inside)


def shares(log_prob: Array) -> Array:
    """Probabilities (n, K) of the laws, from evidences times frequencies; those below 1e-12 are none."""
    share = softmax(log_prob, axis=1)
    share[share < 1e-12] = 0.0
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def _solve(root: Array, a: Array) -> Array:
    """t = T^-1 a, rows (n, p)."""
    half = solve_triangular(root, a.T, lower=True, check_finite=False)
    return np.asarray(solve_triangular(root, half, lower=True, trans=1, check_finite=False).T)


def _gain(canvas: Canvas, laws: Laws, k: int, x: Array) -> Array:
    """(C - v I) x, rows (n, d)."""
    return np.asarray(x @ laws.covariance[k] - canvas.v * x)


def _image(measurement: Measurement, latent: Array, seen: Seen, inside: Array) -> Array:
    """V^T latent + v A'^T L^-T (y~ - U b + U t), rows (n, D)."""
    outside = seen.whitened + (inside - seen.inside) @ measurement.U.T
    canvas = measurement.canvas
    return np.asarray(latent @ canvas.encoder.components + canvas.v * measurement.back(outside))
