"""LAPACK for many small matrices: one BLAS thread each, and the matrices side by side.

A prompt or a style has a covariance of its own, and a model hundreds of them, each of order 100 or so. BLAS
would share out every single one of them among its threads, which then wait for each other more than they
work: 10 to 50 times longer than one of them alone, where another program has one of the cores. So the stack
is shared out, not the matrix. What is found is then also the same bit for bit on any number of cores.

The number of BLAS threads is the whole process's. It is set back when the work is done; who sets it in
another thread meanwhile may find it as it was before, as with any library that sets it. A BLAS that cannot
be told (Apple's) works as it likes, one matrix after the other.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from lineardiffusion.moments import Array

PARTS = 4  # a thread, so that none waits long for the last
T = TypeVar("T")


class _Turn:
    """Whose turn it is to set the number of threads, and what it was before."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.threads: int | None = None

    def after_fork(self) -> None:
        """In a child, the thread that had the turn is gone: free it, and set back what it set."""
        self.lock = threading.RLock()
        if self.threads is not None:
            _blas().limit(limits=self.threads)
            self.threads = None


_turn = _Turn()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turn.after_fork)


def eigh(matrices: Array) -> tuple[Array, Array]:
    """Eigenvalues (g, d), ascending, and eigenvectors (g, d, d) of symmetric matrices (g, d, d)."""
    found = share_out(np.linalg.eigh, matrices)
    return np.concatenate([w for w, _ in found]), np.concatenate([Q for _, Q in found])


def cholesky(matrices: Array) -> Array:
    """Lower triangular roots of positive definite matrices (g, d, d)."""
    return np.concatenate(share_out(np.linalg.cholesky, matrices))


@contextmanager
def one_thread() -> Iterator[int]:
    """Let BLAS use one thread; gives how many it would."""
    with _turn.lock:
        blas, outer = _blas(), _turn.threads
        threads = max((library.num_threads for library in blas.lib_controllers), default=1)
        with blas.limit(limits=1):
            _turn.threads = threads if outer is None else outer
            try:
                yield threads
            finally:
                _turn.threads = outer


def share_out(function: Callable[[Array], T], matrices: Array) -> list[T]:
    """What a function makes of parts of a stack, in order; the parts side by side, BLAS with one thread.

    The function must not share out itself: it would wait for its own turn.
    """
    with one_thread() as threads:
        parts = np.array_split(matrices, max(min(PARTS * threads, len(matrices)), 1))
        if len(parts) == 1 or threads == 1:
            return [function(part) for part in parts]
        with ThreadPoolExecutor(threads) as pool:  # each in the caller's context, for numpy.errstate
            waiting = [pool.submit(contextvars.copy_context().run, function, part) for part in parts]
            return [one.result() for one in waiting]


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
