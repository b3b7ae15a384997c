"""Judge schedulers of diffusers and samplers of other libraries: the table docs/research/oracle_table.md.

    python benchmarks/schedulers.py                         # all rows, three minutes on two cores
    python benchmarks/schedulers.py --only DDIM Euler       # print some of them

The target is the law of MNIST's "7" in all pixels, scaled to [-1, 1]: the Gaussian of this library's model of 144
principal components, and no variance in the 640 other directions. Needs diffusers and torch, and MNIST
(LINEARDIFFUSION_DATA). If benchmarks/schedulers_others.py is present, its functions whose names start with "cases"
yield rows of other libraries: (library, label, factory, options).
"""

from __future__ import annotations

import argparse
import importlib
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np

from lineardiffusion import Gaussian, LinearDiffusion, __version__
from lineardiffusion.datasets import load_mnist
from lineardiffusion.oracle import Report, oracle

STEPS = (5, 10, 20, 50, 100)
TABLE = Path(__file__).parents[1] / "docs" / "research" / "oracle_table.md"


LEGEND = """
Numbers are the Wasserstein distance between the sampler's law and the target, exactly, as a share of the root
of the target's total variance. Columns 5 to 100: numbers of steps, from the exact law at the first level, so
that the sampler alone is judged. *order*: of convergence. *500*: the distance with 500 steps. *noise, 20*: 20
steps from the noise that the library starts from. *calls*: of the network, with 20 steps.

Samplers have their default settings but for what stands under their name. In diffusers the network is told the
level of the timestep in training, unless `level=sigma` stands there. Schedulers that were made for distilled
networks are given the exact consistency function, and with `network=diffusion` the ordinary one. What is wrong
where something is, and how it is mended, is in [catches.md](catches.md).
""".strip()


class Case(NamedTuple):
    """One row: a sampler, made by a function without parameters, and options of the oracle's adapter."""

    library: str
    label: str
    factory: Callable[[], Any]
    options: dict[str, Any]


@cache
def target() -> Gaussian:
    """Return the law of MNIST's "7" in its principal coordinates, in which distances are those of pixels."""
    prompts, images = load_mnist()
    model = LinearDiffusion(144).fit(list(prompts[:60000]), images[:60000].astype(np.float64) / 127.5 - 1)
    law, d = model.law("7"), images[0].size
    variance, basis = law.principal()
    axes = model.components_ if basis is None else basis.T @ model.components_
    pixels = model.decode(law.mean[None])[0].ravel().astype(np.float64)
    mean = axes @ pixels
    rest = np.linalg.norm(pixels - axes.T @ mean)
    zeros = np.zeros(d - len(mean) - 1)
    return Gaussian.diagonal(
        np.concatenate([mean, [rest], zeros]), np.concatenate([variance * model.scaling_factor_**2, [0.0], zeros])
    )


# ------------------------------------------------------------------------------------------------- diffusers

