"""Many small products and factorisations: one BLAS thread each, the matrices side by side.

A prompt or a style has a covariance of its own, and a model hundreds of them, each of order 100 or so. BLAS
would split every single one among its threads, which then wait for each other more than they work. So the
stack is split instead, and the result is the same bit for bit on any number of cores.

The number of BLAS threads belongs to the whole process (threadpoolctl). The first user of :func:`one_thread`
sets it to 1 and the last one sets it back, so threads that overlap neither wait for each other nor leave
another number behind.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from lineardiffusion._arrays import Array

PARTS = 4  # parts of a stack for each thread, so that no thread waits long for the last
_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("inside", default=False)  # of side_by_side
S = TypeVar("S")
T = TypeVar("T")


class _BlasLimit:
    """The limit of one BLAS thread, shared by all threads that ask for it at the same time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.before: list[tuple[Any, int]] = []  # each BLAS library, and the threads that the user allows it

    @contextmanager
    def __call__(self) -> Iterator[int]:
        """Let BLAS use one thread inside the block; yield how many threads the user allows it."""
        with self.lock:
            if not self.users:
                self.before = [(blas, blas.num_threads) for blas in _blas().lib_controllers]
                for blas, _ in self.before:
                    _set_threads(blas, 1)
            self.users += 1
            allowed = max((threads for _, threads in self.before), default=1)
        try:
            yield allowed
        finally:
            with self.lock:
                self.users -= 1
                if not self.users:
                    self._lift()

    def after_fork(self) -> None:
        """Lift the limit in a child process: the threads that needed it are not there."""
        self.lock = threading.Lock()
        if self.users:
            self.users = 0
            self._lift()

    def _lift(self) -> None:
        """Lift the limit, unless the user set another one meanwhile."""
        for blas, threads in self.before:
            if blas.num_threads == 1:
                _set_threads(blas, threads)


def _set_threads(blas: Any, threads: int) -> None:
    """Set the number of threads of a BLAS library from any thread.

    Since threadpoolctl 3.8 only one thread can set the number of OpenBLAS, until its control is cleared.
    """
    clear = getattr(blas, "clear_controlling_thread", lambda force: None)
    clear(force=True)
    blas.set_num_threads(threads)
    clear(force=True)


one_thread = _BlasLimit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=one_thread.after_fork)


def diagonals(matrices: Array) -> Array | None:
    """Return the diagonals (..., d) of matrices (..., d, d) that are 0 elsewhere; None if one of them is not."""
    found = np.diagonal(matrices, axis1=-2, axis2=-1)
    if matrices.shape[-1] > 1 and matrices[..., 0, 1:].any():  # most matrices end here
        return None
    return found.copy() if np.count_nonzero(matrices) == np.count_nonzero(found) else None


def eigh(matrices: Array) -> tuple[Array, Array]:
    """Return eigenvalues (g, d), ascending, and eigenvectors (g, d, d) of symmetric matrices (g, d, d).

    Those of diagonal matrices are read from them.
    """
    if (variance := diagonals(matrices)) is not None:
        order = np.argsort(variance, axis=-1, kind="stable")
        basis = np.zeros(matrices.shape)
        np.put_along_axis(basis, order[:, None], 1.0, axis=1)
        return np.take_along_axis(variance, order, -1), basis
    found = split(np.linalg.eigh, matrices)
    return np.concatenate([w for w, _ in found]), np.concatenate([Q for _, Q in found])


def split(function: Callable[[Any], T], matrices: NDArray[Any]) -> list[T]:
    """Apply a function to parts of a stack (or of an array of places), side by side; results in order.

    Each part has one BLAS thread.
    """
    with one_thread() as threads:
        parts = max(min(PARTS * threads, len(matrices)), 1)
        return side_by_side(function, np.array_split(matrices, parts))


def side_by_side(function: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Apply a function to each item, in as many threads as BLAS may use, with one BLAS thread each.

    The results are in order. The bits of none depend on the number of threads. This thread works, too: what it
    allocates and frees is used again by what it does next.
    """
    found: dict[int, T] = {}
    places = iter(range(len(items)))  # shared: each thread takes the next one

    def work() -> None:
        token = _inside.set(True)
        try:
            for i in places:
                found[i] = function(items[i])
        finally:
            deque(places, maxlen=0)  # after an error or an interrupt no thread begins another item
            _inside.reset(token)

    if _inside.get():  # a thread of another such call, whose pool has all threads that there are
        return [function(one) for one in items]
    with one_thread() as threads, ThreadPoolExecutor(threads) as pool:
        others = range(min(threads, len(items)) - 1)
        waiting = [pool.submit(contextvars.copy_context().run, work) for _ in others]  # for numpy.errstate
        work()
        for one in waiting:
            one.result()
    return [found[i] for i in range(len(items))]


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
