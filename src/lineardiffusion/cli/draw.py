"""``sample`` and ``inpaint``: pictures out of a model, as PNG files that say how they came about."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from lineardiffusion import LinearDiffusion
from lineardiffusion.cli.pictures import SUFFIXES, fit_picture, open_picture, sheet, write_png
from lineardiffusion.cli.program import answer, as_json, load, progress, quiet
from lineardiffusion.images import to_pil

_SAMPLERS = ["exact", "ddim", "ddpm", "euler", "heun", "dpm++2m", "one_step"]
_BATCH = 512  # pictures drawn at a time
_LONGEST = 100  # bytes of a file's name that are the prompt's

output = click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="A file .png for one sheet, or a folder for one file a picture.",
)


@click.command()
@click.argument("model")
@click.argument("prompts", nargs=-1, metavar="PROMPT...")
@output
@click.option("-n", "count", type=click.IntRange(1), help="Pictures a prompt, of seeds that count up.")
@click.option("--seed", "seeds", type=click.IntRange(0), multiple=True, help="Again for several pictures.")
@click.option("--prompts-file", type=click.Path(path_type=Path), help="More prompts, one a line.")
@click.option("--sampler", type=click.Choice(_SAMPLERS))
@click.option("--num-steps", type=click.IntRange(1))
@click.option("--guidance-scale", type=float)
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
    quiet: bool,
    json_: bool,
) -> None:
    """Draw pictures under PROMPTs: a row a prompt, a column a seed.

    The picture of a prompt and a seed is always the same, in any company. Without --seed one is drawn; every
    file says which it was.
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
    names = _file_names(every)
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
                    path = output / f"{names[prompt]}-{seed}.png"
                    write_png(path, picture, ld, {"prompt": prompt, "seed": seed, **said})
                    files.append({"file": str(path), "prompt": prompt, "seed": seed})
            bar.update(len(block))
    if is_file:
        rows = [pictures[i : i + len(columns)] for i in range(0, len(jobs), len(columns))]
        about = {"prompt": "\n".join(every), "seed": " ".join(map(str, columns))}
        write_png(output, sheet(rows), ld, {**about, **said})
        files = [{"file": str(output), "prompts": every, "seeds": columns}]
    what = f"{output}: {len(every)} prompts, {len(columns)} pictures each, from seed {columns[0]}"
    answer(json_, {"files": files, **said}, "" if quiet else what)


@click.command()
@click.argument("model")
@click.argument("image", type=click.Path(path_type=Path))
@output
@click.option("--mask", type=click.Path(path_type=Path), help="A picture: white is missing.")
@click.option("-n", "count", type=click.IntRange(0), default=1, help="Pictures; 0 for the mean of all.")
@click.option("--prompt", help="What the picture shows; else that is drawn, too.")
@click.option("--seed", type=click.IntRange(0))
@click.option("--resize", is_flag=True, help="Bring the picture and the mask to the model's size.")
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
    quiet: bool,
    json_: bool,
) -> None:
    """Complete IMAGE: draw its missing pixels from the exact posterior, given the others.

    Missing is what is white in the --mask; without one, what is transparent in the picture.
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
        "sampler": ld.sampler,
        "num_steps": ld.num_steps,
        "guidance_scale": ld.guidance_scale,
    }
    files = []
    if is_file:
        write_png(output, sheet([draws]), ld, {"prompt": "\n".join(shown), **about})
        files.append({"file": str(output), "prompts": shown})
    else:
        output.mkdir(parents=True, exist_ok=True)
        for i, (one, word) in enumerate(zip(draws, shown, strict=True)):
            path = output / f"{image.stem}-{seed}-{i}.png"
            write_png(path, one, ld, {"prompt": word, **about})
            files.append({"file": str(path), "prompts": [word]})
    what = f"{output}: {len(draws)} pictures with {hidden.mean():.0%} of the pixels drawn, seed {seed}"
    answer(json_, {"files": files, **about}, "" if quiet else what)


def _missing(picture: Image.Image, path: Path, by_alpha: bool, ld: LinearDiffusion, resize: bool) -> Any:
    """Where pixels are missing (h, w): white ones of a mask, transparent ones of the picture itself."""
    height, width = ld.image_shape_[:2]
    if by_alpha:
        grey = 255 - np.asarray(picture.convert("RGBA").getchannel("A").resize((width, height)))
        return grey == 255
    if picture.size != (width, height):
        if not resize:
            raise ValueError(
                f"'{path}' is {picture.width} x {picture.height} pixels, but the model's images are "
                f"{width} x {height}; resize it, or use --resize"
            )
        picture = picture.convert("L").resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(picture.convert("L")) >= 128


def _is_file(output: Path) -> bool:
    """Whether the output is one file, not a folder of them."""
    if output.is_dir():
        return False
    suffix = output.suffix.lower()
    if suffix in SUFFIXES and suffix != ".png":
        raise click.UsageError(
            f"-o '{output}': pictures are written as PNG; end its name in .png, or give a folder"
        )
    if suffix != ".png" and output.exists():
        raise NotADirectoryError(f"'{output}' is a file; -o takes a folder, or a name that ends in .png")
    if suffix == ".png" and not output.parent.is_dir():  # before the work, not after it
        raise FileNotFoundError(f"cannot write '{output}': its folder does not exist")
    return suffix == ".png"


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is no text in UTF-8: {error.reason} at byte {error.start}") from error
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise ValueError(f"'{path}' holds no prompts; expected one a line")
    return found


def _file_names(prompts: Sequence[str]) -> dict[str, str]:
    """A name for each prompt that every file system takes, and no two that any takes for the same."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for prompt in prompts:
        plain = re.sub(r"[^\w.~+-]+", "_", prompt).lstrip(".-")  # no folder, no hidden file, no option
        name = plain.encode()[:_LONGEST].decode(errors="ignore") or "_"
        if name != prompt or name.casefold() in taken:
            name += "-" + hashlib.sha256(prompt.encode()).hexdigest()[:8] if name.casefold() in taken else ""
        taken.add(name.casefold())
        names[prompt] = name
    return names
