"""Moments of pixels: against numpy group by group, and as sums that add up and subtract."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lineardiffusion.statistics import pixels
from lineardiffusion.statistics.moments import Moments
from lineardiffusion.statistics.pixels import PixelMoments

N, D, G = 500, 6, 4


def by_numpy(rows, groups, weight=None, n_groups=G):
    """Weight, mean and scatter of each group, in 80 bits."""
    weight = np.ones(len(rows)) if weight is None else weight
    found = PixelMoments.zeros(n_groups, rows.shape[1])
    total, mean, scatter = (np.array(x) for x in (found.weight, found.mean, found.scatter))
    for g in np.unique(groups):
        x, w = rows[groups == g].astype(np.longdouble), weight[groups == g].astype(np.longdouble)
        total[g], mean[g] = w.sum(), (w @ x) / w.sum()
        scatter[g] = w @ (x - (w @ x) / w.sum()) ** 2
    return PixelMoments(total, mean, scatter)


def assert_same(a, b, rtol=1e-10, atol=0.0):
    assert_allclose(a.weight, b.weight, rtol=1e-12)
    assert_allclose(a.mean, b.mean, rtol=1e-12, atol=1e-12)
    assert_allclose(a.scatter, b.scatter, rtol=rtol, atol=atol)


@pytest.fixture(params=["bytes", "floats", "single", "offset"])
def rows(request):
    """Pixels of different deviations; "offset" are floats at 1e6, whose squares have the digits of none of them."""
    x = np.random.default_rng(0).gamma(2.0, size=(N, D)) * np.geomspace(1, 30, D)
    match request.param:
        case "bytes":
            return np.minimum(x, 255).astype(np.uint8)
        case "single":
            return x.astype(np.float32)
        case "offset":
            return 1e6 + x
    return x


@pytest.fixture
def groups():
    return np.random.default_rng(1).choice(G - 1, N, p=[0.6, 0.3, 0.1])  # the last one has no image


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [2048, 7])
def test_of_each_group(rows, groups, weighted, size, monkeypatch):
    """In one part of images and pixels and in many, with weights over four orders of magnitude and without."""
    monkeypatch.setattr(pixels, "ROWS", size)
    monkeypatch.setattr(pixels, "STRIP", size - 3)
    weight = 10.0 ** np.random.default_rng(2).uniform(-2, 2, N) if weighted else None
    found, expected = PixelMoments.of(rows, groups, G, weight), by_numpy(rows, groups, weight)
    assert_same(found, expected)
    assert_allclose(
        found.variance[:3], (expected.scatter / np.maximum(expected.weight, 1e-9)[:, None])[:3], rtol=1e-10
    )
    assert not found.weight[3]
    assert not found.mean[3].any()
    if rows.min() > 1e5:  # control: without the origin no digit would be left
        own = rows[groups == 0]
        naive = (own**2).sum(axis=0) - own.sum(axis=0) ** 2 / len(own)
        assert np.abs(naive / by_numpy(rows, groups).scatter[0] - 1).max() > 1e-7


def test_are_the_diagonal_of_moments(rows, groups):
    weight = np.random.default_rng(2).exponential(size=N)
    moments = Moments.of(rows.astype(np.float64), groups, G, weight)
    assert_same(PixelMoments.of_moments(moments), PixelMoments.of(rows, groups, G, weight), 1e-9)


def test_a_weight_is_a_repetition(rows, groups):
    times = np.random.default_rng(3).integers(1, 4, N)
    repeated = PixelMoments.of(np.repeat(rows, times, axis=0), np.repeat(groups, times), G)
    assert_same(PixelMoments.of(rows, groups, G, times.astype(float)), repeated)
    assert np.abs(PixelMoments.of(rows, groups, G).mean - repeated.mean).max() > 1e-3  # control


def test_parts_add_up_and_subtract(rows, groups):
    """A stream in any order; a part without one of the groups; and what is left when a part is forgotten."""
    weight = np.random.default_rng(4).exponential(size=N)
    whole, order = PixelMoments.of(rows, groups, G, weight), np.random.default_rng(5).permutation(N)
    order = np.concatenate([order[groups[order] != 1], order[groups[order] == 1]])
    stream, parts = PixelMoments.zeros(G, D), np.split(order, [1, 20, 300])
    for part in parts[::-1]:
        stream = stream + PixelMoments.of(rows[part], groups[part], G, weight[part])
    assert_same(stream, whole)
    some = np.concatenate(parts[:2])
    rest = np.concatenate(parts[2:])
    scale = 1e-10 * whole.scatter.max()
    left = whole - PixelMoments.of(rows[some], groups[some], G, weight[some])
    assert_same(left, by_numpy(rows[rest], groups[rest], weight[rest]), atol=scale)
    gone = whole - PixelMoments.of(rows[groups == 2], groups[groups == 2], G, weight[groups == 2])
    assert not gone.weight[2]
    assert not gone.mean[2].any()
    assert not gone.scatter[2].any()
    assert_same(gone[np.array([0, 1])], whole[np.array([0, 1])])
    with pytest.raises(AssertionError):  # control
        assert_same(left, whole)


def test_what_was_never_added_is_not_subtracted(rows, groups):
    half, whole = (PixelMoments.of(rows[:n], groups[:n], G) for n in (N // 2, N))
    with pytest.raises(ValueError, match="never added"):  # more images than there are
        half - whole
    wide = np.array(rows[:50], np.float64)
    wide += 20 * wide.std(axis=0) * np.random.default_rng(6).normal(size=wide.shape)  # more variance
    with pytest.raises(ValueError, match="never added: a pixel's variance"):
        whole - PixelMoments.of(wide, groups[:50], G)
    whole - half  # control


def test_a_constant_pixel_has_no_variance():
    """Of any value, also where the others vary, and far from the first images' mean, from which sums are taken."""
    rng = np.random.default_rng(0)
    for value, n in itertools.product((0.0, 0.1, 1 / 3, 1e6 + 0.1), (1, 200, 20_000)):
        rows = np.concatenate([value + 1e3 * rng.normal(size=(100, 2)), np.full((n, 2), value)])
        groups = np.repeat([0, 1], [100, n])
        found = PixelMoments.of(rows, groups, 2)
        assert_array_equal(found.scatter[1], 0.0)
        assert_allclose(found.mean[1], value, rtol=1e-12, atol=1e-11)
        assert (found.scatter[0] > 1e6).all()  # control
        again = found + PixelMoments.of(rows[:100], groups[:100], 2)
        assert_array_equal((again - found).scatter[1], 0.0)


def test_at_other_positions_and_pooled(rows, groups):
    moments = PixelMoments.of(rows, groups, G)
    spread = moments.spread([4, 0, 2, 1], 6)
    assert_same(spread[np.array([4, 0, 2, 1])], moments)
    assert not spread.weight[[3, 5]].any()
    assert not spread.scatter[[3, 5]].any()
    one = by_numpy(rows, np.zeros(N, int), n_groups=1)
    assert_same(spread.pooled(), one)
    assert_same(PixelMoments.of(rows[:0], groups[:0], G), PixelMoments.zeros(G, D))


def test_their_arrays_cannot_be_written_to(rows, groups):
    with pytest.raises(ValueError, match="read-only"):
        PixelMoments.of(rows, groups, G).mean[0] = 0.0
