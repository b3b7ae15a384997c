"""Describe a model: the command ``info``."""

from __future__ import annotations

import click

import lineardiffusion
from lineardiffusion.cli.console import json_option, print_result, printable, quiet_option

_MAX_SHOWN = 20  # prompts in the text; JSON has all of them


@click.command()
@click.argument("model")
@quiet_option
@json_option
def info(model: str, quiet: bool, as_json: bool) -> None:
    """Describe MODEL: its prompts, image shape, components, styles, parameters and size."""
    from lineardiffusion.io.locate import locate  # slow: imports scikit-learn
    from lineardiffusion.io.model_file import read_configuration

    path = locate(model)
    ld = lineardiffusion.LinearDiffusion.from_pretrained(path.parent)
    prompts = [str(prompt) for prompt in getattr(ld, "prompts_", ())]
    parameters = {name: str(value) if callable(value) else value for name, value in ld.get_params().items()}
    styles = {} if ld.n_styles < 2 else {prompt: len(weight) for prompt, (weight, _) in ld.styles_.items()}
    size, precision = path.stat().st_size, read_configuration(path)["precision"]
    value = {
        "prompts": prompts,
        "image_shape": list(ld.image_shape_),
        "pixel_range": list(ld.pixel_range_),
        "pixel_dtype": str(ld.pixel_dtype_),
        "n_components": ld.n_components_,
        "styles": styles,
        "parameters": parameters,
        "bytes": size,
        "precision": precision,
    }
    names = ", ".join(map(printable, prompts[:_MAX_SHOWN])) + (", ..." if len(prompts) > _MAX_SHOWN else "")
    low, high = ld.pixel_range_
    fewest, most = min(styles.values(), default=1), max(styles.values(), default=1)
    text = [
        f"prompts     {len(prompts)}: {names}"
        if prompts
        else f"prompts     embeddings of size {ld.n_features_in_}",
        f"images      {' x '.join(map(str, ld.image_shape_))}, {ld.pixel_dtype_} from {low:g} to {high:g}",
        f"components  {ld.n_components_}",
        f"styles      {fewest if fewest == most else f'{fewest} to {most}'} per prompt",
        f"parameters  {', '.join(f'{name}={value}' for name, value in parameters.items())}",
        f"size        {size / 1e6:.1f} MB in {precision} precision",
    ]
    print_result(value, "\n".join(text), as_json)
