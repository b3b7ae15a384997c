"""Print results to standard output, and notes and progress to standard error."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Hide the progress bar, notes and warnings.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def print_result(value: Any, text: str, as_json: bool) -> None:
    """Print `value` as JSON, or else `text`, unless it is empty."""
    if as_json:
        click.echo(json.dumps(value, allow_nan=False))
    elif text:
        click.echo(text)


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


def _is_quiet() -> bool:
    context = click.get_current_context(silent=True)
    return bool(context and context.params.get("quiet"))


def printable(text: str) -> str:
    """Return `text` unchanged if it fits into one line of a table, otherwise as a quoted string."""
    return text if text.isprintable() else json.dumps(text)


def counted(n: int, noun: str) -> str:
    """Return ``1 prompt``, ``2 prompts``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
