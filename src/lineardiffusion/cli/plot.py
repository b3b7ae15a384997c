"""Draw a model: the command ``plot``, with the figures of :mod:`lineardiffusion.plot` that need no data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import lineardiffusion
from lineardiffusion.cli import common

_SUFFIXES = (".png", ".svg", ".pdf")
_MOST = 20  # prompts that are drawn unless they are named
_OPTIONS = {"prompts": "--prompt", "seed": "--seed", "samplers": "--sampler", "num_steps": "--num-steps"}
_LIMITS: dict[str, dict[str, int]] = {  # how often each option may be given for each kind
    "components": {},
    "means": {"prompts": 1000},
    "styles": {"prompts": 1},
    "denoising": {"prompts": 1000, "seed": 1, "samplers": 1, "num_steps": 1},
    "singular-values": {"prompts": 1, "samplers": 1000, "num_steps": 1},
}


@common.command
@common.model_argument
@common.output_option(lambda output: common.check_file(output, _SUFFIXES), "File NAME.png, NAME.svg or NAME.pdf.")
@click.option("--kind", type=click.Choice(list(_LIMITS)), default="components", help="Figure to draw.")
@click.option("--prompt", "prompts", multiple=True, help=f"Prompt; may be repeated (default: the first {_MOST}).")
@click.option("--seed", type=click.IntRange(0), help="Random seed of the noise (default: 0).")
@click.option("--sampler", "samplers", metavar="NAME", multiple=True, help="Sampler; may be repeated.")
@click.option("--num-steps", type=click.IntRange(1, 10**4), help="Number of sampling steps.")
def plot(model: str, output: Path, kind: str, **options: Any) -> tuple[Any, str]:
    """Draw a figure of MODEL.

    \b
    components       principal components of the images
    means            mean and standard deviation of the images of each prompt
    styles           mean of each style of one prompt
    denoising        steps of a sampler from noise to images, one prompt a row
    singular-values  gains of samplers from noise to latent in each direction, for one prompt
    """
    from lineardiffusion import plot as figures
    from lineardiffusion.io.replacing import replacing

    for name, value in options.items():
        limit, given = _LIMITS[kind].get(name, 0), len(value) if isinstance(value, tuple) else value is not None
        if given > limit:
            raise click.UsageError(f"--kind {kind} takes {'one' if limit else 'no'} {_OPTIONS[name]}")
    samplers = [common.import_if_path(name) for name in options["samplers"]]
    ld = lineardiffusion.LinearDiffusion.from_pretrained(model)
    known, has_styles = [str(prompt) for prompt in getattr(ld, "prompts_", ())], hasattr(ld, "styles_")
    prompts = [common.known_spelling(prompt, ld) for prompt in options["prompts"]] or known[:_MOST]
    if kind == "components":
        figure = figures.components(ld)
    elif not prompts:
        raise ValueError(f"'{model}' has embeddings for prompts, for which there is no figure of {kind}")
    elif kind == "means":
        figure = figures.means(ld, prompts)
    elif kind == "styles":
        if not has_styles:
            raise ValueError(f"'{model}' has no styles; fit with --n-styles gives them")
        figure = figures.styles(ld, prompts[0])
    else:
        steps = {} if options["num_steps"] is None else {"num_steps": options["num_steps"]}
        if kind == "denoising":
            sampler = samplers[0] if samplers else None
            figure = figures.denoising(ld, prompts, options["seed"] or 0, sampler=sampler, **steps)
        else:
            one = prompts[0] if options["prompts"] or not has_styles else f"{prompts[0]}~0"
            figure = figures.singular_values(ld, one, samplers or ["exact"], **steps)
    if kind in ("means", "denoising") and len(prompts) < len(known) and not options["prompts"]:
        common.note(f"the first {_MOST} of {len(known)} prompts are drawn; --prompt chooses others")
    with replacing(output) as partial:
        figure.savefig(partial, format=output.suffix[1:].lower(), dpi=150)
    return {"file": str(output), "kind": kind}, f"{output}: {kind}"
