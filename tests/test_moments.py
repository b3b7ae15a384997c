"""Moments: one pass in blocks against numpy's own averages and exact integers; sums and differences."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from lineardiffusion.statistics.joint import JointMoments
from lineardiffusion.statistics.moments import BLOCK, Moments


def by_numpy(rows, groups, n_groups, weight=None):
    """The same moments from np.average and np.cov."""
    rows, groups, d = np.asarray(rows, np.float64), np.asarray(groups), rows.shape[1]
    weight = np.ones(len(rows)) if weight is None else weight
    weights, mean, scatter = np.zeros(n_groups), np.zeros((n_groups, d)), np.zeros((n_groups, d, d))
    squares = np.zeros(n_groups)
    for g in set(groups.tolist()):
        x, w = rows[groups == g], weight[groups == g]
        if w.sum() > 0:
            weights[g], squares[g] = w.sum(), w @ w
            mean[g] = np.average(x, axis=0, weights=w)
            scatter[g] = w.sum() * np.cov(x, rowvar=False, ddof=0, aweights=w)
    return Moments(weights, squares, mean, scatter)


def assert_same(a, b, rtol, deviation=1.0):
    """Equal to `rtol` of the data's standard deviation, and of its square times the weight."""
    np.testing.assert_allclose(a.weight, b.weight, rtol=1e-12)
    np.testing.assert_allclose(a.squares, b.squares, rtol=1e-12)
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-14, atol=rtol * deviation)
    unit = deviation**2 * np.maximum(b.weight, 1e-300)[:, None, None]
    np.testing.assert_allclose(a.scatter / unit, b.scatter / unit, rtol=0, atol=rtol)


@st.composite
def data(draw, max_n=60):
    """Rows (n, d) in some of g groups, with weights or without."""
    n, d, g = draw(st.integers(1, max_n)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = rng.normal(draw(st.sampled_from([0.0, -3.0, 50.0])), 1.0, (n, d))
    weight = rng.uniform(0.05, 5.0, n) if draw(st.booleans()) else None
    return rows, rng.integers(0, g, n), g, weight, rng


@settings(deadline=None)
@given(data())
def test_one_pass_is_numpys_average_and_covariance(case):
    rows, groups, g, weight, _ = case
    assert_same(Moments.of(rows, groups, g, weight), by_numpy(rows, groups, g, weight), 1e-12)


@settings(deadline=None)
@given(data(), st.lists(st.integers(0, 60), max_size=8))
def test_batches_of_any_size_in_any_order_give_the_whole(case, cuts):
    rows, groups, g, weight, rng = case
    order = rng.permutation(len(rows))
    total, parts = Moments.zeros(g, rows.shape[1]), []
    for part in np.split(order, sorted(min(cut, len(rows)) for cut in cuts)):
        parts.append(Moments.of(rows[part], groups[part], g, None if weight is None else weight[part]))
        total = parts[-1] + total
    assert_same(total, by_numpy(rows, groups, g, weight), 1e-12)
    assert_same(Moments.total(parts), by_numpy(rows, groups, g, weight), 1e-12)


def test_many_blocks_with_weights():
    rng = np.random.default_rng(0)
    n = 2 * BLOCK + 77
    rows, groups, weight = rng.normal(3.0, 1.0, (n, 5)), rng.integers(0, 2, n), rng.exponential(size=n)
    assert_same(Moments.of(rows, groups, 2, weight), by_numpy(rows, groups, 2, weight), 1e-13)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_same_bits_on_any_number_of_threads(weighted):
    """Groups of any size, side by side; the same rows in another order have other bits: the control."""
    rng = np.random.default_rng(0)
    rows, groups = rng.normal(size=(3000, 150)).astype(np.float32), rng.choice(4, 3000, p=[0.6, 0.2, 0.15, 0.05])
    weight, found = rng.random(3000) if weighted else None, []
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            moments = Moments.of(rows, groups, 5, weight)
            found.append([moments.mean, moments.scatter, moments.project(rows[0], rows[:150, :9]).scatter])
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
    order = np.argsort(groups)[::-1]
    other = Moments.of(rows[order], groups[order], 5, None if weight is None else weight[order])
    assert not np.array_equal(found[0][1], other.scatter)


def test_products_of_another_type():
    rng = np.random.default_rng(0)
    rows, groups = (100 + rng.normal(size=(900, 6))).astype(np.float32), rng.integers(0, 3, 900)
    exact = Moments.of(rows.astype(float), groups, 3)
    np.testing.assert_allclose(Moments.of(rows, groups, 3, None, np.float64).scatter, exact.scatter, rtol=1e-13)
    assert np.abs(Moments.of(rows, groups, 3).scatter - exact.scatter).max() > 1e-6  # control: float32


def integer_sums(rows):
    """sum x, and n sum x x^T - sum x sum x^T, in whole numbers."""
    x = rows.astype(np.int64)
    return x.sum(axis=0), len(x) * (x.T @ x) - np.outer(x.sum(axis=0), x.sum(axis=0))


def extreme_bytes(rng, n):
    """Columns at the ends of a byte's range: where the products are largest."""
    ends = rng.choice(np.array([0, 255], np.uint8), (n, 3))
    return np.column_stack([np.zeros(n, np.uint8), np.full(n, 255, np.uint8), ends, rng.integers(0, 256, n)])


def test_bytes_lose_nothing():
    n = 4 * BLOCK  # a power of 2: the mean too has an exact float
    rows = extreme_bytes(np.random.default_rng(1), n).astype(np.uint8)
    total, spread = integer_sums(rows)
    moments = Moments.of(rows, np.zeros(n, int), 1)
    assert np.array_equal(n * moments.mean[0], total)
    assert np.array_equal(n * moments.scatter[0], spread)

    x = rows.astype(np.float32) - 128  # control: a single float32 product of all rows is not exact
    assert not np.array_equal(x.T @ x, (x.astype(np.int64)).T @ x.astype(np.int64))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 3 * BLOCK), st.sampled_from([np.uint8, np.int8, bool]), st.integers(0, 2**32))
