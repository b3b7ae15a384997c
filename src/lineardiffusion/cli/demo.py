"""Open a model's interactive page in the browser: the command ``demo``."""

from __future__ import annotations

import os
import shutil
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

import click

from lineardiffusion.cli import common
from lineardiffusion.cli.page import write


@common.command
@click.argument("model", type=os.path.expanduser, default="mnist-small")
@click.option("--no-browser", is_flag=True, help="Write the page and print its path, but do not open it.")
def demo(model: str, no_browser: bool) -> tuple[Any, str]:
    """Open the interactive page of MODEL in a browser.

    Without MODEL, the page shows mnist-small, a model of handwritten digits.

    The page is written into a new temporary folder, and its path is printed. The file stays there, because the
    browser reads it again when the page is reloaded. A browser that cannot read temporary files, such as one
    that is installed as a snap, needs a page in your home folder; the command page writes one.
    """
    folder = Path(tempfile.mkdtemp(prefix="lineardiffusion-"))
    path = folder / "page.html"
    try:
        size = write(model, path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    opened = not no_browser and webbrowser.open(path.as_uri())
    if not (opened or no_browser):
        common.note("no browser could be opened; open this file in a browser:")
    return {"file": str(path), "bytes": size, "opened": opened}, str(path)
