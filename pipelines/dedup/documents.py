"""Stored fingerprints in, the documents of a root as one numbered row of columns out, read a piece at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.errors import CorruptData
from pipelines.dedup.fingerprints import EXACT_FILE, NEAR_FILE, ROWS_FILE, row_type
from pipelines.lsh.edges import id_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipelines.dedup.fingerprints import Stored

# Rows in memory at a time.
PIECE_ROWS = 1 << 17
# A document's size in a rank; what is longer than that counts as this long.
_SIZE_BITS = 48
_LARGEST = (1 << _SIZE_BITS) - 1


class Piece(NamedTuple):
    """Consecutive rows of one document file: the number of the first, their component and file, what is stored."""

    first: int
    component: int
    file: int
    rows: NDArray


class Documents:
    """All documents in the order (component, file, line); nothing of them is in memory but what is read."""

    def __init__(self, stored: Sequence[Stored]) -> None:
        self.stored = list(stored)
        # Where the documents of each file begin, and their number in all.
        self.firsts = np.cumsum([0, *(entry.documents for entry in stored)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.firsts[-1])

    @property
    def id_type(self) -> np.dtype:
        """Of row numbers: int32 where they fit, else int64."""
        return id_type(len(self))

    def files_with(self, name: str) -> list[Path]:
        """The files of that name of all entries."""
        return [entry.folder / name for entry in self.stored]

    @property
    def exact(self) -> list[Path]:
        """The columns of the hash that makes texts equal."""
        return self.files_with(EXACT_FILE)

    @property
    def near(self) -> list[Path]:
        """The columns of band hashes."""
        return self.files_with(NEAR_FILE)

    def pieces(self, *, rows: int = PIECE_ROWS) -> Iterator[Piece]:
        """All rows in order, at most so many at a time and of one file. Raises CorruptData for a file cut short."""
        kind = row_type()
        for entry, first in zip(self.stored, self.firsts.tolist(), strict=False):
            path = entry.folder / ROWS_FILE
            for start in range(0, entry.documents, rows):
                count = min(rows, entry.documents - start)
                found = np.fromfile(path, kind, count=count, offset=start * kind.itemsize)
                if len(found) != count:
                    raise CorruptData(f"{path} ends early", hint=f"rm -r {path.parent}, then the same command again")
                yield Piece(first + start, entry.component, entry.file, found)

    def ranks(self, priority: Sequence[int]) -> NDArray[np.int64]:
        """A number for each row, smaller where it is rather kept: by its component's priority, then by its length.

        Of equal ranks the smaller row is kept, which is the smaller id.
        """
        found = np.empty(len(self), np.int64)
        for piece in self.pieces():
            sizes = np.minimum(piece.rows["bytes"], _LARGEST).astype(np.int64)
            place = priority[piece.component] << _SIZE_BITS
            np.subtract(place + _LARGEST, sizes, out=found[piece.first : piece.first + len(sizes)])
        return found
