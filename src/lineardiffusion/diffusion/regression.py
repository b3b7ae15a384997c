"""The regression denoiser: one linear regression for all prompts that are vectors.

z is regressed on the products e~ (x) [1, z_t], z_t = alpha z + sigma n, marginalised over the noise. First
whiten the embeddings, e' = R^T e~ with E[e' e'^T] = I_r on their r independent directions; e' spans the
constant, 1 = h^T e'. Then the noise adds sigma^2 I to the covariance of the features e' (x) z_t, and what
remains of e' (x) z when its regression on e' is taken out has the covariance

    G = E[(e' (x) z)(e' (x) z)^T] - V V^T,    V = E[(e' (x) z) e'^T],    G = Q diag(l) Q^T.

Since z = (h (x) I)^T (e' (x) z), its covariance with the features is alpha G (h (x) I), so one
eigendecomposition gives the regression at every noise level:

    K   = Q diag(alpha l / (alpha^2 l + sigma^2)) Q^T (h (x) I)                     (r d, d)
    D   = m(e) + K^T (e' (x) x - alpha V e'),        m(e) = E[z e'^T] e'

affine in x: x times sum_j e'_j K_j, plus a constant. With one symbol per prompt e' is sqrt(1 / p_u) at u, G
separates into the prompts' covariances, and D is the Gaussian denoiser. An eigenvalue l that is rounding error
is set to 0; there is no other regularisation.

For one prompt the matrix is A = (e' (x) I)^T Q diag(...) Q^T (h (x) I); its first factor, (d, r d), is computed
once a prompt. The probability-flow ODE has no closed form and is solved numerically (ode.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lineardiffusion._arrays import Array, freeze
from lineardiffusion.diffusion.denoisers import State
from lineardiffusion.diffusion.ode import integrate
from lineardiffusion.statistics.joint import JointMoments


@dataclass(frozen=True, eq=False)
class RegressionDenoiser:
    """The linear regression on prompt, latent and their products, for p prompts."""

    whitening: Array  # R, (k + 1, r)
    mean: Array  # E[e' z^T], (r, d)
    cross: Array  # V, (r, d, r)
    eigenvalues: Array  # l, (r d,)
    left: Array  # Q, (r d, r d)
    right: Array  # Q^T (h (x) I), (r d, d)
    inner: Array  # (e' (x) I)^T Q, (p, d, r d)
    centre: Array  # (V e')^T Q, (p, r d)
    clean: Array  # m(e), (p, d)

    def __post_init__(self) -> None:
        freeze(self)

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
        eigenvalues[eigenvalues <= r * d * np.finfo(float).eps * np.trace(second)] = 0.0
        mean = np.einsum("r,ras->sa", h, cross)
        right = np.einsum("r,raq->qa", h, left.reshape(r, d, r * d))
        no_prompts = np.zeros((0, d, r * d)), np.zeros((0, r * d)), np.zeros((0, d))
        return cls(whitening, mean, cross, eigenvalues, left, right, *no_prompts)

    def select(self, embeddings: Array) -> RegressionDenoiser:
        """Return the denoiser of prompts with these embeddings, shape (p, k)."""
        e = self.whitening[0] + np.asarray(embeddings) @ self.whitening[1:]
        r, d = self.mean.shape
        inner = (e @ self.left.reshape(r, d * r * d)).reshape(len(e), d, r * d)
        centre = (e @ self.cross.reshape(r * d, r).T) @ self.left
        return replace(self, inner=inner, centre=centre, clean=e @ self.mean)

    def __call__(self, x: State, alpha: float, sigma: float) -> State:
        gain = alpha * self.eigenvalues / (alpha**2 * self.eigenvalues + sigma**2)
        scaled = self.inner * gain
        constant = self.clean - alpha * ((self.centre * gain) @ self.right)
        few = isinstance(x, np.ndarray) and x.shape[1] < len(self.right[0])
        image = (x @ scaled) @ self.right if few else x @ (scaled @ self.right)
        return image + constant[:, None]

    def flow(self, x: State, start: tuple[float, float], end: tuple[float, float]) -> State:
        return integrate(self, x, start, end)
