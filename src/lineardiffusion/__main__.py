"""Run the command line as ``python -m lineardiffusion``."""

from lineardiffusion.cli import main

if __name__ == "__main__":
    main()
