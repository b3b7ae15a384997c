"""Denoisers: the expected clean latent, in closed form from moments.

A denoiser answers D(x; alpha, sigma) for x = alpha z + sigma n. It is the linear regression of z on the noisy
latent, the prompt and their products, with the error averaged over the data and over ALL noise n ~ N(0, I).
Noise enters the normal equations through its covariance alone, so moments suffice and no noise is drawn
(Chen et al. 2012, marginalised denoising autoencoders).

With one symbol per prompt (:class:`GaussianDenoiser`) the regression separates into one block per prompt, which
is the posterior mean of a Gaussian with the prompt's mean m and covariance C = Q diag(l) Q^T:

    D(x) = m + alpha C (alpha^2 C + sigma^2 I)^-1 (x - alpha m)                                      (1)

The probability-flow ODE (Song et al. 2021, eq. 13) of this denoiser keeps alpha m and scales each
eigendirection by the ratio of its standard deviations. From one noise level to another, exactly,

    x' = alpha' m + sum_k sqrt((alpha'^2 l_k + sigma'^2) / (alpha^2 l_k + sigma^2)) q_k q_k^T (x - alpha m)
                                                                                                     (2)

In the coordinates u = x Q both are diagonal: ``basis`` is None then, and a product costs d instead of d^2.

Where C has the rank r < d, Q may hold the r eigenvectors of positive variance alone. With (1) and (2) written as
x' = a m + Q diag(g) Q^T (x - alpha m), and g_0 the gain of a direction without variance,

    x' = a m + g_0 (x - alpha m) + Q diag(g - g_0) Q^T (x - alpha m)                                  (3)

The other d - r directions share one gain, so the coordinates are r + 1: u = x Q, and the factor of the mean's part
outside of Q, m - Q Q^T m.

References
----------
Chen, Xu, Weinberger and Sha (2012), Marginalized denoising autoencoders for domain adaptation. ICML.
Song et al. (2021), Score-based generative modeling through stochastic differential equations. ICLR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from lineardiffusion._arrays import Array, freeze
from lineardiffusion._cache import computed_once
from lineardiffusion._linalg import diagonals, eigh
from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.statistics.moments import Moments

State = TypeVar("State", Array, Affine)


class Denoiser(Protocol):
    """The interface of a denoiser. States are latents (p, m, d) or affine maps of p prompts."""

    def __call__(self, x: State, alpha: float, sigma: float) -> State:
        """Return the expected clean latent of x = alpha z + sigma n, sigma > 0."""

    def flow(self, x: State, start: tuple[float, float], end: tuple[float, float]) -> State:
        """Solve the probability-flow ODE from one level ``(alpha, sigma)`` to another."""


@dataclass(frozen=True, eq=False)
class GaussianDenoiser:
    """The denoiser of p Gaussians, equations (1) to (3). Columns of `basis` may be 0 where the variance is."""

    mean: Array  # m in the coordinates of the denoiser, (p, d)
    variance: Array  # the eigenvalues l, (p, r)
    basis: Array | None = None  # the eigenvectors Q as columns, (p, d, r); None when x is in their coordinates

    def __post_init__(self) -> None:
        freeze(self)

    @classmethod
    def from_moments(cls, moments: Moments) -> GaussianDenoiser:
        """Build the denoiser of one Gaussian per group, with the group's mean and covariance.

        It has no basis if all covariances are diagonal.
        """
        covariance = moments.covariance
        if (diagonal := diagonals(covariance)) is not None:
            return cls(moments.mean, np.maximum(diagonal, 0.0))
        variance, basis = eigh(covariance)
        return cls(moments.mean, np.maximum(variance, 0.0), basis)

    @property
    def eigenvectors(self) -> Array:
        """Eigenvectors as columns (p, d, r): the basis, or the identity where there is none."""
        if self.basis is not None:
            return self.basis
        p, d = self.variance.shape
        return np.broadcast_to(np.eye(d), (p, d, d))

    def select(self, prompts: NDArray[Any]) -> GaussianDenoiser:
        """Return the denoiser of some of the prompts, in this order."""
        basis = None if self.basis is None else self.basis[prompts]
        return GaussianDenoiser(self.mean[prompts], self.variance[prompts], basis)

    @computed_once
    def coordinates(self) -> GaussianDenoiser:
        """The same denoiser in each prompt's coordinates, d of them or r + 1."""
        if self.basis is None:
            return self
        mean, variance = (self.mean[:, None] @ self.basis)[:, 0], self.variance
        if self.is_thin:
            one = np.ones((len(mean), 1))
            mean, variance = np.hstack([mean, one]), np.hstack([variance, 0 * one])
        return GaussianDenoiser(mean, variance)

    @property
    def is_thin(self) -> bool:
        """Whether the basis has fewer columns than a latent has entries."""
        return self.basis is not None and self.basis.shape[2] < self.basis.shape[1]

    @computed_once
    def beyond(self) -> Array | None:
        """The part (p, d) of the mean outside of the span of a thin basis, the vector of the last coordinate."""
        if self.basis is None or not self.is_thin:
            return None
        centre = self.mean[:, None]
        return np.asarray((centre - centre @ self.basis @ self.basis.mT)[:, 0])

    def __call__(self, x: State, alpha: float, sigma: float) -> State:
        return self._scale(x, alpha * self.variance / (alpha**2 * self.variance + sigma**2), alpha, 1.0, 0.0)

    def flow(self, x: State, start: tuple[float, float], end: tuple[float, float]) -> State:
        (alpha, sigma), (alpha_end, sigma_end) = start, end
        if sigma == 0.0 and (self.is_thin or not self.variance.all()):
            raise ValueError("the flow from no noise at all is not defined in directions of no variance")
        ratio = (alpha_end**2 * self.variance + sigma_end**2) / (alpha**2 * self.variance + sigma**2)
        rest = sigma_end / sigma if self.is_thin else 0.0
        return self._scale(x, np.sqrt(ratio), alpha, alpha_end, rest)

    def _scale(self, x: State, gain: Array, alpha: float, alpha_end: float, rest: float) -> State:
        """Return ``alpha_end m + Q diag(gain) Q^T (x - alpha m)``, with the gain `rest` outside of a thin basis."""
        basis = self.basis
        if basis is None and isinstance(x, Affine) and x.diagonal is False:  # a full map takes matrices alone
            basis = self.eigenvectors
        if basis is None:
            return x * gain[:, None] + ((alpha_end - alpha * gain) * self.mean)[:, None]
        matrix = (basis * (gain - rest)[:, None]) @ basis.mT
        if rest:
            matrix = matrix + rest * np.eye(matrix.shape[-1])
        centre = self.mean[:, None]
        return x @ matrix + (alpha_end * centre - alpha * centre @ matrix)


