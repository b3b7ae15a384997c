"""``python -m lineardiffusion``: the command, where its script is not on the path."""

from lineardiffusion.cli import main

if __name__ == "__main__":
    main(prog_name="lineardiffusion")
