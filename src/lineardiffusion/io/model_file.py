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
from collections.abc import Iterator, Mapping
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
from lineardiffusion.parameters import CONTRASTS, Parameters
from lineardiffusion.statistics.dataset import Statistics
from lineardiffusion.statistics.histogram import Histogram
from lineardiffusion.statistics.joint import JointMoments
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.styles import StyleStatistics

CONFIG, WEIGHTS = "config.json", "model.safetensors"
KEY = "lineardiffusion"  # of the metadata; a single one, for safetensors writes several in random order
FORMAT = 2
PRECISIONS = ("full", "half")

Arrays = dict[str, NDArray[Any]]
Json = dict[str, Any]

# ---------------------------------------------------------------------- the configuration

COUNT, STEPS = range(1, 2**40), range(1, 10**7 + 1)  # fewer steps, for a sampler allocates its times
CLASSES: dict[str, Mapping[str, type]] = {
    "schedule": {one.__name__: one for one in SCHEDULES.values()},
    "sampler": SAMPLERS,
}
CLASS_NAMES = {one: name for known in CLASSES.values() for name, one in known.items()}


def _objects(known: Mapping[str, type]) -> tuple[Any, ...]:
    """Return the kinds of a schedule or a sampler: a name, or a class with its settings."""
    settings = {
        name: {one.name: STEPS if one.name == "num_steps" else float for one in fields(kind)}  # type: ignore[arg-type]
        for name, kind in known.items()
    }
    return (str, *({"class": {name}, **kinds} for name, kinds in settings.items()))


# The kind of every field, see _fits.
FIELDS: Json = {
    "model_type": {KEY},
    "format_version": range(FORMAT, FORMAT + 1),
    "library_version": str,
    "precision": {*PRECISIONS},
    "parameters": {
        "n_components": COUNT,
        "scale": bool,
        "image_encoder": bool,  # whether the encoder of the latents is a parameter
        "text_encoder": (None, str),
        "n_styles": COUNT,
        "contrast": (None, {*CONTRASTS} - {None}),
        "schedule": _objects(CLASSES["schedule"]),
        "sampler": _objects(CLASSES["sampler"]),
        "num_steps": STEPS,
        "guidance_scale": float,
        "max_memory": (float, {"inf"}),  # JSON has no infinity
        "cache_memory": (float, {"inf"}),
        "random_state": (None, range(2**64)),
    },
    "embedding": (None, {"size": COUNT, "names": (None, [str])}),
    "image_shape": [COUNT],
    "pixel_range": [float],
    "pixel_dtype": {
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float16", "float32", "float64", "float128",
    },
    "prompts": [str],
    "latents": bool,  # whether the moments are of latents
    "encoder": (
        None,
        {
            "residual_variance": float, "pixel_variance": float, "scaling_factor": float,
            "dtype": {"float32", "float64"},
        },
    ),
    "styles": (None, {"requested": COUNT, "shared": bool}),
}  # fmt: skip

