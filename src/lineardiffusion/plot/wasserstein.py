"""Draw how far the law of a sampler is from the exact law, against the number of steps.

    W2(n) ~ C n^-p      a line of slope -p in a log-log plot; p is the order of convergence

Both laws are known, so every distance is computed and no image is drawn. The observed order of a curve is taken
between its last two numbers of steps n < n',

    p = log(W2(n) / W2(n')) / log(n' / n)

It is near the order of the sampler if n is large, and near 0 if the curve has reached a floor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from lineardiffusion._validation import check_integer
from lineardiffusion.diffusion.samplers import Sampler, get_sampler
from lineardiffusion.oracle.report import Report, Row
from lineardiffusion.plot.convergence import LEAST, convergence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lineardiffusion.estimator import LinearDiffusion

__all__ = ["wasserstein"]

_SHOWN = ("num_steps", "function")  # on the horizontal axis and in the name


def wasserstein(
    ld: LinearDiffusion,
    prompt: Any,
    samplers: Sequence[Any] = ("ddim", "ddpm", "dpm++2m", "heun"),
    num_steps: Sequence[int] = (1, 2, 5, 10, 20, 50),
    **settings: Any,
) -> Figure:
    """Draw the 2-Wasserstein distance of each sampler's law to the exact law against the number of steps.

    The exact law is that of the probability flow, solved without error from the law of the noised data. Without
    guidance it is the law of the data. The distance is drawn in units of the exact law's spread, which is the
    root of its total variance. Under a prompt with styles it is the upper bound of :meth:`Mixture.wasserstein`.

    Parameters
    ----------
    ld : LinearDiffusion
        Fitted model, of images or of points.
    prompt : str or dict, or array-like of shape (k,)
        Prompt whose law is drawn, as in :meth:`LinearDiffusion.law`.
    samplers : sequence of str or sampler, default=("ddim", "ddpm", "dpm++2m", "heun")
        Samplers to compare, by name or as objects that :class:`LinearDiffusion` accepts. Their own numbers of
        steps are not used.
    num_steps : sequence of int, default=(1, 2, 5, 10, 20, 50)
        Numbers of steps.
    **settings
        Further parameters of :meth:`LinearDiffusion.law`, such as ``guidance_scale``. They apply to the exact law
        too, except ``start``, which is ``"marginal"`` for it.

    Returns
    -------
    matplotlib.figure.Figure
        Figure with one line per sampler, both axes logarithmic. The legend gives each sampler's observed order,
        minus the slope of its line between the last two numbers of steps. Distances below 1e-6 of the spread are
        rounding and are not drawn, so a sampler that is exact has no line.

    Raises
    ------
    ValueError
        If the model does not know the prompt or a sampler, or `num_steps` has no number or one below 1.
    TypeError
        If `samplers` is a single string, or `num_steps` is not a sequence of integers.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, datasets, plot
    >>> ld = LinearDiffusion(20).fit(*datasets.load_digits())
    >>> figure = plot.wasserstein(ld, "7", ["ddim", "heun"], [10, 20, 40, 80])
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['ddim, order 1.0', 'heun, order 2.0']
    """
    if isinstance(samplers, str):
        raise TypeError(f"samplers is the string {samplers!r}; expected a list, as [{samplers!r}]")
    if np.ndim(num_steps) == 0:
        raise TypeError(f"num_steps is {num_steps!r}; expected a list of numbers of steps, as [5, 10, 20]")
    numbers = sorted({check_integer(n, "num_steps") for n in num_steps})
    if not numbers:
        raise ValueError("num_steps is empty; expected numbers of steps, as [5, 10, 20]")
    exact = ld.law(prompt, **{**settings, "sampler": "exact", "start": "marginal"})
    spread = math.sqrt(float(np.trace(exact.covariance)))
    reports = []
    for one in samplers:
        laws = [ld.law(prompt, sampler=get_sampler(one, n), **settings) for n in numbers]
        distances = [law.wasserstein(exact) for law in laws]
        curve = [(n, w) for n, w in zip(numbers, distances, strict=True) if LEAST * spread < w < math.inf]
        # an axis of steps: a report's calls are what `convergence` has on its horizontal axis
        rows = tuple(Row(n, n, w, math.nan, math.nan, math.nan) for n, w in curve)
        reports.append(Report(_name(get_sampler(one)) + _order(curve), "W2", spread, rows))
    figure = convergence(reports, parts=False)
    axes = figure.axes[0]
    axes.set(xlabel="number of steps", ylabel="W2 to the exact law, in units of its spread")
    axes.xaxis.set_major_formatter("{x:g}")
    return figure


def _name(sampler: Sampler) -> str:
    """Return the name of a sampler with the parameters that differ from their defaults, without its steps."""
    name = str(sampler).removesuffix(f", {sampler.num_steps} steps")
    own = [(field, getattr(sampler, field.name)) for field in fields(sampler)]
    others = [f"{field.name}={v!r}" for field, v in own if field.name not in _SHOWN and v != field.default]
    return ", ".join([name, *others])


def _order(curve: Sequence[tuple[int, float]]) -> str:
    """Return the observed order between the last two points, as a text for the legend."""
    if len(curve) < 2:
        return ""
    (n, w), (n_, w_) = curve[-2:]
    return f", order {round(math.log(w / w_) / math.log(n_ / n), 1) + 0.0:.1f}"  # + 0.0 turns -0.0 into 0.0
