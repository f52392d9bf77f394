"""A name appears only when its content is complete: through errors, kills and full disks."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core import files
from pile_toolkit.core.documents import DocumentWriter
from pile_toolkit.core.errors import OutOfSpace
from pile_toolkit.core.files import atomic_path, existing_parent, hash_file, naming_full_disks, remove, write_bytes
from pile_toolkit.core.manifest import StageKey, publish
from pile_toolkit.core.plan import PlanHeader, write_plan
from tests.making import REPOSITORY, small_disk

MIB = 1 << 20


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half_a_file(path):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def write_half_a_folder(path):
    with atomic_path(path) as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "file.txt").write_text("half")
        raise KeyboardInterrupt


def test_a_new_file_appears_whole_in_folders_that_were_not_there(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["file.txt"]


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_bytes(path, b"old")
    with pytest.raises(KeyboardInterrupt):
        write_half_a_file(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder"
    with pytest.raises(KeyboardInterrupt):
        write_half_a_folder(path)
    assert names(tmp_path) == []
    with atomic_path(path) as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "file.txt").write_text("whole")
    assert (path / "inner" / "file.txt").read_text() == "whole"
    assert names(tmp_path) == ["folder"]


def test_content_is_forced_to_the_disk_before_the_name_and_the_name_before_it_is_relied_on(tmp_path, monkeypatch):
    forced, fsync = [], os.fsync

    def spy(descriptor):
        fsync(descriptor)
        forced.append((os.readlink(f"/proc/self/fd/{descriptor}"), path.exists()))

    monkeypatch.setattr(os, "fsync", spy)
    path = tmp_path / "folder"
    with atomic_path(path) as temporary:
        temporary.mkdir()
        (temporary / "file.txt").write_text("whole")
    inner, folder, parent = forced
    assert inner == (str(temporary / "file.txt"), False)
    assert folder == (str(temporary), False)
    assert parent == (str(tmp_path), True)


WRITER = """
import sys
from pathlib import Path
from pile_toolkit.core.files import atomic_path

with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("half written", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_killed_writer_leaves_what_was_there_and_its_litter_goes_with_the_next_write(tmp_path, before):
    path = tmp_path / "fi[l]e.txt"
    if before is not None:
        path.write_bytes(before)
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"half written\n"
        writer.send_signal(signal.SIGKILL)
    assert (path.read_bytes() if path.exists() else None) == before
    litter = set(names(tmp_path)) - {path.name}
    assert len(litter) == 1
    assert litter.pop().startswith(".")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == [path.name]


def test_what_a_living_process_is_writing_is_not_litter(tmp_path):
    path = tmp_path / "file.txt"
    other = tmp_path / f".file.txt.{os.getppid()}.tmp"
    other.write_text("being written")
    neighbour = tmp_path / ".file.txt.idx.999999999.tmp"
    neighbour.write_text("of file.txt.idx, left by a dead process")
    write_bytes(path, b"new")
    assert other.exists()
    assert path.read_bytes() == b"new"


def write_documents(folder):
    rng = np.random.default_rng(1)
    with DocumentWriter(folder / "full.jsonl.zst") as writer:
        for _ in range(200):
            writer.write(rng.bytes(20_000).hex(), {})


def write_a_plan(folder):
    rng, rows = np.random.default_rng(1), 100_000
    columns = {name: np.zeros(rows, np.uint8) for name in ("component", "file", "split", "copies", "bytes", "ordinal")}
    hashes = [rng.bytes(16) for _ in range(rows)]
    pieces = {"piece_start": [None] * rows, "piece_end": [None] * rows}
    header = PlanHeader(seed=1, components=[])
    write_plan(folder / "plan.parquet", header, {**columns, **pieces, "line": np.arange(rows), "text_hash": hashes})


def write_a_folder(folder):
    with atomic_path(folder / "deep" / "folder") as temporary:
        temporary.mkdir()
        (temporary / "a").write_bytes(bytes(MIB // 2))
        (temporary / "b").write_bytes(bytes(MIB))


def publish_much(folder):
    key = StageKey(stage="s", format=1, parameters={"long": "x" * 2 * MIB})
    publish(folder, key, outputs=[], counts={}, started_at=0.0)


def write_an_array(folder):
    # numpy says of a short write how much of it fitted, and no error number.
    with atomic_path(folder / "array.npy") as temporary, temporary.open("wb") as stream:
        np.save(stream, np.zeros(MIB, np.uint64), allow_pickle=False)


@pytest.mark.parametrize("write", [write_documents, write_a_plan, write_a_folder, write_an_array, publish_much])
def test_a_full_disk_is_named_and_nothing_half_written_has_a_name(tmp_path, write):
    with small_disk(tmp_path / "disk", size_bytes=MIB) as disk:
        with pytest.raises(
            OutOfSpace,
            match=r"the disk is full while writing /.*: [\d,]+ bytes are free there, about [\d,]+ more are needed",
        ) as error:
            write(disk)
        assert "run the same command again" in error.value.hint
        # timings.json belongs to nothing without a manifest.
        left = [path for path in disk.rglob("*") if path.is_file() and path.name != "timings.json"]
        assert left == []
        # Room was made: the same call succeeds where it fits.
        subprocess.run(["mount", "-o", f"remount,size={16 * MIB}", str(disk)], check=True)
        write(disk)
        assert any(path.is_file() for path in disk.rglob("*"))


def test_a_disk_without_room_for_a_name_is_full_too(tmp_path):
    with small_disk(tmp_path / "disk", size_bytes=MIB) as disk:
        subprocess.run(["mount", "-o", "remount,nr_inodes=2", str(disk)], check=True)
        with pytest.raises(OutOfSpace):
            write_bytes(disk / "a" / "b" / "c", b"")


def test_other_errors_of_the_system_keep_their_names(tmp_path):
    with pytest.raises(IsADirectoryError), naming_full_disks(tmp_path):
        tmp_path.read_bytes()
    with pytest.raises(OutOfSpace, match=str(tmp_path)), naming_full_disks(tmp_path / "not" / "there"):
        raise OSError(errno.EDQUOT, "quota")


def test_the_nearest_folder_above_is_found(tmp_path):
    (tmp_path / "file").write_text("")
    assert existing_parent(tmp_path / "file" / "x") == tmp_path
    assert existing_parent(tmp_path) == tmp_path


def test_removing_a_link_leaves_what_it_points_at(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("kept")
    (tmp_path / "link").symlink_to(folder)
    remove(tmp_path / "link")
    assert names(tmp_path) == ["folder"]
    assert (folder / "file").read_text() == "kept"
    remove(folder)
    remove(folder)
    assert names(tmp_path) == []


def test_an_empty_file_has_the_published_hash(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert hash_file(tmp_path / "empty") == "99aa06d3014798d86001c324468d497f"


@given(data=st.binary(max_size=64), block=st.integers(1, 16))
def test_a_file_hashes_as_its_bytes_do_whatever_the_block(tmp_path_factory, data, block):
    path = tmp_path_factory.getbasetemp() / "hashed"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "HASH_BLOCK_BYTES", block)
        assert hash_file(path) == xxhash.xxh3_128_hexdigest(data)
