"""``fit``: from DATA to MODEL.

Arrays that are in memory anyway go to ``fit``. Image files are a stream: ``partial_fit`` sees each once, and
with styles ``partial_fit_styles`` once more; the model is the same. Only where the moments of every prompt in
pixel space are too large for a stream are the files read into memory and given to ``fit``, which has a way
around that.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from lineardiffusion import LinearDiffusion
from lineardiffusion.cli.program import (
    answer,
    as_json,
    check_writable,
    counted,
    note,
    output_option,
    progress,
    quiet,
)
from lineardiffusion.cli.source import SPLITS, Source, open_source
from lineardiffusion.statistics.moments import Moments


@click.command(context_settings={"show_default": True}, short_help="Learn a model, and save it.")
@click.argument("data")
@output_option("Folder for the model.")
@click.option("--split", type=click.Choice(SPLITS), default="train", help="Of data that comes in parts.")
@click.option("--n-components", type=click.IntRange(1), default=144, help="Entries of a latent at most.")
@click.option("--n-styles", type=click.IntRange(1), default=1, help="Styles a prompt.")
@click.option(
    "--contrast",
    type=click.Choice(["none", "affine", "histogram"]),
    default="none",
    help="Ends the picture: gives its pixels the data's mean and variance, or histogram.",
)
@click.option("--scale", is_flag=True, help="Standardise each pixel before the PCA.")
@click.option(
    "--text-encoder",
    type=click.Choice(["onehot", "words", "positions"]),
    default="onehot",
    help="A prompt is a symbol, a bag of words, or words in places.",
)
@click.option(
    "--schedule",
    type=click.Choice(["cosine", "vp", "karras", "flow"]),
    default="cosine",
    help="Of signal and noise.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the k-means that finds the styles.")
@click.option(
    "--max-memory", type=click.FloatRange(0, min_open=True), default=1.5e9, help="Bytes of moments."
)
@quiet
@as_json
def fit(
    data: str,
    output: Path,
    split: str,
    n_components: int,
    n_styles: int,
    contrast: str,
    scale: bool,
    text_encoder: str,
    schedule: str,
    seed: int,
    max_memory: float,
    quiet: bool,
    json_: bool,
) -> None:
    """Learn a model from DATA, and save it to a folder.

    DATA is a folder of IDX files, a folder with one folder of images a prompt, an .npz file with the arrays
    images and prompts (or labels), or one of the names digits, mnist and fashion-mnist.
    """
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"'{output}' is a file; -o takes the folder that the model goes to")
    if not max_memory < float("inf"):
        raise click.UsageError("--max-memory must be a number of bytes")
    check_writable(output)
    started = time.perf_counter()
    model = LinearDiffusion(
        n_components,
        n_styles=n_styles,
        contrast=None if contrast == "none" else contrast,
        scale=scale,
        text_encoder=None if text_encoder == "onehot" else text_encoder,
        schedule=schedule,
        max_memory=max_memory,
    )
    source = open_source(data, split)
    learn(model, source, seed)
    model.save_pretrained(output)
    seconds = time.perf_counter() - started
    n, size = len(source), " x ".join(map(str, model.image_shape_))
    value: dict[str, Any] = {
        "model": str(output),
        "images": n,
        "image_shape": list(model.image_shape_),
        "prompts": model.prompts_.tolist(),
        "seconds": round(seconds, 3),
    }
    under = counted(len(model.prompts_), "prompt")
    text = f"{output}: {counted(n, 'image')} of {size} under {under}, fitted in {seconds:.1f} s"
    answer(json_, value, "" if quiet else text)


def learn(model: LinearDiffusion, source: Source, seed: int) -> None:
    """Fit the model; `seed` is that of the styles, and not kept as the seed of pictures."""
    model.set_params(random_state=seed)
    first = source.read(source.order()[:1])
    streams = source.streams and Moments.nbytes(len(source.words), first[0].size) <= model.max_memory
    if source.streams and not streams:
        note("these images are too large for a stream: reading all of them into memory")
    passes = 2 if model.n_styles > 1 and streams else 1
    with progress(passes * len(source), "fitting") as bar:
        if streams:
            for add in (model.partial_fit, model.partial_fit_styles)[:passes]:
                for prompts, images in source.batches():
                    add(prompts, images)
                    bar.update(len(prompts))
        else:
            model.fit(*source.some())
            bar.update(len(source))
    model.set_params(random_state=None)
    _ = model.n_components_  # solved, so that what cannot be solved is not saved
