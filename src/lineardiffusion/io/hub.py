"""The Hugging Face Hub: models to share, each with a model card that is written from it.

A repository holds ``model.safetensors``, ``config.json`` and ``README.md``, the card. A model that is pulled is
checked like any file. The package ``huggingface_hub`` is an extra, imported only here and only when needed.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from lineardiffusion.io.model_file import CONFIG, WEIGHTS

SHOWN = 50  # prompts on a card


def is_repository(name: str) -> bool:
    """Return whether a string has the form ``owner/name``."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII) is not None


def pull(repo_id: str, revision: str | None, token: str | None) -> Path:
    """Download a model of one revision; return its folder."""
    hub = _package(f"there is no folder {repo_id!r}, and downloading a model from the Hugging Face Hub")
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(
            hub.snapshot_download(repo_id, revision=revision, token=token, allow_patterns=[CONFIG, WEIGHTS])
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        at = "" if revision is None else f" at {revision!r}"
        raise FileNotFoundError(
            f"there is no model {repo_id!r}{at} on the Hugging Face Hub, or it is private: check the name and "
            "the token"
        ) from error


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
        model.save_pretrained(folder, precision=precision)  # before a repository is made
        card(model, repo_id, license).save(Path(folder, "README.md"))
        hub.create_repo(repo_id, private=private, token=token, exist_ok=True)
        return str(
            hub.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=commit_message, token=token,
                allow_patterns=[CONFIG, WEIGHTS, "README.md"],
            )
        )  # fmt: skip


def card(model: Any, repo_id: str, license: str = "mit") -> Any:
    """Write the model card.

    Parameters
    ----------
    model : LinearDiffusion
        A fitted model.
    repo_id : str
        ``"owner/name"``.
    license : str, default="mit"
        Name of the license on the Hub.

    Returns
    -------
    huggingface_hub.ModelCard
    """
    hub = _package("writing a model card")
    known = [str(prompt) for prompt in getattr(model, "prompts_", [])]
    data = hub.ModelCardData(
        license=license,
        library_name="lineardiffusion",
        pipeline_tag="text-to-image" if known else None,
        tags=["lineardiffusion", "diffusion", "image-generation", "closed-form"],
    )
    if known:
        more = f"\n\nand {len(known) - SHOWN} more." if len(known) > SHOWN else ""
        prompts = f"    {json.dumps(known[:SHOWN], ensure_ascii=False)}{more}"
        example = json.dumps(known[:2], ensure_ascii=False)
    else:
        prompts, example = f"Embeddings: arrays of shape (n, {model.n_features_in_}).", "embeddings"
    low, high = model.pixel_range_
    parameters = "\n".join(f"    {name} = {value!r}" for name, value in model.get_params(deep=False).items())
    return hub.ModelCard(f"""---
{data.to_yaml()}
---

# {repo_id.split("/")[-1]}

A diffusion model whose every learned part is linear: fitted in closed form, sampled exactly, and the law of
what it generates is known. It is a scikit-learn estimator.

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

`model.safetensors` holds statistics of the training data (weight, mean and scatter of each prompt), not the
images. Nothing is pickled.
""")


def _package(purpose: str) -> Any:
    """Import huggingface_hub, or say how to install it."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f'{purpose} needs the package huggingface_hub: pip install "linear-diffusion[hub]"'
        ) from error
    return huggingface_hub
