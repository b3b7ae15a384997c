"""Data sets that come batch by batch, and need not fit into memory.

A stream reads its batches anew for every pass. Small ones are gathered into buffers of ``BYTES``, so that many
small batches cost what few large ones do. What a pass has summed up so far can be written to a checkpoint,
together with the results of the passes before it; a stream with such a file goes on where the other was stopped.
"""

from __future__ import annotations

import operator
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from lineardiffusion._cache import computed_once
from lineardiffusion._device import home
from lineardiffusion._validation import is_dask
from lineardiffusion.io import checkpoint
from lineardiffusion.statistics.batch import Batch
from lineardiffusion.statistics.source import BYTES, Source, spread

T = TypeVar("T")
Check = Callable[[Any, Any, Any, Batch | None], Batch]  # of prompts, images, sample weights, and a batch before


class Replayed(Source, Protocol):
    """A source that reads its batches anew for every pass."""

    prompts: Any  # of the first batch, as they were given


@dataclass
class Saved:
    """What a checkpoint holds: the results of finished passes, and how far the next one is."""

    identity: str  # of the data and the parameters
    finished: list[Any]
    partial: Any = None  # the sum over the first batches of the next pass
    n_batches: int = 0
    n_images: int = 0


class Stream:
    """A data set of batches that can be read again and again.

    Parameters
    ----------
    batches : iterable or callable
        Batches, see :meth:`lineardiffusion.LinearDiffusion.fit_batches`.
    check : callable
        Returns the checked batch of prompts, images and sample weights, of the kind of another batch or None.
    progress : callable or None
        Is called with the number of the pass, from 1, and the number of its images that have been read.
    path : path or None
        File of the checkpoint.
    every : int
        Batches from one checkpoint to the next.
    identity : str
        What the checkpoint must have been made with.
    """

    def __init__(
        self,
        batches: Any,
        check: Check,
        progress: Callable[[int, int], Any] | None = None,
        path: Path | None = None,
        every: int = 200,
        identity: str = "",
    ) -> None:
        self._batches, self._check, self._progress = batches, check, progress
        self._path, self._every = path, every
        self._passes, self._size = 0, 0  # passes begun, and images of a whole one
        self._like: Batch | None = None  # an image of the first batch
        self._begun: Iterator[tuple[Batch, int]] | None = None  # the reading of the sample, which goes on in a pass
        identity = f"{identity} {zlib.crc32(home(self.sample.rows).tobytes())}"
        self._saved = Saved(identity, [])
        if path is not None and path.exists():
            self._saved = checkpoint.load(path, Saved)
            if self._saved.identity != identity:
                what = f"the checkpoint {path} was made with other parameters, or of other batches or another order"
                raise ValueError(f"{what}; delete it to begin anew")

    @property
    def first(self) -> Batch:
        """The first image."""
        return self.sample[:1]  # type: ignore[no-any-return]

    @computed_once
    def sample(self) -> Any:
        """Images of the first batches."""
        begun = self._buffered(0)
        first = next(begun, None)
        if first is None:
            raise ValueError("no batches: expected at least one, of prompts and images")
        self._begun = chain([first], begun)
        return spread(first[0])

    def total(self, measure: Callable[[Batch], T], add: Callable[[T, T], T] = operator.add) -> T:
        """Return the sum of what `measure` computes of each batch; of a pass that was saved, what was saved."""
        self._passes += 1
        saved = self._saved
        if self._passes <= len(saved.finished):
            found: T = saved.finished[self._passes - 1]
            return found
        total, seen, images = saved.partial, saved.n_batches, saved.n_images
        begun, self._begun = self._begun, None
        for batch, n_batches in self._buffered(seen) if begun is None or seen else begun:
            part = measure(batch)
            total = part if total is None else add(total, part)
            seen, images = seen + n_batches, images + len(batch)
            if self._progress is not None:
                self._progress(self._passes, images)
            if self._path is not None and seen // self._every > (seen - n_batches) // self._every:
                self._save(Saved(saved.identity, saved.finished, total, seen, images))
        if not images or (self._size and images != self._size):
            what = f"pass {self._passes} over the batches read {images} images, which is not what was read before"
            raise ValueError(f"{what}; give batches that are the same each time they are read")
        self._size = images
        self._saved = Saved(saved.identity, [*saved.finished, total])
        if self._path is not None:
            self._save(self._saved)
        return total  # type: ignore[no-any-return]

    def finish(self) -> None:
        """Remove the checkpoint of a model that is fitted."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _save(self, saved: Saved) -> None:
        assert self._path is not None
        checkpoint.save(self._path, saved)

    def _buffered(self, skipped: int) -> Iterator[tuple[Batch, int]]:
        """Yield batches gathered up to BYTES, and from how many each was gathered."""
        checked = map(self._checked, islice(_items(self._batches), skipped, None))
        return gathered(checked, None if self._path is None else self._every)

    def _checked(self, item: Any) -> Batch:
        X, y, sample_weight = unpack(item)
        batch = self._check(X, y, sample_weight, self._like)
        if self._like is None:
            self._like, self.prompts = batch[:1], X
        return batch


def gathered(batches: Iterable[Batch], most: int | None = None) -> Iterator[tuple[Batch, int]]:
    """Yield batches joined up to BYTES, `most` at a time, and from how many each was joined."""
    waiting: list[Batch] = []
    size = 0
    for batch in batches:
        if waiting and (size + batch.rows.nbytes > BYTES or len(waiting) == most):
            yield Batch.joined(waiting), len(waiting)
            waiting, size = [], 0
        waiting.append(batch)
        size += batch.rows.nbytes
    if waiting:
        yield Batch.joined(waiting), len(waiting)


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


def _items(batches: Any) -> Iterator[Any]:
    """Return an iterator over the batches."""
    found = batches() if callable(batches) else batches
    return iter(_of_dataset(found) if hasattr(found, "features") and hasattr(found, "iter") else found)


def check_batches(batches: Any) -> None:
    """Raise an error unless batches can be read more than once."""
    if isinstance(batches, str | bytes | Mapping) or not (callable(batches) or isinstance(batches, Iterable)):
        what = "batches must be an iterable of (prompts, images), or a function that returns one"
        raise TypeError(f"{what}; got {type(batches).__name__}")
    if isinstance(batches, Iterator):
        what = "batches are read several times, but an iterator or a generator is empty after the first"
        instead = "pass the function that returns it, without calling it: fit_batches(function)"
        raise TypeError(f"{what}; {instead}; or call partial_fit in a loop, which reads each batch once")


def _of_mapping(batch: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return prompts and images of a batch whose parts have names."""
    names = {"prompts": None, "images": None}
    for name, others in (
        ("prompts", ("prompts", "prompt", "labels", "label", "text")),
        ("images", ("images", "image")),
    ):
        names[name] = next((one for one in others if one in batch), None)  # type: ignore[assignment]
        if names[name] is None:
            raise ValueError(f"a batch has no {name}: expected one of {', '.join(others)}, got {sorted(batch)}")
    return batch[names["prompts"]], batch[names["images"]], batch.get("sample_weight")  # type: ignore[index]


def _of_file(path: Path) -> tuple[Any, ...]:
    """Return prompts and images of an .npz file."""
    if path.suffix.lower() != ".npz":
        raise ValueError(f"files of batches must be .npz files with the arrays prompts and images, got {path}")
    with np.load(path, allow_pickle=False) as file:
        return _of_mapping(dict(file))


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
        yield ([names[i] for i in found] if names else found), batch[images[0]]
