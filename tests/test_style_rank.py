"""The rank of styles: known answers on synthetic images, the guard against copies, and where there is no choice."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA

from lineardiffusion import LinearDiffusion, style_rank
from lineardiffusion.datasets import in_batches
from lineardiffusion.statistics.styles import RANK
from lineardiffusion.style_rank import BLOCKS, RANKS, local_contrast

N = 2000


def surfaces(m, seed=1):
    """Images (N, 8, 8), smooth in blocks of two, on 20 planes of m directions: structure that a clip weakens."""
    rng = np.random.default_rng(seed)
    direction, centre = (np.kron(rng.normal(size=(20, k, 4, 4)), np.ones((2, 2))) for k in (m, 1))
    plane = rng.integers(0, 20, N)
    return np.einsum("nm,nmij->nij", rng.normal(size=(N, m)), direction[plane]) + 3 * centre[plane, 0], rng


def fitted(images, **params):
    return LinearDiffusion(64, n_styles=10, **params).fit(["a", "b"] * (len(images) // 2), images)


@pytest.fixture(scope="module")
def binary():
    """Planes in black and white, of whose pixels one in 40 is wrong."""
    x, rng = surfaces(1)
    return np.abs((x > 0) - 1.0 * (rng.random(x.shape) < 0.025))


def test_planes_in_black_and_white_are_drawn_in_few_directions(binary):
    assert fitted(binary).style_rank_ == 0.125


def test_clipped_planes_with_noise_are_drawn_in_some_directions():
    x, rng = surfaces(3)
    assert fitted(np.clip(0.5 + 0.5 * x + 0.1 * rng.normal(size=x.shape), 0, 1)).style_rank_ == 0.25


@pytest.mark.parametrize("noise", ["normal", "uniform", "correlated"])
def test_noise_is_drawn_in_all_directions(noise):
    """Of images without a clip the Gaussian of all directions is as good as any, and few directions are worse."""
    rng = np.random.default_rng(0)
    x = {"normal": rng.normal(size=(N, 8, 8)), "uniform": rng.random((N, 8, 8))}.get(noise)
    if noise == "correlated":
        x = (rng.normal(size=(N, 64)) @ rng.normal(size=(64, 64))).reshape(N, 8, 8)
    assert fitted(x).style_rank_ >= 0.5


def test_a_rank_that_copies_is_left_out(monkeypatch):
    """Styles near a line, in black and white: the fewest directions have the best local contrast, but copy."""
    x, rng = surfaces(1, seed=4)
    images = np.abs((x > 0) - 1.0 * (rng.random(x.shape) < 0.12))
    assert fitted(images).style_rank_ == 0.25
    monkeypatch.setattr(style_rank, "COPIES", 1.0)  # control: no guard
    assert fitted(images).style_rank_ == 0.125
    monkeypatch.setattr(style_rank, "COPIES", 0.0)  # all ranks copy: the one that copies least
    assert fitted(images).style_rank_ == 1.0


def test_copies_by_hand():
    """Distances below the quantile of their own prompt's held-out images: that of 19 values is the least."""
    real = [np.arange(1.0, 11.0), np.arange(11.0, 20.0), 100 * np.arange(1.0, 20.0)]
    drawn = [np.array([0.5, 1.0, 3.0]), np.array([0.9, 50.0]), np.array([50.0, 150.0, 100.0])]
    assert style_rank._copies(real, drawn, np.array([0, 0, 1])) == pytest.approx((2 + 1 + 2) / 8)
    assert style_rank._copies(real, drawn, np.array([0, 0, 0])) < 4 / 8  # control: all as one prompt


