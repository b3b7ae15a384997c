"""The commands page and demo write the page that the library writes; demo opens it if there is a browser."""

import json
import tempfile
import webbrowser
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pytest

from cli_runs import refusal, run
from lineardiffusion import LinearDiffusion
from lineardiffusion.cli import main
from lineardiffusion.io.locate import shipped_models
from lineardiffusion.page import write_page


@pytest.fixture(scope="module")
def written(saved, tmp_path_factory):
    """The page that the library writes, without the command."""
    path = tmp_path_factory.mktemp("page") / "x.html"
    assert write_page(LinearDiffusion.from_pretrained(saved), path) == path.stat().st_size
    return path.read_bytes()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder for temporary files whose name a URL has to quote."""
    folder = tmp_path / "temporary \u00f6#"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def opened(monkeypatch):
    """The files that were opened in a browser, as they were then."""
    files = []

    def open_url(url, *_):
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("file", "", "", "")
        files.append(Path(url2pathname(parts.path)).read_bytes())
        return True

    monkeypatch.setattr(webbrowser, "open", open_url)
    return files


# ------------------------------------------------------------------ page


def test_the_command_writes_the_page_of_the_library(saved, written, tmp_path):
    out = tmp_path / "X.HTML"
    assert run("page", saved, "-o", out).stdout == f"{out}: {len(written) / 1e6:.2f} MB\n"
    assert out.read_bytes() == written
    out.write_text("old")
    assert run("page", saved, "-o", out, "--quiet").output == ""
    assert out.read_bytes() == written
    answer = json.loads(run("page", saved, "-o", out, "--json").stdout)
    assert answer == {"file": str(out), "bytes": len(written)}


def test_a_name_that_is_no_page_is_refused_before_the_work(tmp_path):
    """The model does not exist, but the error message is about the output."""
    (tmp_path / "folder.html").mkdir()
    for name in ("page", "page.htm", "page.html.gz", "page.png", "folder.html"):
        line = run("page", "nowhere", "-o", tmp_path / name, status=2).stderr.splitlines()[-1]
        assert name in line
        assert ".html" in line
    assert "-o" in run("page", "nowhere", status=2).stderr
    assert "folder does not exist" in refusal("page", "nowhere", "-o", tmp_path / "no" / "page.html")


@pytest.mark.parametrize("command", ["page", "demo"])
def test_a_model_that_has_no_page_is_refused_in_one_line_and_leaves_no_file(tmp_path, folder, opened, command):
    """One model does not exist; the other has embeddings for prompts."""
    LinearDiffusion(4).fit(np.eye(6), np.eye(6)).save_pretrained(tmp_path / "e")
    output = ["-o", tmp_path / "x.html"] if command == "page" else []
    assert "nowhere" in refusal(command, tmp_path / "nowhere", *output)
    assert "prompts" in refusal(command, tmp_path / "e", *output)
    assert {path.name for path in tmp_path.iterdir()} == {"e", folder.name}
    assert not list(folder.iterdir())
    assert not opened


# ------------------------------------------------------------------ demo


def test_demo_opens_the_page_and_keeps_its_file(saved, written, folder, opened):
    result = run("demo", saved)
    path = Path(result.stdout.rstrip("\n"))
    assert path.parent.parent == folder
    assert opened == [written]
    assert path.read_bytes() == written  # when the command has ended, too
    assert result.stderr == ""
    answer = json.loads(run("demo", saved, "--json").stdout)
    assert answer == {"file": answer["file"], "bytes": len(written), "opened": True}
    assert Path(answer["file"]) != path
    assert len(opened) == 2


def test_without_a_browser_demo_says_so_and_prints_the_path(saved, written, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda *_: False)
    result = run("demo", saved)
    assert "no browser" in result.stderr
    assert Path(result.stdout.rstrip("\n")).read_bytes() == written
    quiet = run("demo", saved, "--quiet")
    assert quiet.stderr == ""
    assert Path(quiet.stdout.rstrip("\n")).read_bytes() == written


def test_no_browser_is_opened_on_request(saved, written, opened):
    result = run("demo", saved, "--no-browser")
    assert result.stderr == ""
    assert Path(result.stdout.rstrip("\n")).read_bytes() == written
    assert not json.loads(run("demo", saved, "--no-browser", "--json").stdout)["opened"]
    assert not opened


def test_the_default_model_of_demo_ships():
    (model,) = (one for one in main.commands["demo"].params if one.name == "model")
    assert model.default in shipped_models()
    assert not model.required
