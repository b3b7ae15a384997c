"""One script from the modules of the page, so that a page is one file and needs no build tools.

A module may import names of other modules, ``import {a, b} from "./x.js";`` at the begin of a line, and export
what it declares at its top level, ``export function a``. A bundle is the modules in an order in which each
follows those that it imports, without the import lines and the word ``export``, in one function:

    "use strict"; (() => { first module ... last module })();

All top-level names share that function, so two modules may not declare the same one. Names are read from the code
with its comments and the insides of its strings covered; what cannot be read is refused. Lines that hold only
comments are left out.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import NamedTuple

IMPORT = re.compile(r'^import \{([\w$,\s]*)\} from "([.x][^"]+)";$', re.M)
TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<regex>/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/)
    |(?P<other>[`"'/{}])""",
    re.S | re.X,
)
TEMPLATE = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))*", re.S)  # up to its end, or to an expression in it
BEFORE_REGEX = re.compile(r"(?:^|[(,=:\[!&|?{;+*%<>~^-]|\b(?:return|typeof|case|of|in))\s*$")
IMPORT_OR_EXPORT = re.compile(r"(?<![.\w$])(?:import|export)(?![\w$])")
EXPORTED = re.compile(r"export (?=(?:async )?(?:function|class|const|let)\b)")
BRACKET_OR_WORD = re.compile(r"[(\[{]|[)\]}]|(?<![.\w$])(?:const|let|var|class|function)(?![\w$])")
IN_LIST = re.compile(r"[(\[{]|[)\]}]|[,;]|\n(?:export|import|const|let|class|function|async)\b")


