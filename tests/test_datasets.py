"""The loaders: local files, downloads from mirrors on this machine, and the official files if present."""

import gzip
import hashlib
import os
import socket
import threading
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets

from idx_files import idx
from lineardiffusion.datasets import _download, load_digits, load_fashion_mnist, load_mnist, loaders

NAMES = tuple(loaders._MNIST.sha256)


def four_files(folder: Path, *, suffix: str = ".gz") -> dict[str, np.ndarray]:
    """MNIST's four files with 6 and 4 tiny pictures; the arrays in them by the files' names."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for name in NAMES:
        n = 6 if name.startswith("train") else 4
        shape, high = ((n, 3, 2), 256) if "images" in name else ((n,), 10)
        arrays[name] = rng.integers(0, high, size=shape, dtype=np.uint8)
        data = idx(arrays[name])
        folder.joinpath(name + suffix).write_bytes(gzip.compress(data) if suffix else data)
    return arrays


def official(folder: str) -> Path:
    root = os.environ.get("LINEARDIFFUSION_DATA")
    if not root or not all(Path(root, folder, f"{name}.gz").is_file() for name in NAMES):
        pytest.skip(f"needs the IDX files of {folder} (.gz): set LINEARDIFFUSION_DATA")
    return Path(root, folder)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No LINEARDIFFUSION_DATA, and an empty data home; its path."""
    monkeypatch.delenv("LINEARDIFFUSION_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def no_network(monkeypatch):
    """Let urlopen fail as it does without a network, and return the list of the requested addresses."""
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


# The loaders


def test_digits():
    prompts, images = load_digits()
    reference = sklearn.datasets.load_digits()
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, reference.images)
    assert prompts == [str(label) for label in reference.target]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("how", ["folder", "variable", "home"])
def test_splits_from_each_place(tmp_path, monkeypatch, nowhere, no_network, suffix, how):
    place = {
        "folder": tmp_path / "my files",
        "variable": tmp_path / "root" / "mnist",
        "home": nowhere / "lineardiffusion" / "mnist",
    }[how]
    arrays = four_files(place, suffix=suffix)
    if how == "variable":
        monkeypatch.setenv("LINEARDIFFUSION_DATA", str(tmp_path / "root"))
    options = {"folder": place} if how == "folder" else {}
    for split, parts in (("train", ["train"]), ("test", ["t10k"]), ("all", ["train", "t10k"])):
        prompts, images = load_mnist(split, **options)
        np.testing.assert_array_equal(
            images, np.concatenate([arrays[f"{part}-images-idx3-ubyte"] for part in parts])
        )
        labels = np.concatenate([arrays[f"{part}-labels-idx1-ubyte"] for part in parts])
        assert prompts == [str(label) for label in labels]
        assert images.flags.writeable
    assert no_network == []


def test_a_split_needs_its_own_files_only(tmp_path):
    four_files(tmp_path)
    for name in NAMES[:2]:
        (tmp_path / f"{name}.gz").unlink()
    assert len(load_mnist("test", folder=tmp_path)[0]) == 4
    with pytest.raises(FileNotFoundError, match=r"lacks train-images.*, train-labels"):
        load_mnist("all", folder=tmp_path)


def test_folder_is_searched_alone(tmp_path, monkeypatch, nowhere, no_network):
    four_files(tmp_path / "mnist")
    monkeypatch.setenv("LINEARDIFFUSION_DATA", str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty"):
        load_mnist(folder=tmp_path / "empty")
    assert no_network == []


def test_fashion_words(tmp_path):
    arrays = four_files(tmp_path)
    words = ["t-shirt", "trouser", "pullover", "dress", "coat"]
    words += ["sandal", "shirt", "sneaker", "bag", "ankle boot"]
    expected = [words[label] for label in arrays["train-labels-idx1-ubyte"]]
    assert load_fashion_mnist("train", folder=tmp_path)[0] == expected


def test_unknown_split():
    with pytest.raises(ValueError, match="valid"):
        load_mnist("valid")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (NAMES[0], np.zeros((5, 3, 2), np.uint8), r"\(5, 3, 2\)"),
        (NAMES[0], np.zeros((6, 6), np.uint8), "rank 3"),
        (NAMES[0], np.zeros((6, 3, 2), np.float32), "float32"),
        (NAMES[1], np.zeros((), np.uint8), r"\(\)"),
        (NAMES[1], np.full(6, 10, np.uint8), "label 10"),
    ],
)
def test_files_that_do_not_belong_together(tmp_path, name, array, message):
    four_files(tmp_path)
    (tmp_path / f"{name}.gz").write_bytes(idx(array))
    with pytest.raises(ValueError, match=message):
        load_mnist("train", folder=tmp_path)


# Downloads


@pytest.mark.parametrize("load", [load_mnist, load_fashion_mnist])
def test_without_network_the_error_tells_what_to_do(nowhere, no_network, load):
    with pytest.raises(FileNotFoundError) as caught:
        load()
    source = {load_mnist: loaders._MNIST, load_fashion_mnist: loaders._FASHION_MNIST}[load]
    assert no_network == [f"{mirror}train-images-idx3-ubyte.gz" for mirror in source.mirrors]
    for words in ("no network", source.folder, "LINEARDIFFUSION_DATA", "folder=", "load_digits()"):
        assert words in str(caught.value)
    assert not nowhere.exists()


