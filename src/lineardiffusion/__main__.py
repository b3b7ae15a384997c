"""The command ``lineardiffusion``, also ``python -m lineardiffusion``; an interrupt ends it at any time."""

import contextlib
import os
import sys

INTERRUPTED = 130  # what a shell expects


def run() -> None:
    """Import the command, which takes a second or two, and run it."""
    try:
        from lineardiffusion.cli import main

        main(prog_name="lineardiffusion")
    except KeyboardInterrupt:
        print("Aborted!", file=sys.stderr)
        _leave()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _leave()
        raise


def _leave() -> None:
    """Exit at once: an interrupted import can make Python end itself by the signal instead."""
    with contextlib.suppress(OSError):  # of a pipe that nobody reads
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    run()
