"""A model as one file: ``model.safetensors``, with its configuration as JSON in the metadata.

The file stores the statistics and the parameters. Everything else follows from them, so a loaded model draws the
same pixels and continues to learn. Nothing is pickled: a file is numbers and names and cannot run code, so
functions and transformers cannot be stored.

A float64 array whose entries are all float32 is stored as float32. In half precision spreads, centres and
components are rounded to float32, while means, joint moments and the histogram keep all digits. The mean and the
deviation of pixels are rounded to 2^-11 of themselves. With low rank, styles are stored as low_rank.py says, and
all else as in half precision.

The file is written beside the old one and then replaces it in one step, so readers and interrupts find the old
model or the new one. ``config.json`` is written beside it for people and for the Hub, and is never read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import safe_open

from lineardiffusion._arrays import Array
from lineardiffusion._triangles import pack, triangle, unpack
from lineardiffusion.diffusion.samplers import SAMPLERS
from lineardiffusion.diffusion.schedules import SCHEDULES, Discrete, Levels
from lineardiffusion.encoders.clusters import StyleClusters
from lineardiffusion.encoders.image import ImageEncoder
from lineardiffusion.encoders.text import vocabulary
from lineardiffusion.io.compact import compress, compress_pixels, expand, expand_pixels
from lineardiffusion.io.low_rank import LEAST, complete, dequantize, quantize, truncate
from lineardiffusion.io.replacing import replacing
from lineardiffusion.parameters import Parameters
from lineardiffusion.statistics.dataset import Statistics
from lineardiffusion.statistics.histogram import Histogram
from lineardiffusion.statistics.joint import JointMoments
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.pixels import PixelMoments
from lineardiffusion.statistics.residual import Residual
from lineardiffusion.statistics.styles import StyleStatistics, number_of_directions

CONFIG, WEIGHTS = "config.json", "model.safetensors"
KEY = "lineardiffusion"  # of the metadata; a single one, for safetensors writes several in random order
FORMAT = 2
LARGEST = 2**40  # number of anything that is counted
# what files of version 0.1 lack, with what it stands for
ADDED = {"basis_tolerance": 1e-3, "style_rank": "auto"}
ADDED_TO_SAMPLERS: dict[Any, dict[str, Any]] = {"ddpm": {"variance": "fixed_small"}}
ADDED_TO_STYLES = {"rank": 0.25, "truncated": False}
STEPS = 10**7  # at most, because a sampler allocates its times

Arrays = dict[str, NDArray[Any]]
Json = dict[str, Any]

CLASSES: Json = {
    "schedule": {one.__name__: one for one in (*SCHEDULES.values(), Discrete, Levels)},
    "sampler": SAMPLERS,
}
CLASS_NAMES = {one: name for known in CLASSES.values() for name, one in known.items()}
NUMBERS = ("residual_variance", "pixel_variance", "scaling_factor")  # of an encoder

# The arrays of each part and their shapes, a letter an axis: v values, D pixels, d latents, T = n (n + 1) / 2,
# N = m (m + 1) / 2 with m = (k + 1) (n + 1) for embeddings of k entries. Groups g are prompts of n pixels or
# latents, or styles of n = d latents. In half precision a scatter is stored as spread and root, and of pixels the
# mean and the scatter as level and deviation, see compact.py.
MOMENTS = {"weight": "g", "squares": "g", "mean": "gn"}
SCATTER = {False: {"scatter": "gT"}, True: {"spread": "gn", "root": "gT"}}
PIXELS = {False: {"mean": "gD", "scatter": "gD"}, True: {"level": "gD", "deviation": "gD"}}
JOINT = {"matrix": "N", "origin": "n"}
ENCODER = {"components": "dD", "mean": "D", "variance": "d", "pixel_scale": "D"}
STYLES = {"prompt": "g", "centres": "gn"}
LOW_RANK = {
    "prompt": "g", "weight": "g", "squares": "g", "origin": "n", "mean_codes": "gn", "mean_scale": "g",
    "centre_codes": "gn", "centre_scale": "g", "count": "g", "factor_codes": "rn", "factor_scale": "r",
    "trace": "g", "spread": "on", "root": "oT",
}  # of styles, with r directions and o = 1  # fmt: skip
HISTOGRAM = {"values": "v", "weight": "v"}
RESIDUAL = {"total": "D", "sums": "r"}  # of weight, outside and second
# by the last part of an array's name; others are floating
DTYPES = {
    "prompt": ("int64",), "root": ("float16",), "level": ("float16", "uint8"), "deviation": ("float16", "uint8"),
    "count": ("int64",), "factor_codes": ("int8",), "mean_codes": ("int16",), "centre_codes": ("int16",),
}  # fmt: skip
NOT_NEGATIVE = (
    "weight", "spread", "squares", "variance", "pixel_scale", "level", "deviation", "factor_scale", "mean_scale",
    "centre_scale", "trace",
)  # fmt: skip
LOSSLESS = (
    "sums",
    "total",
    "matrix",
    "origin",
    "weight",
    "mean",
    "squares",
    "values",
)  # stored whole at any precision

# The kind of every field of the configuration: a type (int: 1 to LARGEST, object: any, Parameters checks it), a set
# of strings, (None, kind), [kind of every entry] or {field: kind}
FIELDS: Json = {
    "model_type": {KEY},
    "format_version": int,
    "library_version": str,
    "precision": {"full", "half", "low_rank"},
    "parameters": {one.name: object for one in fields(Parameters)} | {"image_encoder": bool},
    "temperature": float,
    "embedding": (None, {"size": int, "names": (None, [str])}),
    "image_shape": [int],
    "pixel_range": [float],
    "pixel_dtype": {np.dtype(code).name for code in "?" + np.typecodes["AllInteger"] + np.typecodes["Float"]},
    "prompts": [str],
    "latents": bool,  # whether the moments are of latents
    "encoder": (None, {"dtype": {"float32", "float64"}, **dict.fromkeys(NUMBERS, float)}),
    "styles": (None, {"requested": object, "shared": bool, "rank": float, "truncated": bool}),
}


def save(
    path: Path,
    statistics: Statistics,
    parameters: Parameters,
    temperature: float,
    embedding: Json | None,
    precision: str,
    version: str,
) -> None:
    """Write a model to a folder; `embedding` holds ``size`` and ``names`` of embeddings, None for strings."""
    known = precision in FIELDS["precision"]
    _require(known, f'precision must be "full", "half" or "low_rank", got {precision!r}')
    config: Json = {"model_type": KEY, "format_version": FORMAT, "library_version": version, "precision": precision}
    config |= {
        "parameters": _describe_parameters(parameters, statistics.encoder),
        "temperature": float(temperature),
    }
    config["embedding"] = embedding
    encoder = statistics.encoder or (statistics.styles and statistics.styles.encoder)
    if precision == "low_rank" and statistics.styles is not None and not statistics.styles.clusters.shared:
        statistics = replace(statistics, styles=replace(statistics.styles, truncated=True))
    config |= _describe_statistics(statistics, encoder)
    arrays = _arrays(statistics, encoder, precision, parameters.style_rank)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; give the folder that {WEIGHTS} goes to")
    path.mkdir(parents=True, exist_ok=True)
    with replacing(path / WEIGHTS) as new:
        safetensors.numpy.save_file(arrays, new, {KEY: json.dumps(config, allow_nan=False)})
    with replacing(path / CONFIG) as new:
        new.write_text(json.dumps(config, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[Statistics, Parameters, float, Json | None]:
    """Read what :func:`save` wrote; a file that is truncated, altered or foreign is a ValueError that names it."""
    with _opened(path) as (config, file):
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
        statistics = _restore_statistics(config, arrays)
        parameters = _restore_parameters(config["parameters"], statistics.encoder)
        return statistics, parameters, config["temperature"], config["embedding"]


def read_configuration(path: Path) -> Json:
    """Read the configuration of a model file; errors as for :func:`load`."""
    with _opened(path) as (config, _):
        return config


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Json, Any]]:
    """Yield the configuration and the open file; an error about the content names the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a model is a folder with {WEIGHTS}")
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(KEY, "{}")
            config = json.loads(text, parse_float=_finite, parse_constant=_finite)
            version = config.get("format_version")
            newer = type(version) is int and version > FORMAT
            _require(not newer, f"its format {version} is too new; pip install --upgrade linear-diffusion")
            _require(version == FORMAT, "it is not a model of this library: its metadata has no such configuration")
            if isinstance(config.get("parameters"), dict):
                config["parameters"] = ADDED | config["parameters"]
            if isinstance(config.get("styles"), dict):
                config["styles"] = ADDED_TO_STYLES | config["styles"]
            _check(config, FIELDS, "the configuration")
            _require(config["temperature"] > 0, f"'temperature' must be above 0, got {config['temperature']}")
            yield config, file
    except OSError:
        raise
    except Exception as error:  # a forged file can end in any
        raise ValueError(f"cannot load {path}: {str(error) or type(error).__name__}") from error


