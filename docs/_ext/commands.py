"""A directive that shows the help of the command line: ``.. commands::``."""

import click
from docutils import nodes
from docutils.parsers.rst import Directive

from lineardiffusion.cli import main


class Commands(Directive):
    """The help text of the group and of each of its commands, under a heading of its own."""

    def run(self):
        top = click.Context(main, info_name="lineardiffusion", max_content_width=92)
        found = [_text(main.get_help(top))]
        for name in main.list_commands(top):
            command = main.get_command(top, name)
            section = nodes.section(ids=[f"command-{name}"], names=[name])
            section += nodes.title(text=f"lineardiffusion {name}")
            section += _text(command.get_help(click.Context(command, top, name, max_content_width=92)))
            found.append(section)
        return found


def _text(help):
    return nodes.literal_block(help, help, language="none")


def setup(app):
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
