"""Read DATA: images and their prompts, from any of these forms.

==========================  ===========================================  ==========================
form                        prompts                                      parts
==========================  ===========================================  ==========================
folder of IDX files         the labels as numbers: ``"0"``, ``"1"``      ``t10k-...`` is ``test``
folder of subfolders        the names of the subfolders                  ``train/`` and ``test/``
.npz file                   its array ``prompts`` or ``labels``          none
digits                      ``"0"`` to ``"9"``                           none
mnist, fashion-mnist        those of :mod:`lineardiffusion.datasets`     as published
==========================  ===========================================  ==========================

Image files are opened only when their batch is read, so memory does not grow with their number. Batches mix
the prompts evenly: every prompt has about the same share of each batch, and the first batch has all prompts,
as ``partial_fit_styles`` requires.
"""

from __future__ import annotations

import glob
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion import datasets
from lineardiffusion.cli.common import SUFFIXES
from lineardiffusion.cli.pictures import read_pixels

BATCH = 4096  # images read at a time
_FORMS = "expected a folder of IDX files or of a subfolder per prompt, an .npz file, digits, mnist or fashion-mnist"
_LOADERS = {"mnist": datasets.load_mnist, "fashion-mnist": datasets.load_fashion_mnist}


@dataclass(frozen=True)
class Source:
    """Images with their prompts, read on demand."""

    classes: tuple[str, ...]  # distinct prompts
    labels: NDArray[np.intp]  # index of each image's prompt in `classes`, shape (n,)
    read: Callable[[NDArray[np.intp]], NDArray[Any]]  # from indices (m,) to images (m, ...)
    streams: bool = False  # whether `read` opens files, so that not all images should be held in memory
    has_parts: bool = False  # whether there is a training part and a test part

    def __len__(self) -> int:
        return len(self.labels)

    def prompts(self, indices: NDArray[np.intp]) -> list[str]:
        """Return the prompts of the images with these indices."""
        return [self.classes[label] for label in self.labels[indices]]

    def order(self) -> NDArray[np.intp]:
        """Return a fixed random order of all images that mixes the prompts evenly.

        The images are sorted by r / m, where r is the random rank of an image among the m of its prompt.
        """
        shuffled = np.random.default_rng(0).permutation(len(self))
        by_prompt = shuffled[np.argsort(self.labels[shuffled], kind="stable")]
        count = np.bincount(self.labels, minlength=len(self.classes))
        rank = np.arange(len(self)) - np.repeat(np.cumsum(count) - count, count)
        return by_prompt[np.argsort(rank / np.repeat(count, count), kind="stable")]

    def batches(self, n: int | None = None) -> Iterator[tuple[list[str], NDArray[Any]]]:
        """Yield prompts and images in batches: the first `n` of the mixed order, or all."""
        order = self.order()[:n]
        for start in range(0, len(order), BATCH):
            indices = order[start : start + BATCH]
            yield self.prompts(indices), self.read(indices)

    def take(self, n: int | None = None) -> tuple[list[str], NDArray[Any]]:
        """Return prompts and images: the first `n` of the mixed order, or all."""
        indices = self.order()[:n]
        return self.prompts(indices), self.read(indices)


def open_source(data: str, split: str) -> Source:
    """Open the part `split` of DATA, or all of it if it has no parts."""
    path = Path(data)
    if data == "digits":
        return _from_arrays(*datasets.load_digits())
    if data in _LOADERS:  # takes precedence over a folder of this name, which ./mnist selects
        return _from_arrays(*_LOADERS[data](split), has_parts=True)
    if path.is_dir():
        has_idx = any(entry.is_file() for entry in path.glob("*-idx*"))
        return _from_idx(path, split) if has_idx else _from_folders(path, split)
    if not path.exists():
        raise FileNotFoundError(f"'{data}' does not exist; {_FORMS}")
    if path.suffix == ".npz":
        return _from_npz(path)
    raise ValueError(f"'{data}' has an unknown form; {_FORMS}")


def _from_arrays(prompts: Sequence[str] | NDArray[Any], images: NDArray[Any], has_parts: bool = False) -> Source:
    classes, labels = np.unique(np.asarray(prompts), return_inverse=True)
    return Source(tuple(map(str, classes)), labels.astype(np.intp), images.__getitem__, has_parts=has_parts)


