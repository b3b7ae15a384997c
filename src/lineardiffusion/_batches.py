"""The forms in which a user may give batches: pairs, dicts, files, functions, datasets of other libraries."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lineardiffusion._validation import is_dask

NAMES = {"prompts": ("prompts", "prompt", "labels", "label", "text"), "images": ("images", "image")}


def unpack(item: Any) -> tuple[Any, Any, Any]:
    """Return prompts, images and sample weights, or None, of a batch in any form, read into memory."""
    item = item() if callable(item) else item
    if isinstance(item, str | os.PathLike):
        item = _of_file(Path(item))
    elif isinstance(item, Mapping):
        item = _of_mapping(item)
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        what = "each batch must be prompts and images, or prompts, images and sample weights"
        raise TypeError(f"{what}; got {type(item).__name__}")
    X, y, sample_weight = (part.compute() if is_dask(part) else part for part in (*item, None)[:3])
    return X, y, sample_weight


def items(batches: Any) -> Iterator[Any]:
    """Return an iterator over the batches."""
    found = batches() if callable(batches) else batches
    named = getattr(found, "features", None) is not None and hasattr(found, "iter")
    return iter(_of_dataset(found) if named else found)


def is_empty(X: Any, sample_weight: Any) -> bool:
    """Return whether a batch has no images, or none of a weight."""
    return (hasattr(X, "__len__") and not len(X)) or (sample_weight is not None and not np.any(sample_weight))


def check_batches(batches: Any) -> None:
    """Raise an error unless batches can be read more than once."""
    if isinstance(batches, str | bytes | Mapping) or not (callable(batches) or isinstance(batches, Iterable)):
        what = "batches must be an iterable of (prompts, images), or a function that returns one"
        raise TypeError(f"{what}; got {type(batches).__name__}")
    if isinstance(batches, tuple) and len(batches) in (2, 3) and len(np.shape(batches[1])) > 1:
        what = "batches must be a list of (prompts, images), got all prompts and all images"
        raise TypeError(f"{what}; give them to fit, or cut them by lineardiffusion.datasets.in_batches")
    if isinstance(batches, Iterator):
        what = "batches are read several times, but an iterator or a generator is empty after the first"
        instead = "pass the function that returns it, without calling it: fit_batches(function)"
        raise TypeError(f"{what}; {instead}; or call partial_fit in a loop, which reads each batch once")


def _of_mapping(batch: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return prompts and images of a batch whose parts have names."""
    parts = []
    for part, names in NAMES.items():
        found = [name for name in names if name in batch]
        if not found:
            raise ValueError(f"a batch has no {part}: expected one of {', '.join(names)}, got {sorted(batch)}")
        parts.append(batch[found[0]])
    return (*parts, batch.get("sample_weight"))


def _of_file(path: Path) -> tuple[Any, ...]:
    """Return prompts and images of an .npz file."""
    if path.suffix.lower() != ".npz":
        raise ValueError(f"files of batches must be .npz files with the arrays prompts and images, got {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            return _of_mapping(dict(file))
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        pickled = "it holds pickled objects, which are never loaded; save prompts as an array of strings"
        raise ValueError(f"cannot read {path}: {pickled if 'pickle' in str(error) else error}") from error


def _of_dataset(dataset: Any) -> Iterator[tuple[Any, Any]]:
    """Yield batches of a dataset of the Hugging Face library, whose labels become their names."""
    kinds = {name: type(feature).__name__ for name, feature in dataset.features.items()}
    images = [name for name, kind in kinds.items() if kind in ("Image", "Array2D", "Array3D")]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    texts = [name for name, feature in dataset.features.items() if getattr(feature, "dtype", None) == "string"]
    prompts = labels or texts
    if len(images) != 1 or len(prompts) != 1:
        what = f"a dataset needs one column of images, and one of labels or of text; its columns are {kinds}"
        raise ValueError(f"{what}; keep two with dataset.select_columns([...])")
    names = getattr(dataset.features[prompts[0]], "names", None)
    for batch in dataset.iter(batch_size=1000):
        found = batch[prompts[0]]
        if names and any(i is None or not 0 <= i < len(names) for i in found):
            raise ValueError(
                "some images of the dataset have no label (None or -1); leave them out by dataset.filter"
            )
        yield ([names[i] for i in found] if names else found), batch[images[0]]
