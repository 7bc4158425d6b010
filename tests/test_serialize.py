"""Checkpoints: what goes in comes out, or a CheckpointError does."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import ArgumentError, CheckpointError, StorageError

pytest.importorskip("safetensors")

TABLE = np.arange(12.0).reshape(3, 4)
ARRAYS = {
    "C": TABLE, "F": np.asfortranarray(TABLE), "transposed": TABLE.T, "reversed": TABLE[::-1, ::-1],
    "strided": TABLE[::2, 1::2], "stride 0": np.broadcast_to(np.float32(3), (2, 3)), "0-d": np.array(2.5),
    "NumPy scalar": np.float32(1.5), "empty": np.zeros((0, 3)), "big-endian": TABLE.astype(">f8"),
    "big-endian integers": np.arange(5, dtype=">i4"), "half": np.ones(3, np.float16), "bool": np.array([True, False]),
    "bytes": np.arange(256, dtype=np.uint8), "complex": np.array([1 + 2j], np.complex64),
    "special": np.array([np.nan, np.inf, -0.0, 5e-324]), "read-only": mg.tensor(TABLE).data,
}  # fmt: skip


def same(a, b):
    a = np.asarray(a)
    a = a.astype(a.dtype.newbyteorder("="))
    return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_array_round_trip(tmp_path, array):
    mg.save(tmp_path / "f", array)
    assert same(array, mg.load(tmp_path / "f")[0])


def test_tree_round_trip(tmp_path):
    tree = {"model": {"W": mg.tensor(TABLE, requires_grad=True), "b": [1.5, None, "text", True, 3]},
            "pair": (np.ones(2), {}), "none": [], "Γ_f<2>": np.zeros(1), "": np.ones(1)}  # fmt: skip
    meta = {"epoch": 3, "nested": {"ü": [1, None, "\x00\n"]}, "float": 0.1}
    mg.save(str(tmp_path / "f"), tree, meta)
    got, got_meta = mg.load(str(tmp_path / "f"))
    assert got_meta == meta
    assert same(TABLE, got["model"]["W"])
    assert got["model"]["b"] == [1.5, None, "text", True, 3]
    assert isinstance(got["pair"], tuple)
    assert (got["pair"][1], got["none"]) == ({}, [])
    assert list(got) == list(tree)
    assert mg.load(str(tmp_path / "f"))[0]["model"]["W"].flags.writeable


def test_names_that_look_alike_stay_apart(tmp_path):
    tree = {"a/b": np.zeros(1), "a": {"b": np.ones(1)}, "a/b'": np.full(1, 2.0), "__metadata__": np.full(1, 3.0),
            "0" * 64: np.full(1, 4.0)}  # fmt: skip
    mg.save(tmp_path / "f", tree, meta="0" * 64)
    got, meta = mg.load(tmp_path / "f")
    assert [got["a/b"][0], got["a"]["b"][0], got["a/b'"][0], got["__metadata__"][0], got["0" * 64][0]] == [0, 1, 2, 3, 4]
    assert meta == "0" * 64


def test_other_readers_find_the_arrays(tmp_path):
    from safetensors.numpy import load_file

    mg.save(tmp_path / "f", {"model": {"W": TABLE.T}})
    np.testing.assert_array_equal(load_file(tmp_path / "f")["model/W"], TABLE.T)


SMALL = {"w": np.array([1.0, 2.0]), "k": [3, "text"], "e": np.zeros((0, 3), np.float32)}


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small"
    mg.save(path, SMALL, {"step": 7})
    return path


def test_truncated_at_any_byte(small):
    whole = small.read_bytes()
    for n in range(len(whole)):
        small.write_bytes(whole[:n])
        with pytest.raises(CheckpointError):
            mg.load(small)
    small.write_bytes(whole[:100])
    with pytest.raises(CheckpointError, match=r"truncated: the header says \d+ bytes, the file has 100"):
        mg.load(small)
    small.write_bytes(whole + b"x")
    with pytest.raises(CheckpointError):
        mg.load(small)


def test_any_flipped_bit_is_found(small):
    whole = bytearray(small.read_bytes())
    rng = np.random.default_rng(0)
    for k in range(len(whole)):
        for change in {1, 1 << int(rng.integers(1, 8)), 0x20 ^ 0x09, int(rng.integers(1, 256))}:
            damaged = whole.copy()
            damaged[k] ^= change
            small.write_bytes(damaged)
            with pytest.raises(CheckpointError):
                mg.load(small)


def test_a_damaged_array_is_named(small):
    damaged = bytearray(small.read_bytes())
    damaged[-3] ^= 1
    small.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"small: checksum mismatch in tensor 'w'; a whole file written by mg.save"):
        mg.load(small)


def safetensors_file(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(("data", "message"), [
    (b"", "truncated"), (b"hello", "truncated"), (b"\x93NUMPY" + b"\0" * 100, "truncated"),
    (b"PK\x03\x04" + b"\0" * 100, "truncated"), (b"\x80\x02" + b"}" * 100, "truncated"),
    ((2**63).to_bytes(8, "little") + b"{}", "truncated"), ((2**64 - 1).to_bytes(8, "little"), "truncated"),
    (safetensors_file({}), "not one that mg.save wrote"), (safetensors_file([]), "whole file"), (safetensors_file(b"{"), "whole file"),
    (safetensors_file(b"[" * 100_000), "whole file"), (safetensors_file({"__metadata__": {"minigrad": "{}"}}), "whole file"),
    (safetensors_file({"__metadata__": {"minigrad": json.dumps({"format": 7})}}), "format 7, this minigrad reads <= 1"),
    (safetensors_file({"__metadata__": {"minigrad": json.dumps({"format": "x"})}}), "whole file"),
    (safetensors_file({"a": {"dtype": "F64", "shape": [-1], "data_offsets": [0, 8]}}, b"\0" * 8), "whole file"),
    (safetensors_file({"__metadata__": {"minigrad": json.dumps({"format": 1, "sha256": {}, "tree": {}, "meta": 1})},
                       "a": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}}), "whole file"),
])  # fmt: skip
def test_a_foreign_file(tmp_path, data, message):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        mg.load(tmp_path / "f")


def test_no_file_and_no_permission_say_so(tmp_path):
    with pytest.raises(CheckpointError, match="missing: No such file"):
        mg.load(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="Is a directory"):
        mg.load(tmp_path)
    with pytest.raises(StorageError, match="No such file") as caught:
        mg.save(tmp_path / "missing" / "f", SMALL)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == 2
    (tmp_path / "directory").mkdir()
    with pytest.raises(StorageError, match="irectory"):
        mg.save(tmp_path / "directory", SMALL)
    with pytest.raises(StorageError, match="too long"):
        mg.save(tmp_path / ("n" * 300), SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["directory"]


@pytest.mark.parametrize(("tree", "meta", "message"), [
    ({1: np.ones(1)}, None, "string keys"), (object(), None, "not JSON serializable"),
    (np.ones(1), {"x": object()}, "not JSON serializable"), (np.array([object()]), None, "dtype object"),
    ({"a": np.array(["x"])}, None, "dtype <U1 at 'a'"),
])  # fmt: skip
def test_what_a_file_cannot_hold(tmp_path, tree, meta, message):
    with pytest.raises(ArgumentError, match=message):
        mg.save(tmp_path / "f", tree, meta)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file(small, python):
    """A file-size limit stands for the disk: the write fails half-way."""
    before = small.read_bytes()
    out = python(f"""
