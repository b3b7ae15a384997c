"""Files: a model's two, written whole or not at all, and read with suspicion.

    config.json          what the arrays are; the size and the SHA-256 of model.safetensors, and its own
    model.safetensors    the arrays

Two files cannot be replaced in one step, so one of them is the commit. Both are written beside the old ones,
as ``*.new``, and brought to the disk; then config.json.new becomes config.json, and model.safetensors.new
becomes model.safetensors. Killed before the first renaming, the old model is there; killed between the two,
the new one is, since config.json says by its hash which weights are its own, and a reader finds them under
either name. The next writer first finishes what such a kill left undone; and of several, each waits its turn.

A reader believes nothing: it reads no more bytes than were promised, and parses none before their hash is
right. Whatever is wrong with a file is a ValueError that names it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from lineardiffusion.fields import SIZE_MAX

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MODEL_TYPE, FORMAT_VERSION = "lineardiffusion", 1
CONFIG_BYTES = 2**30  # room for ten million prompts
HEADER_BYTES = 2**16  # of a safetensors file, whose arrays are few
ATTEMPTS = 100  # to read a model that somebody writes at the same time

Json = dict[str, Any]


@contextmanager
def blame(path: Path) -> Iterator[None]:
    """Make whatever goes wrong with the content of a file a ValueError that names it."""
    try:
        yield
    except (
        ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, SafetensorError, TypeError,
        ValueError,
    ) as error:  # fmt: skip
        reason = str(error) or type(error).__name__
        raise ValueError(f"cannot load {path}: {reason}") from error


def write(folder: Path, config: Json, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Replace the model in a folder, or put it there; at no moment is there no whole model."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; give the folder that {CONFIG} and {WEIGHTS} go to")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        _finish(folder)
        _replace(folder, config, arrays)


def read(folder: Path) -> tuple[Json, bytes]:
    """The fields of a folder's config.json and the bytes of the weights that belong to it."""
    path = folder / CONFIG
    for _ in range(ATTEMPTS):
        before = _mark(folder)
        text = _read(path, CONFIG_BYTES)
        if text is None:
            raise FileNotFoundError(
                f"{path} does not exist; a model is a folder with {CONFIG} and {WEIGHTS}, as save_pretrained "
                "writes it"
            )
        with blame(path):
            config = parse(text)
        weights = _weights(folder, config)
        if weights is not None:
            return config, weights
        if _mark(folder) == before:  # nobody wrote meanwhile: it is as it looks
            break
    path = folder / WEIGHTS
    _, mark, _ = _mark(folder)
    if mark is None:
        raise ValueError(f"cannot load {path}: it does not exist, but {CONFIG} is there; copy it, too")
    stated = config["weights"]
    raise ValueError(
        f"cannot load {path}: it does not belong to {CONFIG}, which states {stated['bytes']} bytes of "
        f"SHA-256 {stated['sha256'][:12]}..., and this has {mark[-1]} bytes; it was truncated or "
        "altered, or is of another model: copy both files again"
    )


def parse(text: bytes) -> Json:
    """The fields of a config.json, if it is one of ours and whole; its ``"weights"`` are checked."""
    if len(text) > CONFIG_BYTES:
        raise ValueError(f"it has more than {CONFIG_BYTES} bytes")
    try:
        config = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except ValueError as error:
        raise ValueError(f"it is no JSON file, or it was truncated ({error})") from error
    if not isinstance(config, dict) or config.get("model_type") != MODEL_TYPE:
        raise ValueError(f'it is of no model of this library: it lacks "model_type": "{MODEL_TYPE}"')
    version = config.get("format_version")
    if type(version) is not int or version < 1:
        raise ValueError(f'"format_version" must be an int of 1 or more, got {version!r:.40}')
    if version > FORMAT_VERSION:
        raise ValueError(
            f"it has the format {version}, and this version of the library reads up to {FORMAT_VERSION}; "
            "pip install --upgrade linear-diffusion"
        )
    if config.get("sha256") != _digest(config):
        raise ValueError("it was altered after it was written: its SHA-256 is not the one that it states")
    weights = config.get("weights")
    if (
        not isinstance(weights, dict)
        or type(weights.get("bytes")) is not int
        or not 0 <= weights["bytes"] <= SIZE_MAX
        or not isinstance(weights.get("sha256"), str)
    ):
        raise ValueError('"weights" must state the bytes and the sha256 of the weights')
    return config


def arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of the bytes of a safetensors file."""
    try:
        return safetensors.numpy.load(data)
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"it is no safetensors file of numpy arrays ({error})") from error


def _replace(folder: Path, config: Json, arrays: Mapping[str, NDArray[Any]]) -> None:
    new_config, new_weights = _new(folder / CONFIG), _new(folder / WEIGHTS)
    try:
        # one entry of metadata: safetensors writes several in an order of chance
        safetensors.numpy.save_file(dict(arrays), new_weights, {"format": "np"})
        with open(new_weights, "rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            size = file.tell()
        stated = {"model_type": MODEL_TYPE, "format_version": FORMAT_VERSION, **config}
        stated["weights"] = {"bytes": size, "sha256": digest}
        stated["sha256"] = _digest(stated)
        with open(new_config, "wb") as file:
            file.write(json.dumps(stated, indent=1, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new_weights.chmod(new_config.stat().st_mode)  # safetensors makes files for their owner alone
    except BaseException:
        new_config.unlink(missing_ok=True)
        new_weights.unlink(missing_ok=True)
        raise
    _sync(folder)
    os.replace(new_config, folder / CONFIG)  # from here on it is the new model
    _sync(folder)
    os.replace(new_weights, folder / WEIGHTS)
    _sync(folder)


def _weights(folder: Path, config: Json) -> bytes | None:
    """The bytes of the weights that belong to a config, under either name."""
    size, digest = config["weights"]["bytes"], config["weights"]["sha256"]
    for path in (folder / WEIGHTS, _new(folder / WEIGHTS)):
        data = _read(path, size)
        if data is not None and hashlib.sha256(data).hexdigest() == digest:
            return data
    return None


def _mark(folder: Path) -> list[tuple[int, ...] | None]:
    """Inode, time and size of each file, None without one: what changes when somebody writes or renames."""
    marks: list[tuple[int, ...] | None] = []
    for path in (folder / CONFIG, folder / WEIGHTS, _new(folder / WEIGHTS)):
        try:
            found = path.stat()
            marks.append((found.st_ino, found.st_mtime_ns, found.st_size))
        except FileNotFoundError:
            marks.append(None)
    return marks


def _read(path: Path, limit: int) -> bytes | None:
    """A file's bytes, one more than the limit at most; None where there is no file."""
    try:
        if not path.is_file():
            return None
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError:  # another writer renamed it
        return None


def _finish(folder: Path) -> None:
    """Rename the weights that an interrupted writer left under their new name, if they are in use."""
    new = _new(folder / WEIGHTS)
    if not new.is_file():
        return
    try:
        stated = parse(_read(folder / CONFIG, CONFIG_BYTES) or b"")["weights"]
    except (ValueError, RecursionError):
        return
    with open(new, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != stated["sha256"]:
            return
    os.replace(new, folder / WEIGHTS)
    _sync(folder)


def _new(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _digest(config: Json) -> str:
    """SHA-256 of all fields but itself, however they are spaced and ordered."""
    rest = {name: value for name, value in config.items() if name != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for other writers of the folder, where the system can; a killed one is no longer waited for."""
    if os.name != "posix":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # of a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # also for a child that was forked meanwhile
        os.close(handle)


def _sync(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # of a file system that brings no folders to the disk
                os.fsync(handle)
        finally:
            os.close(handle)


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field is given twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")
