"""The examples of the gallery, as text, and the pictures that are drawn from them."""

import ast
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")
ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples" / "gallery").glob("*/plot_*.py"))


def load_script(path):
    module = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location(path.stem, path))
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pictures():
    return load_script(ROOT / "scripts" / "pictures.py")


def assigned(source):
    """Return the names that a script assigns at top level."""
    return {
        name.id
        for statement in ast.walk(ast.parse(source))
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }


def faults(source):
    """Return what a script lacks as an example of the gallery."""
    tree = ast.parse(source)
    title, line, *text = f"{ast.get_docstring(tree)}\n\n".split("\n")
    imported = re.findall(r"^(?:from|import) ([\w.]+)", source, re.MULTILINE)
    return [
        fault
        for fault, holds in {
            "title": not (title and line == "=" * len(title) and len(" ".join(text).split()) > 15),
            "cells": "\n# %%\n" not in source,
            "figure": not any(name.startswith("figure") for name in assigned(source)),
            "pyplot": "matplotlib.pyplot" in imported or "savefig" in source,
            "alone": "__file__" in source or "argparse" in imported or "sys" in imported,
        }.items()
        if holds
    ]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_script_of_cells_with_a_title_and_a_figure(path):
    assert faults(path.read_text()) == []


def test_faults_of_an_example_are_found():
    """The control."""
    source = '"""A script."""\nimport sys\nimport matplotlib.pyplot as plt\nplt.plot(sys.argv)\n'
    assert faults(source) == ["title", "cells", "figure", "pyplot", "alone"]


def test_every_picture_is_a_variable_of_its_example(pictures):
    for file, (example, *variables) in pictures.PICTURES.items():
        assert set(variables) <= assigned((pictures.GALLERY / example).read_text()), file


def test_every_picture_of_the_readme_can_be_drawn_again(pictures):
    shown = re.findall(r"/docs/(?:images/)?(\w+\.(?:png|gif))", (ROOT / "README.md").read_text())
    assert len(shown) > 5
    assert set(shown) <= set(pictures.PICTURES)


def test_figures_are_stacked(pictures, tmp_path):
    from matplotlib.figure import Figure

    figures, alone = [Figure((2, 1)), Figure((1, 1))], []
    for figure, colour in zip(figures, ("red", "blue"), strict=True):
        figure.add_axes((0, 0, 1, 1)).set_facecolor(colour)
        pictures.save([figure], tmp_path / "one.png")
        alone.append(np.asarray(Image.open(tmp_path / "one.png")))
    pictures.save(figures, tmp_path / "both.png")
    both = np.asarray(Image.open(tmp_path / "both.png"))
    np.testing.assert_array_equal(both[:100], alone[0])
    np.testing.assert_array_equal(both[100:, 50:150], alone[1])
    assert (both[100:, :50] == 255).all()


def test_a_name_that_is_unknown_or_measured_is_explained(pictures, capsys):
    for name, told in (("hands", "unknown picture 'hands'"), ("race", "python benchmarks/race.py")):
        with pytest.raises(SystemExit):
            pictures.main([name])
        assert told in capsys.readouterr().err
