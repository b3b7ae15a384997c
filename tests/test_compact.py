"""Compact storage: triangles against numpy's, square roots in half precision against the bound of rounding."""

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from lineardiffusion import LinearDiffusion
from lineardiffusion._triangles import pack, unpack
from lineardiffusion.io.compact import compress, expand
from lineardiffusion.io.model_file import WEIGHTS, read_configuration
from stored_models import KINDS, asked, assert_same, drawn, fitted

BOUND = 2.0**-9  # of a correlation: entries of two columns are off by 2^-11 of themselves at most


def scatters(rng, d, rank, scales):
    rows = rng.normal(size=(3, rank, d)) * 10.0 ** rng.uniform(-scales, scales, size=(3, 1, d))
    return rows.mT @ rows


def worst_correlation(found, expected):
    spread = np.sqrt(np.diagonal(expected, axis1=1, axis2=2))
    return np.max(np.abs(found - expected) / (spread[:, :, None] * spread[:, None, :]))


def test_triangles_are_numpys():
    symmetric = scatters(np.random.default_rng(0), 7, 9, 1)
    symmetric = (symmetric + symmetric.mT) / 2
    assert np.array_equal(pack(symmetric), symmetric[:, *np.triu_indices(7)])
    assert np.array_equal(unpack(pack(symmetric), 7), symmetric)


@given(st.integers(1, 12), st.integers(1, 15), st.floats(0, 6), st.integers(0, 100))
def test_rounding_changes_a_correlation_by_the_bound_at_most(d, rank, scales, seed):
    S = scatters(np.random.default_rng(seed), d, rank, scales)
    found = expand(*compress(S))
    assert worst_correlation(found, S) < BOUND
    assert np.array_equal(found, found.mT)
    np.testing.assert_allclose(np.diagonal(found, axis1=1, axis2=2), np.diagonal(S, axis1=1, axis2=2), rtol=1e-12)
    scaled = found / np.sqrt(np.diagonal(S, axis1=1, axis2=2))[:, None] ** 2
    assert np.linalg.eigvals(scaled).real.min() > -1e-9  # similar to a symmetric one, and semidefinite


def test_the_bound_is_tight():
    """A bound 16 times as strict does not hold, and S with rounded entries is not semidefinite."""
    S = scatters(np.random.default_rng(1), 40, 20, 0)
    assert worst_correlation(expand(*compress(S)), S) > BOUND / 16
    scale = np.abs(S).max()
    assert np.linalg.eigvalsh((S / scale).astype(np.float16).astype(float)).min() < -1e-5
    assert np.linalg.eigvalsh(expand(*compress(S)) / scale).min() > -1e-12


def test_the_root_is_the_one_with_a_positive_diagonal():
    _, roots = compress(scatters(np.random.default_rng(3), 8, 20, 1))
    assert (np.diagonal(unpack(roots, 8), axis1=1, axis2=2) > 0).all()


def test_the_same_bits_on_any_number_of_threads():
    S = scatters(np.random.default_rng(4), 132, 200, 0)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            spread, roots = compress(S)
            found.append((roots.tobytes(), expand(spread, roots).tobytes()))
    assert found[0] == found[1]


def test_small_entries_are_not_lost(tmp_path):
    """A pixel that varies by 1e-50 cannot be a float32, and the model is saved and loaded all the same."""
    rows = np.random.default_rng(0).normal(size=(300, 6, 6))
    rows[:, 0, 0] *= 1e-50
    ld = LinearDiffusion(scale=True, n_components=4, max_memory=15000).fit(["a", "b", "c"] * 100, rows)
    ld.save_pretrained(tmp_path, precision="half")
    assert np.abs(drawn(LinearDiffusion.from_pretrained(tmp_path)) - drawn(ld)).max() < 0.01


def test_a_large_offset_costs_no_digits(tmp_path):
    prompts, far = ["a", "b"] * 100, 1e7 + np.random.default_rng(0).normal(size=(200, 4, 3))
    ld = LinearDiffusion().fit(prompts, far)
    ld.save_pretrained(tmp_path, precision="half")
    assert np.abs(drawn(LinearDiffusion.from_pretrained(tmp_path)) - drawn(ld)).max() < 0.02


def test_an_entry_that_does_not_vary_stays_constant():
    S = scatters(np.random.default_rng(2), 5, 8, 0)
    S[:, 2] = S[:, :, 2] = 0.0
    found = expand(*compress(S))
    assert not found[:, 2].any()
    left = np.ix_([0, 1, 2], [0, 1, 3, 4], [0, 1, 3, 4])
    assert worst_correlation(found[left], S[left]) < BOUND


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:.*styles")
def test_every_kind_of_model(kind, tmp_path):
    """Half precision draws almost the same pixels in fewer bytes; saved again, nothing more is lost."""
    ld = KINDS[kind]()
    ld.save_pretrained(tmp_path / "full")
    ld.save_pretrained(tmp_path / "half", precision="half")
    half = LinearDiffusion.from_pretrained(tmp_path / "half")
    spread = np.ptp(drawn(ld))
    assert np.abs(drawn(half) - drawn(ld)).max() < 0.01 * spread
    joint = not hasattr(ld.statistics_.moments, "scatter")
    sizes = [(tmp_path / name / WEIGHTS).stat().st_size for name in ("full", "half")]
    assert sizes[1] < sizes[0] or joint
    assert read_configuration(tmp_path / "half" / WEIGHTS)["precision"] == "half"
    half.save_pretrained(tmp_path / "again")
    again = LinearDiffusion.from_pretrained(tmp_path / "again")
    assert_same(half.statistics_, again.statistics_)
    assert np.array_equal(drawn(again), drawn(half))
    if not joint:
        assert np.array_equal(half.statistics_.moments.weight, ld.statistics_.moments.weight)


def test_scatters_take_a_quarter_of_the_bytes(tmp_path):
    rng = np.random.default_rng(0)
    ld = LinearDiffusion().fit([str(i % 5) for i in range(300)], rng.normal(size=(300, 12, 12)))
    ld.save_pretrained(tmp_path, precision="half")
    arrays = safetensors.numpy.load_file(tmp_path / WEIGHTS)
    assert set(arrays) == {"moments.weight", "moments.squares", "moments.mean", "moments.spread", "moments.root"}
    moments = ld.statistics_.moments
    assert (tmp_path / WEIGHTS).stat().st_size < 0.26 * pack(moments.scatter).nbytes + moments.mean.nbytes + 2000


def test_a_model_in_half_precision_continues_to_learn(tmp_path):
    ld = fitted()
    ld.save_pretrained(tmp_path, precision="half")
    more = (asked(ld) * 5, np.random.default_rng(3).uniform(0, 255, (30, 4, 3)))
    after = LinearDiffusion.from_pretrained(tmp_path).partial_fit(*more)
    assert (
        worst_correlation(after.statistics_.moments.scatter, ld.partial_fit(*more).statistics_.moments.scatter)
        < BOUND
    )


def test_an_unknown_precision(tmp_path):
    with pytest.raises(ValueError, match="precision"):
        fitted().save_pretrained(tmp_path / "new", precision="fp8")
    assert not (tmp_path / "new").exists()
