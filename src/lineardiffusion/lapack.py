"""LAPACK for many small matrices: one BLAS thread each, and the matrices side by side.

A prompt or a style has a covariance of its own, and a model hundreds of them, each of order 100 or so. BLAS
would share out every single one of them among its threads, which then wait for each other more than they
work: 10 to 50 times longer than one of them alone, where another program has one of the cores. So the stack
is shared out, not the matrix. What is found is then also the same bit for bit on any number of cores.
"""

from __future__ import annotations

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

_lock = threading.RLock()  # the number of BLAS threads is everybody's


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
    with _lock:
        blas = _blas()
        threads = max((library.num_threads for library in blas.lib_controllers), default=1)
        with blas.limit(limits=1):
            yield threads


def share_out(function: Callable[[Array], T], matrices: Array) -> list[T]:
    """What a function makes of parts of a stack, in order; the parts side by side, BLAS with one thread."""
    with one_thread() as threads:
        parts = np.array_split(matrices, max(min(PARTS * threads, len(matrices)), 1))
        if len(parts) == 1:
            return [function(matrices)]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, parts))


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
