"""README.md from top to bottom, as a new user types it: with digits of MNIST's size for MNIST's."""

import re
import shlex
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lineardiffusion import LinearDiffusion, datasets, samplers
from lineardiffusion.cli import main, source

README = Path(__file__).parent.parent / "README.md"
HOME = "https://(?:raw.githubusercontent|github).com/linear-diffusion/linear-diffusion/(?:blob/)?main/"


@pytest.fixture
def small_mnist(monkeypatch, digits):
    """Some of scikit-learn's digits, three times as large and framed, where MNIST would be loaded."""
    prompts, images = digits[0][:900], digits[1][:900]
    large = np.pad(np.kron(images * 15, np.ones((1, 3, 3), np.uint8)), ((0, 0), (2, 2), (2, 2)))
    monkeypatch.setattr(datasets, "load_mnist", lambda *_: (prompts, large))
    monkeypatch.setitem(source._LOADERS, "mnist", lambda *_: (prompts, large))


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.DOTALL)


@pytest.mark.filterwarnings("ignore:.*styles")
def test_python(small_mnist, capsys):
    names = {}
    assert len(blocks("python")) == 7
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["digits"].shape == (2, 28, 28)
    assert names["stream"].statistics_.moments.weight.sum() == 900 - 300
    assert names["both"].statistics_.moments.weight.sum() == 2 * 900
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["5", "10", "20", "40"]


@pytest.mark.mnist
def test_distances_shown(mnist):
    ld = LinearDiffusion(40, shrinkage=0).fit(*mnist)
    exact = ld.law("7")
    steps = (5, 10, 20, 40)
    found = [f"{n} {round(ld.law('7', sampler=samplers.ddim(n)).wasserstein(exact), 3)}" for n in steps]
    assert "\n".join(found) + "\n" in blocks("text")


@pytest.mark.filterwarnings("ignore:.*styles")
def test_shell(small_mnist, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LinearDiffusion, "from_pretrained", cache(LinearDiffusion.from_pretrained))  # solved once
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("lineardiff")]
    assert {shlex.split(line)[1] for line in lines} == {
        "info",
        "sample",
        "classify",
        "plot",
        "fit",
        "evaluate",
        "oracle",
        "page",
    }
    for line in lines:
        result = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 0, result.output
        if "classify" in line:
            assert result.stdout in blocks("text")
    assert Image.open("grid.png").size == (4 * (5 * 30 - 2), 4 * (2 * 30 - 2))
    assert LinearDiffusion.from_pretrained("model").n_styles == 20


def test_every_picture_and_page_is_there():
    links = re.findall(r"\]\(([^)]+)\)", README.read_text())
    assert all(link.startswith("https://") for link in links)  # so that a package index shows them
    found = [match[1] for link in links if (match := re.fullmatch(HOME + r"(.+)", link))]
    assert len(found) > 12
    for path in found:
        assert (README.parent / path).exists(), path
