"""Shrinkage of each prompt's covariance towards the covariance within all prompts.

The maximum-likelihood covariance C_u of n_u images is singular where they are fewer than the entries of a latent,
and its small eigenvalues are too small long before. One such prompt spoils the likelihood of the whole model. So

    S_u = (1 - a_u) C_u + a_u W,        W = sum_u w_u C_u / sum_u w_u                                   (1)

with W the covariance within prompts. ``shrinkage=0`` is maximum likelihood (quadratic discriminant analysis), 1
gives all prompts one covariance (linear discriminant analysis). ``"auto"`` takes the amount that minimises the
expected squared error E |S_u - Sigma_u|_F^2 (Ledoit and Wolf 2004), which is the error of C_u over its distance
from W, less by the share s_u = w_u / sum_v w_v that C_u has in W,

    a_u = min(1, (1 - s_u) E |C_u - Sigma_u|_F^2 / |C_u - W|_F^2)                                        (2)

The numerator needs fourth moments in general. For Gaussian images it needs none (Chen et al. 2010),

    E |C - Sigma|_F^2 = (tr Sigma^2 + (tr Sigma)^2) / n,        estimated with C in place of Sigma       (3)

so the amount follows from the moments alone, and streams and merges as they do. It falls as 1 / n_u. For a single
image C is 0, and a is 1. With sample weights n is Kish's effective number of images.

References
----------
Friedman (1989), Regularized discriminant analysis. JASA 84(405).
Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices. Journal of
Multivariate Analysis 88(2).
Chen, Wiesel, Eldar and Hero (2010), Shrinkage algorithms for MMSE covariance estimation. IEEE Transactions on
Signal Processing 58(10).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion.statistics.moments import Moments


def shrink(moments: Moments, shrinkage: float | str, n: Array | None = None) -> tuple[Moments, Array]:
    """Shrink the covariance of each group by equation (1); return the moments and the amounts a, shape (g,).

    `n` (g,) are the numbers of images, by default the effective ones.
    """
    covariance, share = moments.covariance, moments.weight / moments.weight.sum()
    within = np.tensordot(share, covariance, 1)
    if isinstance(shrinkage, str):
        amount = automatic(moments.effective if n is None else n, share, covariance, within)
    else:
        amount = np.full(len(covariance), float(shrinkage))
    if not amount.any():
        return moments, amount
    scatter = covariance  # in place: a stack of matrices is large
    for u, a in enumerate(amount):
        scatter[u] = moments.weight[u] * ((1 - a) * covariance[u] + a * within)
    return replace(moments, scatter=scatter), amount


def automatic(n: Array, share: Array, covariance: Array, within: Array) -> Array:
    """Return the amounts (g,) of equations (2) and (3), for n (g,) images with the covariances (g, d, d)."""
    amount, size = np.zeros(len(n)), np.vdot(within, within)
    for u, C in enumerate(covariance):
        error = (1 - share[u]) * (np.vdot(C, C) + np.trace(C) ** 2) / max(n[u], 1.0)
        distance = ((C - within) ** 2).sum()
        if n[u] <= 1.0 + 1e-9:
            amount[u] = 1.0
        elif distance > 1e-20 * size:  # or else W is C, as with one prompt
            amount[u] = min(1.0, error / distance)
    return amount
