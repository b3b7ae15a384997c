"""Delete images from a saved model: the command ``forget``.

The statistics of the images are subtracted from those of the model, batch by batch. The file is written once, at
the end, so a refused image leaves the model on disk as it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import lineardiffusion
from lineardiffusion.cli import common


@common.command
@common.model_argument
@common.data_argument
@common.output_option(common.check_folder, "Folder for the new model (default: MODEL itself).", required=False)
@common.split_option
@common.resize_option
@common.skip_bad_option
def forget(model: str, data: str, output: Path | None, split: str, resize: bool, skip_bad: bool) -> tuple[Any, str]:
    """Delete the images of DATA from MODEL.

    The result is the model of the images that are left, in the precision of MODEL. DATA must have been among
    the training images, and is read as fit read it. Components that were computed before the statistics (with
    styles, and for large images), and centres of styles, stay those of all images; a note says so.
    """
    from lineardiffusion.cli.source import open_source
    from lineardiffusion.io.locate import locate
    from lineardiffusion.io.model_file import WEIGHTS, read_configuration

    if output is None:
        if not Path(model, WEIGHTS).is_file():
            raise click.UsageError(f"'{model}' is no folder with a model, which could be replaced: give -o FOLDER")
        common.check_folder(Path(model))
    path = locate(model)
    ld = lineardiffusion.LinearDiffusion.from_pretrained(path.parent)
    height, width = ld.image_shape_[:2]
    source = open_source(data, split, resize=(width, height) if resize else None, skip_bad=skip_bad)
    with common.progress(len(source), "forgetting") as advance:
        for prompts, images in source.batches():
            ld.forget(prompts, images)
            advance(len(prompts))
    if ld.statistics_.encoder is not None or ld.statistics_.styles is not None:
        common.note("components and styles of this model still come from all images; fit again if they must not")
    output = output or path.parent
    ld.save_pretrained(output, precision=read_configuration(path)["precision"])
    left = float(ld.statistics_.moments.pooled().weight[0])
    known = ld.statistics_.prompts
    summary = f"{output}: forgot {common.counted(len(source), 'image')}{source.skipped_text}, {left:,g} left"
    if known:
        summary += f" under {common.counted(len(known), 'prompt')}"
    value = {"model": str(output), "forgotten": len(source), "skipped": source.skipped, "left": left}
    return {**value, "prompts": list(known)}, summary
