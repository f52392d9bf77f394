"""Two tables of the dedup stage: what was found in which document, and which pieces of documents stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pile_toolkit.core.plan import PlanComponent
from pile_toolkit.core.tables import TableFile, write_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

EVIDENCE_FILE = "contamination.parquet"
PIECES_FILE = "pieces.parquet"


def evidence_schema() -> pa.Schema:
    """A row per n-gram that counted and place in a document, for each set that holds it, in the keep-list's order.

    `start` and `end` are characters of the document; `set_line` and `field` are where the set has the n-gram first.
    """
    import pyarrow as pa

    numbers = [("line", pa.uint64()), ("start", pa.uint64()), ("end", pa.uint64())]
    place = [("component", pa.uint8()), ("file", pa.uint32()), *numbers]
    return pa.schema(
        [*place, ("set", pa.string()), ("set_line", pa.uint64()), ("field", pa.string()), ("ngram", pa.string())]
    )


def pieces_schema() -> pa.Schema:
    """A row per piece of a document that was cut: `row` of the keep-list, its characters, and its UTF-8 bytes."""
    import pyarrow as pa

    return pa.schema(
        [
            ("row", pa.uint64()),
            ("piece_start", pa.uint64()),
            ("piece_end", pa.uint64()),
            ("bytes", pa.uint64()),
        ]
    )


def write_evidence(path: Path, components: list[PlanComponent], columns: Mapping[str, Any]) -> None:
    """Writes the table; its header is the components."""
    write_table(path, evidence_schema(), columns, components)


def write_pieces(path: Path, columns: Mapping[str, Any]) -> None:
    """Writes the table, ascending by row and place."""
    write_table(path, pieces_schema(), columns, None)


def open_evidence(root: Path) -> TableFile:
    """The evidence of a root. Raises as `TableFile` does."""
    path = root / "dedup" / EVIDENCE_FILE
    command = f"pile dedup --against FOLDER --root {root}"
    return TableFile(path, evidence_schema(), list[PlanComponent], name="table of evidence", command=command)


def read_pieces(root: Path) -> pa.Table:
    """The pieces of a root. Raises as `TableFile` does."""
    path = root / "dedup" / PIECES_FILE
    command = f"pile dedup --against FOLDER --root {root}"
    return TableFile(path, pieces_schema(), None, name="table of pieces", command=command).read()[1]
