"""Checks of what users give: each returns the value as the library works with it, or raises an error."""

from __future__ import annotations

import numbers
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_scalar
from sklearn.utils.validation import _check_sample_weight

from lineardiffusion._arrays import ROWS, Array, working_dtype
from lineardiffusion._device import cast, dtype_of, is_tensor, namespace, to_numpy

SMALLEST, LARGEST = 1e-60, 1e60  # of the largest pixel: squared variances and their sums are float64 numbers
LIGHTEST, HEAVIEST = 1e-50, 1e50  # of the largest sample weight; others are divided by it
NEGLIGIBLE = 1e-100  # of the largest sample weight, below which the square of a weight may not be a number

HALF_TYPES = ("torch.bfloat16", "torch.float8_e4m3fn", "torch.float8_e5m2")  # which NumPy has not

UNSIGNED_TYPES = ("torch.uint16", "torch.uint32", "torch.uint64")  # with which PyTorch computes little

_PACKAGE = str(Path(__file__).parent)
_EXPECTED = "prompts must be a list of strings or of integers"


def refuse_masked(value: Any, what: str, instead: str) -> None:
    """Raise an error if a masked array, or an item of a list, has masked entries."""
    if any(map(np.ma.is_masked, value if isinstance(value, list | tuple) else [value])):
        raise ValueError(f"{what} must not be masked; {instead}")


def is_dask(value: Any) -> bool:
    """Return whether a value is computed by Dask when it is needed."""
    return hasattr(value, "__dask_graph__") and value.__dask_graph__() is not None


def refuse_dask(value: Any, what: str) -> None:
    """Raise an error for a collection of Dask, or a list of them, which would be read into memory unasked."""
    kinds = {type(one): one for one in value}.values() if isinstance(value, list | tuple) else [value]
    if lazy := list(filter(is_dask, kinds)):
        cluster = "fit on a cluster by lineardiffusion.distributed.fit(client, (prompts, images), model)"
        here = "or here by fit_batches(in_batches(prompts, images)), or read them by .compute()"
        raise TypeError(f"{what} must be in memory, got Dask's {type(lazy[0]).__name__}; {cluster}, {here}")


def to_array(value: Any) -> NDArray[Any]:
    """Return anything that converts to an array, in the machine's byte order and at most in double precision."""
    refuse_dask(value, "arrays")
    if is_tensor(value):
        value = value.detach()
        value = to_numpy(value.float() if str(value.dtype) in HALF_TYPES else value)
    if hasattr(value, "numpy") and not hasattr(value, "__array__"):
        value = value.numpy()
    array = np.asarray(value)
    if array.dtype.kind == "f" and array.itemsize > 8:
        return array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_prompts(X: Any, weights: bool = False) -> list[Any] | None:
    """Return the prompts as a list of str, or None if X holds numbers in two dimensions (embeddings).

    Integers are labels, which stand for their decimal names. With `weights`, a mapping of prompts to weights may
    stand for a prompt.
    """
    if type(X) is list and set(map(type, X)) == {str} and "\0\n" not in "\n".join((*X, "")):
        return X.copy()  # at once, for there may be many
    if isinstance(X, str):
        raise TypeError(f"prompts must be a list of strings, got the bare string {X!r}; use [{X!r}]")
    refuse_dask(X, "prompts")
    refuse_batches(X)
    refuse_masked(X, "prompts", "leave out the images without a prompt")
    array_like, ndim = hasattr(X, "__array__") or hasattr(X, "numpy"), getattr(X, "ndim", 1)
    iterable = array_like or hasattr(X, "__iter__")
    if not iterable or ndim == 0 or isinstance(X, Mapping | set | frozenset):
        raise TypeError(f"{_EXPECTED} (or an array of embeddings), got {X!r:.200}")
    if ndim == 2 and not array_like:
        return None  # sparse
    prompts = list(X) if isinstance(X, list | tuple) or not array_like else _column(to_array(X), X)
    if prompts is None:
        return None
    if not prompts:
        raise ValueError("no prompts: expected at least one, got an empty list")
    if all(isinstance(one, list | tuple) and len(one) == 1 and isinstance(one[0], str) for one in prompts):
        prompts = [one for (one,) in prompts]
    prompts = list(map(_plain, prompts))
    kinds = {type(one) for one in prompts if not (weights and isinstance(one, Mapping))}
    if kinds == {int}:
        prompts = [str(one) if isinstance(one, int) else one for one in prompts]
    elif not kinds <= {str}:
        _refuse_prompts(prompts)
        return None
    if any(isinstance(one, str) and one.endswith("\0") for one in prompts):
        raise ValueError("prompts must not end in the character NUL, which arrays of strings drop")
    return prompts


