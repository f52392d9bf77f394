"""A damaged `.jsonl.zst` container is an error with file and place; every whole one is read, whoever wrote it."""

import gzip
import itertools
import shutil
import subprocess

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core import frames
from pile_toolkit.core.documents import Document, DocumentWriter, read_documents, read_lines, read_records
from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.frames import LONGEST_WINDOW_BYTES, TextBlocks
from tests.core.document_making import GOOD, frame

SKIPPABLE = (0x184D2A57).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"hello"
needs_zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="the zstd command is not installed")


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
    assert b"".join(TextBlocks(path)) == lines
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
        assert b"".join(TextBlocks(path)) == content


@needs_zstd
def test_the_zstd_command_reads_what_is_written(path):
    with DocumentWriter(path) as writer:
        writer.write("text", {"n": 1})
    subprocess.run(["zstd", "--test", "--quiet", str(path)], check=True)
    read = subprocess.run(["zstd", "--decompress", "--stdout", str(path)], capture_output=True, check=True).stdout
    assert read == b'{"text":"text","meta":{"n":1}}\n'
    listed = subprocess.run(["zstd", "--list", "-v", str(path)], capture_output=True, check=True, text=True).stdout
    assert "Check: XXH64" in listed


def flushed_frame(pieces: list[bytes]) -> bytes:
    """A frame with one block for each piece, as writers make it that flush after every line."""
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return b"".join(compressor.compress(piece) + compressor.flush(flush) for piece in pieces) + compressor.flush()


def test_a_file_cut_anywhere_is_corrupt_except_exactly_between_two_frames(path):
    """Between two frames nothing can tell: those bytes are a whole, shorter file. Before the first, something can."""
    parts = [
        frame(b'{"text":"one"}\n{"text":"two"}\n'),
        SKIPPABLE,
        frame(b'{"text":"three"}\n'),
        frame(b""),
        flushed_frame([b'{"text":"%d"}\n' % number for number in range(20)]),
        zstandard.ZstdCompressor().compress(b'{"text":"no checksum"}\n'),
        window_frame(b'{"text":"no size"}\n', 10),
    ]
    whole, starts = b"".join(parts), [0, *itertools.accumulate(map(len, parts))]
    lines = [0, 2, 2, 3, 3, 23, 24, 25]
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        seen = []
        if end and end in starts:
            assert len(list(read_records(path))) == lines[starts.index(end)]
            continue
        with pytest.raises(CorruptData) as error:
            seen.extend(read_records(path))
        frame_at = max(start for start in starts if start <= end)
        assert lines[starts.index(frame_at)] <= len(seen) <= 25
        assert f"{path} ends at byte {end:,}, " in error.value.message
        if end:
            assert f"inside the zstd frame that begins at byte {frame_at:,} (" in error.value.message
            assert f"({len(seen)} whole lines, " in error.value.message


def test_the_records_before_a_cut_come_before_the_error(path):
    path.write_bytes(frame(GOOD + b"\n") + frame(GOOD + b"\n")[:-1])
    seen = []
    with pytest.raises(CorruptData, match=rf"\(2 whole lines, {2 * len(GOOD) + 2} bytes of text before\)"):
        seen.extend(read_records(path))
    assert [record.line for record in seen] == [1, 2]


def test_blocks_before_a_cut_come_out_one_by_one(path):
    """Not by frames: a component of one frame, as this project writes them, would show nothing."""
    pieces = [GOOD + b"\n"] * 20
    whole = flushed_frame(pieces)
    counts = set()
    for end in range(10, len(whole)):
        path.write_bytes(whole[:end])
        seen = []
        with pytest.raises(CorruptData):
            seen.extend(read_lines(path))
        counts.add(len(seen))
    assert counts == set(range(21))


def test_a_frame_that_needs_a_dictionary_is_named_with_its_number(path):
    dictionary = zstandard.ZstdCompressionDict(GOOD * 50 + bytes(range(256)), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    trained = zstandard.train_dictionary(2000, [b'{"text":"%d","meta":{"n":%d}}' % (n, n * n) for n in range(2000)])
    path.write_bytes(frame(GOOD + b"\n") + zstandard.ZstdCompressor(dict_data=trained).compress(GOOD))
    begins = len(frame(GOOD + b"\n"))
    number = rf"needs a zstd dictionary, number {trained.dict_id():,}, for its frame at byte {begins}"
    with pytest.raises(CorruptData, match=rf"{number} \(1 whole lines, {len(GOOD) + 1} bytes of text before\)"):
        list(read_records(path))
    # Without its number in the header, the content is what does not fit.
    compressor = zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=True, write_dict_id=False)
    path.write_bytes(compressor.compress(GOOD * 3))
    with pytest.raises(CorruptData, match="is damaged at byte 0 or later"):
        list(read_records(path))


