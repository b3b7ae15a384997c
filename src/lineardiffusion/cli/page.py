"""Write a model as an interactive page: the command ``page``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lineardiffusion
from lineardiffusion.cli import common


def write(model: str, output: Path) -> int:
    """Write the page of a model to a file and return its size in bytes."""
    from lineardiffusion.page import write_page

    return write_page(lineardiffusion.LinearDiffusion.from_pretrained(model), output)


@common.command
@common.model_argument
@common.output_option(lambda output: common.check_file(output, (".html",)), "File NAME.html.")
def page(model: str, output: Path) -> tuple[Any, str]:
    """Write MODEL as an interactive page.

    The page is one HTML file that contains the model. It needs no server and no network: open it in a browser,
    send it by mail, or put it on any web space.
    """
    size = write(model, output)
    return {"file": str(output), "bytes": size}, f"{output}: {size / 1e6:.2f} MB"