def check_labels(prompts: Any) -> NDArray[np.str_]:
    """Return prompts (n,), n >= 1, as strings, so that 7 and "7" are the same prompt."""
    names = check_prompts(prompts)
    if names is None:
        raise ValueError("prompts must be one list of strings or of integers, got numbers in two dimensions")
    return np.array(names)


def _plain(prompt: Any) -> Any:
    """Return a str or an int as Python's own, also the value of an enumeration's member or of a tensor."""
    if isinstance(prompt, str):
        return str.__str__(prompt)
    if getattr(prompt, "ndim", None) == 0 and not isinstance(prompt, np.generic):
        prompt = prompt.item()
    integer = isinstance(prompt, int | np.integer) and not isinstance(prompt, bool | np.timedelta64)
    return int(prompt) if integer else prompt


def _column(array: NDArray[Any], given: Any) -> list[Any] | None:
    """Return prompts that are an array of one dimension, or one column of strings; None for embeddings."""
    if array.ndim > 2:
        raise ValueError(f"prompts come first, then images; got an array of {array.ndim} dimensions as prompts")
    if array.ndim < 2:
        return list(np.atleast_1d(array))
    if array.dtype.kind in "OUST" and any(isinstance(one, str | bytes) for one in array.flat):
        if array.shape[1] == 1:
            return list(array[:, 0])
        raise ValueError(f"prompts must be one list of strings, got an array of shape {array.shape}")
    if array.dtype.kind in "iu" and array.shape[1] == 1 and hasattr(given, "columns"):
        instead = "pass the column itself for labels, or the frame as floats for embeddings of one number"
        raise ValueError(f"a frame of one column of integers is ambiguous; {instead}")
    return None


def _refuse_prompts(prompts: list[Any]) -> None:
    """Raise the error for items that are neither strings nor integers; return None for rows of numbers."""
    others = [one for one in prompts if type(one) not in (str, int)]
    if len(others) < len(prompts):
        odd = [*others, *(one for one in prompts if type(one) is not type(prompts[0]))][0]
        raise ValueError(f"prompts must all be strings, or all integers, got {odd!r} among them")
    first = others[0]
    if isinstance(first, bytes):
        raise ValueError("prompts must be strings, got bytes; decode them")
    if isinstance(first, bool | float | np.bool_ | np.number):
        instead = "pass integers, or [str(label) for label in labels]"
        embedding = "Reshape your data to (n, 1) if they are an embedding"
        raise ValueError(f"{_EXPECTED}, got {others[:3]}...; {instead}. {embedding}")
    if _ndim(first) > 1:
        raise ValueError("prompts come first, then images; got a list of images as prompts")
    if not _ndim(first):
        raise ValueError(f"{_EXPECTED}, got {first!r:.200}")
    if any(isinstance(one, str) for one in first):
        raise ValueError("prompts must be one list of strings, got a list of lists")


def _ndim(value: Any) -> int:
    return int(value.ndim if hasattr(value, "ndim") else np.asarray(value, dtype=object).ndim)


