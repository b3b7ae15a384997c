"""A model as one file: ``model.safetensors``, with its configuration as JSON in the metadata.

The file stores the statistics and the parameters. Everything else follows from them, so a loaded model draws the
same pixels and continues to learn. Nothing is pickled: a file is numbers and names and cannot run code, so
functions and transformers cannot be stored.

With p prompts, n pixels (or latents, where the moments are of latents), D pixels, d latents, g styles, embeddings
of k entries and N = (k + 1) (n + 1), the arrays are

    moments.weight (p,), moments.mean (p, n), moments.scatter (p, n (n + 1) / 2)        for strings
    moments.matrix (N (N + 1) / 2,), moments.origin (n,)                                joint with embeddings
    encoder.mean (D,), .components (d, D), .variance (d,), .pixel_scale (D,)            with latents
    styles.centres, .mean (g, d), .prompt, .weight, .squares (g,), .scatter (g, d (d + 1) / 2)
    histogram.values, .weight (v,)

A float64 array whose entries are all float32 is stored as float32. In half precision a .scatter is stored as
.spread (g, d) and .root (g, d (d + 1) / 2), see compact.py; spreads, centres and components are rounded to
float32, while means, joint moments and the histogram keep all digits.

The file is written beside the old one and then replaces it in one step, so readers and interrupts find the old
model or the new one. ``config.json`` is written beside it for people and for the Hub, and is never read.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from lineardiffusion.diffusion.samplers import SAMPLERS
from lineardiffusion.diffusion.schedules import SCHEDULES
from lineardiffusion.encoders.clusters import StyleClusters
from lineardiffusion.encoders.image import ImageEncoder
from lineardiffusion.encoders.text import vocabulary
from lineardiffusion.io.compact import compress, expand, pack, triangle, unpack
from lineardiffusion.parameters import Parameters
from lineardiffusion.statistics.dataset import Statistics
from lineardiffusion.statistics.histogram import Histogram
from lineardiffusion.statistics.joint import JointMoments
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.styles import StyleStatistics

CONFIG, WEIGHTS = "config.json", "model.safetensors"
KEY = "lineardiffusion"  # of the metadata; a single one, for safetensors writes several in random order
FORMAT = 2
LARGEST = 2**40  # number of anything that is counted
STEPS = 10**7  # at most, because a sampler allocates its times

Arrays = dict[str, NDArray[Any]]
Json = dict[str, Any]

CLASSES: dict[str, dict[str, type]] = {
    "schedule": {one.__name__: one for one in SCHEDULES.values()},
    "sampler": {**SAMPLERS},
}
CLASS_NAMES = {one: name for known in CLASSES.values() for name, one in known.items()}
PIXELS = {np.dtype(code).name for code in f"?{np.typecodes['AllInteger']}{np.typecodes['Float']}"}
NUMBERS = ("residual_variance", "pixel_variance", "scaling_factor")  # of an encoder
VECTORS = ("mean", "variance", "pixel_scale")  # of an encoder
DTYPES = {"prompt": ("int64",), "root": ("float16",)}  # by the last part of an array's name; others are floating
NOT_NEGATIVE = ("weight", "spread", "squares", "variance", "pixel_scale")
LOSSLESS = ("matrix", "origin", "weight", "mean", "squares", "values")  # stored whole at any precision

# The kind of every field of the configuration, see _check; Parameters checks its own
FIELDS: Json = {
    "model_type": {KEY},
    "format_version": int,
    "library_version": str,
    "precision": {"full", "half"},
    "parameters": {one.name: object for one in fields(Parameters)},
    "embedding": (None, {"size": int, "names": (None, [str])}),
    "image_shape": [int],
    "pixel_range": [float],
    "pixel_dtype": PIXELS,
    "prompts": [str],
    "latents": bool,  # whether the moments are of latents
    "encoder": (None, {"dtype": {"float32", "float64"}, **dict.fromkeys(NUMBERS, float)}),
    "styles": (None, {"requested": int, "shared": bool}),
}

# ---------------------------------------------------------------------- writing and reading


def save(
    folder: Path,
    statistics: Statistics,
    parameters: Parameters,
    embedding: Json | None,
    precision: str,
    version: str,
) -> None:
    """Write a model to a folder, which is made if need be.

    `embedding` holds the ``size`` and the ``names`` (or None) of embeddings, or is None for prompts that are
    strings. A parameter that cannot be stored is a ValueError.
    """
    if precision not in ("full", "half"):
        raise ValueError(f'precision must be "full" or "half", got {precision!r}')
    described = _describe_parameters(parameters, statistics)
    described_statistics, arrays = _describe_statistics(statistics, precision == "half")
    config = {
        "model_type": KEY,
        "format_version": FORMAT,
        "library_version": version,
        "precision": precision,
        "parameters": described,
        "embedding": embedding,
        **described_statistics,
    }
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; give the folder that {WEIGHTS} goes to")
    folder.mkdir(parents=True, exist_ok=True)
    with _replacing(folder / WEIGHTS) as path:
        safetensors.numpy.save_file(arrays, path, {KEY: json.dumps(config, allow_nan=False)})
    with _replacing(folder / CONFIG) as path:
        path.write_text(json.dumps(config, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[Statistics, Parameters, Json | None]:
    """Read statistics, parameters and the description of embeddings from a model file.

    A file that was truncated or altered, or is not one of this library, is a ValueError that names the file.
    """
    with _opened(path) as (config, file):
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
        statistics = _restore_statistics(config, arrays)
        return statistics, _restore_parameters(config["parameters"], statistics), config["embedding"]


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
            if type(version) is int and version > FORMAT:
                raise ValueError(
                    f"its format is {version}, and this version of the library reads format {FORMAT}; "
                    "pip install --upgrade linear-diffusion"
                )
            if version != FORMAT:
                raise ValueError("it is not a model of this library: its metadata has no such configuration")
            _check(config, FIELDS, "the configuration")
            yield config, file
    except (
        ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, SafetensorError, TypeError,
        ValueError,
    ) as error:  # fmt: skip
        raise ValueError(f"cannot load {path}: {str(error) or type(error).__name__}") from error


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text:.40} is not a finite number")
    return number


def _check(value: Any, kind: Any, name: str) -> None:
    """Raise an error unless a JSON value is of a kind.

    A kind is a type (int: 1 to LARGEST, object: any), a set of strings, (None, kind), [kind of every entry] or
    {field: kind}.
    """
    if isinstance(kind, tuple) and value is not None:
        kind = kind[1]
    if isinstance(kind, list) and isinstance(value, list):
        for one in value:
            _check(one, kind[0], name)
    elif isinstance(kind, dict) and isinstance(value, dict):
        if odd := sorted(kind.keys() ^ value.keys()):
            raise ValueError(f"{name} {'lacks' if odd[0] in kind else 'has an unknown field'} {odd[0]!r:.40}")
        for key, one in kind.items():
            _check(value[key], one, key)
    elif not (
        (isinstance(kind, tuple) and value is None)
        or (isinstance(kind, set) and type(value) is str and value in kind)
        or (kind in (object, type(value)) and (kind is not int or 1 <= value <= LARGEST))
    ):
        raise ValueError(f"{name!r} cannot be {value!r:.40}")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file that replaces the old one at the end, in one step."""
    new = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(new, "xb") as file:
            mode = os.fstat(file.fileno()).st_mode
        yield new
        new.chmod(mode)  # safetensors makes files for their owner alone
        with open(new, "rb") as file:
            os.fsync(file.fileno())
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


