"""The plan says which document, split and copies; iterations give exactly those, in an order of seed and text."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.components import read_component
from pile_toolkit.core.errors import CorruptData, TryAgain, UsageError
from pile_toolkit.core.manifest import withdraw
from pile_toolkit.core.plan import (
    MOVED_FILE,
    PLAN_FILE,
    SPLITS,
    Entries,
    Plan,
    PlanComponent,
    PlanHeader,
    PlannedText,
    iter_documents,
    iter_texts,
    read_file_rows,
    schema,
    write_moved,
    write_plan,
    write_plan_parts,
)
from pile_toolkit.core.seeds import text_hash
from pile_toolkit.core.tables import write_table
from tests.core.separation_twin import Copy, in_order, own_key
from tests.making import make_plan, plan_rows, put_plan, write_component

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


def test_documents_come_with_their_ids_and_meta(tmp_path):
    files = {"a.jsonl.zst": [("x", b'{"n":NaN,"big":123456789012345678901234567890}'), "y"], "b.jsonl.zst": ["z"]}
    write_component(tmp_path, "arxiv", files)
    make_plan(tmp_path, ["arxiv"], change=lambda row: row.update(copies=row["line"]))
    first, second, third = iter_documents(tmp_path)
    assert (first.id, first.text, first.copies) == ("arxiv/a.jsonl.zst:1", "x", 1)
    assert str(first.meta) == "{'n': nan, 'big': 123456789012345678901234567890}"
    assert second == ("arxiv/a.jsonl.zst:2", "y", {"pile_set_name": "arxiv"}, 2)
    assert third.id == "arxiv/b.jsonl.zst:1"
    assert list(iter_documents(str(tmp_path), split="val")) == []
    with pytest.raises(UsageError, match="no split 'validation'"):
        next(iter_documents(tmp_path, split="validation"))


# Order and copies


def plain_copies(plan: Plan, split: str) -> list[Copy]:
    """The copies of a split under their own keys."""
    return [
        Copy(own_key(plan.header.seed, row["text_hash"], row["ordinal"], copy), number, copy, row["text_hash"])
        for number, row in enumerate(plan.table.to_pylist())
        if row["split"] == SPLITS.index(split)
        for copy in range(row["copies"])
    ]


def as_tuples(entries: Entries) -> list[tuple[int, int, int]]:
    """(key, row, copy) in their order."""
    return list(zip(entries.key.tolist(), entries.row.tolist(), entries.copy.tolist(), strict=True))


@dataclasses.dataclass(frozen=True)
class Row:
    line: int
    split: int
    copies: int
    text: str


tables = st.lists(
    st.builds(Row, line=st.integers(1, 9), split=st.integers(0, 2), copies=st.integers(0, 4), text=st.text(max_size=1))
)


def plan_of(root: Path, rows: list[Row], seed: int) -> Plan:
    columns = {"component": 0, "file": 0, "piece_start": None, "piece_end": None, "bytes": 1}
    ordinals: dict[str, int] = {}
    for row in rows:
        ordinals[row.text] = ordinals.get(row.text, -1) + 1
    counted = dict.fromkeys(ordinals, -1)
    plain = []
    for row in rows:
        counted[row.text] += 1
        varied = {"line": row.line, "split": row.split, "copies": row.copies, "text_hash": text_hash(row.text)}
        plain.append({**columns, **varied, "ordinal": counted[row.text]})
    return put_plan(root, [], plain, seed=seed)


@given(rows=tables, seed=st.integers(0, 2**64 - 1))
def test_entries_are_every_copy_of_a_split_in_the_order_of_their_keys(tmp_path_factory, rows, seed):
    plan = plan_of(tmp_path_factory.getbasetemp() / "entries", rows, seed)
    for split in SPLITS:
        entries = plan.entries(split)
        assert (entries.row.dtype, entries.copy.dtype, entries.key.dtype) == (np.int64, np.uint16, np.uint64)
        assert as_tuples(entries) == [copy[:3] for copy in sorted(plain_copies(plan, split))]


@given(rows=tables, data=st.data())
def test_copies_of_any_rows_stand_in_sequence(tmp_path_factory, rows, data):
    plan = plan_of(tmp_path_factory.getbasetemp() / "copies", rows, 7)
    some = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1)) if rows else st.just(set())))
    entries = plan.copies_of(np.array(some, dtype=np.int64))
    pairs = [(row, copy) for row in some for copy in range(rows[row].copies)]
    assert list(zip(entries.row.tolist(), entries.copy.tolist(), strict=True)) == pairs
    own = {copy[1:3]: copy.key for split in SPLITS for copy in plain_copies(plan, split)}
    assert entries.key.tolist() == [own[pair] for pair in pairs]


def test_equal_keys_stand_by_row_and_copy():
    key, row, copy = np.array([5, 5, 1, 5], np.uint64), np.array([2, 1, 9, 1]), np.array([0, 1, 0, 0], np.uint16)
    entries = Entries(row, copy, key).sorted()
    assert list(zip(*(column.tolist() for column in entries), strict=True)) == [
        (9, 0, 1),
        (1, 0, 5),
        (1, 1, 5),
        (2, 0, 5),
    ]


def test_the_order_depends_on_texts_and_seed_not_on_where_they_stand(tmp_path):
    texts = [f"document {number}" for number in range(50)]
    orders = {}
    for name, slug, split_at, seed in (("one", "arxiv", 50, 1), ("two", "github", 20, 1), ("three", "arxiv", 50, 2)):
        root = tmp_path / name
        write_component(root, slug, {"a.jsonl.zst": texts[split_at:], "b.jsonl.zst": texts[:split_at]})
        plan = make_plan(root, [slug], seed=seed, change=lambda row: row.update(copies=2))
        by_row = [planned.text for file in (0, 1) for planned in read_file_rows(plan, 0, file, plan.rows_of(0, file))]
        entries = plan.entries("train")
        orders[name] = [(by_row[row], copy) for row, copy in zip(entries.row, entries.copy.tolist(), strict=True)]
    assert orders["one"] == orders["two"]
    assert sorted(orders["one"]) == sorted(orders["three"])
    assert orders["one"] != orders["three"]
    assert orders["one"] != sorted(orders["one"])


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


# Pieces, and files that changed


def test_pieces_are_cut_in_code_points_and_one_line_may_have_several(tmp_path):
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["a\U0001f600é\u0301z", "whole"]})
    component = read_component(tmp_path, "arxiv")
    whole, last = plan_rows(component)
    pieces = [{**whole, "piece_start": start, "piece_end": end} for start, end in ((0, 2), (2, 2), (3, 5))]
    plan = put_plan(tmp_path, [component], [*pieces, last])
    meta = b'{"pile_set_name":"arxiv"}'
    assert list(read_file_rows(plan, 0, 0, plan.rows_of(0, 0))) == [
        PlannedText(0, 1, "a\U0001f600", meta),
        PlannedText(1, 1, "", meta),
        PlannedText(2, 1, "\u0301z", meta),
        PlannedText(3, 2, "whole", meta),
    ]
    assert [planned.row for planned in read_file_rows(plan, 0, 0, np.array([2, 3]))] == [2, 3]
    assert list(read_file_rows(plan, 0, 0, np.array([], dtype=np.int64))) == []


def test_rejected_lines_count_in_the_numbering(tmp_path):
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": b'{"text":"one"}\n\nno\n{"text":"four"}\n'})
    plan = make_plan(tmp_path, ["arxiv"])
    assert [(planned.line, planned.text) for planned in read_file_rows(plan, 0, 0, plan.rows_of(0, 0))] == [
        (1, "one"),
        (4, "four"),
    ]


@pytest.mark.parametrize("now", [b'{"text":"one"}\n', b'{"text":"one"}\nno\n{"text":"three"}\n', b""])
def test_a_planned_line_that_is_gone_is_corrupt_data(tmp_path, now):
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["one", "two"]})
    plan = make_plan(tmp_path, ["arxiv"])
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": now})
    line = 2 if now else 1
    with pytest.raises(CorruptData, match=rf"a\.jsonl\.zst has no document on line {line}, which") as error:
        list(iter_texts(plan, "train"))
    assert f"pile build --root {tmp_path}" in error.value.hint


def test_a_planned_line_with_another_text_is_corrupt_data(tmp_path):
    # Of the same length and count, so that only its content tells; in another split it might be held out.
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["one", "two", "six"]})
    plan = make_plan(tmp_path, ["arxiv"], change=lambda row: row.update(copies=row["line"] % 2))
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["one", "TWO", "SIX"]})
    texts = iter_texts(plan, "train")
    assert next(texts) == ("one", 1)
    with pytest.raises(CorruptData, match=r"a\.jsonl\.zst has another text on line 3 than the one the plan") as error:
        next(texts)
    assert f"pile build --root {tmp_path}" in error.value.hint


def test_a_file_of_which_nothing_is_wanted_is_not_opened(tmp_path):
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["one"], "b.jsonl.zst": ["two"]})
    plan = make_plan(tmp_path, ["arxiv"], change=lambda row: row.update(copies=row["file"]))
    (tmp_path / "components" / "arxiv" / "a.jsonl.zst").unlink()
    assert list(iter_texts(plan, "train")) == [("two", 1)]
    assert [document.text for document in iter_documents(tmp_path)] == ["two"]


def test_a_component_that_went_is_named(tmp_path):
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["one"], "b.jsonl.zst": ["two"]})
    make_plan(tmp_path, ["arxiv"])
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["one"]})
    with pytest.raises(UsageError, match=r"names b\.jsonl\.zst of component 'arxiv', which is no longer there"):
        list(iter_texts(Plan.read(tmp_path), "train"))
    withdraw(tmp_path / "components" / "arxiv")
    with pytest.raises(UsageError, match="component 'arxiv' is not in"):
        list(iter_texts(Plan.read(tmp_path), "train"))


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


def test_a_plan_of_no_rows_has_no_entries(tmp_path):
    plan = put_plan(tmp_path, [], [])
    assert [column.tolist() for column in plan.entries("train")] == [[], [], []]
    assert list(plan.files()) == []


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


def test_a_task_reads_its_own_rows_however_long_the_plan_is(tmp_path):
    read = {}
    for files in (20, 120):
        rows = files * 20_000
        columns = {
            "component": np.zeros(rows, np.uint8),
            "file": np.arange(rows, dtype=np.uint32) // 20_000,
            "line": np.arange(rows, dtype=np.uint64) % 20_000 + 1,
            **dict.fromkeys(("piece_start", "piece_end"), pa.nulls(rows, pa.uint64())),
            **{name: np.ones(rows, kind) for name, kind in (("split", np.uint8), ("copies", np.uint16))},
            "bytes": np.ones(rows, np.uint64),
            # What does not compress.
            "text_hash": np.random.default_rng(1).integers(0, 2**64, (rows, 2), dtype=np.uint64),
            "ordinal": np.zeros(rows, np.uint32),
        }
        header = PlanHeader(seed=1, components=[PlanComponent(slug="arxiv", files=[str(n) for n in range(files)])])
        write_plan(tmp_path / "plan" / PLAN_FILE, header, columns)
        before = bytes_read()
        part = Plan.read_file(tmp_path, 0, 6)
        read[files] = bytes_read() - before
        assert (part.first_row, len(part)) == (120_000, 20_000)
        assert read[files] < (tmp_path / "plan" / PLAN_FILE).stat().st_size
    # The description of six times as many groups is read too: some kilobytes.
    assert read[120] < 1.05 * read[20]


def bytes_read() -> int:
    """What this process has read so far, from disk or cache."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["rchar"])


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
