"""Values that are computed once: attributes of a frozen object, and a cache that is bounded in bytes.

Keys of the cache are frozen values (a condition and a trajectory), so an entry is never out of date. The entry
that was used least recently leaves first. One lock guards the bookkeeping; values are computed outside of it, so
two threads that miss the same key at once both compute it, and agree.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar, overload

import numpy as np

T = TypeVar("T")


class computed_once(Generic[T]):
    """An attribute that is computed when it is first read, as ``functools.cached_property`` of Python 3.12.

    In Python 3.11 the latter has one lock for all objects of a class, and models would wait for each other.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> computed_once[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        value = self._function(instance)
        for array in value if isinstance(value, tuple) else (value,):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
        return vars(instance).setdefault(self._name, value)


_caches: weakref.WeakSet[Cache] = weakref.WeakSet()


def _after_fork() -> None:
    """Renew the locks in a child process, where the threads that may hold them are not."""
    for cache in _caches:
        cache._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Cache:
    """Values by key, at most `max_bytes` in all; a larger value is not kept."""

    def __init__(self, max_bytes: float) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self.nbytes = 0  # bytes of all values that are kept
        _caches.add(self)

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
        if nbytes > self.max_bytes:
            return
        with self._lock:
            if key in self._entries:
                self.nbytes -= self._entries.pop(key)[1]
            self._entries[key] = value, nbytes
            self.nbytes += nbytes
            while self.nbytes > self.max_bytes:
                _, (_, dropped) = self._entries.popitem(last=False)
                self.nbytes -= dropped

    def clear(self) -> None:
        """Drop all values."""
        with self._lock:
            self._entries.clear()
            self.nbytes = 0

    def __reduce__(self) -> tuple[type[Cache], tuple[float]]:
        """Copy and pickle as an empty cache: its values follow from others."""
        return Cache, (self.max_bytes,)
