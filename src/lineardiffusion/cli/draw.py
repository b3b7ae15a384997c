"""``sample`` and ``inpaint``: pictures out of a model, as PNG files that say how they came about."""

from __future__ import annotations

import hashlib
import re
import secrets
import sys
import unicodedata
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from lineardiffusion import LinearDiffusion
from lineardiffusion.cli.pictures import SUFFIXES, at_size, fit_picture, grey, open_picture, sheet, write_png
from lineardiffusion.cli.program import (
    answer,
    as_json,
    check_writable,
    counted,
    load,
    output_option,
    progress,
    quiet,
)
from lineardiffusion._pictures import to_pil

_SAMPLERS = ["exact", "ddim", "ddpm", "euler", "heun", "dpm++2m", "one_step"]
_BATCH = 512  # pictures drawn at a time
_MOST = 10**6  # pictures of a prompt
_LONGEST = 100  # bytes of a file's name that are the prompt's

to_files = output_option("A file .png for one sheet, or a folder for one file a picture.")
zoom = click.option(
    "--zoom", type=click.IntRange(1, 64), default=1, help="Pixels of a file for each of an image."
)


@click.command(short_help="Draw pictures under prompts.")
@click.argument("model")
@click.argument("prompts", nargs=-1, metavar="PROMPT...")
@to_files
@click.option("-n", "count", type=click.IntRange(1, _MOST), help="Pictures a prompt, of seeds that count up.")
@click.option("--seed", "seeds", type=click.IntRange(0), multiple=True, help="Again for several pictures.")
@click.option(
    "--prompts-file", type=click.Path(path_type=Path), help="More prompts, one a line; - for standard input."
)
@click.option("--sampler", type=click.Choice(_SAMPLERS), help="Else the model's own, as the next two.")
@click.option("--num-steps", type=click.IntRange(1, 10**7), help="Steps of the sampler; exact needs none.")
@click.option("--guidance-scale", type=float, help="1 for the prompt's own law, more for a stronger prompt.")
@zoom
@quiet
@as_json
def sample(
    model: str,
    prompts: tuple[str, ...],
    output: Path,
    count: int | None,
    seeds: tuple[int, ...],
    prompts_file: Path | None,
    sampler: str | None,
    num_steps: int | None,
    guidance_scale: float | None,
    zoom: int,
    quiet: bool,
    json_: bool,
) -> None:
    """Draw pictures under PROMPTs: a row a prompt, a column a seed.

    MODEL is a folder, or the name of a model that comes with the library: mnist. The picture of a prompt and
    a seed is always the same, in any company. Without --seed one is drawn; every file says which it was.
    """
    if count is not None and len(seeds) > 1:
        raise click.UsageError("-n counts up from one --seed; give several seeds, or -n, not both")
    is_file = _is_file(output)
    every = [*prompts, *([] if prompts_file is None else _lines(prompts_file))]
    if not every:
        raise click.UsageError("no prompts: name some, or give --prompts-file")
    every = list(dict.fromkeys(every))  # a prompt given twice is the same picture
    first = seeds[0] if seeds else secrets.randbelow(2**31)
    columns = list(dict.fromkeys(seeds)) if len(seeds) > 1 else [first + i for i in range(count or 1)]

    ld = load(model)
    settings: dict[str, Any] = {"sampler": sampler, "num_steps": num_steps, "guidance_scale": guidance_scale}
    said = {name: getattr(ld, name) if value is None else value for name, value in settings.items()}
    jobs = [(prompt, seed) for prompt in every for seed in columns]
    pictures: list[Image.Image] = []
    files: list[dict[str, Any]] = []
    with progress(len(jobs), "drawing") as bar:
        for start in range(0, len(jobs), _BATCH):
            block = jobs[start : start + _BATCH]
            drawn = ld.predict(
                [prompt for prompt, _ in block],
                seed=[seed for _, seed in block],
                output_type="pil",
                **settings,
            )
            if is_file:
                pictures += drawn
            else:
                output.mkdir(parents=True, exist_ok=True)
                for (prompt, seed), picture in zip(block, drawn, strict=True):
                    path = output / f"{_file_name(prompt)}-{seed}.png"
                    write_png(path, picture, ld, {"prompt": prompt, "seed": seed, **said}, zoom)
                    files.append({"file": str(path), "prompt": prompt, "seed": seed})
            bar.update(len(block))
    if is_file:
        rows = [pictures[i : i + len(columns)] for i in range(0, len(jobs), len(columns))]
        about = {"prompt": "\n".join(every), "seed": " ".join(map(str, columns))}
        write_png(output, sheet(rows), ld, {**about, **said}, zoom)
        files = [{"file": str(output), "prompts": every, "seeds": columns}]
    many = f"{counted(len(every), 'prompt')}, {counted(len(columns), 'picture')} each"
    what = f"{output}: {many}, from seed {columns[0]}"
    answer(json_, {"files": files, **said}, "" if quiet else what)


