"""Read DATA: images and their prompts, from any of these forms.

==========================  ===========================================  ==========================
form                        prompts                                      parts
==========================  ===========================================  ==========================
folder of IDX files         the labels as numbers: ``"0"``, ``"1"``      ``t10k-...``, ``test-...``
folder of subfolders        the names of the subfolders                  ``train/`` and ``test/``
.npz file                   its array ``prompts`` or ``labels``          none
digits                      ``"0"`` to ``"9"``                           none
mnist, fashion-mnist        those of :mod:`lineardiffusion.datasets`     as published
==========================  ===========================================  ==========================

The IDX files of one folder may belong to several collections, whose names precede the part: the files of EMNIST
begin with ``emnist-digits-train-``, ``emnist-letters-test-`` and others. DATA is then the collection's name after
the folder's, ``folder/emnist-digits``.

Image files are opened only when their batch is read, so memory does not grow with their number. Batches mix
the prompts evenly: every prompt has about the same share of each batch, and the first batch has all prompts,
as ``partial_fit_styles`` requires.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from statistics import mode
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lineardiffusion import LinearDiffusion, datasets
from lineardiffusion._arrays import Indices
from lineardiffusion.cli.common import SUFFIXES, counted, note, progress
from lineardiffusion.cli.pictures import in_units, is_one_unit, pixels_for_model, prompt_of_folder, read_pixels

BATCH = 4096  # images read at a time
_FORMS = "expected a folder of IDX files or of a subfolder per prompt, an .npz file, digits, mnist or fashion-mnist"
_LOADERS = {"mnist": datasets.load_mnist, "fashion-mnist": datasets.load_fashion_mnist}
_IDX_NAME = re.compile(  # collection, part, kind
    r"(?:(.+?)[-_.])??(?:(train|t10k|test)[-_.])?(?:(images)[-.]idx\d|(labels)[-.]idx1)[-.]\w+(?:\.gz)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Source:
    """Images with their prompts, read on demand."""

    classes: tuple[str, ...]  # distinct prompts
    labels: Indices  # index of each image's prompt in `classes`, shape (n,)
    read: Callable[[Indices], NDArray[Any]]  # from indices (m,) to images (m, ...)
    streams: bool = False  # whether `read` opens files, so that not all images should be held in memory
    has_parts: bool = False  # whether there is a training part and a test part
    skipped: int = 0  # number of files that were left out

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def skipped_text(self) -> str:
        """The end of a summary if files were left out."""
        return f", {counted(self.skipped, 'picture')} skipped" if self.skipped else ""

    def prompts(self, indices: Indices) -> list[str]:
        return [self.classes[label] for label in self.labels[indices]]

    def _ranked(self) -> tuple[Indices, Indices, Indices]:
        """Return all images in a random order by prompt, each one's rank in its prompt, and the prompt's size."""
        shuffled = np.random.default_rng(0).permutation(len(self))
        by_prompt = shuffled[np.argsort(self.labels[shuffled], kind="stable")]
        count = np.bincount(self.labels, minlength=len(self.classes))
        return by_prompt, np.arange(len(self)) - np.repeat(np.cumsum(count) - count, count), np.repeat(count, count)

    def order(self) -> Indices:
        """Return a fixed random order of all images that mixes the prompts evenly.

        The images are sorted by r / m, where r is the random rank of an image among the m of its prompt.
        """
        by_prompt, rank, count = self._ranked()
        return by_prompt[np.argsort(rank / count, kind="stable")]

    def halves(self) -> tuple[Source, Source]:
        """Return two halves of the images under every prompt; the second has the one more of an odd number."""
        by_prompt, rank, _ = self._ranked()

        def part(kept: Indices) -> Source:
            return replace(self, labels=self.labels[kept], read=lambda indices: self.read(kept[indices]))

        return part(by_prompt[rank % 2 == 1]), part(by_prompt[rank % 2 == 0])

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


def open_source(
    data: str,
    split: str,
    *,
    model: LinearDiffusion | None = None,
    resize: tuple[int, int] | bool | None = None,
    skip_bad: bool = False,
) -> Source:
    """Open the part `split` of DATA, or all of it if it has no parts.

    Picture files are read for `model`, or without one in their own units and, with `resize`, in that size.
    """
    path = Path(data)
    is_idx = path.is_dir() and any(map(_IDX_NAME.fullmatch, (entry.name for entry in path.iterdir())))
    if data not in ("digits", *_LOADERS) and path.is_dir() and not is_idx:
        return _from_folders(path, split, _Pictures(model, resize), skip_bad)
    if resize or skip_bad:
        raise ValueError(f"--resize and --skip-bad are for folders of pictures, which '{data}' is not")
    if data == "digits":
        return _from_arrays(*datasets.load_digits())
    if data in _LOADERS:  # takes precedence over a folder of this name, which ./mnist selects
        return _from_arrays(*_LOADERS[data](split), has_parts=True)
    if is_idx:
        return _from_idx(path, None, split)
    if not path.exists():
        if path.name and path.parent.is_dir() and path.name in _collections(path.parent):
            return _from_idx(path.parent, path.name, split)
        raise FileNotFoundError(f"'{data}' does not exist; {_FORMS}")
    if path.suffix.lower() == ".npz":
        return _from_npz(path)
    raise ValueError(f"'{data}' has an unknown form; {_FORMS}")


def _from_arrays(prompts: Sequence[str] | NDArray[Any], images: NDArray[Any], has_parts: bool = False) -> Source:
    classes, labels = np.unique(np.asarray(prompts), return_inverse=True)
    return Source(tuple(map(str, classes)), labels, images.__getitem__, has_parts=has_parts)


# ---------------------------------------------------------------------- IDX files


def _collections(folder: Path) -> dict[str, dict[str, dict[str, Path]]]:
    """Return the images and the labels of each part of each collection in a folder."""
    found: dict[str, dict[str, dict[str, Path]]] = {}
    for path in sorted(folder.iterdir(), reverse=True):  # an unpacked file replaces its .gz: faster to read
        if (match := _IDX_NAME.fullmatch(path.name)) and path.is_file():
            parts, part = found.setdefault(match[1] or "", {}), (match[2] or "").lower()
            parts.setdefault(part, {})["images" if match[3] else "labels"] = path
    return found


def _from_idx(folder: Path, collection: str | None, split: str) -> Source:
    """Read pairs such as train-images-idx3-ubyte and train-labels-idx1-ubyte, with or without .gz."""
    collections = _collections(folder)
    if collection is None and len(collections) > 1:
        names = ", ".join(f"'{folder / name}'" for name in sorted(collections) if name)
        unnamed = "; those without a name need a folder of their own" if "" in collections else ""
        raise ValueError(f"'{folder}' has the IDX files of several collections; give one of {names}{unnamed}")
    name = next(iter(collections)) if collection is None else collection
    is_test = {part: part in ("t10k", "test") for part in collections[name]}
    has_parts = len(set(is_test.values())) == 2
    images, labels = [], []
    for part, paths in sorted(collections[name].items()):
        if has_parts and split != "all" and is_test[part] != (split == "test"):
            continue
        for kind, end in (("images", "idx3-ubyte"), ("labels", "idx1-ubyte")):
            if kind not in paths:
                missing = "-".join(filter(None, (name, part, kind, end)))
                raise FileNotFoundError(f"'{folder}' lacks {missing}, which belongs to its other IDX files")
        images.append(datasets.read_idx(paths["images"]))
        labels.append(datasets.read_idx(paths["labels"]))
        _check_pair(images[-1], labels[-1], "'{images}' and '{labels}'".format(**paths))
    shapes = {block.shape[1:] for block in images}
    if len(shapes) > 1:
        raise ValueError(f"the IDX files in '{folder}' have images of different shapes: {sorted(shapes)}")
    return _from_arrays(np.concatenate(labels), np.concatenate(images), has_parts)


def _from_npz(path: Path) -> Source:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"cannot read '{path}': it is not an .npz file, or it was truncated")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            key = "prompts" if "prompts" in arrays.files else "labels"
            if not {key, "images"} <= set(arrays.files):
                found = ", ".join(arrays.files) or "no arrays"
                raise ValueError(f"it contains {found}; expected the arrays images and prompts (or labels)")
            images, prompts = arrays["images"], arrays[key]
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        pickled = "it contains pickled objects, which are never loaded; save an array of strings instead"
        raise ValueError(f"cannot read '{path}': {pickled if 'pickle' in str(error) else error}") from error
    _check_pair(images, prompts, f"the arrays of '{path}'")
    return _from_arrays(prompts, images)


def _check_pair(images: NDArray[Any], prompts: NDArray[Any], origin: str) -> None:
    if not (prompts.ndim == 1 and prompts.dtype.kind in "Uiu" and images.shape[:1] == prompts.shape):
        found = f"images of shape {images.shape} and prompts of shape {prompts.shape} and type {prompts.dtype}"
        raise ValueError(f"{origin} have {found}; expected one string or integer per image")
    if images.ndim < 2 or not len(images):
        raise ValueError(f"{origin} contain no images: their shape is {images.shape}")


# ---------------------------------------------------------------------- folders of pictures


class _Kind(NamedTuple):
    """What all pictures of a folder must have in common."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    unit: tuple[float, float] | None = None  # the range that the file records

    def __str__(self) -> str:
        unit = "" if self.unit is None else f" and range {self.unit[0]:g} to {self.unit[1]:g}"
        return f"shape {self.shape} and type {self.dtype}{unit}"

    def require(self, file: str, usual_file: str, usual: _Kind) -> None:
        """Raise an error unless a picture of this kind fits the usual one."""
        if self[:2] != usual[:2] or not is_one_unit(self.unit, usual.unit):
            what = f"'{file}' has pixels of {self}, but '{usual_file}' of {usual}"
            if self[:2] == usual[:2]:
                what += ", where a file that records no range has its own units"
            raise ValueError(f"{what}; expected one size (see --resize), one mode and one range")


