"""What ``import lineardiffusion`` gives, in a fresh process: everything that is named, and nothing heavy."""

import subprocess
import sys

import lineardiffusion

PUBLIC = [
    "FittedDiffusion",
    "Gaussian",
    "ImageEncoder",
    "LinearDiffusion",
    "Mixture",
    "Statistics",
    "datasets",
    "metrics",
    "operators",
    "plot",
    "samplers",
    "schedules",
]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_every_name_is_there_at_its_first_use():
    """In one fresh process, where nothing was imported before; a name from the tree is found, too."""
    found = python(
        "import lineardiffusion as l\n"
        f"for name in {PUBLIC!r}: print(name, name in dir(l), getattr(l, name).__name__.split('.')[-1])"
    )
    assert [line.split() for line in found.splitlines()] == [[name, "True", name] for name in PUBLIC]


def test_star_and_what_is_not_there():
    found = python(
        "from lineardiffusion import *\n"
        "print(sorted(k for k in globals() if k[0] != '_'))\n"
        "import lineardiffusion as l\n"
        "try: l.nothing\n"
        "except AttributeError as error: print(error)"
    )
    star, error = found.splitlines()
    assert star == str(PUBLIC)
    assert "nothing" in error
    assert sorted(lineardiffusion.__all__) == sorted([*PUBLIC, "__version__"])


def test_nothing_heavy_is_imported():
    """The version needs no numpy; the estimator no torch, no matplotlib, no Pillow and no Hub."""
    before, after = python(
        "import sys, lineardiffusion as l; l.__version__; print(*sys.modules)\n"
        "l.LinearDiffusion; print(*sys.modules)"
    ).splitlines()
    assert not {"numpy", "sklearn", "scipy"} & set(before.split())
    assert "sklearn" in after.split()
    assert not {"torch", "matplotlib", "huggingface_hub", "PIL"} & set(after.split())
