"""Draw images from prompts: the command ``sample``."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

import lineardiffusion
from lineardiffusion.cli.console import counted, json_option, print_result, progress, quiet_option
from lineardiffusion.cli.options import import_if_path, pictures_option, zoom_option

if TYPE_CHECKING:
    from PIL.Image import Image

_BATCH = 512  # images drawn at a time
_MAX_COUNT = 10**6  # images per prompt
_MAX_NAME = 100  # bytes of a file's name that come from the prompt


@click.command()
@click.argument("model")
@click.argument("prompts", nargs=-1, metavar="PROMPT...")
@pictures_option
@click.option(
    "-n",
    "count",
    type=click.IntRange(1, _MAX_COUNT),
    default=1,
    help="Number of images per prompt; each uses the next seed.",
)
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0),
    multiple=True,
    help="Random seed (default: a fresh one); may be given several times.",
)
@click.option(
    "--prompts-file",
    type=click.File(encoding="utf-8-sig"),
    help="File with more prompts, one per line (- for standard input).",
)
@click.option(
    "--sampler",
    metavar="NAME",
    help="Sampler to use, such as exact or ddim, or your own function, given as package.module:function "
    "(default: the model's setting).",
)
@click.option(
    "--num-steps",
    type=click.IntRange(1, 10**7),
    help="Number of sampling steps (default: the model's setting). The exact sampler ignores it.",
)
@click.option(
    "--guidance-scale",
    type=float,
    help="Strength of the prompt; 1 means no guidance (default: the model's setting).",
)
@zoom_option
@quiet_option
@json_option
def sample(
    model: str,
    prompts: tuple[str, ...],
    output: Path,
    count: int,
    seeds: tuple[int, ...],
    prompts_file: TextIO | None,
    zoom: int,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw images from PROMPTs. In a grid, each prompt is a row and each seed a column.

    The same model, prompt and seed always give the same image. Without --seed, a random seed is used. Every
    file records its prompt, seed and settings in its PNG text chunks.
    """
    from lineardiffusion.cli.pictures import is_grid_file, make_grid, write_png  # slow: imports Pillow

    as_grid = is_grid_file(output)
    rows = list(dict.fromkeys([*prompts, *(_read_prompts(prompts_file) if prompts_file else ())]))
    if not rows:
        raise click.UsageError("there are no prompts: give PROMPT or --prompts-file")
    seeds = seeds or (secrets.randbelow(2**31),)
    columns = list(dict.fromkeys(seed + i for seed in seeds for i in range(count)))
    sampler = import_if_path(options["sampler"])

    ld = lineardiffusion.LinearDiffusion.from_pretrained(model)
    settings = {name: getattr(ld, name) if value is None else value for name, value in options.items()}
    jobs = [(prompt, seed) for prompt in rows for seed in columns]
    pictures = _draw(ld, jobs, {**options, "sampler": sampler})
    if as_grid:
        text = {"prompt": "\n".join(rows), "seed": " ".join(map(str, columns)), **settings}
        write_png(output, make_grid(list(pictures), len(columns)), ld, text, zoom)
        files: list[dict[str, Any]] = [{"file": str(output), "prompts": rows, "seeds": columns}]
    else:
        files = []
        for (prompt, seed), picture in zip(jobs, pictures, strict=True):
            path = output / f"{_file_name(prompt)}-{seed}.png"
            write_png(path, picture, ld, {"prompt": prompt, "seed": seed, **settings}, zoom)
            files.append({"file": str(path), "prompt": prompt, "seed": seed})
    count_text = f"{counted(len(jobs), 'image')} from {counted(len(rows), 'prompt')}"
    summary = f"{output}: {count_text}, first seed {columns[0]}"
    print_result({"files": files, **settings}, "" if quiet else summary, as_json)


def _draw(
    model: lineardiffusion.LinearDiffusion, jobs: list[tuple[str, int]], options: dict[str, Any]
) -> Iterator[Image]:
    """Yield the picture of each prompt and seed; draw them in batches to bound the memory."""
    with progress(len(jobs), "sampling") as advance:
        for start in range(0, len(jobs), _BATCH):
            prompts, seeds = map(list, zip(*jobs[start : start + _BATCH], strict=True))
            yield from model.predict(prompts, seed=seeds, output_type="pil", **options)
            advance(len(prompts))


def _read_prompts(file: TextIO) -> list[str]:
    try:
        prompts = [line.strip() for line in file if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"'{file.name}' is not UTF-8 text: {error.reason} at byte {error.start}") from error
    if not prompts:
        raise ValueError(f"'{file.name}' contains no prompts; expected one per line")
    return prompts


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
