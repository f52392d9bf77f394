"""Damage, lies and tricks inside archives: an error that names the archive, never fewer members nor shorter ones."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pile_toolkit.core.archives.reading import ARCHIVE_SUFFIXES, extract, read_members
from pile_toolkit.core.errors import CorruptData, UsageError
from tests.core.archive_making import COMPRESS, ZIP_METHODS, members_of, refused, tar_of, write, zip_of


def cut_anywhere(tmp_path, name, data):
    """Reads every proper prefix of an archive; returns the lengths at which nothing was noticed."""
    unnoticed, path = [], write(tmp_path, name, data)
    for length in reversed(range(len(data))):
        os.truncate(path, length)
        try:
            members_of(path)
        except CorruptData as error:
            if name in error.message:
                continue
        unnoticed.append(length)
    return unnoticed[::-1]


CUT = [("first.txt", b"0123456789" * 30), ("folder/second", b"x" * 512), ("third" * 30, b"last")]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_cut_anywhere_is_never_read_as_a_shorter_one(tmp_path, form):
    data = tar_of(CUT, form=form)
    content = len(data.rstrip(b"\0"))
    end = -(-content // 512) * 512 + 1024
    # Behind two blocks of zeros an archive is whole; how many more follow is its writer's habit.
    assert cut_anywhere(tmp_path, "a.tar", data[: end + 1025]) == [end, end + 512, end + 1024]


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"])
def test_a_compressed_tar_cut_anywhere_is_never_read_as_a_shorter_one(tmp_path, suffix):
    assert cut_anywhere(tmp_path, f"a{suffix}", COMPRESS[suffix](tar_of(CUT))) == []


@pytest.mark.parametrize("method", ZIP_METHODS)
def test_a_zip_cut_anywhere_is_never_read_as_a_shorter_one(tmp_path, method):
    assert cut_anywhere(tmp_path, "a.zip", zip_of(CUT, method=method)) == []


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"])
def test_damage_in_the_header_of_a_second_stream_is_not_taken_for_the_end(tmp_path, suffix):
    data = tar_of(CUT)
    first, second = COMPRESS[suffix](data), COMPRESS[suffix](bytes(512))
    for byte in range(4):
        damaged = bytearray(second)
        damaged[byte] ^= 0xFF
        refused(write(tmp_path, f"a{suffix}", first + bytes(damaged)))


def test_a_flipped_bit_in_a_header_of_a_tar_is_not_taken_for_the_end(tmp_path):
    data = tar_of(CUT, form=tarfile.GNU_FORMAT)
    path = write(tmp_path, "a.tar", data)
    expected = members_of(path)
    second = 512 + 512
    for at in range(second, second + 512):
        flipped = bytearray(data)
        flipped[at] ^= 1
        with path.open("r+b") as file:
            file.write(flipped)
        if at == second + 155:  # The last byte of the field of the checksum says nothing.
            assert members_of(path) == expected == CUT
        else:
            refused(path, "bad header at byte 1,024")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7), which=st.sampled_from([".tar.gz", ".tar.xz", ".zip"]))
def test_a_flipped_bit_never_gives_other_content_where_there_is_a_checksum(tmp_path, at, bit, which):
    data = bytearray(zip_of(CUT) if which == ".zip" else COMPRESS[which](tar_of(CUT)))
    data[at % len(data)] ^= 1 << bit
    with contextlib.suppress(CorruptData):
        read = members_of(write(tmp_path, f"a{which}", bytes(data)))
        # A zip has no checksum of its names; a changed one must be changed in both of its places to pass.
        assert read == CUT


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_headers_of_any_nonsense_end_in_corrupt_data_or_in_members(tmp_path, data, form):
    header = bytearray(tar_of([("x" * data.draw(st.integers(1, 120)), b"12345")], form=form)[:1536])
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.sampled_from([0, 100, 124, 136, 148, 156, 157, 257, 263, 345, 386, 482, 483, 512, 520, 600]))
        piece = data.draw(
            st.sampled_from(
                [b"\x80" + b"\xff" * 11, b"\xff" * 12, b"7" * 11, b"-1", b"S", b"L", b"x", b"g", b"30 size=-5\n", b"\0"]
            )
        )
        header[at : at + len(piece)] = piece
    for block in range(0, len(header), 512):
        head = header[block : block + 512]
        header[block + 148 : block + 156] = b"%06o\0 " % (sum(head[:148]) + sum(head[156:512]) + 8 * 32)
    with contextlib.suppress(CorruptData):
        members_of(write(tmp_path, "a.tar", bytes(header) + bytes(2048)), member_limit=100)


@pytest.mark.parametrize("size", [-512, -1, 1 << 21, 1 << 62])
def test_a_header_that_claims_an_absurd_size_neither_fills_the_memory_nor_hangs(tmp_path, size):
    for kind in (tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE):
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, size
        head = info.tobuf(tarfile.GNU_FORMAT)
        refused(write(tmp_path, "a.tar", head + bytes(10240)))


def test_a_size_in_a_pax_record_that_is_negative_is_refused(tmp_path):
    data = tar_of([("x", {"pax_headers": {"size": "-512"}}), ("y", b"1")])
    refused(write(tmp_path, "a.tar", data))


def test_a_chain_of_headers_without_end_is_no_recursion_error(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 512
    refused(write(tmp_path, "a.tar", (info.tobuf(tarfile.GNU_FORMAT) + b"name".ljust(512, b"\0")) * 2000), "bad header")


def test_what_follows_the_end_of_a_tar_is_not_dropped_in_silence(tmp_path):
    data = tar_of([("x", b"1")])
    refused(write(tmp_path, "a.tar", data + tar_of([("y", b"2")])), "data behind its end mark, another archive perhaps")
    refused(write(tmp_path, "a.tgz", gzip.compress(data) + b"more"), "damaged at byte")


@pytest.mark.parametrize("content", [b"", b"PK", b"\0" * 10, b"\0" * 1024, b"no archive at all" * 100])
def test_what_is_no_archive_at_all_is_refused(tmp_path, content):
    for suffix in ARCHIVE_SUFFIXES:
        if suffix == ".tar" and content == b"\0" * 1024:
            assert members_of(write(tmp_path, "empty.tar", content)) == []
        else:
            refused(write(tmp_path, f"a{suffix}", content))


def local_and_central(data, *, where, value):
    """A zip of one member with one field changed in both of its headers: (format, offset local, offset central)."""
    form, local, central = where
    changed = bytearray(data)
    struct.pack_into(form, changed, local, value)
    struct.pack_into(form, changed, data.index(b"PK\x01\x02") + central, value)
    return bytes(changed)


FLAGS, METHOD, CRC, SIZE = ("<H", 6, 8), ("<H", 8, 10), ("<I", 14, 16), ("<I", 22, 24)


def test_encrypted_members_and_unknown_methods_are_refused(tmp_path):
    data = zip_of([("x", b"1" * 100)])
    refused(write(tmp_path, "a.zip", local_and_central(data, where=FLAGS, value=1)), "member 'x': it is encrypted")
    for method in (1, 9, 12, 14, 93, 99):
        changed = local_and_central(data, where=METHOD, value=method)
        refused(write(tmp_path, "a.zip", changed), "member 'x'")
    lzma_zip = zip_of([("x", b"1" * 100)], method=zipfile.ZIP_LZMA)
    refused(write(tmp_path, "a.zip", lzma_zip), r"compression method 14 \(lzma\) is not read here")


@pytest.mark.parametrize("method", ZIP_METHODS)
@pytest.mark.parametrize("claimed", [0, 1, 99, 101, 10**6])
def test_a_size_that_lies_is_found_even_with_a_fitting_checksum(tmp_path, method, claimed):
    content = b"0123456789" * 10
    data = zip_of([("x", content)], method=method)
    # The checksum of what a reader that believes the header would hand out.
    data = local_and_central(data, where=CRC, value=zlib.crc32(content[:claimed]))
    lie = local_and_central(data, where=SIZE, value=claimed)
    refused(write(tmp_path, "a.zip", lie), r"goes on behind the|ends after 100 of")


def test_a_checksum_that_does_not_fit_is_found(tmp_path):
    data = local_and_central(zip_of([("x", b"1")]), where=CRC, value=7)
    refused(write(tmp_path, "a.zip", data), "checksum")


def test_an_entry_that_swallows_those_behind_it_is_found(tmp_path):
    # As the length of the comment of the first entry, which zipfile reads as far as there is something.
    changed = bytearray(zip_of([("a", b"1"), ("b", b"2"), ("c", b"3")]))
    changed[changed.index(b"PK\x01\x02") + 33] = 1
    refused(write(tmp_path, "a.zip", bytes(changed)), "names 1 members and counts 3")


def test_zips_with_comments_and_with_large_records_are_read_and_a_cut_comment_is_found(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = b"made by hand"
        with archive.open("x", "w", force_zip64=True) as member:
            member.write(b"1")
    path = write(tmp_path, "a.zip", buffer.getvalue())
    assert members_of(path) == [("x", b"1")]
    refused(write(tmp_path, "a.zip", buffer.getvalue()[:-3]), "its comment is cut short")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(66_000):
            archive.writestr(f"{number}", b"")
    assert sum(1 for _ in read_members(write(tmp_path, "a.zip", buffer.getvalue()))) == 66_000


def test_members_that_overlap_are_refused(tmp_path):
    data = zip_of([("a", b"1" * 1000), ("b", b"2" * 1000)], method=zipfile.ZIP_STORED)
    second = data.index(b"PK\x03\x04", 1)
    for target in (0, second - 5):
        changed = bytearray(data)
        struct.pack_into("<I", changed, data.rindex(b"PK\x01\x02") + 42, target)
        refused(write(tmp_path, "a.zip", bytes(changed)))
    # One stream of bytes under two names, as zip bombs have it.
    one = zip_of([("a", b"1" * 1000)])
    directory = one.index(b"PK\x01\x02")
    entry = one[directory : one.index(b"PK\x05\x06")]
    twice = bytearray(one[:directory] + entry + entry.replace(b"a", b"b") + one[one.index(b"PK\x05\x06") :])
    end = twice.index(b"PK\x05\x06")
    struct.pack_into("<HHI", twice, end + 8, 2, 2, 2 * len(entry))
    refused(write(tmp_path, "a.zip", bytes(twice)), "overlaps|contradict")


def test_a_member_whose_bytes_are_another_member_is_refused(tmp_path):
    # Both entries are sound in themselves: so one kernel of compressed bytes is counted many times.
    inner = zip_of([("b", b"2" * 100)], method=zipfile.ZIP_STORED)
    split = inner.index(b"PK\x01\x02")
    outer = zip_of([("a", inner[:split])], method=zipfile.ZIP_STORED)
    directory, end = outer.rindex(b"PK\x01\x02"), outer.index(b"PK\x05\x06")
    entry = bytearray(inner[split : inner.index(b"PK\x05\x06")])
    struct.pack_into("<I", entry, 42, outer.index(b"PK\x03\x04", 1))
    both = bytearray(outer[:end] + bytes(entry) + outer[end:])
    struct.pack_into("<HHI", both, end + len(entry) + 8, 2, 2, end - directory + len(entry))
    refused(write(tmp_path, "a.zip", bytes(both)), "member 'a': it overlaps with what follows it")


def test_a_zip_that_holds_itself_or_points_before_itself_ends(tmp_path):
    # A quine's member is a file like any other: nothing here unpacks what it unpacked.
    inner = zip_of([("x", b"1")])
    assert members_of(write(tmp_path, "a.zip", zip_of([("a.zip", inner)]))) == [("a.zip", inner)]
    changed = bytearray(inner)
    struct.pack_into("<I", changed, inner.index(b"PK\x05\x06") + 16, 0xFFFFFFF0)
    refused(write(tmp_path, "a.zip", bytes(changed)))


def test_nothing_is_unpacked_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "file").symlink_to(tmp_path / "elsewhere" / "kept")
    with pytest.raises(UsageError, match="sub is a link"):
        extract(write(tmp_path, "a.tar", tar_of([("sub/x", b"1")])), tmp_path / "out")
    # A link in the file's own place is replaced, not followed.
    extract(write(tmp_path, "a.tar", tar_of([("file", b"1")])), tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (tmp_path / "out" / "file").is_symlink()
