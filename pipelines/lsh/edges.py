"""Edges between documents, on the disk: who wrote them, how many, and in blocks of bounded size what they are.

A part is a file of pairs (centre, member), int32[n, 2] or int64[n, 2] without a header: it lies in the folder of the
task that made it, whose result says its number of edges.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pile_toolkit.core.errors import CorruptData
from pipelines.lsh import kernels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

EDGES_FILE = "edges"
BLOCK_EDGES = 1 << 18
_NARROW_LIMIT = 1 << 31


def id_type(documents: int) -> np.dtype:
    """Of document numbers: int32 where they fit, else int64."""
    return np.dtype(np.int32 if documents < _NARROW_LIMIT else np.int64)


@dataclass(frozen=True, kw_only=True)
class EdgePart:
    """The edges of one task; all of one band."""

    path: Path
    band: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Edges:
    """Edges between documents 0 to documents - 1, parts in the order of their bands; travels between processes."""

    documents: int
    parts: tuple[EdgePart, ...]

    @property
    def count(self) -> int:
        """Of all parts."""
        return sum(part.count for part in self.parts)

    def blocks(self, *, band: int | None = None) -> Iterator[tuple[int, NDArray]]:
        """(band, pairs (centre, member)) of all, or of one band; the array is filled anew for each block.

        Raises CorruptData where a part is not as long as it was.
        """
        buffer = np.empty((BLOCK_EDGES, 2), id_type(self.documents))
        for part in self.parts:
            if band is not None and part.band != band:
                continue
            with part.path.open("rb", buffering=0) as stream:
                if os.fstat(stream.fileno()).st_size != part.count * buffer[0].nbytes:
                    raise damaged_edges(part.path, f"it does not hold {part.count:,} edges")
                for first in range(0, part.count, BLOCK_EDGES):
                    block = buffer[: min(BLOCK_EDGES, part.count - first)]
                    if stream.readinto(block.data.cast("B")) != block.nbytes:
                        raise damaged_edges(part.path, "it became shorter while it was read")
                    yield part.band, block

    def candidates(self) -> NDArray[np.bool_]:
        """Which documents stand in some bucket with another: bool[documents]."""
        flags = np.zeros(self.documents, np.uint8)
        for _, block in self.blocks():
            if not kernels.mark(block, flags):
                raise damaged_edges(self.parts[0].path.parent, f"a document is not below {self.documents:,}")
        return flags.view(np.bool_)


def damaged_edges(path: Path, fact: str) -> CorruptData:
    """The error of edges that are not what was written."""
    return CorruptData(f"{path} is damaged: {fact}", hint=f"rm -r {path.parent}, then the same command again")
