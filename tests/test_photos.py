"""The measures and the crops of benchmarks/photos.py."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
FILE = Path(__file__).parent.parent / "benchmarks" / "photos.py"


@pytest.fixture(scope="module")
def photos():
    module = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("photos", FILE))
    spec.loader.exec_module(module)
    return module


def test_no_training_crop_contains_a_column_that_is_held_out(photos):
    photo = np.zeros((200, 640, 3), np.uint8)
    photo[:, slice(*photos.STRIP)] = 255
    for held_out, value in ((False, 0), (True, 255)):
        labels, crops = photos.make_crops({"stripe": photo}, 20, held_out)
        assert labels.tolist() == ["stripe"] * 20
        np.testing.assert_array_equal(crops, np.full((20, 64, 64, 3), value))


def test_random_phases_keep_the_spectrum_and_remove_the_kurtosis_of_an_edge(photos):
    edge = np.full((10, 64, 64, 3), 100.0)
    edge[:, 8:40, 16:48] = 130.0
    phases = photos.random_phases(edge)
    np.testing.assert_allclose(*(abs(np.fft.fft2(x, axes=(1, 2))) for x in (phases, edge)), atol=1e-6)
    noise = np.random.default_rng(0).normal(100, 10, size=edge.shape)
    for gaussian in (phases, noise):
        assert np.median(photos.kurtosis(gaussian)) == pytest.approx(3.0, abs=0.4)
    assert photos.kurtosis(edge).min() > 30
