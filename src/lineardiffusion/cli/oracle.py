"""Judge a sampler: the command ``oracle``, whose exit status a test can use."""

from __future__ import annotations

import importlib
import json
import math
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lineardiffusion.cli import common

if TYPE_CHECKING:
    from lineardiffusion import Gaussian, Mixture

_SUFFIXES = (".png", ".svg", ".pdf")
_MODULES = {"azula": "azula.sample"}  # where a library's samplers are, if not at its top
_ALONE = {"k_diffusion": "kdiffusion", "smalldiffusion": "smalldiffusion"}  # file by file, see adapters/alone.py
_STEPS = (5, 10, 20, 50, 100)
_LAW = (
    "Law to draw from: the Gaussian with the mean and the covariance of a prompt's pixels, scaled to [-1, 1], or a "
    "file NAME.npz with mean (d,) and covariance (d, d) or (d,)."
)
_START = "Start from the exact marginal of the first level, or from noise alone."
_SET = "Setting of the sampler or scheduler; may be repeated."
_OPTION = "Option of the oracle, such as level=sigma or schedule=vp; may be repeated."


class _Command(common.Command):
    """A command whose option ``--steps`` takes all numbers that follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        found, collecting = list[str](), False
        for arg in args:
            if collecting and arg.isdecimal():
                found += [arg] if found[-1] == "--steps" else ["--steps", arg]
                continue
            collecting = arg.partition("=")[0] == "--steps"
            found.append(arg)
        return super().parse_args(ctx, found)


def _settings(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings NAME=VALUE, whose values are JSON where they can be, and otherwise strings."""
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not (equals and name.isidentifier()):
            raise click.BadParameter(f"expected NAME=VALUE, got '{value}'", ctx, param)
        try:
            found[name] = json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
        except json.JSONDecodeError:
            found[name] = text
    return found


def _checked_plot(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    if value is None:
        return None
    common.check_file(common.to_path(value), _SUFFIXES)
    return common.to_path(value)


@partial(common.command, cls=_Command)
@click.argument("sampler")
@click.option("--law", metavar="MODEL:PROMPT", default="mnist:7", help=_LAW)
@click.option(
    "--steps", type=click.IntRange(1, 10**4), multiple=True, default=_STEPS, metavar="N ...", help="Steps."
)
@click.option("--start", type=click.Choice(["exact", "noise"]), default="exact", help=_START)
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, callback=_settings, help=_SET)
@click.option("--option", "options", metavar="NAME=VALUE", multiple=True, callback=_settings, help=_OPTION)
@click.option("--mixture", is_flag=True, help="Judge by draws, under the mixture of the prompt's styles.")
@click.option("--draws", type=click.IntRange(32), default=512, help="Number of draws with --mixture.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Random seed of the draws with --mixture.")
@click.option("--floor", type=click.FloatRange(0), help="Largest distance with 500 steps that passes.")
@click.option("--plot", metavar="PATH", callback=_checked_plot, help="File NAME.png, NAME.svg or NAME.pdf.")
def oracle(
    sampler: str,
    law: str,
    steps: tuple[int, ...],
    start: str,
    settings: dict[str, Any],
    options: dict[str, Any],
    mixture: bool,
    draws: int,
    seed: int,
    floor: float | None,
    plot: Path | None,
) -> tuple[Any, str, int]:
    """Judge SAMPLER: the exact distance of what it draws to the law that it ought to draw, without a draw.

    \b
    SAMPLER is
      ddim, heun, dpm++2m ...    a sampler of this library
      diffusers:DDIMScheduler    a scheduler of diffusers
      azula:DDIMSampler          a sampler of azula
      k_diffusion:sample_euler   a function of k-diffusion
      package.module:name        a sampler, scheduler or function of your own

    --steps takes all numbers that follow it. The exit status is 1 if more steps are worse than fewer, if a number
    of steps fails or gives no number, or if the distance with 500 steps exceeds --floor. Distances are shares of
    the law's spread, the root of its total variance.
    """
    from lineardiffusion.io.replacing import replacing
    from lineardiffusion.oracle import oracle as judge

    if mixture and floor is not None:
        raise click.UsageError("--floor needs a law in closed form, and --mixture has none")
    if taken := sorted({"steps", "start", "n_draws", "seed"} & set(options)):
        raise click.UsageError(f"--option {taken[0]}=... is not taken; see --help for the option of its own")
    what, target = _law(law, mixture)
    made = _sampler(sampler, settings)
    report = judge(made, target, steps=steps, start=start, n_draws=draws, seed=seed, **options)
    if plot is not None:
        figure = report.plot()
        with replacing(plot) as partial_file:
            figure.savefig(partial_file, format=plot.suffix[1:].lower(), dpi=150)
    relative = report.floor / (report.spread or 1.0) if report.floor_steps else math.nan
    above = floor is not None and not relative <= floor
    broken = any(not math.isfinite(row.distance) for row in report.rows)
    status = int(bool(report.worse) or broken or above)
    lines = [f"law: {what}", repr(report)]
    if above:
        lines.append(f"the distance with 500 steps, {relative:.3g}, is not below --floor {floor:g}")
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return {"law": what, **report.to_dict(), "passed": not status}, "\n".join([*lines, versions]), status


