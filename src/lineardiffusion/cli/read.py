"""``classify`` and ``info``: what a model reads in pictures, and what it is itself."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from lineardiffusion.cli.pictures import fit_picture, open_picture
from lineardiffusion.cli.program import answer, as_json, load, plain, progress, quiet
from lineardiffusion.io.model_file import read_configuration
from lineardiffusion.io.locate import locate

_BATCH = 1024  # pictures read at a time
_SHOWN = 20  # prompts that a person is shown


@click.command(short_help="Say what pictures show.")
@click.argument("model")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option("--resize", is_flag=True, help="Bring the pictures to the model's size.")
@quiet
@as_json
def classify(model: str, images: tuple[Path, ...], resize: bool, quiet: bool, json_: bool) -> None:
    """Say which prompt each IMAGE shows, and how probable that is: by Bayes' rule.

    A line a picture: the file, the prompt, its probability, with tabs between them. The pictures must be as
    those that the model was fitted on: to mnist, white ink on black.
    """
    ld = load(model)
    found = []
    with progress(len(images), "reading") as bar:
        for start in range(0, len(images), _BATCH):
            block = images[start : start + _BATCH]
            pixels = np.stack([fit_picture(open_picture(path), path, ld, resize) for path in block])
            chances = ld.classify_proba(pixels)
            best = chances.argmax(axis=1)
            for path, u, row in zip(block, best, chances, strict=True):
                found.append({"file": str(path), "prompt": str(ld.prompts_[u]), "probability": float(row[u])})
            bar.update(len(block))
    table = [(str(one["file"]), str(one["prompt"]), f"{one['probability']:.4f}") for one in found]
    answer(json_, found, "\n".join("\t".join(map(plain, line)) for line in table))


@click.command(short_help="Say what a model is.")
@click.argument("model")
@quiet
@as_json
def info(model: str, quiet: bool, json_: bool) -> None:
    """Say what MODEL is: its prompts, images, components, styles, parameters and size."""
    path = locate(model)
    ld, config = load(str(path.parent)), read_configuration(path)
    known = [str(prompt) for prompt in getattr(ld, "prompts_", ())]
    parameters = {name: str(value) if callable(value) else value for name, value in ld.get_params().items()}
    styles = {} if ld.n_styles < 2 else {prompt: len(weight) for prompt, (weight, _) in ld.styles_.items()}
    size, precision = path.stat().st_size, config["precision"]
    value = {
        "prompts": known,
        "image_shape": list(ld.image_shape_),
        "pixel_range": list(ld.pixel_range_),
        "pixel_dtype": str(ld.pixel_dtype_),
        "n_components": ld.n_components_,
        "styles": styles,
        "parameters": parameters,
        "bytes": size,
        "precision": precision,
    }
    shown = ", ".join(map(plain, known[:_SHOWN])) + (", ..." if len(known) > _SHOWN else "")
    low, high = ld.pixel_range_
    few, many = min(styles.values(), default=1), max(styles.values(), default=1)
    text = [
        f"prompts     {len(known)}: {shown}" if known else f"prompts     embeddings of {ld.n_features_in_}",
        f"images      {' x '.join(map(str, ld.image_shape_))}, {ld.pixel_dtype_} from {low:g} to {high:g}",
        f"components  {ld.n_components_}",
        f"styles      {few if few == many else f'{few} to {many}'} a prompt",
        f"parameters  {', '.join(f'{name}={value}' for name, value in parameters.items())}",
        f"size        {size / 1e6:.1f} MB in {precision} precision",
    ]
    answer(json_, value, "\n".join(text))