def _from_idx(folder: Path, split: str) -> Source:
    """Read pairs such as train-images-idx3-ubyte and train-labels-idx1-ubyte, with or without .gz."""
    paths = sorted(folder.glob("*-images-idx*"), reverse=True)  # unpacked replaces .gz: faster to read
    parts = {path.name.partition("-images-idx")[0]: path for path in paths}
    has_parts = "t10k" in parts and len(parts) > 1
    if has_parts and split != "all":
        parts = {part: path for part, path in parts.items() if (part == "t10k") == (split == "test")}
    if not parts:
        raise FileNotFoundError(f"'{folder}' has IDX files, but none named ...-images-idx3-ubyte")
    images, labels = [], []
    for part, path in sorted(parts.items()):
        labels_path = next(folder.glob(f"{glob.escape(part)}-labels-idx1*"), None)
        if labels_path is None:
            raise FileNotFoundError(f"'{path}' has no labels; expected {part}-labels-idx1-ubyte beside it")
        images.append(datasets.read_idx(path))
        labels.append(datasets.read_idx(labels_path))
        _check_pair(images[-1], labels[-1], f"'{path}' and '{labels_path}'")
    shapes = {block.shape[1:] for block in images}
    if len(shapes) > 1:
        raise ValueError(f"the IDX files in '{folder}' have images of different shapes: {sorted(shapes)}")
    return _from_arrays(np.concatenate(labels), np.concatenate(images), has_parts)


def _from_npz(path: Path) -> Source:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"cannot read '{path}': it is not an .npz file, or it was truncated")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = list(arrays.files)
            key = "prompts" if "prompts" in names else "labels"
            if not {key, "images"} <= set(names):
                found = ", ".join(names) or "no arrays"
                raise ValueError(f"it contains {found}; expected the arrays images and prompts (or labels)")
            images, prompts = arrays["images"], arrays[key]
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        pickled = "it contains pickled objects, which are never loaded; save an array of strings instead"
        raise ValueError(f"cannot read '{path}': {pickled if 'pickle' in str(error) else error}") from error
    _check_pair(images, prompts, f"the arrays of '{path}'")
    return _from_arrays(prompts, images)


def _check_pair(images: NDArray[Any], prompts: NDArray[Any], origin: str) -> None:
    if not (prompts.ndim == 1 and prompts.dtype.kind in "Uiu" and images.shape[:1] == prompts.shape):
        raise ValueError(
            f"{origin} have images of shape {images.shape} and prompts of shape {prompts.shape} and type "
            f"{prompts.dtype}; expected one string or integer per image"
        )
    if images.ndim < 2 or not len(images):
        raise ValueError(f"{origin} contain no images: their shape is {images.shape}")


def _from_folders(folder: Path, split: str) -> Source:
    """Read one subfolder of images per prompt, either in `folder` or in its parts train/ and test/."""
    subfolders = _visible_folders(folder)
    has_parts = {subfolder.name for subfolder in subfolders} == {"train", "test"}
    if has_parts:
        subfolders = [
            inner for part in subfolders if split in (part.name, "all") for inner in _visible_folders(part)
        ]
    if not subfolders:
        raise ValueError(f"'{folder}' contains no data; {_FORMS}")
    classes = sorted({subfolder.name for subfolder in subfolders})
    files: list[str] = []  # a Path takes several times the memory
    labels: list[int] = []
    for subfolder in subfolders:
        own = sorted(
            str(file)
            for file in subfolder.iterdir()
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
        )
        if not own:
            raise ValueError(
                f"'{subfolder}' contains no images; add some or remove the folder (parts must be two folders "
                "named train and test, with no other folder beside them)"
            )
        files += own
        labels += [classes.index(subfolder.name)] * len(own)
    expected = read_pixels(Path(files[0]))

    def read(indices: NDArray[np.intp]) -> NDArray[Any]:
        images = np.empty((len(indices), *expected.shape), expected.dtype)
        for row, index in enumerate(indices):
            pixels = read_pixels(Path(files[index]))
            if pixels.shape != expected.shape or pixels.dtype != expected.dtype:
                raise ValueError(
                    f"'{files[index]}' has pixels of shape {pixels.shape} and type {pixels.dtype}, but "
                    f"'{files[0]}' {expected.shape} and {expected.dtype}; convert all to one size and mode"
                )
            images[row] = pixels
        return images

    return Source(tuple(classes), np.array(labels, np.intp), read, streams=True, has_parts=has_parts)


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
