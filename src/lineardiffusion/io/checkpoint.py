"""Checkpoints: values of the library as one safetensors file.

A value is a tree of frozen dataclasses, tuples, lists, numbers, strings and arrays. Its arrays are stored as they
are, under their place in the tree, and the rest as JSON in the metadata. Nothing is pickled: only classes of
``CLASSES`` are built. The file is replaced in one step, so that a kill leaves the old one or the new one.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import safe_open

from lineardiffusion.encoders.basis import Products
from lineardiffusion.encoders.clusters import StyleClusters
from lineardiffusion.encoders.image import ImageEncoder
from lineardiffusion.io.replacing import replacing
from lineardiffusion.statistics.dataset import Statistics
from lineardiffusion.statistics.histogram import Histogram
from lineardiffusion.statistics.joint import JointMoments
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.pixels import PixelMoments
from lineardiffusion.statistics.residual import Residual
from lineardiffusion.statistics.sample import Sample
from lineardiffusion.statistics.styles import StyleStatistics

KEY = "lineardiffusion.checkpoint"
STORED = (
    Histogram, ImageEncoder, JointMoments, Moments, PixelMoments, Products, Residual, Sample, Statistics,
    StyleClusters, StyleStatistics,
)  # fmt: skip
CLASSES: dict[str, type] = {one.__name__: one for one in STORED}

T = TypeVar("T")


def save(path: Path, value: Any) -> None:
    """Write a dataclass; the folder must exist."""
    arrays: dict[str, NDArray[Any]] = {}
    tree = _take_apart(value, "", arrays)
    with replacing(path) as new:
        safetensors.numpy.save_file(arrays, new, {KEY: json.dumps(tree)})


def load(path: Path, kind: type[T]) -> T:
    """Read what :func:`save` wrote; a ValueError that names the file if it is anything else."""
    try:
        with safe_open(path, framework="np") as file:
            tree = json.loads((file.metadata() or {})[KEY])
            value = _put_together(tree, file.get_tensor, {**CLASSES, kind.__name__: kind})
    except Exception as error:
        raise ValueError(
            f"{path} is not a checkpoint that can be read ({error}); choose another file, or delete it"
        ) from error
    if not isinstance(value, kind):
        raise ValueError(f"{path} is not a checkpoint of a stream; choose another file, or delete it")
    return value


def _take_apart(value: Any, place: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return a value as JSON, in which arrays are the names under which they are in `arrays`."""
    if isinstance(value, np.ndarray):
        arrays[place] = np.ascontiguousarray(value)
        return {"array": place}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    if isinstance(value, tuple | list):
        items = [_take_apart(one, f"{place}.{i}", arrays) for i, one in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if is_dataclass(value):
        parts = {
            one.name: _take_apart(getattr(value, one.name), f"{place}.{one.name}", arrays) for one in fields(value)
        }
        return {"class": type(value).__name__, "fields": parts}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be stored in a checkpoint: fit without one")


def _put_together(tree: Any, array: Any, classes: dict[str, type]) -> Any:
    if isinstance(tree, list):
        return [_put_together(one, array, classes) for one in tree]
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return array(tree["array"])
    if "dtype" in tree:
        return np.dtype(tree["dtype"])
    if "tuple" in tree:
        return tuple(_put_together(one, array, classes) for one in tree["tuple"])
    parts = {name: _put_together(one, array, classes) for name, one in tree["fields"].items()}
    return classes[tree["class"]](**parts)
