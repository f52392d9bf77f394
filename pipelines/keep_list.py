"""The table between deduplication and build: each document with its hashes, its cluster and its fate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pile_toolkit.core.plan import PlanComponent
from pile_toolkit.core.tables import TableFile, write_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

KEEP_LIST_FILE = "documents.parquet"
# The place in this list is the column `reason`.
REASONS = ("kept", "exact duplicate", "near duplicate")


def schema() -> pa.Schema:
    """A row per document, in the order (component, file, line); `cluster` is the row number of the kept member."""
    import pyarrow as pa

    return pa.schema(
        [
            ("component", pa.uint8()),
            ("file", pa.uint32()),
            ("line", pa.uint64()),
            ("bytes", pa.uint64()),
            ("text_hash", pa.binary(16)),
            ("normalized_hash", pa.binary(16)),
            ("cluster", pa.uint64()),
            ("reason", pa.uint8()),
        ]
    )


def write_keep_list(path: Path, components: list[PlanComponent], columns: Mapping[str, Any]) -> None:
    """Writes the table; hash columns are uint64[rows, 2]."""
    write_table(path, schema(), columns, components)


def open_keep_list(root: Path) -> TableFile:
    """The table of a root, to be read in part; its header is the components. Raises as `read_keep_list` does."""
    command = f"pile dedup --root {root}"
    path = root / "dedup" / KEEP_LIST_FILE
    return TableFile(path, schema(), list[PlanComponent], name="keep-list", command=command)


def read_keep_list(root: Path) -> tuple[list[PlanComponent], pa.Table]:
    """The components and the table of a root. Raises UsageError where deduplication has not run."""
    return open_keep_list(root).read()
