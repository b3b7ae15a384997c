"""Fit a model to DATA and save it: the command ``fit``.

Arrays that are in memory go to ``fit``. Image files go to ``fit_batches``, which opens each of them once in a pass;
the model is the same.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import lineardiffusion
from lineardiffusion.cli import common


def _to_size(text: str) -> tuple[int, int]:
    if not (match := re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text, re.IGNORECASE)):
        raise click.BadParameter(f"'{text}' is no size; expected pixels as 64, or WIDTHxHEIGHT as 64x48")
    return int(match[1]), int(match[2] or match[1])


def _either(expected: str, *types: click.ParamType[Any]) -> Callable[[Any], Any]:
    """Return the type of an option whose value the first of `types` converts that accepts it."""

    def convert(value: Any) -> Any:
        for one in types:
            with contextlib.suppress(click.BadParameter):
                return one.convert(value, None, None)
        raise click.BadParameter(f"'{value}' is not {expected}")

    return convert


CHECKPOINT_EVERY = 10  # batches

_AUTO = click.Choice(["auto"])
_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@common.command
@common.data_argument
@common.output_option(common.check_folder, "Folder for the model.")
@common.split_option
@click.option(
    "--resize",
    type=_to_size,
    metavar="SIZE",
    help="Resize all pictures to SIZE pixels: 64, or WIDTHxHEIGHT as 64x48. Proportions may change.",
)
@common.skip_bad_option
@click.option(
    "--n-components",
    type=_either("an integer of 1 or more, or a share between 0 and 1", click.IntRange(1), _SHARE),
    metavar="N|SHARE",
    default=144,
    help="Maximum number of components, or their share of the variance, as 0.95.",
)
@click.option(
    "--n-styles",
    type=_either("an integer of 1 or more, or auto", click.IntRange(1), _AUTO),
    metavar="N|auto",
    default=1,
    help="Number of styles (clusters) per prompt; auto: by the prompt's number of images.",
)
@click.option(
    "--style-rank",
    type=_either("a number above 0 and at most 1, or auto", click.FloatRange(0, 1, min_open=True), _AUTO),
    metavar="RANK|auto",
    default="auto",
    help="Directions that a style is drawn in, for each of its images; auto: as held-out images choose.",
)
@click.option(
    "--shrinkage",
    type=_either("a number from 0 to 1, or auto", click.FloatRange(0, 1), _AUTO),
    metavar="SHARE|auto",
    default="auto",
    help="Share of the covariance within all prompts in that of each: auto, or 0 (none) to 1.",
)
@click.option(
    "--contrast",
    type=click.Choice(["affine", "histogram", "pixelwise"]),
    help="Last step of decoding: match the mean and variance of the data's pixels, their histogram, or the mean "
    "and variance of each pixel of each style (the best pictures).",
)
@click.option("--scale", is_flag=True, help="Standardise each pixel before the PCA.")
@click.option(
    "--text-encoder",
    type=click.Choice(["onehot", "words", "positions"]),
    help="Embedding of a prompt: one symbol (the default), a bag of words, or words with their positions.",
)
@click.option(
    "--schedule",
    metavar="NAME",
    default="cosine",
    help="Noise schedule: cosine, flow, or vp and karras, which stop short of pure noise.",
)
@click.option("--seed", "random_state", type=click.IntRange(0), default=0, help="Seed of clustering into styles.")
@click.option("--max-memory", type=float, default=1.5e9, show_default="1.5e9", help="Maximum bytes of moments.")
@click.option(
    "--checkpoint",
    type=common.to_path,
    metavar="FILE.safetensors",
    help="File to write the sums to on the way; if it exists the fit goes on from there. Removed at the end.",
)
def fit(
    data: str,
    output: Path,
    split: str,
    resize: tuple[int, int] | None,
    skip_bad: bool,
    checkpoint: Path | None,
    **parameters: Any,
) -> tuple[Any, str]:
    """Fit a model to DATA and save it.

    DATA is a folder of IDX files, a folder with one subfolder of images per prompt, an .npz file with the
    arrays "images" and "prompts" (or "labels"), or one of the names digits, mnist and fashion-mnist. If a
    folder has the IDX files of several collections, DATA is FOLDER/COLLECTION.
    """
    from lineardiffusion.cli.source import open_source

    if checkpoint is not None:
        common.check_file(checkpoint, (".safetensors",))
    started = time.perf_counter()
    model = lineardiffusion.LinearDiffusion(**parameters)
    source = open_source(data, split, resize=resize, skip_bad=skip_bad)
    if source.streams or checkpoint is not None:
        with common.progress_of_passes(len(source), "fitting") as show:
            model.fit_batches(
                source.batches, progress=show, checkpoint=checkpoint, checkpoint_every=CHECKPOINT_EVERY
            )
    else:
        with common.progress(len(source), "fitting") as advance:
            model.fit(*source.take())
            advance(len(source))
    model.refit(random_state=None)  # the seed is that of the styles, not the default seed of images
    model.save_pretrained(output)
    seconds = time.perf_counter() - started
    shape, prompts = list(model.image_shape_), model.prompts_.tolist()
    size, count = " x ".join(map(str, shape)), common.counted(len(prompts), "prompt") + source.skipped_text
    summary = f"{output}: {common.counted(len(source), 'image')} of {size}, {count}, fitted in {seconds:.1f} s"
    value = {"model": str(output), "images": len(source), "skipped": source.skipped, "image_shape": shape}
    return {**value, "prompts": prompts, "seconds": round(seconds, 3)}, summary
