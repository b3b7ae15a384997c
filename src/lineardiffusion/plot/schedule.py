"""Draw noise schedules: alpha and sigma against the time, and the signal-to-noise ratio.

z_t = alpha_t z + sigma_t n,        log-SNR = log(alpha_t^2 / sigma_t^2)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lineardiffusion.diffusion.schedules import FunctionSchedule, get_schedule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["schedule"]

_TIMES = 401


def schedule(*schedules: Any) -> Figure:
    """Draw alpha and sigma of noise schedules against the time, and their log signal-to-noise ratio.

    Parameters
    ----------
    *schedules : str, Schedule or callable
        Schedules, one or more, as :class:`LinearDiffusion` accepts them: names, objects or functions
        t -> (alpha, sigma).

    Returns
    -------
    matplotlib.figure.Figure
        Figure with two axes, and one colour per schedule. Left: alpha (solid) and sigma (dashed); above 1 the
        scale is logarithmic. Right: log(alpha^2 / sigma^2) in nats, where it is finite. The time runs from 0 (no
        noise) to the schedule's own ``t_max``; schedules of different ``t_max`` are drawn against t / t_max.

    Raises
    ------
    ValueError
        If there is no schedule, or a name is unknown.
    TypeError
        If one of them is no schedule.

    Examples
    --------
    >>> from lineardiffusion import plot, schedules
    >>> figure = plot.schedule("cosine", "flow", schedules.Karras(sigma_max=10))
    >>> [line.get_label() for line in figure.axes[1].lines]
    ['cosine', 'flow', 'Karras(sigma_max=10, sigma_min=0.002, rho=7.0)']
    """
    if not schedules:
        raise ValueError("there is no schedule to draw; name one, as schedule('cosine')")
    found = [get_schedule(one) for one in schedules]
    ends = {one.t_max for one in found}

    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    levels, ratio = figure.subplots(1, 2)
    highest = 1.0
    for i, (given, one) in enumerate(zip(schedules, found, strict=True)):
        t = np.linspace(0.0, one.t_max, _TIMES)
        alpha, sigma = (np.broadcast_to(values, t.shape) for values in one(t))
        shown = t if len(ends) == 1 else t / one.t_max
        levels.plot(shown, alpha, color=f"C{i}")
        levels.plot(shown, sigma, "--", color=f"C{i}")
        highest = max(highest, float(sigma.max()), float(alpha.max()))
        noisy = (alpha > 0) & (sigma > 0)
        log_ratio = 2 * (np.log(alpha[noisy]) - np.log(sigma[noisy]))
        ratio.plot(shown[noisy], log_ratio, color=f"C{i}", label=_name(given, one))
    if highest > 1.0:
        levels.set_yscale("symlog", linthresh=1.0)
        levels.yaxis.set_major_formatter("{x:g}")
    levels.set_title("alpha (solid) and sigma (dashed)", fontsize=10)
    ratio.set_title("log-SNR, log(alpha^2 / sigma^2)", fontsize=10, parse_math=False)
    for axes in (levels, ratio):
        axes.set_xlabel("time t" if len(ends) == 1 else "time, t / t_max", parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
    ratio.legend(frameon=False, fontsize=8)
    return figure


def _name(given: Any, found: Any) -> str:
    if isinstance(given, str):
        return given
    if isinstance(found, FunctionSchedule):
        return str(getattr(found.function, "__name__", found.function))
    return repr(found)