ADVICE = {
    "text_encoder": 'fit with text_encoder="words" or "positions", or on your own embeddings',
    "image_encoder": "fit on its latents: LinearDiffusion().fit(prompts, encoder.encode(images))",
    "random_state": "refit(random_state=...) with an int of 0 or more, or None",
} | {
    name: f"refit({name}=...) with one of {', '.join(known)} before you save, and with your own after you load"
    for name, known in CLASSES.items()
}


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a JSON value is of a kind.

    A kind is None, a type (float: any finite number), a range of whole numbers, a set of strings, a list with the
    kind of every entry, a dict with the kind of every field, or a tuple of alternatives.
    """
    if isinstance(kind, tuple):
        return any(_fits(value, one) for one in kind)
    if isinstance(kind, dict):
        same = type(value) is dict and value.keys() == kind.keys()
        return same and all(_fits(value[key], one) for key, one in kind.items())
    if isinstance(kind, list):
        return type(value) is list and all(_fits(one, kind[0]) for one in value)
    if isinstance(kind, range | set):
        return type(value) is (int if isinstance(kind, range) else str) and value in kind
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return value is kind or type(value) is kind


def _words(kind: Any) -> str:
    """Describe a kind in words."""
    if isinstance(kind, tuple):
        return ", or ".join(map(_words, kind))
    if isinstance(kind, dict):
        return f"an object of {', '.join(kind)}"
    if isinstance(kind, list):
        return f"a list, each entry {_words(kind[0])}"
    if isinstance(kind, range):
        return f"a whole number from {kind[0]} to {kind[-1]}"
    if isinstance(kind, set):
        return " or ".join(map(repr, sorted(kind)))
    return {None: "null", str: "a string", bool: "true or false", float: "a finite number"}[kind]


def _check(config: Any, kinds: Json, name: str) -> None:
    """Raise an error that names the first field that is missing, unknown or of the wrong kind."""
    if type(config) is not dict:
        raise ValueError(f"{name} must be an object, got {config!r:.40}")
    for key in sorted(kinds.keys() | config.keys()):
        if key not in config or key not in kinds:
            raise ValueError(f"{name} {'lacks' if key in kinds else 'has an unknown field'} {key!r:.40}")
        if isinstance(kinds[key], dict):
            _check(config[key], kinds[key], key)
        elif not _fits(config[key], kinds[key]):
            raise ValueError(f"{key!r} must be {_words(kinds[key])}; got {config[key]!r:.40}")


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

    Parameters
    ----------
    folder : Path
        Folder of the model.
    statistics, parameters : Statistics, Parameters
        The model.
    embedding : dict or None
        ``size`` and ``names`` (or None) of the embeddings, if prompts are embeddings.
    precision : {"full", "half"}
        As in :meth:`lineardiffusion.LinearDiffusion.save_pretrained`.
    version : str
        Version of the library.

    Raises
    ------
    ValueError
        For a parameter that cannot be stored.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'precision must be "full" or "half", got {precision!r}')
    config = {
        "model_type": KEY,
        "format_version": FORMAT,
        "library_version": version,
        "precision": precision,
        "parameters": _describe_parameters(parameters, statistics.encoder),
        "embedding": embedding,
        **_describe_statistics(statistics),
    }
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; give the folder that {WEIGHTS} goes to")
    folder.mkdir(parents=True, exist_ok=True)
    arrays = _flatten(statistics, precision == "half")
    with _replacing(folder / WEIGHTS) as path:
        safetensors.numpy.save_file(arrays, path, {KEY: json.dumps(config, allow_nan=False)})
    with _replacing(folder / CONFIG) as path:
        path.write_text(json.dumps(config, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[Statistics, Parameters, Json | None]:
    """Read a model from its file.

    Returns
    -------
    statistics, parameters : Statistics, Parameters
    embedding : dict or None
        As for :func:`save`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file was truncated or altered, or is not one of this library; the message names the file.
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
    """Yield the configuration and the open file; errors about the content become a ValueError that names it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a model is a folder with {WEIGHTS}")
    try:
        with safe_open(path, framework="np") as file:
            config = json.loads((file.metadata() or {}).get(KEY, "null"))
            version = config.get("format_version") if isinstance(config, dict) else None
            if isinstance(version, int) and version > FORMAT:
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


def _describe_parameters(parameters: Parameters, encoder: Any) -> Json:
    """Return the constructor's parameters as JSON; a ValueError for one that cannot be stored."""
    raw = parameters.raw()
    for one in (raw["image_encoder"], encoder):
        if not isinstance(one, ImageEncoder | None):
            raise _not_storable("image_encoder", one)
    described = {name: _describe(value) for name, value in raw.items()}
    described["scale"] = bool(raw["scale"])
    described["image_encoder"] = raw["image_encoder"] is not None and encoder is not None
    for name, kind in FIELDS["parameters"].items():
        if not _fits(described[name], kind):
            raise _not_storable(name, raw[name])
    return described


def _describe(value: Any) -> Any:
    """Return a value as JSON: a class of the library with its settings, or a number as Python's own."""
    if type(value) in CLASS_NAMES:
        settings = {one.name: _describe(getattr(value, one.name)) for one in fields(value)}
        return {"class": CLASS_NAMES[type(value)], **settings}
    if isinstance(value, np.generic):
        value = value.item()
    return "inf" if isinstance(value, float) and value == math.inf else value


def _not_storable(name: str, value: Any) -> ValueError:
    advice = ADVICE.get(name) or f"it must be {_words(FIELDS['parameters'][name])}"
    return ValueError(
        f"{name}={value!r} cannot be stored: a model file holds numbers and names, not code; {advice}"
    )


def _restore_parameters(stored: Json, statistics: Statistics) -> Parameters:
    raw = dict(stored)
    for name, known in CLASSES.items():
        if isinstance(raw[name], dict):
            settings = dict(raw[name])
            raw[name] = known[settings.pop("class")](**settings)
    for name in ("max_memory", "cache_memory"):
        raw[name] = math.inf if raw[name] == "inf" else raw[name]
    if raw["image_encoder"] and statistics.encoder is None:
        raise ValueError("the image encoder is missing")
    raw["image_encoder"] = statistics.encoder if raw["image_encoder"] else None
    return Parameters(**raw)


