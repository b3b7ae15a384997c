"""The API reference: every public name has a docstring that numpydoc's validation accepts."""

import ast
import builtins
import doctest
import functools
import importlib
import inspect
import re
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

MODULES = (
    "lineardiffusion",
    "lineardiffusion.datasets",
    pytest.param("lineardiffusion.distributed", marks=pytest.mark.dask),
    pytest.param("lineardiffusion.integrations.diffusers", marks=pytest.mark.diffusers),
    "lineardiffusion.metrics",
    "lineardiffusion.operators",
    "lineardiffusion.oracle",
    "lineardiffusion.oracle.adapters",
    "lineardiffusion.page",
    "lineardiffusion.plot",
    "lineardiffusion.posteriors",
    "lineardiffusion.samplers",
    "lineardiffusion.schedules",
)
# One sentence may say all (ES01), and not every name has a related one (SA01).
ALLOWED = {"ES01", "SA01"}
# Functions, classes, and the methods of these two have an example (EX01). It is optional for properties, for other
# methods, and for classes that a user never makes: the function that returns or takes them has one.
WITH_EXAMPLES = {"LinearDiffusion", "Gaussian"}
WITHOUT_EXAMPLE = {"Copying", "LinearModelOutput", "Noise", "NotAffineError", "PRDC", "Row", "Start"}

numpydoc = pytest.importorskip("numpydoc.docscrape", reason="numpydoc, which validates docstrings, is missing")
validation = pytest.importorskip("numpydoc.validate")


def imported(name: str) -> ModuleType:
    """Import a module, unless an optional dependency is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(str(error))


def names_of(module: ModuleType) -> list[str]:
    """Return the public names of a module: functions and classes of this library."""
    every = getattr(module, "__all__", None) or [name for name, one in vars(module).items() if is_own(one, module)]
    return [name for name in every if inspect.isclass(one := getattr(module, name)) or inspect.isfunction(one)]


def is_own(one: Any, module: ModuleType) -> bool:
    return inspect.isfunction(one) and one.__module__ == module.__name__ and not one.__name__.startswith("_")


def members_of(owner: type) -> dict[str, Any]:
    """Return the public methods and properties of a class that are code of this library, as they are defined.

    One without a docstring stands for that of the class above, as in Sphinx and ``help``.
    """
    found = {}
    for name in dir(owner):
        every = [plain(vars(one)[name]) for one in owner.__mro__ if name in vars(one)]
        code = [one for one in every if function_of(one).__module__.startswith("lineardiffusion.")]
        if code and code[0] is every[0] and not name.startswith("_"):
            found[name] = next((one for one in code if one.__doc__), code[0])
    return found


def plain(member: Any) -> Any:
    """Return a method as a function, and a cached value as a property."""
    if isinstance(member, functools.cached_property):
        return property(member.func)
    return member.__func__ if isinstance(member, classmethod | staticmethod) else member


def function_of(member: Any) -> Any:
    """Return the function of a method or a property, for anything else one of Python's."""
    function = member.fget if isinstance(member, property) else member
    return function if inspect.isfunction(function) else inspect.isfunction


def described(owner: type) -> set[str]:
    """Return the names in the sections "Attributes" of a class and its bases that have a type and a text."""
    docs = [numpydoc.NumpyDocString(inspect.cleandoc(one.__doc__ or "")) for one in owner.__mro__ if is_ours(one)]
    return {one.name for doc in docs for one in doc["Attributes"] if one.type and one.desc}


def is_ours(owner: type) -> bool:
    return owner.__module__.startswith("lineardiffusion.")


def findings(one: Any, example: bool) -> list[str]:
    """Return what numpydoc finds in a docstring, but for what is allowed."""
    found = dict(validation.validate(numpydoc.get_doc_object(one))["errors"])
    if inspect.isclass(one) and "PR01" in found:  # fields of a dataclass may be described as attributes
        fields = {name for name in inspect.signature(one).parameters if not name.startswith("_")}
        if fields <= described(one):
            del found["PR01"]
    if unknown := never_imported(one.__doc__ or ""):
        found["imports"] = f"the example does not import {unknown}"
    allowed = ALLOWED if example else ALLOWED | {"EX01"}
    return [f"{code}: {message}" for code, message in found.items() if code not in allowed]


def never_imported(doc: str) -> list[str]:
    """Return the names that the examples of a docstring use without importing them.

    Doctest finds them in the module, and who copies the example does not.
    """
    code = ast.parse("".join(one.source for one in doctest.DocTestParser().get_examples(doc)))
    used, made = set(), set(dir(builtins))
    for node in ast.walk(code):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
    return sorted(used - made)


def all_findings(module: Any) -> list[str]:
    """Return the findings of all public names of a module, and of the members of its classes."""
    found = []
    for name in names_of(module):
        one = getattr(module, name)
        found += [f"{name} {finding}" for finding in findings(one, name not in WITHOUT_EXAMPLE)]
        if inspect.isclass(one):
            attributes = described(one)
            for member, code in members_of(one).items():
                if code.__doc__ or member not in attributes:
                    example = name in WITH_EXAMPLES and inspect.isfunction(code)
                    found += [f"{name}.{member} {finding}" for finding in findings(code, example)]
    return found


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_are_clean(name: str) -> None:
    module = imported(name)
    assert all_findings(module) == []
    # where a module's docstring has a table or a list of its functions, none is missing
    doc = inspect.getdoc(module) or ""
    mentioned = set(re.findall(r"`(\w+)`", doc))
    if mentioned & set(names_of(module)):
        functions = {one for one in names_of(module) if inspect.isfunction(getattr(module, one))}
        assert functions - mentioned == set()


def test_bad_docstrings_are_found() -> None:
    """The control: what the test above must refuse."""

    class Law:
        """Multivariate law.

        Attributes
        ----------
        mean : float
            Mean.

        Examples
        --------
        >>> type(Law())
        """

        @property
        def mean(self) -> float:
            return 0.0

        @property
        def variance(self) -> float:
            return 1.0

    def draw(n: int, seed: int) -> int:
        """Draws numbers.

        Parameters
        ----------
        n
            Number of draws.
        """
        return n + seed

    for one in (Law, Law.mean.fget, Law.variance.fget):
        one.__module__ = "lineardiffusion.bad"
    found = all_findings(SimpleNamespace(__all__=["Law", "draw"], Law=Law, draw=draw))
    codes = [finding.partition(":")[0] for finding in found]
    undescribed = ["draw SS05", "draw PR01", "draw PR04", "draw RT01", "draw EX01"]
    assert codes == ["Law imports", "Law.variance GL08", *undescribed]
