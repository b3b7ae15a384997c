"""Denoisers: from moments to the best guess of the clean latent.

A denoiser answers D(x; alpha, sigma) for x = alpha z + sigma n: the linear regression of z on the noisy
latent, the prompt and their products, its error averaged over the data and over ALL noise n ~ N(0, I).
Noise enters the normal equations through its covariance alone, so moments suffice and no noise is drawn
(Chen et al. 2012, marginalised denoising autoencoders).

One symbol a prompt (:class:`GaussianDenoiser`). The regression falls apart into one block a prompt, each
the posterior mean of a Gaussian with the prompt's mean m and covariance C = Q diag(l) Q^T:

    D(x) = m + alpha C (alpha^2 C + sigma^2 I)^-1 (x - alpha m)                                      (1)

The probability-flow ODE (Song et al. 2021, eq. 13) that follows it keeps alpha m and scales each
eigendirection by the ratio of its standard deviations; from one noise level to another, exactly,

    x' = alpha' m + sum_k sqrt((alpha'^2 l_k + sigma'^2) / (alpha^2 l_k + sigma^2)) q_k q_k^T (x - alpha m)
                                                                                                     (2)

In the coordinates u = x Q both are diagonal: ``basis`` is None then, and a product costs d, not d^2.

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

from lineardiffusion.affine import Affine
from lineardiffusion.lapack import eigh
from lineardiffusion.moments import Array, Moments

State = TypeVar("State", Array, Affine)


class Denoiser(Protocol):
    """What a sampler needs of a model. States are latents (p, m, d) or affine maps of p prompts."""

    def __call__(self, x: State, alpha: float, sigma: float) -> State:
        """The expected clean latent of x = alpha z + sigma n, sigma > 0."""
        ...

    def flow(self, x: State, start: tuple[float, float], end: tuple[float, float]) -> State:
        """Follow the probability-flow ODE from one level ``(alpha, sigma)`` to another, exactly."""
        ...


@dataclass(frozen=True, eq=False)
class GaussianDenoiser:
    """The denoiser of p Gaussians, equations (1) and (2).

    Attributes
    ----------
    mean : ndarray of shape (p, d)
        m, in the coordinates in which the denoiser works.
    variance : ndarray of shape (p, d)
        The eigenvalues l.
    basis : ndarray of shape (p, d, d), default=None
        The eigenvectors Q as columns; None when x is given in their coordinates.
    """

    mean: Array
    variance: Array
    basis: Array | None = None

    @classmethod
    def from_moments(cls, moments: Moments) -> GaussianDenoiser:
        """One Gaussian a group, with the group's mean and covariance."""
        variance, basis = eigh(moments.covariance)
        return cls(moments.mean, np.maximum(variance, 0.0), basis)

    def select(self, prompts: NDArray[Any]) -> GaussianDenoiser:
        """The denoiser of some of the prompts, in this order."""
        basis = None if self.basis is None else self.basis[prompts]
        return GaussianDenoiser(self.mean[prompts], self.variance[prompts], basis)

    @property
    def width(self) -> int:
        """Numbers a prompt's matrices have in their wider direction."""
        return int(self.mean.shape[1])

    def diagonal(self) -> GaussianDenoiser:
        """The same denoiser in each prompt's eigenbasis: take x to ``x @ basis`` for it."""
        if self.basis is None:
            return self
        return GaussianDenoiser((self.mean[:, None] @ self.basis)[:, 0], self.variance)

    def __call__(self, x: State, alpha: float, sigma: float) -> State:
        gain = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        return self._scale(x, gain, alpha, 1.0)

    def flow(self, x: State, start: tuple[float, float], end: tuple[float, float]) -> State:
        (alpha, sigma), (alpha_end, sigma_end) = start, end
        if sigma == 0.0 and not self.variance.all():
            raise ValueError("the flow from no noise at all is not defined in directions of no variance")
        ratio = (alpha_end**2 * self.variance + sigma_end**2) / (alpha**2 * self.variance + sigma**2)
        return self._scale(x, np.sqrt(ratio), alpha, alpha_end)

    def _scale(self, x: State, gain: Array, alpha: float, alpha_end: float) -> State:
        """``alpha_end m + Q diag(gain) Q^T (x - alpha m)``."""
        if self.basis is None:
            return x * gain[:, None] + ((alpha_end - alpha * gain) * self.mean)[:, None]
        matrix = (self.basis * gain[:, None]) @ self.basis.mT
        centre = self.mean[:, None]
        return x @ matrix + (alpha_end * centre - alpha * centre @ matrix)


@dataclass(frozen=True, eq=False)
class MixtureDenoiser:
    """The posterior mean under a mixture of k Gaussians: not linear, so for latents only, not for maps.

    Its answer is the mean of theirs, each weighed by the probability that the noisy latent is its own,
    w_k N(x; alpha m_k, alpha^2 C_k + sigma^2 I) over the sum of these.

    Attributes
    ----------
    given : GaussianDenoiser
        Of the k Gaussians.
    weights : ndarray of shape (k,)
    """

    given: GaussianDenoiser
    weights: Array

    def __call__(self, x: Array, alpha: float, sigma: float) -> Array:
        """The expected clean latents of `x` (1, m, d), alike."""
        mean, basis = self.given.mean, self.given.basis
        centred = x - alpha * mean[:, None]
        turned = centred if basis is None else centred @ basis
        variance = alpha**2 * self.given.variance + sigma**2
        log_prob = -0.5 * (
            (turned**2 / variance[:, None]).sum(axis=2) + np.log(variance).sum(axis=1)[:, None]
        )
        share = softmax(log_prob + np.log(self.weights)[:, None], axis=0)
        answers = self.given(np.broadcast_to(x, (len(mean), *x.shape[1:])), alpha, sigma)
        return np.asarray((share[:, :, None] * answers).sum(axis=0, keepdims=True))
