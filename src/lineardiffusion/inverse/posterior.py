"""Marginal likelihood and posterior of linear measurements, under many Gaussian laws of latents.

With the measurement reduced to y~, b, f, W, U (measurement.py) and a law N(m, C) of the latents, let
a = b - f W^T m, T = I - v f^2 + f W^T C W f and t = T^-1 a. The marginal likelihood of the measurement is

    log p(y) = -1/2 [ k log(2 pi) + log det B + log det T + |y~|^2 - |b|^2 + a^T t ]

and the posterior of the image is Gaussian, with the mean (in the latents' unit)

    xi = V^T (m + (C - v I) W f t) + v A'^T L^-T (y~ - U b + U t).

**Two factorisations.** T = S A S^T with S = I, A = T; or, where f has no zero and W is square, with

    S = f W^T,      A = C + M,      M = W (f^-2 - v) W^T,      det T = det f^2 det(C + M)

In the second form S^-1 b = W f^-1 b = z is a pseudo-observation: a latent that was observed with noise of
covariance M, whatever the law. So a law costs one Cholesky decomposition of C + M and no product with W, which is 4
d^3 in the first form. M grows as f falls, and next to M the least variances of C are rounded, by eps f^-2. So f^2
is bounded from below: the second form is taken where f^-2 - v is at most 1e8 times the least variance of the laws
(NOISE), and the first one for measurements that see less of a direction. In both forms, with A = R^-T R^-1 and R
upper triangular,

    a^T t = |h|^2,     h = R^T S^-1 a,      t = S^-T R R^T S^-1 a,      log det T = log det S S^T - 2 sum log diag R

**Screen.** The first q entries of h need the first q rows and columns of R alone, and the sum of their squares is
at most |h|^2. So it bounds log p(y) from above. A law whose bound of log p(k) + log p(y) lies more than 28 nats
(NATS) under the largest exact one of the same measurement has a posterior probability below e^-28 < 1e-12, and is
left out: shares below 1e-12 count as 0 anyway.

**Single precision.** With u = 2^-24, the computed h differs from R^T c, c = S^-1 a, by about u |R|_F |c|, and |c|
is at most |R^-1|_F |h|. So |h|^2 has a relative error of about 2 u (tr A tr A^-1)^(1/2), which is used as its
bound. It is an estimate: the bound of the worst case has a factor d, and measured errors are hundreds of times
smaller. c is subtracted in double precision, or the digits of images far from 0 would be lost.

**Draws.** A posterior draw needs no root of the posterior covariance: draw an image xi' from the law and its
measurement y', and correct the image by the difference of y and y',

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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from scipy.linalg.lapack import dtrtri, dtrtrs
from scipy.special import softmax

from lineardiffusion._arrays import Array, Indices, freeze
from lineardiffusion._cache import computed_once
from lineardiffusion._linalg import eigh, one_thread, split
from lineardiffusion.inverse.measurement import Measurement, ReducedMeasurement

ALIGNED = 1e-8  # 1 - v f^2, the squared sine of an angle between y and the latents, below which it is rounding
NOISE = 1e8  # largest variance of a pseudo-observation, in units of the least variance of the laws
NEGLIGIBLE = 1e-12  # share of a law that counts as 0
NATS = 28.0  # log-probability under the best law's, below which a share is negligible
SCREENED, SCREEN_BYTES = 48, 2**25  # q, the rows of the screen, and the bytes that they take at a time
EPSILON = 2.0**-24  # u, the unit of rounding in single precision
FEW = 2  # measurements for each entry of a latent, below which a law costs more than what it is applied to


@dataclass(frozen=True, eq=False)
class LatentLaws:
    """K Gaussian laws of latents, each with at least the floor's variance in every direction."""

    mean: Array  # (K, d)
    covariance: Array  # (K, d, d)
    least: float  # variance of any law in any direction, at least

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def of(cls, mean: Array, covariance: Array, floor: float) -> LatentLaws:
        """Raise the variances of laws with means (K, d) and covariances (K, d, d) to the floor."""
        variance, basis = eigh(covariance)
        with one_thread():
            floored = (basis * np.maximum(variance, floor)[:, None]) @ basis.mT
        covariance = np.where((variance[:, :1] < floor)[..., None], floored, covariance)
        return cls(mean, covariance, max(float(variance.min()), floor))

    @classmethod
    def of_spectra(cls, mean: Array, variance: Array, bases: Sequence[Array], floor: float) -> LatentLaws:
        """Build the laws with means (K, d) and variances (K, d), or the floor, along K orthonormal bases (d, d)."""
        variance = np.maximum(variance, floor)
        covariance = np.empty((*mean.shape, mean.shape[1]))

        def fill(part: Any) -> None:
            for k in part:
                np.matmul(bases[k] * variance[k], bases[k].T, out=covariance[k])

        split(fill, np.arange(len(mean)))
        return cls(mean, covariance, float(variance.min()))

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.mean.nbytes + self.covariance.nbytes


