"""Describe a model: the command ``info``."""

from __future__ import annotations

from typing import Any

import lineardiffusion
from lineardiffusion.cli import common

_MAX_SHOWN = 20  # prompts in the text; JSON has all of them


@common.command
@common.model_argument
def info(model: str) -> tuple[Any, str]:
    """Describe MODEL: prompts, image shape, styles, parameters, size."""
    from lineardiffusion.io.locate import locate
    from lineardiffusion.io.model_file import read_configuration

    path = locate(model)
    ld = lineardiffusion.LinearDiffusion.from_pretrained(path.parent)
    prompts = [str(prompt) for prompt in getattr(ld, "prompts_", ())]
    parameters = {name: str(setting) if callable(setting) else setting for name, setting in ld.get_params().items()}
    styles = {prompt: len(weight) for prompt, (weight, _) in getattr(ld, "styles_", {}).items()}
    rank = ld.style_rank_ if styles else None
    value = {
        "prompts": prompts,
        "image_shape": list(ld.image_shape_),
        "pixel_range": list(ld.pixel_range_),
        "pixel_dtype": str(ld.pixel_dtype_),
        "n_components": ld.n_components_,
        "styles": styles,
        "style_rank": rank,
        "parameters": parameters,
        "bytes": path.stat().st_size,
        "precision": read_configuration(path)["precision"],
    }
    names = ", ".join(map(common.printable, prompts[:_MAX_SHOWN])) + (", ..." if len(prompts) > _MAX_SHOWN else "")
    low, high = ld.pixel_range_
    fewest, most = min(styles.values(), default=1), max(styles.values(), default=1)
    text = [
        f"prompts     {f'{len(prompts)}: {names}' if prompts else f'embeddings of size {ld.n_features_in_}'}",
        f"images      {' x '.join(map(str, ld.image_shape_))}, {ld.pixel_dtype_} from {low:g} to {high:g}",
        f"components  {ld.n_components_}",
        f"styles      {fewest if fewest == most else f'{fewest} to {most}'} per prompt"
        + (f", drawn in {rank:g} directions an image" if styles else ""),
        f"parameters  {', '.join(f'{name}={setting}' for name, setting in parameters.items())}",
        f"size        {value['bytes'] / 1e6:.1f} MB in {value['precision']} precision",
    ]
    return value, "\n".join(text)
