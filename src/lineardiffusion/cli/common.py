"""Define what the commands share: options, results, notes and progress.

The modules of the commands import numpy, scikit-learn and Pillow inside of functions, because these take a
second to import and ``--help`` needs none of them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lineardiffusion import LinearDiffusion

SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp",
    ".avif", ".tga", ".pbm", ".pgm", ".ppm", ".pnm",
)  # fmt: skip


class Command(click.Command):
    """A command that says how an argument may begin with a hyphen, as the prompt -5 does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.possibilities:
                raise
            hint = f"for an argument that begins with -, write -- before it: ... -- {error.option_name}"
            raise click.UsageError(f"{error.format_message()} ({hint})", ctx) from error


def command(function: Callable[..., Any], cls: type[click.Command] = Command) -> click.Command:
    """Make a command of a function that returns its result as a value, for ``--json``, and as text.

    A third value is the exit status. With ``--quiet``, a command that writes files prints no text.
    """

    @functools.wraps(function)
    def run(quiet: bool, as_json: bool, **parameters: Any) -> None:
        value, text, *status = function(**parameters)
        if as_json:
            click.echo(json.dumps(value, allow_nan=False))
        elif not (quiet and "output" in parameters):
            click.echo(text)
        if any(status):
            click.get_current_context().exit(status[0])

    made = click.command(cls=cls)(run)
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


@contextlib.contextmanager
def progress_of_passes(total: int, label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar for each pass; yield a function that takes the number of the pass and how far it is."""
    with contextlib.ExitStack() as bars:
        number, done = 0, 0
        advance: Callable[[int], None] = lambda n: None  # noqa: E731

        def show(new: int, now: int) -> None:
            nonlocal number, done, advance
            if new != number:
                bars.close()
                number, done, advance = new, 0, bars.enter_context(progress(total, f"{label}, pass {new}"))
            advance(now - done)
            done = now

        yield show


def printable(text: str) -> str:
    """Return `text` unchanged if it fits into one line of a table, otherwise as a quoted string."""
    return text if text.isprintable() else json.dumps(text)


def to_path(value: str) -> Path:
    """Return a path, with the home folder for ~, which a shell expands only where a word begins with it."""
    return Path(os.path.expanduser(value))


def known_spelling(prompt: str, model: LinearDiffusion) -> str:
    """Return a prompt in the Unicode normal form in which the model knows it, by default in NFC."""
    known = getattr(model, "prompts_", ())
    forms = (prompt, *(unicodedata.normalize(form, prompt) for form in ("NFC", "NFD")))
    return next((form for form in forms if form in known), forms[1])


def import_if_path(name: str | None) -> Any:
    """Import the function that ``package.module:function`` names; return any other name unchanged.

    The working directory is searched first, then ``sys.path``. The library checks the other names.
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


def counted(n: int, noun: str) -> str:
    """Return ``1 prompt``, ``2 prompts``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def check_folder(folder: Path) -> None:
    """Raise an error unless files can be written to a folder, which need not exist yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"cannot write to '{folder}': '{existing}' is a file, expected a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write to '{folder}': no permission to write in '{existing}'")


def is_grid_file(output: Path) -> bool:
    """Return whether the output of images is a file for one grid rather than a folder."""
    return output.suffix.lower() in SUFFIXES and not output.is_dir()


def check_file(output: Path, suffixes: tuple[str, ...]) -> None:
    """Raise an error unless a file of this name, which must have one of the suffixes, can be written."""
    if output.suffix.lower() not in suffixes or output.is_dir():
        ends = " or ".join(suffixes)
        raise click.UsageError(f"cannot write '{output}': give the name of a file that ends in {ends}")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"cannot write '{output}': its folder does not exist")
    check_folder(output.parent)


def output_option(check: Callable[[Path], None], help: str, required: bool = True) -> Callable[[Any], Any]:
    """Return the option ``-o``, which rejects a path that cannot be written before any work is done."""

    def checked(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
        if value is None:
            return None
        if value in ("", "-"):  # empty: an unset shell variable
            raise click.BadParameter("must name a file or a folder", ctx, param)
        check(to_path(value))
        return to_path(value)

    return click.option("-o", "--output", required=required, metavar="PATH", callback=checked, help=help)


model_argument = click.argument("model", type=os.path.expanduser)
data_argument = click.argument("data", type=os.path.expanduser)
pictures_option = output_option(
    lambda output: check_file(output, (".png",)) if is_grid_file(output) else check_folder(output),
    "File NAME.png for one grid of all images, or a folder for one file per image.",
)
split_option = click.option(
    "--split", type=click.Choice(["train", "test", "all"]), default="train", help="Part of DATA to use."
)
skip_bad_option = click.option(
    "--skip-bad",
    is_flag=True,
    help="Name and skip pictures that cannot be read or do not fit; every picture is then read once more.",
)
zoom_option = click.option("--zoom", type=click.IntRange(1, 64), default=1, help="Enlargement of the images.")
resize_option = click.option("--resize", is_flag=True, help="Resize the input to the size of the model's images.")
