"""The denoising loss in closed form: the mean squared error of the denoiser on the training data.

The denoiser of a prompt is affine, D(x) = x A + b at alpha = 1, and the noisy latent is x = z + sigma n. Over all
noise n ~ N(0, I), and over latents z with the mean m and the covariance C,

    E |D(z + sigma n) - z|^2 = tr(E^T C E) + |m E + b|^2 + sigma^2 |A|_F^2,        E = A - I                (1)

Two moments of z suffice. So (1) holds for the training images themselves, Gaussian or not, and neither images nor
noise are needed. The denoiser of a Gaussian N(m, Q diag(l) Q^T) has A = Q diag(g) Q^T, g = l / (l + sigma^2), and

    (1)  =  sum_k [ (1 - g_k)^2 c_k + sigma^2 g_k^2 ]  +  tr C - sum_k c_k,        c_k = q_k^T C q_k        (2)

Without shrinkage l = c, and (2) is sum_k l_k sigma^2 / (l_k + sigma^2), the least error of any denoiser if the data
are Gaussian. Shrinkage, and styles that are drawn in few directions, add to it. The part of an image that the
encoder discards is lost at every noise level. Its mean square is known for each prompt if moments are of pixels.
That of a style, or of a prompt with moments of latents, is the mean over all images, (D - d) v with v the residual
variance.

A prompt with styles has no such form, for its denoiser is the posterior mean of a mixture.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.encoders.conditioning import StyleMixture
from lineardiffusion.encoders.image import ImageEncoder
from lineardiffusion.fitted import FittedDiffusion
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.training import latent_moments


def denoising_loss(fitted: FittedDiffusion, sigma: Array, prompt: str | None) -> Array:
    """Return the loss a pixel (n,) at noise levels (n,), of one prompt or style, or of all prompts by frequency."""
    encoder, statistics = fitted.require_pixel_model().encoder, fitted.statistics
    moments = latent_moments(statistics, encoder)
    if not isinstance(moments, Moments):
        what = "embeddings, and prompts whose moments exceed max_memory, have no moments of their own"
        raise ValueError(f"the denoising loss is that of the training images of each prompt; {what}")
    names = statistics.prompts if prompt is None else (prompt,)
    weights = moments.weight if prompt is None else np.ones(1)
    level, loss = np.clip(sigma / encoder.scaling_factor, 1e-100, 1e100), np.zeros(len(sigma))
    for name, weight in zip(names, weights / weights.sum(), strict=True):
        (condition,) = fitted.conditioner.request([name], 1.0).conditions
        if isinstance(condition[0][0], StyleMixture):
            what = f"{name!r} has styles, and the loss of a mixture has no closed form"
            raise ValueError(f"{what}; name a style, as in '{name}~0', or simulate it by denoise")
        mean, covariance = _data(fitted, moments, name)
        denoiser = fitted.denoiser(condition)
        if isinstance(denoiser, GaussianDenoiser):
            found = _of_gaussian(denoiser, covariance, level)
        else:
            found = np.array([_of_affine(denoiser, mean, covariance, one) for one in level.tolist()])
        loss += weight * (encoder.scaling_factor**2 * found + _discarded(fitted, encoder, name))
    return loss / len(encoder.mean)


def _discarded(fitted: FittedDiffusion, encoder: ImageEncoder, name: str) -> float:
    """Return the mean square of what the encoder discards of a prompt's (standardised) images."""
    (d, D), moments, u = encoder.components.shape, fitted.statistics.moments, fitted.conditioner.places.get(name)
    if fitted.statistics.encoder is not None or u is None:
        return float((D - d) * encoder.residual_variance)
    assert isinstance(moments, Moments)
    r, centre = encoder.pixel_scale, moments.mean[u] - encoder.mean
    spread = moments.scatter[u] / moments.weight[u] + np.outer(centre, centre)
    V, whole = encoder.components / r, float((np.diag(spread) / r**2).sum())
    outside = whole - float(((V @ spread) * V).sum())
    return outside if d < D and outside > D * np.finfo(float).eps * whole else 0.0


def _data(fitted: FittedDiffusion, moments: Moments, name: str) -> tuple[Array, Array]:
    """Return mean (d,) and covariance (d, d) of the latents of a prompt's or a style's training images."""
    styles, (prompt, number) = fitted.statistics.styles, fitted.conditioner.split(name)
    own = fitted.conditioner.places.get(prompt)
    if own is not None and styles is not None and number is not None:
        moments, own = styles.moments, int(np.flatnonzero(styles.clusters.prompt == own)[number])
    if own is None or not moments.weight[own]:
        raise ValueError(f"the denoising loss of {name!r} is that of its training images, and it has none")
    found = moments[np.array([own])]
    return found.mean[0], found.covariance[0]


def _of_gaussian(denoiser: GaussianDenoiser, C: Array, sigma: Array) -> Array:
    """Return (2) at noise levels (n,)."""
    variance, noise = denoiser.variance[0], sigma[:, None] ** 2
    Q = None if denoiser.basis is None else denoiser.basis[0]
    c = np.diag(C) if Q is None else ((C @ Q) * Q).sum(axis=0)
    gain, rest = variance / (variance + noise), noise / (variance + noise)
    outside = max(float(np.trace(C) - c.sum()), 0.0) if denoiser.is_thin else 0.0
    return np.asarray(rest**2 @ c + (noise * gain**2).sum(axis=1) + outside)


def _of_affine(denoiser: Any, m: Array, C: Array, sigma: float) -> float:
    """Return (1) at one noise level."""
    x: Affine = denoiser(Affine.identity(1, len(m)), 1.0, sigma)
    A, b = x.matrix[0], x.offset[0]
    E = A - np.eye(len(m))
    return float(np.vdot(E, C @ E) + np.square(m @ E + b).sum() + sigma**2 * np.square(A).sum())
