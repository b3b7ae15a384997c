"""The layout: a state as named arrays and a description of them, and back.

An array is stored losslessly and small: a float64 whose every entry is a float32 as that, and of a symmetric
matrix its upper triangle. With p prompts, n pixels (or latents, of a model fitted in two passes), d latents,
g styles, embeddings of k entries and N = (k + 1) (n + 1):

    moments.weight (p,), moments.mean (p, n), moments.scatter (p, n (n + 1) / 2)        of strings
    moments.matrix (N (N + 1) / 2,), moments.origin (n,)                                joint
    encoder.mean (D,), .components (d, D), .variance (d,), .pixel_scale (D,)            with latents
    styles.centres, .mean (g, d), .prompt, .weight, .squares (g,), .scatter (g, d (d + 1) / 2)
    histogram.values, .weight (v,)

With half the precision, a .scatter is .spread (g, d) and .root (g, d (d + 1) / 2), see `compact`; spreads,
centres and components are rounded to float32. Means are whole, and so are joint moments and the histogram.

The description gives the counts, so every array's shape is known before one is touched. The arrays of a file
are used when their names, types and shapes are those, and their entries finite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion.compact import compress, expand, pack, triangle, unpack
from lineardiffusion.encode import ImageEncoder
from lineardiffusion.fields import Fields
from lineardiffusion.histogram import Histogram
from lineardiffusion.joint import JointMoments
from lineardiffusion.moments import Array, Moments
from lineardiffusion.state import State
from lineardiffusion.styles import Styles

Arrays = dict[str, NDArray[Any]]
Shapes = dict[str, tuple[int, ...]]

TYPES = {"styles.prompt": ("int64",), "moments.root": ("float16",), "styles.root": ("float16",)}
PIXELS = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "float128",
)  # fmt: skip
FIELDS = (
    "precision", "image_shape", "pixel_range", "pixel_dtype", "prompts", "moments", "encoder", "styles",
    "histogram",
)  # fmt: skip
PRECISIONS = ("full", "half")
LOSSLESS = ("matrix", "origin", "weight", "mean", "squares", "values")  # whole at any precision


def describe(state: State, half: bool = False) -> dict[str, Any]:
    """What JSON says of a state that is stored with all its digits, or half of them."""
    encoder, styles, histogram = stored_encoder(state), state.styles, state.histogram
    moments: dict[str, Any] = {"of": "pixels" if state.encoder is None else "latents", "embedding": None}
    if isinstance(state.moments, JointMoments):
        moments["embedding"] = len(state.moments.matrix) - 1
    return {
        "precision": "half" if half else "full",
        "image_shape": list(state.image_shape),
        "pixel_range": {"low": float(state.pixel_range[0]), "high": float(state.pixel_range[1])},
        "pixel_dtype": state.pixel_dtype.name,
        "prompts": list(state.known),
        "moments": moments,
        "encoder": encoder
        and {
            "components": len(encoder.components),
            "residual_variance": float(encoder.residual_variance),
            "pixel_variance": float(encoder.pixel_variance),
            "scaling_factor": float(encoder.scaling_factor),
            "dtype": encoder.dtype.name,
        },
        "styles": styles
        and {"count": len(styles.prompt), "requested": int(styles.requested), "shared": styles.shared},
        "histogram": histogram and {"count": len(histogram.values)},
    }


def stored_encoder(state: State) -> ImageEncoder | None:
    """The encoder that a state holds; where its moments are of latents, its styles have the same."""
    return state.encoder if state.styles is None else state.styles.encoder


def flatten(state: State, half: bool = False) -> Arrays:
    """The arrays of a state, as they are stored."""
    arrays: Arrays = {}
    if isinstance(state.moments, Moments):
        arrays |= _of(state.moments, "moments", half)
    else:
        size = math.prod(state.moments.matrix.shape[:2])
        arrays["moments.matrix"] = pack(state.moments.matrix.reshape(1, size, size))[0]
        arrays["moments.origin"] = state.moments.origin
    if (encoder := stored_encoder(state)) is not None:
        for name in ("mean", "components", "variance", "pixel_scale"):
            arrays[f"encoder.{name}"] = getattr(encoder, name)
    if (styles := state.styles) is not None:
        arrays |= _of(styles.moments, "styles", half)
        arrays |= {"styles.centres": styles.centres, "styles.squares": styles.squares}
        arrays["styles.prompt"] = styles.prompt.astype(np.int64)
    if (histogram := state.histogram) is not None:
        arrays |= {"histogram.values": histogram.values, "histogram.weight": histogram.weight}
    if half:
        arrays |= {
            name: _single(name, array) for name, array in arrays.items() if not name.endswith(LOSSLESS)
        }
    return {name: _small(array) for name, array in arrays.items()}


def shapes(config: Fields) -> Shapes:
    """The shapes of the arrays that a description promises; every field is checked here."""
    known = config.strings("prompts")
    if any(a >= b for a, b in pairwise(known)):
        raise ValueError("'prompts' must be sorted, and each there once")
    _pixels(config)
    half = config.text("precision", PRECISIONS) == "half"
    D, p = math.prod(config.sizes("image_shape")), len(known)
    moments, encoder = config.section("moments"), config.optional("encoder")
    latent = moments.text("of", ("pixels", "latents")) == "latents"
    styles, histogram = config.optional("styles"), config.optional("histogram")
    if encoder is None and (latent or styles is not None):
        raise ValueError("the encoder is missing, without which latents mean nothing")
    d = 0 if encoder is None else encoder.size("components")
    if d > D:
        raise ValueError(f"there cannot be {d} components of images of {D} pixels")
    n = d if latent else D
    found: Shapes = {}
    if moments.raw("embedding") is not None:
        found["moments.matrix"] = (triangle((moments.size("embedding") + 1) * (n + 1)),)
        found["moments.origin"] = (n,)
    elif p:
        found |= _shapes_of("moments", p, n, half)
    else:
        raise ValueError("there are neither prompts nor embeddings")
    if encoder is not None:
        _numbers(encoder)
        found |= {"encoder.mean": (D,), "encoder.pixel_scale": (D,)}
        found |= {"encoder.components": (d, D), "encoder.variance": (d,)}
    if styles is not None:
        g, _, _ = styles.size("count"), styles.size("requested"), styles.flag("shared")
        if moments.raw("embedding") is not None:
            raise ValueError("there are styles, but no moments of every prompt")
        found |= _shapes_of("styles", g, d, half)
        found |= {"styles.centres": (g, d), "styles.prompt": (g,), "styles.squares": (g,)}
    if histogram is not None:
        v = histogram.size("count")
        found |= {"histogram.values": (v,), "histogram.weight": (v,)}
    return found


def check_arrays(arrays: Mapping[str, NDArray[Any]], expected: Shapes) -> None:
    """Refuse arrays of other names, shapes or types, or with entries that are not finite."""
    if strange := sorted(set(arrays) ^ set(expected)):
        what = "lacks" if strange[0] in expected else "has a superfluous"
        raise ValueError(f"it {what} array {strange[0]!r:.40}")
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape:
            raise ValueError(f"the array {name} must have the shape {shape}, got {array.shape}")
        types = TYPES.get(name, ("float32", "float64"))
        if array.dtype.name not in types:
            raise ValueError(f"the array {name} must be of {' or '.join(types)}, got {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"the array {name} holds NaN or infinity")


def restore(config: Fields, arrays: Mapping[str, NDArray[Any]]) -> State:
    """The state of a description and its arrays, which `check_arrays` has passed."""
    known, shape = config.strings("prompts"), config.sizes("image_shape")
    described, (pixel_range, pixel_dtype) = config.section("moments"), _pixels(config)
    encoder = None if (fields := config.optional("encoder")) is None else _encoder(fields, arrays, shape)
    latent = described.text("of", ("pixels", "latents")) == "latents"
    n = math.prod(shape) if encoder is None or not latent else len(encoder.components)
    moments: Moments | JointMoments
    if described.raw("embedding") is None:
        moments = _moments(arrays, "moments", n)
    else:
        k = described.size("embedding") + 1
        matrix = unpack(arrays["moments.matrix"][None], k * (n + 1))
        moments = JointMoments(matrix.reshape(k, n + 1, k, n + 1), _whole(arrays["moments.origin"]))
        if moments.matrix[0, 0, 0, 0] <= 0:
            raise ValueError("the weight of all images, moments.matrix[0], must be above 0")
    styles = None
    if (fields := config.optional("styles")) is not None:
        assert encoder is not None
        styles = _styles(fields, arrays, encoder, len(known))
    histogram = None
    if config.optional("histogram") is not None:
        histogram = Histogram(_whole(arrays["histogram.values"]), _whole(arrays["histogram.weight"]))
        if (np.diff(histogram.values) <= 0).any() or (histogram.weight <= 0).any():
            raise ValueError("the histogram's values must rise, and their weights be above 0")
    return State(
        moments, known, shape, pixel_range, pixel_dtype, encoder if latent else None, styles, histogram
    )


def _pixels(config: Fields) -> tuple[tuple[float, float], np.dtype[Any]]:
    """The pixels' range and type."""
    span = config.section("pixel_range")
    span.only(("low", "high"))
    low = span.number("low")
    return (low, span.number("high", low)), np.dtype(config.text("pixel_dtype", PIXELS))


