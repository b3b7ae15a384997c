"""Arrays of other libraries: the images of a user may be PyTorch tensors, on any device.

The products over many images run where the images are, through the array API standard, so that one code serves
NumPy and PyTorch. Their results, of the size of a matrix, are copied to NumPy and factored there in double
precision. NumPy needs nothing for it; tensors need the package array-api-compat (the extra ``[torch]``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def is_tensor(value: Any) -> bool:
    """Return whether a value is a PyTorch tensor."""
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "requires_grad")


def namespace(array: Any) -> Any:
    """Return the functions of the array API for an array: the module numpy, or that of a tensor."""
    if not is_tensor(array):
        return np
    try:
        import array_api_compat
    except ImportError as error:
        what = 'images that are tensors need the package array-api-compat: pip install "linear-diffusion[torch]"'
        raise ImportError(f"{what}; or pass them as tensor.numpy()") from error
    return array_api_compat.array_namespace(array)


def dtype_of(array: Any) -> np.dtype[Any]:
    """Return the NumPy type of an array's entries."""
    return np.dtype(str(array.dtype).removeprefix("torch.")) if is_tensor(array) else array.dtype


def to_numpy(array: Any) -> NDArray[Any]:
    """Return an array as a NumPy array."""
    return array.detach().cpu().numpy() if is_tensor(array) else np.asarray(array)


def as_like(array: Any, other: Any, dtype: DTypeLike) -> Any:
    """Return a NumPy array in this type, in the library and on the device of another array."""
    array = np.asarray(array, dtype=dtype)
    if not is_tensor(other):
        return array
    return namespace(other).asarray(np.array(array), device=other.device)  # a copy: tensors are writable


def empty(shape: tuple[int, ...], other: Any, dtype: DTypeLike) -> Any:
    """Return an array of this type without values, in the library and on the device of another array."""
    if not is_tensor(other):
        return np.empty(shape, dtype)
    xp = namespace(other)
    return xp.empty(shape, dtype=getattr(xp, np.dtype(dtype).name), device=other.device)


def to_device(array: NDArray[Any], device: Any) -> Any:
    """Return an array as a tensor on a device of PyTorch."""
    try:
        import array_api_compat  # noqa: F401
        import torch
    except ImportError as error:
        raise ImportError('tensors need PyTorch: pip install "linear-diffusion[torch]"') from error
    return torch.from_numpy(np.array(array)).to(device)


def cast(array: Any, dtype: DTypeLike, copy: bool = True) -> Any:
    """Return an array in another type, where it is; without `copy` itself if it has that type."""
    xp = namespace(array)
    return xp.astype(array, getattr(xp, np.dtype(dtype).name), copy=copy)
