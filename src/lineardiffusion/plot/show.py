"""Show a figure: in a notebook below the cell, from a script in a window.

The figures of this package have no window, so that drawing needs no display. pyplot, which chooses the program that
opens one, is imported here alone.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def show(figure: Figure) -> None:
    """Show a figure in a notebook, or in a window until it is closed; nothing without a display.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Figure of any function of :mod:`lineardiffusion.plot`, or one of your own that pyplot did not make.

    See Also
    --------
    grid : Draw images in rows, each under its prompt.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion, plot
    >>> from lineardiffusion.datasets import load_digits
    >>> ld = LinearDiffusion(20).fit(*load_digits())
    >>> plot.show(plot.grid(ld.predict(["7", "3"], seed=137)))  # doctest: +SKIP
    """
    if (ipython := sys.modules.get("IPython")) is not None and hasattr(ipython.get_ipython(), "kernel"):
        from IPython.display import Image, display

        figure.savefig(png := io.BytesIO(), format="png", dpi=figure.dpi)
        display(Image(data=png.getvalue()))
        return
    from matplotlib import pyplot as plt
    from matplotlib.backends.registry import BackendFilter, backend_registry

    without_windows = backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE)  # type: ignore[no-untyped-call]
    if plt.get_backend().lower() in without_windows:
        return
    canvas = plt.figure(figsize=figure.get_size_inches()).canvas
    canvas.figure = figure  # the window shows this figure in place of its own
    figure.set_canvas(canvas)
    plt.show()
