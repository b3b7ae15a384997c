"""Data sets that can be read more than once.

Everything that is computed of images is a sum over batches: of moments, of products, of counts. So a source has one
method, :meth:`Source.total`, and it does not matter to what is computed whether the batches are parts of an array
in memory, come from files one after another (streaming.py), or lie on other machines (distributed.py).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, TypeVar

import numpy as np

from lineardiffusion.encoders.basis import SAMPLE
from lineardiffusion.statistics.batch import Batch

BYTES = 2**26  # of images that are read and summed over at a time
IN_MEMORY = 2**27  # of images, likewise, where they are in memory

T = TypeVar("T")


class Source(Protocol):
    """A data set that can be read more than once."""

    @property
    def first(self) -> Batch:
        """Return one image."""

    @property
    def sample(self) -> Batch:
        """Return some of the images, SAMPLE at most."""

    @property
    def sample_is_all(self) -> bool:
        """Return whether the sample holds all images."""

    def total(self, measure: Callable[[Batch], T], add: Callable[[T, T], T] = operator.add) -> T:
        """Return the sum of what `measure` computes of each batch, in the order of the batches."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """A data set in memory."""

    batch: Batch

    @property
    def first(self) -> Batch:
        """Return the first image."""
        return self.batch[:1]

    @property
    def sample(self) -> Batch:
        """Return images at equal distances."""
        return spread(self.batch)

    @property
    def sample_is_all(self) -> bool:
        """Return whether the sample holds all images."""
        return len(self.batch) <= SAMPLE

    def total(self, measure: Callable[[Batch], T], add: Callable[[T, T], T] = operator.add) -> T:
        """Return the sum over parts of the images, which a file that is mapped into memory is read by."""
        step = max(1, IN_MEMORY // max(self.batch.rows[:1].nbytes, 1))
        starts = range(0, len(self.batch), step)
        return reduce(add, (measure(self.batch[start : start + step]) for start in starts))


def spread(batch: Batch) -> Batch:
    """Return a copy of SAMPLE images of a batch at equal distances, or of all if they are fewer."""
    return batch[np.arange(0, len(batch), -(-len(batch) // SAMPLE))]
