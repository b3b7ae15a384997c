"""Predict the prompt of images: the command ``classify``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import lineardiffusion
from lineardiffusion.cli import common

_BATCH = 1024  # images read at a time


@common.command
@common.model_argument
@click.argument("images", nargs=-1, required=True, type=common.to_path, metavar="IMAGE...")
@common.resize_option
def classify(model: str, images: tuple[Path, ...], resize: bool) -> tuple[Any, str]:
    """Predict the most probable prompt of each IMAGE.

    The output has one line per image: file, prompt and posterior probability, separated by tabs. The images
    must look like the training images: for mnist, white digits on black.
    """
    from lineardiffusion.cli.pictures import pixels_for_model

    ld = lineardiffusion.LinearDiffusion.from_pretrained(model)
    value, lines = [], []
    with common.progress(len(images), "classifying") as advance:
        for start in range(0, len(images), _BATCH):
            block = images[start : start + _BATCH]
            probabilities = ld.classify_proba([pixels_for_model(path, ld, resize) for path in block])
            for path, row in zip(block, probabilities, strict=True):
                best = row.argmax()
                prompt, probability = str(ld.prompts_[best]), float(row[best])
                value.append({"file": str(path), "prompt": prompt, "probability": probability})
                lines.append(f"{common.printable(str(path))}\t{common.printable(prompt)}\t{probability:.4f}")
            advance(len(block))
    return value, "\n".join(lines)
