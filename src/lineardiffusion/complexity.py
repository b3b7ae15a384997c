"""The number of free parameters of a model, for the information criteria AIC and BIC.

The law of an image of D pixels given its prompt has these parameters, with latents of d entries:

    encoder        d m for the span of a PCA (a point of the Grassmannian), m = D - d, none for a basis that was
                   given; if m > 0, m for the mean of the discarded directions and, unless it is 0, 1 for their
                   variance; with scale=True and such a variance, D for the pixels' standard deviations, less the D
                   conditions that the standardised variances are 1, of which the discarded covariance can meet
                   m (m + 1) / 2 - 1
    a Gaussian     d for its mean, and q = r d - r (r - 1) / 2 for its covariance, of rank r = min(d, n - 1)
    g styles       g Gaussians, and g - 1 frequencies for each prompt
    a regression   r d for the means and r d (r d + 1) / 2 for the covariance G of the products with r independent
                   embeddings; of prompts, no more than their own Gaussians have

Shrinkage makes covariances depend on each other. It is a linear smoother of the covariances, whose number of
parameters is the trace of its matrix (Hastie and Tibshirani 1990). Group u, with the amount a_u and the share s_u
in the covariance W towards which it is shrunk, counts

    (1 - a_u) q_u + a_u s_u q_W,        q_W that of W, of rank min(d, sum_u (n_u - 1)),

which is q_u without shrinkage, and in sum one covariance for a_u = 1. A style is shrunk twice: by the amount
k / (n + k) towards its prompt's covariance, in which it has the share s', and that by a_u towards that of all.

References
----------
Hastie and Tibshirani (1990), Generalized additive models. Section 3.5.
"""

from __future__ import annotations

from typing import Any

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
    used = np.zeros(0, np.intp) if styles is None else np.flatnonzero(styles.moments.weight)
    if styles is not None and fitted.shrinkage is None:  # those that prompts share, which are not shrunk
        found += np.bincount(styles.clusters.prompt)[0] - 1
        gaussians = _of_gaussians(styles.moments.effective[used], d)
    elif styles is not None and fitted.shrinkage is not None:
        n, owner = styles.moments.effective[used], styles.clusters.prompt[used]
        found += len(used) - len(statistics.prompts)
        ranks = _rank(n)
        own, a = np.bincount(owner, n)[owner], fitted.shrinkage[owner]
        target = (1 - a) * n / own * _of_covariance(np.bincount(owner, ranks)[owner], d)
        target += a * n / n.sum() * _of_covariance(ranks.sum(), d)
        gaussians = _of_gaussians(n, d, PRIOR_IMAGES / (n + PRIOR_IMAGES), target)
    elif isinstance(moments, Moments):
        n, amount = moments.effective, np.zeros(1) if fitted.shrinkage is None else fitted.shrinkage
        common = _of_covariance(_rank(n).sum(), d)
        gaussians = _of_gaussians(n, d, amount, moments.weight / moments.weight.sum() * common)
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


def _of_gaussians(n: Array, d: int, amount: Any = 0.0, target: Any = 0.0) -> float:
    """Return the number of parameters of Gaussians of n (g,) images.

    They are shrunk by amounts (g,) towards covariances in which they count by `target` (g,) parameters.
    """
    own = _of_covariance(_rank(n), d)
    return float(len(n) * d + ((1 - amount) * own + amount * target).sum())


def _rank(n: Array) -> Array:
    """Return the largest rank (g,) of covariances of n (g,) images."""
    return np.asarray(np.maximum(np.ceil(n - 1e-9) - 1, 0.0))


def _of_covariance(rank: Any, d: int) -> Any:
    """Return the number of parameters of covariances of this rank, d at most, in d dimensions."""
    rank = np.minimum(rank, d)
    return rank * d - rank * (rank - 1) / 2
