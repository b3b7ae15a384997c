"""Use the library from a shell, with the command ``lineardiffusion``.

    lineardiffusion fit DATA -o MODEL                 fit a model and save it
    lineardiffusion sample MODEL PROMPT... -o PATH    draw images from prompts
    lineardiffusion classify MODEL IMAGE...           predict the prompt of images
    lineardiffusion inpaint MODEL IMAGE -o PATH       fill in the missing pixels of an image
    lineardiffusion evaluate MODEL DATA               measure a model on test data
    lineardiffusion info MODEL                        describe a model

Results go to standard output, progress and notes to standard error. A failed command prints one line that
begins with ``Error:`` and exits with status 1; wrong usage exits with status 2.
"""

from lineardiffusion.cli.program import main

__all__ = ["main"]