@dataclass
class _Pictures:
    """Picture files that fit together, read for a model or, without one, in their own units and in one size."""

    model: LinearDiffusion | None
    resize: tuple[int, int] | bool | None
    usual: tuple[str, _Kind] | None = None  # the file that says what the others must have

    def _load(self, file: str) -> tuple[NDArray[Any], _Kind]:
        if self.model is not None:
            pixels = pixels_for_model(Path(file), self.model, bool(self.resize))
            return pixels, _Kind(pixels.shape, np.dtype(self.model.pixel_dtype_))
        pixels, unit = read_pixels(Path(file), self.resize if isinstance(self.resize, tuple) else None)
        return in_units(pixels, unit), _Kind(pixels.shape, pixels.dtype, unit)

    def load(self, file: str) -> NDArray[Any]:
        """Return the pixels of a file, the first of which is the usual one."""
        try:
            pixels, kind = self._load(file)
            self.usual = self.usual or (file, kind)
            kind.require(file, *self.usual)
        except ValueError as error:
            raise ValueError(f"{error} (--skip-bad skips such pictures)") from error
        return pixels

    def usable(self, files: list[str]) -> list[bool]:
        """Return which files can be read and are of the commonest shape and type; name the others."""
        kinds: dict[str, _Kind] = {}
        bad: dict[str, Exception] = {}
        with progress(len(files), "checking") as advance:
            for file in files:
                try:
                    kinds[file] = self._load(file)[1]
                except (ValueError, OSError) as error:
                    bad[file] = error
                advance(1)
        if kinds:
            commonest = mode(kind[:2] for kind in kinds.values())
            self.usual = next(one for one in kinds.items() if one[1][:2] == commonest)
            for file, kind in kinds.items():
                try:
                    kind.require(file, *self.usual)
                except ValueError as error:
                    bad[file] = error
        for reason in bad.values():
            note(f"skipped: {reason}")
        return [file not in bad for file in files]

    def read(self, files: Sequence[str]) -> NDArray[Any]:
        """Return the pixels (m, ...) of files."""
        first = self.load(files[0])
        images = np.empty((len(files), *first.shape), first.dtype)
        for row, file in enumerate(files):
            pixels = self.load(file) if row else first
            images = images.astype(np.result_type(images.dtype, pixels.dtype), copy=False)
            images[row] = pixels
        return images


