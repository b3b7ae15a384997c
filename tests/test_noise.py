"""Seeds against numpy's own generator; prompts and pictures against the same rules written out."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineardiffusion._noise import PROMPTS, SAMPLER, START, check_seed, draw, generator, generators
from lineardiffusion._pictures import to_pil
from lineardiffusion.encoders.text import symbols, vocabulary

seeds = st.integers(0, 2**64)
sizes = st.integers(1, 20)


@settings(deadline=None)
@given(seeds, sizes, sizes)
def test_a_seed_is_numpys_generator(seed, n, d):
    np.testing.assert_array_equal(draw(seed, n, d), np.random.default_rng(seed).normal(size=(n, d)))


@settings(deadline=None)
@given(seeds, sizes, sizes, sizes, st.sampled_from([START, SAMPLER, PROMPTS]))
def test_an_image_is_the_same_in_a_batch_of_any_size(seed, n, more, d, stream):
    few, many = draw(seed, n, d, stream), draw(seed, n + more, d, stream)
    np.testing.assert_array_equal(few, many[:n])
    states = [g.bit_generator.state for g in generators(seed, n + more)]
    assert [g.bit_generator.state for g in generators(seed, n)] == states[:n]


@settings(deadline=None)
@given(st.lists(seeds, min_size=1, max_size=6), sizes)
def test_a_list_of_seeds_is_one_generator_an_image(several, d):
    rows = [np.random.default_rng(seed).normal(size=d) for seed in several]
    np.testing.assert_array_equal(draw(several, len(several), d), rows)
    np.testing.assert_array_equal(draw(several[0], 1, d)[0], rows[0])
    alone = [generators([seed], 1)[0].normal(size=d) for seed in several]
    np.testing.assert_array_equal([g.normal(size=d) for g in generators(several, len(several))], alone)
    first = generators(several[0], 1)[0].normal(size=d)
    np.testing.assert_array_equal(first, alone[0])


def test_streams_are_independent():
    m = 10_000
    streams = [generator(seed, stream).normal(size=m) for seed in (0, 1) for stream in (START, SAMPLER, PROMPTS)]
    streams += [g.normal(size=m) for g in (*generators(0, 3), *generators([1, 2], 2))]

    def largest(rows):  # of all correlations, in standard errors; also one step apart
        shifted = np.concatenate([rows[:, 1:], rows[:, :-1]])
        correlations = np.corrcoef(rows), np.corrcoef(shifted)
        return max(np.abs(c[np.triu_indices(len(c), 1)]).max() for c in correlations) * math.sqrt(m)

    rows = np.array(streams)
    assert largest(rows) < 5
    rows[3] = 0.1 * rows[0] + rows[3]  # control: a tenth of one stream in another
    assert largest(rows) > 8


def test_check_seed_takes_whole_numbers():
    for seed in (7, np.int64(7), np.uint8(7)):
        assert check_seed(seed, 3) == 7
        assert type(check_seed(seed, 3)) is int
    for several in ([1, 2], (1, 2), np.array([1, 2])):
        assert check_seed(several, 2) == [1, 2]
    assert check_seed(None, 3, random_state=11) == 11
    assert check_seed(7, 3, random_state=11) == 7
    expected = int(np.random.RandomState(5).randint(2**31))
    assert check_seed(None, 3, np.random.RandomState(5)) == expected
    assert len({check_seed(None, 3) for _ in range(20)}) == 20


@pytest.mark.parametrize("seed", [-1, 1.0, True, "1", [1, -2], [1, 2.0], [[1], [2]], {1, 2}, np.array([0.5, 1])])
def test_check_seed_refuses_all_else(seed):
    with pytest.raises(ValueError, match="seed"):
        check_seed(seed, 2)


@pytest.mark.parametrize("several", [[], [1], [1, 2, 3]])
def test_check_seed_wants_one_seed_an_image(several):
    with pytest.raises(ValueError, match=f"{len(several)} seeds"):
        check_seed(several, 2)


@settings(deadline=None)
@given(st.lists(st.text(max_size=3), min_size=1))
def test_symbols_are_places_in_the_sorted_vocabulary(prompts):
    known = vocabulary(prompts)
    distinct, place = np.unique(np.array(prompts, dtype=object), return_inverse=True)
    assert known == tuple(distinct)
    np.testing.assert_array_equal(symbols(prompts, known), place)


def test_an_unknown_prompt_is_named_with_the_nearest_and_the_known():
    with pytest.raises(ValueError, match="bannana") as caught:
        symbols(["cat", "bannana"], ("apple", "banana", "cat"))
    nearest, known = str(caught.value).split(";")
    assert "'banana'" in nearest
    assert "'cat'" not in nearest
    assert all(repr(prompt) in known for prompt in ("apple", "banana", "cat"))
    with pytest.raises(ValueError, match="'x'") as caught:
        symbols(["x"], [str(i) for i in range(100, 125)])
    assert "'119'" in str(caught.value)
    assert "'120'" not in str(caught.value)  # of many, the first twenty
    assert "5 more" in str(caught.value)


def picture(image, low, high):
    """Bytes of one image, pixel by pixel, in exact fractions."""
    span = Fraction(high) - Fraction(low) or 1
    grey = [(Fraction(float(pixel)) - Fraction(low)) * 255 / span for pixel in image.ravel()]
    return np.reshape([min(max(round(g), 0), 255) for g in grey], image.shape)


@pytest.mark.parametrize(
    ("shape", "mode"), [((3, 5), "L"), ((4, 3), "L"), ((3, 5, 1), "L"), ((3, 5, 3), "RGB"), ((3, 5, 4), "RGBA")]
)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (100.0, 4000.0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pictures_have_every_pixel_in_its_place(shape, mode, low, high, dtype):
    rng = np.random.default_rng(0)
    images = rng.uniform(low - 0.2 * (high - low), high + 0.2 * (high - low), (2, *shape)).astype(dtype)
    images[0].flat[:3] = low, high, 0.5 * (low + high)
    pictures = to_pil(images, (low, high))
    for image, made in zip(images, pictures, strict=True):
        assert made.mode == mode
        np.testing.assert_array_equal(np.asarray(made).reshape(shape), picture(image, low, high))
    ends = np.asarray(pictures[0]).ravel()[:3]
    assert ends.tolist() == [0, 255, 128]


def test_data_of_one_value_still_make_a_picture():
    (made,) = to_pil(np.full((1, 2, 2), 7.0), (7.0, 7.0))
    assert not np.asarray(made).any()


@pytest.mark.parametrize("shape", [(2, 9), (2, 3, 3, 2), (2, 3, 3, 5), (2, 3, 3, 3, 3)])
def test_other_shapes_make_no_picture(shape):
    with pytest.raises(ValueError, match="output_type"):
        to_pil(np.zeros(shape), (0.0, 1.0))
