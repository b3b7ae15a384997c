"""A model as one file: ``model.safetensors``, with its configuration in the metadata.

What is stored is the statistics and the parameters, from which everything else follows; so a loaded model draws
the same pixels and goes on learning. Nothing is pickled: a file is numbers and names and cannot run code, so
functions and transformers cannot be stored.

With p prompts, n pixels (or latents, where the moments are of latents), d latents, g styles, embeddings of k
entries and N = (k + 1) (n + 1), the arrays are

    moments.weight (p,), moments.mean (p, n), moments.scatter (p, n (n + 1) / 2)        of strings
    moments.matrix (N (N + 1) / 2,), moments.origin (n,)                                joint
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
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from lineardiffusion.diffusion.samplers import SAMPLERS, Sampler
from lineardiffusion.diffusion.schedules import SCHEDULES, Schedule
from lineardiffusion.encoders.clusters import StyleClusters
from lineardiffusion.encoders.image import Encoder, ImageEncoder
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
PRECISIONS = ("full", "half")
PIXELS = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "float128",
)  # fmt: skip
STEPS_MAX = 10**7  # of a stored sampler: its times are an array
SIZE_MAX = 2**40  # of anything that is counted
LOSSLESS = ("matrix", "origin", "weight", "mean", "squares", "values")  # stored whole at any precision
SCHEDULE_CLASSES = {one.__name__: one for one in SCHEDULES.values()}

Arrays = dict[str, NDArray[Any]]
Json = dict[str, Any]


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
        For a parameter that only a pickle could hold.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'precision must be "full" or "half", got {precision!r}')
    config = {
        "model_type": KEY,
        "format_version": FORMAT,
        "library_version": version,
        "precision": precision,
        "parameters": _describe_parameters(parameters),
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
    config = read_configuration(path)
    with _naming(path):
        arrays = _Arrays(safetensors.numpy.load_file(path))
        statistics = _restore_statistics(config, arrays)
        parameters = _restore_parameters(_section(config, "parameters"), statistics.encoder)
        return statistics, parameters, _restore_embedding(config, statistics, parameters)


def read_configuration(path: Path) -> Json:
    """Read the configuration of a model file; errors as for :func:`load`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a model is a folder with {WEIGHTS}")
    with _naming(path):
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(KEY)
        if text is None:
            raise ValueError("it is not a model of this library: its metadata has no configuration")
        config = json.loads(text, parse_constant=_refuse_constant)
        version = _whole(config, "format_version") if isinstance(config, dict) else 0
        if version > FORMAT:
            raise ValueError(
                f"its format is {version}, and this version of the library reads format {FORMAT}; "
                "pip install --upgrade linear-diffusion"
            )
        if version != FORMAT:
            raise ValueError("its configuration is not that of a model of this library")
        return config  # type: ignore[no-any-return]


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


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn every error about the content of a file into a ValueError that names it."""
    try:
        yield
    except (
        ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, SafetensorError, TypeError,
        ValueError,
    ) as error:  # fmt: skip
        raise ValueError(f"cannot load {path}: {str(error) or type(error).__name__}") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


# ---------------------------------------------------------------------- parameters


def _describe_parameters(parameters: Parameters) -> Json:
    """Return the constructor's parameters as JSON; a ValueError for one that cannot be described."""
    raw = parameters.raw()
    text_encoder, seed, encoder = raw["text_encoder"], raw["random_state"], raw["image_encoder"]
    if not (text_encoder is None or isinstance(text_encoder, str)):
        raise ValueError(
            f"text_encoder={text_encoder!r} cannot be stored without pickle, which would run any code on "
            'loading; fit with text_encoder="words" or "positions", or on your own embeddings'
        )
    if not isinstance(seed, int | np.integer | None):
        raise ValueError(
            f"random_state={seed!r} cannot be stored; refit(random_state=...) with an int or None"
        )
    if not isinstance(encoder, ImageEncoder | None):
        raise ValueError(
            f"image_encoder={encoder!r} cannot be stored without pickle; fit on its latents instead: "
            "LinearDiffusion().fit(prompts, encoder.encode(images))"
        )
    described = {
        name: value.item() if isinstance(value, np.generic) else value for name, value in raw.items()
    }
    described["scale"] = bool(raw["scale"])
    described["image_encoder"] = encoder is not None
    described["schedule"] = _describe("schedule", raw["schedule"], SCHEDULE_CLASSES, Schedule)
    described["sampler"] = _describe("sampler", raw["sampler"], SAMPLERS, Sampler)
    for name in ("max_memory", "cache_memory"):
        described[name] = "inf" if raw[name] == math.inf else described[name]  # JSON has no infinity
    if parameters.num_steps > STEPS_MAX or parameters.trajectory.sampler.num_steps > STEPS_MAX:
        raise ValueError(f"num_steps must be {STEPS_MAX} at most to be stored")
    return described


