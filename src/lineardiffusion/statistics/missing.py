"""Moments of images with missing pixels, by expectation and maximisation.

Pixels are missing at random. Under the Gaussian N(m, C) of its prompt, with the precision K = C^-1, an image x
whose pixels M are missing and O are there has (expectation)

    E[x_M | x_O]   = m_M - K_MM^-1 K_MO (x_O - m_O)                                                     (1)
    Cov[x_M | x_O] = K_MM^-1                                                                            (2)

so the expected moments of a batch are those of the images with (1) in place of their missing pixels, plus (2) added
to the scatter. The Gaussians of the next round are those of these moments and of the data before (maximisation).
Every round raises the likelihood of the pixels that are there (Dempster, Laird and Rubin 1977), and the fixed point
is the maximum-likelihood estimate, where the covariances are not shrunk and have no direction below the floor, the
variance of rounding a pixel to 256 levels. The error falls geometrically, by the share of the information that is
missing.

The first round starts from the mean and the variance of each pixel where it is there; a pixel that does not vary
there has that value. An image costs one system of as many equations as it has missing pixels; images that miss the
same pixels share it.

References
----------
Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm. JRSS B 39(1).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from lineardiffusion._arrays import Array, Indices, groups_of_equal
from lineardiffusion._linalg import eigh, one_thread
from lineardiffusion.statistics.batch import Batch
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.shrinkage import shrink

ROUNDS = 10

Mask = NDArray[np.bool_]


def complete(
    batch: Batch, before: Moments | None, shrinkage: float | str, floor: float, rounds: int = ROUNDS
) -> tuple[Moments, Batch]:
    """Return the expected moments of a batch, and the batch with its missing (NaN) pixels filled by equation (1).

    `before` are the moments of the data so far, with a group for each of the batch's prompts, or None; `floor` is
    the least variance of a direction.
    """
    rows = batch.rows.astype(np.float64)
    missing = np.isnan(rows)
    if (empty := np.flatnonzero(missing.all(axis=1))).size:
        raise ValueError(f"image {empty[0]} has no pixel that is there; leave it out")
    groups: Indices = batch.prompts
    model = _available(rows, missing, batch) if before is None else before
    new = np.arange(len(batch.known)) if before is None else np.flatnonzero(before.weight == 0)
    for u in new.tolist():
        prompt = batch.known[u]
        if (unseen := np.flatnonzero(missing[groups == u].all(axis=0))).size:
            at = ", ".join(map(str, np.unravel_index(unseen[0], batch.image_shape)))
            what = f"pixel ({at}) is missing in every image of the prompt {prompt!r}, so nothing is known of it"
            raise ValueError(f"{what} ({unseen.size} such pixels): leave those pixels out, or the prompt")
    if before is not None and new.size:  # prompts that the data before did not have
        model = model + _available(rows, missing, batch)[new].spread(new, len(batch.known))
    masks: list[list[tuple[Indices, Indices]]] = []  # of each prompt: images, and the pixels that all of them miss
    for u in range(len(batch.known)):
        own = np.flatnonzero((groups == u) & missing.any(axis=1))
        alike = [own[members] for members in groups_of_equal(missing[own])] if len(own) else []
        masks.append([(members, np.flatnonzero(missing[members[0]])) for members in alike])
    for _ in range(rounds):
        spread = _expect(rows, batch, masks, shrink(model, shrinkage)[0], floor)
        moments = Moments.of(rows, groups, len(batch.known), batch.sample_weight)
        moments = replace(moments, scatter=moments.scatter + spread)
        model = moments if before is None else before + moments
    return moments, replace(batch, rows=rows.astype(batch.rows.dtype))


def _available(rows: Array, missing: Mask, batch: Batch) -> Moments:
    """Return moments without correlations: mean and variance of each pixel over the images that have it."""
    D, weight = rows.shape[1], np.ones(len(rows)) if batch.sample_weight is None else batch.sample_weight
    mean, scatter = np.zeros((len(batch.known), D)), np.zeros((len(batch.known), D, D))
    seen = np.where(missing, 0.0, weight[:, None])
    total = np.bincount(batch.prompts, weight, len(batch.known))
    for u in range(len(batch.known)):
        own = batch.prompts == u
        w, x = seen[own], np.nan_to_num(rows[own])
        there = np.maximum(w.sum(axis=0), np.finfo(float).tiny)
        mean[u] = (w * x).sum(axis=0) / there
        scatter[u][np.diag_indices(D)] = total[u] * (w * (x - mean[u]) ** 2).sum(axis=0) / there
    squares = np.bincount(batch.prompts, weight**2, len(batch.known))
    return Moments(total.astype(np.float64), squares.astype(np.float64), mean, scatter)


def _expect(
    rows: Array, batch: Batch, masks: list[list[tuple[Indices, Indices]]], model: Moments, floor: float
) -> Array:
    """Fill the missing pixels of `rows` in place by equation (1); return the scatter (g, D, D) of equation (2)."""
    spread = np.zeros_like(model.scatter)
    for u, own in enumerate(masks):
        if not own:
            continue
        C = model.covariance[u]
        varies = np.diagonal(C) > 0
        K = np.diag(np.where(varies, 0.0, 1.0))
        variance, basis = eigh(C[varies][:, varies][None])
        K[np.ix_(varies, varies)] = (basis[0] / np.maximum(variance[0], floor)) @ basis[0].T
        with one_thread():
            for members, M in own:
                root = scipy.linalg.cho_factor(K[np.ix_(M, M)])
                x = rows[members] - model.mean[u]
                x[:, M] = 0.0
                rows[np.ix_(members, M)] = model.mean[u, M] - scipy.linalg.cho_solve(root, (x @ K[:, M]).T).T
                weight = len(members) if batch.sample_weight is None else batch.sample_weight[members].sum()
                spread[u][np.ix_(M, M)] += weight * scipy.linalg.cho_solve(root, np.eye(len(M)))
        spread[u] = 0.5 * (spread[u] + spread[u].T) * np.outer(varies, varies)
    return spread
