"""The command ``lineardiffusion``, also ``python -m lineardiffusion``; an interrupt ends it at any time."""

import sys


def run() -> None:
    """Import the command, which takes a second, and run it."""
    try:
        from lineardiffusion.cli import main

        main(prog_name="lineardiffusion")
    except KeyboardInterrupt:
        print("Aborted!", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
