"""Noise levels that minimise the Wasserstein distance of a sampler's law to a Gaussian.

Let x = z + sigma n (alpha = 1) with z ~ N(m, C), and let l be an eigenvalue of C. From a level s to the next, s', a
deterministic sampler multiplies x - m along the eigenvector by one number. The probability flow multiplies it by
sqrt((l + s'^2) / (l + s^2)). Let r be the sampler's number divided by that of the flow. With the angles

    theta = arctan(s / sqrt(l)),     D = theta - theta'     (primes mark the next level)

the samplers of samplers.py, in the time sigma, have

    ddim    r = cos D
    heun    r = cos D + 1/2 sin^2 D cos theta' / cos theta,     but cos D in the last step, which is Euler's

and F, the product of r over the steps, is the sampler's standard deviation divided by that of the data.
From the marginal N(m, C + s_0^2 I) the mean is exact, and the distance is

    W2^2 = sum_k l_k (F_k - 1)^2

From noise alone, N(0, s_0^2 I), with m_k the mean along eigenvector k and c_k^2 = s_0^2 / (l_k + s_0^2), it is

    W2^2 = sum_k l_k [(c_k F_k - 1)^2 + F_k^2 m_k^2 / (l_k + s_0^2)]

Both are sums of squares with derivatives in closed form, so Levenberg-Marquardt finds the levels. For a single
eigenvalue l the optimum for ddim is s = sqrt(l) tan(theta) with even steps of theta. Eigenvalues of different sizes
ask for different levels, and the optimum weighs them by what each adds to the distance.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
from scipy.optimize import least_squares
from sklearn.utils import check_scalar

from lineardiffusion._arrays import Array
from lineardiffusion._validation import check_integer
from lineardiffusion.distributions.gaussian import Gaussian
from lineardiffusion.distributions.mixture import Mixture

__all__ = ["optimal_times"]

# sampler -> the sampler for which its levels are optimal
OPTIMA = {"ddim": "ddim", "euler": "ddim", "heun": "heun", "dpm++2m": "ddim"}


def ratios(sampler: str, sigmas: Array, variance: Array) -> tuple[Array, Array, Array]:
    """Return r, shape (d, N), and the derivatives of log r by log s and by log s' of each step."""
    root = np.sqrt(variance)[:, None]
    s, s_ = sigmas[:-1], sigmas[1:]
    size, size_ = np.hypot(root, s), np.hypot(root, s_)  # sqrt(l) / cos theta
    cos, sin = (root**2 + s * s_) / (size * size_), (s - s_) * root / (size * size_)
    turn, turn_ = root * s / size**2, root * s_ / size_**2  # derivatives of theta and theta' by log s and log s'
    r, by, by_ = cos, -turn * sin, turn_ * sin
    if sampler == "heun":
        gain = 0.5 * sin**2 * size / size_
        slope = sin * (cos * size / size_ - 1)
        second = cos + gain, turn * slope + gain * (s / size) ** 2, -turn_ * slope - gain * (s_ / size_) ** 2
        r, by, by_ = (np.where(s_ > 0, *both) for both in zip(second, (r, by, by_), strict=True))
    return r, by / r, by_ / r


def _residuals(sampler: str, sigmas: Array, variance: Array, mean: Array | None) -> tuple[Array, Array]:
    """Return the terms whose squares sum to W2^2, and their derivatives by log s_1 ... log s_(N-1)."""
    r, by, by_ = ratios(sampler, sigmas, variance)
    F, root = r.prod(axis=1), np.sqrt(variance)
    slope = F[:, None] * (by[:, 1:] + by_[:, :-1])
    if mean is None:
        return root * (F - 1), root[:, None] * slope
    total = np.hypot(root, sigmas[0])
    kept, shift = root * sigmas[0] / total, root * mean / total
    values = np.concatenate([kept * F - root, shift * F])
    return values, np.concatenate([kept[:, None] * slope, shift[:, None] * slope])


