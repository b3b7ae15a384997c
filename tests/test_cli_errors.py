"""What goes wrong: one line, the right exit status, and nothing half-written."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from cli_runs import refusal, run, write_folders
from idx_files import idx
from lineardiffusion import __version__

COMMAND = [sys.executable, "-m", "lineardiffusion"]


# ------------------------------------------------------------------ what goes wrong


def _bad_data(root):
    """Data that cannot be read, and what the message must name."""
    plain = np.zeros((4, 4), np.uint8)
    write_folders(root / "sizes", ["a", "b"], [plain, np.zeros((4, 5), np.uint8)])
    write_folders(root / "modes", ["a", "b"], [plain, np.zeros((4, 4, 3), np.uint8)])
    write_folders(
        root / "broken", ["a", "a"], [plain, np.random.default_rng(0).integers(0, 256, (4, 4), np.uint8)]
    )
    path = root / "broken" / "a" / "00001.png"
    path.write_bytes(path.read_bytes()[:50])
    (root / "empty").mkdir()
    (root / "no-images" / "a").mkdir(parents=True)
    (root / "text.npz").write_text("no archive")
    np.savez(root / "other.npz", x=plain)
    np.savez(root / "lengths.npz", images=np.zeros((3, 2, 2)), labels=np.zeros(2, int))
    np.savez(root / "pickled.npz", images=np.zeros((2, 2, 2)), prompts=np.array(["a", None], object))
    (root / "half").mkdir()
    (root / "half" / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 2, 2), np.uint8)))
    (root / "readme.md").write_text("no data")
    return {
        "sizes": "00001.png' is 5 x 4 pixels in grey (uint8), but", "modes": "4 x 4 pixels in colour",
        "broken": "00001.png' as a picture", "empty": "holds no data", "no-images": "a' holds no images",
        "text.npz": "text.npz'", "other.npz": "it holds x; expected", "lengths.npz": "of shape (3, 2, 2)",
        "pickled.npz": "it holds Python objects,", "half": "expected train-labels-idx1-ubyte",
        "readme.md": "is no data", "missing": "there is no data",
    }  # fmt: skip


def test_bad_data_is_named_in_one_line_and_leaves_no_model(tmp_path):
    for name, message in _bad_data(tmp_path).items():
        assert message in refusal("fit", tmp_path / name, "-o", tmp_path / "m"), name
        assert not (tmp_path / "m").exists(), name


def test_bad_models_and_pictures_are_named_in_one_line(saved, tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "no.png").write_text("no picture")
    (tmp_path / "no.txt").write_bytes(b"\xff\xfe\xff")
    out = tmp_path / "x.png"
    assert "is no model" in refusal("info", tmp_path / "none")
    assert "there is no folder" in refusal("sample", tmp_path / "nope", "7", "-o", out)
    assert "unknown prompt 'banana'" in refusal("sample", saved, "banana", "-o", out)
    assert "no known format" in refusal("classify", saved, tmp_path / "no.png")
    assert "No such file or directory: '" in refusal("classify", saved, tmp_path / "nope.png")
    assert "its folder does not exist" in refusal("sample", saved, "7", "-o", tmp_path / "nope" / "x.png")
    assert "is no text" in refusal("sample", saved, "--prompts-file", tmp_path / "no.txt", "-o", out)
    assert "is a file" in refusal("fit", "digits", "-o", tmp_path / "no.png")
    assert "is a file" in refusal("sample", saved, "7", "-o", tmp_path / "no.txt")
    assert "no.png' is a file" in refusal(
        "fit", "nowhere", "-o", tmp_path / "no.png" / "m"
    )  # before the data
    assert not out.exists()


def test_what_cannot_be_written_is_refused_before_the_work(saved, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(tmp_path)))
    for output in ("out", "out/x.png", "out/deeper/still"):
        args = ["sample", "nowhere", "7", "-o", tmp_path / output]  # the model is not even looked for
        if output == "out/deeper/still":
            args = ["fit", "nowhere", "-o", tmp_path / output]
        assert "no permission in" in refusal(*args)


def test_a_full_disk_is_told_by_the_name_that_was_given(saved, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "x.part")

    monkeypatch.setattr(Image.Image, "save", full)
    refused = refusal("sample", saved, "7", "-o", tmp_path / "x.png")
    assert refused == f"Error: No space left on device: '{tmp_path / 'x.png'}'"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fit", "digits"], "Missing option '-o'"),
        (["fit", "digits", "-o", "x", "--n-styles", "0"], "'--n-styles': 0 is not in the range"),
        (["fit", "digits", "-o", "x", "--n-stiles", "2"], "No such option"),
        (["sample", "m", "-o", "x.png"], "no prompts"),
        (["sample", "m", "7", "-o", "x.jpg"], "pictures are written as PNG"),
        (["sample", "m", "7", "-o", "x.png", "-n", "2", "--seed", "1", "--seed", "2"], "not both"),
        (["sample", "m", "7", "-o", "x.png", "--sampler", "magic"], "is not one of"),
        (["sample", "m", "7", "-o", ""], "must name a file or a folder"),
        (["fit", "digits", "-o", ""], "must name a file or a folder"),
        (["fit", "digits", "-o", "x", "--max-memory", "nan"], "a number of bytes"),
        (["sample", "m", "7", "-o", "x.png", "-n", "9" * 20], "is not in the range"),
        (["sample", "m", "7", "-o", "x.png", "--num-steps", "9" * 20], "is not in the range"),
        (["classify", "m"], "Missing argument 'IMAGE...'"),
        (["paint"], "No such command 'paint'"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(args, message):
    assert message in refusal(*args, status=2)


def test_warnings_are_one_line_and_quiet_silences_them(tmp_path, digits):
    prompts, images = digits
    np.savez(tmp_path / "few.npz", images=images[:12], prompts=prompts[:12])
    loud = run("fit", tmp_path / "few.npz", "-o", tmp_path / "m", "--n-styles", 2).stderr.splitlines()
    assert len(loud) == 1
    assert loud[0].startswith("Warning: ")
    quiet = run("fit", tmp_path / "few.npz", "-o", tmp_path / "m", "--n-styles", 2, "--quiet")
    assert quiet.stderr == "" == quiet.stdout


# ------------------------------------------------------------------ as a process


def test_it_runs_as_a_module():
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert __version__ in done.stdout
    done = subprocess.run([*COMMAND, "info", "nope"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent otherwise there")
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3])
def test_an_interrupt_leaves_no_half_written_picture(saved, tmp_path, delay):
    """When the interrupt comes is not the test's to choose: whatever is there must be whole."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, "sample", str(saved), *"0123456789", "-n", "20000", "-o", str(out)],
        stderr=subprocess.PIPE,
        text=True,
    )
    _await(lambda: out.exists() and any(out.iterdir()), process)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.split() == ["Aborted!"]
    left = list(out.iterdir())
    assert left
    assert all(path.suffix == ".png" for path in left)
    for path in left:
        Image.open(path).load()


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent otherwise there")
@pytest.mark.parametrize("module", ["numpy.version", "sklearn.base", "lineardiffusion.cli.program"])
def test_an_interrupt_while_it_starts(module, tmp_path):
    """Python says which module it has imported; as soon as it is this one, it is interrupted."""
    command = [sys.executable, "-X", "importtime", "-m", "lineardiffusion", "fit", "digits"]
    process = subprocess.Popen([*command, "-o", str(tmp_path / "m")], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.rstrip().endswith(f" {module}"):
            process.send_signal(signal.SIGINT)
            break
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in stderr.splitlines() if not line.startswith("import time:")] == ["Aborted!"]
    assert not (tmp_path / "m").exists()


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent otherwise there")
def test_an_interrupted_fit_leaves_the_old_model(forms, saved, tmp_path):
    slow = tmp_path / "slow.py"  # the command, with a wait where it reads pictures, which says so
    slow.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom lineardiffusion.cli import main, source\n"
        "read = source.read_picture\n"
        "def wait(path):\n    Path(sys.argv[0]).with_suffix('.reading').touch()\n    time.sleep(0.01)\n"
        "    return read(path)\n"
        "source.read_picture = wait\nmain()\n"
    )
    out = tmp_path / "m"
    run("fit", "digits", "-o", out, "--n-components", 5)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    process = subprocess.Popen(
        [sys.executable, str(slow), "fit", str(forms / "folders"), "-o", str(out)],
        stderr=subprocess.PIPE,
        text=True,
    )
    _await((tmp_path / "slow.reading").exists, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.split() == ["Aborted!"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def _await(there, process, seconds=60):
    end = time.monotonic() + seconds
    while not there():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux counts it")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """Three more batches of 1,600 bytes an image are 20 MB, 79 MB as float32: a stream holds one batch."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (40, 40, 40), dtype=np.uint8)
    peaks = []
    for n in (8300, 20600):
        data = tmp_path / str(n)
        for prompt in ("a", "b"):
            (data / prompt).mkdir(parents=True)
            for i, picture in enumerate(pictures):
                Image.fromarray(picture).save(data / prompt / f"{i}.bmp")
            for i in range(len(pictures), n // 2):
                os.link(data / prompt / f"{i % len(pictures)}.bmp", data / prompt / f"{i}.bmp")
        script = (
            "import resource, sys\nfrom lineardiffusion.cli import main\n"
            "main(sys.argv[1:], standalone_mode=False)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        args = ["fit", str(data), "-o", str(tmp_path / f"m{n}"), "--quiet", "--n-components", "20"]
        done = subprocess.run(
            [sys.executable, "-c", script, *args], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 12, f"{peaks} MB"
