"""Index and provenance written by ranges are, byte for byte, those written from whole columns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.plan import SPLITS, copies_in_order
from shards.assembly import PLAN_COLUMNS, StoredDocuments, places_of, write_split_index
from shards.format import index_path, open_index, write_index
from shards.provenance import open_provenance, provenance_path, write_provenance
from tests.core.test_plan_ranges import plan_of, rows
from tests.shards.whole_index import write_whole_index


@settings(deadline=None, max_examples=30)
@given(
    drawn=rows,
    apart=st.booleans(),
    at_once=st.sampled_from([1, 5, 1000]),
    dtype=st.sampled_from(["<u2", "<i4"]),
    draw=st.data(),
)
def test_the_bytes_are_those_of_whole_columns(tmp_path_factory, drawn, apart, at_once, dtype, draw):
    root = tmp_path_factory.mktemp("assembly")
    plan, dtype = plan_of(root, drawn), np.dtype(dtype)
    for number, split in enumerate(SPLITS):
        documents = sum(row["split"] == number and row["copies"] > 0 for row in drawn)
        sizes = draw.draw(st.lists(st.integers(1, 2**31 - 1), min_size=documents, max_size=documents))
        cut = draw.draw(st.integers(0, documents))
        blocks = [np.array(block, np.int32) for block in (sizes[:cut], [], sizes[cut:])]
        stored = StoredDocuments(blocks, dtype=dtype)
        order = copies_in_order(
            plan, split, root / "order", columns=PLAN_COLUMNS, beside=stored.beside(), at_once=at_once
        )
        with order as copies:
            stored.finish()
            written = write_split_index(plan.header, root / "ranges", copies=copies, dtype=dtype, apart=apart)
            places = [
                place for two in places_of(copies, dtype) for place in zip(*map(np.ndarray.tolist, two), strict=True)
            ]
        entries = plan.entries(split)
        of_copies, pointers = write_whole_index(
            plan, number, root / "whole", entries=entries, stored_sizes=sizes, dtype=dtype, apart=apart
        )
        for path in (index_path, provenance_path):
            assert path(root / "ranges").read_bytes() == path(root / "whole").read_bytes()
        assert written == (len(of_copies), sum(of_copies))
        assert (stored.taken, stored.tokens) == (documents, sum(sizes))
        assert places == [(at, size * dtype.itemsize) for at, size in zip(pointers, of_copies, strict=True)]


def test_stored_documents_and_a_plan_of_others_are_not_put_together():
    stored = StoredDocuments([np.array([3, 4], np.int32), np.array([5], np.int32)], dtype="u2")
    assert [column.tolist() for column in stored.take(1)] == [[3], [0]]
    stored.take(1)
    with pytest.raises(CorruptData, match="the plan has 2 documents of a split, 3 are stored") as error:
        stored.finish()
    assert "work" in error.value.hint
    stored = StoredDocuments([np.array([3, 4], np.int32)], dtype="u2")
    with pytest.raises(CorruptData, match="the plan has 3 documents or more of a split, 2 are stored"):
        stored.take(3)


@pytest.mark.parametrize("given_rows", [0, 2, 4])
def test_files_of_more_or_fewer_rows_than_were_said_do_not_appear(tmp_path, given_rows):
    numbers = np.arange(given_rows)
    with pytest.raises(UsageError), open_index(tmp_path / "x.idx", dtype="u2", sequences=3) as index:
        index.add(numbers.astype(np.int32), numbers)
    columns = dict.fromkeys(("component", "file", "line", "copy", "bytes"), numbers)
    with pytest.raises(UsageError), open_provenance(tmp_path / "x.docs.arrow", rows=3, components=[], files={}) as rows:
        rows.add(**columns)
    assert list(tmp_path.iterdir()) == []


def test_an_index_written_in_pieces_has_every_bound_of_documents(tmp_path, monkeypatch):
    monkeypatch.setattr("shards.format._CHECK_ROWS", 4)
    sizes, pointers = np.arange(1, 11, dtype=np.int32), np.arange(0, 40, 4)
    with open_index(tmp_path / "pieces.idx", dtype="<i4", sequences=10) as index:
        for first in range(0, 10, 3):
            index.add(sizes[first : first + 3], pointers[first : first + 3])
    write_index(tmp_path / "whole.idx", dtype="<i4", sizes=sizes, pointers=pointers, doc_idx=np.arange(11))
    assert (tmp_path / "pieces.idx").read_bytes() == (tmp_path / "whole.idx").read_bytes()


def test_provenance_of_names_longer_than_a_page_is_the_same(tmp_path):
    names = {"components": ["a"], "files": {"a": ["ü" * 9000]}}
    columns = {name: np.arange(11) for name in ("component", "file", "line", "copy", "bytes")}
    with open_provenance(tmp_path / "pieces.arrow", rows=11, **names) as rows:
        for first in range(0, 11, 4):
            rows.add(**{name: values[first : first + 4] for name, values in columns.items()})
    write_provenance(tmp_path / "whole.arrow", **columns, **names)
    assert (tmp_path / "pieces.arrow").read_bytes() == (tmp_path / "whole.arrow").read_bytes()
