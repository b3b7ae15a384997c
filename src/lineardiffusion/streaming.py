"""Data sets that come batch by batch, and need not fit into memory.

A stream reads its batches anew for every pass. Small ones are gathered into buffers of ``BYTES``, so that many
small batches cost what few large ones do. What a pass has summed up so far can be written to a checkpoint,
together with the results of the passes before it; a stream with such a file goes on where the other was stopped.
The file holds checksums of all that was read, so that sums are never continued over other data.
"""

from __future__ import annotations

import operator
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from lineardiffusion._batches import is_empty, items, unpack
from lineardiffusion._cache import computed_once
from lineardiffusion._device import to_numpy
from lineardiffusion.encoders.basis import SAMPLE
from lineardiffusion.io import checkpoint
from lineardiffusion.statistics.batch import Batch
from lineardiffusion.statistics.source import BYTES, Source, spread

T = TypeVar("T")
Check = Callable[[Any, Any, Any, Batch | None], Batch]  # of prompts, images, sample weights, and a batch before
Checksums = tuple[int, int, int]  # of prompts, images and weights, however they are cut into batches


class Replayed(Source, Protocol):
    """A source that reads its batches anew for every pass."""

    @property
    def prompts(self) -> Any:
        """Return the prompts of the first batch, as they were given."""


@dataclass
class Saved:
    """What a checkpoint holds: the results of finished passes, and how far the next one is."""

    identity: str  # of the parameters and of the first images
    finished: list[Any]
    whole: Checksums | None = None  # of a finished pass
    partial: Any = None  # the sum over the first images of the next pass
    n_images: int = 0
    checksums: Checksums = (0, 0, 0)  # of these images


class Lead(NamedTuple):
    """What the first batches tell."""

    sample: Batch
    is_all: bool
    prompts: Any
    identity: str


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
        self._begun: Iterator[Batch] | None = None  # the reading of the sample, which goes on in a pass
        if path is not None:
            _check_path(path)
        self._saved = Saved(f"{identity} {self._lead.identity}", [])
        if path is not None and path.exists():
            found = checkpoint.load(path, Saved)
            if found.identity != self._saved.identity:
                raise ValueError(_other(path))
            self._saved = found

    @property
    def first(self) -> Batch:
        """Return the first image."""
        return self.sample[:1]

    @property
    def sample(self) -> Batch:
        """Return images of the first batches."""
        return self._lead.sample

    @property
    def sample_is_all(self) -> bool:
        """Return whether the sample holds all images."""
        return self._lead.is_all

    @property
    def prompts(self) -> Any:
        """Return the prompts of the first batch, as they were given."""
        return self._lead.prompts

    @computed_once
    def _lead(self) -> Lead:
        """What the first batches tell."""
        begun, lead, n = self._checked(), [], 0
        for batch in begun:
            lead.append(batch)
            n += len(batch)
            if n > SAMPLE:
                break
        if not lead:
            raise ValueError("no batches: expected at least one, of prompts and images")
        self._begun = chain(lead, begun)
        every = Batch.joined(lead)
        return Lead(spread(every), n <= SAMPLE, self._given, str(_checksums((0, 0, 0), every[:SAMPLE])))

    def total(self, measure: Callable[[Batch], T], add: Callable[[T, T], T] = operator.add) -> T:
        """Return the sum of what `measure` computes of each batch; of a pass that was saved, what was saved."""
        self._passes += 1
        saved = self._saved
        if self._passes <= len(saved.finished):
            found: T = saved.finished[self._passes - 1]
            return found
        total, checksums, n_images, waiting = saved.partial, saved.checksums, saved.n_images, 0
        for batch, n_batches in gathered(self._reading(), None if self._path is None else self._every):
            part = measure(batch)
            total = part if total is None else add(total, part)
            n_images, waiting = n_images + len(batch), waiting + n_batches
            if self._path is not None:
                checksums = _checksums(checksums, batch)
                if waiting >= self._every:
                    waiting = 0
                    checkpoint.save(
                        self._path, Saved(saved.identity, saved.finished, saved.whole, total, n_images, checksums)
                    )
        if not n_images or n_images != (self._size or n_images) or checksums != (saved.whole or checksums):
            what = f"pass {self._passes} over the batches read {n_images} images, which are not those read before"
            raise ValueError(f"{what}; give batches that are the same each time they are read")
        self._size = n_images
        self._saved = Saved(saved.identity, [*saved.finished, total], None if self._path is None else checksums)
        if self._path is not None:
            checkpoint.save(self._path, self._saved)
        return total  # type: ignore[no-any-return]

    def finish(self) -> None:
        """Remove the checkpoint of a model that is fitted."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _reading(self) -> Iterator[Batch]:
        """Yield the batches of a pass, from the image on where the checkpoint was written."""
        begun, self._begun = self._begun, None
        skipped, checksums, read = self._saved.n_images, (0, 0, 0), 0
        for batch in self._checked() if begun is None else begun:
            read += len(batch)
            if skipped:
                known, batch = batch[:skipped], batch[skipped:]
                checksums, skipped = _checksums(checksums, known), skipped - len(known)
                if not skipped and checksums != self._saved.checksums:
                    assert self._path is not None
                    raise ValueError(_other(self._path))
                if not len(batch):
                    continue
            if self._progress is not None:
                self._progress(self._passes, read)
            yield batch
        if skipped:  # fewer images than the checkpoint has summed up
            assert self._path is not None
            raise ValueError(_other(self._path))

    def _checked(self) -> Iterator[Batch]:
        """Yield the batches, checked, without those that hold nothing."""
        for i, item in enumerate(items(self._batches)):
            try:
                X, y, sample_weight = unpack(item)
                if is_empty(X, sample_weight):
                    continue
                batch = self._check(X, y, sample_weight, self._like)
            except Exception as error:
                error.add_note(f"in batch {i} of the batches, counted from 0")
                raise
            if self._like is None:
                self._like, self._given = batch[:1], X
            yield batch


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


def _checksums(before: Checksums, batch: Batch) -> Checksums:
    """Return the checksums with those of a batch that follows."""
    weight = np.ones(len(batch)) if batch.sample_weight is None else batch.sample_weight
    names = (
        "".join(f"{batch.known[u]}\0" for u in batch.prompts).encode() if batch.known else batch.prompts.tobytes()
    )
    prompts, images, weights = before
    images = zlib.crc32(to_numpy(batch.rows).tobytes(), images)
    return zlib.crc32(names, prompts), images, zlib.crc32(weight.tobytes(), weights)


def _check_path(path: Path) -> None:
    """Raise an error unless a checkpoint can be written."""
    if path.is_dir():
        raise IsADirectoryError(f"the checkpoint {path} must be a file, but is a folder")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise FileNotFoundError(
            f"the checkpoint {path} cannot be written: its folder is not there, or not writable"
        )


def _other(path: Path) -> str:
    what = f"the checkpoint {path} was made with other parameters, or of other data or another order of the images"
    return f"{what}; delete it to begin anew"
