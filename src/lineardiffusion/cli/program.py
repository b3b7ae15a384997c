"""Define the command group: find the commands and report their errors.

A command's module imports numpy and often scikit-learn, which takes a second. The group therefore lists the
commands from a table and imports a module only when its command is invoked.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import click

from lineardiffusion import __version__
from lineardiffusion.cli.console import note

# The name of a command is also the name of its module in this package.
_COMMANDS = {
    "fit": "Fit a model and save it.",
    "sample": "Draw images from prompts.",
    "classify": "Predict the prompt of images.",
    "inpaint": "Fill in the missing pixels of an image.",
    "evaluate": "Measure a model on test data.",
    "info": "Describe a model.",
}

# What the library raises for unusable input. Any other exception is a bug and keeps its traceback.
_INPUT_ERRORS = (ValueError, TypeError, OSError, ImportError, MemoryError)


class _Group(click.Group):
    """A group that imports its commands lazily and reports each error and warning in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"lineardiffusion.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                # numpy warns of overflows; the library checks its results and raises an error instead.
                warnings.simplefilter("ignore", RuntimeWarning)
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except BrokenPipeError:  # the reader of the output has gone: click exits without a message
            raise
        except _INPUT_ERRORS as error:
            raise click.ClickException(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: '{error.filename}'"
    return " ".join(str(error).split()) or type(error).__name__


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    note(f"Warning: {' '.join(str(message).split())}")


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


@click.group(cls=_Group, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="lineardiffusion")
def main() -> None:
    """Linear diffusion models: fitted in closed form, sampled exactly.

    MODEL is a folder that the command fit wrote, the name of a model that ships with the library (mnist), or
    OWNER/NAME of a model on the Hugging Face Hub.

    DATA is a folder of IDX files, a folder with one subfolder of images per prompt, an .npz file with the
    arrays "images" and "prompts" (or "labels"), or one of the names digits, mnist and fashion-mnist.
    """
