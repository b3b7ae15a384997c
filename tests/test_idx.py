"""The IDX reader returns what was written, and refuses damaged, foreign and hostile files."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idx_files import CODES, idx
from lineardiffusion.datasets import read_idx

ENTRIES = np.random.default_rng(0).integers(0, 256, size=(5, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(), (7,), (0,), (3, 4), (2, 0, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("packed", [False, True])
def test_round_trip(tmp_path, code, shape, packed):
    array = np.asarray(np.random.default_rng(2).integers(-128, 128, size=shape)).astype(code)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    read = read_idx(path)
    assert read.dtype == np.dtype(code)
    assert read.dtype.isnative
    assert read.flags.writeable
    assert read.shape == shape
    np.testing.assert_array_equal(read, array)


def test_extreme_values_and_known_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes.fromhex("00000b01 00000003 8000 7fff 0001"))
    assert read_idx(str(path)).tolist() == [-(2**15), 2**15 - 1, 1]
    path.write_bytes(bytes.fromhex("00000d01 00000002 3fc00000 ff800000"))
    assert read_idx(path).tolist() == [1.5, -np.inf]


@pytest.mark.parametrize("packed", [False, True])
def test_every_truncation_is_an_error_that_names_the_file(tmp_path, packed):
    data = gzip.compress(idx(ENTRIES)) if packed else idx(ENTRIES)
    path = tmp_path / "broken"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="broken"):
            read_idx(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with"),
        (b"\x89PNG\r\n\x1a\n", "89 50 4e 47"),
        (bytes.fromhex("00000a01 00000000"), "08, 09, 0b"),  # no such type
        (bytes.fromhex("00000803 00000001"), "header"),
        (idx(ENTRIES)[:-1], "only 59"),
        (idx(ENTRIES) + b"!", "more"),
        (gzip.compress(idx(ENTRIES) + b"!", mtime=0), "more"),
        (gzip.compress(idx(ENTRIES), mtime=0) + b"!!", "gzip"),
        (gzip.compress(idx(ENTRIES), mtime=0)[:-8] + bytes(8), "CRC"),
        (gzip.compress(b"no IDX file", mtime=0), "6e 6f 20 49"),
        (bytes([0, 0, 8, 65]) + b"\0\0\0\1" * 65 + b"!", "dimension"),  # NumPy stops at 64
    ],
)
def test_foreign_files(tmp_path, data, message):
    path = tmp_path / "foreign"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_empty_shape_beyond_numpy(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes([0, 0, 8, 4, *bytes(4), *[255] * 12]))
    with pytest.raises(ValueError, match="file"):
        read_idx(path)


@pytest.mark.parametrize("packed", [False, True])
def test_memory_is_bounded_by_header_and_file(tmp_path, packed):
    false_header = bytes([0, 0, 0x0E, 3, *[255] * 12]) + bytes(100)  # announces 2**99 bytes
    bomb = idx(ENTRIES) + bytes(2**26)  # announces 60 bytes, is 64 MiB
    for data in (false_header, bomb):
        path = tmp_path / "hostile"
        path.write_bytes(gzip.compress(data, 1) if packed else data)
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match="follow"):
                read_idx(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 8 * 2**20


def array_or_none(path: Path) -> np.ndarray | None:
    """Return what `read_idx` returns, or None for a ValueError that names the file; raise for others."""
    try:
        return read_idx(path)
    except ValueError as error:
        if str(path) not in str(error):
            raise AssertionError(f"the error does not name the file: {error}") from error
        return None


@given(data=st.data(), packed=st.booleans())
def test_random_corruption_gives_an_array_or_a_value_error(tmp_path_factory, data, packed):
    content = bytearray(gzip.compress(idx(ENTRIES)) if packed else idx(ENTRIES))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "corrupted"
    path.write_bytes(content)
    array = array_or_none(path)
    assert array is None or array.nbytes == ENTRIES.nbytes  # the dtype and the shape may differ


@given(content=st.binary(max_size=64), head=st.sampled_from([b"", b"\x1f\x8b\x08", b"\0\0\x08"]))
def test_random_bytes_give_an_array_or_a_value_error(tmp_path_factory, content, head):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(head + content)
    array = array_or_none(path)
    assert array is None or array.nbytes <= len(content)


def test_an_absent_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "absent")
