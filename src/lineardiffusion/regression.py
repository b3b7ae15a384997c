"""The regression denoiser: prompts that are vectors share what they know.

z is regressed on the products e~ (x) [1, z_t], z_t = alpha z + sigma n, marginalised over the noise. First
whiten the embeddings, e' = R^T e~ with E[e' e'^T] = I_r on their r independent directions; e' spans the
constant, 1 = h^T e'. Then the noise adds sigma^2 I to the covariance of the features e' (x) z_t, and what
remains of e' (x) z when its regression on e' is taken out has the covariance

    G = E[(e' (x) z)(e' (x) z)^T] - V V^T,    V = E[(e' (x) z) e'^T],    G = Q diag(l) Q^T.

Since z = (h (x) I)^T (e' (x) z), its covariance with the features is alpha G (h (x) I), so one
eigendecomposition gives the regression at every noise level:

    K   = Q diag(alpha l / (alpha^2 l + sigma^2)) Q^T (h (x) I)                     (r d, d)
    D   = m(e) + K^T (e' (x) x - alpha V e'),        m(e) = E[z e'^T] e'

affine in x: x times sum_j e'_j K_j, plus a constant. With one symbol a prompt e' is sqrt(1 / p_u) at u, G
falls apart into the prompts' covariances, and D is the Gaussian denoiser's. Directions whose l is rounding
error are taken as 0: that is all the regularisation there is.

The probability-flow ODE of such a D has no closed form, for K at different levels do not commute. In
y = x / alpha and u = log(sigma / alpha) it is dy/du = y - D(y; 1, e^u), smooth, and smoother still for
w = y cos, where tan = e^u and so w = cos z + sin n:

    dw/du = cos^2 w - cos D(w; cos, sin)

The classical Runge-Kutta method follows it in steps of ``STEP``, with an error below 1e-7 of the latents'
scale for variances between 1e-6 and 1e4 times the scaling factor's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from lineardiffusion.denoise import Denoiser, State
from lineardiffusion.joint import JointMoments
from lineardiffusion.moments import Array

STEP = 1 / 16  # in log(sigma / alpha)
NOISE_ONLY, NO_NOISE = 1e6, 1e-7  # sigma / alpha beyond which one step is exact to 1e-8


@dataclass(frozen=True)
class RegressionDenoiser:
    """The linear regression on prompt, latent and their products, for `embeddings` (p, k).

    Attributes
    ----------
    whitening : ndarray of shape (k + 1, r)
        R.
    mean : ndarray of shape (r, d)
        E[e' z^T].
    cross : ndarray of shape (r, d, r)
        V.
    eigenvalues : ndarray of shape (r d,)
        l.
    left, right : ndarray of shape (r d, r d), (r d, d)
        Q and Q^T (h (x) I).
    embeddings : ndarray of shape (p, r)
        e' of the prompts that this denoiser is for.
    """

    whitening: Array
    mean: Array
    cross: Array
    eigenvalues: Array
    left: Array
    right: Array
    embeddings: Array

    @classmethod
    def from_moments(cls, joint: JointMoments) -> RegressionDenoiser:
        """Fit the regression at every noise level at once."""
        joint = joint.project(np.zeros_like(joint.origin), np.eye(len(joint.origin)))
        M = joint.matrix / joint.matrix[0, 0, 0, 0]
        spread, directions = np.linalg.eigh(M[:, 0, :, 0])
        kept = spread > len(spread) * np.finfo(float).eps * spread[-1]
        whitening = directions[:, kept] / np.sqrt(spread[kept])
        M = np.einsum("iajb,ir,js->rasb", M, whitening, whitening, optimize=True)
        r, d = M.shape[0], M.shape[1] - 1
        h = whitening.T @ joint.matrix[:, 0, 0, 0] / joint.matrix[0, 0, 0, 0]
        second = M[:, 1:, :, 1:].reshape(r * d, r * d)
        cross = M[:, 1:, :, 0]
        rest = second - cross.reshape(r * d, r) @ cross.reshape(r * d, r).T
        eigenvalues, left = np.linalg.eigh(rest)
        floor = r * d * np.finfo(float).eps * np.trace(second)
        return cls(
            whitening=whitening,
            mean=np.einsum("r,ras->sa", h, cross),
            cross=cross,
            eigenvalues=np.where(eigenvalues > floor, eigenvalues, 0.0),
            left=left,
            right=np.einsum("r,raq->qa", h, left.reshape(r, d, r * d)),
            embeddings=np.zeros((0, r)),
        )

    def select(self, embeddings: Array) -> RegressionDenoiser:
        """The denoiser for prompts of these embeddings, shape (p, k)."""
        return replace(self, embeddings=self.whitening[0] + np.asarray(embeddings) @ self.whitening[1:])

    def __call__(self, x: State, alpha: float, sigma: float) -> State:
        e, (r, d) = self.embeddings, self.mean.shape
        gain = alpha * self.eigenvalues / (alpha**2 * self.eigenvalues + sigma**2)
        K = (self.left * gain) @ self.right
        matrix = (e @ K.reshape(r, d * d)).reshape(len(e), d, d)
        centre = (e @ self.cross.reshape(r * d, r).T) @ K
        return x @ matrix + (e @ self.mean - alpha * centre)[:, None]

    def flow(self, x: State, start: tuple[float, float], end: tuple[float, float]) -> State:
        return integrate(self, x, start, end)


def integrate(denoise: Denoiser, x: State, start: tuple[float, float], end: tuple[float, float]) -> State:
    """Follow the probability-flow ODE of any denoiser numerically."""
    (alpha, sigma), (alpha_end, sigma_end) = start, end
    ratio, ratio_end = sigma / alpha if alpha else math.inf, sigma_end / alpha_end if alpha_end else math.inf
    first, last = min(ratio, NOISE_ONLY), min(max(ratio_end, NO_NOISE), NOISE_ONLY)
    x0 = denoise(x, alpha, sigma)
    w = (1.0 / math.hypot(1.0, first)) * ((first / sigma) * x + (1.0 - first * alpha / sigma) * x0)
    n = max(1, math.ceil(abs(math.log(first / last)) / STEP))
    grid = np.linspace(math.log(first), math.log(last), n + 1).tolist()
    for u, u_ in pairwise(grid):
        h = u_ - u
        k1 = _slope(denoise, w, u)
        k2 = _slope(denoise, w + (0.5 * h) * k1, u + 0.5 * h)
        k3 = _slope(denoise, w + (0.5 * h) * k2, u + 0.5 * h)
        k4 = _slope(denoise, w + h * k3, u_)
        w = w + (h / 6) * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    y = math.hypot(1.0, last) * w
    if ratio_end == last:
        return alpha_end * y
    x0 = denoise(y, 1.0, last)
    return (sigma_end / last) * y + (alpha_end - sigma_end / last) * x0


def _slope(denoise: Denoiser, w: State, u: float) -> State:
    cos = 1.0 / math.hypot(1.0, math.exp(u))
    return cos**2 * w - cos * denoise(w, cos, cos * math.exp(u))
