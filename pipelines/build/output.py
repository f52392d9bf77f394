"""What was decided on rows in, the files of the plan and the counts of its manifest out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from pile_toolkit.core.plan import (
    MOVED_FILE,
    PLAN_FILE,
    SPLITS,
    PlanHeader,
    schema,
    write_moved,
    write_plan_parts,
)
from pile_toolkit.core.tables import arrow_array, hash_to_arrow
from pipelines.build.copies import runs
from pipelines.mixture import Reached, outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from pile_toolkit.core.plan import Separation
    from pipelines.build.copies import TrainSizes
    from pipelines.build.order import PlannedCopies
    from pipelines.build.rows import PlannedRows, RowGroup

# Compressed, most of it the hash, which does not become smaller.
ROW_BYTES = 24
_COLUMNS = ("component", "file", "line", "bytes", "text_hash")


def write_files(
    folder: Path, rows: PlannedRows, planned: PlannedCopies, separation: Separation, seed: int
) -> list[Path]:
    """Writes the plan into `folder`, a group of rows at a time; the files that are there."""
    moved = separation.moved
    header = PlanHeader(seed=seed, components=rows.components, moved_copies=len(moved.row))
    write_moved(folder / MOVED_FILE, moved)
    parts = (_part(rows, group, planned) for group in rows.groups(_COLUMNS))
    write_plan_parts(folder / PLAN_FILE, header, parts, needs_bytes=ROW_BYTES * len(rows))
    return [folder / PLAN_FILE, *([folder / MOVED_FILE] if len(moved.row) else [])]


def _part(rows: PlannedRows, group: RowGroup, planned: PlannedCopies) -> pa.Table:
    import pyarrow as pa

    some = slice(group.first, group.first + len(group.document))
    starts, ends = rows.spans(group)
    columns = {
        **{name: arrow_array(group.column(name)) for name in ("component", "file", "line")},
        "piece_start": starts,
        "piece_end": ends,
        "split": arrow_array(planned.splits[some]),
        "copies": arrow_array(planned.copies[some]),
        "bytes": arrow_array(rows.sizes(group)),
        "text_hash": hash_to_arrow(group.hashes()),
        "ordinal": arrow_array(planned.ordinals[some]),
    }
    return pa.Table.from_arrays([columns[name] for name in schema().names], schema=schema())


class Counter:
    """Counts the plan of components with these epochs, by component and split."""

    def __init__(self, epochs: Mapping[str, float], train: TrainSizes) -> None:
        self._epochs, self._train = epochs, train
        kinds = len(epochs), len(SPLITS)
        # Of each component, by split: documents with copies, copies, bytes of these.
        self._documents, self._copies, self._bytes = (np.zeros(kinds, np.int64) for _ in range(3))

    def add(self, rows: PlannedRows, splits: NDArray[np.uint8], copies: NDArray[np.uint16]) -> None:
        """Counts all rows."""
        for group in rows.groups(["component", "bytes"]):
            some = slice(group.first, group.first + len(group.document))
            # Of a document in pieces the first one stands for it.
            counted = (copies[some] > 0) & group.is_first()
            copied_bytes = rows.sizes(group).astype(np.int64) * copies[some]
            for number, mine in runs(group.column("component")):
                for split in range(len(SPLITS)):
                    here = splits[some][mine] == split
                    self._documents[number, split] += np.count_nonzero(counted[mine] & here)
                    self._copies[number, split] += copies[some][mine][here].sum(dtype=np.int64)
                    self._bytes[number, split] += copied_bytes[mine][here].sum()

    def counts(self) -> dict[str, Any]:
        """Those of BuildResult that copies decide."""
        once = dict(zip(self._epochs, self._train.bytes, strict=True))
        reached = outcome(self._epochs, once, dict(zip(self._epochs, self._bytes[:, 0].tolist(), strict=True)))
        table = {slug: self._of_component(number, slug, reached[slug]) for number, slug in enumerate(self._epochs)}
        held_out = self._documents[:, 1:].sum(axis=1).tolist()
        return {
            "documents": int(self._documents.sum()),
            "copies": int(self._copies.sum()),
            "bytes": int(self._bytes.sum()),
            "splits": dict(zip(SPLITS, self._copies.sum(axis=0).tolist(), strict=True)),
            "components": table,
            "without_held_out": [
                slug for slug, count in zip(table, held_out, strict=True) if table[slug]["documents"] and not count
            ],
            "without_documents": [
                slug for slug, weight in self._epochs.items() if weight and not table[slug]["documents"]
            ],
        }

    def _of_component(self, number: int, slug: str, reached: Reached) -> dict[str, Any]:
        documents = self._documents[number].tolist()
        return {
            "documents": sum(documents),
            "copies": int(self._copies[number].sum()),
            "bytes": int(self._bytes[number].sum()),
            "epochs": self._epochs[slug],
            **{f"{name}_documents": count for name, count in zip(SPLITS, documents, strict=True)},
            "target_bytes": int(self._bytes[number, 0]) - reached.deviation_bytes,
            **msgspec.structs.asdict(reached),
        }
