"""Print the lower bounds of the dependencies as pip constraints: ``numpy>=2.0`` becomes ``numpy==2.0``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def main() -> None:
    for requirement in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]:
        if bound := re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement):
            print(f"{bound[1]}=={bound[2]}")


if __name__ == "__main__":
    main()