def test_bytes_of_any_number_are_whole_numbers(n, dtype, seed):
    rows = extreme_bytes(np.random.default_rng(seed), n).astype(np.uint8)
    rows = rows > 100 if dtype is bool else rows.view(dtype)
    total, spread = integer_sums(rows)
    moments = Moments.of(rows, np.zeros(n, int), 1)
    np.testing.assert_allclose(n * moments.mean[0], total, rtol=0, atol=0.01)  # whole: 0.5 is far away
    np.testing.assert_allclose(n * moments.scatter[0], spread, rtol=0, atol=0.01)


@settings(deadline=None)
@given(data(), st.sampled_from([np.float64, np.float32, np.uint8]))
def test_a_weight_is_a_repetition(case, dtype):
    rows, groups, g, _, rng = case
    rows = (rng.integers(0, 256, rows.shape) if dtype == np.uint8 else rows - rows.mean()).astype(dtype)
    times = rng.integers(0, 4, len(rows))
    times[np.unique(groups, return_index=True)[1]] = 2  # no group loses all its rows
    weighted = Moments.of(rows, groups, g, times.astype(float))
    repeated = Moments.of(np.repeat(rows, times, axis=0), np.repeat(groups, times), g)
    # but for the number of images, which weights of 2 do not double
    assert (weighted.effective <= np.bincount(groups[times > 0], minlength=g) + 1e-9).all()
    repeated = replace(repeated, squares=weighted.squares)
    deviation = 100.0 if dtype == np.uint8 else 1.0
    assert_same(weighted, repeated, 1e-5 if dtype == np.float32 else 1e-12, deviation)


@settings(deadline=None)
@given(data())
def test_pooled_is_all_as_one_group(case):
    rows, groups, g, weight, _ = case
    one = by_numpy(rows, np.zeros(len(rows), int), 1, weight)
    assert_same(Moments.of(rows, groups, g, weight).pooled(), one, 1e-11)


