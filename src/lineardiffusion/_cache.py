"""A cache of composed maps and laws, bounded in bytes.

Keys are frozen values (a condition and a trajectory), so an entry can never be out of date. The entry that was
used least recently leaves first. One lock guards the bookkeeping; values are computed outside of it, so two
threads that miss the same key at once both compute it, and agree.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class Cache:
    """Values by key, the least recently used leaving first.

    Parameters
    ----------
    max_bytes : float
        Bound of the sum of the values' bytes. A value larger than this is not kept.
    """

    def __init__(self, max_bytes: float) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all values that are kept."""
        return self._nbytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> Any:
        """Return the value of a key, or None."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Keep a value of so many bytes, and drop the least recently used ones beyond the bound."""
        with self._lock:
            if key in self._entries:
                self._nbytes -= self._entries.pop(key)[1]
            self._entries[key] = value, nbytes
            self._nbytes += nbytes
            while self._nbytes > self.max_bytes:
                _, (_, dropped) = self._entries.popitem(last=False)
                self._nbytes -= dropped

    def clear(self) -> None:
        """Drop all values."""
        with self._lock:
            self._entries.clear()
            self._nbytes = 0

    def __reduce__(self) -> tuple[type[Cache], tuple[float]]:
        """Copy and pickle as an empty cache: its values follow from others."""
        return Cache, (self.max_bytes,)