@dataclass(frozen=True, eq=False)
class MeasuredLaws:
    """One measurement operator under K laws: T = S A S^T of each law, and the likelihoods of measured values."""

    measurement: Measurement
    laws: LatentLaws
    pseudo: bool  # whether A = C + M, the covariance of the pseudo-observation; otherwise A = T

    @classmethod
    def of(cls, measurement: Measurement, laws: LatentLaws, n: int) -> MeasuredLaws:
        """Choose the factorisation for n measured values: the screen is sharper in the first form."""
        f, v, d = measurement.f, measurement.pixel_model.v, laws.mean.shape[1]
        regular = len(f) == d and f.min() ** 2 * (v + NOISE * laws.least) >= 1.0
        return cls(measurement, laws, bool(regular and (n < FEW * d or len(laws) == 1 or f.max() == f.min())))

    # ------------------------------------------------------------------ T = S A S^T

    @computed_once
    def _noise(self) -> Array:
        """M, or I - v f^2, as a matrix."""
        f, v, W = self.measurement.f, self.measurement.pixel_model.v, self.measurement.W
        if self.pseudo:
            return np.asarray((W * np.maximum(f**-2.0 - v, 0.0)) @ W.T)
        return np.diag(np.maximum(1.0 - v * f**2, 0.0))

    @computed_once
    def _pull(self) -> Array | None:
        """S^-T, which takes rows b to S^-1 b; None where S = I."""
        return (self.measurement.W / self.measurement.f).T.copy() if self.pseudo else None

    @computed_once
    def centres(self) -> Array:
        """S^-1 f W^T m of each law: the expected values of S^-1 b, (K, p)."""
        m = self.laws.mean
        return m if self.pseudo else (m @ self.measurement.W) * self.measurement.f

    def observed(self, b: Array) -> Array:
        """Return S^-1 b, rows (n, p)."""
        return b if self._pull is None else b @ self._pull

    def _matrix(self, k: int) -> Array:
        """Return A of law k."""
        C = self.laws.covariance[k]
        if self.pseudo:
            return np.asarray(C + self._noise)
        Wf = self.measurement.W * self.measurement.f
        return np.asarray(self._noise + Wf.T @ C @ Wf)

    def root(self, k: int) -> Array:
        """Return R of law k."""
        A = self._matrix(k)
        return np.asarray(dtrtri(np.linalg.cholesky(A).T, lower=0)[0]) if A.size else A  # LAPACK takes no 0 x 0

    @computed_once
    def roots(self) -> Array:
        """R of every law, (K, p, p)."""
        found = np.empty((len(self.laws), *self._noise.shape))

        def fill(part: Any) -> None:  # one by one, so that each stays in the processor's cache
            for k in part:
                found[k] = self.root(k).T

        split(fill, np.arange(len(self.laws)))
        return found.mT

    def solve(self, k: int, a: Array) -> Array:
        """Return t = T^-1 a of law k, rows (n, p)."""
        R = self.roots[k] if "roots" in vars(self) else self.root(k)
        t = self.observed(a) @ R @ R.T
        return t if self._pull is None else t @ self._pull.T

    # ------------------------------------------------------------------ likelihoods

    def log_peak(self, log_diagonal: Array) -> Array:
        """Return log p(y) of the expected values, where it is highest, (K,); from sum log diag R (K,)."""
        log_det = -2 * log_diagonal + (2 * np.log(self.measurement.f).sum() if self.pseudo else 0.0)
        constant = self.measurement.size * np.log(2 * np.pi) + self.measurement.log_det
        return np.asarray(-0.5 * (constant + log_det))

    @computed_once
    def peaks(self) -> Array:
        """log p(y) of the expected values of each law, (K,)."""
        return self.log_peak(np.log(self.roots.diagonal(axis1=1, axis2=2)).sum(axis=1))

    @computed_once
    def single_error(self) -> Array:
        """Estimated bound of the relative error of |h|^2 in single precision, (K,)."""
        Wf, roots = self.measurement.W * self.measurement.f, self.roots
        seen = np.eye(len(Wf)) if self.pseudo else Wf @ Wf.T
        trace = np.trace(self._noise) + np.einsum("kij,ij->k", self.laws.covariance, seen)
        return np.asarray(2.0 * EPSILON * np.sqrt(trace * np.einsum("kij,kij->k", roots, roots)))

    def log_likelihood(self, reduced: ReducedMeasurement, dtype: DTypeLike = np.float64) -> Array:
        """Return log p(y) of n measurements, in nats, (n, K); the products with R have this type."""
        x = self.observed(reduced.inside)
        if not len(x):
            return np.empty((0, len(self.laws)))
        if len(x) < FEW * x.shape[1] and "roots" not in vars(self):
            peaks, squares = self._directly(x)
        else:
            peaks, roots = self.peaks, self.roots
            found = split(lambda part: [self._square(k, x, dtype) for k in part], np.arange(len(roots)))
            squares = np.stack([square for part in found for square in part], axis=1)
        return np.asarray(peaks - 0.5 * (reduced.rest[:, None] + squares))

    def _square(self, k: int, x: Array, dtype: DTypeLike = np.float64) -> Array:
        """Return |h|^2 = |R^T (x - centre)|^2 of law k, (n,)."""
        centred = np.empty(x.shape, dtype)
        np.subtract(x, self.centres[k], out=centred, casting="same_kind")  # in double precision, then rounded
        h = centred @ self.roots[k].astype(dtype, copy=False)
        return np.asarray(np.einsum("ij,ij->i", h, h))

    def _directly(self, x: Array) -> tuple[Array, Array]:
        """Return the peaks (K,) and |h|^2 (n, K) of few measurements by triangular solves, keeping no root."""

        def work(part: Any) -> tuple[list[float], list[Array]]:
            peaks, squares = [], []
            for k in part:
                root = np.linalg.cholesky(self._matrix(k))
                h, _ = dtrtrs(root.T, (x - self.centres[k]).T, lower=0, trans=1)
                peaks.append(-float(np.log(root.diagonal()).sum()))
                squares.append(np.einsum("ij,ij->j", h, h))
            return peaks, squares

        found = split(work, np.arange(len(self.laws)))
        peaks = [one for part, _ in found for one in part]
        squares = [one for _, part in found for one in part]
        return self.log_peak(np.array(peaks)), np.stack(squares, axis=1)

    def log_joint(self, reduced: ReducedMeasurement, log_prior: Array) -> Array:
        """Return log p(k) + log p(y | k), (n, K); -inf where the screen certifies a negligible share."""
        x, q = self.observed(reduced.inside), SCREENED
        if len(x) < FEW * x.shape[1] or len(self.laws) == 1 or q >= x.shape[1]:
            return self.log_likelihood(reduced) + log_prior
        first = np.ascontiguousarray(self.roots[:, :q, :q].transpose(1, 0, 2)).reshape(q, -1)
        offset = (self.centres[:, None, :q] @ self.roots[:, :q, :q]).ravel()
        top = self.peaks + log_prior
        bound, found = np.empty((len(x), len(top))), np.full((len(x), len(top)), -np.inf)

        def fill(wanted: Any, laws: Any) -> None:
            for k in laws:
                members = np.flatnonzero(wanted[:, k])
                found[members, k] = top[k] - 0.5 * self._square(k, x[members])

        step = max(1, SCREEN_BYTES // first[0].nbytes)
        for start in range(0, len(x), step):
            h = (x[start : start + step, :q] @ first - offset).reshape(-1, len(top), q)
            bound[start : start + step] = top - 0.5 * np.einsum("nkq,nkq->nk", h, h)
        wanted = bound.argmax(axis=1)[:, None] == np.arange(len(top))
        for _ in range(2):  # the likeliest law of each measurement, then all within reach of it
            split(partial(fill, wanted), np.flatnonzero(wanted.any(axis=0)))
            wanted = (bound > found.max(axis=1, keepdims=True) - NATS) & np.isneginf(found)
        return found - 0.5 * reduced.rest[:, None]


class Share(NamedTuple):
    """Some measurements with the weights that one law has in their posteriors."""

    members: Indices
    seen: MeasuredLaws
    k: int
    weight: Array  # of each member


def posterior_mean(measurement: Measurement, reduced: ReducedMeasurement, parts: Sequence[Share]) -> Array:
    """Return posterior mean images (n, D), in the latents' unit; the shares of an image sum to 1."""
    f, W = measurement.f, measurement.W
    latent, inside = np.zeros((len(reduced.rest), len(W))), np.zeros_like(reduced.inside)

    def of_part(members: Indices, seen: MeasuredLaws, k: int, weight: Array) -> tuple[Array, Array]:
        m, w = seen.laws.mean[k], weight[:, None]
        t = w * seen.solve(k, reduced.inside[members] - f * (m @ W))
        return t, w * m + _gain(seen, k, (t * f) @ W.T)

    found = split(lambda some: [of_part(*parts[i]) for i in some], np.arange(len(parts)))
    for part, (t, z) in zip(parts, (one for some in found for one in some), strict=True):
        inside[part.members] += t
        latent[part.members] += z
    return _image(measurement, latent, reduced, inside)


def posterior_draw(
    measurement: Measurement,
    reduced: ReducedMeasurement,
    parts: Sequence[Share],
    for_latent: Array,
    for_discarded: Array,
    for_y: Array | None,
    residual_noise: bool,
) -> Array:
    """Draw the images (n, D) of n measurements from their posteriors, in the latents' unit.

    `parts` have the law of each; ``for_...`` are standard normal noise for the latent (n, d), for the discarded
    directions (n, D) and for the measurement (n, m), None if that has no noise. Without `residual_noise` the
    discarded directions of the image have their conditional mean given the latent and the measurement.
    """
    pixel_model, f, W = measurement.pixel_model, measurement.f, measurement.W
    V = pixel_model.encoder.components
    latent = np.empty_like(for_latent)

    def draw(some: Any) -> None:
        for members, seen, k, _ in (parts[i] for i in some):
            root = np.linalg.cholesky(seen.laws.covariance[k])
            latent[members] = seen.laws.mean[k] + for_latent[members] @ root.T

    split(draw, np.arange(len(parts)))
    xi = latent @ V
    if len(V) < V.shape[1]:
        xi += np.sqrt(pixel_model.v) * (for_discarded - (for_discarded @ V.T) @ V)
    y = np.asarray((measurement.operator @ xi.T).T)
    if for_y is not None:
        y = y + measurement.noise_std * for_y
    more = measurement.reduce_difference(reduced.centred - y)
    inside, step = np.empty_like(more.inside), np.empty_like(latent)

    def correct(some: Any) -> None:
        for members, seen, k, _ in (parts[i] for i in some):
            inside[members] = seen.solve(k, more.inside[members])
            step[members] = _gain(seen, k, (inside[members] * f) @ W.T)

    split(correct, np.arange(len(parts)))
    if residual_noise:
        return xi + _image(measurement, step, more, inside)
    v = pixel_model.v
    latent += step + v * (inside * f) @ W.T  # + C W f T^-1 b'
    sine = 1.0 - v * f**2
    free = sine > ALIGNED
    g = np.where(free, (reduced.inside - (latent @ W) * f) / np.where(free, sine, 1.0), 0.0)
    return _image(measurement, latent - v * (g * f) @ W.T, reduced, g)


def shares(log_prob: Array) -> Array:
    """Return the probabilities (n, K) of the laws from joint log-densities; negligible ones are 0."""
    share = softmax(log_prob, axis=1)
    share[share < NEGLIGIBLE] = 0.0
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def _gain(seen: MeasuredLaws, k: int, x: Array) -> Array:
    """Return (C - v I) x, rows (n, d)."""
    return np.asarray(x @ seen.laws.covariance[k] - seen.measurement.pixel_model.v * x)


def _image(measurement: Measurement, latent: Array, reduced: ReducedMeasurement, inside: Array) -> Array:
    """Return V^T latent + v A'^T L^-T (y~ - U b + U t), rows (n, D)."""
    outside = reduced.whitened + (inside - reduced.inside) @ measurement.U.T
    pixel_model = measurement.pixel_model
    return np.asarray(latent @ pixel_model.encoder.components + pixel_model.v * measurement.back(outside))
