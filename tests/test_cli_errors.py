"""Errors, interrupts and start-up of the command line: short messages, exit status, no partial output."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc

import click
import numpy as np
import pytest
from PIL import Image

import lineardiffusion
from cli_runs import refusal, run, write_folders
from idx_files import idx
from lineardiffusion import LinearDiffusion, __version__
from lineardiffusion.cli import main
from lineardiffusion.cli.source import open_source

COMMAND = [sys.executable, "-m", "lineardiffusion"]
HEAVY = {"numpy", "scipy", "sklearn", "matplotlib", "PIL"}


# ------------------------------------------------------------------ errors


def _bad_data(root):
    """Write data that cannot be read; return each name and a key word of its error message."""
    plain = np.zeros((4, 4), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (4, 4), np.uint8)
    write_folders(root / "sizes", ["a", "b"], [plain, np.zeros((4, 5), np.uint8)])
    write_folders(root / "modes", ["a", "b"], [plain, np.zeros((4, 4, 3), np.uint8)])
    write_folders(root / "broken", ["a", "a"], [plain, noise])
    path = root / "broken" / "a" / "00001.png"
    path.write_bytes(path.read_bytes()[:50])
    (root / "empty").mkdir()
    (root / "no-images" / "a").mkdir(parents=True)
    (root / "text.npz").write_text("not an archive")
    np.savez(root / "other.npz", x=plain)
    np.savez(root / "lengths.npz", images=np.zeros((3, 2, 2)), labels=np.zeros(2, int))
    np.savez(root / "none.npz", images=np.zeros((0, 2, 2)), labels=np.zeros(0, int))
    np.savez(root / "floats.npz", images=np.zeros((2, 2, 2)), labels=np.zeros(2))
    np.savez(root / "pickled.npz", images=np.zeros((2, 2, 2)), prompts=np.array(["a", None], object))
    for name in ("half", "shapes"):
        (root / name).mkdir()
        (root / name / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 2, 2), np.uint8)))
    for part, size in (("train", 2), ("t10k", 3)):
        (root / "shapes" / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((2, size, 2), np.uint8)))
        (root / "shapes" / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.zeros(2, np.uint8)))
    (root / "readme.md").write_text("not data")
    return {
        "sizes": "00001.png", "modes": "(4, 4, 3)", "broken": "00001.png", "empty": "no data",
        "no-images": "no images", "text.npz": "text.npz", "other.npz": "contains x",
        "lengths.npz": "(3, 2, 2)", "none.npz": "no images", "floats.npz": "float64",
        "pickled.npz": "pickled", "half": "train-labels-idx1-ubyte", "shapes": "different shapes",
        "readme.md": "unknown form", "missing": "does not exist",
    }  # fmt: skip


def test_bad_data_is_named_in_one_line_and_leaves_no_model(tmp_path):
    for name, key_word in _bad_data(tmp_path).items():
        line = refusal("fit", tmp_path / name, "-o", tmp_path / "m", "--split", "all")
        assert key_word in line, name
        assert name in line
        assert not (tmp_path / "m").exists(), name


def test_bad_input_is_named_in_one_line(saved, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.png").write_text("not an image")
    (tmp_path / "no.txt").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "blank.txt").write_text("\n")
    out = ["-o", tmp_path / "x.png"]
    assert "empty" in refusal("info", tmp_path / "empty")
    assert "nope" in refusal("sample", tmp_path / "nope", "7", *out)
    assert "banana" in refusal("sample", saved, "banana", *out)
    assert "'exact'" in refusal("sample", saved, "7", "--sampler", "magic", *out)
    assert "'cosine'" in refusal("fit", "digits", "--schedule", "magic", "-o", tmp_path / "m")
    assert "max_memory" in refusal("fit", "digits", "--max-memory", "nan", "-o", tmp_path / "m")
    assert "no.png" in refusal("classify", saved, tmp_path / "no.png")
    assert "nope.png" in refusal("classify", saved, tmp_path / "nope.png")
    assert "UTF-8" in refusal("sample", saved, "--prompts-file", tmp_path / "no.txt", *out)
    assert "no prompts" in refusal("sample", saved, "--prompts-file", tmp_path / "blank.txt", *out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blank.txt", "empty", "no.png", "no.txt"]


def test_an_unusable_output_is_refused_before_the_work(tmp_path, monkeypatch):
    """The model and the data do not exist, but the error message is about the output."""
    (tmp_path / "file.png").touch()
    (tmp_path / "file").touch()
    sample, fit = ["sample", "nowhere", "7", "-o"], ["fit", "nowhere", "-o"]
    assert "file.png" in refusal(*fit, tmp_path / "file.png")
    assert "file.png" in refusal(*fit, tmp_path / "file.png" / "m")
    assert "is a file" in refusal(*sample, tmp_path / "file")
    assert "folder" in refusal(*sample, tmp_path / "nope" / "x.png")
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(tmp_path)))
    for args in ([*sample, tmp_path / "out"], [*sample, tmp_path / "out" / "x.png"], [*fit, tmp_path / "a" / "b"]):
        assert "permission" in refusal(*args)


def test_a_full_disk_is_reported_with_the_name_of_the_output(saved, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "x.part")

    monkeypatch.setattr(Image.Image, "save", full)
    refused = refusal("sample", saved, "7", "-o", tmp_path / "x.png")
    assert refused == f"Error: No space left on device: '{tmp_path / 'x.png'}'"


@pytest.mark.parametrize(
    ("args", "key_word"),
    [
        (["fit", "digits"], "-o"),
        (["fit", "digits", "-o", "x", "--n-styles", "0"], "--n-styles"),
        (["fit", "digits", "-o", "x", "--n-stiles", "2"], "--n-stiles"),
        (["fit", "digits", "-o", ""], "file or a folder"),
        (["sample", "m", "-o", "x.png"], "prompts"),
        (["sample", "m", "7", "-o", "x.jpg"], ".png"),
        (["sample", "m", "7", "-o", ""], "file or a folder"),
        (["sample", "m", "7", "-o", "x.png", "-n", "9" * 20], "-n"),
        (["sample", "m", "7", "-o", "x.png", "--num-steps", "9" * 20], "--num-steps"),
        (["sample", "m", "--prompts-file", "nope.txt", "-o", "x.png"], "nope.txt"),
        (["classify", "m"], "IMAGE"),
        (["paint"], "paint"),
    ],
)
def test_wrong_usage_has_status_2(args, key_word):
    *_, error = run(*args, status=2).stderr.splitlines()
    assert error.startswith("Error: ")
    assert key_word in error


def test_a_bug_keeps_its_traceback(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(LinearDiffusion, "predict", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("sample", saved, "7", "-o", tmp_path / "x.png")


def test_warnings_are_one_line_and_quiet_hides_them(tmp_path, digits):
    prompts, images = digits
    np.savez(tmp_path / "few.npz", images=images[:12], prompts=prompts[:12])
    args = ["fit", tmp_path / "few.npz", "-o", tmp_path / "m", "--n-styles", 2]
    (line,) = run(*args).stderr.splitlines()
    assert line.startswith("Warning: ")
    quiet = run(*args, "--quiet")
    assert quiet.stderr == "" == quiet.stdout


# ------------------------------------------------------------------ start-up


@pytest.mark.parametrize("args", [["--version"], ["--help"], *([name, "--help"] for name in main.commands)])
def test_help_and_version_import_no_heavy_packages(args):
    command = [sys.executable, "-X", "importtime", "-m", "lineardiffusion", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported  # the output of Python was understood
    assert not imported & HEAVY
    assert __version__ in done.stdout or "Usage:" in done.stdout


def test_the_overview_lists_every_command():
    overview = run("--help").stdout
    for command in ("fit", "sample", "classify", "inpaint", "evaluate", "plot", "page", "demo", "forget", "info"):
        assert f"\n  {command} " in overview
        assert f" {command} [OPTIONS]" in run(command, "--help").stdout


def test_it_runs_as_a_script_of_any_name(tmp_path):
    """An entry point calls ``main`` from a script; messages have the name of that script."""
    script = tmp_path / "linear-diffusion"
    script.write_text("import sys\nfrom lineardiffusion.cli import main\nsys.exit(main())\n")
    done = subprocess.run([sys.executable, script, "paint"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: linear-diffusion ")


# ------------------------------------------------------------------ interrupts


@pytest.fixture
def interruptible():
    """Let child processes be interrupted where the tests themselves run in the background, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _interrupt(process, ready):
    """Interrupt a process when it is ready; return whether it ended as click ends interrupted programs."""
    end = time.monotonic() + 60
    while not ready():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    return process.returncode == 1 and stderr.split() == ["Aborted!"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for other processes")
def test_an_interrupt_leaves_no_partial_picture(saved, tmp_path, interruptible):
    """The interrupt comes at any time, so every picture that is there must be complete."""
    out = tmp_path / "out"
    command = [*COMMAND, "sample", str(saved), *"0123456789", "-n", "20000", "-o", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert _interrupt(process, lambda: out.exists() and len(list(out.glob("0/0-*"))) > 100)
    left = list(out.glob("*/*"))
    assert len(left) > 100
    assert all(path.suffix == ".png" for path in left)
    for path in left:
        Image.open(path).load()


def test_an_interrupt_while_a_picture_is_written_leaves_no_file(saved, tmp_path, monkeypatch):
    def interrupted(self, path, **_):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    assert "Aborted!" in run("sample", saved, "7", "-o", tmp_path / "x.png", status=1).stderr
    assert not list(tmp_path.iterdir())


def test_an_interrupted_import_aborts(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.delitem(vars(lineardiffusion), "LinearDiffusion", raising=False)
    monkeypatch.setattr("lineardiffusion.importlib.import_module", interrupted)
    assert "Aborted!" in run("info", "mnist", status=1).stderr


def test_an_interrupted_fit_keeps_the_old_model(forms, tmp_path, monkeypatch):
    out = tmp_path / "m"
    run("fit", "digits", "-o", out, "--n-components", 5)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def interrupted(path, size):
        raise KeyboardInterrupt

    monkeypatch.setattr("lineardiffusion.cli.source.read_pixels", interrupted)
    assert "Aborted!" in run("fit", forms / "folders", "-o", out, status=1).stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# ------------------------------------------------------------------ terminal and memory


def test_progress_is_shown_on_a_terminal_unless_quiet(saved, tmp_path, monkeypatch):
    shown = []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, n):
            shown.append(n)

    args = ["sample", saved, *"123", "-o", tmp_path / "out"]
    monkeypatch.setattr(click, "progressbar", lambda length, **_: shown.append(f"of {length}") or Bar())
    run(*args)
    assert shown == []
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
    run(*args, "--quiet")
    assert shown == []
    run(*args)
    assert shown == ["of 3", 3]


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, monkeypatch):
    """3,000 more images of 1,600 bytes are 4.8 MB; a stream holds one batch and the names of the files."""
    monkeypatch.setattr("lineardiffusion.cli.source.BATCH", 300)
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "x.pgm")
    peaks = []
    for n in (600, 3600):
        folder = tmp_path / str(n) / "a"
        folder.mkdir(parents=True)
        for i in range(n):
            os.link(tmp_path / "x.pgm", folder / f"{i}.pgm")
        tracemalloc.start()
        try:
            assert sum(len(images) for _, images in open_source(str(folder.parent), "all").batches()) == n
            peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2, f"{peaks} MB"
