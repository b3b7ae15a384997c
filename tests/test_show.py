"""A figure is shown in a notebook, or by the backend of matplotlib that has windows."""

import io
import sys
from types import ModuleType, SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from lineardiffusion import plot


@pytest.fixture
def figure():
    return plot.grid(np.arange(2 * 64.0).reshape(2, 8, 8))


@pytest.fixture
def windows(monkeypatch):
    """The figures in the windows that a backend with windows was asked to show."""
    shown = []

    class Manager(FigureManagerBase):
        @classmethod
        def pyplot_show(cls, *, block=None):
            shown.extend(manager.canvas.figure for manager in Gcf.get_all_fig_managers())

    class Canvas(FigureCanvasAgg):
        manager_class = Manager

    backend = ModuleType("backend_of_a_test")
    backend.FigureCanvas, backend.FigureManager = Canvas, Manager
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    before = matplotlib.get_backend()
    matplotlib.use(f"module://{backend.__name__}")
    yield shown
    Gcf.destroy_all()
    matplotlib.use(before)


def test_a_window_shows_the_figure_itself(figure, windows):
    plot.show(figure)
    assert len(windows) == 1
    assert windows[0] is figure


def test_without_windows_nothing_is_left(figure, windows):
    matplotlib.use("agg")
    plot.show(figure)
    assert windows == []
    assert not Gcf.get_all_fig_managers()


def test_a_notebook_shows_its_pixels(figure, monkeypatch):
    displayed = []
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=None)
    display.Image, display.display = lambda data: data, displayed.append
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    plot.show(figure)
    figure.savefig(expected := io.BytesIO(), format="png", dpi=figure.dpi)
    (png,) = displayed
    found = np.asarray(Image.open(io.BytesIO(png)))
    np.testing.assert_array_equal(found, np.asarray(Image.open(expected)))
    assert len(np.unique(found)) > 60
