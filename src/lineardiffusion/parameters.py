"""Parameters: the constructor's, as JSON and back.

Numbers, names, and the library's own noise schedules by their class and settings. A function, a transformer
or a random state could only be pickled, and a pickle runs whatever code is in it; they are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lineardiffusion.fields import Fields
from lineardiffusion.schedule import Cosine, Karras, RectifiedFlow, Schedule, VPLinear

SCHEDULES: dict[str, type[Schedule]] = {
    one.__name__: one for one in (Cosine, Karras, RectifiedFlow, VPLinear)
}
STEPS_MAX = 10**7  # that a file may ask for: their times are an array


def encode_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's parameters as JSON; a ValueError for one that only a pickle could hold."""
    if not (parameters["text_encoder"] is None or isinstance(parameters["text_encoder"], str)):
        raise ValueError(
            f"text_encoder={parameters['text_encoder']!r} cannot be stored without pickle, which would "
            'run any code on loading; fit with text_encoder="words" or "positions", or on your own embeddings'
        )
    if not isinstance(parameters["random_state"], int | np.integer | None):
        raise ValueError(
            f"random_state={parameters['random_state']!r} cannot be stored; "
            "set_params(random_state=...) to an int or None first"
        )
    encoded = {name: _plain(value) for name, value in parameters.items() if name != "schedule"}
    if encoded["max_memory"] == math.inf:
        encoded["max_memory"] = "inf"  # which JSON has no number for
    encoded["scale"] = bool(encoded["scale"])
    encoded["schedule"] = _encode_schedule(parameters["schedule"])
    decode_parameters(
        Fields(encoded, "the model to be saved"), parameters
    )  # what could not be loaded is refused
    return encoded


def decode_parameters(fields: Fields, names: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's parameters from JSON: of the right types; their values are the model's to check."""
    fields.only(names)
    decoded = dict(fields.values)
    for name in ("n_components", "num_steps", "n_styles"):
        decoded[name] = fields.size(name)
    if decoded["num_steps"] > STEPS_MAX:
        raise ValueError(f"num_steps must be {STEPS_MAX} at most to be stored, got {decoded['num_steps']}")
    for name in ("eta", "guidance_scale"):
        fields.number(name)
    if decoded["max_memory"] == "inf":
        decoded["max_memory"] = math.inf
    else:
        fields.number("max_memory")
    fields.flag("scale")
    seed = decoded["random_state"]
    if seed is not None and (type(seed) is not int or seed < 0):
        raise ValueError(f"random_state must be null or an int of 0 or more, got {seed!r:.40}")
    for name in ("sampler", "text_encoder", "contrast"):
        optional = name != "sampler" and decoded[name] is None
        if not (optional or isinstance(decoded[name], str)):
            raise ValueError(f"{name} must be a string, got {decoded[name]!r:.40}")
    decoded["schedule"] = _decode_schedule(fields)
    return decoded


def _plain(value: Any) -> Any:
    """A number of numpy as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _encode_schedule(schedule: Any) -> Any:
    if isinstance(schedule, str):
        return schedule
    name = type(schedule).__name__
    if SCHEDULES.get(name) is not type(schedule) or set(vars(schedule)) != set(vars(type(schedule)())):
        raise ValueError(
            f"schedule={schedule!r} cannot be stored without pickle; use a name or one of "
            f"{', '.join(SCHEDULES)}, or set_params(schedule=...) before you save and after you load"
        )
    return {"class": name, **{key: _plain(value) for key, value in vars(schedule).items()}}


def _decode_schedule(fields: Fields) -> str | Schedule:
    if isinstance(name := fields.raw("schedule"), str):
        return name
    stored = fields.section("schedule")
    found = SCHEDULES[stored.text("class", SCHEDULES)]
    stored.only(["class", *vars(found())])
    for setting in vars(found()):
        stored.number(setting)
    return found(**{name: value for name, value in stored.values.items() if name != "class"})
