"""DATA: where images and their prompts come from, whatever the form on the disk.

==========================  =========================================  ==========================
form                        prompts                                    parts
==========================  =========================================  ==========================
folder of IDX files         the labels as numbers: ``"0"``, ``"1"``    t10k-... is ``test``
folder of class folders     the names of the folders                   ``train/`` and ``test/``
.npz file                   its array ``prompts`` or ``labels``        none
digits                      ``"0"`` to ``"9"``                         none
mnist, fashion-mnist        those of :mod:`lineardiffusion.datasets`   as published
==========================  =========================================  ==========================

A source is read piece by piece, at any places: image files are opened only when their turn comes, so memory
does not grow with their number (but for their names). The order of the pieces mixes the prompts evenly: of
every share of the images, each prompt has its share, and the first has some of all. That is what the choice
of styles asks of a first batch.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion import datasets
from lineardiffusion.cli.pictures import SUFFIXES, read_picture
from lineardiffusion.datasets import read_idx

BATCH = 4096  # images read at a time
SPLITS = ("train", "test", "all")
_NAMES = "digits, mnist, fashion-mnist"
_FORMS = (
    "expected a folder of IDX files, a folder with one folder of images a prompt, an .npz file, or one of "
    f"{_NAMES}"
)
_LOADERS = {"mnist": datasets.load_mnist, "fashion-mnist": datasets.load_fashion_mnist}


@dataclass(frozen=True)
class Source:
    """Images with their prompts.

    Attributes
    ----------
    words : tuple of str
        The distinct prompts.
    labels : ndarray of int, shape (n,)
        The place of each image's prompt in `words`.
    read : callable
        From places (m,) to images (m, ...).
    streams : bool
        Whether reading opens files, so that the images should not all be held at once.
    has_parts : bool
        Whether there is a training part and a test part.
    """

    words: tuple[str, ...]
    labels: NDArray[np.intp]
    read: Callable[[NDArray[np.intp]], NDArray[Any]]
    streams: bool = False
    has_parts: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def prompts(self, places: NDArray[np.intp]) -> list[str]:
        """The prompts of these images."""
        return [self.words[u] for u in self.labels[places]]

    def order(self) -> NDArray[np.intp]:
        """All places, well mixed: the r-th of a prompt's m images, in a fixed random order, at r / m."""
        shuffled = np.random.default_rng(0).permutation(len(self))
        by_prompt = shuffled[np.argsort(self.labels[shuffled], kind="stable")]
        count = np.bincount(self.labels, minlength=len(self.words))
        rank = np.arange(len(self)) - np.repeat(np.cumsum(count) - count, count)
        return by_prompt[np.argsort(rank / np.repeat(count, count), kind="stable")]

    def batches(self, size: int = BATCH) -> Iterator[tuple[list[str], NDArray[Any]]]:
        """Prompts and images, `size` at a time."""
        order = self.order()
        for start in range(0, len(order), size):
            places = order[start : start + size]
            yield self.prompts(places), self.read(places)

    def some(self, n: int | None = None) -> tuple[list[str], NDArray[Any]]:
        """The first `n` in this order, or all of them in their own."""
        places = np.arange(len(self)) if n is None else self.order()[:n]
        return self.prompts(places), self.read(places)


def open_source(data: str, split: str) -> Source:
    """The part `split` of DATA; of data without parts, all of it.

    Raises
    ------
    ValueError, FileNotFoundError
        Where there is no such data, or it is damaged; the message names the file.
    """
    path = Path(data)
    if data == "digits":
        return _of_arrays(*datasets.load_digits())
    if data in _LOADERS:  # before a folder of this name; ./mnist is the folder
        return _of_arrays(*_LOADERS[data](split), has_parts=True)
    if path.is_dir():
        inside = sorted(path.iterdir())
        if any("-idx" in one.name for one in inside if one.is_file()):
            return _of_idx(path, inside, split)
        return _of_folders(path, inside, split)
    if not path.exists():
        raise FileNotFoundError(f"there is no data '{data}'; {_FORMS}")
    if path.suffix == ".npz":
        return _of_npz(path)
    raise ValueError(f"'{data}' is no data that can be read; {_FORMS}")


def _of_arrays(
    prompts: Sequence[str] | NDArray[Any], images: NDArray[Any], has_parts: bool = False
) -> Source:
    words, labels = np.unique(np.asarray(prompts), return_inverse=True)
    return Source(tuple(map(str, words)), labels.astype(np.intp), lambda i: images[i], has_parts=has_parts)


