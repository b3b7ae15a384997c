"""Predict the prompt of images: the command ``classify``."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

import lineardiffusion
from lineardiffusion.cli.console import json_option, print_result, printable, progress, quiet_option
from lineardiffusion.cli.options import resize_option
from lineardiffusion.cli.pictures import pixels_for_model

_BATCH = 1024  # images read at a time


@click.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@resize_option
@quiet_option
@json_option
def classify(model: str, images: tuple[Path, ...], resize: bool, quiet: bool, as_json: bool) -> None:
    """Predict the most probable prompt of each IMAGE by Bayes' rule.

    The output has one line per image: file, prompt and posterior probability, separated by tabs. The images
    must look like the training images: for mnist, white digits on black.
    """
    ld = lineardiffusion.LinearDiffusion.from_pretrained(model)
    results = []
    with progress(len(images), "classifying") as advance:
        for start in range(0, len(images), _BATCH):
            block = images[start : start + _BATCH]
            probabilities = ld.classify_proba(np.stack([pixels_for_model(path, ld, resize) for path in block]))
            for path, row in zip(block, probabilities, strict=True):
                best = row.argmax()
                results.append((str(path), str(ld.prompts_[best]), float(row[best])))
            advance(len(block))
    value = [{"file": file, "prompt": prompt, "probability": p} for file, prompt, p in results]
    lines = [f"{printable(file)}\t{printable(prompt)}\t{p:.4f}" for file, prompt, p in results]
    print_result(value, "\n".join(lines), as_json)
