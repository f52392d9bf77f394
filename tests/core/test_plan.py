"""The plan says which document, split and copies; iterations give exactly those, in an order of seed and text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from pile_toolkit.core.components import read_component
from pile_toolkit.core.errors import CorruptData, TryAgain, UsageError
from pile_toolkit.core.plan import (
    MOVED_FILE,
    PLAN_FILE,
    SPLITS,
    Entries,
    Plan,
    PlanComponent,
    PlanHeader,
    iter_texts,
    read_file_rows,
    schema,
    write_moved,
    write_plan,
    write_plan_parts,
)
from pile_toolkit.core.tables import write_table
from tests.core.separation_twin import in_order
from tests.core.test_plan_copies import as_tuples, plain_copies
from tests.making import make_plan, plan_rows, write_component

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {
    "arxiv": {"a.jsonl.zst": ["eins", "zwei", "drei"], "b.jsonl.zst": ["vier", "eins"]},
    "github": {"c.jsonl.zst": ["fünf", "sechs\n", "eins", ""]},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    for slug, files in TEXTS.items():
        write_component(root, slug, files)
    return root


def uneven(row):
    """Copies 1, 2, 0, 1, 2, 0 ... by line, and the second line of every file held out."""
    row["copies"] = (1, 2, 0)[(row["line"] - 1) % 3]
    if row["line"] == 2:
        row.update(split=SPLITS.index("val"), copies=1)


@pytest.fixture
def plan(root):
    return make_plan(root, ["arxiv", "github"], change=uneven)


def test_a_plan_is_read_as_it_was_written(root, plan):
    assert plan.header == PlanHeader(
        seed=1234,
        components=[
            PlanComponent(slug="arxiv", files=["a.jsonl.zst", "b.jsonl.zst"]),
            PlanComponent(slug="github", files=["c.jsonl.zst"]),
        ],
    )
    assert plan.table.schema == schema()
    expected = [row for number, slug in enumerate(TEXTS) for row in plan_rows(read_component(root, slug), number)]
    for row in expected:
        uneven(row)
    assert [{**row, "ordinal": 0} for row in plan.table.to_pylist()] == expected
    assert plan.table.column("ordinal").to_pylist() == [0, 0, 0, 0, 1, 0, 0, 2, 0]
    assert plan.column("copies").tolist() == [1, 1, 0, 1, 1, 1, 1, 0, 1]
    assert [plan.document_id(row) for row in (0, 4, 8)] == [
        "arxiv/a.jsonl.zst:1",
        "arxiv/b.jsonl.zst:2",
        "github/c.jsonl.zst:4",
    ]


def test_the_same_plan_is_the_same_bytes(tmp_path, root, plan):
    columns = plan.table.to_pydict()
    write_plan(tmp_path / "again.parquet", plan.header, columns)
    assert (tmp_path / "again.parquet").read_bytes() == (root / "plan" / PLAN_FILE).read_bytes()
    write_plan(tmp_path / "arrays.parquet", plan.header, {**columns, "line": plan.column("line")})
    assert (tmp_path / "arrays.parquet").read_bytes() == (root / "plan" / PLAN_FILE).read_bytes()


def test_rows_of_a_file_are_those_with_copies(plan):
    assert plan.rows_of(0, 0).tolist() == [0, 1]
    assert plan.rows_of(0, 0, "train").tolist() == [0]
    assert plan.rows_of(0, 0, "val").tolist() == [1]
    assert plan.rows_of(0, 0, "test").tolist() == []
    assert plan.rows_of(1, 0).tolist() == [5, 6, 8]
    assert plan.rows_of(0, 7).tolist() == plan.rows_of(1, 1).tolist() == plan.rows_of(2, 0).tolist() == []


def test_files_are_found_where_the_components_have_them_today(root, plan):
    folder = root / "components"
    assert list(plan.files()) == [
        (0, 0, folder / "arxiv" / "a.jsonl.zst"),
        (0, 1, folder / "arxiv" / "b.jsonl.zst"),
        (1, 0, folder / "github" / "c.jsonl.zst"),
    ]


def test_texts_come_in_plan_order_with_their_copies(plan):
    assert list(iter_texts(plan, "train")) == [("eins", 1), ("vier", 1), ("fünf", 1), ("", 1)]
    assert list(iter_texts(plan, "val")) == [("zwei", 1), ("eins", 1), ("sechs\n", 1)]
    assert list(iter_texts(plan, "test")) == []


def test_other_copies_change_neither_splits_nor_the_keys_that_they_need_not(plan):
    more = plan.with_copies(plan.column("copies") + np.uint16(1))
    assert more.column("split").tolist() == plan.column("split").tolist()
    for split in SPLITS:
        copies = plain_copies(more, split)
        expected = [copy[:3] for copy in in_order(copies, more.header.seed)]
        assert as_tuples(more.entries(split)) == expected
        by_place = more.copies_of(np.flatnonzero(more.column("split") == SPLITS.index(split)))
        assert as_tuples(by_place.sorted()) == expected
    # Of those a part knows its own.
    assert len(more.moved.row) > 0
    for component, file, _ in plan.files():
        part, rows = more.part(component, file), more.rows_of(component, file)
        found = part.copies_of(rows - part.first_row)
        assert found.key.tolist() == more.copies_of(rows).key.tolist()


def test_moved_copies_stand_beside_the_plan_and_every_reader_sees_them(root, plan):
    moved = Entries(np.array([1, 3, 3]), np.array([0, 0, 1], np.uint16), np.array([7, 2**64 - 1, 3], np.uint64))
    columns = {name: plan.table.column(name) for name in schema().names}
    columns["copies"] = np.full(9, 2, np.uint16)
    header = msgspec.structs.replace(plan.header, moved_copies=3)
    write_plan(root / "plan" / PLAN_FILE, header, columns)
    write_moved(root / "plan" / MOVED_FILE, moved)
    whole = Plan.read(root)
    own = Plan.read(root).with_copies(np.full(9, 2, np.uint16))._with_own_keys(np.arange(9)).key
    keys = own.copy()
    keys[[2, 6, 7]] = moved.key
    assert whole.copies_of(np.arange(9)).key.tolist() == keys.tolist()
    assert whole.copies_of(np.array([0, 3, 8])).key.tolist() == keys[[0, 1, 6, 7, 16, 17]].tolist()
    assert whole.copies_of(np.array([0, 8])).key.tolist() == own[[0, 1, 16, 17]].tolist()
    # Rows 3 and 4 are the second file of the first component.
    for part in (Plan.read_file(root, 0, 1), whole.part(0, 1)):
        assert part.copies_of(np.arange(2)).key.tolist() == keys[6:10].tolist()
    train = np.flatnonzero(whole.column("split") == 0)
    in_order = sorted(
        (key, number // 2, number % 2) for number, key in enumerate(keys.tolist()) if number // 2 in train
    )
    assert as_tuples(whole.entries("train")) == in_order
    write_moved(root / "plan" / MOVED_FILE, Entries(*(column[:2] for column in moved)))
    with pytest.raises(CorruptData, match="does not hold the 3 moved copies of the plan") as error:
        Plan.read(root).entries("train")
    assert f"pile build --root {root}" in error.value.hint
    write_moved(root / "plan" / MOVED_FILE, Entries.none())
    assert not (root / "plan" / MOVED_FILE).exists()
    with pytest.raises(CorruptData, match="does not hold"):
        Plan.read(root).entries("train")


@pytest.mark.parametrize("group_rows", [1, 2, 100])
def test_sums_over_the_plan_are_those_of_its_columns(root, plan, group_rows):
    plan = rewritten(root, plan, group_rows)
    rows = plan.table.to_pylist()
    sizes: dict[tuple[int, int], int] = {}
    for row in rows:
        if row["copies"]:
            place = row["component"], row["file"]
            sizes[place] = sizes.get(place, 0) + row["bytes"]
    more = plan.with_copies(plan.column("copies"))
    for each in (Plan.read(root), more):
        assert each.file_sizes() == sizes
        assert each.totals() == (
            sum(row["copies"] for row in rows),
            sum(row["bytes"] for row in rows),
            sum(row["copies"] * row["bytes"] for row in rows),
            max(row["bytes"] for row in rows),
        )


def test_a_plan_in_parts_of_any_size_is_the_same_bytes(tmp_path, root, plan, monkeypatch):
    monkeypatch.setattr("pile_toolkit.core.plan.files.GROUP_ROWS", 4)
    written = []
    for size in (1, 3, 4, 9):
        path = tmp_path / f"{size}.parquet"
        write_plan_parts(path, plan.header, (plan.table.slice(first, size) for first in range(0, 9, size)))
        written.append(path.read_bytes())
    assert len(set(written)) == 1
    assert pq.ParquetFile(tmp_path / "1.parquet").metadata.num_row_groups == 3
    assert pq.read_table(tmp_path / "3.parquet").to_pylist() == plan.table.to_pylist()


def test_without_a_plan_there_is_a_command_to_type(tmp_path):
    with pytest.raises(UsageError, match="there is no plan") as error:
        Plan.read(tmp_path)
    assert error.value.hint == f"pile build --root {tmp_path}"


def test_what_is_no_plan_is_corrupt_data(tmp_path, root, plan):
    whole = (root / "plan" / PLAN_FILE).read_bytes()
    path = tmp_path / "plan" / PLAN_FILE
    path.parent.mkdir()
    path.write_bytes(whole[:-1])
    with pytest.raises(CorruptData, match=r"plan\.parquet is not a plan: "):
        Plan.read(tmp_path)


# A part of the plan, for the task of one file


def rewritten(root: Path, plan: Plan, group_rows: int) -> Plan:
    """The same plan in groups of so few rows."""
    columns = {name: plan.table.column(name) for name in schema().names}
    write_table(root / "plan" / PLAN_FILE, schema(), columns, plan.header, group_rows=group_rows)
    return Plan.read(root)


@pytest.mark.parametrize("group_rows", [1, 2, 4, 100])
def test_a_part_is_the_rows_of_its_file_in_the_whole_plan(root, plan, group_rows):
    plan = rewritten(root, plan, group_rows)
    more = plan.with_copies(plan.column("copies") + np.uint16(1))
    for component, file in [(0, 0), (0, 1), (1, 0), (0, 2), (2, 0)]:
        rows = [
            number
            for number, row in enumerate(plan.table.to_pylist())
            if (row["component"], row["file"]) == (component, file)
        ]
        for part in (Plan.read_file(root, component, file), Plan.read(root).part(component, file)):
            assert len(part) == len(part.table) == len(rows)
            assert part.header == plan.header
            assert part.first_row == (rows[0] if rows else part.first_row)
            assert part.table == plan.table.slice(part.first_row, len(rows))
            for split in (None, *SPLITS):
                mine = part.rows_of(component, file, split)
                assert (mine + part.first_row).tolist() == plan.rows_of(component, file, split).tolist()
                entries, expected = part.copies_of(mine), plan.copies_of(mine + part.first_row)
                assert (entries.row + part.first_row).tolist() == expected.row.tolist()
                assert [entries.copy.tolist(), entries.key.tolist()] == [expected.copy.tolist(), expected.key.tolist()]
                texts = [planned[1:] for planned in read_file_rows(part, component, file, mine)]
                whole = read_file_rows(plan, component, file, plan.rows_of(component, file, split))
                assert texts == [planned[1:] for planned in whole]
            assert [part.document_id(row) for row in range(len(part))] == [plan.document_id(row) for row in rows]
        changed = more.part(component, file)
        assert changed.table == more.table.slice(changed.first_row, len(rows))
        assert changed.part(component, file).table == changed.table
        assert changed.part(component, file).first_row == changed.first_row


def test_a_column_is_read_when_it_is_asked_for(root, plan):
    whole = rewritten(root, plan, 2)
    assert len(whole) == 9
    path = root / "plan" / PLAN_FILE
    kept = path.read_bytes()
    copies = whole.column("copies").tolist()
    path.write_bytes(b"")
    assert whole.column("copies").tolist() == copies
    with pytest.raises(TryAgain, match=r"plan\.parquet was replaced while it was read"):
        whole.column("split")
    path.write_bytes(kept)