import resource, signal
import numpy as np, minigrad as mg
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    mg.save({str(small)!r}, np.zeros(1_000_000))
except mg.errors.StorageError as error:
    print(error)
""")
    assert "File too large; nothing was changed there" in out
    assert small.read_bytes() == before
    assert [p.name for p in small.parent.iterdir()] == ["small"]


WRITER = """
import sys, itertools
import numpy as np, minigrad as mg
print("ready", flush=True)
for k in itertools.count():
    mg.save(sys.argv[1], {"a": np.full(200_000, float(k)), "b": np.full(3, float(k))}, k)
"""


def test_killed_at_any_moment_the_file_is_whole(tmp_path):
    """And so is a file that somebody else writes at the same time."""
    path = tmp_path / "f"
    mg.save(path, {"a": np.full(200_000, -1.0), "b": np.full(3, -1.0)}, -1)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    for k in range(8):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, env=env)
        try:
            child.stdout.readline()
            time.sleep(0.005 + 0.017 * k)
            tree, meta = mg.load(path)
            assert np.all(tree["a"] == meta)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
            child.stdout.close()
        tree, meta = mg.load(path)
        assert np.all(tree["a"] == meta)
        assert np.all(tree["b"] == meta)
    assert meta >= 0


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        mg.save(tmp_path / "f", SMALL)
    finally:
        os.umask(old)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640
