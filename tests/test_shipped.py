"""The models that ship are small, need no network, and draw what a classifier of real images recognises."""

import socket
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import lineardiffusion
from cli_runs import run
from lineardiffusion import LinearDiffusion
from lineardiffusion.io.locate import shipped_models

PRETRAINED = Path(lineardiffusion.__file__).parent / "pretrained"
NAMES = ["fashion-mnist", "mnist"]
INK = {"mnist": (0.1, 0.25), "fashion-mnist": (0.2, 0.45)}  # share of pixels above 127; real: 0.13 and 0.28
RIGHT = {"mnist": 0.95, "fashion-mnist": 0.8}  # at least, of a classification of images of 10 prompts


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@contextmanager
def offline():
    """Neither data nor network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LINEARDIFFUSION_DATA", raising=False)
        patch.setattr(socket, "socket", lambda *_, **__: pytest.fail("it used the network"))
        yield


@pytest.fixture(scope="module")
def shipped(name):
    with offline():
        return LinearDiffusion.from_pretrained(name)


@pytest.fixture(scope="module")
def drawn(shipped):
    """A hundred images of every prompt, and their prompts, drawn with neither data nor network."""
    prompts = shipped.prompts_.tolist() * 100
    with offline():
        return np.array(prompts), shipped.predict(prompts, seed=137)


@pytest.fixture(scope="module")
def unseen(name, request):
    """The 10,000 test images."""
    prompts, images = request.getfixturevalue(name.replace("-", "_"))
    return np.array(prompts[60_000:]), images[60_000:]


def test_they_ship_and_are_small(name):
    assert shipped_models() == [*NAMES, "mnist-small"]
    assert sorted(file.name for file in (PRETRAINED / name).iterdir()) == ["config.json", "model.safetensors"]
    assert sum(file.stat().st_size for file in (PRETRAINED / name).iterdir()) <= 6_000_000


def test_a_model_that_is_loaded_again_is_the_same(name, shipped):
    """It has the same statistics, from which all else follows."""
    again = LinearDiffusion.from_pretrained(name)
    assert repr(again.get_params()) == repr(shipped.get_params())
    for one in ("scatter", "mean", "weight"):
        found, expected = (getattr(ld.statistics_.styles.moments, one) for ld in (again, shipped))
        assert np.array_equal(found, expected)
    assert np.array_equal(again.statistics_.styles.pixels.scatter, shipped.statistics_.styles.pixels.scatter)


def test_the_command_knows_them(name):
    text = run("info", name).stdout
    assert "28 x 28, uint8 from 0 to 255" in text
    assert "low_rank precision" in text


def test_every_prompt_is_drawn_and_read(name, shipped, drawn):
    prompts, images = drawn
    assert len(shipped.prompts_) == 10
    assert not np.array_equal(images[0], images[10])  # of one prompt
    low, high = INK[name]
    assert low < (images > 127).mean() < high
    assert images.min() >= 0
    assert images.max() <= 255
    prompts, found = prompts[:300], np.asarray(shipped.classify(images[:300]))
    assert np.mean(found == prompts) > RIGHT[name] + 0.03
    assert min(np.mean(found[prompts == one] == one) for one in shipped.prompts_) > RIGHT[name] - 0.2


@pytest.mark.parametrize("name", ["mnist"], indirect=True)
def test_the_small_model_draws_and_reads_the_same_digits(name, shipped, drawn):
    """Each of two models reads what the other one draws; the control has the prompts shifted by one."""
    assert sum(file.stat().st_size for file in (PRETRAINED / "mnist-small").iterdir()) <= 800_000
    small, prompts = LinearDiffusion.from_pretrained("mnist-small"), drawn[0][:200]
    images = small.predict(prompts, seed=137)
    read = np.asarray(shipped.classify(images))
    assert np.mean(read == prompts) > 0.95
    assert np.mean(read == np.roll(prompts, 1)) < 0.1
    assert np.mean(np.asarray(small.classify(drawn[1][:200])) == prompts) > 0.95


def test_styles_can_be_named(name, shipped):
    names = [f"{prompt}~{style}" for prompt in shipped.prompts_ for style in (0, 5, 11)]
    found = shipped.classify(shipped.predict(names, seed=3))
    assert np.mean(found == np.array([one.split("~")[0] for one in names])) > RIGHT[name]


def test_real_images_are_the_neighbours_of_the_drawn_ones(name, drawn, unseen):
    """Classify by the nearest of 10,000 images that it never saw; the control has the prompts shifted by one."""
    prompts, images = unseen
    nearest = KNeighborsClassifier(3).fit(images.reshape(len(images), -1).astype(np.float32), prompts)
    found = nearest.predict(drawn[1].reshape(1000, -1))
    assert np.mean(found == drawn[0]) > RIGHT[name]
    assert np.mean(found == np.roll(drawn[0], 1)) < 0.1


def test_pixels_have_the_mean_and_the_variance_of_real_ones(drawn, unseen):
    """The control is the picture of all prompts in the place of each."""
    prompts, images = unseen

    def differences(of):
        means, deviations = [], []
        for prompt in np.unique(prompts):
            real, found = images[prompts == prompt].astype(float), drawn[1][of == prompt]
            means.append(np.abs(real.mean(axis=0) - found.mean(axis=0)).mean())
            deviations.append(np.abs(real.std(axis=0) - found.std(axis=0)).mean())
        return max(means), max(deviations)

    assert max(differences(drawn[0])) < 8  # gray levels; 100 images of a prompt are off by some 5
    assert min(differences(np.random.default_rng(0).permutation(drawn[0]))) > 12


def test_they_classify_real_test_images(name, shipped, unseen):
    prompts, images = unseen
    assert np.mean(np.asarray(shipped.classify(images[:600])) == prompts[:600]) > RIGHT[name]
