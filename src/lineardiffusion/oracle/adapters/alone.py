"""One file of another package, executed without the rest of that package.

k-diffusion and smalldiffusion import torchvision and more for their data and training. Their samplers need none of
it, and each stands in one file.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

_loaded: dict[str, Any] = {}
_lock = threading.Lock()  # stand-ins are there for a moment for all threads


def load_alone(package: str, submodule: str, stand_ins: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return a module of a package, imported already or executed alone.

    Parameters
    ----------
    package, submodule : str
        Names of the package and of its file.
    stand_ins : mapping of str to mapping
        Modules that the file imports from its package, and others that may be missing, with what the file takes
        from each. They stand in while the file is executed only, and an installed module goes first.

    Raises
    ------
    ImportError
        If the package is not installed.
    """
    name = f"{package}.{submodule}"
    with _lock:
        if name in sys.modules:
            return sys.modules[name]
        if name not in _loaded:
            _loaded[name] = _execute(package, submodule, stand_ins)
        return _loaded[name]


def _execute(package: str, submodule: str, stand_ins: Mapping[str, Mapping[str, Any]]) -> Any:
    name = f"{package}.{submodule}"
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"{package} is not installed: pip install --no-deps {package.replace('_', '-')}")
    spec = importlib.util.spec_from_file_location(
        name, Path(found.submodule_search_locations[0], f"{submodule}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    put = [one for one in (package, *stand_ins) if one not in sys.modules and _is_missing(one, package)]
    for one in put:
        sys.modules[one] = ModuleType(one)
        vars(sys.modules[one]).update(stand_ins.get(one, {}))
    vars(sys.modules[package]).setdefault("__path__", [])
    try:
        spec.loader.exec_module(module)
    finally:
        for one in put:
            del sys.modules[one]
    return module


def _is_missing(name: str, package: str) -> bool:
    return name.partition(".")[0] == package or importlib.util.find_spec(name) is None
