"""The command ``lineardiffusion``: the library at a prompt of the shell.

    lineardiffusion fit DATA -o MODEL           learn a model, and save it
    lineardiffusion sample MODEL PROMPT...      draw pictures
    lineardiffusion classify MODEL IMAGE...     say what pictures show
    lineardiffusion inpaint MODEL IMAGE         complete a picture
    lineardiffusion evaluate MODEL DATA         measure a model on data it has not seen
    lineardiffusion info MODEL                  say what a model is

Answers go to the standard output, progress and notes to the standard error. Whatever the library objects to
is one line and exit status 1, a wrong use of the command exit status 2, an interrupt 130.
"""

from lineardiffusion.cli.draw import inpaint, sample
from lineardiffusion.cli.evaluate import evaluate
from lineardiffusion.cli.fit import fit
from lineardiffusion.cli.program import main
from lineardiffusion.cli.read import classify, info

__all__ = ["main"]

for _command in (fit, sample, classify, inpaint, evaluate, info):
    main.add_command(_command)