# ---------------------------------------------------------------------- parameters

ADVICE = {
    "text_encoder": 'fit with text_encoder="words" or "positions", or on your own embeddings',
    "image_encoder": "fit on its latents: LinearDiffusion().fit(prompts, encoder.encode(images))",
    "random_state": "refit(random_state=...) with an int of 0 or more, or None",
    "num_steps": f"refit(num_steps=...) with {STEPS} at most",
} | {
    name: f"refit({name}=...) with one of {', '.join(known)} before you save, and with your own after you load"
    for name, known in CLASSES.items()
}


def _describe_parameters(parameters: Parameters, statistics: Statistics) -> Json:
    """Return the constructor's parameters as JSON; a ValueError for one that cannot be stored."""
    raw = parameters.raw()
    described = {name: _describe(value) for name, value in raw.items()}
    described["scale"] = bool(raw["scale"])
    encoders = raw["image_encoder"], statistics.encoder
    if all(isinstance(one, ImageEncoder | None) for one in encoders):
        described["image_encoder"] = None not in encoders
    for name, value in described.items():
        if not _storable(name, value):
            advice = ADVICE.get(name, "use a plain number, string, True, False or None")
            raise ValueError(f"{name}={raw[name]!r} cannot be stored as numbers and names; {advice}")
    return described


