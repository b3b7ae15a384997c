"""The Hugging Face Hub: models to share, each with a card that is written from it.

A repository holds ``config.json``, ``model.safetensors`` and ``README.md``, the card. What is pulled is
checked like any file. The package ``huggingface_hub`` is an extra, imported here only, and only when asked.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lineardiffusion.files import CONFIG, WEIGHTS

CARD = "README.md"
SHOWN = 50  # prompts on a card
MISSING = {"RepositoryNotFoundError", "RevisionNotFoundError"}  # by name: versions have them in other modules


class Saved(Protocol):
    """What can be pushed."""

    image_shape_: tuple[int, ...]
    pixel_range_: tuple[float, float]
    pixel_dtype_: np.dtype[np.generic]

    def save_pretrained(self, path: str | Path, *, precision: str = "full") -> None: ...

    def get_params(self, deep: bool = True) -> dict[str, Any]: ...


def is_repository(name: str) -> bool:
    """Whether a string is of the form ``owner/name``."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII) is not None


def pull(repo_id: str, revision: str | None, token: str | None) -> Path:
    """Fetch a model's two files, of one revision; return their folder."""
    hub = _package(f"there is no folder {repo_id!r}, and to fetch a model from the Hugging Face Hub")
    files = [CONFIG, WEIGHTS]
    try:
        return Path(hub.snapshot_download(repo_id, revision=revision, token=token, allow_patterns=files))
    except Exception as error:
        if not {kind.__name__ for kind in type(error).__mro__} & MISSING:
            raise
        at = "" if revision is None else f" at {revision!r}"
        raise FileNotFoundError(
            f"there is no model {repo_id!r}{at} on the Hugging Face Hub, or it is private: check the name "
            "and the token"
        ) from error


def push(
    model: Saved,
    repo_id: str,
    private: bool,
    token: str | None,
    commit_message: str,
    license: str,
    precision: str,
) -> str:
    """Upload a model and its card in one commit; return the commit's address."""
    if not is_repository(repo_id):
        raise ValueError(f'repo_id must be "owner/name", got {repo_id!r}')
    text = card(model, repo_id, license)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, precision=precision)  # first: what cannot be saved makes no repository
        Path(folder, CARD).write_text(text, encoding="utf-8")
        hub = _package("to push a model to the Hugging Face Hub")
        hub.create_repo(repo_id, private=private, token=token, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=commit_message,
            token=token,
            allow_patterns=[CONFIG, WEIGHTS, CARD],
        )
    return str(done)


def card(model: Saved, repo_id: str, license: str = "mit") -> str:
    """The model card: what the Hub shows of a model, in Markdown with a head in YAML.

    Parameters
    ----------
    model : LinearDiffusion
        A fitted one.
    repo_id : str
        ``"owner/name"``.
    license : str, default="mit"
        The Hub's name of the licence.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        raise ValueError(f'license must be a name such as "mit" or "cc-by-4.0", got {license!r}')
    known = [str(prompt) for prompt in getattr(model, "prompts_", [])]
    task = ["pipeline_tag: text-to-image"] if known else []
    if known:
        shown = known[:SHOWN]
        more = f"\n\nand {len(known) - SHOWN} more." if len(known) > SHOWN else ""
        heading = f"It knows {len(known)} prompt{'s' * (len(known) > 1)}:"
        prompts = f"{heading}\n\n    {json.dumps(shown, ensure_ascii=False)}{more}"
        example = json.dumps(known[:2], ensure_ascii=False)
    else:
        size = model.n_features_in_  # type: ignore[attr-defined]
        prompts, example = f"Its prompts are embeddings: arrays of shape (n, {size}).", "embeddings"
    low, high = model.pixel_range_
    parameters = "\n".join(f"    {name} = {value!r}" for name, value in model.get_params(deep=False).items())
    head = ["---", "library_name: lineardiffusion", f"license: {license}", *task, "tags:"]
    tags = ["lineardiffusion", "diffusion", "image-generation", "closed-form"]
    return f"""{chr(10).join([*head, *(f"- {tag}" for tag in tags), "---"])}

# {repo_id.split("/")[-1]}

A diffusion model whose every learned part is linear: it was fitted in closed form, is sampled exactly, and
the law of what it draws is known. It is a scikit-learn estimator.

## Use

    pip install "linear-diffusion[hub]"

    from lineardiffusion import LinearDiffusion

    ld = LinearDiffusion.from_pretrained({json.dumps(repo_id)})
    images = ld.predict({example}, seed=137)

## Prompts

{prompts}

## Images

Shape {model.image_shape_}, pixels from {low:g} to {high:g}, trained on {model.pixel_dtype_}.

## Parameters

{parameters}

`config.json` has the parameters and what the arrays are; `model.safetensors` has the arrays: statistics of
the training data (weight, mean and scatter of each prompt), not the images. Nothing is pickled.
"""


def _package(purpose: str) -> Any:
    """huggingface_hub, or a word on how to get it."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f'{purpose} needs the package huggingface_hub: pip install "linear-diffusion[hub]"'
        ) from error
    return huggingface_hub
