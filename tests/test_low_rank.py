"""Storage of styles in low rank: scatters against their sums, models against the whole ones, and forgetting."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_digits
from lineardiffusion.io.low_rank import LEAST, complete, dequantize, quantize, truncate
from lineardiffusion.io.model_file import WEIGHTS
from lineardiffusion.statistics.moments import NEGATIVE
from lineardiffusion.statistics.styles import number_of_directions
from lineardiffusion.training import Learned
from stored_models import assert_same, drawn, fitted

SETTINGS = {"n_components": 40, "n_styles": 3, "contrast": "pixelwise", "random_state": 0}


def scatters(rng, g, d, n):
    """Of g styles of n images, that differ in their leading directions."""
    shape = (rng.normal(size=(g, d, d)) + 3 * np.eye(d)) / (1 + np.arange(d))
    rows = rng.normal(size=(g, n, d)) @ shape.mT
    return rows.mT @ rows


@pytest.fixture(scope="module")
def digits():
    prompts, images = load_digits()
    return np.array(prompts), images


@pytest.fixture(scope="module")
def whole(digits):
    return LinearDiffusion(**SETTINGS).fit(*digits)


@pytest.fixture(scope="module")
def stored(whole, tmp_path_factory):
    """The model after it was stored, and its folder."""
    whole.save_pretrained(folder := tmp_path_factory.mktemp("low"), precision="low_rank")
    return LinearDiffusion.from_pretrained(folder), folder


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_an_integer_is_off_by_half_a_step(dtype):
    rows = np.random.default_rng(0).normal(size=(5, 30)) * 10.0 ** np.arange(5)[:, None]
    rows[3] = 0
    codes, scale = quantize(rows, dtype)
    off = np.abs(dequantize(codes, scale) - rows)
    step = np.abs(rows).max(axis=1, keepdims=True) / np.iinfo(dtype).max
    assert (off <= 0.5001 * step).all()
    assert (off > 0.4 * step)[[0, 1, 2, 4]].any()  # the bound is tight


def test_a_truncated_scatter_keeps_its_directions_and_its_total_and_all_together_their_sum():
    S = scatters(np.random.default_rng(1), 6, 12, 40)
    r = np.array([3, 4, 5, 3, 12, 4])
    codes, scale, traces, rest = truncate(S, r)
    found = complete(codes, scale, r, traces, rest)
    assert np.array_equal(found, found.mT)
    total = np.trace(S, axis1=1, axis2=2)
    np.testing.assert_allclose(np.trace(found, axis1=1, axis2=2), total, rtol=1e-9)
    size = np.trace(S.sum(axis=0))
    assert np.abs(found.sum(axis=0) - S.sum(axis=0)).max() < 1e-3 * size
    factors = complete(codes, scale, r, np.zeros(6), rest)
    assert np.abs(factors.sum(axis=0) - S.sum(axis=0)).max() > 3e-3 * size  # the control: without the rest
    for k in range(6):
        values, basis = np.linalg.eigh(S[k])
        top = basis[:, ::-1][:, : r[k]]
        leading = (top * values[::-1][: r[k]]) @ top.T
        assert np.linalg.norm(factors[k] - leading) < 0.02 * np.linalg.norm(leading)
    assert np.abs(found[4] - S[4]).max() < 0.02 * total[4]  # all of its directions are stored


def test_the_number_of_directions():
    found = number_of_directions(np.array([0.0, 1.0, 10.0, 60.0, 1000.0]), 0.25, 40, LEAST)
    assert found.tolist() == [3, 3, 3, 15, 40]
    assert number_of_directions(np.array([60.0]), 0.25, 2, LEAST).tolist() == [2]


def test_the_stored_model_draws_and_scores_almost_as_the_whole_one(digits, whole, stored, tmp_path):
    again, _ = stored
    prompts, images = digits
    asked = whole.prompts_.tolist() * 30
    seeds = list(range(len(asked)))
    expected, found = whole.predict(asked, seed=seeds), again.predict(asked, seed=seeds)
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.05 * expected.std()
    other = copy.copy(whole).refit(style_rank=whole.statistics_.styles.rank / 2)  # the control: half as many
    assert np.sqrt(np.mean((other.predict(asked, seed=seeds) - expected) ** 2)) > 0.1 * expected.std()
    for ld in (whole, again):
        assert np.mean(np.asarray(ld.classify(images)) == prompts) > 0.97
    assert np.mean(np.asarray(again.classify(images)) == np.asarray(whole.classify(images))) > 0.98
    assert np.isclose(again.score_samples(images).mean(), whole.score_samples(images).mean(), rtol=0.05)


def test_it_takes_fewer_bytes_than_half_precision(whole, stored, tmp_path):
    whole.save_pretrained(tmp_path, precision="half")
    assert (stored[1] / WEIGHTS).stat().st_size < 0.9 * (tmp_path / WEIGHTS).stat().st_size
    styles, again = whole.statistics_.styles, stored[0].statistics_.styles
    assert_same(styles.moments.weight, again.moments.weight)
    np.testing.assert_allclose(
        again.moments.mean, styles.moments.mean, atol=1e-4 * np.abs(styles.moments.mean).max()
    )
    unit = np.ptp(whole.statistics_.pixel_range)
    assert np.abs(again.pixels.mean - styles.pixels.mean).max() <= 0.5001 * unit / 255
    assert np.abs(np.sqrt(again.pixels.variance) - np.sqrt(styles.pixels.variance)).max() <= 0.5001 * unit / 510


def test_a_model_that_was_read_loses_nothing_more(stored, tmp_path):
    stored[0].save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert_same(stored[0].statistics_, again.statistics_)
    assert again.statistics_.styles.truncated
    assert np.array_equal(drawn(again), drawn(stored[0]))


def test_it_learns_on_and_forgets(digits, whole, stored):
    """Images are added and forgotten; the weights are those of the whole model, the pictures nearly."""
    prompts, images = digits
    own = whole.statistics_.styles.clusters
    style = own.assign(whole.statistics_.styles.encoder.encode(images), np.searchsorted(whole.prompts_, prompts))
    gone = np.flatnonzero((style == style[0]) | (np.arange(len(style)) % 20 == 0))  # all of a style among them
    one, other = copy.copy(whole), copy.copy(stored[0])
    for ld in (one, other):
        ld.forget(prompts[gone].tolist(), images[gone])
    a, b = one.statistics_, other.statistics_
    np.testing.assert_allclose(b.styles.moments.weight, a.styles.moments.weight)
    total = np.trace(whole.statistics_.styles.moments.scatter.sum(axis=0))
    assert (np.linalg.eigvalsh(b.styles.moments.scatter) > -10 * NEGATIVE * total).all()
    asked, seeds = one.prompts_.tolist() * 30, list(range(300))
    expected = one.predict(asked, seed=seeds)
    assert np.sqrt(np.mean((other.predict(asked, seed=seeds) - expected) ** 2)) < 0.1 * expected.std()
    both = stored[0].merge(other).statistics_
    assert both.styles.truncated
    np.testing.assert_allclose(
        both.styles.moments.weight, a.styles.moments.weight + whole.statistics_.styles.moments.weight
    )


def test_images_of_others_are_refused_and_whole_scatters_are_subtracted_exactly(digits, stored):
    prompts, images = digits
    ld = copy.copy(stored[0])
    with pytest.raises(ValueError, match="never"):
        ld.forget(["7"] * 200, np.tile(images[:1], (200, 1, 1)))
    statistics = ld.statistics_
    exact = replace(statistics, styles=replace(statistics.styles, truncated=False))  # as if nothing had been lost
    ld._adopt(Learned(exact, ld._learned.parameters))
    with pytest.raises(ValueError, match="variance would be negative"):
        ld.forget(prompts[:100].tolist(), images[:100])


@pytest.mark.parametrize("settings", [{}, {"n_styles": 2, "text_encoder": "words"}], ids=str)
def test_models_without_styles_of_their_own_are_stored_as_in_half_precision(settings, tmp_path):
    ld = fitted(**settings)
    for precision in ("half", "low_rank"):
        ld.save_pretrained(tmp_path / precision, precision=precision)
    one, other = (LinearDiffusion.from_pretrained(tmp_path / name) for name in ("half", "low_rank"))
    assert_same(one.statistics_, other.statistics_)
