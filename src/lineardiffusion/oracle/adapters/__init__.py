"""Adapters: samplers of this and of other libraries, as the oracle runs them. One file a library."""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import Any

from lineardiffusion.diffusion.samplers import Sampler
from lineardiffusion.oracle.adapter import Adapter
from lineardiffusion.oracle.adapters.own import OwnSampler

# first part of the module in which a class or function is defined -> module and class of its adapter
LIBRARIES = {
    "diffusers": ("diffusers", "DiffusersScheduler"),
    "azula": ("azula", "AzulaSampler"),
    "k_diffusion": ("kdiffusion", "KDiffusionSampler"),
    "smalldiffusion": ("smalldiffusion", "SmallDiffusionSampler"),
}


def get_adapter(sampler: Any, **options: Any) -> Adapter:
    """Return the adapter of a sampler of any library.

    Parameters
    ----------
    sampler : str, Sampler, Adapter, or an object, class or function of another library
        A factory, a function without parameters that returns one of them, is called.
    **options
        Options that the adapter takes beside the sampler.

    Returns
    -------
    Adapter
        The sampler, as the oracle runs it.

    Raises
    ------
    TypeError
        If this is no sampler, or an option is unknown.

    Examples
    --------
    >>> from lineardiffusion.oracle.adapters import get_adapter
    >>> get_adapter("heun", schedule="karras").start(10)
    Start(alpha=1.0, sigma=80.0, noise_std=80.0)
    """
    if isinstance(sampler, Adapter):
        return _no_options(sampler, options)
    if isinstance(sampler, str | Sampler):
        return _make(OwnSampler, sampler, options)
    library = _library(sampler)
    if library is None and callable(sampler):
        names = _required(sampler)
        if not names:
            made = sampler()
            if callable(made) and _library(made) is None and not _required(made):
                raise TypeError(f"{sampler!r} must make a sampler, and made another factory")
            return get_adapter(made, **options)
        if len(names) == 5:
            return _make(OwnSampler, sampler, options)
        is_function = names[1:3] == ["x", "sigmas"] and set(names[3:]) <= {"noise_sampler"}
        library = "k_diffusion" if is_function else None
    if library is None:
        raise TypeError(
            "sampler must be a name or an object of lineardiffusion.samplers, a generator function of (denoise, x, "
            "schedule, times, add_noise), a scheduler of diffusers, a sampler of azula, a function of (model, x, "
            f"sigmas) as in k-diffusion, or an Adapter; got {sampler!r}"
        )
    module, name = LIBRARIES[library]
    return _make(getattr(importlib.import_module(f"{__name__}.{module}"), name), sampler, options)


def _library(sampler: Any) -> str | None:
    """Return the library in which the class of an object, or one of its bases, or a function is defined."""
    function = sampler.func if isinstance(sampler, functools.partial) else sampler
    classes = function.__mro__ if isinstance(function, type) else type(function).__mro__
    modules = [getattr(function, "__module__", None), *(one.__module__ for one in classes)]
    return next((top for one in modules if one and (top := one.partition(".")[0]) in LIBRARIES), None)


def _required(function: Any) -> list[str]:
    """Return the names of the parameters that a function must be given by place."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # of some built-in classes
        return ["unknown"]
    return [one.name for one in parameters if one.kind in kinds and one.default is inspect.Parameter.empty]


def _make(adapter: Any, sampler: Any, options: dict[str, Any]) -> Adapter:
    parameters = inspect.signature(adapter).parameters
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    if not takes_any and (unknown := [name for name in options if name not in parameters]):
        known = ", ".join(name for name in list(parameters)[1:])
        hint = (
            "; settings of the sampler belong to its object, samplers.ddim(eta=0.5)"
            if adapter is OwnSampler
            else ""
        )
        raise TypeError(f"unknown option {unknown[0]!r}; the options of {adapter.__name__} are {known}{hint}")
    return adapter(sampler, **options)  # type: ignore[no-any-return]


def _no_options(adapter: Adapter, options: dict[str, Any]) -> Adapter:
    if options:
        raise TypeError(f"an Adapter takes no further options, got {', '.join(options)}")
    return adapter
