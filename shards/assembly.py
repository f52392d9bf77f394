"""Stored documents and a plan in, `.idx` and `.docs.arrow` of a split out, in the order of the corpus.

Copies come a range of keys at a time and are written where they belong: in memory is one range, however long the files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.plan import RowValues
from shards.format import index_path, open_index
from shards.provenance import open_provenance, provenance_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

    from pile_toolkit.core.plan import CopiesInOrder, PlanHeader

# What `write_split_index` takes of the plan and of the stored documents.
PLAN_COLUMNS = ("component", "file", "line", "bytes")
PLACE_KINDS = {"size": "i4", "pointer": "i8"}


class StoredDocuments:
    """Ids and place of each stored document, taken in plan order, some at a time."""

    def __init__(self, sizes: Iterable[NDArray[np.int32]], *, dtype: DTypeLike) -> None:
        """`sizes` are those of all documents, which lie one after the other, in blocks."""
        self.taken = self.tokens = 0
        self._blocks, self._itemsize = iter(sizes), np.dtype(dtype).itemsize
        self._waiting = np.empty(0, np.int32)

    def take(self, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(ids, place in bytes) of the next documents. Raises CorruptData where there are fewer."""
        blocks, found = [self._waiting], len(self._waiting)
        while found < count and (block := next(self._blocks, None)) is not None:
            blocks.append(block)
            found += len(block)
        if found < count:
            raise _others(f"{self.taken + count:,} documents or more", f"{self.taken + found:,}")
        every = np.concatenate(blocks)
        sizes, self._waiting = every[:count], every[count:]
        ends = self.tokens + np.cumsum(sizes, dtype=np.int64)
        pointers = (ends - sizes) * self._itemsize
        self.taken, self.tokens = self.taken + count, int(ends[-1]) if count else self.tokens
        return sizes, pointers

    def finish(self) -> None:
        """Raises CorruptData where documents are left."""
        left = len(self._waiting) + sum(map(len, self._blocks))
        if left:
            raise _others(f"{self.taken:,} documents", f"{self.taken + left:,}")

    def beside(self) -> RowValues:
        """Size and place of each row, for `copies_in_order`, where every row of the plan with copies is stored."""
        return RowValues(PLACE_KINDS, lambda rows: self.take(len(rows)))


def _others(planned: str, stored: str) -> CorruptData:
    return CorruptData(
        f"the plan has {planned} of a split, {stored} are stored",
        hint="rm -r .work-* in the folder of the shards, then again",
    )


class Written(NamedTuple):
    """Sequences of a split, and their ids in all."""

    sequences: int
    tokens: int


def write_split_index(
    header: PlanHeader, prefix: Path, *, copies: CopiesInOrder, dtype: np.dtype, apart: bool = False
) -> Written:
    """Writes `.idx` and `.docs.arrow` of a prefix in the order of `copies`.

    These have PLAN_COLUMNS and PLACE_KINDS beside them. `apart` gives each copy a place of its own, in that order.
    """
    slugs = [component.slug for component in header.components]
    files = {component.slug: component.files for component in header.components}
    tokens = 0
    with (
        open_index(index_path(prefix), dtype=dtype, sequences=len(copies)) as index,
        open_provenance(provenance_path(prefix), rows=len(copies), components=slugs, files=files) as provenance,
    ):
        for entries, values in copies:
            sizes, pointers = values["size"], values["pointer"]
            ends = tokens + np.cumsum(sizes, dtype=np.int64)
            if apart:
                pointers = (ends - sizes) * dtype.itemsize
            tokens = int(ends[-1])
            index.add(sizes, pointers)
            provenance.add(copy=entries.copy, **{name: values[name] for name in PLAN_COLUMNS})
    return Written(len(copies), tokens)


def places_of(copies: CopiesInOrder, dtype: np.dtype) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(place, length) of all copies in bytes, in order, a range at a time."""
    for _, values in copies:
        yield values["pointer"], values["size"].astype(np.int64) * dtype.itemsize
