"""The histogram of the data's pixels: exact, additive, bounded."""

import numpy as np
import pytest

from lineardiffusion.statistics.histogram import Histogram


def same(a, b):
    np.testing.assert_array_equal(a.values, b.values)
    np.testing.assert_array_equal(a.weight, b.weight)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, bool, np.uint16, np.int32, np.float16, np.float32, float])
def test_small_whole_numbers_are_counted_exactly(dtype):
    rows = np.random.default_rng(0).integers(0, 2 if dtype is bool else 100, (50, 40)).astype(dtype)
    rows = -rows if np.dtype(dtype).kind in "if" else rows
    values, counts = np.unique(rows.astype(float), return_counts=True)
    found = Histogram.of(rows)
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.weight, counts)


def test_whole_numbers_are_exact_up_to_4096_and_no_further():
    whole = np.arange(-4096.0, 4097.0)
    np.testing.assert_array_equal(Histogram.of(whole[None]).values, whole)
    assert Histogram.of(np.array([[4097.0]])).values[0] != 4097  # control


def test_any_number_is_counted_within_a_4096th_of_itself():
    rng = np.random.default_rng(0)
    x = np.sort(rng.normal(size=20_000) * 10.0 ** rng.integers(-9, 9, 20_000))
    found = Histogram.of(x[:, None])
    ranks = np.repeat(found.values, found.weight.astype(int))  # rounding keeps the order
    error = np.abs(ranks / x - 1).max()
    assert 1 / 8192 < error <= 1 / 4096
    assert len(found.values) < len(x)
    many = Histogram.of(rng.random((2, 1_000_000)) + 1.0)
    assert len(many.values) == 2049  # one factor of two, however many pixels


def test_histograms_add_in_any_order_and_by_weight():
    rng = np.random.default_rng(0)
    rows = rng.gamma(1.0, size=(400, 30)) - 0.2
    parts = [Histogram.of(rows[i : i + 37]) for i in range(0, 400, 37)]
    whole = Histogram.of(rows)
    same(sum(parts[1:], parts[0]), whole)
    same(sum(parts[-2::-1], parts[-1]), whole)
    weight = rng.integers(1, 4, 400).astype(float)
    same(Histogram.of(rows, weight), Histogram.of(np.repeat(rows, weight.astype(int), axis=0)))
    assert whole.cumulative()[-1] == 1.0


def test_a_part_subtracted_leaves_the_rest():
    rng = np.random.default_rng(1)
    rows, weight = rng.gamma(1.0, size=(90, 30)), rng.uniform(0.5, 2.0, 90)
    rows[:20] += 100.0  # values that only the part has
    whole, part, rest = (Histogram.of(rows[s], weight[s]) for s in (slice(None), slice(20), slice(20, None)))
    left = whole - part
    np.testing.assert_array_equal(left.values, rest.values)
    np.testing.assert_allclose(left.weight, rest.weight, rtol=1e-12)
    for never in (Histogram.of(rows[:20] + 500.0), part + part):
        with pytest.raises(ValueError, match="never"):
            whole - never


def test_blocks_do_not_matter(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(50, 7))
    weight = np.arange(1.0, 51.0)
    whole = Histogram.of(rows, weight)
    monkeypatch.setattr("lineardiffusion.statistics.histogram.PIXELS", 20)
    same(Histogram.of(rows, weight), whole)
