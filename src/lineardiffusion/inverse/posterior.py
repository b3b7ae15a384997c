"""Marginal likelihood and posterior of linear measurements, under many Gaussian laws of latents.

With the measurement reduced to y~, b, f, W, U (measurement.py) and a law N(m, C) of the latents, let
a = b - f W^T m, T = I - v f^2 + f W^T C W f and t = T^-1 a. The marginal likelihood of the measurement is

    log p(y) = -1/2 [ k log(2 pi) + log det B + log det T + |y~|^2 - |b|^2 + a^T t ]

and the posterior of the image is Gaussian, with the mean (in the latents' unit)

    xi = V^T (m + (C - v I) W f t) + v A'^T L^-T (y~ - U b + U t).

A posterior draw needs no root of the posterior covariance: draw an image xi' from the law and its measurement
y', and correct the image by the difference of y and y',

    xi = xi' + V^T (C - v I) W f T^-1 b' + v A'^T L^-T (y~' - U b' + U T^-1 b'),    y~', b' of y - y'

(Matheron's rule; Doucet 2010). Its latent z = V xi is a draw from p(z | y). The rest of it, q = xi - V^T z, is
white noise in the discarded directions as far as y leaves q free. A draw without that noise has in its place

    E[q | z, y] = v P A'^T (v A' P A'^T + tau^2 I)^+ (y - A mean - F z),        P = I - V^T V

The matrix in brackets is L (I - v U f^2 U^T) L^T, so with g = (b - f W^T z) / (1 - v f^2) the image is

    xi = V^T z + E[q | z, y] = V^T (z - v W f g) + v A'^T L^-T (y~ - U b + U g)

and still measures y if there is no noise. Where v f^2 = 1, y measures z alone: b = f W^T z, and g = 0.

For a mixture, the marginal likelihoods weight the components, and each draw chooses one.

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

from lineardiffusion._arrays import Array, freeze
from lineardiffusion._linalg import cholesky, eigh, one_thread, split
from lineardiffusion.inverse.measurement import Measurement, PixelModel, ReducedMeasurement

ALIGNED = 1e-8  # 1 - v f^2, the squared sine of an angle between y and the latents, below which it is rounding


@dataclass(frozen=True, eq=False)
class LatentLaws:
    """K Gaussian laws of latents, each with at least the floor's variance in every direction."""

    mean: Array  # (K, d)
    covariance: Array  # (K, d, d)

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def of(cls, mean: Array, covariance: Array, floor: float) -> LatentLaws:
        """Raise the variances of laws with means (K, d) and covariances (K, d, d) to the floor."""
        variance, basis = eigh(covariance)
        with one_thread():
            floored = (basis * np.maximum(variance, floor)[:, None]) @ basis.mT
        return cls(mean, np.where((variance[:, :1] < floor)[..., None], floored, covariance))

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.mean.nbytes + self.covariance.nbytes

    def roots(self, measurement: Measurement) -> Array:
        """Return the Cholesky factors of T, shape (K, p, p)."""
        f, v = measurement.f, measurement.pixel_model.v
        Wf, rest = measurement.W * f, np.diag(np.maximum(1.0 - v * f**2, 0.0))

        def roots(part: Array) -> list[Array]:  # one by one, so that each stays in the processor's cache
            return [np.linalg.cholesky(rest + Wf.T @ C @ Wf) for C in part]

        return np.array([root for part in split(roots, self.covariance) for root in part])


def log_likelihood(measurement: Measurement, reduced: ReducedMeasurement, laws: LatentLaws, roots: Array) -> Array:
    """Return log p(y) of n measurements under K laws, in nats, shape (n, K)."""
    centres = (laws.mean @ measurement.W) * measurement.f
    found = np.empty((len(reduced.rest), len(laws)))
    b = np.asfortranarray(reduced.inside.T)
    for k, root in enumerate(roots):
        half = solve_triangular(root, b - centres[k][:, None], lower=True, overwrite_b=True, check_finite=False)
        found[:, k] = np.einsum("ij,ij->j", half, half)
    return np.asarray(log_peak(measurement, roots) - 0.5 * (reduced.rest[:, None] + found))


def log_peak(measurement: Measurement, roots: Array) -> Array:
    """Return log p(y) of the expected measurement of each law, where it is highest, (K,)."""
    log_det = 2 * np.log(roots.diagonal(axis1=1, axis2=2)).sum(axis=1)
    return np.asarray(-0.5 * (measurement.size * np.log(2 * np.pi) + measurement.log_det + log_det))


