"""What the tests share: small models, and real digits where they are found."""

import os
from pathlib import Path

import numpy as np
import pytest

from lineardiffusion.datasets import load_digits, load_fashion_mnist, load_mnist


def _load(loader, folder):
    root = os.environ.get("LINEARDIFFUSION_DATA")
    if not root or not Path(root, folder).is_dir():
        pytest.skip(f"needs {folder}: set LINEARDIFFUSION_DATA to the folder that holds {folder}/")
    return loader(download=False)


@pytest.fixture(scope="session")
def mnist():
    return _load(load_mnist, "mnist")


@pytest.fixture(scope="session")
def fashion_mnist():
    return _load(load_fashion_mnist, "fashion-mnist")


@pytest.fixture(scope="session")
def digits():
    return load_digits()


@pytest.fixture(scope="session")
def tiny():
    """Three prompts, 90 images of 4 x 3 grey pixels, float64."""
    rng = np.random.default_rng(0)
    prompts = [("left", "right", "up")[i % 3] for i in range(90)]
    mix = rng.normal(size=(3, 12, 12)) * np.array([4.0, 1.0, 2.0])[:, None, None]
    means = 20 * rng.normal(size=(3, 12))
    images = np.stack([means[i % 3] + mix[i % 3] @ rng.normal(size=12) for i in range(90)])
    return prompts, images.reshape(90, 4, 3)
