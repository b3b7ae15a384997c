"""Draw images from prompts: the command ``sample``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click

import lineardiffusion
from lineardiffusion.cli import common

_BATCH = 512  # images drawn at a time


class _File(click.File):
    """A text file, in whose name ~ is the home folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(os.path.expanduser(value), param, ctx)


def _read_prompts(ctx: click.Context, param: click.Parameter, file: TextIO | None) -> list[str]:
    if file is None:
        return []
    try:
        prompts = [line.strip() for line in file if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"'{file.name}' is not UTF-8 text: {error.reason} at byte {error.start}") from error
    if not prompts:
        raise ValueError(f"'{file.name}' contains no prompts; expected one per line")
    return prompts


@common.command
@common.model_argument
@click.argument("prompts", nargs=-1, metavar="PROMPT...")
@common.pictures_option
@click.option("-n", "count", type=click.IntRange(1, 10**6), default=1, help="Number of images per prompt.")
@click.option("--seed", "seeds", type=click.IntRange(0), multiple=True, help="Random seed; may be repeated.")
@click.option(
    "--prompts-file",
    type=_File(encoding="utf-8-sig"),
    callback=_read_prompts,
    help="File with more prompts, one per line (- for standard input).",
)
@click.option("--sampler", metavar="NAME", help="Name of a sampler, such as ddim, or package.module:function.")
@click.option("--num-steps", type=click.IntRange(1, 10**7), help="Number of sampling steps; exact ignores it.")
@click.option("--guidance-scale", type=float, help="Strength of the prompt; 1 means no guidance.")
@common.zoom_option
def sample(
    model: str,
    prompts: tuple[str, ...],
    output: Path,
    count: int,
    seeds: tuple[int, ...],
    prompts_file: list[str],
    zoom: int,
    **options: Any,
) -> tuple[Any, str]:
    """Draw images from PROMPTs. In a grid, each prompt is a row and each seed a column.

    The same model, prompt and seed always give the same image. Without --seed, a random seed is used. With -n,
    the images of a prompt have consecutive seeds. The defaults of --sampler, --num-steps and --guidance-scale
    are the model's settings. Every file records its prompt, seed and settings in its PNG text chunks.

    A folder gets one subfolder per prompt, as fit reads it. If there is one prompt and the folder already has
    its name, the images are written into the folder itself.
    """
    from lineardiffusion.cli.pictures import file_name, write_pictures

    if not [*prompts, *prompts_file]:
        raise click.UsageError("there are no prompts: give PROMPT or --prompts-file")
    seeds = seeds or (secrets.randbelow(2**31),)
    columns = list(dict.fromkeys(seed + i for seed in seeds for i in range(count)))
    sampler = common.import_if_path(options["sampler"])
    ld = lineardiffusion.LinearDiffusion.from_pretrained(model)
    rows = list(dict.fromkeys(common.known_spelling(prompt, ld) for prompt in [*prompts, *prompts_file]))
    settings = {name: getattr(ld, name) if value is None else value for name, value in options.items()}
    jobs = [(prompt, seed) for prompt in rows for seed in columns]
    pictures = _draw(ld, jobs, {**options, "sampler": sampler})
    own = {prompt: file_name(prompt) for prompt in rows}
    flat = [output.absolute().name] == list(own.values())
    paths = {prompt: name if flat else f"{name}/{name}" for prompt, name in own.items()}
    names = ((f"{paths[prompt]}-{seed}", {"prompt": prompt, "seed": seed}) for prompt, seed in jobs)
    grid: dict[str, list[Any]] = {"prompts": rows, "seeds": columns}
    files = write_pictures(output, pictures, names, grid, len(columns), settings, ld, zoom)
    count_text = f"{common.counted(len(jobs), 'image')} from {common.counted(len(rows), 'prompt')}"
    return {"files": files, **settings}, f"{output}: {count_text}, first seed {columns[0]}"


def _draw(model: Any, jobs: list[tuple[str, int]], options: dict[str, Any]) -> Iterator[Any]:
    """Yield the picture of each prompt and seed; draw them in batches to bound the memory."""
    with common.progress(len(jobs), "sampling") as advance:
        for start in range(0, len(jobs), _BATCH):
            prompts, seeds = map(list, zip(*jobs[start : start + _BATCH], strict=True))
            yield from model.predict(prompts, seed=seeds, output_type="pil", **options)
            advance(len(prompts))