def _describe(name: str, value: Any, known: Mapping[str, type], base: type) -> Any:
    """Return a name, or the name and the settings of one of the library's own objects."""
    if isinstance(value, str):
        return value
    for class_name, one in known.items():
        if type(value) is one:
            settings = {each.name: getattr(value, each.name) for each in fields(value)}  # type: ignore[arg-type]
            return {"class": class_name} | {
                key: each.item() if isinstance(each, np.generic) else each for key, each in settings.items()
            }
    raise ValueError(
        f"{name}={value!r} cannot be stored without pickle; refit({name}=...) with one of "
        f"{', '.join(known)} before you save, and with your own after you load"
    )


def _restore_parameters(stored: Json, encoder: Encoder | None) -> Parameters:
    names = {one.name for one in fields(Parameters)}
    if strange := sorted(names ^ set(stored)):
        raise ValueError(
            f"the parameters {'lack' if strange[0] in names else 'have a superfluous'} {strange[0]!r}"
        )
    raw = dict(stored)
    for name in ("n_components", "num_steps", "n_styles"):
        _whole(raw, name)
    for name in ("scale", "image_encoder"):
        _typed(raw, name, bool)
    for name in ("max_memory", "cache_memory"):
        raw[name] = math.inf if raw[name] == "inf" else _number(raw, name)
    _number(raw, "guidance_scale")
    if raw["random_state"] is not None:
        _whole(raw, "random_state", 0)
    for name in ("text_encoder", "contrast"):
        if raw[name] is not None:
            _typed(raw, name, str)
    raw["schedule"] = _restore_object(raw, "schedule", SCHEDULE_CLASSES)
    raw["sampler"] = _restore_object(raw, "sampler", SAMPLERS)
    steps = raw["sampler"].num_steps if isinstance(raw["sampler"], Sampler) else raw["num_steps"]
    if max(steps, raw["num_steps"]) > STEPS_MAX:
        raise ValueError(f"num_steps must be {STEPS_MAX} at most, got {steps}")
    raw["image_encoder"] = encoder if raw["image_encoder"] else None
    if stored["image_encoder"] and encoder is None:
        raise ValueError("the image encoder is missing")
    return Parameters(**raw)


def _restore_object(raw: Json, name: str, known: Mapping[str, type]) -> Any:
    if isinstance(raw[name], str):
        return raw[name]
    settings = dict(_section(raw, name))
    class_name = settings.pop("class", None)
    if class_name not in known:
        raise ValueError(f"{name} must be a name or one of {', '.join(known)}, got {class_name!r:.40}")
    for key in settings:
        _number(settings, key)
    return known[class_name](**settings)


def _restore_embedding(config: Json, statistics: Statistics, parameters: Parameters) -> Json | None:
    """Return the description of the embeddings; its size must be that of the moments."""
    if (config.get("embedding") is None) != bool(statistics.prompts):
        raise ValueError("there must be either prompts or the size of an embedding")
    if statistics.prompts:
        return None
    embedding = _section(config, "embedding")
    size, names = _whole(embedding, "size"), embedding.get("names")
    if names is not None and len(_strings(embedding, "names")) != size:
        raise ValueError(f"an embedding of {size} entries needs as many names")
    if size != len(statistics.moments.matrix) - 1:  # type: ignore[union-attr]
        raise ValueError(f"the moments are not joint with embeddings of {size} entries")
    return embedding


# ---------------------------------------------------------------------- statistics


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
    """Return the encoder of the latents, of which moments or styles are."""
    encoder = statistics.encoder if statistics.styles is None else statistics.styles.encoder
    assert encoder is None or isinstance(encoder, ImageEncoder)
    return encoder


def _flatten(statistics: Statistics, half: bool) -> Arrays:
    """Return the arrays of statistics as they are stored."""
    arrays: Arrays = {}
    moments = statistics.moments
    if isinstance(moments, Moments):
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
    if half:
        arrays |= {name: _single(name, one) for name, one in arrays.items() if not name.endswith(LOSSLESS)}
    return {name: _smallest(one) for name, one in arrays.items()}


def _flatten_moments(moments: Moments, name: str, half: bool) -> Arrays:
    arrays: Arrays = {f"{name}.weight": moments.weight, f"{name}.mean": moments.mean}
    if not half:
        return {**arrays, f"{name}.scatter": pack(moments.scatter)}
    spread, root = compress(moments.scatter)
    return {**arrays, f"{name}.spread": spread, f"{name}.root": root}


