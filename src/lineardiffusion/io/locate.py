"""Where a model is: a folder, a model that ships with the library, or a repository on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from lineardiffusion.io import hub
from lineardiffusion.io.model_file import WEIGHTS

SHIPPED = Path(__file__).parent.parent / "pretrained"


def locate(name_or_path: str | Path, revision: str | None = None, token: str | None = None) -> Path:
    """Return the path of a model's file; see :meth:`lineardiffusion.LinearDiffusion.from_pretrained`."""
    folder, name, shipped = Path(name_or_path), str(name_or_path), shipped_models()
    if folder.name == WEIGHTS and folder.is_file():
        return folder
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    if name in shipped:
        return SHIPPED / name / WEIGHTS
    if folder.exists():
        raise FileNotFoundError(f"{folder} is no model: save_pretrained would have written {WEIGHTS} there")
    if isinstance(name_or_path, str) and hub.is_repository(name):
        return hub.pull(name, revision, token) / WEIGHTS
    raise FileNotFoundError(
        f"there is no folder {name!r}, nor a model of this name. Expected a folder that save_pretrained wrote, "
        '"owner/name" of a model on the Hugging Face Hub, or one that ships with the library: '
        f"{', '.join(map(repr, shipped)) or 'none in this version'}"
    )


def shipped_models() -> list[str]:
    """Return the names of the models that ship with the library."""
    return sorted(one.parent.name for one in SHIPPED.glob(f"*/{WEIGHTS}"))