def refuse_batches(data: Any) -> None:
    """Raise an error for an iterator, a loader, a dataset or a list of pairs, which names the call for it."""
    kinds = {one.__name__ for one in type(data).__mro__}
    whole = hasattr(data, "toarray") or hasattr(data, "__array__") or isinstance(data, set | frozenset)
    indexed = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    lazy = hasattr(data, "__iter__") and not (whole or indexed)
    what = f"expected all prompts and all images, got {type(data).__name__}"
    if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple) and len(data[0]) in (2, 3):
        if len(set(map(_ndim, data[0]))) > 1:
            instead = "batches go to ld.fit_batches(pairs), single images to ld.fit(*zip(*pairs))"
            raise TypeError(f"{what} of pairs; {instead}")
    elif isinstance(data, list | tuple | np.ndarray):
        return
    elif hasattr(data, "iter") and any("Dataset" in one for one in kinds):
        raise TypeError(f"{what}; give all of it to ld.fit_batches(dataset), which names its labels")
    elif lazy or any("Dataset" in one or "DataLoader" in one for one in kinds):
        source = (
            "loader" if "DataLoader" in kinds else "batches" if lazy else "DataLoader(dataset, batch_size=1000)"
        )
        instead = f"ld.fit_batches({source}), or if images come first ld.fit_batches(lambda: ((y, x) for x, y in"
        what = f"{what}; give it batch by batch: {instead} {source}))"
        raise TypeError(what + "; if it has single prompts or images, pass a list of it" * lazy)


def check_images(
    images: Any, n: int, image_shape: tuple[int, ...] | None = None, missing: bool = False
) -> NDArray[np.generic]:
    """Return the images (n, \\*image_shape), whose pixels are finite; with `missing`, NaN is a missing pixel.

    With `missing`, masked pixels are missing too. Without an `image_shape` the images begin a model.
    """
    if images is None:
        raise ValueError("fit requires y to be passed, but the target y is None: pass the images")
    if hasattr(images, "toarray"):
        raise TypeError("images must be a dense array, got a sparse matrix; call .toarray() on it")
    refuse_dask(images, "images")
    refuse_batches(images)
    if isinstance(images, list | tuple) and any(getattr(one, "mode", None) == "P" for one in images):
        raise ValueError('images must not have a palette; convert them, as in image.convert("RGB")')
    if missing and any(map(np.ma.is_masked, images if isinstance(images, list | tuple) else [images])):
        masked: Any = np.ma.array(images)
        images = masked.astype(working_dtype(masked.dtype)).filled(np.nan)
    if isinstance(images, list | tuple) and images and all(map(is_tensor, images)):
        if len({one.shape for one in images}) > 1:
            raise ValueError("images must all have the same shape (n, h, w) or (n, h, w, c)")
        images = namespace(images[0]).stack(images)
    if is_tensor(images) and str(images.dtype) not in UNSIGNED_TYPES:
        return _check_tensor(images, n, image_shape, missing)  # type: ignore[no-any-return]
    filled = "fill the masked pixels, as in images.filled(0), or leave those images out"
    refuse_masked(images, "images", f'{filled} (fit takes them with missing="em")')
    try:
        array = to_array(images)
    except ValueError as error:
        raise ValueError("images must all have the same shape (n, h, w) or (n, h, w, c)") from error
    if array.dtype.kind == "O" and array.ndim == 1 and not isinstance(images, list | tuple):
        return check_images(list(array), n, image_shape, missing)  # an array of arrays, as a column of a frame
    if array.dtype.kind in "UST" or (array.dtype.kind == "O" and array.size and isinstance(array.flat[0], str)):
        raise ValueError("prompts come first, then images; got strings for the images")
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            what = "images must be an array of numbers, got Python objects"
            raise ValueError(f"{what}; convert them, as in images.astype(float)") from error
    if array.dtype.kind not in "buif":
        kind = "Complex data not supported: " if array.dtype.kind == "c" else ""
        raise ValueError(f"{kind}images must hold real numbers, got dtype {array.dtype}")
    if array.ndim == 0 or len(array) != n:
        found = "a single number" if array.ndim == 0 else f"{len(array)} images"
        raise ValueError(f"{n} prompts need {n} images, got {found}; pass one prompt per image")
    if array[0].size == 0:
        raise ValueError(f"images have no pixels: got the shape {array.shape}")
    if image_shape is not None and array.shape[1:] != image_shape:
        swapped, other = "is the order of arguments right?", "resize them, or fit a model of their own"
        what = f"images have the shape {array.shape[1:]}, but those of this model have {image_shape}"
        raise ValueError(f"{what}; {swapped if array.ndim == 1 else other}")
    checked: NDArray[np.generic] = _check_pixels(array, image_shape, missing)
    return checked


