"""What ``import lineardiffusion`` gives, in a fresh process: everything that is named, and nothing heavy."""

import subprocess
import sys

import pytest


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "name", ["LinearDiffusion", "Gaussian", "Mixture", "plot", "datasets", "schedule", "storage"]
)
def test_everything_is_there_at_its_first_name(name):
    assert name in python(f"import lineardiffusion as l; print(l.{name}, '{name}' in dir(l))")


def test_star_and_what_is_not_there():
    star = "from lineardiffusion import *; print(sorted(k for k in globals() if k[0] != '_'))"
    assert python(star).strip() == str(
        ["Gaussian", "LinearDiffusion", "Mixture", "datasets", "metrics", "operators", "plot"]
    )
    assert "no attribute 'nothing'" in python(
        "import lineardiffusion as l\ntry: l.nothing\nexcept AttributeError as error: print(error)"
    )


def test_nothing_heavy_is_imported():
    code = "import sys, lineardiffusion as l; l.LinearDiffusion; print(*sys.modules)"
    found = python(code).split()
    assert "sklearn" in found
    assert not {"torch", "matplotlib", "huggingface_hub", "PIL"} & set(found)
    assert "numpy" not in python("import sys, lineardiffusion; print(*sys.modules)").split()
