"""Rows of a plan in, the lines that they name out: `read_file_rows` for who decodes documents by the block.

Lines that no row names are passed over. No list is as long as the file: rows are looked at some at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pile_toolkit.core.documents import read_lines
from pile_toolkit.core.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from pile_toolkit.core.documents import TooLong
    from pile_toolkit.core.plan import Plan

ROWS_AT_ONCE = 1 << 15

# Start and end of a piece in code points; of a whole document None, None.
Piece = tuple[int | None, int | None]


class PlannedLine(NamedTuple):
    """A line as it stands in the file, the hash that its text must have, and what its rows take of the text.

    `pieces` is None where that is one row of the whole document.
    """

    number: int
    line: bytes | bytearray | TooLong
    text_hash: bytes
    pieces: list[Piece] | None


def read_planned_lines(plan: Plan, component: int, file: int, rows: np.ndarray) -> Iterator[PlannedLine]:
    """The lines that ascending `rows` of one file name, undecoded; the file is read once from its beginning.

    Raises CorruptData where the file ends before.
    """
    wanted = _wanted(plan, rows)
    following = next(wanted, None)
    if following is None:
        return
    path = plan.path(component, file)
    number = 0
    for line in read_lines(path):
        number += 1
        if number != following[0]:
            continue
        _, text_hash, start, end = following
        following = next(wanted, None)
        pieces: list[Piece] | None = None
        if start is not None or (following is not None and following[0] == number):
            pieces = [(start, end)]
            while following is not None and following[0] == number:
                pieces.append(following[2:])
                following = next(wanted, None)
        yield PlannedLine(number, line, text_hash, pieces)
        if following is None:
            return
    raise no_document(plan, path, following[0])


class PlannedDocuments(NamedTuple):
    """The documents that ascending rows of one file name, one after the other.

    `numbers`: its line, int64; `first`: the place of its first row among the rows, and their count behind the last;
    `whole`: it is one row, of the whole text.
    """

    numbers: np.ndarray
    first: np.ndarray
    whole: np.ndarray


def planned_documents(plan: Plan, rows: np.ndarray) -> PlannedDocuments:
    """The documents of ascending `rows` of one file; in memory are 17 bytes for each."""
    import numpy as np

    lines = plan.column("line")[rows].astype(np.int64)
    first = np.flatnonzero(np.diff(lines, prepend=-1))
    whole = np.diff(first, append=len(rows)) == 1
    for start in range(0, len(first), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        whole[some] &= np.array([place is None for place in plan.pieces("piece_start", rows[first[some]])], bool)
    return PlannedDocuments(lines[first], np.append(first, len(rows)), whole)


def _wanted(plan: Plan, rows: np.ndarray) -> Iterator[tuple[int, bytes, int | None, int | None]]:
    """(line, text hash, start and end of the piece) of each row."""
    lines = plan.column("line")
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE]
        pieces = (plan.pieces(name, some) for name in ("piece_start", "piece_end"))
        yield from zip(lines[some].tolist(), plan.text_hashes(some), *pieces, strict=True)


def no_document(plan: Plan, path: Path, line: int) -> CorruptData:
    """The error of a line that the plan names and that is no document, or not there."""
    return _changed(plan, f"{path} has no document on line {line}, which the plan names")


def other_text(plan: Plan, path: Path, line: int) -> CorruptData:
    """The error of a line whose text has another hash than the plan says: it may stand in another split."""
    return _changed(plan, f"{path} has another text on line {line} than the one the plan names")


def _changed(plan: Plan, fact: str) -> CorruptData:
    return CorruptData(
        fact,
        hint=f"it changed after the build: pile download and pile dedup again, then pile build --root {plan.root}",
    )