def posterior_mean(
    measurement: Measurement, reduced: ReducedMeasurement, laws: LatentLaws, roots: Array, share: Array
) -> Array:
    """Return posterior mean images (n, D), in the latents' unit; `share` (n, K) weights the laws."""
    pixel_model, f, W = measurement.pixel_model, measurement.f, measurement.W
    latent = share @ laws.mean
    inside = np.zeros_like(reduced.inside)
    for k in np.flatnonzero(share.any(axis=0)).tolist():
        members = np.flatnonzero(share[:, k])
        w = share[members, k][:, None]
        t = w * _solve(roots[k], reduced.inside[members] - f * (laws.mean[k] @ W))
        inside[members] += t
        latent[members] += _gain(pixel_model, laws, k, (t * f) @ W.T)
    return _image(measurement, latent, reduced, inside)


def posterior_draw(
    measurement: Measurement,
    reduced: ReducedMeasurement,
    laws: LatentLaws,
    roots: Array,
    chosen: NDArray[np.intp],
    for_latent: Array,
    for_discarded: Array,
    for_y: Array | None,
    residual_noise: bool,
) -> Array:
    """Draw the images (n, D) of n measurements from their posteriors, in the latents' unit.

    `chosen` (n,) is the law of each; ``for_...`` are standard normal noise for the latent (n, d), for the discarded
    directions (n, D) and for the measurement (n, m), None if that has no noise. Without `residual_noise` the
    discarded directions of the image have their conditional mean given the latent and the measurement.
    """
    pixel_model, f, W = measurement.pixel_model, measurement.f, measurement.W
    V = pixel_model.encoder.components
    latent = np.empty_like(for_latent)
    known = np.unique(chosen)
    for k, root in zip(known.tolist(), cholesky(laws.covariance[known]), strict=True):
        members = np.flatnonzero(chosen == k)
        latent[members] = laws.mean[k] + for_latent[members] @ root.T
    xi = latent @ V
    if len(V) < V.shape[1]:
        xi += np.sqrt(pixel_model.v) * (for_discarded - (for_discarded @ V.T) @ V)
    y = np.asarray((measurement.operator @ xi.T).T)
    if for_y is not None:
        y = y + measurement.noise_std * for_y
    more = measurement.reduce_difference(reduced.centred - y)
    inside, step = np.empty_like(more.inside), np.empty_like(latent)
    for k in known.tolist():
        members = np.flatnonzero(chosen == k)
        inside[members] = _solve(roots[k], more.inside[members])
        step[members] = _gain(pixel_model, laws, k, (inside[members] * f) @ W.T)
    if residual_noise:
        return xi + _image(measurement, step, more, inside)
    v = pixel_model.v
    latent += step + v * (inside * f) @ W.T  # + C W f T^-1 b'
    sine = 1.0 - v * f**2
    free = sine > ALIGNED
    g = np.where(free, (reduced.inside - (latent @ W) * f) / np.where(free, sine, 1.0), 0.0)
    return _image(measurement, latent - v * (g * f) @ W.T, reduced, g)


def shares(log_prob: Array) -> Array:
    """Return the probabilities (n, K) of the laws from joint log-densities; below 1e-12 they are 0."""
    share = softmax(log_prob, axis=1)
    share[share < 1e-12] = 0.0
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def _solve(root: Array, a: Array) -> Array:
    """Return t = T^-1 a, rows (n, p)."""
    half = solve_triangular(root, a.T, lower=True, check_finite=False)
    return np.asarray(solve_triangular(root, half, lower=True, trans=1, check_finite=False).T)


def _gain(pixel_model: PixelModel, laws: LatentLaws, k: int, x: Array) -> Array:
    """Return (C - v I) x, rows (n, d)."""
    return np.asarray(x @ laws.covariance[k] - pixel_model.v * x)


def _image(measurement: Measurement, latent: Array, reduced: ReducedMeasurement, inside: Array) -> Array:
    """Return V^T latent + v A'^T L^-T (y~ - U b + U t), rows (n, D)."""
    outside = reduced.whitened + (inside - reduced.inside) @ measurement.U.T
    pixel_model = measurement.pixel_model
    return np.asarray(latent @ pixel_model.encoder.components + pixel_model.v * measurement.back(outside))
