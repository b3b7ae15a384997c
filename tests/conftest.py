"""What the tests share: small models, and real digits where they are found."""

import os
from pathlib import Path

import numpy as np
import pytest

from cli_runs import run, write_folders
from idx_files import idx
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


@pytest.fixture(scope="session")
def forms(tmp_path_factory, digits):
    """The digits in each form of DATA."""
    root = tmp_path_factory.mktemp("forms")
    prompts, images = digits
    np.savez(root / "labels.npz", images=images, labels=np.array(prompts, int))
    np.savez_compressed(root / "prompts.npz", images=images, prompts=prompts)
    (root / "idx").mkdir()
    (root / "idx" / "train-images-idx3-ubyte").write_bytes(idx(images))
    (root / "idx" / "train-labels-idx1-ubyte").write_bytes(idx(np.array(prompts, np.uint8)))
    write_folders(root / "folders", prompts, images)
    return root


@pytest.fixture(scope="session")
def saved(forms):
    """A folder with a model of digits in three styles."""
    run("fit", "digits", "-o", forms / "model", "--n-styles", 3)
    return forms / "model"