@click.command(short_help="Complete a picture.")
@click.argument("model")
@click.argument("image", type=click.Path(path_type=Path))
@to_files
@click.option("--mask", type=click.Path(path_type=Path), help="A picture: white is missing.")
@click.option(
    "-n", "count", type=click.IntRange(0, _MOST), default=1, help="Pictures; 0 for the mean of all."
)
@click.option("--prompt", help="What the picture shows; else that is drawn, too.")
@click.option("--seed", type=click.IntRange(0), help="Of the draws; else one is drawn, and told.")
@click.option("--resize", is_flag=True, help="Bring the picture and the mask to the model's size.")
@zoom
@quiet
@as_json
def inpaint(
    model: str,
    image: Path,
    output: Path,
    mask: Path | None,
    count: int,
    prompt: str | None,
    seed: int | None,
    resize: bool,
    zoom: int,
    quiet: bool,
    json_: bool,
) -> None:
    """Complete IMAGE: draw its missing pixels from the exact posterior, given the others.

    Missing is what is white in the --mask; without one, what is transparent in the picture, wholly or partly.
    """
    is_file = _is_file(output)
    seed = secrets.randbelow(2**31) if seed is None else seed
    ld = load(model)
    picture = open_picture(image)
    pixels = fit_picture(picture, image, ld, resize)
    hidden = _missing(
        picture if mask is None else open_picture(mask), mask or image, mask is None, ld, resize
    )
    if not hidden.any():
        raise ValueError(
            f"nothing is missing in '{image}': "
            + (
                "give --mask, or a picture with transparent pixels"
                if mask is None
                else f"'{mask}' has no white"
            )
        )
    whole = np.broadcast_to(hidden.reshape(hidden.shape + (1,) * (pixels.ndim - 2)), pixels.shape)
    prompts = None if prompt is None else [prompt]
    found, read = ld.inpaint(pixels[None], whole, prompts, seed, n_samples=count, return_prompts=True)
    shown = [str(one) for one in np.ravel(read)]
    draws = to_pil(np.reshape(found, (-1, *ld.image_shape_)), ld.pixel_range_)
    about = {
        "seed": seed,
        "n_samples": count,
        "sampler": ld.sampler,
        "num_steps": ld.num_steps,
        "guidance_scale": ld.guidance_scale,
    }
    files = []
    if is_file:
        write_png(output, sheet([draws]), ld, {"prompt": "\n".join(shown), **about}, zoom)
        files.append({"file": str(output), "prompts": shown})
    else:
        output.mkdir(parents=True, exist_ok=True)
        for i, (one, word) in enumerate(zip(draws, shown, strict=True)):
            path = output / f"{image.stem}-{seed}-{i}.png"
            write_png(path, one, ld, {"prompt": word, "draw": i, **about}, zoom)
            files.append({"file": str(path), "prompts": [word]})
    many = f"{counted(len(draws), 'picture')}, seed {seed}" if count else "the mean of all"
    what = f"{output}: {hidden.mean():.0%} of the pixels drawn, {many}"
    answer(json_, {"files": files, **about}, "" if quiet else what)


def _missing(picture: Image.Image, path: Path, by_alpha: bool, ld: LinearDiffusion, resize: bool) -> Any:
    """Where pixels are missing (h, w): white ones of a mask, those of the picture that are not opaque.

    A pixel of the model that is missing in part is missing: what is given must have been seen.
    """
    if by_alpha:
        hidden = np.asarray(picture.convert("RGBA").getchannel("A")) < 255
    else:
        hidden = np.asarray(grey(picture)) >= 128
    return np.asarray(at_size(Image.fromarray(hidden.astype(np.float32)), path, ld, resize)) > 1e-6


def _is_file(output: Path) -> bool:
    """Whether the output is one file, not a folder of them; refused here if it cannot be written."""
    if output.is_dir():
        check_writable(output)
        return False
    suffix = output.suffix.lower()
    if suffix in SUFFIXES and suffix != ".png":
        raise click.UsageError(
            f"-o '{output}': pictures are written as PNG; end its name in .png, or give a folder"
        )
    if suffix != ".png" and output.exists():
        raise NotADirectoryError(f"'{output}' is a file; -o takes a folder, or a name that ends in .png")
    if suffix == ".png" and not output.parent.is_dir():
        raise FileNotFoundError(f"cannot write '{output}': its folder does not exist")
    check_writable(output.parent if suffix == ".png" else output)
    return suffix == ".png"


def _lines(path: Path) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is no text in UTF-8: {error.reason} at byte {error.start}") from error
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise ValueError(f"'{path}' holds no prompts; expected one a line")
    return found


def _file_name(prompt: str) -> str:
    """A name for a prompt that every file system takes, and takes for no other prompt's.

    It is the prompt, if that is in small letters and could be a file's name; else that and its hash.
    """
    plain = re.sub(r"[^\w .~+-]+", "_", prompt).strip(" .-")  # no folder, no hidden file, no option
    name = unicodedata.normalize("NFC", plain).encode()[:_LONGEST].decode(errors="ignore")
    if name and name == prompt == prompt.casefold() and not re.search(r"-[0-9a-f]{8}$", name):
        return name
    return f"{name or '_'}-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}"
