"""LAPACK for stacks: numpy's answers, the same bits on any number of threads, and BLAS left as it was."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lineardiffusion import lapack


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
    A, found = stack(40, 90), []
    for threads in (1, 2, 5):
        with threadpool_limits(threads, "blas"):
            found.append([*lapack.eigh(A), lapack.cholesky(A)])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert a.tobytes() == b.tobytes()


def test_blas_is_left_as_it_was():
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        assert max(before) == 2
        with lapack.one_thread() as threads:
            assert threads == 2
            assert set(blas_threads()) == {1}
        with pytest.raises(np.linalg.LinAlgError):
            lapack.cholesky(-stack(8, 4))
        callers = [threading.Thread(target=lapack.eigh, args=(stack(60, 60),)) for _ in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert blas_threads() == before
