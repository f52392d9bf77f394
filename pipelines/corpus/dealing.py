"""Pass 1: one document file in, the finished line of every copy of its documents in the blocks of its range out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.plan import Plan
from pile_toolkit.core.plan.lines import ROWS_AT_ONCE, read_planned_lines
from pipelines.corpus.blocks import BlockWriter, records_of
from pipelines.corpus.layout import Layout
from pipelines.corpus.lines import Finisher
from pipelines.corpus.loading import load_kernels
from pipelines.corpus.metas import Namer
from pipelines.download import pile_set_name

if TYPE_CHECKING:
    import numpy as np

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

    how = msgspec.convert(dealing, Dealing)
    layout = how.layout
    plan = Plan.read_file(Path(root), component, file)
    rows = plan.rows_of(component, file)
    name = Namer(pile_set_name(plan.header.components[component].slug))
    finisher = Finisher(plan, plan.path(component, file), name, load_kernels() if how.compiled else None)
    lines = finisher.finished(read_planned_lines(plan, component, file, rows))
    output_of = np.repeat(np.arange(layout.outputs), [len(layout.of_output(n)) for n in range(layout.outputs)])
    file_of = [block_file(output, layout.outputs, text_bytes) for output in output_of.tolist()]
    counts = np.zeros((2, layout.outputs), np.int64)
    with BlockWriter(folder, file_of, block_bytes=how.block_bytes, compress=how.compress) as writer:
        for first in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[first : first + ROWS_AT_ONCE]
            entries = plan.copies_of(some)
            places = layout.places(plan.column("split")[entries.row], entries.key)
            outputs, sizes = output_of[places], plan.column("bytes")[entries.row].astype(np.int64)
            np.add.at(counts[0], outputs, 1)
            np.add.at(counts[1], outputs, sizes)
            records = records_of(entries.key, entries.row + plan.first_row, entries.copy)
            copied = iter(zip(places.tolist(), records, strict=True))
            # The lines last: of one too many, zip would take it and give it to nobody.
            for copies, line in zip(_runs(entries.row), lines, strict=False):
                for _ in range(copies):
                    writer.add(*next(copied), line)
    return {"documents": counts[0].tolist(), "text_bytes": counts[1].tolist()}


def _runs(ascending: np.ndarray) -> list[int]:
    """How often each of the values stands there."""
    import numpy as np

    return np.unique(ascending, return_counts=True)[1].tolist()
