"""Arrays on the disk: built once by 32 processes that start together, mapped read-only, built again where damaged."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pile_toolkit.core.errors import CorruptData, UsageError
from shards.dataset import TokenDataset
from shards.format import data_path, index_path, write_index
from shards.index import BlendedIndex, SampleIndex
from shards.index.cache import LEAST_BYTES, cache_key, cached_arrays, read_arrays
from shards.index.report import index_shards

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [list(range(100 * number, 100 * number + size)) for number, size in enumerate([5, 3, 7, 2, 40, 1])]
REQUEST = {"sequence_length": 4, "samples": 30}
KEY = "0" * 32

# Processes that have everything loaded and wait for the end of a pipe, so that they all start at the same moment.
SCRIPT = """
import hashlib, json, os, sys
from shards.dataset import TokenDataset
from shards.index import SampleIndex, sample_index
from shards.index.arrays import load_kernels

load_kernels()
built, make = [], sample_index.neox_arrays
sample_index.neox_arrays = lambda *sizes, **request: built.append(1) or make(*sizes, **request)
dataset = TokenDataset(sys.argv[1])
gate, opened = os.pipe()
for _ in range(int(sys.argv[3])):
    if os.fork() == 0:
        os.close(opened)
        os.read(gate, 1)
        index = SampleIndex.build(dataset, sequence_length=64, samples=100_000, cache_dir=sys.argv[2])
        digest = hashlib.sha256(b"".join(array.tobytes() for array in index.arrays)).hexdigest()
        line = json.dumps([len(built), digest, str(index.cache_path)]) + chr(10)
        os.write(1, line.encode())
        os._exit(0)
print("ready", flush=True)
os.close(opened)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
"""


@pytest.fixture(scope="module")
def dataset(write_documents):
    return TokenDataset(write_documents(DOCUMENTS).prefix)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Shards of a million documents, in a file with holes: their index is worth keeping, and takes a while to build."""
    prefix = tmp_path_factory.mktemp("large") / "train"
    sizes = np.random.RandomState(0).randint(1, 20, size=1_000_000).astype(np.int32)
    ends = np.cumsum(sizes, dtype=np.int64)
    with data_path(prefix).open("wb") as file:
        file.truncate(2 * int(ends[-1]))
    write_index(index_path(prefix), dtype="u2", sizes=sizes, pointers=2 * (ends - sizes), doc_idx=[0, len(sizes)])
    return prefix


def start(prefix, cache_dir, *, processes=1):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(prefix), str(cache_dir), str(processes)],
        cwd=REPOSITORY,
        text=True,
        stdout=subprocess.PIPE,
    )


def run(prefix, cache_dir, *, processes=1):
    out, _ = start(prefix, cache_dir, processes=processes).communicate()
    ready, *answers = out.splitlines()
    assert (ready, len(answers)) == ("ready", processes)
    return [json.loads(answer) for answer in answers]


def test_32_processes_that_start_together_build_once(large, tmp_path):
    answers = run(large, tmp_path / "cache", processes=32)
    assert sum(built for built, _, _ in answers) == 1
    assert len({digest for _, digest, _ in answers}) == 1
    assert {path for _, _, path in answers} == {str(path) for path in (tmp_path / "cache").glob("*.index")}
    # Nothing else is left but the lock; nothing lies beside the data.
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".index", ".lock"]
    assert {path.name for path in large.parent.iterdir()} == {"train.bin", "train.idx"}


def test_a_killed_builder_leaves_nothing_that_matters(large, tmp_path):
    cache = tmp_path / "cache"
    # Killed with everything written and nothing renamed yet.
    dies = "import os\nfrom shards.index import cache\ncache.fsync_file = lambda path: os.kill(os.getpid(), 9)\n"
    subprocess.run([sys.executable, "-c", dies + SCRIPT, str(large), str(cache), "1"], cwd=REPOSITORY)
    assert not list(cache.glob("*.index"))
    assert len(list(cache.glob(".*.tmp"))) == 1
    [(built, digest, path)] = run(large, cache)
    assert built == 1
    assert [str(found) for found in cache.glob("*.index")] == [path]
    assert not list(cache.glob(".*.tmp"))
    [(built, again, _)] = run(large, cache)
    assert (built, again) == (0, digest)


def test_large_indexes_are_kept_in_the_users_cache_folder_and_others_in_memory(large, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    request = {"sequence_length": 8, "samples": 10}
    index = SampleIndex.build(TokenDataset(large), **request)
    assert index.cache_path.parent == tmp_path / "pile-toolkit" / "index"
    assert sum(array.nbytes for array in index.arrays) >= LEAST_BYTES
    small = SampleIndex.build(dataset, **request)
    assert small.cache_path is None
    assert len(list((tmp_path / "pile-toolkit" / "index").glob("*.index"))) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(large.with_suffix(".bin")))
    monkeypatch.setenv("HOME", str(large.with_suffix(".bin")))
    nowhere = SampleIndex.build(TokenDataset(large), **request)
    assert nowhere.cache_path is None
    assert all(map(np.array_equal, nowhere.arrays, index.arrays))


@pytest.mark.parametrize("order", ["neox", "megatron", "stateless"])
def test_arrays_from_the_cache_are_those_that_were_built_and_cannot_be_written(dataset, tmp_path, order):
    built = SampleIndex.build(dataset, **REQUEST, order=order)
    for _ in range(2):
        index = SampleIndex.build(dataset, **REQUEST, order=order, cache_dir=tmp_path)
        assert index.cache_path.parent == tmp_path
        for name, array in index.stored_arrays.items():
            assert array.dtype == built.stored_arrays[name].dtype
            assert np.array_equal(array, built.stored_arrays[name])
            assert not array.flags.writeable
            assert not built.stored_arrays[name].flags.writeable
        assert np.array_equal(index.batch(range(30)), built.batch(range(30)))
        assert index.reads(0, 30).tolist() == built.reads(0, 30).tolist()
    assert len(list(tmp_path.glob("*.index"))) == 1


