"""The model that ships is small, needs no network, and draws digits that a classifier of real ones recognises."""

import socket
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import lineardiffusion
from lineardiffusion import LinearDiffusion
from lineardiffusion.io.locate import shipped_models

FOLDER = Path(lineardiffusion.__file__).parent / "pretrained" / "mnist"
PROMPTS = [str(i % 10) for i in range(1000)]


@pytest.fixture(scope="module")
def shipped():
    return LinearDiffusion.from_pretrained("mnist")


@pytest.fixture(scope="module")
def unseen(mnist):
    """The 10,000 test digits."""
    prompts, images = mnist
    return np.array(prompts[60_000:]), images[60_000:]


def test_it_ships_and_is_small():
    assert shipped_models() == ["mnist"]
    assert sorted(file.name for file in FOLDER.iterdir()) == ["config.json", "model.safetensors"]
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 3_000_000


def test_it_needs_neither_data_nor_network(monkeypatch):
    monkeypatch.delenv("LINEARDIFFUSION_DATA", raising=False)
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("it used the network"))
    digits = LinearDiffusion.from_pretrained("mnist").predict(["7", "7", "3"], seed=[1, 2, 1])
    assert digits.shape == (3, 28, 28)
    assert 0.1 < (digits > 127).mean() < 0.25  # ink


def test_styles_can_be_named(shipped):
    names = [f"{prompt}~{style}" for prompt in shipped.prompts_ for style in (0, 5, 11)]
    found = shipped.classify(shipped.predict(names, seed=3))
    assert np.mean(found == np.array([name[0] for name in names])) > 0.95


def test_real_digits_are_the_neighbours_of_its_digits(shipped, unseen):
    """Classify by the nearest of 10,000 digits that it never saw; the control has the prompts shifted by one."""
    prompts, images = unseen
    nearest = KNeighborsClassifier(3).fit(images.reshape(len(images), -1).astype(np.float32), prompts)
    found = nearest.predict(shipped.predict(PROMPTS, seed=137).reshape(1000, -1))
    assert np.mean(found == np.array(PROMPTS)) > 0.96
    assert np.mean(found == np.roll(PROMPTS, 1)) < 0.1


def test_it_classifies_the_real_test_digits(shipped, unseen):
    prompts, images = unseen
    assert np.mean(np.asarray(shipped.classify(images[:2000])) == prompts[:2000]) > 0.95