@dataclass(frozen=True, eq=False)
class MixtureDenoiser:
    """The posterior mean under a mixture of k Gaussians: not linear, so for latents only, not for maps.

    It is the mean of the Gaussians' posterior means, weighted by the posterior probabilities of the Gaussians,
    which are proportional to w_k N(x; alpha m_k, alpha^2 C_k + sigma^2 I).
    """

    components: GaussianDenoiser  # of the k Gaussians
    weights: Array  # prior probabilities w_k, (k,)

    def __call__(self, x: Array, alpha: float, sigma: float) -> Array:
        """Return the expected clean latents (1, m, d) of `x` (1, m, d)."""
        mean, basis = self.components.mean, self.components.basis
        centred = x - alpha * mean[:, None]
        rotated = centred if basis is None else centred @ basis
        variance = alpha**2 * self.components.variance + sigma**2
        squares, size = (rotated**2 / variance[:, None]).sum(axis=2), np.log(variance).sum(axis=1)[:, None]
        if basis is not None and self.components.is_thin:  # outside of the span all have the variance sigma^2
            beyond = ((centred - rotated @ basis.mT) ** 2).sum(axis=2)
            squares = squares + beyond / sigma**2
        log_prob = -0.5 * (squares + size)
        share = softmax(log_prob + np.log(self.weights)[:, None], axis=0)
        answers = self.components(np.broadcast_to(x, (len(mean), *x.shape[1:])), alpha, sigma)
        return np.asarray((share[:, :, None] * answers).sum(axis=0, keepdims=True))
