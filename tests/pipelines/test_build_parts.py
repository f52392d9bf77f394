"""Splits, ordinals, copies and order by tables, bins and ranges of any size are those of a plain list in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.manifest import StageKey, describe, publish
from pile_toolkit.core.plan import SPLITS, Plan, PlanComponent
from pile_toolkit.core.seeds import keyed_columns, text_hash
from pipelines import keep_list
from pipelines.build import equal
from pipelines.build.copies import Share, assign_copies, copy_keys, shares_of, train_sizes
from pipelines.build.equal import count_ordinals, join_rows
from pipelines.build.order import PlannedCopies, order_keys, separate_copies
from pipelines.build.output import Counter, write_files
from pipelines.build.rows import PlannedRows
from pipelines.build.splits import assign_splits, split_documents
from pipelines.decontamination.evidence import PIECES_FILE, write_pieces
from pipelines.keep_list import KEEP_LIST_FILE, schema, write_rows
from pipelines.mixture import drawn_copies, mixture, share_of
from tests.making import examples
from tests.pipelines import build_twin
from tests.pipelines.build_twin import Document

SLUGS = ["pile-cc", "arxiv", "github"]
EXACT, DRAWN = (mixture({"default": 1.0}, SLUGS, mode=mode) for mode in ("exact", "the-pile"))
SHARES = {"val_share": 0.3, "test_share": 0.2}
GROUP_ROWS = 5


def put_keep_list(root: Path, documents: list[Document]) -> None:
    """A keep-list, and pieces, as deduplication leaves them, in groups of a few rows."""
    header = [PlanComponent(slug=slug, files=["0.jsonl.zst", "1.jsonl.zst"]) for slug in SLUGS]

    def column(name: str) -> np.ndarray:
        values = [getattr(row, name) for row in documents]
        return np.array(values, str(schema().field(name).type))

    def hashes(name: str) -> np.ndarray:
        return np.frombuffer(b"".join(getattr(row, name) for row in documents), np.uint64).reshape(-1, 2)

    columns = {name: column(name) for name in ("component", "file", "line", "bytes", "cluster", "reason")}
    columns |= {"text_hash": hashes("text"), "normalized_hash": hashes("normalized")}
    columns |= {"kept": columns["reason"] == 0, "similarity": np.full(len(documents), np.nan, np.float32)}
    path = root / "dedup" / KEEP_LIST_FILE
    write_rows(path, schema(), [columns], header)
    pieces = [(row, *piece) for row, document in enumerate(documents) for piece in document.pieces]
    values = np.array(pieces, np.uint64).reshape(-1, 4)
    names = ("row", "piece_start", "piece_end", "bytes")
    write_pieces(root / "dedup" / PIECES_FILE, {name: values[:, place].copy() for place, name in enumerate(names)})
    outputs = [describe(root / "dedup", root / "dedup" / name) for name in (KEEP_LIST_FILE, PIECES_FILE)]
    publish(root / "dedup", StageKey(stage="dedup", format=0), outputs=outputs, counts={}, started_at=0)


def hashed(text: int) -> bytes:
    # Equal halves now and then: who compares one of them only joins what is different.
    return text_hash(str(text // 3))[:8] + text_hash(str(text % 3))[8:]


@st.composite
def keep_lists(draw) -> list[Document]:
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 8), st.integers(0, 999), st.sampled_from([0, 0, 0, 1, 2, 3])),
            max_size=24,
        )
    )
    found = []
    for number, (component, text, cluster, reason) in enumerate(sorted(rows, key=lambda row: row[0])):
        cluster = cluster % len(rows) if cluster < 200 else number
        # Cut in two or three, as contaminated documents are that stay.
        pieces = ((0, 2, 2), (3, 7, 4), (9, 9, 0))[: text - 4] if reason == 0 and text in (6, 7) else ()
        same = hashed(text), hashed(text // 2 + 100)
        found.append(Document(component, number % 2, number + 1, text + 3, *same, cluster, reason, pieces))
    in_files = sorted(range(len(found)), key=lambda number: found[number][:3])
    place = {number: place for place, number in enumerate(in_files)}
    return [found[number]._replace(cluster=place[found[number].cluster]) for number in in_files]


def planned(rows: PlannedRows, epochs: list[float], seed: int, at_once: int, slots: int):
    """All that the stage decides, with tables and ranges of these sizes."""
    splits = rows.of_documents(split_documents(rows.keep_list, seed, **SHARES, at_once=at_once))
    ordinals = count_ordinals(rows, slots=slots)
    sizes = train_sizes(rows, splits)
    shares = shares_of(EXACT, epochs, sizes, rows, splits)
    copies = assign_copies(rows, splits, ordinals, shares, seed)
    found = PlannedCopies(order_keys(rows, seed), ordinals, copies, splits)
    return found, separate_copies(found, seed, at_once=at_once), sizes


@settings(max_examples=examples(80, daily=30), deadline=None)
@given(
    documents=keep_lists(),
    epochs=st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.1, 2.5, 3.0]), min_size=3, max_size=3),
    seed=st.integers(0, 2**64 - 1),
    duplicates=st.sampled_from(["drop", "keep"]),
    at_once=st.integers(1, 9),
    slots=st.sampled_from([4, 8, 64]),
)
def test_the_plan_is_the_plain_ones_whatever_is_in_memory_together(documents, epochs, seed, duplicates, at_once, slots):
    expected = build_twin.plan(documents, epochs, seed=seed, duplicates=duplicates, **SHARES)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(keep_list, "GROUP_ROWS", GROUP_ROWS)
        patch.setattr(equal, "LEAST_SLOTS", 4)
        root = Path(folder)
        put_keep_list(root, documents)
        rows = PlannedRows(root, duplicates=duplicates)
        found, separation, sizes = planned(rows, epochs, seed, at_once, slots)
        write_files(root / "plan", rows, found, separation, seed)
        plan = Plan.read(root)
        assert [tuple(row.values()) for row in plan.table.to_pylist()] == build_twin.as_stored(expected)
        for split in SPLITS:
            entries = plan.entries(split)
            in_order = list(zip(*(column.tolist() for column in entries), strict=True))
            assert in_order == [(row, copy, key) for key, row, copy, _ in build_twin.order(expected, split, seed)]
        assert plan.header.moved_copies == len(plan.moved.row)
        components = [row.document.component for row in expected if row.split == "train"]
        bytes_of = [
            sum(row.bytes for row in expected if row.split == "train" and row.document.component == number)
            for number in range(3)
        ]
        assert sizes.bytes == bytes_of
        assert set(components) <= {0, 1, 2}


@settings(max_examples=examples(60, daily=25), deadline=None)
@given(documents=keep_lists(), slots=st.sampled_from([4, 16, 256]))
def test_rows_of_one_text_or_cluster_are_joined_through_any_others(documents, slots):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(keep_list, "GROUP_ROWS", GROUP_ROWS)
        put_keep_list(Path(folder), documents)
        rows = PlannedRows(Path(folder), duplicates="drop")
        assert join_rows(rows.keep_list, slots=slots).tolist() == build_twin.group_names(documents)


def test_a_table_that_chance_fills_is_made_larger(tmp_path):
    # All hashes in one part of four: the other three stay empty.
    hashes = [b"\0" * 8 + text_hash(str(number))[8:] for number in range(40)]
    documents = [Document(0, 0, n + 1, 1, text, text, n, 0) for n, text in enumerate([*hashes, *hashes])]
    put_keep_list(tmp_path, documents)
    rows = PlannedRows(tmp_path, duplicates="drop")
    assert join_rows(rows.keep_list, slots=16).tolist() == [*range(40), *range(40)]
    assert count_ordinals(rows, slots=16).tolist() == [0] * 40 + [1] * 40


def test_a_cluster_that_is_none_of_the_rows_is_corrupt_data(tmp_path):
    put_keep_list(tmp_path, [Document(0, 0, 1, 1, text_hash("a"), text_hash("a"), 7, 0)])
    with pytest.raises(CorruptData, match="names a cluster 7 and has 1 rows"):
        join_rows(PlannedRows(tmp_path, duplicates="drop").keep_list)


def test_pieces_of_a_document_that_was_dropped_are_corrupt_data(tmp_path):
    row = Document(0, 0, 1, 1, text_hash("a"), text_hash("a"), 0, 1, ((0, 1, 1),))
    put_keep_list(tmp_path, [row, row._replace(line=2, reason=0, pieces=())])
    with pytest.raises(CorruptData, match="pieces of documents that are not kept"):
        PlannedRows(tmp_path, duplicates="drop")


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))))
def test_compiled_keys_are_those_of_columns(rows):
    high, low, ordinals = (
        (np.array(column, np.uint64) for column in zip(*rows, strict=True)) if rows else [np.empty(0, np.uint64)] * 3
    )
    found = copy_keys(np.stack([high, low], axis=1), ordinals.astype(np.uint32), 77)
    assert found.tolist() == keyed_columns(77, "copies", high, low, ordinals).tolist()


@pytest.mark.parametrize(
    ("epochs", "documents", "share"),
    [(1.1, 10, (1, 1)), (2.5, 5, (2, 2)), (2.5, 7, (2, 4)), (0.3, 10, (0, 3)), (0.0, 10, (0, 0)), (3.0, 0, (3, 0))],
)
def test_shares_are_exact_in_decimals_and_round_half_to_even(epochs, documents, share):
    assert share_of(epochs, documents) == share


@settings(max_examples=examples(40, daily=20), deadline=None)
@given(documents=keep_lists(), epochs=st.lists(st.sampled_from([0.5, 1.0, 2.7]), min_size=3, max_size=3))
def test_drawn_copies_are_those_of_train_documents_in_order_with_the_bytes_of_their_pieces(documents, epochs):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(keep_list, "GROUP_ROWS", GROUP_ROWS)
        put_keep_list(Path(folder), documents)
        rows = PlannedRows(Path(folder), duplicates="drop")
        splits = rows.of_documents(split_documents(rows.keep_list, 7, **SHARES))
        ordinals, sizes = count_ordinals(rows), train_sizes(rows, splits)
        if not any(sizes.bytes):
            return
        shares = shares_of(DRAWN, epochs, sizes, rows, splits)
        copies = assign_copies(rows, splits, ordinals, shares, 7)
    # Of every component in the order of the original's list: (bytes, copies) of each document in train.
    found = {1: {}, 2: {}, 0: {}}
    place = 0
    for number, row in enumerate(documents):
        if row.reason:
            continue
        pieces = row.pieces or ((0, 0, row.bytes),)
        mine = copies[place : place + len(pieces)]
        if splits[place] == SPLITS.index("train"):
            assert len(set(mine.tolist())) == 1
            found[row.component][number] = sum(piece[2] for piece in pieces), int(mine[0])
        place += len(pieces)
    expected = drawn_copies(
        [epochs[component] for component in found],
        [np.array([size for size, _ in rows.values()], np.int64) for rows in found.values()],
    )
    assert [[count for _, count in rows.values()] for rows in found.values()] == [each.tolist() for each in expected]


def test_of_equal_keys_the_first_rows_get_the_extra_copy(tmp_path, monkeypatch):
    documents = [Document(0, 0, n + 1, 1, text_hash(str(n)), text_hash(str(n)), n, 0) for n in range(12)]
    monkeypatch.setattr(keep_list, "GROUP_ROWS", GROUP_ROWS)
    put_keep_list(tmp_path, documents)
    monkeypatch.setattr("pipelines.build.copies.copy_keys", lambda hashes, *_: np.full(len(hashes), 5, np.uint64))
    rows = PlannedRows(tmp_path, duplicates="drop")
    given = np.zeros(12, np.uint8), np.zeros(12, np.uint32), [Share(1, 7), Share(0, 0), Share(0, 0)]
    assert assign_copies(rows, *given, 1).tolist() == [2] * 7 + [1] * 5


def test_the_key_of_a_group_does_not_depend_on_the_order_of_its_rows(tmp_path):
    texts = [text_hash(f"text {number}") for number in range(60)]
    sides = []
    for name, places in (("one", range(60)), ("two", reversed(range(60)))):
        order = list(places)
        # Three of a cluster each, named by whichever comes first.
        rows = [
            Document(0, 0, place + 1, 1, texts[text], texts[text], order.index(3 * (text // 3)), 0)
            for place, text in enumerate(order)
        ]
        put_keep_list(tmp_path / name, rows)
        found = split_documents(PlannedRows(tmp_path / name, duplicates="drop").keep_list, 9, 0.3, 0.3)
        sides.append(dict(zip(order, found.tolist(), strict=True)))
    assert sides[0] == sides[1]
    assert set(sides[0].values()) == {0, 1, 2}
    alone = assign_splits(np.frombuffer(b"".join(texts), np.uint64).reshape(-1, 2), 9, 0.3, 0.3).tolist()
    assert any(sides[0][text] != alone[text] for text in range(60))


def test_counts_go_by_component_and_split(tmp_path):
    documents = [
        Document(component, 0, n + 1, 10 + n, text_hash(f"{component} {n}"), text_hash(f"{component} {n}"), 0, 0)
        for component in (0, 2)
        for n in range(30)
    ]
    documents = [row._replace(cluster=place) for place, row in enumerate(documents)]
    put_keep_list(tmp_path, documents)
    rows, epochs = PlannedRows(tmp_path, duplicates="drop"), [1.5, 2.0, 0.0]
    found, _, sizes = planned(rows, epochs, 3, 8, 64)
    counter = Counter(dict(zip(("pile-cc", "arxiv", "github"), epochs, strict=True)), sizes)
    counter.add(rows, found.splits, found.copies)
    counts = counter.counts()
    expected = build_twin.plan(documents, epochs, seed=3, **SHARES)
    mine = [row for row in expected if row.document.component == 0]
    train = [row for row in mine if row.split == "train"]
    row = counts["components"]["pile-cc"]
    assert row["target_bytes"] == round(1.5 * sum(item.bytes for item in train))
    assert row["target_bytes"] + row["deviation_bytes"] == sum(item.bytes * item.copies for item in train)
    assert row["deviation_bytes"] != 0
    assert row["bytes"] == sum(item.bytes * item.copies for item in mine)
    assert counts["without_documents"] == ["arxiv"]
    assert counts["components"]["github"]["target_bytes"] == counts["components"]["github"]["copies"] == 0
