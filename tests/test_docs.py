"""The pages in docs/ and the check of the built site.

Every page is found from the front page, every link and picture is there, and the reference has every public name.
Nothing is built here: pages that the build makes of examples are known by their scripts.
"""

import ast
import posixpath
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import lineardiffusion

ROOT = Path(__file__).parent.parent
DOCS, SOURCE = ROOT / "docs", ROOT / "src"
EXAMPLES = {
    "gallery": ROOT / "examples/gallery",
    "learn/course": ROOT / "examples/course",
}  # by where they are shown
BUILT = [*EXAMPLES, "reference/api", "_build", "_templates"]
HOME = "https://github.com/linear-diffusion/linear-diffusion/(?:blob|tree)/main/"


def is_built(name):
    return any(name.startswith(f"{folder}/") for folder in BUILT)


def names(*suffixes):
    """Paths of the sources under docs/, without what a build leaves there."""
    found = (path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*") if path.suffix in suffixes)
    return sorted(name for name in found if not is_built(name))


PAGES = [name for name in names(".md", ".rst") if name != "sg_execution_times.rst"]


def prose(name):
    """Text of a page without its code, but with its directives."""
    text = (DOCS / name).read_text()
    return re.sub(r"^```(?!\{)\w*\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def contents(name):
    """Pages in the toctrees of a page, without suffix."""
    text = (DOCS / name).read_text()
    blocks = re.findall(r"^`{3,}\{toctree\}\n(.*?)^`{3,}$|^\.\. toctree::\n((?:\n|[ ]+.*\n)*)", text, re.M | re.S)
    for line in "".join(map("".join, blocks)).splitlines():
        if line.strip() and not line.strip().startswith(":"):
            entry = re.sub(r".*<(.+)>$", r"\1", line.strip())
            yield posixpath.normpath(posixpath.join(posixpath.dirname(name), entry))


def exists(path):
    """Whether docs/`path` is a file, or is made by the build: of an example, or for a public name."""
    for shown, scripts in EXAMPLES.items():
        if path.startswith(f"{shown}/"):
            script = scripts / path.removeprefix(f"{shown}/")
            return script.stem == "index" or script.with_suffix(".py").is_file()
    if path.startswith("reference/api/"):
        return Path(path).stem.rpartition(".")[2] in (DOCS / "reference/api.rst").read_text().split()
    return (DOCS / path).is_file() or path == "page.html"


def test_every_page_is_found_from_the_front_page():
    without = {name.rsplit(".", 1)[0]: name for name in PAGES}
    reached, new = set(), ["index"]
    while new:
        page = new.pop()
        if page not in reached and not is_built(page):
            reached.add(page)
            new += contents(without[page])  # a KeyError names an entry without a page
    assert set(without) == reached


@pytest.mark.parametrize("name", PAGES)
def test_links_and_pictures(name):
    folder, text = posixpath.dirname(name), prose(name)
    links = re.findall(r"\]\(<?([^)>\s]+)>?\)", text)
    pictures = re.findall(r"^`{3,}\{(?:image|figure)\} (\S+)$", text, flags=re.MULTILINE)
    for link in [*links, *pictures]:
        if match := re.match(HOME + r"([^#]*)", link):
            assert (ROOT / match[1]).exists(), link
        elif not re.match(r"https?:|mailto:|#", link):
            assert exists(posixpath.normpath(posixpath.join(folder, link.split("#")[0]))), link
    assert "![](" not in text, "a picture without a text in its place"
    for block in re.findall(r"^`{3,}\{(?:image|figure)\}.*?^`{3,}$", text, flags=re.DOTALL | re.MULTILINE):
        assert re.search(r"^:alt: .{10,}", block, flags=re.MULTILINE), block


def test_every_picture_is_used():
    shown = "".join((DOCS / name).read_text() for name in PAGES) + (ROOT / "README.md").read_text()
    assert [name for name in names(".png", ".gif") if name not in shown] == []


def public(module):
    """The names in a module's ``__all__``, read from its text where what it needs is not installed."""
    try:
        return set(import_module(module).__all__)
    except ImportError:
        text = (SOURCE / module.replace(".", "/")).with_suffix(".py").read_text()
        return set(ast.literal_eval(re.search(r"^__all__ = (\[.*?\])$", text, flags=re.DOTALL | re.MULTILINE)[1]))


def test_the_reference_has_every_public_name():
    listed = {}
    for part in re.split(r"^\.\. currentmodule:: ", (DOCS / "reference/api.rst").read_text(), flags=re.M)[1:]:
        module, _, rest = part.partition("\n")
        entries = re.search(r"\.\. autosummary::\n(?:   :.*\n)*\n((?:   \S+\n)+)", rest)[1].split()
        listed[module] = listed.get(module, set()) | set(entries)
    top = set(lineardiffusion.__all__) - {"__version__"}
    modules = {name for name in top if isinstance(getattr(lineardiffusion, name), ModuleType)}
    assert {f"lineardiffusion.{name}" for name in modules} < set(listed)
    assert listed.pop("lineardiffusion") == top - modules
    for module, entries in listed.items():
        assert entries == public(module), module


def check_site(site):
    command = [sys.executable, str(ROOT / "scripts/check_site.py"), str(site)]
    return subprocess.run(command, capture_output=True, text=True)


GOOD = """<link rel="stylesheet" href="_static/a.css"><link rel="canonical" href="https://example.org/">
<a href="#here">x</a><a href="b/c.html#there">x</a><a href="https://example.org/">x</a>
<a href="page.html#tab?n=6">x</a>
<img src="data:image/png;base64,AA==" alt=""><p id="here">"""
FAULTS = {
    '<script src="https://example.org/a.js"></script>': "loads from another host: https://example.org/a.js",
    '<img src="//example.org/a.png" alt="x">': "loads from another host: //example.org/a.png",
    '<img srcset="a.png 1x, https://example.org/a.png 2x" alt="x">': "another host: https://example.org/a.png",
    '<link rel="preload" href="https://example.org/a.woff2">': "another host: https://example.org/a.woff2",
    '<iframe src="http://example.org/"></iframe>': "loads from another host: http://example.org/",
    "<style>p { background: url('https://example.org/a.png') }</style>": "another host: https://example.org/a.png",
    '<p style="background: url(https://example.org/b.png)">': "another host: https://example.org/b.png",
    '<a href="d.html">x</a>': "no such file: d.html",
    '<a href="b/c.html#nowhere">x</a>': "no such place: b/c.html#nowhere",
    '<img src="_static/a.png">': "a picture without an alt text: _static/a.png",
}


@pytest.fixture
def site(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "_static").mkdir()
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "page.html").write_text("<p>")
    (tmp_path / "b" / "c.html").write_text('<a href="../index.html" id="there">x</a>')
    (tmp_path / "_static" / "a.css").write_text(
        'p { background: url("a.png") } /* @import "https://example.org" */'
    )
    (tmp_path / "_static" / "a.png").write_bytes(b"")
    return tmp_path


def test_a_good_site_passes(site):
    found = check_site(site)
    assert (found.returncode, found.stdout) == (0, "3 pages, 0 faults\n"), found.stderr


def test_each_fault_is_found(site):
    (site / "index.html").write_text(GOOD + "".join(FAULTS))
    (site / "_static" / "a.css").write_text('@import "https://example.org/a.css"; p { background: url(b.png) }')
    found = check_site(site)
    assert found.returncode == 1, found.stderr
    for fault in [*FAULTS.values(), "another host: https://example.org/a.css", "a.css: no such file: b.png"]:
        assert fault in found.stdout, fault
    assert "index.html: no such file: a.png" in found.stdout
    assert len(found.stdout.splitlines()) == len(FAULTS) + 4