@settings(deadline=None)
@given(data(), st.integers(1, 7))
def test_projecting_commutes_with_measuring(case, k):
    rows, groups, g, weight, rng = case
    origin, basis = rng.normal(size=rows.shape[1]), rng.normal(size=(rows.shape[1], k))
    there = Moments.of(rows, groups, g, weight).project(origin, basis)
    here = Moments.of((rows - origin) @ basis, groups, g, weight)
    some = here.weight > 0
    assert_same(there[some], here[some], 1e-11, np.linalg.norm(basis, 2))


@settings(deadline=None)
@given(data())
def test_spread_is_measuring_at_the_new_places(case):
    rows, groups, g, weight, rng = case
    places = rng.permutation(g + 3)[:g]
    spread = Moments.of(rows, groups, g, weight).spread(places, g + 3)
    direct = Moments.of(rows, places[groups], g + 3, weight)
    for field in ("weight", "mean", "scatter"):
        assert np.array_equal(getattr(spread, field), getattr(direct, field))


def test_float32_survives_an_offset_of_ten_thousand():
    x = (10_000 + np.random.default_rng(2).normal(size=(5000, 4))).astype(np.float32)
    truth = np.cov(x.astype(np.float64), rowvar=False, ddof=0)
    moments = Moments.of(x, np.zeros(len(x), int), 1)
    np.testing.assert_allclose(moments.covariance[0], truth, rtol=0, atol=2e-6)
    np.testing.assert_allclose(moments.mean[0], x.mean(axis=0, dtype=np.float64), rtol=0, atol=1e-7)

    mean = x.mean(axis=0)  # control: the textbook's E[x x^T] - m m^T in the same float32
    naive = x.T @ x / np.float32(len(x)) - np.outer(mean, mean)
    assert np.abs(naive - truth).max() > 0.1


@pytest.mark.parametrize(
    ("dtype", "low", "high", "rtol"),
    [
        # products in float32, of which 1,024 are summed in an order that is the machine's: between
        # sqrt(1024) and 1024 times 6e-8
        (np.int16, -(2**15), 2**15, 1e-5),
        (np.uint16, 2**15, 2**16, 1e-5),
        (np.float16, 0, 100, 1e-5),
        (np.int32, -(2**31), 2**31, 1e-12),
        (np.int64, 2**40, 2**40 + 1000, 1e-12),  # nothing of it would be left in float32
        (np.uint64, 0, 2**53, 1e-12),
    ],
)
def test_other_pixel_types(dtype, low, high, rtol):
    rng = np.random.default_rng(3)
    n = BLOCK + 500
    rows = rng.integers(low, high, (n, 3), dtype=np.int64).astype(dtype)
    groups, deviation = rng.integers(0, 2, n), (high - low) / 12**0.5
    truth = by_numpy(rows, groups, 2)
    assert_same(Moments.of(rows, groups, 2), truth, rtol, deviation)
    weighted = Moments.of(rows, groups, 2, np.full(n, 0.25))  # weights call for float64
    assert_same(
        weighted, Moments(truth.weight / 4, truth.squares / 16, truth.mean, truth.scatter / 4), 1e-12, deviation
    )


def test_groups_without_rows_are_zero_and_add_nothing():
    rows = np.random.default_rng(4).normal(1000.0, 1.0, (9, 2))
    moments = Moments.of(rows, np.full(9, 2), 4)
    empty = [0, 1, 3]
    for field in (moments.weight, moments.mean, moments.scatter, moments.covariance):
        assert not field[empty].any()
    for total in (moments + Moments.of(rows[:0], [], 4), Moments.of(rows[:0], [], 4) + moments):
        for field in ("weight", "mean", "scatter"):
            assert np.array_equal(getattr(total, field), getattr(moments, field))


def test_a_group_whose_weights_are_all_zero_is_an_empty_group():
    moments = Moments.of(np.ones((3, 2)), [0, 1, 1], 2, np.array([0.0, 1.0, 1.0]))
    assert_same(moments, by_numpy(np.ones((3, 2)), [0, 1, 1], 2, np.array([0.0, 1.0, 1.0])), 1e-12)