def optimal_times(
    law: Gaussian | Mixture, num_steps: int, sampler: Any = "ddim", *, sigma_max: float = 80.0, start: str = "exact"
) -> Array:
    """Return the noise levels that minimise the Wasserstein distance of a sampler's law to `law`.

    The levels are those of the variance exploding convention, x = z + sigma n. The sampler runs in the time sigma.
    For ``"ddim"`` any other schedule with the ratios sigma / alpha equal to these levels gives the same law.

    ``"dpm++2m"`` gets the levels of ``"ddim"``, because its own optimum overfits the Gaussian. Each step of ddim
    shrinks every direction (r <= 1). The errors of its steps add up, so the optimum makes each of them small. Steps
    of dpm++2m shrink or stretch, and its optimum makes their errors cancel. For MNIST's "7" and 10 steps, the sizes
    of its steps' errors add up to 1,800 times the size of their sum (with the levels of ddim: 3.4 times), and W2 is
    0.0001 of the spread (0.038). The denoiser of a mixture is not linear, and there the errors do not cancel. For a
    mixture of 120 styles of digits the error at 5 and 10 steps is 0.309 and 0.153 at the own optimum, 0.236 and
    0.128 at the levels of ddim, and 0.380 and 0.198 at those of Karras et al. (docs/research/optimal_times.md).

    Parameters
    ----------
    law : Gaussian or Mixture
        Law of the data. A mixture counts by its mean and its covariance: the levels are those of the Gaussian
        with the same mean and covariance.
    num_steps : int
        Number of steps.
    sampler : {"ddim", "euler", "heun", "dpm++2m"} or Sampler, default="ddim"
        Sampler; in the time sigma, ``"euler"`` is ``"ddim"``.
    sigma_max : float, default=80.0
        First level, in the units of `law`. It stays fixed.
    start : {"exact", "noise"}, default="exact"
        Law of the first state: the marginal N(m, C + sigma_max^2 I), or noise alone, N(0, sigma_max^2 I), as in
        :meth:`~lineardiffusion.LinearDiffusion.law`. From the marginal the mean is exact at any levels, so the
        distance measures the spread alone. From noise it measures the errors of the mean and of the spread. The
        two optima hardly differ where `sigma_max` is far above the mean and the spread. Where it is not, those of
        ``"noise"`` make up for the wrong start by coarse steps.

    Returns
    -------
    ndarray of shape (num_steps + 1,)
        Falling levels from `sigma_max` to 0, in the units of `law`.

    Raises
    ------
    ValueError
        If `sampler` or `start` is unknown, `sigma_max` is not above 0, or the law has no variance.
    TypeError
        If `law` is neither a Gaussian nor a mixture.

    See Also
    --------
    lineardiffusion.schedules.Levels : The schedule of these levels.

    Notes
    -----
    The levels depend only on the eigenvalues of the covariance (and with ``start="noise"`` on the mean along the
    eigenvectors). They scale with the law: c times the law and c times `sigma_max` give c times the levels.

    Levenberg-Marquardt runs from three grids, and the best of the results is returned. If a law has fewer distinct
    eigenvalues than there are levels, ``"heun"`` can have the distance 0 at many grids; one of them is returned.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion import Gaussian
    >>> from lineardiffusion.oracle import optimal_times
    >>> optimal_times(Gaussian.diagonal(np.zeros(3), np.array([10.0, 1.0, 0.1])), 5).round(2)
    array([80.  ,  7.91,  3.61,  1.8 ,  0.68,  0.  ])

    With one variance only, the levels are the tangents of even angles:

    >>> angles = np.arctan(optimal_times(Gaussian.diagonal(np.zeros(2), np.ones(2)), 4, sigma_max=1.0))
    >>> np.degrees(angles).round(2)
    array([45.  , 33.75, 22.5 , 11.25,  0.  ])
    """
    num_steps = check_integer(num_steps, "num_steps")
    sigma_max = float(check_scalar(sigma_max, "sigma_max", numbers.Real, min_val=0, include_boundaries="neither"))
    sampler = getattr(sampler, "name", sampler)
    if sampler not in OPTIMA:
        raise ValueError(f"unknown sampler {sampler!r}; choose one of {', '.join(map(repr, OPTIMA))}")
    if start not in ("exact", "noise"):
        raise ValueError(f'start must be "exact" (the marginal law) or "noise", got {start!r}')
    if not isinstance(law, Gaussian | Mixture):
        raise TypeError(f"law must be a Gaussian or a Mixture, got {type(law).__name__}")
    gaussian = Gaussian(law.mean, law.covariance) if isinstance(law, Mixture) else law
    variance, basis = gaussian.principal()
    mean = law.mean if basis is None else law.mean @ basis
    if not (varies := variance > 0).any():
        raise ValueError("law has no variance, so one step to sigma = 0 is exact at any levels")
    scale = float(np.sqrt(variance.sum()))  # from here on the total variance is 1
    if not 1e-6 <= sigma_max / scale <= 1e6:
        raise ValueError(f"sigma_max must be 1e-6 to 1e6 times the law's spread {scale:.3g}, got {sigma_max:g}")
    variance, mean = variance[varies] / scale**2, mean[varies] / scale
    counted = None if start == "exact" else mean
    sigmas = scale * _minimise(OPTIMA[sampler], variance, counted, num_steps, sigma_max / scale)
    sigmas[0] = sigma_max  # without rounding
    return sigmas