# ---------------------------------------------------------------------- statistics

DTYPES = {"prompt": ("int64",), "root": ("float16",)}  # by the last part of the name; others are floating
NOT_NEGATIVE = ("weight", "spread", "squares", "variance", "pixel_scale")
LOSSLESS = ("matrix", "origin", "weight", "mean", "squares", "values")  # stored whole at any precision
RELATIVE_TO_LARGEST = ("components", "centres")


def _describe_statistics(statistics: Statistics) -> Json:
    encoder, styles = _stored_encoder(statistics), statistics.styles
    return {
        "image_shape": list(statistics.image_shape),
        "pixel_range": [float(bound) for bound in statistics.pixel_range],
        "pixel_dtype": statistics.pixel_dtype.name,
        "prompts": list(statistics.prompts),
        "latents": statistics.encoder is not None,
        "encoder": encoder
        and {
            "residual_variance": float(encoder.residual_variance),
            "pixel_variance": float(encoder.pixel_variance),
            "scaling_factor": float(encoder.scaling_factor),
            "dtype": encoder.dtype.name,
        },
        "styles": styles and {"requested": int(styles.clusters.requested), "shared": styles.clusters.shared},
    }


def _stored_encoder(statistics: Statistics) -> ImageEncoder | None:
    """Return the encoder of the latents that the moments or the styles are of."""
    encoder = statistics.encoder if statistics.styles is None else statistics.styles.encoder
    assert encoder is None or isinstance(encoder, ImageEncoder)
    return encoder


def _flatten(statistics: Statistics, half: bool) -> Arrays:
    """Return the arrays of statistics as they are stored."""
    arrays: Arrays = {}
    if isinstance(moments := statistics.moments, Moments):
        arrays |= _flatten_moments(moments, "moments", half)
    else:
        size = math.prod(moments.matrix.shape[:2])
        arrays["moments.matrix"] = pack(moments.matrix.reshape(1, size, size))[0]
        arrays["moments.origin"] = moments.origin
    if (encoder := _stored_encoder(statistics)) is not None:
        for name in ("mean", "components", "variance", "pixel_scale"):
            arrays[f"encoder.{name}"] = getattr(encoder, name)
    if (styles := statistics.styles) is not None:
        arrays |= _flatten_moments(styles.moments, "styles", half)
        arrays |= {"styles.centres": styles.clusters.centres, "styles.squares": styles.squares}
        arrays["styles.prompt"] = styles.clusters.prompt.astype(np.int64)
    if (histogram := statistics.histogram) is not None:
        arrays |= {"histogram.values": histogram.values, "histogram.weight": histogram.weight}
    return {name: _smallest(name, one, half) for name, one in arrays.items()}


def _flatten_moments(moments: Moments, name: str, half: bool) -> Arrays:
    arrays: Arrays = {f"{name}.weight": moments.weight, f"{name}.mean": moments.mean}
    if not half:
        return {**arrays, f"{name}.scatter": pack(moments.scatter)}
    spread, root = compress(moments.scatter)
    return {**arrays, f"{name}.spread": spread, f"{name}.root": root}


def _smallest(name: str, array: NDArray[Any], half: bool = False) -> NDArray[Any]:
    """Return a float32 array where nothing is lost by it.

    In half precision six digits suffice, of every entry or of the largest one, unless the array is lossless.
    """
    if array.dtype == np.float64:
        with np.errstate(over="ignore", under="ignore"):
            single = array.astype(np.float32)
        allowed: Any = 0.0
        if half and not name.endswith(LOSSLESS):
            size = np.abs(array)
            allowed = 1e-6 * (size.max() if name.endswith(RELATIVE_TO_LARGEST) else size)
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
    d = len(components)
    sizes = {"mean": D, "variance": d, "pixel_scale": D}
    numbers = {name: stored[name] for name in ("residual_variance", "pixel_variance", "scaling_factor")}
    encoder = ImageEncoder(
        components=components,
        image_shape=shape,
        dtype=np.dtype(stored["dtype"]),
        **numbers,
        **{name: _take(arrays, f"encoder.{name}", size) for name, size in sizes.items()},
    )
    if d > D or min(numbers.values()) < 0 or not encoder.scaling_factor or not encoder.pixel_scale.all():
        raise ValueError(f"the encoder needs {D} components at most, variances of 0 or more, and scales above 0")
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