def _describe(value: Any) -> Any:
    """Return a number as Python's own, and an object of CLASSES as its name and settings."""
    if type(value) in CLASS_NAMES:
        settings = {one.name: _describe(getattr(value, one.name)) for one in fields(value)}
        return {"class": CLASS_NAMES[type(value)], **settings}
    plain = value.item() if isinstance(value, np.generic) else value
    return "inf" if isinstance(plain, float) and plain == math.inf else plain  # JSON has no infinity


def _storable(name: str, value: Any) -> bool:
    """Return whether a parameter or a setting, described as JSON, may be stored."""
    if name in CLASSES and type(value) is dict:
        known = CLASSES[name].get(value.get("class"))  # type: ignore[arg-type]
        settings = {key: one for key, one in value.items() if key != "class"}
        numbers = all(type(one) in (int, float) and _storable(key, one) for key, one in settings.items())
        return known is not None and numbers and settings.keys() == {one.name for one in fields(known)}
    if name in ("scale", "image_encoder"):
        return type(value) is bool
    if name in ("num_steps", "random_state"):
        return value is None or (type(value) is int and 0 <= value <= (STEPS if name == "num_steps" else value))
    return value is None or type(value) in (int, float, str)


def _restore_parameters(stored: Json, statistics: Statistics) -> Parameters:
    raw = dict(stored)
    for name, value in stored.items():
        if not _storable(name, value):
            raise ValueError(f"{name!r} cannot be {value!r:.40}")
        if isinstance(value, dict):
            settings = {key: one for key, one in value.items() if key != "class"}
            raw[name] = CLASSES[name][value["class"]](**settings)
        elif value == "inf":
            raw[name] = math.inf
    if raw["image_encoder"] and statistics.encoder is None:
        raise ValueError("the image encoder is missing")
    raw["image_encoder"] = statistics.encoder if raw["image_encoder"] else None
    return Parameters(**raw)


# ---------------------------------------------------------------------- statistics


def _describe_statistics(statistics: Statistics, half: bool) -> tuple[Json, Arrays]:
    """Return statistics as JSON, and their arrays as they are stored."""
    moments, styles, histogram = statistics.moments, statistics.styles, statistics.histogram
    config: Json = {
        "image_shape": list(statistics.image_shape),
        "pixel_range": [float(bound) for bound in statistics.pixel_range],
        "pixel_dtype": statistics.pixel_dtype.name,
        "prompts": list(statistics.prompts),
        "latents": statistics.encoder is not None,
        "encoder": None,
        "styles": None,
    }
    if isinstance(moments, Moments):
        arrays = _flatten(moments, "moments", half)
    else:
        size = math.prod(moments.matrix.shape[:2])
        packed = pack(moments.matrix.reshape(1, size, size))[0]
        arrays = {"moments.matrix": packed, "moments.origin": moments.origin}
    encoder: Any = statistics.encoder or (styles and styles.encoder)
    if encoder is not None:
        config["encoder"] = {"dtype": encoder.dtype.name} | {
            name: float(getattr(encoder, name)) for name in NUMBERS
        }
        arrays |= {f"encoder.{name}": getattr(encoder, name) for name in (*VECTORS, "components")}
    if styles is not None:
        clusters = styles.clusters
        config["styles"] = {"requested": int(clusters.requested), "shared": clusters.shared}
        arrays |= _flatten(styles.moments, "styles", half)
        arrays |= {"styles.centres": clusters.centres, "styles.prompt": clusters.prompt.astype(np.int64)}
        arrays["styles.squares"] = styles.squares
    if histogram is not None:
        arrays |= {"histogram.values": histogram.values, "histogram.weight": histogram.weight}
    return config, {name: _smallest(name, one, half) for name, one in arrays.items()}