@settings(deadline=None)
@given(data(), st.integers(0, 60))
def test_a_part_subtracted_leaves_the_rest(case, cut):
    """Groups that are wholly in the part are empty afterwards, to the last bit."""
    rows, groups, g, weight, _ = case
    cut = min(cut, len(rows))
    w = [None, None] if weight is None else [weight[:cut], weight[cut:]]
    whole = Moments.of(rows, groups, g, weight)
    left = whole - Moments.of(rows[:cut], groups[:cut], g, w[0])
    assert_same(left, by_numpy(rows[cut:], groups[cut:], g, w[1]), 1e-9)
    gone = np.setdiff1d(np.arange(g), groups[cut:])
    assert not left.weight[gone].any()
    assert not left.mean[gone].any()
    assert not left.scatter[gone].any()


def test_what_was_never_added_is_not_subtracted():
    rows, groups = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    whole, part = Moments.of(rows, groups, 2), Moments.of(rows[:10], groups[:10], 2)
    whole - part  # the control
    for never, what in (
        (part + whole, "weight"),
        (Moments.of(30 * rows[:10], groups[:10], 2), "variance"),
        (Moments.of(rows[:10] + 50, groups[:10], 2), "variance"),
    ):
        with pytest.raises(ValueError, match=what):
            whole - never


@pytest.mark.parametrize("kind", ["of prompts", "joint"])
def test_a_pickle_holds_the_upper_triangles(kind):
    rows, groups = np.random.default_rng(1).normal(size=(200, 40)).astype(np.float32), np.arange(200) % 3
    if kind == "joint":
        moments = JointMoments.of(np.eye(3)[groups], rows)
        name, other = "matrix", JointMoments(moments.matrix.copy(), moments.origin)
    else:
        moments = Moments.of(rows, groups, 3)
        name, other = "scatter", replace(moments, scatter=moments.scatter.copy())
    stored = pickle.dumps(moments)
    assert len(stored) < 0.55 * getattr(moments, name).nbytes
    back = pickle.loads(stored)
    assert all(np.array_equal(array, getattr(back, field)) for field, array in vars(moments).items())
    assert not getattr(back, name).flags.writeable
    matrix = getattr(other, name)
    matrix.flags.writeable = True
    matrix[..., 0, 1] = np.nextafter(matrix[..., 0, 1], np.inf)  # no longer symmetric to the last bit
    assert np.array_equal(getattr(pickle.loads(pickle.dumps(other)), name), matrix)
    assert len(pickle.dumps(other)) > matrix.nbytes


def test_a_pickle_does_not_hold_groups_without_images():
    moments = Moments.of(np.random.default_rng(1).normal(size=(50, 20)), np.full(50, 7), 30)
    assert len(pickle.dumps(moments)) < 0.1 * moments.scatter.nbytes
    assert np.array_equal(pickle.loads(pickle.dumps(moments)).scatter, moments.scatter)


def test_the_arrays_are_read_only():
    moments = Moments.of(np.ones((3, 2)), [0, 1, 1], 2)
    for made in (moments, moments + moments, moments.pooled(), moments.spread([1, 0], 3)):
        for field in (made.weight, made.mean, made.scatter):
            with pytest.raises(ValueError, match="read-only"):
                field[0] = 1.0


def test_nothing_changes_in_place():
    rng = np.random.default_rng(5)
    for dtype in (np.float32, np.float64):
        rows, groups, weight = rng.normal(size=(20, 3)).astype(dtype), rng.integers(0, 2, 20), rng.random(20)
        for array in (rows, groups, weight):
            array.setflags(write=False)
        a, b = Moments.of(rows, groups, 2), Moments.of(rows, groups, 2, weight)
        made = [a + b, b + a, (a + b) - b, Moments.total([a, b]), a.spread([1, 0], 3), a.pooled()]
        made.append(a.project(np.ones(3), np.eye(3)[:, :2]))
        assert a.covariance.flags.writeable
        for new in made:
            assert not np.shares_memory(new.scatter, a.scatter)
            assert not np.shares_memory(new.mean, a.mean)
