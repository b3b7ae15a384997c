"""Load scikit-learn's digits, MNIST and Fashion-MNIST as prompts and images.

MNIST and Fashion-MNIST consist of four IDX files each: images and labels of a training part ("train") and of a
test part ("t10k"). The prompt of an image is the word for its label.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets
from numpy.typing import NDArray

from lineardiffusion.datasets._download import download as download_file
from lineardiffusion.datasets.idx import read_idx

__all__ = ["load_digits", "load_fashion_mnist", "load_mnist"]

_PARTS = {"train": ("train",), "test": ("t10k",), "all": ("train", "t10k")}


@dataclass(frozen=True)
class _Source:
    """Store where the four files of a data set come from, and what their labels mean."""

    folder: str
    words: list[str]  # prompts of the labels 0, 1, ...
    mirrors: list[str]
    sha256: dict[str, str]  # of each official file, compressed, by its name without ".gz"


_MNIST = _Source(
    "mnist",
    list("0123456789"),
    ["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"],
    {
        "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)
_FASHION_MNIST = _Source(
    "fashion-mnist",
    ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"],
    ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"],
    {
        "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)


def load_digits() -> tuple[list[str], NDArray[np.uint8]]:
    """Load scikit-learn's 1,797 handwritten digits, which need no download.

    Returns
    -------
    prompts : list of str, length 1,797
        Digits ``"0"`` to ``"9"``.
    images : ndarray of shape (1797, 8, 8), dtype uint8
        Ink from 0 (paper) to 16.

    Examples
    --------
    >>> from lineardiffusion.datasets import load_digits
    >>> prompts, images = load_digits()
    >>> prompts[:5], images.shape, int(images.max())
    (['0', '1', '2', '3', '4'], (1797, 8, 8), 16)
    """
    digits = sklearn.datasets.load_digits()
    return [str(label) for label in digits.target], digits.images.astype(np.uint8)


def load_mnist(
    split: str = "all", *, folder: str | os.PathLike[str] | None = None, download: bool = True
) -> tuple[list[str], NDArray[np.uint8]]:
    """Load MNIST, 70,000 handwritten digits.

    Parameters
    ----------
    split : {"all", "train", "test"}, default="all"
        Part to load: the 60,000 training images, the 10,000 test images, or both in this order.
    folder : path, default=None
        Folder of the IDX files, compressed (``.gz``) or not (default: see :mod:`lineardiffusion.datasets`).
    download : bool, default=True
        Whether to download missing files (11 MB in all). Without effect if `folder` is given.

    Returns
    -------
    prompts : list of str, length n
        Digits ``"0"`` to ``"9"``.
    images : ndarray of shape (n, 28, 28), dtype uint8
        Ink from 0 (paper) to 255.

    Raises
    ------
    ValueError
        If `split` is unknown, or a file does not hold what its name says.
    FileNotFoundError
        If files are missing and cannot be downloaded.

    Examples
    --------
    >>> from lineardiffusion.datasets import load_mnist
    >>> prompts, images = load_mnist("train")  # doctest: +SKIP
    >>> prompts[:5], images.shape  # doctest: +SKIP
    (['5', '0', '4', '1', '9'], (60000, 28, 28))
    """
    return _load(_MNIST, split, folder, download)


def load_fashion_mnist(
    split: str = "all", *, folder: str | os.PathLike[str] | None = None, download: bool = True
) -> tuple[list[str], NDArray[np.uint8]]:
    """Load Fashion-MNIST, 70,000 pictures of clothes, shoes and bags.

    Parameters
    ----------
    split : {"all", "train", "test"}, default="all"
        Part to load: the 60,000 training images, the 10,000 test images, or both in this order.
    folder : path, default=None
        Folder of the IDX files, compressed (``.gz``) or not (default: see :mod:`lineardiffusion.datasets`).
    download : bool, default=True
        Whether to download missing files (31 MB in all). Without effect if `folder` is given.

    Returns
    -------
    prompts : list of str, length n
        ``"t-shirt"``, ``"trouser"``, ``"pullover"``, ``"dress"``, ``"coat"``, ``"sandal"``, ``"shirt"``,
        ``"sneaker"``, ``"bag"`` and ``"ankle boot"``.
    images : ndarray of shape (n, 28, 28), dtype uint8
        Brightness from 0 (background) to 255.

    Raises
    ------
    ValueError
        If `split` is unknown, or a file does not hold what its name says.
    FileNotFoundError
        If files are missing and cannot be downloaded.

    Examples
    --------
    >>> from lineardiffusion.datasets import load_fashion_mnist
    >>> prompts, images = load_fashion_mnist("test")  # doctest: +SKIP
    >>> prompts[:2], images.shape  # doctest: +SKIP
    (['ankle boot', 'pullover'], (10000, 28, 28))
    """
    return _load(_FASHION_MNIST, split, folder, download)


def _load(
    source: _Source, split: str, folder: str | os.PathLike[str] | None, download: bool
) -> tuple[list[str], NDArray[np.uint8]]:
    if split not in _PARTS:
        raise ValueError(f"unknown split {split!r}; expected one of {', '.join(map(repr, _PARTS))}")
    names = [name for name in source.sha256 if name.startswith(_PARTS[split])]
    paths = _find(source, names, folder, download)
    parts = [_read_part(*part, source) for part in zip(paths[::2], paths[1::2], strict=True)]
    prompts = [source.words[label] for _, labels in parts for label in labels]
    return prompts, np.concatenate([images for images, _ in parts])


def _read_part(images_path: Path, labels_path: Path, source: _Source) -> tuple[NDArray[Any], NDArray[Any]]:
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, rank in ((labels_path, labels, 1), (images_path, images, 3)):
        if array.ndim != rank or array.dtype != np.uint8 or len(array) != labels.size:
            raise ValueError(
                f"'{path}' holds {array.dtype} of shape {array.shape}; expected uint8, rank {rank}, "
                f"one entry for each of {labels.size:,} labels. Use the official files."
            )
    if labels.max(initial=0) >= len(source.words):
        raise ValueError(f"'{labels_path}' has a label {labels.max()}; expected 0 to {len(source.words) - 1}.")
    return images, labels


def _path(place: Path, name: str) -> Path:
    """Return the path of a file under one of its usual names: unpacked or not, "idx" after a hyphen or a dot."""
    names = [f"{stem}{end}" for stem in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    return next((path for path in map(place.joinpath, names) if path.is_file()), place / f"{name}.gz")


def _find(source: _Source, names: list[str], folder: str | os.PathLike[str] | None, download: bool) -> list[Path]:
    """Return the paths of the files called `names`, after downloading missing files into the data home."""
    root = os.environ.get("LINEARDIFFUSION_DATA")
    # The path that sklearn.datasets.get_data_home returns; that function would also create the folder.
    home = Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data"), "lineardiffusion", source.folder)
    places = [Path(folder)] if folder is not None else [Path(root, source.folder), home] if root else [home]
    reasons = []
    for place in map(Path.expanduser, places):
        paths = [_path(place, name) for name in names]
        missing = [path for path in paths if not path.is_file()]
        if not missing:
            return paths
        reasons.append(f"'{place}' lacks {', '.join(path.stem for path in missing)} (with or without '.gz')")
    if folder is None and download:
        try:
            for path in missing:
                download_file((mirror + path.name for mirror in source.mirrors), path, source.sha256[path.stem])
            return paths
        except OSError as error:  # no network, or no permission to write
            reasons.append(f"the download failed ({error})")
    raise FileNotFoundError(
        f"{source.folder}: no files found (download={download}): {'; '.join(reasons)}. Pass folder=..., or set "
        f"LINEARDIFFUSION_DATA (now {root!r}) to the parent of '{source.folder}'. load_digits() needs no files."
    )
