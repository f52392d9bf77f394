"""Copies come in the order of the corpus a range at a time, as `Plan.entries` gives them whole, whatever the ranges."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pile_toolkit.core.plan.ranges
from pile_toolkit.core.plan import (
    MOVED_FILE,
    PLAN_FILE,
    SPLITS,
    Entries,
    Plan,
    PlanComponent,
    PlanHeader,
    RowValues,
    copies_in_order,
    schema,
    write_moved,
    write_plan,
)
from pile_toolkit.core.plan.order import text_identities
from pile_toolkit.core.seeds import text_hash

COLUMNS = ("component", "file", "line", "bytes")

rows = st.lists(
    st.fixed_dictionaries(
        {
            "split": st.integers(0, 2),
            "copies": st.sampled_from([0, 1, 1, 2, 5, 40]),
            "text": st.sampled_from("abcdefgh"),
            # Keys of moved copies; few, so that some are equal.
            "moved": st.lists(st.sampled_from([0, 1, 2**62, 2**63, 2**64 - 1]), max_size=3),
        }
    ),
    max_size=25,
)


def plan_of(root, drawn) -> Plan:
    """A plan of these rows, in groups of three, with the moved copies that they name."""
    ordinals: dict[str, int] = {}
    columns: dict[str, list] = {name: [] for name in schema().names}
    moved = []
    for number, row in enumerate(drawn):
        ordinal = ordinals[row["text"]] = ordinals.get(row["text"], -1) + 1
        values = {"component": number // 7, "file": number // 3, "line": 2**40 + number, "bytes": 2**33 * number}
        values |= {"piece_start": None, "piece_end": None, "split": row["split"], "copies": row["copies"]}
        values |= {"text_hash": text_hash(row["text"]), "ordinal": ordinal}
        for name, value in values.items():
            columns[name].append(value)
        moved += [(number, copy, key) for copy, key in enumerate(row["moved"][: row["copies"]])]
    header = PlanHeader(seed=5, components=[PlanComponent(slug="a", files=["x"])], moved_copies=len(moved))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pile_toolkit.core.plan.files.GROUP_ROWS", 3)
        write_plan(root / "plan" / PLAN_FILE, header, columns)
    row, copy, key = zip(*moved, strict=True) if moved else ((), (), ())
    write_moved(
        root / "plan" / MOVED_FILE,
        Entries(np.array(row, np.int64), np.array(copy, np.uint16), np.array(key, np.uint64)),
    )
    return Plan.read(root)


@settings(deadline=None, max_examples=20)
@given(
    drawn=rows,
    mixed=st.booleans(),
    at_once=st.sampled_from([1, 4, 30, 10_000]),
    dealt_at_once=st.sampled_from([1, 10, 1000]),
)
def test_ranges_put_together_are_all_copies_in_order_with_what_stands_beside_them(
    tmp_path_factory, drawn, mixed, at_once, dealt_at_once
):
    root = tmp_path_factory.mktemp("ranges")
    plan = whole = plan_of(root, drawn)
    if mixed:
        other = np.array([(row["copies"] * 3) % 7 for row in drawn], np.uint16)
        plan, whole = plan.with_copies(other), Plan.read(root).with_copies(other)
    for number, split in enumerate(SPLITS):
        asked = []
        beside = RowValues({"twice": "i8"}, lambda some, asked=asked: (asked.extend(some.tolist()) or some * 2,))
        expected = whole.entries(split)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pile_toolkit.core.plan.ranges, "_DEALT_AT_ONCE", dealt_at_once)
            order = copies_in_order(
                plan, split, root / "order", columns=(*COLUMNS, "text"), beside=beside, at_once=at_once
            )
            with order as copies:
                assert len(copies) == len(expected.row)
                once, again = list(copies), list(copies)
        assert not (root / "order").exists()
        if at_once == 1 and len(expected.row) > 30:
            assert len(once) > 1
        for found in (once, again):
            for name in Entries._fields:
                whole_column = getattr(expected, name)
                parts = [getattr(entries, name) for entries, _ in found]
                assert [part.dtype for part in parts] == [whole_column.dtype] * len(parts)
                assert [value for part in parts for value in part.tolist()] == whole_column.tolist()
            for name in COLUMNS:
                assert [v for _, values in found for v in values[name].tolist()] == (
                    whole.column(name)[expected.row].tolist()
                )
            assert [v for _, values in found for v in values["twice"].tolist()] == (2 * expected.row).tolist()
            text = text_identities(5, whole._hashes[expected.row]).tolist()
            assert [v for _, values in found for v in values["text"].tolist()] == text
        split_of, copies_of = whole.column("split"), whole.column("copies")
        assert asked == np.flatnonzero((split_of == number) & (copies_of > 0)).tolist()
        assert all(first.entries.key[-1] <= second.entries.key[0] for first, second in pairwise(once))


def test_what_a_killed_run_left_in_the_folder_is_gone(tmp_path):
    plan = plan_of(tmp_path, [{"split": 0, "copies": 3, "text": "a", "moved": []}])
    folder = tmp_path / "order"
    folder.mkdir()
    (folder / "000.copies").write_bytes(b"left")
    (folder / "777.copies").write_bytes(b"left")
    with copies_in_order(plan, "train", folder, at_once=1) as copies:
        assert "777.copies" not in [path.name for path in folder.iterdir()]
        assert sum(len(entries.row) for entries, _ in copies) == 3
    with pytest.raises(ZeroDivisionError), copies_in_order(plan, "train", folder):
        raise ZeroDivisionError
    assert not folder.exists()


def test_moved_copies_of_one_file_are_counted_from_its_first_row(tmp_path):
    drawn = [{"split": 0, "copies": 2, "text": letter, "moved": [7]} for letter in "abcdefgh"]
    part = plan_of(tmp_path, drawn).part(0, 1)
    assert part.first_row == 3
    with copies_in_order(part, "train", tmp_path / "order", at_once=2) as copies:
        found = [pair for entries, _ in copies for pair in zip(entries.key.tolist(), entries.row.tolist(), strict=True)]
    expected = part.entries("train")
    assert found == list(zip(expected.key.tolist(), expected.row.tolist(), strict=True))
    assert [row for key, row in found if key == 7] == [0, 1, 2]


def test_blocks_are_the_columns_group_by_group(tmp_path):
    drawn = [{"split": number % 3, "copies": number, "text": "ab"[number % 2], "moved": []} for number in range(8)]
    plan = plan_of(tmp_path, drawn)
    mixed = Plan.read(tmp_path).with_copies(np.arange(8, 16).astype(np.uint16))
    in_memory = Plan(tmp_path, msgspec.structs.replace(plan.header), plan.table)
    for each, copies, groups in ((plan, range(8), 3), (mixed, range(8, 16), 3), (in_memory, range(8), 1)):
        blocks = list((Plan.read(tmp_path) if each is plan else each).blocks(["copies", "text_hash"]))
        assert len(blocks) == groups
        assert [value for _, block in blocks for value in block["copies"].tolist()] == list(copies)
        assert np.concatenate([block["text_hash"] for _, block in blocks]).tolist() == plan._hashes.tolist()
        assert [first for first, _ in blocks] == [0, 3, 6][:groups]
