"""LAPACK for stacks: numpy's answers, the same bits on any number of threads, and BLAS left as it was."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lineardiffusion import _linalg as lapack


def stack(g, d):
    rows = np.random.default_rng(g).normal(size=(g, 2 * d, d))
    return rows.mT @ rows


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize(("g", "d"), [(1, 3), (7, 5), (40, 90)])
def test_numpys_answers(g, d):
    A = stack(g, d)
    for found, expected in zip(lapack.eigh(A), np.linalg.eigh(A), strict=True):
        np.testing.assert_allclose(
            np.abs(found), np.abs(expected), rtol=1e-9, atol=1e-9 * np.abs(expected).max()
        )
    variance, basis = lapack.eigh(A)
    np.testing.assert_allclose((basis * variance[:, None]) @ basis.mT, A, atol=1e-10 * A.max())
    root = lapack.cholesky(A)
    np.testing.assert_allclose(root @ root.mT, A, atol=1e-10 * A.max())
    assert not np.triu(root, 1).any()


def test_the_same_bits_on_any_number_of_threads():
    """Which one matrix after the other does not give: the control."""
    A, found, control = stack(8, 132), [], []
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            found.append([one.tobytes() for one in (*lapack.eigh(A), lapack.cholesky(A))])
            control.append(np.linalg.cholesky(A).tobytes())
    assert found[0] == found[1]
    assert control[0] != control[1]


def test_blas_is_left_as_it_was():
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        assert max(before) == 2
        with lapack.one_thread() as threads:
            assert threads == 2
            assert set(blas_threads()) == {1}
            with lapack.one_thread():  # within itself
                pass
            assert set(blas_threads()) == {1}
        assert blas_threads() == before
        with pytest.raises(np.linalg.LinAlgError):
            lapack.cholesky(-stack(8, 4))
        assert blas_threads() == before


@contextmanager
def somebody_at_work():
    """A thread has the turn until the event that this gives is set, or the block ends."""
    inside, leave = threading.Event(), threading.Event()

    def work():
        with lapack.one_thread():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert inside.wait(30)
        yield leave
    finally:
        leave.set()
        thread.join()


def test_each_waits_for_its_turn():
    """The second comes while the first is at work: it must not take 1 for what was before."""
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with ThreadPoolExecutor(1) as pool, somebody_at_work() as leave:
            second = pool.submit(lapack.eigh, stack(8, 4))
            with pytest.raises(TimeoutError):
                second.result(0.3)
            leave.set()
            second.result(30)
        assert blas_threads() == before


def test_the_caller_s_errstate_reaches_the_workers():
    def overflow(part):
        return np.exp(part)

    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        lapack.share_out(overflow, np.full((8, 2, 2), 1e9))
    with np.errstate(over="ignore"):  # a RuntimeWarning is an error here
        lapack.share_out(overflow, np.full((8, 2, 2), 1e9))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_during_the_work_is_free():
    """Its thread that had the turn is gone, and nobody else would set the threads back."""
    with threadpool_limits(2, "blas"), somebody_at_work():
        if (child := os.fork()) == 0:
            signal.alarm(20)
            fine = max(blas_threads()) == 2
            lapack.eigh(stack(8, 4))
            os._exit(0 if fine else 1)
        assert os.waitpid(child, 0)[1] == 0