def _require(holds: object, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _finite(text: str) -> float:
    _require(math.isfinite(number := float(text)), f"{text:.40} is not a finite number")
    return number


def _check(value: Any, kind: Any, name: str) -> None:
    """Raise an error unless a JSON value is of a kind, see FIELDS."""
    if isinstance(kind, tuple):
        kind = None if value is None else kind[1]
    if isinstance(kind, list) and isinstance(value, list):
        for one in value:
            _check(one, kind[0], name)
    elif isinstance(kind, dict) and isinstance(value, dict):
        for odd in sorted(kind.keys() ^ value.keys()):
            raise ValueError(f"{name} {'lacks' if odd in kind else 'has an unknown field'} {odd!r:.40}")
        for key, one in kind.items():
            _check(value[key], one, key)
    else:
        one_of = isinstance(kind, set) and type(value) is str and value in kind
        right = one_of or (kind in (object, type(value), value) and (kind is not int or 1 <= value <= LARGEST))
        _require(right, f"{name!r} cannot be {value!r:.40}")


ADVICE = {
    "text_encoder": 'fit with text_encoder="words" or "positions", or on your own embeddings',
    "image_encoder": "fit on its latents: LinearDiffusion().fit(prompts, encoder.encode(images))",
    "random_state": "refit(random_state=...) with an int of 0 or more, or None",
    "num_steps": f"refit(num_steps=...) with {STEPS} at most",
    "guidance_scale": "refit(guidance_scale=...) with a number, and pass your function to predict",
}
for name, known in CLASSES.items():
    ADVICE[name] = f"refit({name}=...) with one of {', '.join(known)}, and with your own after you load"


def _describe_parameters(parameters: Parameters, encoder: Any) -> Json:
    """Return the constructor's parameters as JSON; a ValueError for one that cannot be stored."""
    raw, encoders = parameters.raw(), (parameters.image_encoder, encoder)
    if all(isinstance(one, ImageEncoder | None) for one in encoders):
        raw["image_encoder"] = None not in encoders
    return {name: _describe(name, value) for name, value in raw.items()}


def _describe(name: str, value: Any) -> Any:
    """Return a number as Python's own, and an object of CLASSES as its name and settings."""
    if type(value) in CLASS_NAMES:
        settings = {one.name: _describe(one.name, getattr(value, one.name)) for one in fields(value)}
        return {"class": CLASS_NAMES[type(value)], **settings}
    if isinstance(value, tuple) and all(type(one) is float for one in value):
        return list(value)
    plain = value.item() if isinstance(value, np.generic) else value
    storable = plain is None or type(plain) in (bool, int, float, str)
    if name in ("num_steps", "random_state") and plain is not None:
        storable = type(plain) is int and 0 <= plain <= (STEPS if name == "num_steps" else plain)
    advice = ADVICE.get(name, "use a plain number, string, True, False or None")
    _require(storable, f"{name}={value!r:.200} cannot be stored as numbers and names; {advice}")
    return "inf" if plain == math.inf else plain  # JSON has no infinity


def _restore_parameters(stored: Json, encoder: Any) -> Parameters:
    raw: Json = {}
    for name, value in stored.items():
        raw[name] = math.inf if value == "inf" else value
        if isinstance(value, dict):
            value = ADDED_TO_SAMPLERS.get(value.get("class"), {}) | value
            settings = dict(value)
            known = CLASSES.get(name, {}).get(settings.pop("class", None))
            if known and all(map(_is_setting, settings.values())):
                raw[name] = known(**settings)
        _require(_describe(name, raw[name]) == value, f"{name!r} cannot be {value!r:.40}")
    _require(encoder is not None or not raw["image_encoder"], "the image encoder is missing")
    return Parameters(**{**raw, "image_encoder": encoder if raw["image_encoder"] else None})


def _is_setting(value: Any) -> bool:
    """Return whether a stored setting of an object is a number, a string, or a list of numbers."""
    return type(value) in (int, float, str) or (type(value) is list and all(type(one) is float for one in value))


def _describe_statistics(statistics: Statistics, encoder: Any) -> Json:
    """Return what of the statistics is no array, as JSON; `encoder` is that of the latents or of the styles."""
    styles = statistics.styles
    numbers = {name: float(getattr(encoder, name)) for name in NUMBERS} if encoder else {}
    return {
        "image_shape": list(statistics.image_shape),
        "pixel_range": [float(bound) for bound in statistics.pixel_range],
        "pixel_dtype": statistics.pixel_dtype.name,
        "prompts": list(statistics.prompts),
        "latents": statistics.encoder is not None,
        "encoder": {"dtype": encoder.dtype.name, **numbers} if encoder else None,
        "styles": styles
        and {
            "requested": styles.clusters.requested,
            "shared": styles.clusters.shared,
            "rank": float(styles.rank),
            "truncated": styles.truncated,
        },
    }


def _arrays(statistics: Statistics, encoder: Any, precision: str, style_rank: float | str) -> Arrays:
    """Return the arrays of the statistics as they are stored."""
    styles, half, found = statistics.styles, precision != "full", {}
    parts = [("moments", statistics.moments), ("encoder", encoder), ("histogram", statistics.histogram)]
    parts += [("pixels", statistics.pixels), ("style_pixels", styles and styles.pixels)]
    low = styles is not None and _is_low_rank(precision, styles.clusters.shared)
    if styles is not None and low:
        rank = styles.rank if isinstance(style_rank, str) else float(style_rank)
        found = {f"styles.{name}": one for name, one in _low_rank(styles, rank).items()}
    elif styles is not None:
        parts += [("styles", one) for one in (styles, styles.clusters, styles.moments)]
    for part, owner in parts:
        values = {} if owner is None else {one.name: getattr(owner, one.name) for one in fields(owner)}
        arrays = {name: one for name, one in values.items() if isinstance(one, np.ndarray)}
        if isinstance(owner, StyleClusters):
            arrays["prompt"] = owner.prompt.astype(np.int64)
        elif isinstance(owner, Moments):
            scatter = arrays.pop("scatter")
            arrays |= zip(SCATTER[half], compress(scatter) if half else [pack(scatter)], strict=True)
        elif isinstance(owner, PixelMoments) and half:
            stored = compress_pixels(owner, statistics.pixel_range, low and part == "style_pixels")
            arrays = {"weight": owner.weight, **dict(zip(PIXELS[half], stored, strict=True))}
        elif isinstance(owner, JointMoments):
            size = math.isqrt(owner.matrix.size)
            arrays["matrix"] = pack(owner.matrix.reshape(1, size, size))[0]
        found |= {f"{part}.{name}": one for name, one in arrays.items()}
    if statistics.residual is not None:
        residual = statistics.residual
        found["residual.total"] = residual.total
        found["residual.sums"] = np.array([residual.weight, residual.outside, residual.second])
    return {name: _smallest(name, one, half) for name, one in found.items()}


def _is_low_rank(precision: str, shared: bool) -> bool:
    return precision == "low_rank" and not shared  # no style of prompts that share words is drawn by itself


def _low_rank(styles: StyleStatistics, rank: float) -> Arrays:
    """Return the arrays that LOW_RANK lists."""
    moments, clusters = styles.moments, styles.clusters
    origin = moments.pooled().mean[0]
    held = moments.weight[:, None] > 0
    count = number_of_directions(moments.effective, rank, len(origin), LEAST)
    codes, scale, trace, rest = truncate(moments.scatter, count)
    found: Arrays = {"prompt": clusters.prompt.astype(np.int64), "origin": origin}
    found |= {"weight": moments.weight, "squares": moments.squares, "count": count.astype(np.int64), "trace": trace}
    found |= {"factor_codes": codes, "factor_scale": scale}
    found |= zip(("mean_codes", "mean_scale"), quantize(held * (moments.mean - origin), np.int16), strict=True)
    found |= zip(("centre_codes", "centre_scale"), quantize(clusters.centres - origin, np.int16), strict=True)
    return {**found, **dict(zip(("spread", "root"), compress(rest[None]), strict=True))}


def _smallest(name: str, array: NDArray[Any], half: bool = False) -> NDArray[Any]:
    """Return a float32 array where nothing is lost by it; in half precision six digits may suffice."""
    if array.dtype == np.float64:
        with np.errstate(over="ignore", under="ignore"):
            single = array.astype(np.float32)
        allowed: Any = 0.0
        if half and not name.endswith(LOSSLESS):
            size = np.abs(array)
            allowed = 1e-6 * (size.max() if name.endswith(("components", "centres")) else size)
        if (np.abs(single - array) <= allowed).all():
            array = single
    return np.ascontiguousarray(array)


def _take(arrays: Arrays, part: str, shapes: dict[str, str], sizes: dict[str, int]) -> dict[str, Any]:
    """Remove the arrays of a part, check them and return them; an axis without a size gets that of its array."""
    found = {}
    for last, axes in shapes.items():
        name = f"{part}.{last}"
        _require(name in arrays, f"the array {name} is missing")
        array = arrays.pop(name)
        sizes = dict(zip(axes, array.shape, strict=False)) | sizes
        shape, got, dtypes = tuple(map(sizes.get, axes)), array.shape, DTYPES.get(last, ("float32", "float64"))
        _require(array.size and got == shape, f"the array {name} must have the shape {shape}, got {got}")
        _require(array.dtype.name in dtypes, f"the array {name} must be one of {dtypes}, got {array.dtype}")
        _require(np.isfinite(array).all(), f"the array {name} holds NaN or infinity")
        _require(last not in NOT_NEGATIVE or (array >= 0).all(), f"the array {name} must not be negative")
        found[last] = array if last in DTYPES else array.astype(np.float64)
    return found


def _restore_statistics(config: Json, arrays: Arrays) -> Statistics:
    shape, prompts, embedding = tuple(config["image_shape"]), tuple(config["prompts"]), config["embedding"]
    bounds, half = config["pixel_range"], config["precision"] != "full"
    _require(prompts == vocabulary(prompts), "'prompts' must be sorted, and each there once")
    _require(len(bounds) == 2 and bounds == sorted(bounds), f"'pixel_range' must rise, got {bounds!r:.40}")
    _require(bool(prompts) == (embedding is None), "there must be either prompts or the size of an embedding")
    encoder = None if config["encoder"] is None else _restore_encoder(config["encoder"], arrays, shape)
    _require(encoder or not (config["latents"] or config["styles"]), "the encoder of the latents is missing")
    n = len(encoder.components) if encoder is not None and config["latents"] else math.prod(shape)
    moments: Moments | JointMoments
    if embedding is not None or "moments.matrix" in arrays:
        moments = _restore_joint(arrays, n)
        if embedding is not None:
            k, names = len(moments.matrix) - 1, embedding["names"]
            same = embedding["size"] == k and (not names or len(names) == k)
            _require(same, f"'embedding' must have the size and the names of {k} entries")
    else:
        moments = _restore_moments(arrays, "moments", len(prompts), n, half)
    styles = histogram = None
    range_, D = (bounds[0], bounds[1]), math.prod(shape)
    if encoder is not None and config["styles"] is not None:
        styles = _restore_styles(config["styles"], arrays, encoder, len(prompts), config["precision"])
        styles = replace(
            styles, pixels=_restore_pixels(arrays, "style_pixels", styles.moments.weight, D, range_, half)
        )
    pixels = None
    if config["latents"]:
        pixels = _restore_pixels(arrays, "pixels", getattr(moments, "weight", None), D, range_, half)
    if "histogram.values" in arrays:
        histogram = Histogram(**_take(arrays, "histogram", HISTOGRAM, {}))
        rising = (np.diff(histogram.values) > 0).all() and histogram.weight.all()
        _require(rising, "the histogram's values must rise, and their weights be above 0")
    residual = None
    if "residual.sums" in arrays:
        taken = _take(arrays, "residual", RESIDUAL, {"D": math.prod(shape), "r": 3})
        weight, outside, second = taken["sums"].tolist()
        _require(weight > 0 and outside >= 0 and second >= 0, "residual.sums must be above 0")
        residual = Residual(weight, taken["total"], outside, second)
    _require(not arrays, f"the array {min(arrays, default='')!r:.40} is superfluous")
    dtype, encoder = np.dtype(config["pixel_dtype"]), encoder if config["latents"] else None
    return Statistics(moments, prompts, shape, range_, dtype, encoder, styles, histogram, residual, pixels)


def _restore_moments(arrays: Arrays, part: str, g: int, n: int, half: bool) -> Moments:
    sizes = {"g": g, "n": n, "T": triangle(n)}
    weight, squares, mean, *stored = _take(arrays, part, MOMENTS | SCATTER[half], sizes).values()
    _check_weights(part, weight, squares)
    scatter = expand(*stored) if half else unpack(stored[0], n)
    _require(np.isfinite(scatter).all(), f"{part}.spread holds numbers whose squares overflow")
    return Moments(weight, squares, mean, scatter)


def _check_weights(part: str, weight: Array, squares: Array) -> None:
    alike = ((squares > 0) == (weight > 0)).all()
    _require(weight.any(), f"{part}.weight must not be 0 everywhere")
    _require(alike, f"{part}.squares must be above 0 where there are images, else 0")


def _restore_pixels(
    arrays: Arrays, part: str, images: NDArray[Any] | None, D: int, pixel_range: tuple[float, float], half: bool
) -> PixelMoments | None:
    """Return the moments of the pixels of groups of these weights (g,); None if they were not counted."""
    if images is None or f"{part}.weight" not in arrays:
        return None
    shapes = {"weight": "g", **PIXELS[half]}
    weight, mean, scatter = _take(arrays, part, shapes, {"g": len(images), "D": D}).values()
    _require(((weight > 0) == (images > 0)).all(), f"{part}.weight must be above 0 where there are images, else 0")
    found = expand_pixels(weight, mean, scatter, pixel_range) if half else PixelMoments(weight, mean, scatter)
    _require((found.scatter >= 0).all(), f"{part}.scatter must not be negative")
    _require(
        np.isfinite(found.mean + found.scatter).all(), f"{part}.deviation holds numbers whose squares overflow"
    )
    return found


def _restore_joint(arrays: Arrays, n: int) -> JointMoments:
    packed, origin = _take(arrays, "moments", JOINT, {"n": n}).values()
    size = math.isqrt(2 * len(packed))
    k, rest = divmod(size, n + 1)
    whole = not rest and triangle(size) == len(packed) and packed[0] > 0
    _require(whole, f"moments.matrix must be that of images of {n} entries, and its weight above 0")
    return JointMoments(unpack(packed[None], size).reshape(k, n + 1, k, n + 1), origin)


def _restore_encoder(stored: Json, arrays: Arrays, shape: tuple[int, ...]) -> ImageEncoder:
    found = _take(arrays, "encoder", ENCODER, {"D": math.prod(shape)})
    encoder = ImageEncoder(image_shape=shape, **{**stored, "dtype": np.dtype(stored["dtype"])}, **found)
    d, D = encoder.components.shape
    possible = d <= D and min(stored[name] for name in NUMBERS) >= 0
    _require(possible, f"the encoder must have {D} components at most, and variances of 0 or more")
    _require(encoder.scaling_factor > 0 and encoder.pixel_scale.all(), "the encoder's scales must be above 0")
    return encoder


def _restore_styles(stored: Json, arrays: Arrays, encoder: ImageEncoder, p: int, precision: str) -> StyleStatistics:
    d, moments = len(encoder.components), None
    if _is_low_rank(precision, stored["shared"]):
        owner, centres, moments = _restore_low_rank(arrays, d)
    else:
        owner, centres = _take(arrays, "styles", STYLES, {"n": d}).values()
    ordered = owner[0] == 0 and owner[-1] == p - 1 and np.isin(np.diff(owner), (0, 1)).all()
    _require(ordered, "styles.prompt must name the prompts in order, each at least once")
    least, most, requested = np.bincount(owner).min(), np.bincount(owner).max(), stored["requested"]
    _require(requested == "auto" or type(requested) is int, f"'requested' cannot be {requested!r:.40}")
    possible = (requested == "auto" or most <= requested) and (not stored["shared"] or least == most)
    _require(possible, f"prompts have {least} to {most} styles, {requested} were requested")
    _require(
        0.0 < stored["rank"] <= 1.0, f"the rank of the styles must be above 0 and at most 1, got {stored['rank']}"
    )
    if moments is None:
        moments = _restore_moments(arrays, "styles", len(owner), d, precision != "full")
    clusters = StyleClusters(centres, owner.astype(np.intp), requested, stored["shared"])
    return StyleStatistics(clusters, moments, encoder, stored["rank"], truncated=stored["truncated"])


def _restore_low_rank(arrays: Arrays, d: int) -> tuple[NDArray[np.int64], Array, Moments]:
    """Return the prompts, the centres and the moments of styles that are stored by their directions."""
    taken = _take(arrays, "styles", LOW_RANK, {"n": d, "T": triangle(d), "o": 1})
    count, weight, squares, origin = (taken[name] for name in ("count", "weight", "squares", "origin"))
    whole = ((count > 0) & (count <= d)).all() and count.sum() == len(taken["factor_codes"])
    _require(whole, f"styles.count must be from 1 to {d}, and its sum the number of directions")
    _check_weights("styles", weight, squares)
    factors, means, centres = (
        (taken[f"{one}_codes"], taken[f"{one}_scale"]) for one in ("factor", "mean", "centre")
    )
    (rest,) = expand(taken["spread"], taken["root"])
    scatter = complete(*factors, count, taken["trace"], rest)
    _require(
        np.isfinite(scatter).all(), "styles.factor_scale, trace or spread holds numbers whose squares overflow"
    )
    mean = np.where(weight[:, None] > 0, origin + dequantize(*means), 0.0)
    return taken["prompt"], origin + dequantize(*centres), Moments(weight, squares, mean, scatter)
