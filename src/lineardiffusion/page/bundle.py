"""One script from the modules of the page, so that a page is one file and needs no build tools.

A module may import names of other modules, ``import {a, b} from "./x.js";``, a statement a line, and export
what it declares at its top level, ``export function a``. A bundle is the modules in an order in which each
follows those that it imports, without the import lines and the word ``export``, in one function:

    "use strict"; (() => { first module ... last module })();

All top-level names share that function, so two modules may not declare the same one. Comments that fill their lines
are left out.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]+)";$', re.M)
DECLARATION = re.compile(r"^(export )?(?:async )?(?:function\*? |class |const |let )(\w+)", re.M)
BLOCK_COMMENT = re.compile(r"^[ \t]*/\*\*.*?\*/[ \t]*\n", re.M | re.S)
LINE_COMMENT = re.compile(r"^[ \t]*//.*\n", re.M)
BLANK = re.compile(r"^[ \t]*\n", re.M)


@cache
def bundle() -> str:
    """Return the script of the page."""
    return bundled(read_modules(resources.files(__package__) / "app"), "main.js")


def read_modules(folder: Traversable, prefix: str = "") -> dict[str, str]:
    """Return the texts of the modules in a folder, by their paths in it.

    Parameters
    ----------
    folder : Traversable
        Folder of modules and of folders of them.
    prefix : str, default=""
        Path of the folder, which ends in ``/``.

    Returns
    -------
    dict of str
        Texts by path, such as ``"ui/dom.js"``.
    """
    found: dict[str, str] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= read_modules(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".js"):
            found[prefix + entry.name] = entry.read_text(encoding="utf-8")
    return found


def bundled(modules: dict[str, str], entry: str) -> str:
    """Return one script of a module and of all that it imports.

    Parameters
    ----------
    modules : dict of str
        Texts of the modules by their paths.
    entry : str
        Path of the module that starts the page.

    Returns
    -------
    str
        The script.

    Raises
    ------
    ValueError
        If an import names a module or a name that does not exist, has another form, or closes a circle, or if two
        modules declare the same name.

    Examples
    --------
    >>> print(bundled({"a.js": 'import {b} from "./b.js";\\nb();', "b.js": "export function b() {}"}, "a.js"))
    "use strict";
    (() => {
    function b() {}
    b();
    })();
    """
    order: list[str] = []
    _visit(entry, modules, order, [])
    owner: dict[str, str] = {}
    for path in order:
        for _, name in DECLARATION.findall(modules[path]):
            if name in owner:
                raise ValueError(f"{owner[name]} and {path} both declare {name!r}; rename one")
            owner[name] = path
    return '"use strict";\n(() => {\n' + "".join(_stripped(modules[path]) for path in order) + "})();"


def _visit(path: str, modules: dict[str, str], order: list[str], above: list[str]) -> None:
    """Append what a module imports, and then the module, to the order."""
    if path in above:
        raise ValueError(f"modules import each other: {' -> '.join([*above, path])}")
    if path in order:
        return
    text = modules[path]
    for names, relative in IMPORT.findall(text):
        target = _resolved(path, relative)
        if target not in modules:
            raise ValueError(f"{path} imports {relative}, which does not exist")
        exported = {name for export, name in DECLARATION.findall(modules[target]) if export}
        if missing := [name for name in map(str.strip, names.split(",")) if name not in exported]:
            raise ValueError(f"{path} imports {', '.join(missing)} from {target}, which does not export it")
        _visit(target, modules, order, [*above, path])
    if other := re.search(r"^(import\b.*|export (default|\{).*)$", IMPORT.sub("", text), re.M):
        raise ValueError(f'{path}: write {other[0]!r} as import {{a, b}} from "./x.js"; or as export before a name')
    order.append(path)


def _resolved(path: str, relative: str) -> str:
    """Return the path that an import of a module means."""
    parts: list[str] = []
    for part in (PurePosixPath(path).parent / relative).parts:
        if part == "..":
            if not parts:
                return relative
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _stripped(text: str) -> str:
    """Return a module without imports, comments and blank lines, and without the word export."""
    text = IMPORT.sub("", text.rstrip() + "\n")
    for pattern in (BLOCK_COMMENT, LINE_COMMENT, BLANK):
        text = pattern.sub("", text)
    return re.sub(r"^export (?=\w)", "", text, flags=re.M)
