"""The Gaussian denoiser in PyTorch, in the coordinates of a network's samples.

A network of diffusers takes samples y (n, c, h, w) with pixels in [-1, 1]. The images x of a model, in its pixel
range [low, high], become

    y = (x - low) / u - 1,      u = (high - low) / 2

and with the encoder's x = mean + S^T z, S (d, D), the law of y is that of

    y = o + U w,     o = (mean - low) / u - 1,     U R = S^T / u,     w = R z

with orthonormal columns U (D, d). Noise n ~ N(0, I) on y is then noise N(0, I) on w, so a Gaussian of latents is a
Gaussian of w, and y_t = alpha y + sigma n has the posterior mean and the flow of diffusion/denoisers.py:

    E[y | y_t] = o + U D(w_t),   w_t = U^T (y_t - alpha o)
    flow(y_t)  = alpha' o + U flow(w_t) + (sigma' / sigma) (I - U U^T) (y_t - alpha o)

Without ``scale`` the rows of S are orthogonal, all of one length r, and R = r I.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lineardiffusion._arrays import Array
from lineardiffusion._device import to_numpy
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.encoders.image import ImageEncoder

LEAST_SIGMA = 1e-6  # at which a mixture compares densities: without noise it may have none


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples y of a network, and how they follow from images and latents."""

    shape: tuple[int, int, int]  # (c, h, w) of one sample
    channels_last: bool  # whether the images have an axis of channels
    low: float
    unit: float  # u
    origin: Array  # o, (D,), its pixels in the order of a sample
    basis: Array  # U, (D, d)
    turn: Array  # R, (d, d)
    length: float | None  # r if R = r I

    @classmethod
    def of(cls, encoder: Any, pixel_range: tuple[float, float]) -> Samples:
        """Return the samples of an encoder's images; a ValueError if they are no pictures."""
        if not isinstance(encoder, ImageEncoder):
            raise ValueError("samples of diffusers need a model with a linear image encoder, such as PCA")
        shape = encoder.image_shape
        if len(shape) not in (2, 3):
            what = "samples of diffusers need a model of images, of shape (h, w) or (h, w, c)"
            raise ValueError(f"{what}; those of this model have the shape {shape}")
        h, w, c = (*shape, 1)[:3]
        order = np.arange(h * w * c).reshape(h, w, c).transpose(2, 0, 1).ravel()
        low, unit = float(pixel_range[0]), 0.5 * float(pixel_range[1] - pixel_range[0]) or 1.0
        origin, synthesis = ((encoder.mean - low) / unit - 1)[order], encoder.synthesis.T[order] / unit
        length = encoder.scaling_factor / unit
        places = (c, h, w), len(shape) == 3, low, unit, origin
        if (encoder.pixel_scale == 1.0).all():
            return cls(*places, synthesis / length, length * np.eye(synthesis.shape[1]), length)
        return cls(*places, *np.linalg.qr(synthesis), None)

    def coordinates(self, law: GaussianDenoiser) -> GaussianDenoiser:
        """Return Gaussians of latents z as Gaussians of w."""
        mean = law.mean @ self.turn.T
        if self.length is not None:
            return GaussianDenoiser(mean, self.length**2 * law.variance, law.basis)
        root = law.eigenvectors * np.sqrt(law.variance)[:, None]
        basis, std, _ = np.linalg.svd(self.turn @ root, full_matrices=False)
        return GaussianDenoiser(mean, std**2, basis)

    def images(self, samples: Any) -> Array:
        """Return images (n, *image_shape), in the units of the model's pixels, of samples (n, c, h, w)."""
        images = self.low + self.unit * (to_numpy(samples.double().cpu()) + 1).transpose(0, 2, 3, 1)
        return np.asarray(images if self.channels_last else images[..., 0])


def quotient(numerator: Any, divisor: Any) -> Any:
    """Return a quotient of tensors, 0 where the divisor is."""
    zero = divisor == 0
    return torch.where(zero, 0.0, numerator / torch.where(zero, 1.0, divisor))


class Gaussians(torch.nn.Module):
    """Several Gaussians of w as buffers: those of a :class:`GaussianDenoiser`, whose basis may be thin or None."""

    mean: torch.Tensor  # (p, d)
    variance: torch.Tensor  # (p, r)
    basis: torch.Tensor | None  # (p, d, r)

    def __init__(self, law: GaussianDenoiser, dtype: Any) -> None:
        super().__init__()
        for name in ("mean", "variance", "basis"):
            array = getattr(law, name)
            tensor = None if array is None else torch.from_numpy(np.array(array)).to(dtype)
            self.register_buffer(name, tensor, persistent=False)

    def posterior_mean(self, x: Any, k: int, alpha: Any, sigma: Any) -> Any:
        """Return E[w | x] (m, d) under Gaussian k of x = alpha w + sigma n (m, d); alpha and sigma (m, 1)."""
        gain = quotient(alpha * self.variance[k], self._marginal(k, alpha, sigma))
        return self._scale(x, k, gain, alpha, 1.0, 0.0)

    def flow(self, x: Any, k: int, start: tuple[Any, Any], end: tuple[Any, Any]) -> Any:
        """Solve the probability flow of Gaussian k from one level (alpha, sigma) to another, each (m, 1)."""
        gain = quotient(self._marginal(k, *end), self._marginal(k, *start)).sqrt()
        return self._scale(x, k, gain, start[0], end[0], quotient(end[1], start[1]))

    def mixture_mean(self, x: Any, ks: Any, weights: Any, alpha: Any, sigma: Any) -> Any:
        """Return E[w | x] (m, d) under the mixture of the Gaussians `ks` with these weights."""
        mean, variance, sigma = self.mean[ks], self.variance[ks], sigma.clamp(min=LEAST_SIGMA)
        basis = torch.eye(mean.shape[1]).to(mean)[None] if self.basis is None else self.basis[ks]
        centred = x - alpha * mean[:, None]  # (k, m, d)
        rotated = centred @ basis
        marginal = alpha**2 * variance[:, None] + sigma**2
        beyond = ((centred - rotated @ basis.mT) ** 2).sum(2) / sigma[:, 0] ** 2
        log_prob = -0.5 * ((rotated**2 / marginal).sum(2) + beyond + marginal.log().sum(2))
        share = torch.softmax(log_prob + weights.log()[:, None], 0)
        answers = mean[:, None] + (rotated * (alpha * variance[:, None] / marginal)) @ basis.mT
        return (share[..., None] * answers).sum(0)

    def _marginal(self, k: int, alpha: Any, sigma: Any) -> Any:
        return alpha**2 * self.variance[k] + sigma**2

    def _scale(self, x: Any, k: int, gain: Any, alpha: Any, alpha_end: Any, rest: Any) -> Any:
        """Return ``alpha_end m + Q diag(gain) Q^T (x - alpha m)``, with the gain `rest` outside of a thin basis."""
        mean, centred = self.mean[k], x - alpha * self.mean[k]
        if self.basis is None:
            return alpha_end * mean + gain * centred
        basis = self.basis[k]
        return alpha_end * mean + rest * centred + ((centred @ basis) * (gain - rest)) @ basis.T