def _flatten(moments: Moments, name: str, half: bool) -> Arrays:
    arrays: Arrays = {f"{name}.weight": moments.weight, f"{name}.mean": moments.mean}
    if not half:
        return {**arrays, f"{name}.scatter": pack(moments.scatter)}
    spread, root = compress(moments.scatter)
    return {**arrays, f"{name}.spread": spread, f"{name}.root": root}


def _smallest(name: str, array: NDArray[Any], half: bool = False) -> NDArray[Any]:
    """Return a float32 array where nothing is lost by it; in half precision six digits may suffice."""
    if array.dtype == np.float64:
        with np.errstate(over="ignore", under="ignore"):
            single = array.astype(np.float32)
        allowed: Any = 0.0
        if half and not name.endswith(LOSSLESS):
            largest = np.abs(array).max() if name.endswith(("components", "centres")) else np.abs(array)
            allowed = 1e-6 * largest
        if (np.abs(single - array) <= allowed).all():
            array = single
    return np.ascontiguousarray(array)


def _take(arrays: Arrays, name: str, *shape: int | str) -> Any:
    """Remove an array, check it and return it, as float64 if it is floating; a str is any length."""
    if name not in arrays:
        raise ValueError(f"the array {name} is missing")
    array, last = arrays.pop(name), name.rpartition(".")[2]
    free = tuple(n if isinstance(m, str) else m for n, m in zip(array.shape, shape, strict=False))
    if array.shape != free or len(free) != len(shape) or not array.size:
        raise ValueError(f"the array {name} must have the shape {shape}, got {array.shape}")
    if array.dtype.name not in DTYPES.get(last, ("float32", "float64")):
        raise ValueError(f"the array {name} has the dtype {array.dtype}, which is not one that is stored")
    if not np.isfinite(array).all():
        raise ValueError(f"the array {name} holds NaN or infinity")
    if last in NOT_NEGATIVE and (array < 0).any():
        raise ValueError(f"the array {name} must not be negative")
    return array if last in DTYPES else array.astype(np.float64)


def _restore_statistics(config: Json, arrays: Arrays) -> Statistics:
    shape, prompts, bounds = tuple(config["image_shape"]), tuple(config["prompts"]), config["pixel_range"]
    half, latents, embedding = config["precision"] == "half", config["latents"], config["embedding"]
    if prompts != vocabulary(prompts):
        raise ValueError("'prompts' must be sorted, and each there once")
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise ValueError(f"'pixel_range' must be two rising numbers, got {bounds!r:.40}")
    if bool(prompts) != (embedding is None):
        raise ValueError("there must be either prompts or the size of an embedding")
    encoder = None if config["encoder"] is None else _restore_encoder(config["encoder"], arrays, shape)
    if encoder is None and (latents or config["styles"] is not None):
        raise ValueError("the encoder of the latents is missing")
    n = len(encoder.components) if latents and encoder is not None else math.prod(shape)
    moments: Moments | JointMoments
    if embedding is not None or "moments.matrix" in arrays:
        moments = _restore_joint(arrays, n)
        size = len(moments.matrix) - 1
        if embedding is not None and {embedding["size"], len(embedding["names"] or [()] * size)} != {size}:
            raise ValueError(f"'embedding' must have the size and the names of {size} entries")
    else:
        moments = _restore_moments(arrays, "moments", len(prompts), n, half)
    styles, histogram = None, None
    if config["styles"] is not None:
        assert encoder is not None
        styles = _restore_styles(config["styles"], arrays, encoder, len(prompts), half)
    if "histogram.values" in arrays:
        values = _take(arrays, "histogram.values", "v")
        histogram = Histogram(values, _take(arrays, "histogram.weight", len(values)))
        if (np.diff(values) <= 0).any() or not histogram.weight.all():
            raise ValueError("the histogram's values must rise, and their weights be above 0")
    if arrays:
        raise ValueError(f"the array {min(arrays)!r:.40} is superfluous")
    dtype, encoder = np.dtype(config["pixel_dtype"]), encoder if latents else None
    return Statistics(moments, prompts, shape, (bounds[0], bounds[1]), dtype, encoder, styles, histogram)


