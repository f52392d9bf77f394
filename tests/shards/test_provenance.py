"""Each sequence's document, in a plain Arrow file that others can read and a damaged one that nobody trusts."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from shards.provenance import COLUMNS, read_provenance, write_provenance

FILES = {"arxiv": ["a.jsonl.zst"], "github": ["b.jsonl.zst", "ü.jsonl.zst"]}
NAMES = {"components": ["arxiv", "github"], "files": FILES}
ROWS = {
    "component": [0, 1, 1],
    "file": [0, 1, 0],
    "line": [1, 2**40, 3],
    "copy": [0, 65_535, 2],
    "bytes": [7, 0, 2**33],
}

row = st.fixed_dictionaries({name: st.integers(0, np.iinfo(kind).max) for name, kind in COLUMNS.items()})


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "train.docs.arrow"
    write_provenance(path, **ROWS, **NAMES)
    return path


@settings(deadline=None)
@given(rows=st.lists(row, max_size=20))
def test_what_was_written_is_what_pyarrow_and_we_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("provenance") / "x.docs.arrow"
    columns = {name: [values[name] for values in rows] for name in COLUMNS}
    write_provenance(path, **columns, **NAMES)
    ours = read_provenance(path)
    with pa.ipc.open_file(path) as reader:
        table = reader.read_all()
    assert {name: str(table.schema.field(name).type) for name in table.column_names} == COLUMNS
    for name in COLUMNS:
        assert getattr(ours, name).tolist() == table[name].to_pylist() == columns[name]


def test_rows_are_named_as_documents(path):
    provenance = read_provenance(path)
    assert provenance.source(0) == ("arxiv", "arxiv/a.jsonl.zst:1", 0, 7)
    assert provenance.source(1) == ("github", "github/ü.jsonl.zst:1099511627776", 65_535, 0)
    assert (len(provenance), provenance.components) == (3, ("arxiv", "github"))


def test_columns_lie_uncompressed_in_the_file_and_are_mapped(path):
    lines = read_provenance(path).line
    assert np.array(ROWS["line"], "<u8").tobytes() in path.read_bytes()
    assert not lines.flags.owndata
    assert not lines.flags.writeable


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"copy": [0, 65_536, 2]}, "column copy runs from 0 to 65,536, it holds 0 to 65,535"),
        ({"component": [0, 256, 0]}, "column component"),
        ({"line": [1, -2, 3]}, "column line runs from -2"),
        ({"bytes": [1, 2]}, "different lengths: .*2 bytes"),
        ({"bytes": np.array([1.0, 2.5, 3.0])}, "column bytes was given as float64"),
    ],
)
def test_values_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, changes, says):
    with pytest.raises(UsageError, match=says):
        write_provenance(tmp_path / "x.docs.arrow", **(ROWS | changes), **NAMES)
    assert list(tmp_path.iterdir()) == []


def test_a_file_cut_short_anywhere_is_refused(path):
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptData, match=r"train\.docs\.arrow"):
            read_provenance(path)


def test_a_column_that_claims_fewer_bytes_than_its_rows_need_is_refused(path):
    whole = path.read_bytes()
    # The batch lists where its buffers lie; three 64-bit values take 24 bytes.
    listed = struct.pack("<q", 24)
    assert whole.count(listed) >= 2
    path.write_bytes(whole.replace(listed, struct.pack("<q", 8)))
    with pytest.raises(CorruptData, match="Buffer #1 too small"):
        read_provenance(path)


def test_a_changed_byte_is_refused_or_changes_values_only(path):
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            provenance = read_provenance(path)
        except CorruptData:
            continue
        assert [len(getattr(provenance, name)) for name in COLUMNS] == [3] * 5


def arrow_file(path, *, batches=1, metadata=None, **changes):
    columns = {name: pa.array([0, 0], getattr(pa, kind)()) for name, kind in COLUMNS.items()} | changes
    names = {"components": '["arxiv"]', "files": '{"arxiv": ["a"]}'} if metadata is None else metadata
    table = pa.table({name: values for name, values in columns.items() if values is not None})
    table = table.replace_schema_metadata(names)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        for _ in range(batches):
            writer.write_table(table)
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"line": pa.array([1, 2], pa.int64())}, "column line is int64"),
        ({"line": pa.array([1, None], pa.uint64())}, "with 1 nulls"),
        ({"line": None}, "no provenance file"),
        ({"batches": 2}, "2 record batches"),
        ({"batches": 0}, "0 record batches"),
        ({"metadata": {}}, "no readable names of its components"),
        ({"metadata": {"components": '["arxiv"]', "files": '["a"]'}}, "no readable names of its files"),
        ({"metadata": {"components": "{", "files": "{}"}}, "no readable names of its components"),
    ],
)
def test_an_arrow_file_of_another_shape_is_refused(tmp_path, changes, says):
    path = arrow_file(tmp_path / "x.docs.arrow", **changes)
    with pytest.raises(CorruptData, match=says):
        read_provenance(path)


@pytest.mark.parametrize("changes", [{"component": [1, 0]}, {"file": [1, 0]}])
def test_a_row_without_a_name_is_named_by_its_number(tmp_path, changes):
    columns = {name: pa.array(values, getattr(pa, COLUMNS[name])()) for name, values in changes.items()}
    provenance = read_provenance(arrow_file(tmp_path / "x.docs.arrow", **columns))
    assert provenance.source(1).document == "arxiv/a:0"
    with pytest.raises(CorruptData, match="row 0 names component"):
        provenance.source(0)


def test_a_missing_file_says_who_writes_it(tmp_path):
    with pytest.raises(UsageError, match="do not say which documents") as error:
        read_provenance(tmp_path / "x.docs.arrow")
    assert "pile shards write" in error.value.hint
