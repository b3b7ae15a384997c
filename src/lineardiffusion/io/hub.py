"""The Hugging Face Hub: models to share, each with a model card that is written from its configuration.

A model that is pulled is checked like any file. ``huggingface_hub`` is an extra, imported only when needed.
"""

from __future__ import annotations

import json
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from lineardiffusion.io.model_file import CONFIG, WEIGHTS, read_configuration

SHOWN = 50  # prompts on a card
_text = partial(json.dumps, ensure_ascii=False)


def is_repository(name: str) -> bool:
    """Return whether a string has the form ``owner/name``."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII) is not None


def pull(repo_id: str, revision: str | None, token: str | None) -> Path:
    """Download a model of one revision; return its folder."""
    hub = _package(f"there is no folder {repo_id!r}, and downloading a model from the Hugging Face Hub")
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        folder = hub.snapshot_download(repo_id, revision=revision, token=token, allow_patterns=[CONFIG, WEIGHTS])
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        name = repr(repo_id) if revision is None else f"{repo_id!r} at {revision!r}"
        raise FileNotFoundError(f"the Hub has no model {name}, or it is private: check name and token") from error
    return Path(folder)


def push(
    model: Any,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    commit_message: str = "Upload a lineardiffusion model",
    license: str = "mit",
    precision: str = "full",
) -> str:
    """Upload a fitted model and its card in one commit; return the address of the commit."""
    if not is_repository(repo_id):
        raise ValueError(f'repo_id must be "owner/name", got {repo_id!r}')
    hub = _package("pushing a model to the Hugging Face Hub")
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, precision=precision)  # an error here leaves no empty repository
        card(read_configuration(Path(folder, WEIGHTS)), repo_id, license).save(Path(folder, "README.md"))
        hub.create_repo(repo_id, private=private, token=token, exist_ok=True)
        options = {"commit_message": commit_message, "token": token}
        return str(hub.upload_folder(repo_id=repo_id, folder_path=folder, **options).commit_url)


def card(config: dict[str, Any], repo_id: str, license: str = "mit") -> Any:
    """Write the model card, a ``huggingface_hub.ModelCard``, from the configuration in the model's file."""
    hub = _package("writing a model card")
    known: list[str] = config["prompts"]
    tags = ["lineardiffusion", "diffusion", "image-generation", "closed-form"]
    task = "text-to-image" if known else None
    data = hub.ModelCardData(license=license, library_name="lineardiffusion", pipeline_tag=task, tags=tags)
    more = f"\n\nand {len(known) - SHOWN} more." if len(known) > SHOWN else ""
    prompts, example = f"{len(known)} prompts:\n\n    {_text(known[:SHOWN])}{more}", _text(known[:2])
    if not known:
        prompts, example = f"Embeddings: arrays of shape (n, {config['embedding']['size']}).", "embeddings"
    parameters = "\n".join(f"    {name} = {value!r}" for name, value in config["parameters"].items())
    return hub.ModelCard(f"""---
{data.to_yaml()}
---
# {repo_id.split("/")[-1]}

A diffusion model whose every learned part is linear, fitted in closed form and sampled exactly.
Shape {tuple(config["image_shape"])}, pixel range {config["pixel_range"]}, trained on {config["pixel_dtype"]}.

    from lineardiffusion import LinearDiffusion  # pip install "linear-diffusion[hub]"

    ld = LinearDiffusion.from_pretrained({_text(repo_id)})
    images = ld.predict({example}, seed=137)

{prompts}

{parameters}

`{WEIGHTS}` holds statistics of the training data (weight, mean and scatter of each prompt), not the images.
""")


def _package(purpose: str) -> Any:
    """Import huggingface_hub, or say how to install it."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(f'{purpose} needs huggingface_hub: pip install "linear-diffusion[hub]"') from error
    return huggingface_hub