CLIP = {"clip_sample": False}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
ZERO = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
PROTEINA = {"schedule_mode": "log", "noise_mode": "1/t", "tsr_k": 1.0, "tsr_sigma": 1.0}
SPACINGS = [{"timestep_spacing": one} for one in ("leading", "trailing", "linspace")]
SIGMAS = [{f"use_{one}_sigmas": True} for one in ("karras", "exponential", "beta")]
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "DDIM": [*(CLIP | one for one in SPACINGS), CLIP | {"eta": 1.0}, CLIP | ZERO | SPACINGS[1], {}],
    "DDIMParallel": [CLIP, CLIP | SPACINGS[1]],
    "DDPM": [
        *(CLIP | one for one in SPACINGS),
        CLIP | {"variance_type": "fixed_large"},
        {"variance_type": "learned"},
    ],
    "DDPMParallel": [CLIP],
    "DDPMWuerstchen": [{}],
    "UnCLIP": [CLIP],
    "PNDM": [{}, {"skip_prk_steps": True}, SPACINGS[1], SPACINGS[2], {"prediction_type": "v_prediction"}],
    "IPNDM": [{}],
    "CogVideoXDDIM": [{}, SPACINGS[1]],
    "CogVideoXDPM": [{}, SPACINGS[1]],
    "DEISMultistep": [{}, {"solver_order": 1}, {"solver_order": 3}, SIGMAS[0], FLOW],
    "DPMSolverMultistep": [
        *({"solver_order": order} for order in (1, 2, 3)),
        {"solver_type": "heun"},
        {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
        {"algorithm_type": "sde-dpmsolver++"},
        {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min"},
        *SPACINGS[:2],
        *SIGMAS,
        {"use_lu_lambdas": True},
        {"final_sigmas_type": "sigma_min"},
        {"final_sigmas_type": "sigma_min", "euler_at_final": True},
        FLOW,
        FLOW | {"level": "sigma"},
        {"thresholding": True},
    ],
    "DPMSolverSinglestep": [*({"solver_order": order} for order in (1, 2, 3)), SIGMAS[0], FLOW],
    "DPMSolverSDE": [{}, SIGMAS[0]],
    "SASolver": [{}, SIGMAS[0], FLOW],
    "UniPCMultistep": [
        {},
        {"solver_order": 3},
        {"solver_type": "bh1"},
        SIGMAS[0],
        FLOW,
        FLOW | {"flow_shift": 3.0},
        FLOW | {"level": "sigma"},
    ],
    "EulerDiscrete": [{}, *SPACINGS[:2], *SIGMAS, {"interpolation_type": "log_linear"}, {"s_churn": 10.0}],
    "EulerAncestralDiscrete": [{}, *SPACINGS[:2]],
    "HeunDiscrete": [{}, SIGMAS[0]],
    "KDPM2Discrete": [{}, SIGMAS[0]],
    "KDPM2AncestralDiscrete": [{}, SIGMAS[0]],
    "LMSDiscrete": [{}, {"order": 2}, SIGMAS[0]],
    "EDMEuler": [{}, {"sigma_schedule": "exponential"}],
    "EDMDPMSolverMultistep": [{}, {"solver_order": 3}, {"algorithm_type": "sde-dpmsolver++"}],
    "CosineDPMSolverMultistep": [{}],
    "FlowMatchEulerDiscrete": [
        {},
        {"shift": 3.0},
        {"use_dynamic_shifting": True, "mu": 1.15},
        SIGMAS[0],
        {"stochastic_sampling": True},
    ],
    "FlowMatchHeunDiscrete": [{}, {"shift": 3.0}],
    "LTXEulerAncestralRF": [{}, {"eta": 0.0}],
    "MiniMaxH3": [{}, {"shift": 3.0}],
    "RFD4Proteina": [PROTEINA],
    "Helios": [{"stages": 1}, {"stages": 1, "scheduler_type": "euler"}, {}],
    "FlowMapEulerDiscrete": [{}, {"network": "diffusion"}],
    "FlowMatchLCM": [{}, {"network": "diffusion"}],
    "HeliosDMD": [{"stages": 1}],
    "Piflow": [{}, {"network": "diffusion"}],
    "LCM": [one | {"original_inference_steps": 500} for one in ({}, {"network": "diffusion"})],
    "TCD": [one | {"original_inference_steps": 500} for one in ({}, {"eta": 0.0}, {"network": "diffusion"})],
    "SCM": [{}, {"network": "diffusion"}],
    "CMStochasticIterative": [{"clip_denoised": False}, {}],
    "ConsistencyDecoder": [{}],
    "KarrasVe": [{}, {"s_churn": 0.0}],
    "ScoreSdeVe": [{"correct_steps": 0}, {}],
    "ScoreSdeVp": [{}],
}


def _scheduler(name: str) -> Any:
    """Return a class of diffusers."""
    try:
        return getattr(importlib.import_module("diffusers.schedulers"), name)
    except AttributeError:  # exported, and not loaded where transformers is missing
        return getattr(importlib.import_module("diffusers.schedulers.deprecated.scheduling_sde_vp"), name)


def cases_diffusers() -> list[Case]:
    """Return the rows of diffusers: every scheduler that it exports."""
    exported = [one for one in dir(importlib.import_module("diffusers.schedulers")) if one.endswith("Scheduler")]
    names = [*SETTINGS, *sorted({one.removesuffix("Scheduler") for one in exported} - SETTINGS.keys())]
    return [
        Case("diffusers", name, partial(_scheduler, f"{name}Scheduler"), options)
        for name in names
        for options in SETTINGS.get(name, [{}])
    ]


# ------------------------------------------------------------------------------------------------- the table


@cache
def all_cases() -> list[Case]:
    """Return the rows of all libraries."""
    found = cases_diffusers()
    try:
        others = importlib.import_module("schedulers_others")
    except ModuleNotFoundError as error:
        if error.name != "schedulers_others":
            raise
        return found
    for name in sorted(vars(others)):
        if name.startswith("cases"):
            found += [Case(*one) for one in getattr(others, name)()]
    return found


def judge(place: int) -> tuple[Report, Report] | Exception:
    """Return the reports of a case from the exact start and from noise, or why there are none."""
    case = all_cases()[place]
    warnings.simplefilter("ignore")
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    try:
        exact = oracle(case.factory(), target(), steps=STEPS, **case.options)
        few = [row.num_steps for row in exact.rows if not row.error]
        steps = [20] if 20 in few else few[-1:]
        noise = oracle(case.factory(), target(), steps=steps, start="noise", convergence=False, **case.options)
        return replace(exact, _laws=None, _maps=None), replace(noise, _laws=None, _maps=None)  # what can be pickled
    except Exception as error:  # whatever a library raises is a remark of the table
        return error


def cells(case: Case, found: tuple[Report, Report] | Exception) -> list[str]:
    """Return the cells of a row."""
    options = ", ".join(f"{name}={value}" for name, value in case.options.items())
    name = f"{case.label}<br>{options}" if options and case.library == "diffusers" else case.label
    if isinstance(found, Exception):
        return [name, *[""] * (len(STEPS) + 4), " ".join(str(found).split())]
    exact, noise = found
    spread = exact.spread
    rows = {row.num_steps: row for row in exact.rows}
    calls = rows[20].calls if not rows[20].error else max(row.calls for row in exact.rows)
    errors = {row.error.partition(": ")[2] or row.error: row.num_steps for row in reversed(exact.rows) if row.error}
    remarks = [one for one in exact.warnings if not any(error in one for error in errors)]
    remarks = [re.sub(r"^(does not converge to the law): .*", r"\1", one) for one in remarks]
    remarks += [f"{n} steps: {shorten(error, 110)}" for error, n in errors.items()]
    return [
        name,
        *(number(rows[n].distance / spread) for n in STEPS),
        "" if math.isnan(exact.order) else f"{exact.order:.1f}",
        number(exact.floor / spread),
        number(noise.rows[0].distance / spread),
        str(calls),
        "; ".join(remarks).replace("|", "\\|"),
    ]


def number(value: float) -> str:
    """Return three digits; what is below rounding is 0."""
    if math.isnan(value):
        return ""
    return "0" if value < 5e-7 else f"{value:.2e}" if value < 1e-3 or value >= 1e3 else f"{value:.3g}"


def page(results: list[tuple[Case, tuple[Report, Report] | Exception]]) -> Iterator[str]:
    """Yield the lines of the page."""
    law = target()
    versions: dict[str, str] = {"lineardiffusion": __version__}
    for _, found in results:
        if not isinstance(found, Exception):
            versions |= found[0].versions
    yield "# The oracle's table of samplers"
    yield ""
    yield f"Written by `python benchmarks/schedulers.py` with {', '.join(f'{a} {b}' for a, b in versions.items())}."
    yield ""
    variance, _ = law.principal()
    mean, total, rank = np.linalg.norm(law.mean), variance.sum(), (variance > 0).sum()
    yield f'The target is the law of MNIST\'s "7" in [-1, 1], 784 pixels: a mean of norm {mean:.1f}, and a total'
    yield f"variance of {total:.0f} in {rank} of its principal directions."
    yield ""
    yield LEGEND
    for library, group in groupby(results, lambda one: one[0].library):
        yield ""
        yield f"## {library}"
        yield ""
        names = ["scheduler", *map(str, STEPS), "order", "500", "noise, 20", "calls", "remarks"]
        yield f"| {' | '.join(names)} |"
        yield f"|{'---|' * len(names)}"
        for case, found in group:
            yield f"| {' | '.join(cells(case, found))} |"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="print the rows whose label starts with a name")
    parser.add_argument("--output", type=Path, default=TABLE, help=f"page to write (default: {TABLE.name} in docs)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    chosen = parser.parse_args()
    prefixes = tuple(chosen.only or [""])
    places = [i for i, one in enumerate(all_cases()) if one.label.startswith(prefixes)]
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
        results = []
        for place, found in zip(places, pool.map(judge, places), strict=True):
            case = all_cases()[place]
            results.append((case, found))
            print(*cells(case, found), sep="  ", flush=True)
    if not chosen.only:
        chosen.output.write_text("\n".join(page(results)) + "\n")


if __name__ == "__main__":
    main()