def test_download_false_asks_no_mirror(nowhere, no_network):
    with pytest.raises(FileNotFoundError, match="download=False"):
        load_mnist(download=False)
    assert no_network == []
    assert not nowhere.exists()


@contextmanager
def served(folder: Path, before_answer=lambda: None):
    """Serve a folder over HTTP on this machine; yields the address."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def do_GET(self):
            before_answer()
            super().do_GET()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def mirrors(tmp_path, monkeypatch, nowhere):
    """Replace MNIST's mirrors by an empty folder and a folder with tiny files; returns folders and arrays."""
    arrays = four_files(tmp_path / "second")
    (tmp_path / "first").mkdir()
    packed = {name: tmp_path.joinpath("second", f"{name}.gz").read_bytes() for name in NAMES}
    use_mirrors(monkeypatch, *(f"file://localhost{tmp_path}/{name}/" for name in ("first", "second")))
    official_sums = {name: hashlib.sha256(data).hexdigest() for name, data in packed.items()}
    monkeypatch.setattr(loaders, "_MNIST", replace(loaders._MNIST, sha256=official_sums))
    return tmp_path / "first", tmp_path / "second", arrays


def use_mirrors(monkeypatch, *addresses):
    monkeypatch.setattr(loaders, "_MNIST", replace(loaders._MNIST, mirrors=list(addresses)))


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def write_other_files(folder: Path) -> None:
    """Well-formed files that are not the official ones: only the checksum tells."""
    for name in NAMES:
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(np.zeros((5, 4, 3), np.uint8))))


@pytest.mark.parametrize("first", ["absent", "other"])
def test_the_second_mirror_helps_and_the_files_stay(nowhere, mirrors, first):
    if first == "other":
        write_other_files(mirrors[0])
    _, images = load_mnist("test")
    np.testing.assert_array_equal(images, mirrors[2]["t10k-images-idx3-ubyte"])
    assert files_below(nowhere) == {f"{name}.gz" for name in NAMES[2:]}
    for path in mirrors[1].iterdir():
        path.unlink()
    np.testing.assert_array_equal(load_mnist("test")[1], images)


def test_a_file_with_another_checksum_is_refused(nowhere, mirrors):
    write_other_files(mirrors[1])
    with pytest.raises(FileNotFoundError, match="SHA-256"):
        load_mnist("test")
    assert files_below(nowhere) == set()


def test_a_truncated_download_leaves_the_earlier_file(tmp_path):
    (tmp_path / "file.gz").write_bytes(b"earlier")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "file.gz").write_bytes(b"trunc")
    with pytest.raises(OSError, match="SHA-256"):
        _download.download(
            [f"file://localhost{tmp_path}/mirror/file.gz"],
            tmp_path / "file.gz",
            hashlib.sha256(b"truncated").hexdigest(),
        )
    assert (tmp_path / "file.gz").read_bytes() == b"earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"file.gz", "mirror"}


def test_a_download_leaves_the_default_socket_timeout_alone(mirrors, monkeypatch):
    seen = []
    with served(mirrors[1], lambda: seen.append(socket.getdefaulttimeout())) as address:
        use_mirrors(monkeypatch, address)
        load_mnist("test")
    assert seen == [None, None]  # one for each of the two files, observed while they are downloaded
    assert socket.getdefaulttimeout() is None


def test_a_silent_mirror_is_given_up(mirrors, monkeypatch):
    monkeypatch.setattr(_download, "_TIMEOUT", 0.1)
    answer = threading.Event()
    with served(mirrors[1], lambda: answer.wait(10)) as address:
        use_mirrors(monkeypatch, address, loaders._MNIST.mirrors[1])
        _, images = load_mnist("test")
        assert not answer.is_set()
        answer.set()
    np.testing.assert_array_equal(images, mirrors[2]["t10k-images-idx3-ubyte"])


def test_downloaded_files_have_the_usual_permissions(tmp_path, nowhere, mirrors):
    (tmp_path / "usual").touch()
    load_mnist("test")
    (path,) = nowhere.rglob("t10k-images*")
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


# The official files

# Images of each digit, 0 to 9, as published for MNIST's two halves.
TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.mnist
@pytest.mark.parametrize("source", [loaders._MNIST, loaders._FASHION_MNIST])
def test_checksums_are_those_of_the_official_files(source):
    folder = official(source.folder)
    for name, sha256 in source.sha256.items():
        assert hashlib.sha256((folder / f"{name}.gz").read_bytes()).hexdigest() == sha256


@pytest.mark.mnist
def test_mnist():
    official("mnist")
    prompts, images = load_mnist()
    assert images.shape == (70_000, 28, 28)
    assert images.dtype == np.uint8
    assert [prompts[:60_000].count(digit) for digit in "0123456789"] == TRAIN_COUNTS
    assert [prompts[60_000:].count(digit) for digit in "0123456789"] == TEST_COUNTS
    # The two numbers with which half the world's tutorials standardise MNIST.
    assert images[:60_000].mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert images[:60_000].std() / 255 == pytest.approx(0.3081, abs=5e-5)


@pytest.mark.mnist
def test_fashion_mnist():
    official("fashion-mnist")
    for split, each in (("train", 6000), ("test", 1000)):
        prompts, images = load_fashion_mnist(split)
        assert images.shape == (10 * each, 28, 28)
        assert [prompts.count(word) for word in loaders._FASHION_MNIST.words] == [each] * 10