def _restore_moments(arrays: Arrays, name: str, g: int, d: int, half: bool) -> Moments:
    weight, mean = _take(arrays, f"{name}.weight", g), _take(arrays, f"{name}.mean", g, d)
    if not weight.any():
        raise ValueError(f"{name}.weight must not be 0 everywhere")
    if not half:
        return Moments(weight, mean, unpack(_take(arrays, f"{name}.scatter", g, triangle(d)), d))
    scatter = expand(_take(arrays, f"{name}.spread", g, d), _take(arrays, f"{name}.root", g, triangle(d)))
    if not np.isfinite(scatter).all():
        raise ValueError(f"{name}.spread holds numbers whose squares overflow")
    return Moments(weight, mean, scatter)


def _restore_joint(arrays: Arrays, n: int) -> JointMoments:
    packed = _take(arrays, "moments.matrix", "N (N + 1) / 2")
    size = math.isqrt(2 * len(packed))
    k = size // (n + 1)
    if size % (n + 1) or triangle(size) != len(packed) or packed[0] <= 0:
        raise ValueError(f"moments.matrix must be that of images of {n} entries, and its weight above 0")
    matrix = unpack(packed[None], size).reshape(k, n + 1, k, n + 1)
    return JointMoments(matrix, _take(arrays, "moments.origin", n))


def _restore_encoder(stored: Json, arrays: Arrays, shape: tuple[int, ...]) -> ImageEncoder:
    D = math.prod(shape)
    components = _take(arrays, "encoder.components", "d", D)
    sizes = {"mean": D, "variance": len(components), "pixel_scale": D}
    vectors = {name: _take(arrays, f"encoder.{name}", sizes[name]) for name in VECTORS}
    settings = {**stored, "dtype": np.dtype(stored["dtype"])}
    encoder = ImageEncoder(components=components, image_shape=shape, **settings, **vectors)
    if len(components) > D or min(stored[name] for name in NUMBERS) < 0:
        raise ValueError(f"the encoder must have {D} components at most, and variances of 0 or more")
    if not encoder.scaling_factor or not encoder.pixel_scale.all():
        raise ValueError("the encoder's scales must be above 0")
    return encoder


def _restore_styles(stored: Json, arrays: Arrays, encoder: ImageEncoder, p: int, half: bool) -> StyleStatistics:
    owner = _take(arrays, "styles.prompt", "g").astype(np.intp)
    if owner[0] != 0 or owner[-1] != p - 1 or not np.isin(np.diff(owner), (0, 1)).all():
        raise ValueError("styles.prompt must name the prompts in order, each at least once")
    counts, g, d = np.bincount(owner), len(owner), len(encoder.components)
    if counts.max() > stored["requested"] or (stored["shared"] and counts.min() != counts.max()):
        raise ValueError(
            f"prompts have {counts.min()} to {counts.max()} styles, {stored['requested']} were requested"
        )
    moments = _restore_moments(arrays, "styles", g, d, half)
    squares = _take(arrays, "styles.squares", g)
    if ((squares == 0) & (moments.weight > 0)).any():
        raise ValueError("styles.squares must be above 0 where a style has images")
    clusters = StyleClusters(_take(arrays, "styles.centres", g, d), owner, **stored)
    return StyleStatistics(clusters, moments, squares, encoder)