def test_a_wrong_content_size_in_the_header_is_found(path):
    whole = bytearray(zstandard.ZstdCompressor(write_content_size=True).compress(GOOD))
    # Single segment: magic, descriptor, then one byte of content size.
    assert whole[4] & 0xE0 == 0x20
    assert whole[5] == len(GOOD)
    for size in (0, len(GOOD) - 1, len(GOOD) + 1, 255):
        whole[5] = size
        path.write_bytes(whole)
        with pytest.raises(CorruptData, match=r"is damaged at byte 0 or later \(0 whole lines, 0 bytes"):
            list(read_records(path))


def test_a_wrong_checksum_is_found_at_the_blocks_it_covers(path):
    whole = bytearray(frame(GOOD) + frame(GOOD))
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CorruptData, match=rf"at byte {len(frame(GOOD))} or later .*checksum"):
        list(read_records(path))


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


@pytest.mark.parametrize(
    "content", [GOOD, gzip.compress(GOOD, mtime=0), b"\x00" * 100, b"\x28\xb5\x2f\xfe" + bytes(20), b"x", b"(x"]
)
def test_what_is_no_zstd_is_corrupt_from_its_first_byte(path, content):
    path.write_bytes(content)
    with pytest.raises(CorruptData, match=r"is damaged at byte 0 or later .* it is no zstd file"):
        list(read_records(path))


@pytest.mark.parametrize("junk", [b"\n", GOOD, b"\x00" * 9, b"P*N", b"Q*M\x19", b"(\xb5/\xfe"])
def test_what_follows_the_last_frame_is_damage_with_its_place(path, junk):
    path.write_bytes(frame(GOOD) + junk)
    before = rf"at byte {len(frame(GOOD))} or later \(0 whole lines, {len(GOOD)} bytes of text before\)"
    with pytest.raises(CorruptData, match=before + ".*something else that follows the last one"):
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


# Bombs: little in, very much out


def rle_frame(count: int, size: int = 1 << 17) -> bytes:
    """A frame by hand of `count` blocks that each repeat one byte `size` times."""
    header = (0xFD2FB528).to_bytes(4, "little") + bytes([0, 7 << 3])
    block = (size << 3 | 1 << 1).to_bytes(3, "little") + b"x"
    return header + block * (count - 1) + (size << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"x"


def test_no_more_than_a_megabyte_comes_out_at_once(path):
    path.write_bytes(rle_frame(2000))
    sizes = [len(block) for block in TextBlocks(path)]
    assert sum(sizes) == 2000 << 17
    assert max(sizes) <= 1 << 20


def test_a_decompression_bomb_is_corrupt_data_with_its_ratio(path, monkeypatch):
    """32 KiB of text for each byte, in a frame and in many; the limit counts the whole file and all that came out."""
    monkeypatch.setattr(frames, "BOMB_SLACK_BYTES", 1 << 22)
    for content in (rle_frame(100), rle_frame(1) * 100):
        path.write_bytes(content)
        ratio = (len(content) * 1000 + (1 << 22)) / len(content)
        with pytest.raises(CorruptData, match="looks like a decompression bomb at byte") as error:
            list(read_records(path))
        assert str(path) in error.value.message
        stated = int(error.value.message.split("bytes of text for each")[0].split(": ")[-1].replace(",", ""))
        assert ratio <= stated <= ratio + (1 << 20) / len(content) + 1


def test_as_much_as_the_limit_allows_is_read(path, monkeypatch):
    whole = rle_frame(100)
    path.write_bytes(whole)
    monkeypatch.setattr(frames, "BOMB_SLACK_BYTES", (100 << 17) - 1000 * len(whole))
    assert sum(map(len, TextBlocks(path))) == 100 << 17
    monkeypatch.setattr(frames, "BOMB_SLACK_BYTES", (100 << 17) - 1000 * len(whole) - 1)
    with pytest.raises(CorruptData, match="bomb"):
        list(TextBlocks(path))


def test_the_limits_are_those_that_are_stated():
    assert (frames.BOMB_SLACK_BYTES, frames.BOMB_RATIO) == (1 << 30, 1000)
