"""The `.idx` is gpt-neox's byte for byte, and a hostile one never leads outside the `.bin`."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shards.format
from pile_toolkit.core.errors import CorruptData, UsageError
from shards.format import read_index, token_dtype, write_index
from tests.shards.twin import CODES, plain_index, twin_bytes, twin_read

SIZES, POINTERS, DOCUMENTS = [3, 4, 3, 0], [0, 6, 0, 14], [0, 1, 2, 3, 4]
SIZES_AT, POINTERS_AT, DOCUMENTS_AT = 34, 34 + 16, 34 + 16 + 32


@pytest.fixture
def pair(tmp_path):
    """A function that writes an `.idx` of these bytes beside a `.bin` of seven uint16 ids."""

    def write(data=None, *, bin_bytes=14, **changes):
        fields = {"code": 8, "sizes": SIZES, "pointers": POINTERS, "doc_idx": DOCUMENTS} | changes
        path = tmp_path / "x.idx"
        path.write_bytes(twin_bytes(**fields) if data is None else data)
        path.with_suffix(".bin").write_bytes(bytes(range(bin_bytes)))
        return path

    return write


@settings(deadline=None)
@given(
    dtype=st.sampled_from(sorted(CODES)),
    rows=st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**62))),
    doc_idx=st.lists(st.integers(0, 2**62)),
)
def test_written_bytes_are_those_of_the_other_programs(tmp_path_factory, dtype, rows, doc_idx):
    path = tmp_path_factory.mktemp("format") / "x.idx"
    sizes, pointers = [row[0] for row in rows], [row[1] for row in rows]
    write_index(path, dtype=dtype, sizes=sizes, pointers=pointers, doc_idx=doc_idx)
    assert path.read_bytes() == twin_bytes(CODES[dtype], sizes, pointers, doc_idx)
    assert twin_read(path.read_bytes()) == (CODES[dtype], sizes, pointers, doc_idx)


@pytest.mark.parametrize("dtype", sorted(CODES))
def test_an_index_of_another_program_is_read_back_value_for_value(pair, dtype):
    itemsize = np.dtype(dtype).itemsize
    pointers = [0, 3 * itemsize, 0, 7 * itemsize]
    index = read_index(pair(code=CODES[dtype], pointers=pointers, bin_bytes=7 * itemsize))
    assert (index.dtype, len(index)) == (np.dtype(dtype), 4)
    assert (index.sizes.tolist(), index.pointers.tolist(), index.doc_idx.tolist()) == (SIZES, pointers, DOCUMENTS)
    assert (index.sizes.dtype, index.pointers.dtype, index.doc_idx.dtype) == (np.int32, np.int64, np.int64)


def test_reading_copies_nothing_and_cannot_write(pair):
    index = read_index(pair())
    for array in (index.sizes, index.pointers, index.doc_idx):
        assert not array.flags.owndata
        assert not array.flags.writeable


def test_an_index_without_sequences_is_legal(pair):
    assert len(read_index(pair(sizes=[], pointers=[], doc_idx=[0], bin_bytes=0))) == 0


def test_mode_bytes_of_multimodal_files_are_passed_over(pair):
    assert read_index(pair(twin_bytes(8, SIZES, POINTERS, DOCUMENTS) + bytes(4))).doc_idx.tolist() == DOCUMENTS


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(1, "u2"), (50_257, "u2"), (65_499, "u2"), (65_500, "i4"), (2**20, "i4")]
)
def test_two_bytes_an_id_are_enough_under_65500(vocab_size, dtype):
    assert token_dtype(vocab_size) == np.dtype(dtype)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"magic": b"TNTIDX\0\0\0"}, "does not start with"),
        ({"version": 2}, "version 2 at byte 9"),
        ({"code": 6}, "code 6 at byte 17.*two different float types"),
        ({"code": 7}, "code 7 at byte 17.*two different float types"),
        ({"code": 9}, "code 9 at byte 17"),
        ({"sequences": 2**64 - 1}, "18,446,744,073,709,551,615 sequences"),
        ({"sequences": 2**63 // 6}, "sequences and 5 document bounds"),
        ({"documents": 2**61}, "2,305,843,009,213,693,952 document bounds"),
        ({"sequences": 3}, "need 110"),
        ({"sizes": [3, -4, 3, 0]}, f"byte {SIZES_AT + 4} that sequence 1 has -4"),
        ({"sizes": [3, 5, 3, 0]}, f"byte {POINTERS_AT + 8} that sequence 1 starts at byte 6 .*not inside its 14"),
        ({"pointers": [0, 6, -2, 14]}, f"byte {POINTERS_AT + 16} that sequence 2 starts at byte -2"),
        ({"pointers": [0, 6, 1, 14]}, f"byte {POINTERS_AT + 16} that sequence 2 starts at byte 1 "),
        ({"pointers": [0, 6, 0, 16]}, f"byte {POINTERS_AT + 24} that sequence 3 starts at byte 16"),
        ({"pointers": [0, 6, 2**63 - 2, 14]}, "sequence 2 starts at byte 9,223,372,036,854,775,806"),
        ({"pointers": [-(2**63), 6, 0, 14]}, "sequence 0 starts at byte -9,223,372,036,854,775,808"),
        ({"doc_idx": [0, 1, 2, 3, 5]}, f"byte {DOCUMENTS_AT + 32} that a document starts at sequence 5 of 4"),
        ({"doc_idx": [-1, 1, 2, 3, 4]}, f"byte {DOCUMENTS_AT} that a document starts at sequence -1"),
        (
            {"doc_idx": [0, 1, 3, 2, 4]},
            f"byte {DOCUMENTS_AT + 24} that document 3 starts at sequence 2 and .* at 3: they must rise",
        ),
        ({"bin_bytes": 13}, "13 bytes, no multiple of the 2"),
        ({"bin_bytes": 12}, "sequence 1 starts at byte 6"),
    ],
)
def test_a_hostile_index_is_refused_with_its_byte_and_numbers(pair, changes, says):
    path = pair(**changes)
    with pytest.raises(CorruptData, match=says) as error:
        read_index(path)
    assert str(path.with_suffix("")) in error.value.message


def test_an_index_cut_short_anywhere_is_refused(pair):
    whole = twin_bytes(8, SIZES, POINTERS, DOCUMENTS)
    for length in range(len(whole)):
        with pytest.raises(CorruptData):
            read_index(pair(whole[:length]))


def read(path):
    """What `read_index` reads, None where it says that the data are corrupt."""
    try:
        index = read_index(path)
    except CorruptData as error:
        assert str(path.with_suffix("")) in error.message  # noqa: PT017 - whether it is raised is not known here
        return None
    code = CODES[index.dtype.str[1:]]
    return code, index.sizes.tolist(), index.pointers.tolist(), index.doc_idx.tolist()


def test_every_flipped_bit_is_read_as_the_twin_reads_it(pair):
    whole = twin_bytes(8, SIZES, POINTERS, DOCUMENTS)
    path, refused = pair(), 0
    for place in range(len(whole)):
        flipped = [whole[place] ^ 1 << bit for bit in range(8)]
        for value in range(256) if place == 17 else [*flipped, 127, 255]:
            data = bytearray(whole)
            data[place] = value
            path.write_bytes(data)
            found = read(path)
            assert found == plain_index(bytes(data), 14), (place, value)
            refused += found is None
    assert refused > 1000


int64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 20) | st.sampled_from([2**63 - 2, 2**62, -(2**63)])
int32 = st.integers(-(2**31), 2**31 - 1) | st.integers(-1, 9)
counts = st.none() | st.integers(0, 2**64 - 1) | st.integers(0, 9)


@settings(max_examples=400)
@given(
    code=st.integers(0, 9),
    rows=st.lists(st.tuples(int32, int64), max_size=5),
    doc_idx=st.lists(int64, max_size=5),
    sequences=counts,
    documents=counts,
    extra=st.integers(0, 9),
    bin_bytes=st.integers(0, 40),
)
def test_any_index_is_read_as_the_twin_reads_it(
    tmp_path_factory, code, rows, doc_idx, sequences, documents, extra, bin_bytes
):
    sizes, pointers = [row[0] for row in rows], [row[1] for row in rows]
    data = twin_bytes(code, sizes, pointers, doc_idx, sequences=sequences, documents=documents) + bytes(extra)
    path = tmp_path_factory.getbasetemp() / "any.idx"
    path.write_bytes(data)
    path.with_suffix(".bin").write_bytes(bytes(bin_bytes))
    assert read(path) == plain_index(data, bin_bytes)


@pytest.mark.parametrize(("at", "size"), [(18, 2**40), (26, 2**40), (18, 2**63), (26, 2**64 - 1)])
def test_huge_counts_are_refused_before_memory_is_asked_for(pair, at, size):
    data = bytearray(twin_bytes(8, SIZES, POINTERS, DOCUMENTS))
    data[at : at + 8] = struct.pack("<Q", size)
    path = pair(data)
    tracemalloc.start()
    with pytest.raises(CorruptData):
        read_index(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 1 << 20


def test_the_order_of_documents_is_checked_across_pieces(pair, monkeypatch):
    monkeypatch.setattr(shards.format, "_CHECK_ROWS", 2)
    assert read(pair())[3] == DOCUMENTS
    for place in range(1, 5):
        doc_idx = [*DOCUMENTS[:place], place - 2, *DOCUMENTS[place + 1 :]]
        assert read(pair(doc_idx=doc_idx)) is None, doc_idx


@pytest.mark.parametrize("suffix", [".idx", ".bin"])
def test_a_missing_half_is_named_with_what_a_prefix_is(pair, suffix):
    path = pair()
    path.with_suffix(suffix).unlink()
    with pytest.raises(UsageError, match=f"no file .*x{suffix}") as error:
        read_index(path)
    assert "prefix" in error.value.hint


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sizes": [1, 2**31]}, "0 to 2,147,483,647"),
        ({"sizes": [1, -1]}, "from -1"),
        ({"dtype": "f4"}, "cannot hold ids of type float32"),
        ({"dtype": "u4"}, "cannot hold ids of type uint32"),
        ({"sizes": [1]}, "1 sizes and 2 pointers"),
    ],
)
def test_what_the_format_cannot_hold_is_not_written(tmp_path, changes, says):
    fields = {"dtype": "u2", "sizes": [1, 1], "pointers": [0, 2], "doc_idx": [0, 1, 2]} | changes
    with pytest.raises(UsageError, match=says):
        write_index(tmp_path / "x.idx", **fields)
    assert list(tmp_path.iterdir()) == []
