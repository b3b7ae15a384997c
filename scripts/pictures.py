"""Draw the pictures of the README and of the documentation again: ``python scripts/pictures.py [NAME ...]``.

A picture is one figure of an example of the gallery, or several below each other. Each example runs once, and the
pictures are written to docs/images. Without a name all are drawn, which takes minutes. An example whose optional
dependency is missing is left out. The pictures in `MEASURED` are drawn by benchmarks, with the tables that they
show.
"""

from __future__ import annotations

import argparse
import io
import os
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parent.parent
GALLERY, IMAGES = ROOT / "examples" / "gallery", ROOT / "docs" / "images"
DPI = 100
os.environ["MPLBACKEND"] = "agg"  # no example opens a window
# picture: example, and its variables
PICTURES: dict[str, tuple[str, ...]] = {
    "adjectives.png": ("words/plot_adjectives.py", "figure"),
    "ambiguous.png": ("complete/plot_ambiguous.py", "figure"),
    "completions.png": ("complete/plot_completions.py", "figure"),
    "guidance.png": ("words/plot_guidance.py", "figure_variance", "figure"),
    "hand.png": ("complete/plot_hand.py", "figure"),
    "oracle.png": ("samplers/plot_oracle.py", "figure"),
    "pairs.png": ("words/plot_pairs.py", "figure"),
    "posteriors.png": ("complete/plot_posteriors.py", "figure"),
    "restoration.png": ("complete/plot_restoration.py", "figure"),
    "styles.png": ("draw/plot_digits.py", "figure_styles"),
    "swiss_roll.png": ("draw/plot_swiss_roll.py", "figure"),
}
MEASURED = {
    "optimal_times.png": "benchmarks/grids.py docs/images/optimal_times.png",
    "photos.png": "benchmarks/photos.py",
    "published.png": "benchmarks/published.py",
    "race.png": "benchmarks/race.py",
    "scale.png": "benchmarks/scale.py",
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(sorted({Path(p).stem for p in PICTURES})))
    parser.add_argument("-o", "--output", type=Path, default=IMAGES, help="folder (default: docs/images)")
    given = parser.parse_args(arguments)
    for name in given.names:
        if name in (stems := {Path(file).stem: command for file, command in MEASURED.items()}):
            parser.error(f"{name} is drawn by a benchmark: python {stems[name]}")
        if name not in {Path(file).stem for file in PICTURES}:
            parser.error(
                f"unknown picture {name!r}; there are {', '.join(sorted({Path(p).stem for p in PICTURES}))}"
            )
    wanted = [file for file in PICTURES if not given.names or Path(file).stem in given.names]
    given.output.mkdir(parents=True, exist_ok=True)
    missing = []
    for example in dict.fromkeys(PICTURES[file][0] for file in wanted):
        try:
            variables = runpy.run_path(str(GALLERY / example))
        except ImportError as error:
            missing.append(f"{example} is left out: {error}")
            continue
        for file in wanted:
            if PICTURES[file][0] == example:
                save([variables[name] for name in PICTURES[file][1:]], given.output / file)
                print(f"{example}: {given.output / file}", flush=True)
    if missing:
        parser.exit(1, "\n".join([*missing, ""]))


def save(shown: list[Any], path: Path) -> None:
    """Write figures below each other."""
    pictures = []
    for figure in shown:
        figure.savefig(buffer := io.BytesIO(), dpi=DPI)
        pictures.append(Image.open(buffer).convert("RGB"))
    whole = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        whole.paste(picture, ((whole.width - picture.width) // 2, top))
        top += picture.height
    whole.save(path, optimize=True)


if __name__ == "__main__":
    main()
