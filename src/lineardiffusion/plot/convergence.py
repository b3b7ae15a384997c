"""Draw how the laws of samplers converge: reports of the oracle, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["convergence"]

LEAST = 1e-6  # share of the law's spread below which a part of the distance is rounding, and is not drawn
_PARTS = {"mean_error": ":", "spread_error": "--"}


def convergence(reports: Any, *, parts: bool | None = None) -> Figure:
    """Draw the distance of samplers to the law against the calls of the denoiser, in units of the law's spread.

    Parameters
    ----------
    reports : Report or sequence of Report
        Reports of :func:`lineardiffusion.oracle.oracle`.
    parts : bool, default=None
        Whether to draw the distances of the means (dotted) and of the covariances (dashed) too; None for a
        single report that has them.

    Returns
    -------
    matplotlib.figure.Figure
        Figure with one line per sampler, both axes logarithmic.

    Raises
    ------
    ValueError
        If there is no report.

    See Also
    --------
    lineardiffusion.oracle.oracle : The function that makes reports.

    Examples
    --------
    >>> from lineardiffusion import Gaussian, plot
    >>> from lineardiffusion.oracle import oracle
    >>> law = Gaussian.diagonal([0.0, 0.0], [4.0, 0.25])
    >>> reports = [oracle(name, law, steps=(5, 10), convergence=False) for name in ("ddim", "heun")]
    >>> [line.get_label() for line in plot.convergence(reports).axes[0].lines]
    ['ddim', 'heun']
    """
    from matplotlib.figure import Figure

    reports = reports if isinstance(reports, Sequence) else [reports]
    if not reports:
        raise ValueError("there is no report to draw")
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    parts = len(reports) == 1 if parts is None else parts
    for i, report in enumerate(reports):
        colour, unit = f"C{i}", report.spread or 1.0
        rows = [row for row in report.rows if np.isfinite(row.distance) and row.distance > 0]
        calls = [row.calls for row in rows]
        errors = [row.standard_error / unit for row in rows]
        if not rows:
            continue
        style: dict[str, Any] = {"color": colour, "marker": "o", "markersize": 4}
        if any(errors):
            axes.errorbar(calls, [row.distance / unit for row in rows], errors, label=report.sampler, **style)
        else:
            axes.plot(calls, [row.distance / unit for row in rows], label=report.sampler, **style)
        if parts and report.measure == "W2":
            for name, dashes in _PARTS.items():
                held = [(row.calls, getattr(row, name) / unit) for row in rows if getattr(row, name) > LEAST * unit]
                axes.plot(
                    *zip(*held, strict=True), dashes, color=colour, label=f"{name.removesuffix('_error')} alone"
                ) if held else None
        if report.floor_steps and report.floor > 0:
            axes.axhline(report.floor / unit, color=colour, linewidth=0.6, alpha=0.6)
    axes.set_xlabel("calls of the denoiser")
    if axes.lines:
        axes.set(xscale="log", yscale="log")
    measures = sorted({report.measure for report in reports})
    axes.set_ylabel(f"{' / '.join(measures)}, relative to the law's spread")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.2, which="both")
    return figure
