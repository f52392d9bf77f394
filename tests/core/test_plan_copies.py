"""Copies of the plan: every one of a split, in an order that only texts and the seed decide; parts of it for tasks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.plan import (
    PLAN_FILE,
    SPLITS,
    Entries,
    Plan,
    PlanComponent,
    PlanHeader,
    read_file_rows,
    write_plan,
)
from pile_toolkit.core.seeds import text_hash
from tests.core.separation_twin import Copy, own_key
from tests.making import make_plan, put_plan, write_component


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


def test_a_plan_of_no_rows_has_no_entries(tmp_path):
    plan = put_plan(tmp_path, [], [])
    assert [column.tolist() for column in plan.entries("train")] == [[], [], []]
    assert list(plan.files()) == []


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
