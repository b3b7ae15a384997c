"""Pictures with their prompts, to fit a model on: ``ld.fit(*load_digits())``.

Every loader returns ``(prompts, images)``, in the order in which ``fit`` takes them: ``prompts`` a
list of n strings, ``images`` a ``uint8`` array ``(n, h, w)``.

==========================  ======  =======  ======  =============================================
loader                      n       h x w    range   source
==========================  ======  =======  ======  =============================================
:func:`load_digits`          1,797  8 x 8    0..16   comes with scikit-learn, needs no network
:func:`load_mnist`          70,000  28 x 28  0..255  LeCun et al. 1998, Proceedings IEEE 86 (11)
:func:`load_fashion_mnist`  70,000  28 x 28  0..255  Xiao, Rasul and Vollgraf, arXiv:1708.07747
==========================  ======  =======  ======  =============================================

The files of the last two are sought in ``folder`` and nowhere else, if it is given; otherwise in
``$LINEARDIFFUSION_DATA/mnist`` (or ``.../fashion-mnist``), then in ``lineardiffusion/mnist`` below
scikit-learn's data home, to which they are downloaded once, against the official SHA-256 sums.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lineardiffusion.idx import read_idx

__all__ = ["load_digits", "load_fashion_mnist", "load_mnist"]

_TIMEOUT = 5.0  # seconds that a mirror may keep silent
_DOWNLOADING = threading.Lock()
_PARTS = {"train": ("train",), "test": ("t10k",), "all": ("train", "t10k")}

# SHA-256 of the official files, name + ".gz".
_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_FASHION_SHA256 = {
    "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
_FASHION = "t-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"


class _Source(NamedTuple):
    """A data set in MNIST's four files."""

    folder: str
    words: list[str]  # the prompt of label 0, 1, ...
    sha256: dict[str, str]
    mirrors: list[str]


_AMAZON, _GOOGLE = "https://ossci-datasets.s3.amazonaws.com", "https://storage.googleapis.com"
_MNIST_MIRRORS = [f"{_AMAZON}/mnist/", f"{_GOOGLE}/cvdf-datasets/mnist/"]
_FASHION_MIRRORS = ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"]
_MNIST = _Source("mnist", list("0123456789"), _MNIST_SHA256, _MNIST_MIRRORS)
_FASHION_MNIST = _Source("fashion-mnist", _FASHION.split(","), _FASHION_SHA256, _FASHION_MIRRORS)


