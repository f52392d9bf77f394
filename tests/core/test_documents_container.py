"""A damaged `.jsonl.zst` container is an error with file and place; every whole one is read, whoever wrote it."""

import gzip
import itertools
import shutil
import subprocess

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.documents import (
    LONGEST_WINDOW_BYTES,
    Document,
    DocumentWriter,
    read_blocks,
    read_documents,
    read_records,
)
from pile_toolkit.core.errors import CorruptData

GOOD = b'{"text":"good","meta":{"n":1}}'
SKIPPABLE = (0x184D2A57).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"hello"
needs_zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="the zstd command is not installed")


def frame(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def window_frame(data: bytes, window_log: int, mantissa: int = 0) -> bytes:
    """A frame by hand (RFC 8878, 3.1.1): no content size, so that the window in its header is what a reader needs."""
    header = (0xFD2FB528).to_bytes(4, "little") + bytes([0, (window_log - 10) << 3 | mantissa])
    last_raw_block = (len(data) << 3 | 1).to_bytes(3, "little")
    return header + last_raw_block + data


@pytest.fixture
def path(tmp_path):
    return tmp_path / "00.jsonl.zst"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("container") / "00.jsonl.zst"


@pytest.mark.parametrize("cuts", [[], [9], [0, 9, 9], [31], [32], [33, 50], range(1, 70)])
@pytest.mark.parametrize("between", [b"", SKIPPABLE, frame(b""), SKIPPABLE + SKIPPABLE])
def test_frames_may_be_cut_anywhere_with_others_between(path, cuts, between):
    lines = GOOD + '\n{"text":"zwölf\u2028€"}\n'.encode() + GOOD + b"\n"
    ends = [0, *cuts, len(lines)]
    path.write_bytes(between + b"".join(frame(lines[start:end]) + between for start, end in itertools.pairwise(ends)))
    assert b"".join(read_blocks(path)) == lines
    assert list(read_records(path)) == [
        Document(1, "good", b'{"n":1}'),
        Document(2, "zwölf\u2028€", b"{}"),
        Document(3, "good", b'{"n":1}'),
    ]


@pytest.mark.parametrize("window_log", [10, 27, 31])
def test_windows_up_to_the_longest_are_read(path, window_log):
    path.write_bytes(window_frame(GOOD, window_log))
    assert list(read_documents(path)) == [Document(1, "good", b'{"n":1}')]
    if shutil.which("zstd"):
        command = ["zstd", "--decompress", "--stdout", "--long=31", str(path)]
        assert subprocess.run(command, capture_output=True, check=True).stdout == GOOD


def test_a_longer_window_than_any_tool_writes_is_refused(path):
    assert LONGEST_WINDOW_BYTES == 1 << 31
    path.write_bytes(window_frame(GOOD, 31, mantissa=1))
    with pytest.raises(CorruptData, match="too much memory"):
        list(read_records(path))


@needs_zstd
@pytest.mark.parametrize("options", [["-19"], ["--fast=5"], ["--long=27"], ["--no-check"], ["--rsyncable", "-T2"]])
def test_what_the_zstd_command_writes_is_read(path, options):
    lines = b"".join(b'{"text":"%d %s"}\n' % (n, b"long " * 2000) for n in range(200))
    for content in (lines, b""):
        written = subprocess.run(["zstd", "--stdout", *options], input=content, capture_output=True, check=True).stdout
        path.write_bytes(written)
        assert b"".join(read_blocks(path)) == content


@needs_zstd
def test_the_zstd_command_reads_what_is_written(path):
    with DocumentWriter(path) as writer:
        writer.write("text", {"n": 1})
    subprocess.run(["zstd", "--test", "--quiet", str(path)], check=True)
    read = subprocess.run(["zstd", "--decompress", "--stdout", str(path)], capture_output=True, check=True).stdout
    assert read == b'{"text":"text","meta":{"n":1}}\n'
    listed = subprocess.run(["zstd", "--list", "-v", str(path)], capture_output=True, check=True, text=True).stdout
    assert "Check: XXH64" in listed


def test_a_file_cut_anywhere_is_corrupt_except_exactly_between_two_frames(path):
    """Between two frames nothing can tell: those bytes are a whole, shorter file. Before the first, something can."""
    parts = [frame(b'{"text":"one"}\n{"text":"two"}\n'), SKIPPABLE, frame(b'{"text":"three"}\n'), frame(b"")]
    whole = b"".join(parts)
    between = {sum(map(len, parts[:count])): 2 if count < 3 else 3 for count in range(1, 5)}
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        if end in between:
            assert len(list(read_records(path))) == between[end]
            continue
        with pytest.raises(CorruptData) as error:
            list(read_records(path))
        assert f"{path} ends " in error.value.message
        assert f"at byte {end:,}" in error.value.message


def test_the_records_before_a_cut_come_before_the_error(path):
    path.write_bytes(frame(GOOD + b"\n") + frame(GOOD + b"\n")[:-1])
    seen = []
    with pytest.raises(
        CorruptData, match=rf"ends inside a zstd frame .* \({2 * len(GOOD) + 2} bytes of text read before"
    ):
        seen.extend(read_records(path))
    assert [record.line for record in seen] == [1, 2]


def test_any_flipped_bit_is_found_or_changes_nothing(path):
    """Nothing: a few bits of the header only say how much memory to have ready."""
    with DocumentWriter(path) as writer:
        for number in range(5):
            writer.write(f"hello world {number} " * 9, {"n": number})
    whole, right = path.read_bytes(), list(read_records(path))
    found = 0
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert list(read_records(path)) == right
        except CorruptData as error:
            found += 1
            assert str(path) in error.message  # noqa: PT017 - whether it is raised is not known here
            assert " byte " in error.message  # noqa: PT017
    assert found > 0.97 * 8 * len(whole)


@pytest.mark.parametrize("content", [GOOD, gzip.compress(GOOD), b"\x00" * 100, b"\x28\xb5\x2f\xfe" + bytes(20), b"("])
def test_what_is_no_zstd_is_corrupt_from_its_first_byte(path, content):
    path.write_bytes(content)
    with pytest.raises(CorruptData, match=r"is damaged at byte 0 or later|ends inside a zstd frame at byte 1 "):
        list(read_records(path))


@pytest.mark.parametrize("junk", [b"\n", GOOD, b"\x00" * 9])
def test_what_follows_the_last_frame_is_damage_with_its_place(path, junk):
    path.write_bytes(frame(GOOD) + junk)
    with pytest.raises(CorruptData, match=rf"at byte {len(frame(GOOD))} or later \({len(GOOD)} bytes of text before\)"):
        list(read_records(path))


@given(damage=st.binary(max_size=40), start=st.integers(0, 60), end=st.integers(0, 60))
def test_whatever_is_in_a_file_ends_in_records_or_corrupt_data(scratch, damage, start, end):
    whole = frame(GOOD + b"\n") + frame(GOOD)
    scratch.write_bytes(whole[:start] + damage + whole[end:])
    try:
        found = list(read_records(scratch))
    except CorruptData:
        return
    assert [record.line for record in found] == list(range(1, len(found) + 1))
