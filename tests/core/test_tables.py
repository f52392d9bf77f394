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

from pile_toolkit.core.errors import CorruptData, TryAgain, UsageError
from pile_toolkit.core.tables import GROUP_ROWS, TableFile, arrow_array, hash_columns, integers, write_table

SCHEMA = pa.schema([("line", pa.uint64()), ("piece", pa.uint64()), ("text_hash", pa.binary(16))])


class Header(msgspec.Struct, frozen=True):
    seed: int
    names: list[str]


HEADER = Header(seed=2**63, names=["é", '"'])


def read(path: Path):
    return TableFile(path, SCHEMA, Header, name="list", command="pile list").read()


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


# Reading in part

SORTED = pa.schema([("component", pa.uint8()), ("file", pa.uint32()), ("line", pa.uint64())])


def sorted_table(path: Path, rows: list[tuple[int, int]], group_rows: int) -> TableFile:
    component, file = zip(*sorted(rows), strict=True) if rows else ((), ())
    columns = {"component": component, "file": file, "line": range(len(rows))}
    write_table(path, SORTED, columns, HEADER, group_rows=group_rows)
    return TableFile(path, SORTED, Header, name="list", command="pile list")


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40),
    group_rows=st.integers(1, 9),
    wanted=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    span=st.tuples(st.integers(0, 45), st.integers(0, 45)),
)
def test_a_part_is_what_the_whole_table_has_there(tmp_path_factory, rows, group_rows, wanted, span):
    table = sorted_table(tmp_path_factory.getbasetemp() / "part.parquet", rows, group_rows)
    header, whole = table.read()
    assert (header, len(table), whole.schema) == (HEADER, len(rows), SORTED)
    assert [column.num_chunks for column in whole.columns] == [1, 1, 1]
    assert [(row["component"], row["file"]) for row in whole.to_pylist()] == sorted(rows)
    assert table.column("line").to_pylist() == list(range(len(rows)))
    # One file's rows, and one component's.
    found = table.find(component=wanted[0], file=wanted[1])
    assert list(found) == [row for row, pair in enumerate(sorted(rows)) if pair == wanted]
    assert list(table.find(component=wanted[0])) == [
        row for row, pair in enumerate(sorted(rows)) if pair[0] == wanted[0]
    ]
    # Any rows, all columns or some in another order.
    some = range(*span)
    assert table.rows(some).to_pylist() == whole.slice(some.start, len(some)).to_pylist()
    assert table.rows(some, ["line", "file"]) == whole.slice(some.start, len(some)).select(["line", "file"])
    groups = list(table.groups(["line"]))
    assert [first for first, _ in groups] == list(range(0, len(rows), group_rows)) or not rows
    assert [line for _, group in groups for line in group.column("line").to_pylist()] == list(range(len(rows)))


def test_rows_lie_in_groups_of_a_fixed_size_whatever_the_library_would_choose(tmp_path):
    path = tmp_path / "list.parquet"
    lines = np.arange(GROUP_ROWS + 1, dtype=np.uint64)
    write_table(path, pa.schema([("line", pa.uint64())]), {"line": lines}, HEADER)
    described = pq.read_metadata(path)
    assert [described.row_group(number).num_rows for number in range(described.num_row_groups)] == [GROUP_ROWS, 1]


def test_groups_of_unknown_values_are_looked_into(tmp_path):
    table = sorted_table(tmp_path / "list.parquet", [(number // 10, 0) for number in range(40)], 7)
    with pq.ParquetWriter(tmp_path / "plain.parquet", SORTED, write_statistics=False, store_schema=False) as writer:
        writer.write_table(table.read()[1], row_group_size=7)
        writer.add_key_value_metadata({b"pile_toolkit.header": msgspec.json.encode(HEADER)})
    plain = TableFile(tmp_path / "plain.parquet", SORTED, Header, name="list", command="pile list")
    assert plain.find(component=2, file=0) == table.find(component=2, file=0) == range(20, 30)


def test_damage_in_the_middle_is_found_when_it_is_read(tmp_path):
    path = tmp_path / "list.parquet"
    table = sorted_table(path, [(number // 10, 0) for number in range(40)], 10)
    group = pq.read_metadata(path).row_group(2).column(2)
    start = group.dictionary_page_offset or group.data_page_offset
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(group.total_compressed_size))
    os.utime(path, ns=(0, 0))
    table = TableFile(path, SORTED, Header, name="list", command="pile list")
    assert table.rows(range(20)).column("line").to_pylist() == list(range(20))
    with pytest.raises(CorruptData, match=r"list\.parquet is not a list: ") as error:
        table.rows(range(15, 25))
    assert error.value.hint == f"rm {path} && pile list"


def test_a_table_that_was_replaced_between_two_readings_is_not_read_as_the_first(tmp_path):
    path = tmp_path / "list.parquet"
    table = sorted_table(path, [(0, 0), (0, 1)], 1)
    assert table.find(component=0, file=1) == range(1, 2)
    sorted_table(path, [(0, 1), (0, 2)], 1)
    with pytest.raises(TryAgain, match=r"list\.parquet was replaced while it was read"):
        table.rows(range(1, 2))


def test_no_file_stays_open_between_readings(tmp_path):
    table = sorted_table(tmp_path / "list.parquet", [(0, 0)], 1)
    table.read()
    opened = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if _is_open(number)]
    assert str(tmp_path / "list.parquet") not in opened


def _is_open(number: str) -> bool:
    # The folder that was listed is one of its own entries, and closed by now.
    return os.path.lexists(f"/proc/self/fd/{number}")


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint32", "int64", "uint64"])
@given(data=st.data())
def test_integers_go_there_and_back_as_the_library_has_them(kind, data):
    limits = np.iinfo(kind)
    values = np.array(data.draw(st.lists(st.integers(int(limits.min), int(limits.max)), max_size=9)), kind)
    first, stop = sorted(data.draw(st.tuples(st.integers(0, 9), st.integers(0, 9))))
    array = arrow_array(values[::-1])
    assert array.equals(pa.array(values[::-1]))
    part = array.slice(first, stop - first)
    assert integers(part).dtype == kind
    assert integers(part).tolist() == part.to_pylist()


def test_truth_values_and_other_types_are_written_as_what_they_are(tmp_path):
    schema = pa.schema([("yes", pa.bool_()), ("part", pa.float64()), ("few", pa.uint8())])
    columns = {"yes": np.array([True, False, True]), "part": np.array([0.5, 1, 2]), "few": np.array([1, 2, 255])}
    write_table(tmp_path / "t.parquet", schema, columns, HEADER)
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.to_pydict() == {"yes": [True, False, True], "part": [0.5, 1, 2], "few": [1, 2, 255]}
    with pytest.raises(pa.ArrowInvalid):
        write_table(tmp_path / "t.parquet", schema, columns | {"few": np.array([1, 2, 256])}, HEADER)
