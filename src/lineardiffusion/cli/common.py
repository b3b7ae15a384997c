"""Define what the commands share: options, results, notes and progress.

The modules of the commands import numpy, scikit-learn and Pillow inside of functions, because these take a
second to import and ``--help`` needs none of them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


def command(function: Callable[..., tuple[Any, str]]) -> click.Command:
    """Make a command of a function that returns its result as a value, for ``--json``, and as text.

    With ``--quiet``, a command that writes files prints no text.
    """

    @functools.wraps(function)
    def run(quiet: bool, as_json: bool, **parameters: Any) -> None:
        value, text = function(**parameters)
        if as_json:
            click.echo(json.dumps(value, allow_nan=False))
        elif not (quiet and "output" in parameters):
            click.echo(text)

    made = click.command()(run)
    made.params += [
        click.Option(["-q", "--quiet"], is_flag=True, help="Hide the progress bar, notes and warnings."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON."),
    ]
    return made


def _is_quiet() -> bool:
    context = click.get_current_context(silent=True)
    return bool(context and context.params.get("quiet"))


def note(text: str) -> None:
    """Print `text` to standard error, unless ``--quiet`` was given."""
    if not _is_quiet():
        click.echo(text, err=True)


@contextlib.contextmanager
def progress(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar if standard error is a terminal; yield a function that advances it by n."""
    if _is_quiet() or not sys.stderr.isatty():
        yield lambda n: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr, show_pos=True) as bar:
        yield bar.update


def printable(text: str) -> str:
    """Return `text` unchanged if it fits into one line of a table, otherwise as a quoted string."""
    return text if text.isprintable() else json.dumps(text)


def counted(n: int, noun: str) -> str:
    """Return ``1 prompt``, ``2 prompts``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _check_folder(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"cannot write to '{folder}': '{existing}' is a file, expected a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write to '{folder}': no permission to write in '{existing}'")


def is_grid_file(output: Path) -> bool:
    """Return whether the output of images is a file for one grid rather than a folder."""
    return output.suffix.lower() in SUFFIXES and not output.is_dir()


def _check_pictures(output: Path) -> None:
    if not is_grid_file(output):
        return _check_folder(output)
    if output.suffix.lower() != ".png":
        raise click.UsageError(f"cannot write '{output}': give a name that ends in .png, or a folder")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"cannot write '{output}': its folder does not exist")
    return _check_folder(output.parent)


def _output_option(check: Callable[[Path], None], help: str) -> Callable[[Any], Any]:
    """Return the option ``-o``, which rejects a path that cannot be written before any work is done."""

    def to_path(ctx: click.Context, param: click.Parameter, value: str) -> Path:
        if value in ("", "-"):  # empty: an unset shell variable
            raise click.BadParameter("must name a file or a folder", ctx, param)
        check(Path(value))
        return Path(value)

    return click.option("-o", "--output", required=True, metavar="PATH", callback=to_path, help=help)


model_output_option = _output_option(_check_folder, "Folder for the model.")
pictures_option = _output_option(
    _check_pictures, "File NAME.png for one grid of all images, or a folder for one file per image."
)
zoom_option = click.option("--zoom", type=click.IntRange(1, 64), default=1, help="Enlargement of the images.")
resize_option = click.option("--resize", is_flag=True, help="Resize the input to the size of the model's images.")