def _from_folders(folder: Path, split: str, pictures: _Pictures, skip_bad: bool) -> Source:
    """Read one subfolder of images per prompt, either in `folder` or in its parts train/ and test/."""
    subfolders = _visible_folders(folder)
    has_parts = {subfolder.name.lower() for subfolder in subfolders} == {"train", "test"}
    if has_parts:
        parts = [part for part in subfolders if split in (part.name.lower(), "all")]
        subfolders = [inner for part in parts for inner in _visible_folders(part)]
    if not subfolders:
        raise ValueError(f"'{folder}' contains no data; {_FORMS}")
    files: list[str] = []  # a Path takes several times the memory
    prompts: list[str] = []
    others: list[str] = []
    for subfolder in subfolders:
        with os.scandir(subfolder) as entries:
            own = sorted(one.path for one in entries if one.is_file() and not one.name.startswith("."))
        others += [file for file in own if not file.lower().endswith(SUFFIXES)]
        own = [file for file in own if file.lower().endswith(SUFFIXES)]
        if not own:
            parts_are = "parts must be two folders named train and test, with no other folder beside them"
            raise ValueError(f"'{subfolder}' contains no images; add some or remove the folder ({parts_are})")
        files += own
        prompts += [prompt_of_folder(subfolder.name, map(Path, own))] * len(own)
    deep = (one for subfolder in subfolders for one in subfolder.glob("*/**/*"))
    loose = [one for one in (*folder.iterdir(), *deep) if one.name.lower().endswith(SUFFIXES) and one.is_file()]
    if loose:
        note(f"left out {counted(len(loose), 'picture')} not in a folder of the first level, such as '{loose[0]}'")
    if others:
        note(f"left out {counted(len(others), 'file')} without a picture's suffix, such as '{others[0]}'")
    kept = pictures.usable(files) if skip_bad else [True] * len(files)
    files = list(compress(files, kept))
    classes, labels = np.unique(np.array(list(compress(prompts, kept)), object), return_inverse=True)
    if empty := sorted(set(prompts) - set(classes)):
        raise ValueError(f"no picture of {empty[0]!r} in '{folder}' is usable; the others were skipped")
    if not skip_bad:
        pictures.load(files[0])

    def read(indices: Indices) -> NDArray[Any]:
        return pictures.read([files[index] for index in indices])

    return Source(tuple(classes), labels, read, streams=True, has_parts=has_parts, skipped=kept.count(False))


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
