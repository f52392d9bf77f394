"""Parts become one file and go while they do; killed anywhere, the same call makes the same bytes of what is left."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

import shards.joining
from pile_toolkit.core.errors import CorruptData
from shards.joining import Joiner, Part, write_copies


class Killed(BaseException):
    """Ends a join where a kill would, without any tidying up."""


def written(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, content in enumerate(contents):
        parts.append(Part(folder / f"{number}.bin", len(content)))
        parts[-1].path.write_bytes(content)
    return parts


def join_parts(parts, target):
    with contextlib.closing(Joiner(target)) as joiner:
        for part in parts:
            joiner.append(part)
        assert joiner.bytes == sum(part.bytes for part in parts)
        return joiner.finish()


def digest(contents):
    return xxhash.xxh3_128_hexdigest(b"".join(contents))


@settings(deadline=None, max_examples=30)
@given(contents=st.lists(st.binary(max_size=5000), max_size=6), block_bytes=st.sampled_from([7, 1000, 1 << 20]))
def test_joined_parts_are_their_bytes_in_order_and_are_gone(tmp_path_factory, contents, block_bytes):
    folder = tmp_path_factory.mktemp("join")
    parts = written(folder / "parts", contents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards.joining, "COPY_BLOCK_BYTES", block_bytes)
        assert join_parts(parts, folder / "train.bin") == digest(contents)
    assert (folder / "train.bin").read_bytes() == b"".join(contents)
    assert list((folder / "parts").iterdir()) == []


CONTENTS = [b"abc" * 700, b"", b"de" * 3, b"fghi" * 9000, b"k"]


def killed_at(call, name, monkeypatch):
    """The `call`-th use of os.`name` ends the process, half done where it writes."""
    real, calls = getattr(os, name), []

    def then_killed(*arguments, **options):
        calls.append(name)
        if len(calls) == call:
            if name == "copy_file_range":
                real(arguments[0], arguments[1], arguments[2] // 2)
            raise Killed
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, then_killed)


PLACES = [
    ("link", 1),
    *(("copy_file_range", n) for n in (1, 2, 3)),
    *((n, k) for n in ("fsync", "unlink") for k in (1, 2, 3, 4, 5)),
]


@pytest.mark.parametrize(("name", "call"), PLACES)
def test_a_join_killed_anywhere_is_completed_with_the_same_bytes(tmp_path, name, call):
    parts, target = written(tmp_path / "parts", CONTENTS), tmp_path / "train.bin"
    with pytest.MonkeyPatch.context() as patch:
        killed_at(call, name, patch)
        with pytest.raises(Killed):
            join_parts(parts, target)
    if not parts[0].path.exists():
        # What was begun and not finished may be anything.
        with target.open("ab") as file:
            file.write(b"junk" * 50_000)
    assert join_parts(parts, target) == digest(CONTENTS)
    assert target.read_bytes() == b"".join(CONTENTS)
    assert list((tmp_path / "parts").iterdir()) == []


def test_a_join_that_is_complete_is_only_hashed(tmp_path):
    parts = written(tmp_path / "parts", CONTENTS)
    assert join_parts(parts, tmp_path / "train.bin") == join_parts(parts, tmp_path / "train.bin") == digest(CONTENTS)


def test_while_parts_are_joined_the_disk_holds_the_result_and_one_part(tmp_path, monkeypatch):
    contents = [bytes([number]) * (300_000 + 4096 * number) for number in range(8)]
    parts, target = written(tmp_path / "parts", contents), tmp_path / "train.bin"
    real, peaks = os.fsync, []

    def look(descriptor):
        # Before a part is removed most is there. By device and number, because two names are one file.
        stats = {(s.st_dev, s.st_ino): s.st_size for s in (path.stat() for path in tmp_path.rglob("*.bin"))}
        peaks.append(sum(stats.values()))
        return real(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    join_parts(parts, target)
    assert len(peaks) >= len(parts)
    assert max(peaks) <= sum(map(len, contents)) + max(map(len, contents))


def test_the_first_part_becomes_the_target_without_a_copy(tmp_path):
    parts = written(tmp_path / "parts", [b"x" * 5000])
    before = parts[0].path.stat().st_ino
    join_parts(parts, tmp_path / "train.bin")
    assert (tmp_path / "train.bin").stat().st_ino == before


def test_a_file_system_without_links_gets_a_copy(tmp_path, monkeypatch):
    def refuse(*paths):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    parts = written(tmp_path / "parts", CONTENTS)
    assert join_parts(parts, tmp_path / "train.bin") == digest(CONTENTS)
    assert (tmp_path / "train.bin").read_bytes() == b"".join(CONTENTS)


def test_parts_on_another_file_system_are_joined_by_hand(tmp_path):
    # Temporary files of tests are in one of the two.
    folders = [folder for folder in map(Path, ("/dev/shm", "/var/tmp")) if folder.is_dir()]
    other = next((folder for folder in folders if folder.stat().st_dev != tmp_path.stat().st_dev), None)
    if other is None:
        pytest.skip("/dev/shm and /var/tmp are no second file system here, so the kernel copies everything")
    content = np.random.default_rng(1).bytes(3 << 20)
    far = other / f"{tmp_path.parent.name}-{tmp_path.name}"
    places = [tmp_path / "near.bin", Path(f"{far}-1.bin"), tmp_path / "near2.bin", Path(f"{far}-2.bin")]
    try:
        for place in places:
            place.write_bytes(content)
        # Near and far in turn: the hand copy must go on exactly where the kernel's ended.
        joined = join_parts([Part(place, len(content)) for place in places], tmp_path / "train.bin")
    finally:
        for place in places:
            place.unlink(missing_ok=True)
    assert joined == digest([content] * 4)
    assert (tmp_path / "train.bin").read_bytes() == 4 * content


@pytest.mark.parametrize("error", ["EXDEV", "ENOSYS", "EOPNOTSUPP"])
def test_where_the_system_refuses_halfway_the_rest_is_copied_by_hand(tmp_path, monkeypatch, error):
    import errno

    real, calls = os.copy_file_range, []

    def refuse(source, target, count):
        calls.append(count)
        if len(calls) % 2:
            return real(source, target, min(count, 1000))
        raise OSError(getattr(errno, error), "refused")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    parts = written(tmp_path / "parts", CONTENTS)
    assert join_parts(parts, tmp_path / "train.bin") == digest(CONTENTS)
    assert (tmp_path / "train.bin").read_bytes() == b"".join(CONTENTS)


def test_a_part_that_is_missing_or_was_changed_is_named_and_the_others_stay(tmp_path):
    for number, change in enumerate(("gone", "shorter", "longer")):
        parts = written(tmp_path / f".work-{number}", [b"abc", b"defg", b"hi"])
        path = parts[1].path
        path.unlink() if change == "gone" else path.write_bytes(b"xy" if change == "shorter" else b"xyzzy")
        with pytest.raises(CorruptData, match=r"1\.bin, a part of shards") as error:
            join_parts(parts, tmp_path / f"{number}.bin")
        assert error.value.hint == f"rm -r {tmp_path / f'.work-{number}'}, then again"
        assert parts[2].path.exists()


def test_a_target_that_lost_what_was_joined_is_not_completed(tmp_path):
    for number, content in enumerate((None, b"a")):
        parts, target = written(tmp_path / str(number), [b"abc", b"defg"]), tmp_path / f"{number}.bin"
        parts[0].path.unlink()
        if content is not None:
            target.write_bytes(content)
        with pytest.raises(CorruptData, match=rf"{number}\.bin"):
            join_parts(parts, target)
        assert parts[1].path.exists()


@settings(deadline=None, max_examples=30)
@given(
    contents=st.lists(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5), min_size=1, max_size=4),
    draw=st.data(),
    at_once=st.sampled_from([1, 3, 1 << 16]),
    mapped_bytes=st.sampled_from([0, 200_000, 1 << 26]),
)
def test_copies_are_written_out_in_the_order_asked_and_parts_stay(
    tmp_path_factory, contents, draw, at_once, mapped_bytes
):
    folder = tmp_path_factory.mktemp("copies")
    parts = written(folder / "parts", [b"".join(documents) for documents in contents])
    documents = [document for part in contents for document in part]
    starts = np.cumsum([0, *map(len, documents)])
    entries = draw.draw(st.lists(st.integers(0, len(documents) - 1), max_size=30))
    sizes_bytes = np.array([len(documents[entry]) for entry in entries], np.int64)
    pointers = starts[entries].astype(np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards.joining, "PLACES_AT_ONCE", at_once)
        patch.setattr(shards.joining, "MAPPED_BYTES", mapped_bytes)
        found = write_copies(
            parts,
            folder / "train.bin",
            places=[(pointers[first : first + 7], sizes_bytes[first : first + 7]) for first in range(0, 30, 7)],
        )
    expected = [documents[entry] for entry in entries]
    assert found == digest(expected)
    assert (folder / "train.bin").read_bytes() == b"".join(expected)
    assert all(part.path.exists() for part in parts)
