"""Fill in the missing pixels of an image: the command ``inpaint``."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import click

import lineardiffusion
from lineardiffusion.cli import common


@common.command
@common.model_argument
@click.argument("image", type=common.to_path)
@common.pictures_option
@click.option("--mask", type=common.to_path, metavar="FILE", help="Image that is white where pixels are missing.")
@click.option("-n", "count", type=click.IntRange(0, 10**6), default=1, help="Number of draws; 0: posterior mean.")
@click.option("--prompt", help="Prompt of the image (default: drawn from its posterior, too).")
@click.option("--seed", type=click.IntRange(0), help="Random seed (default: a fresh one).")
@common.resize_option
@common.zoom_option
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
) -> tuple[Any, str]:
    """Fill in the missing pixels of IMAGE.

    Draws are from the exact posterior, given the other pixels. The white pixels of --mask are missing.
    Without --mask, the transparent pixels of IMAGE are missing, including those that are only partly
    transparent.
    """
    import numpy as np

    from lineardiffusion._pictures import to_pil
    from lineardiffusion.cli.pictures import find_missing, pixels_for_model, write_pictures

    seed = secrets.randbelow(2**31) if seed is None else seed
    ld = lineardiffusion.LinearDiffusion.from_pretrained(model)
    pixels = pixels_for_model(image, ld, resize)
    missing = find_missing(mask or image, mask is not None, ld, resize)
    if not missing.any():
        remedy = "give --mask, or make pixels transparent" if mask is None else f"'{mask}' has no white pixels"
        raise ValueError(f"'{image}' has no missing pixels: {remedy}")
    channels = np.broadcast_to(missing.reshape(missing.shape + (1,) * (pixels.ndim - 2)), pixels.shape)
    prompts = None if prompt is None else [common.known_spelling(prompt, ld)]
    images, found = ld.inpaint(pixels[None], channels, prompts, seed, n_samples=count, return_prompts=True)
    draws = to_pil(np.reshape(images, (-1, *ld.image_shape_)), ld.pixel_range_)
    labels = [str(label) for label in np.ravel(found)]
    settings = {name: getattr(ld, name) for name in ("sampler", "num_steps", "guidance_scale")}
    settings |= {"seed": seed, "n_samples": count}
    names = [(f"{image.stem}-{seed}-{i}", {"prompt": label, "draw": i}) for i, label in enumerate(labels)]
    files = write_pictures(output, draws, names, {"prompts": labels}, len(draws), settings, ld, zoom)
    result = f"{common.counted(count, 'draw')} with seed {seed}" if count else "posterior mean"
    summary = f"{output}: {missing.mean():.0%} of the pixels filled in, {result}"
    return {"files": files, **settings}, summary