def test_requests_share_a_file_exactly_where_their_arrays_are_the_same(dataset, tmp_path):
    def paths(order, *requests):
        return [
            SampleIndex.build(dataset, **REQUEST | request, order=order, cache_dir=tmp_path).cache_path
            for request in requests
        ]

    # 14 samples an epoch: 30 and 31 both need three.
    same = paths("neox", {}, {"samples": 31})
    assert same[0] == same[1]
    others = paths("neox", {"samples": 60}, {"seed": 2}, {"sequence_length": 5})
    apart = paths("megatron", {"samples": 30}, {"samples": 42})
    assert len({*same, *others, *apart}) == 6
    stateless = paths("stateless", {}, {"samples": 900}, {"seed": 2})
    assert len(set(stateless)) == 1


def damage_every_part(path):
    whole = path.read_bytes()
    yield "empty", b""
    yield "cut in the header", whole[:10]
    yield "cut in the arrays", whole[:-1]
    yield "another magic", b"X" + whole[1:]
    yield "no length", whole[:8] + b"\xff" * 8 + whole[16:]
    for place in (20, len(whole) // 2, len(whole) - 200, len(whole) - 1):
        yield f"byte {place}", whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


def test_a_damaged_file_is_noticed_and_built_again(dataset, tmp_path):
    index = SampleIndex.build(dataset, **REQUEST, cache_dir=tmp_path)
    expected, whole = index.batch(range(30)), index.cache_path.read_bytes()
    for what, content in damage_every_part(index.cache_path):
        index.cache_path.unlink()
        index.cache_path.write_bytes(content)
        again = SampleIndex.build(dataset, **REQUEST, cache_dir=tmp_path)
        assert np.array_equal(again.batch(range(30)), expected), what
        assert again.cache_path.read_bytes() == whole, what


def test_a_header_that_lies_leads_nowhere(tmp_path):
    _, path = cached_arrays(KEY, lambda: [np.arange(5, dtype=np.int32)], expected_bytes=20, cache_dir=tmp_path)
    whole = path.read_bytes()
    lies = (
        (b'"shape":[5]', b'"shape":[500]'),
        (b"<i4", b"|O"),
        (b'"shape":[5]', b'"shape":[-1]'),
        (KEY.encode(), b"1" * 32),
    )
    end = whole.index(b"}]}") + 3
    for true, false in lies:
        header = whole[16:end].replace(true, false, 1)
        # Its length stands at byte 8; what was behind it stays where it was, or moves.
        path.write_bytes(whole[:8] + struct.pack("<Q", len(header)) + header + whole[end:])
        with pytest.raises(CorruptData):
            read_arrays(path, KEY)


def test_a_read_only_cache_is_read_and_not_written(dataset, tmp_path):
    cache = tmp_path / "cache"
    index = SampleIndex.build(dataset, **REQUEST, cache_dir=cache)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in cache.iterdir())
    cache.chmod(0o555)
    try:
        assert SampleIndex.build(dataset, **REQUEST, cache_dir=cache).cache_path == index.cache_path
        assert sorted((path.name, path.stat().st_mtime_ns) for path in cache.iterdir()) == before
    finally:
        cache.chmod(0o755)
    # A file in the place of a folder cannot be written by anyone, the superuser included.
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="the index cannot be kept in"):
        SampleIndex.build(dataset, **REQUEST, cache_dir=tmp_path / "file")


def test_keys_tell_their_parts_apart():
    assert len({cache_key("ab", "c"), cache_key("a", "bc"), cache_key("abc"), cache_key("ab", "c", None)}) == 4


def test_the_report_says_what_was_built_and_where(dataset, tmp_path):
    one = index_shards(dataset.prefix, sequence_length=4, samples=30, cache_dir=tmp_path)
    index = SampleIndex.build(dataset, **REQUEST, cache_dir=tmp_path)
    [said] = one.indexes
    assert (one.hash, one.samples, said.available, said.epochs) == (index.hash, 30, len(index), 3)
    assert (said.tokens, said.cache) == (58, str(index.cache_path))
    assert {array.name: (array.dtype, array.shape) for array in said.arrays} == {
        name: (array.dtype.name, list(array.shape)) for name, array in index.arrays._asdict().items()
    }
    # One pass by default.
    assert index_shards(dataset.prefix, sequence_length=4, order="stateless").samples == 57 // 4
    blended = index_shards([dataset.prefix, dataset.prefix], weights=[3, 1], sequence_length=4, samples=30)
    assert [report.share for report in blended.indexes] == [0.75, 0.25]
    expected = BlendedIndex.build([dataset, dataset], weights=[3, 1], **REQUEST)
    assert blended.hash == expected.hash
    with pytest.raises(UsageError, match="2 prefixes need as many weights"):
        index_shards([dataset.prefix, dataset.prefix], sequence_length=4)


def test_where_there_is_no_room_for_the_file_nothing_of_it_is_left(large, tmp_path):
    limited = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
    script = limited + SCRIPT.replace(
        "for _ in range(int(sys.argv[3])):\n    if os.fork() == 0:", "if True:\n    if True:"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(large), str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert f"the index cannot be kept in {tmp_path}: File too large" in done.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
