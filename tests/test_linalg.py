"""Factorisations of stacks: numpy's answers, the same bits on any number of threads, and BLAS left as it was."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lineardiffusion import LinearDiffusion, _linalg


def stack(g, d):
    rows = np.random.default_rng(g).normal(size=(g, 2 * d, d))
    return rows.mT @ rows


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize(("g", "d"), [(1, 3), (7, 5), (40, 20)])
def test_numpys_answers(g, d):
    A = stack(g, d)
    for found, expected in zip(_linalg.eigh(A), np.linalg.eigh(A), strict=True):
        np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    variance, basis = _linalg.eigh(A)
    np.testing.assert_allclose((basis * variance[:, None]) @ basis.mT, A, atol=1e-10 * A.max())


def test_the_same_bits_on_any_number_of_threads():
    """One matrix after the other, with BLAS splitting each, gives other bits: the control."""
    A, found, control = stack(8, 132), [], []
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            found.append(
                [one.tobytes() for one in (*_linalg.eigh(A), np.concatenate(_linalg.split(np.linalg.cholesky, A)))]
            )
            control.append(np.linalg.cholesky(A).tobytes())
    assert found[0] == found[1]
    assert control[0] != control[1]


def test_items_side_by_side_keep_their_order_and_have_one_blas_thread_each():
    def work(k):
        time.sleep(0.002 * (5 - k))  # the first ends last
        return k, threading.get_ident(), max(blas_threads())

    with threadpool_limits(2, "blas"):
        found, threads, blas = zip(*_linalg.side_by_side(work, range(5)), strict=True)
        assert found == tuple(range(5))
        assert len(set(threads)) == 2
        assert set(blas) == {1}
        assert _linalg.side_by_side(work, []) == []
        begun = []
        with pytest.raises(ZeroDivisionError):  # and the rest is not begun
            _linalg.side_by_side(lambda k: (begun.append(k), time.sleep(0.001), 1 // k), range(200))
        assert len(begun) < 100
    with threadpool_limits(1, "blas"):  # control
        assert {one[1] for one in _linalg.side_by_side(work, range(3))} == {threading.get_ident()}


def test_blas_is_left_as_it_was():
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        assert max(before) == 2
        with _linalg.one_thread() as threads:
            assert threads == 2
            assert set(blas_threads()) == {1}
            with _linalg.one_thread() as within:
                assert within == 2
            assert set(blas_threads()) == {1}
        assert blas_threads() == before
        with pytest.raises(np.linalg.LinAlgError):
            _linalg.split(np.linalg.cholesky, -stack(8, 4))
        assert blas_threads() == before


def test_calls_within_calls_start_no_more_threads():
    """A task that splits its own work has the threads of the outer call; without that they would multiply."""
    peak, lock = [0], threading.Lock()

    def inner(_):
        with lock:
            peak[0] = max(peak[0], threading.active_count())
        time.sleep(0.002)
        return 1

    before = threading.active_count()
    with threadpool_limits(2, "blas"):
        found = _linalg.side_by_side(lambda _: sum(_linalg.side_by_side(inner, range(6))), range(6))
        assert found == [6] * 6
        assert peak[0] <= before + 2
        assert _linalg.side_by_side(inner, range(3)) == [1] * 3  # afterwards as before


# ---------------------------------------------------------------------- several threads at once


@contextmanager
def another_user():
    """A thread that holds the limit until the event that this yields is set, or the block ends."""
    inside, leave = threading.Event(), threading.Event()

    def work():
        with _linalg.one_thread():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert inside.wait(30)
        yield thread, leave
    finally:
        leave.set()
        thread.join()


def test_users_of_the_limit_do_not_wait_for_each_other():
    """The second one sees the user's number, not the first one's 1; the last one out lifts the limit."""
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with another_user() as (first, leave):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(_linalg.eigh, stack(8, 4)).result(20)  # while the first is at work
            assert set(blas_threads()) == {1}
            with _linalg.one_thread() as threads:
                assert threads == 2
                leave.set()
                first.join()
                assert set(blas_threads()) == {1}  # this one still needs it
            assert blas_threads() == before


def test_a_limit_of_overlapping_threads_is_lifted():
    """The last one to leave is another thread than the first one to enter; nobody set anything before."""
    before = blas_threads()
    with ThreadPoolExecutor(1) as pool, another_user() as (first, leave):
        inside, may_leave = threading.Event(), threading.Event()

        def second():
            with _linalg.one_thread():
                inside.set()
                may_leave.wait(30)

        waiting = pool.submit(second)
        assert inside.wait(30)
        leave.set()
        first.join()
        may_leave.set()
        waiting.result(20)
    assert blas_threads() == before
    with _linalg.one_thread() as threads:  # and from here, too
        assert threads == max(before)
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_two_fits_do_not_take_turns_and_leave_the_user_s_setting(tiny):
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with another_user(), ThreadPoolExecutor(2) as pool:
            fits = [pool.submit(LinearDiffusion(n_styles=2).fit, *tiny) for _ in range(2)]
            drawn = [fit.result(20).predict(["up"], seed=0) for fit in fits]
        assert blas_threads() == before
    np.testing.assert_array_equal(*drawn)


def test_a_setting_that_the_user_makes_meanwhile_is_kept():
    """Here 2 instead of the 1 that the limit set; the control is a user who changes nothing."""
    with threadpool_limits(1, "blas"):
        with _linalg.one_thread():
            threadpool_limits(2, "blas")
        assert set(blas_threads()) == {2}
        threadpool_limits(1, "blas")
        with _linalg.one_thread():
            pass
        assert set(blas_threads()) == {1}


def test_the_caller_s_errstate_reaches_the_workers():
    def overflow(part):
        return np.exp(part)

    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        _linalg.split(overflow, np.full((8, 2, 2), 1e9))
    with np.errstate(over="ignore"):  # a RuntimeWarning is an error here
        _linalg.split(overflow, np.full((8, 2, 2), 1e9))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_during_the_work_is_free():
    """The thread that held the limit is not in the child, and nobody else there would lift it."""
    with threadpool_limits(2, "blas"), another_user():
        if (child := os.fork()) == 0:
            signal.alarm(20)
            fine = max(blas_threads()) == 2
            _linalg.eigh(stack(8, 4))
            os._exit(0 if fine else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_diagonal_matrices_are_not_decomposed():
    matrices = np.stack([np.diag([3.0, 0.0, -1.0, 2.0]), np.diag([0.0, 5.0, 5.0, 1.0])])
    np.testing.assert_array_equal(_linalg.diagonals(matrices), [[3, 0, -1, 2], [0, 5, 5, 1]])
    variance, basis = _linalg.eigh(matrices)
    np.testing.assert_array_equal(variance, np.linalg.eigh(matrices)[0])
    np.testing.assert_array_equal((basis * variance[:, None]) @ basis.mT, matrices)
    for place in [(1, 0, 3), (0, 2, 1)]:  # one entry of one of them
        other = matrices.copy()
        other[place] = 1e-300
        assert _linalg.diagonals(other) is None
