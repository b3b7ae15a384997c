"""The program: what its commands share. How errors end, how progress shows, how answers are written."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from lineardiffusion import LinearDiffusion, __version__
INTERRUPTED = 130

F = TypeVar("F", bound=Callable[..., Any])

# What the library raises on what a user gave it; anything else is a bug, and shows its traceback.
_REFUSALS = (ValueError, TypeError, OSError, ImportError, MemoryError)


class Failure(click.ClickException):
    """What was given cannot be used: one line, exit status 1."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Misuse(Failure):
    """The command was not used as it should be: one line, exit status 2."""

    exit_code = 2


class Program(click.Group):
    """A group whose commands end in one line when something is wrong."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _one_line(), warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Aborted!", err=True)
            ctx.exit(INTERRUPTED)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except getattr(click.exceptions, "NoArgsIsHelpError", ()):  # new in click 8.2; it shows the help
        raise
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "lineardiffusion"
        raise Misuse(f"{error.format_message().rstrip('.')}; see '{path} --help'") from error
    except _REFUSALS as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise  # nobody reads the answer any more; click ends quietly
        raise Failure(_reason(error)) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: '{error.filename}'"
    return str(error) or type(error).__name__


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    note(f"Warning: {' '.join(str(message).split())}")


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lineardiffusion")
def main() -> None:
    """Diffusion models of linear parts: fitted in closed form, sampled exactly.

    MODEL is a folder that `fit` or save_pretrained wrote, the name of a model that comes with the library,
    or owner/name of one on the Hugging Face Hub. DATA is a folder of IDX files, a folder with one folder of
    images a prompt, an .npz file with the arrays `images` and `prompts` (or `labels`), or one of the names
    digits, mnist and fashion-mnist.
    """


def output_option(help: str) -> Callable[[F], F]:
    """The option -o: a path, and never the empty one, of a variable that is not set."""

    def path(ctx: click.Context, param: click.Parameter, value: str) -> Path:
        if value in ("", "-"):
            raise click.BadParameter("it must name a file or a folder", ctx, param)
        return Path(value)

    return click.option("-o", "--output", required=True, metavar="PATH", callback=path, help=help)


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written to or made: before the work, not after it."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"cannot write to '{folder}': '{there}' is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write to '{folder}': no permission in '{there}'")


quiet = click.option("-q", "--quiet", is_flag=True, help="No progress bar, no notes, no warnings.")
as_json = click.option("--json", "json_", is_flag=True, help="Answer in JSON.")


def load(name: str) -> LinearDiffusion:
    """The model of this name or folder."""
    return LinearDiffusion.from_pretrained(name)


def is_quiet() -> bool:
    context = click.get_current_context(silent=True)
    # the warnings of a command arrive while its own context, or only that of the program, is current
    return bool(context and context.params.get("quiet"))


def note(text: str) -> None:
    """Tell the person, not the program, that reads."""
    if not is_quiet():
        click.echo(text, err=True)


def answer(json_: bool, value: Any, text: str) -> None:
    """Write the answer: the value for a program, the text for a person."""
    if json_:
        line = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if any("\ud800" <= letter <= "\udfff" for letter in line):  # a file's name that is no UTF-8
            line = json.dumps(value, allow_nan=False)
        click.echo(line)
    elif text:
        click.echo(text)


def plain(text: str) -> str:
    """The text in one line that a terminal and a table can take: as it is, or quoted."""
    return text if text.isprintable() else json.dumps(text)


def counted(n: int, what: str) -> str:
    """``1 prompt``, ``2 prompts``."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


@contextlib.contextmanager
def progress(total: int, label: str) -> Iterator[Any]:
    """A bar with ``update(n)``, on the standard error; none if quiet, or if nobody watches."""
    if is_quiet() or not sys.stderr.isatty():
        yield _Unseen()
        return
    with click.progressbar(length=total, label=label, file=sys.stderr, show_pos=True) as bar:
        yield bar


class _Unseen:
    """A progress bar that shows nothing."""

    def update(self, n: int) -> None:
        """Nothing to do."""
