"""Pass 1: one document file in, the finished line of every copy of its documents in the blocks of its range out."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import msgspec

from pile_toolkit.core.plan import PLAN_FILE, Plan
from pile_toolkit.core.tables import GROUP_ROWS
from pipelines.corpus.blocks import BlockWriter, records_of
from pipelines.corpus.layout import Layout
from pipelines.corpus.loading import load_kernels
from pipelines.corpus.metas import Namer
from pipelines.download import pile_set_name

# So many rows of the plan are kept for the next file, as many as reading those of one file has memory for anyway. Of
# more, a group is read once for each file with rows in it.
KEPT_ROWS = 2 * GROUP_ROWS
# So much text of a task in one file of blocks: less than that for each output would be thousands of small files.
FILE_BYTES = 4 << 20


class Dealing(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for all files. None of it changes a byte of the corpus."""

    layout: Layout
    block_bytes: int
    compress: bool
    compiled: bool


def block_file(output: int, outputs: int, text_bytes: int) -> int:
    """In which of a task's files the blocks of an output lie, in the order of the outputs."""
    return output * min(outputs, 1 + text_bytes // FILE_BYTES) // outputs


def deal_file(
    folder: Path,
    root: str,
    component: int,
    file: int,
    text_bytes: int,
    dealing: dict[str, Any],
) -> dict[str, list[int]]:
    """A task of pass 1. Returns the copies and the bytes of their texts, by output."""
    import numpy as np

    from pipelines.corpus.lines import Finisher, join_plainly

    how = msgspec.convert(dealing, Dealing)
    layout = how.layout
    plan = file_plan(Path(root), component, file)
    rows = plan.rows_of(component, file)
    name = Namer(pile_set_name(plan.header.components[component].slug))
    kernels = load_kernels() if how.compiled else None
    batch_bytes = how.block_bytes * layout.buckets
    finisher = Finisher(plan, plan.path(component, file), name, kernels, batch_bytes=batch_bytes)
    output_of = np.repeat(np.arange(layout.outputs), [len(layout.of_output(n)) for n in range(layout.outputs)])
    file_of = [block_file(output, layout.outputs, text_bytes) for output in output_of.tolist()]
    counts = np.zeros((2, layout.outputs), np.int64)
    join = kernels.join_lines if kernels else join_plainly
    with BlockWriter(folder, file_of, compress=how.compress, join=join) as writer:
        for batch in finisher.batches(component, file, rows):
            some = rows[batch.first : batch.first + len(batch.spans)]
            entries = plan.copies_of(some)
            places = layout.places(plan.column("split")[entries.row], entries.key)
            outputs, sizes = output_of[places], plan.column("bytes")[entries.row].astype(np.int64)
            np.add.at(counts[0], outputs, 1)
            np.add.at(counts[1], outputs, sizes)
            # Every row has a copy, and its copies follow each other.
            lines = np.cumsum(np.diff(entries.row, prepend=entries.row[:1]) != 0)
            line_bytes = batch.line_bytes()[lines]
            records = records_of(entries.key, entries.row + plan.first_row, entries.copy, line_bytes)
            writer.add(batch, places, records, lines)
    return {"documents": counts[0].tolist(), "text_bytes": counts[1].tolist()}


def file_plan(root: Path, component: int, file: int) -> Plan:
    """The plan's rows of one file; of a small plan all are kept for the next file."""
    status = (root / "plan" / PLAN_FILE).stat() if (root / "plan" / PLAN_FILE).exists() else None
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) if status else None
    return _plan(root, identity).part(component, file)


@functools.lru_cache(maxsize=1)
def _plan(root: Path, _identity: tuple[int, ...] | None) -> Plan:
    plan = Plan.read(root)
    return Plan(root, plan.header, plan.table) if len(plan) <= KEPT_ROWS else plan
