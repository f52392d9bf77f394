"""The rows of a file come a block at a time, with the texts of one reading of it: the same as all at once."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import pile_toolkit.core.plan.table as table_module
from pile_toolkit.core.components import read_component
from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.plan import (
    PLAN_FILE,
    FileTexts,
    Plan,
    PlanComponent,
    PlanHeader,
    read_file_rows,
    schema,
    write_plan,
)
from pile_toolkit.core.seeds import text_hash
from pile_toolkit.core.tables import column_array
from tests.making import REPOSITORY, plan_rows, put_plan, write_component

TEXTS = {"arxiv": {"a.jsonl.zst": [f"text {number} é" for number in range(11)], "b.jsonl.zst": ["one", "two"]}}


@pytest.fixture
def root(tmp_path):
    """Two files; every third document in three pieces, so that pieces of one stand in two blocks of any length."""
    write_component(tmp_path, "arxiv", TEXTS["arxiv"])
    component = read_component(tmp_path, "arxiv")
    rows = []
    for row in plan_rows(component):
        cut = [(0, 1), (1, 3), (3, 6)] if row["line"] % 3 == 0 else [(None, None)]
        rows += [{**row, "copies": row["line"] % 4, "piece_start": start, "piece_end": end} for start, end in cut]
    put_plan(tmp_path, [component], rows)
    return tmp_path


@pytest.mark.parametrize("block_rows", [1, 2, 5, 100])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_blocks_are_the_rows_of_a_file_one_after_the_other(root, monkeypatch, block_rows, is_mixed):
    monkeypatch.setattr(table_module, "GROUP_ROWS", block_rows)
    plan = Plan.read(root)
    if is_mixed:
        plan = plan.with_copies(plan.column("copies") + np.uint16(1))
    for file in (0, 1):
        whole = plan.part(0, file)
        blocks = list(plan.file_blocks(0, file))
        assert [row for block in blocks for row in block.table.to_pylist()] == whole.table.to_pylist()
        assert [block.first_row for block in blocks] == [
            whole.first_row + sum(len(block) for block in blocks[:number]) for number in range(len(blocks))
        ]
        assert max(map(len, blocks)) <= block_rows
        texts = FileTexts(plan, 0, file)
        found = [
            (block.first_row + planned.row, planned.line, planned.text, planned.meta)
            for block in blocks
            for planned in texts.of(block, block.rows_of(0, file))
        ]
        assert found == [
            (whole.first_row + planned.row, planned.line, planned.text, planned.meta)
            for planned in read_file_rows(whole, 0, file, whole.rows_of(0, file))
        ]
        # As the plan says it, in plain Python.
        plain = plan.table.to_pylist()
        texts_of = TEXTS["arxiv"][f"{'ab'[file]}.jsonl.zst"]
        assert [text for _, _, text, _ in found] == [
            texts_of[row["line"] - 1][row["piece_start"] : row["piece_end"]]
            for row in plain
            if row["file"] == file and row["copies"]
        ]


def test_a_file_without_rows_has_no_texts(root):
    plan = Plan.read(root)
    assert [len(block) for block in plan.file_blocks(0, 7)] == [0]


@pytest.mark.parametrize("line", [4, 11])
def test_a_text_that_is_another_one_is_found_in_any_block(root, monkeypatch, line):
    monkeypatch.setattr(table_module, "GROUP_ROWS", 2)
    others = [*TEXTS["arxiv"]["a.jsonl.zst"]]
    others[line - 1] = "text ? é" if line < 11 else "text ?? é"
    write_component(root, "arxiv", {**TEXTS["arxiv"], "a.jsonl.zst": others})
    plan = Plan.read(root)
    texts = FileTexts(plan, 0, 0)
    with pytest.raises(CorruptData, match=f"has another text on line {line} than"):
        # Also those without copies.
        [list(texts.of(block, np.arange(len(block)))) for block in plan.file_blocks(0, 0)]


BLOCKS = """
import resource, sys
from pathlib import Path
from pile_toolkit.core.plan import FileTexts, Plan
plan = Plan.read(Path(sys.argv[1]))
texts = FileTexts(plan, 0, 0)
found, before = 0, None
for block in plan.file_blocks(0, 0):
    for planned in texts.of(block, block.rows_of(0, 0)):
        found += 1
    before = before or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(found, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)
"""


def test_memory_is_that_of_a_block_however_many_rows_a_file_has(tmp_path):
    documents = 300_000
    texts = [str(number) for number in range(documents)]
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": b"".join(b'{"text":"%s"}\n' % text.encode() for text in texts)})
    hashes = np.frombuffer(b"".join(map(text_hash, texts)), np.uint64).reshape(-1, 2)
    numbers = dict.fromkeys(("component", "file", "split", "ordinal"), np.zeros(documents, np.int64))
    columns = {**numbers, "line": np.arange(1, documents + 1), "copies": np.ones(documents, np.int64)}
    columns |= {"bytes": np.char.str_len(texts), "text_hash": hashes}
    columns |= dict.fromkeys(("piece_start", "piece_end"), pa.nulls(documents))
    kinds = {field.name: field.type for field in schema()}
    columns = {name: column_array(values, kinds[name]).cast(kinds[name]) for name, values in columns.items()}
    header = PlanHeader(seed=1, components=[PlanComponent(slug="arxiv", files=["a.jsonl.zst"])])
    write_plan(tmp_path / "plan" / PLAN_FILE, header, columns)
    said = subprocess.run(
        [sys.executable, "-c", BLOCKS, tmp_path], capture_output=True, text=True, check=True, cwd=REPOSITORY
    ).stdout
    found, more_bytes = map(int, said.split())
    assert found == documents
    # The first block took what each takes. All at once they were 160 bytes a row: 27 MB more.
    assert more_bytes < 12 << 20
