"""A table is read as it was written, the same columns are the same bytes, and what is no such table is named."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.tables import hash_columns, read_table, write_table

SCHEMA = pa.schema([("line", pa.uint64()), ("piece", pa.uint64()), ("text_hash", pa.binary(16))])


class Header(msgspec.Struct, frozen=True):
    seed: int
    names: list[str]


HEADER = Header(seed=2**63, names=["é", '"'])


def read(path: Path):
    return read_table(path, SCHEMA, Header, name="list", command="pile list")


rows = st.lists(
    st.tuples(st.integers(0, 2**64 - 1), st.none() | st.integers(0, 9), st.binary(min_size=16, max_size=16)), max_size=9
)


@given(rows)
def test_rows_are_read_as_they_were_written_however_they_are_given(tmp_path_factory, rows):
    path, columns = tmp_path_factory.getbasetemp() / "rows.parquet", list(zip(*rows, strict=True)) or [(), (), ()]
    write_table(path, SCHEMA, dict(zip(SCHEMA.names, columns, strict=True)), HEADER)
    header, table = read(path)
    assert header == HEADER
    assert table.schema == SCHEMA
    assert [tuple(row.values()) for row in table.to_pylist()] == rows
    halves = [[int.from_bytes(half, "little") for half in (digest[:8], digest[8:])] for digest in columns[2]]
    assert hash_columns(table).tolist() == halves
    as_lists = path.read_bytes()
    arrays = {
        "line": np.array(columns[0], dtype=np.uint64),
        "piece": table.column("piece"),
        "text_hash": np.array(halves, dtype=np.uint64).reshape(-1, 2),
    }
    write_table(path, SCHEMA, arrays, HEADER)
    assert path.read_bytes() == as_lists


@pytest.mark.parametrize("chunks", [[], [0], [3], [2, 0, 1], [1, 1, 1]])
def test_hashes_are_two_little_endian_numbers_a_row_however_they_are_chunked(chunks):
    hashes = [bytes(range(start, start + 16)) for start in range(sum(chunks))]
    ends = np.cumsum(chunks)
    pieces = [pa.array(hashes[end - size : end], pa.binary(16)) for size, end in zip(chunks, ends, strict=True)]
    table = pa.table({"text_hash": pa.chunked_array(pieces, pa.binary(16))})
    expected = [[int.from_bytes(half, "little") for half in (digest[:8], digest[8:])] for digest in hashes]
    assert hash_columns(table).tolist() == expected
    assert hash_columns(table.slice(1)).tolist() == expected[1:]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "list.parquet"
    write_table(path, SCHEMA, {"line": [1, 2], "piece": [None, 3], "text_hash": [bytes(16), b"x" * 16]}, HEADER)
    return path


def test_other_programs_read_the_file(path):
    assert pq.read_table(path).to_pydict() == {
        "line": [1, 2],
        "piece": [None, 3],
        "text_hash": [bytes(16), b"x" * 16],
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"PAR1",
        lambda whole: whole[:-1],
        lambda whole: whole[1:],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: bytes(len(whole)),
        lambda whole: whole.replace(b"seed", b"need"),
    ],
)
def test_what_is_no_such_file_is_corrupt_data_with_what_to_type(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptData, match=r"list\.parquet is not a list: ") as error:
        read(path)
    assert error.value.hint == f"rm {path} && pile list"


@pytest.mark.parametrize("change", [lambda table: table, lambda table: table.drop_columns("line")])
def test_a_table_without_the_header_or_a_column_is_corrupt_data(path, change):
    pq.write_table(change(pq.read_table(path)).replace_schema_metadata({"other": "{}"}), path)
    with pytest.raises(CorruptData, match=r"list\.parquet is not a list: "):
        read(path)
    write_table(path, SCHEMA.remove(0), {"piece": [1], "text_hash": [bytes(16)]}, HEADER)
    with pytest.raises(CorruptData, match="line"):
        read(path)


def test_a_table_that_is_not_there_is_made_by_the_named_command(tmp_path):
    with pytest.raises(UsageError, match="there is no list") as error:
        read(tmp_path / "list.parquet")
    assert error.value.hint == "pile list"


def test_what_may_not_be_read_is_not_called_corrupt(path):
    with tempfile.TemporaryDirectory() as folder:
        locked = Path(folder) / "list.parquet"
        locked.write_bytes(path.read_bytes())
        Path(folder).chmod(0o755)
        locked.chmod(0)
        with as_nobody(), pytest.raises(PermissionError):
            read(locked)


@contextlib.contextmanager
def as_nobody():
    """Without the rights of root, where the tests have them."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
