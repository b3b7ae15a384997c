"""The number of free parameters of a model, for the information criteria AIC and BIC.

The law of an image of D pixels given its prompt has these parameters, with latents of d entries:

    encoder        d m for the span of a PCA (a point of the Grassmannian), m = D - d, none for a basis that was
                   given; if m > 0, m for the mean of the discarded directions and 1 for their variance, unless
                   that is 0; with scale=True and a variance, D for the pixels' standard deviations, less the D conditions that the
                   standardised variances are 1, of which the discarded covariance can meet m (m + 1) / 2 - 1
    a Gaussian     d for its mean, and q = r d - r (r - 1) / 2 for its covariance, of rank r = min(d, n - 1)
    g styles       g Gaussians, and g - 1 frequencies for each prompt
    a regression   r d for the means and r d (r d + 1) / 2 for the covariance G of the products with r independent
                   embeddings; of prompts, no more than their own Gaussians have

Shrinkage makes covariances depend on each other. It is a linear smoother of the covariances, whose number of
parameters is the trace of its matrix (Hastie and Tibshirani 1990). Group u with the amount a_u and the share s_u of
the covariance W towards which it is shrunk counts

    (1 - a_u + a_u s_u) q_u

which is q_u without shrinkage, and in sum one covariance for a_u = 1. A style is shrunk twice: by the amount
k / (n + k) towards its prompt's covariance, of which it has the share s', and that by a_u towards that of all.

References
----------
Hastie and Tibshirani (1990), Generalized additive models. Section 3.5.
"""

from __future__ import annotations

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion.diffusion.regression import RegressionDenoiser
from lineardiffusion.encoders.image import ImageEncoder
from lineardiffusion.fitted import FittedDiffusion
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.styles import PRIOR_IMAGES


def n_parameters(fitted: FittedDiffusion) -> float:
    """Return the number of free parameters of the law of images given their prompts."""
    encoder, d, statistics = fitted.require_pixel_model().encoder, fitted.d, fitted.statistics
    styles, moments = statistics.styles, statistics.moments
    found: float = _of_encoder(encoder, fitted.parameters.image_encoder is None, fitted.parameters.scale)
    if styles is not None:
        weight, n, owner = styles.moments.weight, styles.moments.effective, styles.clusters.prompt
        used = weight > 0
        if (
            fitted.shrinkage is None
        ):  # styles that prompts share are not shrunk, and the last style has no frequency
            found += np.bincount(owner)[0] - 1
            gaussians = _of_gaussians(n[used], d, np.zeros(used.sum()), np.zeros(used.sum()))
        else:
            found += np.count_nonzero(used) - len(statistics.prompts)
            amount, a = PRIOR_IMAGES / (n + PRIOR_IMAGES), fitted.shrinkage[owner]
            share = (1 - a) * n / np.bincount(owner, n)[owner].clip(np.finfo(float).tiny) + a * n / n.sum()
            gaussians = _of_gaussians(n[used], d, amount[used], share[used])
    elif isinstance(moments, Moments):
        share = moments.weight / moments.weight.sum()
        amount = np.zeros(len(share)) if fitted.shrinkage is None else fitted.shrinkage
        gaussians = _of_gaussians(moments.effective, d, amount, share)
    else:
        gaussians = np.inf
    if isinstance(fitted.conditional, RegressionDenoiser):
        r = len(fitted.conditional.mean)
        gaussians = min(gaussians, r * d + r * d * (r * d + 1) / 2)
    return float(found + gaussians)


def _of_encoder(encoder: ImageEncoder, fitted: bool, scale: bool) -> int:
    d, D = encoder.components.shape
    if not (m := D - d):
        return 0
    if (
        not encoder.residual_variance
    ):  # the images lie in the plane of the latents, wherever the pixels' scales put it
        return int(m + (d * m if fitted else 0))
    scales = D - max(1, D + 1 - m * (m + 1) // 2)
    return int(m + 1) + (d * m if fitted else 0) + (scales if fitted and scale else 0)


def _of_gaussians(n: Array, d: int, amount: Array, share: Array) -> float:
    """Return the number of parameters of Gaussians of n (g,) images, shrunk by amounts (g,)."""
    rank = np.minimum(d, np.maximum(np.ceil(n - 1e-9) - 1, 0))
    q = rank * d - rank * (rank - 1) / 2
    return float(len(n) * d + ((1 - amount + amount * share) * q).sum())