class Module(NamedTuple):
    """A module as a bundle needs it."""

    imports: list[tuple[list[str], str]]  # names, and the relative path that they are from
    names: dict[str, bool]  # what it declares at its top level, and whether that is exported
    body: str  # without imports, comments and the word export


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
        If a module or a name that is imported does not exist, if an import, an export or a declaration has another
        form, if modules import each other, if two declare the same name, or if the script contains ``</script``.

    Examples
    --------
    >>> print(bundled({"a.js": 'import {b} from "./b.js";\\nb();', "b.js": "export function b() {}"}, "a.js"))
    "use strict";
    (() => {
    function b() {}
    b();
    })();
    """
    read: dict[str, Module] = {}
    _visit(entry, modules, read, [])
    owner: dict[str, str] = {}
    for path, module in read.items():
        for name in module.names:
            if name in owner:
                raise ValueError(f"{owner[name]} and {path} both declare {name!r}; rename one")
            owner[name] = path
    script = '"use strict";\n(() => {\n' + "".join(module.body for module in read.values()) + "})();"
    if tag := re.search(r"</?script|<!--", script, re.I):
        what = f"a script in HTML may not contain {tag[0]!r}, which a browser reads as HTML"
        raise ValueError(f"{what}; write it in two parts: '{tag[0][0]}' + '{tag[0][1:]}'")
    return script


def _visit(path: str, modules: dict[str, str], read: dict[str, Module], above: list[str]) -> None:
    """Read what a module imports, and then the module."""
    if path in above:
        raise ValueError(f"modules import each other: {' -> '.join([*above, path])}")
    if path in read:
        return
    if path not in modules:
        raise ValueError(f"there is no module {path!r} to start with; the modules are {', '.join(modules)}")
    module = _read(path, modules[path])
    for names, relative in module.imports:
        target = _resolved(path, relative)
        if target not in modules:
            raise ValueError(f"{path} imports {relative}, which does not exist")
        _visit(target, modules, read, [*above, path])
        if missing := [name for name in names if not read[target].names.get(name)]:
            raise ValueError(f"{path} imports {', '.join(missing)} from {target}, which does not export it")
    read[path] = module


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


def _read(path: str, text: str) -> Module:
    """Return the imports, the names and the body of a module."""
    text = text.rstrip() + "\n"
    covered = _covered(path, text)
    imports, body, at = [], [], 0
    for statement in IMPORT.finditer(covered):
        begin, end = statement.span()
        if own := IMPORT.fullmatch(text, begin, end):
            imports.append((re.findall(r"[\w$]+", own[1]), own[2]))
            covered = covered[:begin] + re.sub(r".", " ", own[0]) + covered[end:]
    for code in re.findall(r".*\n", covered):
        line = text[at : at + len(code)]
        at += len(code)
        if not code.strip():
            continue
        begin = len(found[0]) if (found := EXPORTED.match(code)) else 0
        if IMPORT_OR_EXPORT.search(code, begin):
            what = 'as import {a, b} from "./x.js"; or as export before a name, at the begin of a line'
            raise ValueError(f"{path}: write {line.strip()!r} {what}")
        body.append(line[begin:])
    return Module(imports, _declared(path, covered), "".join(body))


def _covered(path: str, text: str) -> str:
    """Return a text of the same length, with spaces for comments and x for the insides of strings.

    A template is covered with its line breaks, and its expressions are in parentheses: `a${b}` becomes "xx(b)".
    """
    out = list(text)
    braces: list[str] = []
    at, in_template = 0, False
    while at < len(text):
        if in_template:
            end = TEMPLATE.match(text, at).end()  # type: ignore[union-attr]
            out[at:end] = "x" * (end - at)
            if end == len(text):
                raise ValueError(f"{path}: a template literal has no end")
            in_template, at = False, end + 1
            if text[end] == "`":
                out[end] = '"'
            else:
                out[end : end + 2] = "x("
                braces.append("${")
                at += 1
            continue
        token = TOKEN.search(text, at)
        if token is None:
            break
        begin, at, kind = token.start(), token.end(), token.lastgroup
        if kind == "regex" and not BEFORE_REGEX.search("".join(out[max(0, begin - 80) : begin])):
            at = begin + 1  # a division
        elif kind == "comment":
            out[begin:at] = re.sub(r"[^\n]", " ", token[0])
        elif kind in ("string", "regex"):
            out[begin + 1 : at - 1] = "x" * (at - begin - 2)
        elif token[0] == "`":
            out[begin], in_template = '"', True
        elif token[0] == "{":
            braces.append("{")
        elif token[0] == "}":
            if not braces:
                raise ValueError(f"{path}: a brace is closed that was not opened")
            if braces.pop() == "${":
                out[begin], in_template = ")", True
        elif token[0] in "\"'":
            raise ValueError(f"{path}: the string {text[begin : begin + 30]!r} has no end in its line")
    if in_template or braces:
        raise ValueError(f"{path}: a {'template literal' if in_template else 'brace'} has no end")
    return "".join(out)


def _declared(path: str, code: str) -> dict[str, bool]:
    """Return the names that a module declares at its top level, and whether each is exported."""
    found: dict[str, bool] = {}
    depth = at = 0
    while token := BRACKET_OR_WORD.search(code, at):
        at = token.end()
        if token[0] in ("(", "[", "{"):
            depth += 1
        elif token[0] in (")", "]", "}"):
            depth -= 1
        elif token[0] == "var":
            raise ValueError(f"{path}: write const or let in place of var")
        elif depth == 0:
            exported = code[code.rfind("\n", 0, at) + 1 : token.start()] in ("export ", "export async ")
            if token[0] in ("const", "let"):
                names, at = _listed(path, code, token.start(), at)
            else:
                own = re.compile(r"\s*\*?\s*([\w$]+)").match(code, at)
                names = [own[1]] if own else []
            for name in names:
                if name in found:
                    raise ValueError(f"{path} declares {name!r} twice; rename one")
                found[name] = exported
    return found


def _listed(path: str, code: str, begin: int, at: int) -> tuple[list[str], int]:
    """Return the names of a declaration ``const a = ..., b = ...;`` and the place of its end."""
    depth, first, parts = 0, at, []
    while token := IN_LIST.search(code, at):
        at = token.end()
        if token[0] in ("(", "[", "{"):
            depth += 1
        elif token[0] in (")", "]", "}"):
            depth -= 1
        elif depth == 0 and token[0] in (",", ";"):
            parts.append(code[first : token.start()])
            first = at
            if token[0] == ";":
                break
        elif depth == 0:
            token = None
            break
    said = code[begin : begin + 40].split("\n")[0]
    if token is None:
        raise ValueError(f"{path}: end the declaration {said!r} with a semicolon")
    names = []
    for part in parts:
        name = re.match(r"\s*([\w$]+)\s*(?:=(?![=>])|$)", part)
        if name is None:
            raise ValueError(f"{path}: cannot read the names in {said!r}; write const a = ..., b = ...;")
        names.append(name[1])
    return names, at