def _of_idx(folder: Path, inside: list[Path], split: str) -> Source:
    """Files in pairs, such as train-images-idx3-ubyte and train-labels-idx1-ubyte, as .gz or unpacked."""
    pairs = {}
    for path in inside:
        part, found, _ = path.name.partition("-images-idx")
        if found and (part not in pairs or path.suffix != ".gz"):  # unpacked is quicker
            pairs[part] = path
    has_parts = "t10k" in pairs and len(pairs) > 1
    if has_parts and split != "all":
        pairs = {part: path for part, path in pairs.items() if (part == "t10k") == (split == "test")}
    if not pairs:
        raise FileNotFoundError(f"'{folder}' has IDX files, but none called ...-images-idx3-ubyte")
    every_image: list[NDArray[Any]] = []
    every_label: list[NDArray[Any]] = []
    for part, path in pairs.items():
        mates = [one for one in inside if one.name.startswith(f"{part}-labels-idx1")]
        if not mates:
            raise FileNotFoundError(f"'{path}' has no labels: expected {part}-labels-idx1-ubyte beside it")
        images, labels = read_idx(path), read_idx(mates[0])
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or images.ndim < 2 or len(images) != len(labels):
            raise ValueError(
                f"'{mates[0]}' holds {labels.dtype} of shape {labels.shape}, '{path}' shape {images.shape}; "
                "expected one whole number an image"
            )
        if every_image and images.shape[1:] != every_image[0].shape[1:]:
            raise ValueError(
                f"'{path}' holds images of {images.shape[1:]}, others {every_image[0].shape[1:]}"
            )
        every_image.append(images)
        every_label.append(labels)
    found_images = every_image[0] if len(every_image) == 1 else np.concatenate(every_image)
    if not len(found_images):
        raise ValueError(f"'{folder}' holds IDX files without any image")
    return _of_arrays(np.concatenate(every_label), found_images, has_parts)


def _of_npz(path: Path) -> Source:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"cannot read '{path}': it is no .npz file, or it was truncated")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = list(arrays.files)
            key = next((one for one in ("prompts", "labels") if one in names), None)
            if key is None or "images" not in names:
                raise ValueError(
                    f"it holds {', '.join(names) or 'nothing'}; expected the arrays images and prompts "
                    "(or labels)"
                )
            images, prompts = arrays["images"], arrays[key]
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        if "pickle" in str(error):
            error = ValueError(
                "it holds Python objects, which are never loaded; save the prompts as an array of strings, "
                "np.array(prompts, dtype=str)"
            )
        raise ValueError(f"cannot read '{path}': {error}") from error
    if prompts.ndim != 1 or prompts.dtype.kind not in "Uiu" or images.ndim < 2 or len(images) != len(prompts):
        raise ValueError(
            f"cannot read '{path}': {key} is {prompts.dtype} of shape {prompts.shape} and images of shape "
            f"{images.shape}; expected one string or whole number an image"
        )
    if not len(images):
        raise ValueError(f"cannot read '{path}': it holds no images")
    return _of_arrays(prompts, images)


def _of_folders(folder: Path, inside: list[Path], split: str) -> Source:
    """A folder of images a prompt; or such folders below train/ and test/."""
    inside = [one for one in inside if one.is_dir() and not one.name.startswith(".")]
    has_parts = {one.name for one in inside} == {"train", "test"}
    if has_parts:
        inside = [
            inner
            for part in inside
            if split in (part.name, "all")
            for inner in sorted(part.iterdir())
            if inner.is_dir() and not inner.name.startswith(".")
        ]
    if not inside:
        raise ValueError(f"'{folder}' holds no data; {_FORMS}")
    words = tuple(sorted({one.name for one in inside}))
    names: list[str] = []
    place: list[int] = []
    for i, one in enumerate(inside):
        if not one.name.isprintable():
            raise ValueError(
                f"the name of the folder {one.name!r} is a prompt, but no text in UTF-8; rename it"
            )
        own = sorted(
            file.name
            for file in one.iterdir()
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
        )
        if not own:
            raise ValueError(
                f"'{one}' holds no images; expected files such as 1.png, or no such "
                "folder; parts are two folders train and test, and no other beside them"
            )
        names += own
        place += [i] * len(own)
    places = np.array(place, np.intp)

    def path(i: np.intp) -> Path:
        return Path(inside[places[i]], names[i])

    first = path(np.intp(0))
    expected = read_picture(first)

    def read(which: NDArray[np.intp]) -> NDArray[Any]:
        found = np.empty((len(which), *expected.shape), expected.dtype)
        for row, i in enumerate(which):
            picture = read_picture(path(i))
            if picture.shape != expected.shape or picture.dtype != expected.dtype:
                raise ValueError(
                    f"'{path(i)}' is {_describe(picture)}, but '{first}' is {_describe(expected)}; all "
                    "images must have one size and one mode: convert them first"
                )
            found[row] = picture
        return found

    labels = np.array([words.index(one.name) for one in inside], np.intp)[places]
    return Source(words, labels, read, streams=True, has_parts=has_parts)


def _describe(picture: NDArray[Any]) -> str:
    height, width, *channels = picture.shape
    colour = {(): "grey", (3,): "colour", (4,): "colour with transparency"}.get(tuple(channels), "odd")
    return f"{width} x {height} pixels in {colour} ({picture.dtype})"