def _sampler(name: str, settings: dict[str, Any]) -> Any:
    """Return the sampler of a name, with these settings."""
    library, colon, own = name.partition(":")
    if colon and library in _ALONE:
        adapter = importlib.import_module(f"lineardiffusion.oracle.adapters.{_ALONE[library]}")
        found = getattr(adapter.load(), own, None)
        if found is None:
            raise ValueError(f"{library} has no function '{own}'")
    elif colon:
        try:
            found = common.import_if_path(f"{_MODULES.get(library, library)}:{own}")
        except ValueError as error:
            cause = error.__cause__
            if isinstance(cause, ModuleNotFoundError) and cause.name == library.partition(".")[0]:
                raise ValueError(f"'{name}' needs the package {cause.name}: pip install {cause.name}") from error
            raise
    elif settings:
        from lineardiffusion.diffusion.samplers import SAMPLERS

        if name not in SAMPLERS:
            raise ValueError(f"unknown sampler '{name}'; the samplers are {', '.join(SAMPLERS)}")
        known = [one.name for one in fields(SAMPLERS[name])]
        if unknown := [one for one in settings if one not in known]:
            raise ValueError(f"'{name}' has no setting '{unknown[0]}'; its settings are {', '.join(known)}")
        return SAMPLERS[name](**settings)
    else:
        return name
    return partial(found, **settings) if settings else found


def _law(name: str, mixture: bool) -> tuple[str, Gaussian | Mixture]:
    """Return the description of a law and the law: of a prompt's pixels scaled to [-1, 1], or of a file."""
    import numpy as np

    from lineardiffusion import Gaussian, LinearDiffusion, Mixture

    if name.endswith(".npz"):
        with np.load(common.to_path(name)) as file:
            if not {"mean", "covariance"} <= set(file):
                raise ValueError(f"'{name}' must hold the arrays mean and covariance, got {', '.join(file)}")
            mean, covariance = file["mean"], file["covariance"]
        return name, (Gaussian if covariance.ndim == 2 else Gaussian.diagonal)(mean, covariance)
    model, _, prompt = name.rpartition(":")
    if not model:
        raise ValueError(f"expected MODEL:PROMPT, such as mnist:7, got '{name}'")
    ld = LinearDiffusion.from_pretrained(model)
    latents, fitted = ld.law(common.known_spelling(prompt, ld)), ld.fitted_
    if isinstance(latents, Mixture) and not mixture:
        latents = Gaussian(latents.mean, latents.covariance)
    found = fitted.pixel_law(latents)
    low, high = ld.pixel_range_
    scale = 2 / (high - low) if high > low else 1.0

    def scaled(law: Gaussian) -> Gaussian:
        return Gaussian((law.mean - low) * scale - 1, law.covariance * scale**2)

    if isinstance(found, Mixture):
        return f"{name}, {len(found.components)} styles, pixels in [-1, 1]", Mixture(
            found.weights, [scaled(one) for one in found.components]
        )
    return f"Gaussian of {name}, pixels in [-1, 1]", scaled(found)
