"""Define the options that several commands share, and check their values."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def output_option(help: str) -> Callable[[F], F]:
    """Return the option ``-o``, which refuses an empty path, such as that of an unset shell variable."""

    def to_path(ctx: click.Context, param: click.Parameter, value: str) -> Path:
        if value in ("", "-"):
            raise click.BadParameter("must name a file or a folder", ctx, param)
        return Path(value)

    return click.option("-o", "--output", required=True, metavar="PATH", callback=to_path, help=help)


pictures_option = output_option("File NAME.png for one grid of all images, or a folder for one file per image.")
zoom_option = click.option(
    "--zoom", type=click.IntRange(1, 64), default=1, help="Factor by which the written images are enlarged."
)
resize_option = click.option("--resize", is_flag=True, help="Resize the input to the size of the model's images.")


def check_writable(folder: Path) -> None:
    """Raise an OSError if `folder` cannot be created or written to, before any work is done."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"cannot write to '{folder}': '{existing}' is a file, expected a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write to '{folder}': no permission to write in '{existing}'")


def import_if_path(name: str | None) -> Any:
    """Import the function that ``package.module:function`` names; return any other name unchanged.

    The working directory is searched first, then ``sys.path``. The library checks the other names.

    Raises
    ------
    ValueError
        If there is no such module or function, or the module raises an exception.
    """
    if name is None or ":" not in name:
        return name
    module, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise ValueError(f"cannot import '{name}': {type(error).__name__}: {error}") from error
    if not callable(function):
        raise ValueError(f"'{name}' is not a function")
    return function
