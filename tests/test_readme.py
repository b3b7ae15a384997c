"""README.md from top to bottom, as a new user types it: with digits of MNIST's size for MNIST's."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lineardiffusion import LinearDiffusion, datasets
from lineardiffusion.cli import main, source

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture
def small_mnist(monkeypatch, digits):
    """scikit-learn's digits, three times as large and framed, where MNIST would be loaded."""
    prompts, images = digits
    large = np.pad(np.kron(images * 15, np.ones((1, 3, 3), np.uint8)), ((0, 0), (2, 2), (2, 2)))
    monkeypatch.setattr(datasets, "load_mnist", lambda *_: (prompts, large))
    monkeypatch.setitem(source._LOADERS, "mnist", lambda *_: (prompts, large))


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.DOTALL)


@pytest.mark.filterwarnings("ignore:.*styles")
def test_python(small_mnist):
    names = {}
    assert len(blocks("python")) >= 6
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["digits"].shape == (2, 28, 28)
    assert names["stream"].statistics_.moments.weight.sum() == 1797
    assert names["both"].statistics_.moments.weight.sum() == 2 * 1797


@pytest.mark.filterwarnings("ignore:.*styles")
def test_shell(small_mnist, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("lineardiff")]
    assert {shlex.split(line)[1] for line in lines} == {"info", "sample", "classify", "fit", "evaluate"}
    for line in lines:
        result = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 0, result.output
        if "classify" in line:
            assert result.stdout.startswith("seven.png\t7\t")
    assert Image.open("grid.png").size == (4 * (5 * 30 - 2), 4 * (2 * 30 - 2))
    assert LinearDiffusion.from_pretrained("model").n_styles == 20


def test_every_picture_and_page_is_there():
    found = re.findall(r"\]\(((?!http)[^)]+)\)", README.read_text())
    assert len(found) > 15
    for path in found:
        assert (README.parent / path).is_file(), path


def test_every_figure_s_command_is_there():
    found = re.findall(r"`((?:benchmarks|scripts|examples)/\w+\.py)", README.read_text())
    assert len(found) > 8
    for path in found:
        assert (README.parent / path).is_file(), path
