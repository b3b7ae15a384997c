"""Use the library from a shell, with the command ``lineardiffusion``; its ``--help`` lists the commands.

Results go to standard output, progress and notes to standard error. A failed command prints one line that
begins with ``Error:`` and exits with status 1; wrong usage exits with status 2.
"""

from lineardiffusion.cli.program import main

__all__ = ["main"]
