"""Fill in the missing pixels of an image: the command ``inpaint``."""

from __future__ import annotations

import secrets
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import lineardiffusion
from lineardiffusion._pictures import to_pil
from lineardiffusion.cli.console import counted, json_option, print_result, quiet_option
from lineardiffusion.cli.options import pictures_option, resize_option, zoom_option
from lineardiffusion.cli.pictures import (
    at_model_size,
    is_grid_file,
    make_grid,
    open_picture,
    pixels_for_model,
    to_grey,
    write_png,
)


@click.command()
@click.argument("model")
@click.argument("image", type=click.Path(path_type=Path))
@pictures_option
@click.option("--mask", type=click.Path(path_type=Path), help="Image that is white where pixels are missing.")
@click.option(
    "-n", "count", type=click.IntRange(0, 10**6), default=1, help="Number of draws; 0 gives the posterior mean."
)
@click.option("--prompt", help="Prompt of the image (default: drawn from its posterior, too).")
@click.option("--seed", type=click.IntRange(0), help="Random seed (default: a fresh one).")
@resize_option
@zoom_option
@quiet_option
@json_option
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
    as_json: bool,
) -> None:
    """Fill in the missing pixels of IMAGE with draws from their exact posterior, given the other pixels.

    The white pixels of --mask are missing. Without --mask, the transparent pixels of IMAGE are missing,
    including those that are only partly transparent.
    """
    as_grid = is_grid_file(output)
    seed = secrets.randbelow(2**31) if seed is None else seed
    ld = lineardiffusion.LinearDiffusion.from_pretrained(model)
    pixels = pixels_for_model(image, ld, resize)
    missing = _find_missing(mask or image, mask is not None, ld, resize)
    if not missing.any():
        remedy = "give --mask, or make pixels transparent" if mask is None else f"'{mask}' has no white pixels"
        raise ValueError(f"'{image}' has no missing pixels: {remedy}")
    channels = np.broadcast_to(missing.reshape(missing.shape + (1,) * (pixels.ndim - 2)), pixels.shape)
    prompts = None if prompt is None else [prompt]
    images, found = ld.inpaint(pixels[None], channels, prompts, seed, n_samples=count, return_prompts=True)
    draws = to_pil(np.reshape(images, (-1, *ld.image_shape_)), ld.pixel_range_)
    labels = [str(label) for label in np.ravel(found)]
    names = ("sampler", "num_steps", "guidance_scale")
    settings = {"seed": seed, "n_samples": count, **{name: getattr(ld, name) for name in names}}
    if as_grid:
        write_png(output, make_grid(draws, len(draws)), ld, {"prompt": "\n".join(labels), **settings}, zoom)
        files = [{"file": str(output), "prompts": labels}]
    else:
        files = []
        for i, (draw, label) in enumerate(zip(draws, labels, strict=True)):
            path = output / f"{image.stem}-{seed}-{i}.png"
            write_png(path, draw, ld, {"prompt": label, "draw": i, **settings}, zoom)
            files.append({"file": str(path), "prompts": [label]})
    result = f"{counted(count, 'draw')} with seed {seed}" if count else "posterior mean"
    summary = f"{output}: {missing.mean():.0%} of the pixels filled in, {result}"
    print_result({"files": files, **settings}, "" if quiet else summary, as_json)


def _find_missing(
    path: Path, is_mask: bool, model: lineardiffusion.LinearDiffusion, resize: bool
) -> NDArray[np.bool_]:
    """Return which pixels (h, w) are missing: white pixels of a mask, transparent pixels of an image.

    After resizing, a pixel is missing if any part of it is, since the posterior keeps known pixels unchanged.
    """
    picture = open_picture(path)
    if is_mask:
        missing = np.asarray(to_grey(picture)) >= 128
    else:
        missing = np.asarray(picture.convert("RGBA").getchannel("A")) < 255
    share = at_model_size(Image.fromarray(missing.astype(np.float32)), path, model, resize)
    return np.asarray(share) > 1e-6