def test_any_unit_and_any_cut_into_batches(binary):
    images = binary
    expected = fitted(images, contrast="pixelwise")
    assert fitted(256.0 * images).style_rank_ == expected.style_rank_
    prompts = np.array(["a", "b"] * (N // 2))
    for size in (77, 1999):
        found = LinearDiffusion(64, n_styles=10, contrast="pixelwise")
        found.fit_batches(in_batches(prompts.tolist(), images, batch_size=size))
        assert found.style_rank_ == expected.style_rank_
        assert_allclose(found.predict(["a"] * 9, seed=0), expected.predict(["a"] * 9, seed=0), atol=1e-6)
    order = np.random.default_rng(0).permutation(N)  # another split, and other styles: a clear choice stays
    found = LinearDiffusion(64, n_styles=10).fit_batches(
        in_batches(prompts[order].tolist(), binary[order], batch_size=300)
    )
    assert found.style_rank_ == 0.125


def test_the_cost_is_bounded_whatever_the_number_of_images(monkeypatch):
    """Of 3,000 images of one style few are drawn for, and few are compared with."""
    compared, nearest = [], style_rank._nearest

    def counted(pictures, training):
        compared.append((len(pictures), len(training)))
        return nearest(pictures, training)

    monkeypatch.setattr(style_rank, "_nearest", counted)
    x = np.random.default_rng(0).normal(size=(3000, 4, 4))
    LinearDiffusion(n_styles="auto").fit(["a"] * 3000, x)
    every, one = len(compared), sum(m * n for m, n in compared)
    compared.clear()
    LinearDiffusion(n_styles=2).fit(["a"] * 3000, x)
    assert every > 100  # control: many styles
    assert len(compared) == 2 * (1 + len(style_rank.RANKS))
    assert sum(m * n for m, n in compared) <= 2 * (1 + 2 * 4) * style_rank.NEAR**2
    assert one < 2 * (1 + 2 * 4) * style_rank.NEAR**2


def test_the_choice_is_kept_beside_a_rank_that_is_given(binary):
    prompts = ["a", "b"] * (N // 2)
    ld = LinearDiffusion(64, n_styles=10, style_rank=0.5).fit(prompts, binary)
    assert ld.style_rank_ == 0.5
    given = ld.predict(["a"], seed=0)
    ld.refit(style_rank="auto")
    assert ld.style_rank_ == 0.125
    assert_array_equal(fitted(binary).predict(["a"], seed=0), ld.predict(["a"], seed=0))
    assert np.abs(ld.predict(["a"], seed=0) - given).max() > 0.01
    more = copy.deepcopy(ld).partial_fit(prompts[:20], binary[:20])
    for part in (slice(None), slice(20)):
        more.partial_fit_styles(prompts[part], binary[part])
    assert more.statistics_.styles.rank in RANKS
    forgotten = copy.deepcopy(ld)
    forgotten.forget(prompts[:50], binary[:50])
    assert forgotten.style_rank_ == 0.125


def test_where_nothing_tells_it_is_a_quarter(binary):
    prompts, few = ["a", "b"] * (N // 2), 990  # of which a tenth are 99
    assert LinearDiffusion(64, n_styles=1).fit(prompts, binary).statistics_.styles is None
    assert LinearDiffusion(64, n_styles=2).fit(prompts[:few], binary[:few]).style_rank_ == RANK == 0.25
    assert (
        LinearDiffusion(64, n_styles=2).fit(prompts[: few + 30], binary[: few + 30]).style_rank_ != RANK
    )  # control
    words = [f"{p} x" for p in prompts]
    assert LinearDiffusion(64, n_styles=10, text_encoder="words").fit(words, binary).style_rank_ == RANK

    class Nonlinear:
        def __init__(self):
            self.pca = PCA(20).fit(binary.reshape(N, 64))

        def encode(self, images):
            return np.sinh(self.pca.transform(np.asarray(images).reshape(len(images), 64)))

        def decode(self, latents):
            return self.pca.inverse_transform(np.arcsinh(latents)).reshape(-1, 8, 8)

    assert LinearDiffusion(n_styles=10, image_encoder=Nonlinear()).fit(prompts, binary).style_rank_ == RANK
    with pytest.raises(AttributeError, match="no styles"):
        _ = LinearDiffusion(8).fit(prompts, binary).style_rank_


@pytest.mark.parametrize(
    ("rank", "error"),
    [(0, ValueError), (1.01, ValueError), (-0.5, ValueError), (np.nan, ValueError), ("most", TypeError),
     (True, TypeError), (None, TypeError), ([0.5], TypeError)],
)  # fmt: skip
def test_bad_ranks(digits, rank, error):
    with pytest.raises(error, match="style_rank"):
        LinearDiffusion(n_styles=2, style_rank=rank).fit(*digits)


# ---------------------------------------------------------------------- local contrast


def test_local_contrast_by_hand():
    image = np.array([[0, 2, 5, 5], [2, 0, 5, 5], [1, 1, 0, 4], [1, 3, 0, 0]], np.float32)
    expected = [1.0, 0.0, np.sqrt(0.75), np.sqrt(3.0)]
    assert_allclose(local_contrast(image.reshape(1, 16), (4, 4))[0], expected, rtol=1e-6)
    padded = np.zeros((5, 4), np.float32)
    padded[:4] = image
    padded[4] = 9.0  # an odd row has no partner
    assert_allclose(local_contrast(padded.reshape(1, 20), (5, 4))[0], expected, rtol=1e-6)
    colours = np.stack([image, 2 * image, 7 + 0 * image], axis=-1)
    found = local_contrast(np.tile(colours.reshape(1, 48), (2, 1)), (4, 4, 3))
    assert_allclose(found[1].reshape(4, 3), np.outer(expected, [1, 2, 0]), rtol=1e-6)
    spectrum = np.array([[0.0, 2.0, 3.0, 3.0, 1.0, 5.0]])
    assert_allclose(local_contrast(spectrum, (6,)), [[1.0, 0.0, 2.0]])
    points = np.array([[1.0, 2.0], [3.0, 5.0]], np.float32)
    assert_array_equal(local_contrast(points, (2,)), points)
    assert local_contrast(points, (2,)).dtype == np.float64


def test_of_many_blocks_some():
    x = np.random.default_rng(0).normal(size=(3, 1600))
    blocks = x.reshape(3, 20, 2, 20, 2).std(axis=(2, 4)).reshape(3, 400)
    found = local_contrast(x, (40, 40))
    assert found.shape == (3, BLOCKS)
    place = [int(np.abs(blocks[0] - value).argmin()) for value in found[0]]
    assert (np.diff(place) > 0).all()  # each at most once
    assert_allclose(found, blocks[:, place])
    assert place[-1] > 350
    assert place[0] < 50