def _numbers(fields: Fields) -> dict[str, Any]:
    """What an encoder has that is no array."""
    names = ("residual_variance", "pixel_variance", "scaling_factor")
    numbers: dict[str, Any] = {name: fields.number(name, 0.0) for name in names}
    if numbers["scaling_factor"] == 0:
        raise ValueError("'scaling_factor' of 'encoder' must be above 0")
    return {**numbers, "dtype": np.dtype(fields.text("dtype", ("float32", "float64")))}


def _encoder(fields: Fields, arrays: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> ImageEncoder:
    encoder = ImageEncoder(
        mean=_whole(arrays["encoder.mean"]),
        components=_whole(arrays["encoder.components"]),
        variance=_whole(arrays["encoder.variance"]),
        pixel_scale=_whole(arrays["encoder.pixel_scale"]),
        image_shape=shape,
        **_numbers(fields),
    )
    if (encoder.pixel_scale <= 0).any() or (encoder.variance < 0).any():
        raise ValueError("the encoder's pixel_scale must be above 0, and its variance 0 or more")
    return encoder


def _styles(
    fields: Fields, arrays: Mapping[str, NDArray[Any]], encoder: ImageEncoder, prompts: int
) -> Styles:
    owner = arrays["styles.prompt"].astype(np.intp)
    steps = np.diff(owner)
    if owner[0] != 0 or owner[-1] != prompts - 1 or not np.isin(steps, (0, 1)).all():
        raise ValueError("styles.prompt must go through the prompts, one after the other")
    shared, requested = fields.flag("shared"), fields.size("requested")
    counts = np.bincount(owner)
    if counts.max() > requested or (shared and counts.min() != counts.max()):
        raise ValueError(f"the prompts have {counts.min()} to {counts.max()} styles, which cannot be")
    moments, squares = _moments(arrays, "styles", len(encoder.components)), _whole(arrays["styles.squares"])
    if (squares < 0).any() or ((squares == 0) & (moments.weight > 0)).any():
        raise ValueError("styles.squares must be above 0 where a style has images")
    return Styles(_whole(arrays["styles.centres"]), owner, moments, squares, requested, encoder, shared)


def _moments(arrays: Mapping[str, NDArray[Any]], name: str, d: int) -> Moments:
    weight = _whole(arrays[f"{name}.weight"])
    if (weight < 0).any() or not weight.any():
        raise ValueError(f"{name}.weight must be 0 or more, and not all 0")
    if f"{name}.root" in arrays:
        spread = arrays[f"{name}.spread"]
        if (spread < 0).any():
            raise ValueError(f"{name}.spread must be 0 or more")
        scatter = expand(spread, arrays[f"{name}.root"])
        if not np.isfinite(scatter).all():
            raise ValueError(f"{name}.spread holds numbers whose squares are beyond all numbers")
    else:
        scatter = unpack(arrays[f"{name}.scatter"], d)
    return Moments(weight, _whole(arrays[f"{name}.mean"]), scatter)


def _of(moments: Moments, name: str, half: bool) -> Arrays:
    arrays: Arrays = {f"{name}.weight": moments.weight, f"{name}.mean": moments.mean}
    if not half:
        return {**arrays, f"{name}.scatter": pack(moments.scatter)}
    spread, root = compress(moments.scatter)
    return {**arrays, f"{name}.spread": spread, f"{name}.root": root}


def _shapes_of(name: str, g: int, d: int, half: bool) -> Shapes:
    found: Shapes = {f"{name}.weight": (g,), f"{name}.mean": (g, d)}
    if not half:
        return {**found, f"{name}.scatter": (g, triangle(d))}
    return {**found, f"{name}.spread": (g, d), f"{name}.root": (g, triangle(d))}


def _single(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Single precision for double, where six digits of every entry can be had, or of a vector's largest."""
    if array.dtype != np.float64:
        return array
    with np.errstate(over="ignore", under="ignore"):
        single = array.astype(np.float32)
    unit = np.abs(array) if name not in ("encoder.components", "styles.centres") else np.abs(array).max()
    return single if (np.abs(single - array) <= 1e-6 * unit).all() else array


def _small(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in half the bytes, where nothing is lost."""
    if array.dtype == np.float64:
        with np.errstate(over="ignore", under="ignore"):
            single = array.astype(np.float32)
        if np.array_equal(single, array):
            return np.ascontiguousarray(single)
    return np.ascontiguousarray(array)


def _whole(array: NDArray[Any]) -> Array:
    """A writable float64 array of the same numbers."""
    return array.astype(np.float64)