def load_digits() -> tuple[list[str], npt.NDArray[np.uint8]]:
    """Load scikit-learn's 1,797 handwritten digits: small, and always there.

    Returns
    -------
    prompts : list of str, length 1,797
        ``"0"`` to ``"9"``.
    images : ndarray of shape (1797, 8, 8), dtype uint8
        Ink from 0 (paper) to 16.

    Examples
    --------
    >>> prompts, images = load_digits()
    >>> prompts[:5], images.shape, int(images.max())
    (['0', '1', '2', '3', '4'], (1797, 8, 8), 16)
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    return [str(label) for label in digits.target], digits.images.astype(np.uint8)


def load_mnist(
    split: str = "all", *, folder: str | os.PathLike[str] | None = None, download: bool = True
) -> tuple[list[str], npt.NDArray[np.uint8]]:
    """Load MNIST: 70,000 handwritten digits.

    Parameters
    ----------
    split : {"all", "train", "test"}, default="all"
        The 60,000 training images, the 10,000 test images, or both in this order.
    folder : path, default=None
        Where the IDX files lie, as ``.gz`` or unpacked. None: see the top of this module.
    download : bool, default=True
        Whether to fetch missing files (11 MB in all). Without effect if `folder` is given.

    Returns
    -------
    prompts : list of str, length n
        ``"0"`` to ``"9"``.
    images : ndarray of shape (n, 28, 28), dtype uint8
        Ink from 0 (paper) to 255.

    Raises
    ------
    ValueError
        If `split` is unknown, or a file is not what its name says.
    FileNotFoundError
        If the files are nowhere and cannot be downloaded.

    Examples
    --------
    >>> prompts, images = load_mnist("train")  # doctest: +SKIP
    >>> prompts[:5], images.shape  # doctest: +SKIP
    (['5', '0', '4', '1', '9'], (60000, 28, 28))
    """
    return _load(_MNIST, split, folder, download)


def load_fashion_mnist(
    split: str = "all", *, folder: str | os.PathLike[str] | None = None, download: bool = True
) -> tuple[list[str], npt.NDArray[np.uint8]]:
    """Load Fashion-MNIST: 70,000 pictures of clothes, shoes and bags.

    Parameters
    ----------
    split, folder, download
        As for :func:`load_mnist`; the folder is ``fashion-mnist``, the download 31 MB.

    Returns
    -------
    prompts : list of str, length n
        ``"t-shirt"``, ``"trouser"``, ``"pullover"``, ``"dress"``, ``"coat"``, ``"sandal"``,
        ``"shirt"``, ``"sneaker"``, ``"bag"`` or ``"ankle boot"``.
    images : ndarray of shape (n, 28, 28), dtype uint8
        From 0 (background) to 255.

    Raises
    ------
    ValueError, FileNotFoundError
        As :func:`load_mnist`.

    Examples
    --------
    >>> prompts, images = load_fashion_mnist("test")  # doctest: +SKIP
    >>> prompts[:2], images.shape  # doctest: +SKIP
    (['ankle boot', 'pullover'], (10000, 28, 28))
    """
    return _load(_FASHION_MNIST, split, folder, download)


def _load(
    source: _Source, split: str, folder: str | os.PathLike[str] | None, download: bool
) -> tuple[list[str], npt.NDArray[np.uint8]]:
    if split not in _PARTS:
        raise ValueError(f"unknown split {split!r}; expected one of {', '.join(map(repr, _PARTS))}")
    names = [name for name in source.sha256 if name.startswith(_PARTS[split])]
    paths = _find(source, names, folder, download)
    pairs = [_read_pair(*pair, source) for pair in zip(paths[::2], paths[1::2], strict=True)]
    prompts = [source.words[label] for _, labels in pairs for label in labels]
    return prompts, np.concatenate([images for images, _ in pairs])


def _read_pair(
    images_path: Path, labels_path: Path, source: _Source
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, rank in ((labels_path, labels, 1), (images_path, images, 3)):
        if array.ndim != rank or array.dtype != np.uint8 or len(array) != labels.size:
            raise ValueError(
                f"'{path}' holds {array.dtype} of shape {array.shape}; expected uint8, rank {rank},"
                f" one entry for each of {labels.size:,} labels. Take the official files."
            )
    if labels.max(initial=0) >= (known := len(source.words)):
        raise ValueError(f"'{labels_path}' has a label {labels.max()}; expected 0 to {known - 1}.")
    return images, labels


def _find(source: _Source, names: list[str], folder: str | os.PathLike[str] | None, download: bool) -> list[Path]:
    """The paths of the files `names`, downloaded if need be."""
    reasons = []
    root = os.environ.get("LINEARDIFFUSION_DATA")
    if folder is not None or root:
        place = Path(root or "", source.folder) if folder is None else Path(folder)
        paths, missing = _look(place.expanduser(), names)
        if not missing:
            return paths
        reasons.append(f"'{place}' lacks {', '.join(missing)} (with or without '.gz')")
    if folder is None:
        from sklearn.datasets import get_data_home

        try:
            place = Path(get_data_home(), "lineardiffusion", source.folder)
            if download:
                _download(source, place, _look(place, names)[1])
            paths, missing = _look(place, names)
            if not missing:
                return paths
            reasons.append(f"'{place}' lacks {', '.join(missing)}, and download=False")
        except (OSError, http.client.HTTPException) as error:  # no network, or no right to write
            reasons.append(f"the download failed ({error})")
    raise FileNotFoundError(
        f"{source.folder}: no files found: {'; '.join(reasons)}. Put the files into a folder "
        f"'{source.folder}' and set LINEARDIFFUSION_DATA (now {root!r}) to the folder above it, or "
        "pass the folder that holds them as folder=...; load_digits() needs no files."
    )


def _look(place: Path, names: list[str]) -> tuple[list[Path], list[str]]:
    """Where the files are, unpacked (quicker) or not, and the names of those that are not."""
    paths = [path if (path := place / name).is_file() else place / f"{name}.gz" for name in names]
    return paths, [path.stem for path in paths if not path.is_file()]


def _download(source: _Source, place: Path, names: list[str]) -> None:
    """Fetch `names` into the folder `place`: each file whole and verified, or not at all."""
    from sklearn.datasets import fetch_file

    place.mkdir(parents=True, exist_ok=True)
    with _DOWNLOADING:
        patience = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT)  # urlretrieve, below fetch_file, takes none of its own
        try:
            for name in names:
                failures = []
                for url in [f"{mirror}{name}.gz" for mirror in source.mirrors]:
                    try:
                        fetch_file(url, place, sha256=source.sha256[name], n_retries=1, delay=0.1)
                        break
                    except (OSError, http.client.HTTPException) as error:
                        failures.append(f"{url}: {error}")
                else:
                    raise OSError("; ".join(failures))
        finally:
            socket.setdefaulttimeout(patience)
            with contextlib.suppress(OSError):  # a folder that is not empty stays
                place.rmdir()
                place.parent.rmdir()
