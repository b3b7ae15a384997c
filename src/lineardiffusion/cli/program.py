"""Define the command group, which reports the errors and warnings of its commands."""

from __future__ import annotations

import io
import sys
import warnings
from typing import Any

import click

from lineardiffusion import __version__
from lineardiffusion.cli.classify import classify
from lineardiffusion.cli.common import note
from lineardiffusion.cli.demo import demo
from lineardiffusion.cli.evaluate import evaluate
from lineardiffusion.cli.fit import fit
from lineardiffusion.cli.forget import forget
from lineardiffusion.cli.info import info
from lineardiffusion.cli.inpaint import inpaint
from lineardiffusion.cli.oracle import oracle
from lineardiffusion.cli.page import page
from lineardiffusion.cli.plot import plot
from lineardiffusion.cli.sample import sample

# What the library raises for unusable input. Any other exception is a bug and keeps its traceback.
_INPUT_ERRORS = (ValueError, TypeError, OSError, ImportError, MemoryError)


class _Group(click.Group):
    """A group that lists its commands in their order and reports each error and warning in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # whose encoding may lack characters of a prompt or a file
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                # numpy warns of overflows; the library checks its results and raises an error instead.
                warnings.simplefilter("ignore", RuntimeWarning)
                warnings.showwarning = lambda message, *_: note(f"Warning: {' '.join(str(message).split())}")
                return super().invoke(ctx)
        except BrokenPipeError:  # the reader of the output has gone: click exits without a message
            raise
        except _INPUT_ERRORS as error:
            message = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, OSError) and error.strerror and error.filename is not None:
                message = f"{error.strerror}: '{error.filename}'"
            raise click.ClickException(message) from error


_COMMANDS = (fit, sample, classify, inpaint, evaluate, plot, page, demo, oracle, forget, info)
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


@click.group(cls=_Group, commands=_COMMANDS, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="lineardiffusion")
def main() -> None:
    """Linear diffusion models: fitted in closed form, sampled exactly.

    MODEL is a folder that the command fit wrote, the name of a model that ships with the library (mnist,
    fashion-mnist, mnist-small), or OWNER/NAME of a model on the Hugging Face Hub. The help of fit describes DATA.
    """