def _single(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return a float32 array where it keeps six digits of every entry, or of the largest entry of a vector."""
    if array.dtype != np.float64:
        return array
    with np.errstate(over="ignore", under="ignore"):
        single = array.astype(np.float32)
    unit = np.abs(array) if name not in ("encoder.components", "styles.centres") else np.abs(array).max()
    return single if (np.abs(single - array) <= 1e-6 * unit).all() else array


def _smallest(array: NDArray[Any]) -> NDArray[Any]:
    """Return a float32 array where nothing is lost by it."""
    if array.dtype == np.float64:
        with np.errstate(over="ignore", under="ignore"):
            single = array.astype(np.float32)
        if np.array_equal(single, array):
            return np.ascontiguousarray(single)
    return np.ascontiguousarray(array)


class _Arrays:
    """The arrays of a file; each is checked when it is taken."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def take(self, name: str, *shape: int | None, dtypes: tuple[str, ...] = ("float32", "float64")) -> Any:
        """Return an array of this shape, where None stands for any length, as float64 if it is floating."""
        if name not in self._arrays:
            raise ValueError(f"it lacks the array {name}")
        array = self._arrays.pop(name)
        fits = array.ndim == len(shape) and all(
            n == m or (m is None and n > 0) for n, m in zip(array.shape, shape, strict=False)
        )
        if not fits:
            raise ValueError(f"the array {name} must have the shape {shape}, got {array.shape}")
        if array.dtype.name not in dtypes:
            raise ValueError(f"the array {name} must be of {' or '.join(dtypes)}, got {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"the array {name} holds NaN or infinity")
        return array.astype(np.float64) if dtypes[-1] == "float64" else array

    def finish(self) -> None:
        """Raise an error if an array was not taken."""
        if self._arrays:
            raise ValueError(f"it has a superfluous array {min(self._arrays)!r:.40}")


def _restore_statistics(config: Json, arrays: _Arrays) -> Statistics:
    shape = tuple(_whole({"image_shape": one}, "image_shape") for one in _typed(config, "image_shape", list))
    D, known = math.prod(shape), _strings(config, "prompts")
    if any(a >= b for a, b in pairwise(known)):
        raise ValueError("'prompts' must be sorted, and each there once")
    bounds = _typed(config, "pixel_range", list)
    low, high = (_number({"pixel_range": bound}, "pixel_range") for bound in bounds)
    if low > high:
        raise ValueError(f"'pixel_range' must rise, got {bounds}")
    if (dtype := _typed(config, "pixel_dtype", str)) not in PIXELS:
        raise ValueError(f"'pixel_dtype' must be one of {', '.join(PIXELS)}, got {dtype!r:.40}")
    encoder, latents = _restore_encoder(config, arrays, shape), _typed(config, "latents", bool)
    if encoder is None and (latents or config["styles"] is not None):
        raise ValueError("the encoder of the latents is missing")
    n = len(encoder.components) if latents and encoder is not None else D
    moments: Moments | JointMoments
    if "moments.matrix" in arrays:
        origin, packed = arrays.take("moments.origin", n), arrays.take("moments.matrix", None)
        size = math.isqrt(2 * len(packed))
        if size % (n + 1) or triangle(size) != len(packed):
            raise ValueError(f"the array moments.matrix is not that of images of {n} entries")
        k = size // (n + 1)
        moments = JointMoments(unpack(packed[None], size).reshape(k, n + 1, k, n + 1), origin)
        if moments.matrix[0, 0, 0, 0] <= 0:
            raise ValueError("the weight of all images, moments.matrix[0], must be above 0")
    elif known:
        moments = _restore_moments(arrays, "moments", len(known), n)
    else:
        raise ValueError("there are neither prompts nor embeddings")
    styles = None
    if config["styles"] is not None:
        assert encoder is not None
        styles = _restore_styles(_section(config, "styles"), arrays, encoder, len(known))
    histogram = None
    if "histogram.values" in arrays:
        values = arrays.take("histogram.values", None)
        histogram = Histogram(values, arrays.take("histogram.weight", len(values)))
        if (np.diff(values) <= 0).any() or (histogram.weight <= 0).any():
            raise ValueError("the histogram's values must rise, and their weights be above 0")
    arrays.finish()
    return Statistics(
        moments, known, shape, (low, high), np.dtype(dtype), encoder if latents else None, styles, histogram
    )


def _restore_moments(arrays: _Arrays, name: str, g: int, d: int) -> Moments:
    weight = arrays.take(f"{name}.weight", g)
    if (weight < 0).any() or not weight.any():
        raise ValueError(f"{name}.weight must be 0 or more, and not all 0")
    mean = arrays.take(f"{name}.mean", g, d)
    if f"{name}.root" not in arrays:
        return Moments(weight, mean, unpack(arrays.take(f"{name}.scatter", g, triangle(d)), d))
    spread = arrays.take(f"{name}.spread", g, d)
    if (spread < 0).any():
        raise ValueError(f"{name}.spread must be 0 or more")
    scatter = expand(spread, arrays.take(f"{name}.root", g, triangle(d), dtypes=("float16",)))
    if not np.isfinite(scatter).all():
        raise ValueError(f"{name}.spread holds numbers whose squares overflow")
    return Moments(weight, mean, scatter)


def _restore_encoder(config: Json, arrays: _Arrays, shape: tuple[int, ...]) -> ImageEncoder | None:
    if config["encoder"] is None:
        return None
    stored, D = _section(config, "encoder"), math.prod(shape)
    components = arrays.take("encoder.components", None, D)
    if len(components) > D:
        raise ValueError(f"images of {D} pixels cannot have {len(components)} components")
    if (dtype := _typed(stored, "dtype", str)) not in ("float32", "float64"):
        raise ValueError(f"'dtype' of the encoder must be float32 or float64, got {dtype!r:.40}")
    encoder = ImageEncoder(
        mean=arrays.take("encoder.mean", D),
        components=components,
        variance=arrays.take("encoder.variance", len(components)),
        pixel_scale=arrays.take("encoder.pixel_scale", D),
        residual_variance=_number(stored, "residual_variance", 0.0),
        pixel_variance=_number(stored, "pixel_variance", 0.0),
        scaling_factor=_number(stored, "scaling_factor", 0.0),
        image_shape=shape,
        dtype=np.dtype(dtype),
    )
    if not encoder.scaling_factor or (encoder.pixel_scale <= 0).any() or (encoder.variance < 0).any():
        raise ValueError("the encoder's scales must be above 0, and its variances 0 or more")
    return encoder


def _restore_styles(stored: Json, arrays: _Arrays, encoder: ImageEncoder, prompts: int) -> StyleStatistics:
    requested, shared = _whole(stored, "requested"), _typed(stored, "shared", bool)
    d = len(encoder.components)
    owner = arrays.take("styles.prompt", None, dtypes=("int64",)).astype(np.intp)
    if owner[0] != 0 or owner[-1] != prompts - 1 or not np.isin(np.diff(owner), (0, 1)).all():
        raise ValueError("styles.prompt must go through the prompts, one after the other")
    counts, g = np.bincount(owner), len(owner)
    if counts.max() > requested or (shared and counts.min() != counts.max()):
        raise ValueError(
            f"the prompts have {counts.min()} to {counts.max()} styles, {requested} were requested"
        )
    moments, squares = _restore_moments(arrays, "styles", g, d), arrays.take("styles.squares", g)
    if (squares < 0).any() or ((squares == 0) & (moments.weight > 0)).any():
        raise ValueError("styles.squares must be above 0 where a style has images")
    clusters = StyleClusters(arrays.take("styles.centres", g, d), owner, requested, shared)
    return StyleStatistics(clusters, moments, squares, encoder)


# ---------------------------------------------------------------------- fields of JSON objects


def _typed(config: Json, name: str, kind: type) -> Any:
    """Return a field of this type."""
    value = config.get(name)
    if type(value) is not kind:
        raise ValueError(f"{name!r} must be a {kind.__name__}, got {value!r:.40}")
    return value


def _section(config: Json, name: str) -> Json:
    return _typed(config, name, dict)  # type: ignore[no-any-return]


def _whole(config: Json, name: str, low: int = 1) -> int:
    """Return an int of `low` or more."""
    value = _typed(config, name, int)
    if not low <= value <= SIZE_MAX:
        raise ValueError(f"{name!r} must be an int from {low} to {SIZE_MAX}, got {value!r:.40}")
    return int(value)


def _number(config: Json, name: str, low: float = -math.inf) -> float:
    """Return a finite number of `low` or more."""
    value = config.get(name)
    if type(value) not in (int, float) or not math.isfinite(value) or value < low:
        raise ValueError(f"{name!r} must be a finite number of {low} or more, got {value!r:.40}")
    return value  # type: ignore[return-value]


def _strings(config: Json, name: str) -> tuple[str, ...]:
    values = _typed(config, name, list)
    if not all(type(value) is str for value in values):
        raise ValueError(f"{name!r} must be a list of strings")
    return tuple(values)