def _minimise(sampler: str, variance: Array, mean: Array | None, num_steps: int, sigma_max: float) -> Array:
    """Return the best levels (num_steps + 1,) that descent from several grids finds."""
    n = num_steps - 1  # of levels to find; their logarithms fall by exp(p)
    if not n:
        return np.array([sigma_max, 0.0])

    def levels(p: Array) -> Array:
        return np.concatenate([[sigma_max], sigma_max * np.exp(-np.cumsum(np.exp(p))), [0.0]])

    def values(p: Array) -> Array:
        sigmas, missing = levels(p), np.zeros(max(n - size, 0))  # the routine wants n values or more
        if sigmas[-2] < 1e-9 * sigma_max or p.min() < math.log(1e-6):  # the slope is lost where levels are equal
            return np.full(size + len(missing), np.inf)
        return np.append(_residuals(sampler, sigmas, variance, mean)[0], missing)

    def derivatives(p: Array) -> Array:
        slope = _residuals(sampler, levels(p), variance, mean)[1] @ (-np.tri(n) * np.exp(p))
        return np.concatenate([slope, np.zeros((max(n - size, 0), n))])

    def descend(p: Array, **options: Any) -> Any:
        return least_squares(values, p, derivatives, method="lm", x_scale=1.0, gtol=1e-15, max_nfev=500, **options)

    size = len(variance) * (1 if mean is None else 2)
    with np.errstate(over="ignore"):  # in a step of the descent that is refused
        coarse = [descend(p, ftol=1e-6) for p in _first_gaps(num_steps, sigma_max, variance)]
        lowest = min(one.cost for one in coarse)
        near = next(one for one in coarse if one.cost <= lowest * (1 + 1e-3) + 1e-26)
        return levels(descend(near.x, ftol=1e-15, xtol=1e-12).x)


def _first_gaps(num_steps: int, sigma_max: float, variance: Array) -> list[Array]:
    """Return the log gaps p (num_steps - 1,) of the grids from which the descent starts."""
    typical = math.sqrt((variance**2).sum() / variance.sum())  # standard deviation of the directions that count
    grids = [np.geomspace(sigma_max, 0.1 * min(typical, sigma_max), num_steps)]
    for c in (typical, 3 * typical):  # optimal for ddim and the one variance c^2
        grids.append(c * np.tan(np.linspace(np.arctan(sigma_max / c), 0.0, num_steps + 1)[:-1]))
    return [np.log(-np.diff(np.log(sigmas))) for sigmas in grids]
