"""Draw images from prompts: the command ``sample``."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import secrets
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click

import lineardiffusion
from lineardiffusion.cli.common import command, counted, pictures_option, progress, zoom_option

_BATCH = 512  # images drawn at a time
_MAX_NAME = 100  # bytes of a file's name that come from the prompt


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


@command
@click.argument("model")
@click.argument("prompts", nargs=-1, metavar="PROMPT...")
@pictures_option
@click.option("-n", "count", type=click.IntRange(1, 10**6), default=1, help="Number of images per prompt.")
@click.option("--seed", "seeds", type=click.IntRange(0), multiple=True, help="Random seed; may be repeated.")
@click.option(
    "--prompts-file",
    type=click.File(encoding="utf-8-sig"),
    callback=_read_prompts,
    help="File with more prompts, one per line (- for standard input).",
)
@click.option("--sampler", metavar="NAME", help="Name of a sampler, such as ddim, or package.module:function.")
@click.option("--num-steps", type=click.IntRange(1, 10**7), help="Number of sampling steps; exact ignores it.")
@click.option("--guidance-scale", type=float, help="Strength of the prompt; 1 means no guidance.")
@zoom_option
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
    """
    from lineardiffusion.cli.pictures import write_pictures

    rows = list(dict.fromkeys([*prompts, *prompts_file]))
    if not rows:
        raise click.UsageError("there are no prompts: give PROMPT or --prompts-file")
    seeds = seeds or (secrets.randbelow(2**31),)
    columns = list(dict.fromkeys(seed + i for seed in seeds for i in range(count)))
    sampler = import_if_path(options["sampler"])
    ld = lineardiffusion.LinearDiffusion.from_pretrained(model)
    settings = {name: getattr(ld, name) if value is None else value for name, value in options.items()}
    jobs = [(prompt, seed) for prompt in rows for seed in columns]
    pictures = _draw(ld, jobs, {**options, "sampler": sampler})
    names = ((f"{_file_name(prompt)}-{seed}", {"prompt": prompt, "seed": seed}) for prompt, seed in jobs)
    grid: dict[str, list[Any]] = {"prompts": rows, "seeds": columns}
    files = write_pictures(output, pictures, names, grid, len(columns), settings, ld, zoom)
    count_text = f"{counted(len(jobs), 'image')} from {counted(len(rows), 'prompt')}"
    return {"files": files, **settings}, f"{output}: {count_text}, first seed {columns[0]}"


def _draw(model: Any, jobs: list[tuple[str, int]], options: dict[str, Any]) -> Iterator[Any]:
    """Yield the picture of each prompt and seed; draw them in batches to bound the memory."""
    with progress(len(jobs), "sampling") as advance:
        for start in range(0, len(jobs), _BATCH):
            prompts, seeds = map(list, zip(*jobs[start : start + _BATCH], strict=True))
            yield from model.predict(prompts, seed=seeds, output_type="pil", **options)
            advance(len(prompts))


def import_if_path(name: str | None) -> Any:
    """Import the function that ``package.module:function`` names; return any other name unchanged.

    The working directory is searched first, then ``sys.path``. The library checks the other names.
    """
    if name is None or ":" not in name:
        return name
    module, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise ValueError(f"cannot import '{name}': {type(error).__name__}: {error}") from error
    if not callable(function):
        raise ValueError(f"'{name}' is not a function")
    return function


def _file_name(prompt: str) -> str:
    """Return a file name for `prompt` that every file system accepts and that no other prompt has.

    A prompt in lower case that is a valid file name is used as it is. For every other prompt, forbidden
    characters are replaced and a hash of the prompt is appended.
    """
    plain = re.sub(r"[^\w .~+-]+", "_", prompt).strip(" .-")  # no folder, hidden file or option
    name = unicodedata.normalize("NFC", plain).encode()[:_MAX_NAME].decode(errors="ignore")
    if name and name == prompt == prompt.casefold() and not re.search(r"-[0-9a-f]{8}$", name):
        return name
    return f"{name or '_'}-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}"
