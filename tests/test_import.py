"""What ``import lineardiffusion`` gives, in a fresh process: everything that is named, and nothing heavy."""

import subprocess
import sys

import lineardiffusion

PUBLIC = [
    "FittedDiffusion",
    "Gaussian",
    "ImageEncoder",
    "LatentDenoiser",
    "LinearDiffusion",
    "Mixture",
    "Statistics",
    "datasets",
    "metrics",
    "operators",
    "oracle",
    "page",
    "plot",
    "posteriors",
    "samplers",
    "schedules",
]


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_what_one_process_finds():
    """The version needs no numpy; the estimator no torch, matplotlib, Pillow or Hub; then all the rest."""
    before, after, *names, star, error = python(
        "import sys, lineardiffusion as l; l.__version__; print(*sys.modules)\n"
        "l.LinearDiffusion; print(*sys.modules)\n"
        f"for name in {PUBLIC!r}: print(name, name in dir(l), getattr(l, name).__name__.split('.')[-1])\n"
        "found = {}\n"
        "exec('from lineardiffusion import *', found)\n"
        "print(sorted(k for k in found if k[0] != '_'))\n"
        "try: l.nothing\n"
        "except AttributeError as error: print(error)"
    ).splitlines()
    assert not {"numpy", "sklearn", "scipy"} & set(before.split())
    assert "sklearn" in after.split()
    assert not {"torch", "matplotlib", "huggingface_hub", "PIL"} & set(after.split())
    assert [line.split() for line in names] == [[name, "True", name] for name in PUBLIC]
    assert star == str(PUBLIC)
    assert "nothing" in error
    assert sorted(lineardiffusion.__all__) == sorted([*PUBLIC, "__version__"])
