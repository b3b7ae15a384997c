"""Points of the plane and the mixtures of Gaussians that the library fits to them, for the tab Plane.

Each set is standardised: both coordinates have mean 0 and together variance 2. For each number of Gaussians k
the set is one prompt with k styles, and the mixture is that of the styles, each in both directions
(``style_rank=1.0``).
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import make_moons, make_swiss_roll

from lineardiffusion._arrays import Array
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.estimator import LinearDiffusion

NUM_POINTS = 1200  # fitted
SHOWN = 300
GAUSSIANS = (1, 4, 10, 40)


def point_sets() -> dict[str, Any]:
    """Return the point sets, by name, each with points (n, 2) and a mixture for each number of Gaussians.

    Returns
    -------
    dict
        For each name ``points``, a list of pairs, and ``mixtures``, by the number of Gaussians as a string:
        ``weights`` (k,), ``means`` (k, 2) and ``covariances`` (k, 2, 2), rounded.

    Examples
    --------
    >>> sets = point_sets()
    >>> list(sets), len(sets["moons"]["mixtures"]["10"]["weights"])
    (['swiss roll', 'moons', 'one Gaussian'], 10)
    """
    return deepcopy(_point_sets())


@cache
def _point_sets() -> dict[str, Any]:
    roll = make_swiss_roll(NUM_POINTS, noise=0.4, random_state=0)[0][:, [0, 2]]
    moons = make_moons(NUM_POINTS, noise=0.06, random_state=0)[0]
    bell = np.random.default_rng(0).normal(size=(NUM_POINTS, 2)) @ np.array([[1.0, 0.6], [0.0, 0.5]])
    return {
        "swiss roll": _fitted(roll, GAUSSIANS),
        "moons": _fitted(moons, GAUSSIANS),
        "one Gaussian": _fitted(bell, (1,)),
    }


def _fitted(points: Array, numbers: tuple[int, ...]) -> dict[str, Any]:
    """Return standardised points and their mixtures."""
    centred = points - points.mean(axis=0)
    points = centred / np.sqrt(centred.var(axis=0).mean())
    mixtures = {str(k): mixture(points, k) for k in numbers}
    return {"points": np.round(points[:SHOWN], 2).tolist(), "mixtures": mixtures}


def mixture(points: Array, k: int) -> dict[str, Any]:
    """Return the mixture that the library fits to points (n, 2), as lists.

    Parameters
    ----------
    points : Array of shape (n, 2)
        Points.
    k : int
        Number of Gaussians.

    Returns
    -------
    dict of list
        ``weights`` (k,), ``means`` (k, 2) and ``covariances`` (k, 2, 2), in the coordinates of the points.
    """
    model = LinearDiffusion(2, n_styles=k, style_rank=1.0, random_state=0).fit(["point"] * len(points), points)
    law, encoder = model.fitted_.conditional, model.fitted_.encoder
    assert isinstance(law, GaussianDenoiser)
    styles = model.fitted_.statistics.styles
    weight = np.ones(1) if styles is None else styles.moments.weight / styles.moments.weight.sum()
    root = law.eigenvectors * np.sqrt(law.variance)[:, None]  # (k, 2, 2), columns
    plane = np.swapaxes(encoder.decode(np.swapaxes(root, 1, 2)) - encoder.decode(np.zeros(2)), 1, 2)
    return {
        "weights": np.round(weight, 5).tolist(),
        "means": np.round(encoder.decode(law.mean), 4).tolist(),
        "covariances": [[[round(float(x), 6) for x in row] for row in S @ S.T] for S in plane],
    }
