"""Samplers of azula, k-diffusion and smalldiffusion under the oracle, one row each.

    PYTHONPATH=src python benchmarks/schedulers_others.py

needs torch and these libraries (k-diffusion and smalldiffusion without their dependencies:
``pip install --no-deps k-diffusion smalldiffusion``). A library that is missing has no rows. The law is
N(m, diag(l)) with m_k = 1 / k and l_k = 1 / k^2 in 32 dimensions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from lineardiffusion import Gaussian
from lineardiffusion.oracle import oracle
from lineardiffusion.oracle.adapters import kdiffusion, smalldiffusion

Case = tuple[str, str, Callable[[], Any], dict[str, Any]]
STEPS = (5, 10, 20, 50, 100)


def law() -> Gaussian:
    """Return the law of the table."""
    k = np.arange(1, 33)
    return Gaussian.diagonal(1.0 / k, 1.0 / k**2)


def cases() -> Iterator[Case]:
    """Yield (library, label, factory, options), of which ``oracle(factory, law, **options)`` judges the sampler."""
    for library, found in (("azula", _azula), ("k-diffusion", _kdiffusion), ("smalldiffusion", _smalldiffusion)):
        try:
            version(library), version("torch")
        except PackageNotFoundError:
            continue
        for label, sampler, options in found():
            yield library, label, partial(_self, sampler), options


def _self(sampler: Any) -> Any:
    return sampler


def _azula() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Every sampler that azula exports, under two schedules."""
    import azula.noise
    import azula.sample

    for schedule in (azula.noise.VPSchedule(), azula.noise.RectifiedSchedule()):
        for name in azula.sample.__all__:
            sampler = getattr(azula.sample, name)
            if name == "Sampler":
                continue
            short = f"{name.removesuffix('Sampler')}, {type(schedule).__name__.removesuffix('Schedule')}"
            if "order" in inspect.signature(sampler).parameters:
                for order in (2, 3):
                    yield f"{short}, order={order}", partial(sampler, order=order), {"schedule": schedule}
            else:
                yield short, sampler, {"schedule": schedule}


def _kdiffusion() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Every function of k-diffusion whose name begins with sample_, and its options that change the solver."""
    module = kdiffusion.load()
    further: dict[str, list[dict[str, Any]]] = {
        "sample_euler": [{"s_churn": 20.0}],
        "sample_heun": [{"s_churn": 20.0}],
        "sample_euler_ancestral": [{"eta": 0.5}],
        "sample_lms": [{"order": 2}, {"order": 3}],
        "sample_dpmpp_2m": [{"sigmas": "exponential"}, {"sigmas": "vp"}],
        "sample_dpmpp_2m_sde": [{"solver_type": "heun"}, {"eta": 0.0}],
        "sample_dpmpp_3m_sde": [{"eta": 0.0}],
        "sample_dpmpp_sde": [{"eta": 0.0}],
    }
    for name in sorted(name for name in vars(module) if name.startswith("sample_")):
        for options in [{}, *further.get(name, [])]:
            label = ", ".join([name] + [f"{option}={value}" for option, value in options.items()])
            levels = {option: value for option, value in options.items() if option == "sigmas"}
            solver = {option: value for option, value in options.items() if option != "sigmas"}
            yield label, partial(getattr(module, name), **solver), levels


def _smalldiffusion() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """The one sampler of smalldiffusion with the settings that its source names."""
    module = smalldiffusion.load()
    named = {
        "DDIM": {},
        "DDPM": {"mu": 0.5},
        "accelerated": {"gam": 2.0},
        "flow": {"schedule": module.ScheduleFlow()},
        "flow, accelerated": {"schedule": module.ScheduleFlow(), "gam": 2.0},
        "flow, DDPM": {"schedule": module.ScheduleFlow(), "mu": 0.5},
    }
    for label, options in named.items():
        yield label, module.samples, options


def main() -> None:
    target = law()
    print(f"| library | sampler | {' | '.join(f'{n} steps' for n in STEPS)} | order | 500 steps | warnings |")
    print("|" + "---|" * (len(STEPS) + 5))
    for library, label, make, options in cases():
        try:
            report = oracle(make, target, steps=STEPS, **options)
        except ValueError as error:  # a sampler that is refused, with the reason
            print(f"| {library} | {label} |{' |' * (len(STEPS) + 2)} {error} |")
            continue
        distances = " | ".join(f"{row.distance / report.spread:.2g}" for row in report.rows)
        warnings = "; ".join(report.warnings)
        order = f"{report.order:.2f} ± {report.order_error:.2f}"
        print(f"| {library} | {label} | {distances} | {order} | {report.floor / report.spread:.2g} | {warnings} |")


if __name__ == "__main__":
    main()