def _check_tensor(images: Any, n: int, image_shape: tuple[int, ...] | None, missing: bool) -> Any:
    """Return images that are a tensor, on its device; as an array where pixels are missing."""
    if str(images.layout) != "torch.strided" or images.is_quantized:
        raise TypeError(f"images must be a dense tensor of numbers, got one of {images.dtype} in {images.layout}")
    images = images.detach()
    if str(images.dtype) in HALF_TYPES:
        images = images.float()
    kind = np.dtype(np.complex64 if images.is_complex() else np.uint8)
    check_images(np.broadcast_to(np.zeros((), kind), tuple(images.shape)), n, image_shape)  # the shape alone
    if missing and images.is_floating_point() and bool(images.isnan().any()):
        return check_images(to_numpy(images), n, image_shape, missing)
    return _check_pixels(images, image_shape, missing)


def _check_pixels(array: Any, image_shape: tuple[int, ...] | None, missing: bool) -> Any:
    """Return images whose pixels are finite and of a size that can be squared; with `missing` NaN is allowed."""
    xp, n = namespace(array), len(array)
    if dtype_of(array).kind == "f":
        peak = 0.0
        for start in range(0, n, ROWS):
            block = array[start : start + ROWS]
            fine = xp.isfinite(block) | (xp.isnan(block) if missing else False)
            magnitude = xp.abs(xp.where(xp.isnan(block), 0.0, block) if missing else block)
            peak = max(peak, float(xp.max(magnitude)))
            if not bool(xp.all(fine)):
                first = start + int(np.argmin(to_numpy(fine).reshape(len(fine), -1).all(axis=1)))
                what = f"images must have finite pixels, but image {first} holds NaN or infinity"
                instead = 'remove or repair it (fit takes NaN for missing pixels with missing="em")'
                raise ValueError(f"{what}; {instead}")
        if peak > LARGEST or (image_shape is None and 0 < peak < SMALLEST):
            limits = f"0 or from {SMALLEST:g} to {LARGEST:g}"
            raise ValueError(f"the size of the largest pixel must be {limits}, got {peak:.3g}; rescale the images")
        if dtype_of(array).itemsize < 8 and peak and not 1e-15 < peak < 1e15:
            array = cast(array, np.float64)  # whose squares float32 would not hold
    return array


def check_integer(value: Any, name: str, min_val: int = 1) -> int:
    """Return an int of `min_val` or more."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an int, got {value!r}")
    return int(check_scalar(value, name, numbers.Integral, min_val=min_val))


def warn(message: str) -> None:
    """Warn the user, naming the first line outside of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level + 1)


def check_sample_weight(sample_weight: ArrayLike, rows: Any, rescale: bool = False) -> Array:
    """Return sample weights (n,) as float64, not negative and not all 0.

    With `rescale`, weights of any size are brought into the range; batches must share their unit.
    """
    refuse_dask(sample_weight, "sample weights")
    refuse_masked(sample_weight, "sample weights", "use 0 for images that do not count")
    weight: Array = _check_sample_weight(sample_weight, rows, dtype=np.float64, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("sample weights are all zero: at least one image needs a weight")
    if not LIGHTEST <= weight.max() <= HEAVIEST:
        if not rescale:
            what = f"the largest sample weight of a batch must be from {LIGHTEST:g} to {HEAVIEST:g}"
            raise ValueError(f"{what}, got {weight.max():.3g}; divide all weights by one number")
        weight = weight / weight.max()
    lightest = weight[weight > 0].min()
    if lightest < NEGLIGIBLE * weight.max():
        what = f"the smallest sample weight is {lightest / weight.max():.3g} of the largest"
        raise ValueError(f"{what}; use 0 for images that do not count")
    return weight


def check_mask(mask: ArrayLike, n: int, image_shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask of one image or of n images as (n, D)."""
    refuse_masked(mask, "a mask", "fill its masked entries, as in mask.filled(True)")
    array = to_array(mask)
    if array.dtype != bool:
        raise TypeError(f"mask must be bool, True where a pixel is missing; got {array.dtype}")
    if array.shape not in (image_shape, (n, *image_shape)):
        expected = f"{image_shape}, one for all images, or {(n, *image_shape)}, one per image"
        raise ValueError(f"mask must have the shape {expected}; got {array.shape}")
    return np.broadcast_to(array, (n, *image_shape)).reshape(n, -1)
