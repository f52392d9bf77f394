"""Keep-list and pieces in, the rows of the plan out, a group of the keep-list at a time: documents that stay, in order.

A document that decontamination cut is a row per piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.manifest import read_manifest
from pile_toolkit.core.tables import hash_columns, integers, joined
from pipelines.decontamination.evidence import PIECES_FILE, read_pieces
from pipelines.keep_list import REASONS, open_keep_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from pile_toolkit.core.plan import PlanComponent
    from pipelines.build.settings import Duplicates

_KEPT, _CONTAMINATED = REASONS.index("kept"), REASONS.index("contaminated")
_PIECE = ("row", "piece_start", "piece_end", "bytes")


class RowGroup(NamedTuple):
    """Some rows of the plan; `document` is the row of the keep-list of each, `piece` that of the pieces, -1 without."""

    first: int
    document: NDArray[np.int64]
    piece: NDArray[np.int64]
    table: pa.Table
    # Where each stands in the table, which has the dropped ones too.
    place: NDArray[np.int64]

    def column(self, name: str) -> NDArray:
        """A numeric column of the keep-list."""
        return integers(joined(self.table, name))[self.place]

    def hashes(self) -> NDArray[np.uint64]:
        """Text hashes: uint64[rows, 2]."""
        return hash_columns(self.table)[self.place]

    def is_first(self) -> NDArray[np.bool_]:
        """Which rows are the first of their document; a group begins with one."""
        return np.diff(self.document, prepend=-1) > 0


class PlannedRows:
    """The rows of the plan of a root, read again each time they are asked for; pieces are in memory."""

    def __init__(self, root: Path, *, duplicates: Duplicates) -> None:
        """Raises as `open_keep_list`, CorruptData where pieces are of documents that do not stay."""
        self.keep_list = open_keep_list(root)
        self._last_reason = _CONTAMINATED - 1 if duplicates == "keep" else _KEPT
        self._pieces = _read_pieces(root)
        self._rows = sum(len(group.document) for group in self.groups([]))

    def __len__(self) -> int:
        return self._rows

    @property
    def components(self) -> list[PlanComponent]:
        """What the numbers in the keep-list stand for."""
        return self.keep_list.header

    def groups(self, names: Sequence[str]) -> Iterator[RowGroup]:
        """All rows, in order, with these columns of the keep-list; none is empty."""
        row = 0
        for first, table in self.keep_list.groups([*names, "reason"]):
            place = np.flatnonzero(integers(joined(table, "reason")) <= self._last_reason)
            place, piece = self._in_pieces(first, len(table), place)
            if len(place):
                yield RowGroup(row, first + place, piece, table, place)
            row += len(place)

    def _in_pieces(self, first: int, count: int, place: NDArray) -> tuple[NDArray, NDArray]:
        """Places of documents, each as often as it has pieces, with these."""
        cut = self._pieces["row"]
        start, end = np.searchsorted(cut, first), np.searchsorted(cut, first + count)
        if start == end:
            return place, np.full(len(place), -1)
        times, of = np.ones(len(place), np.int64), np.searchsorted(place, cut[start:end] - first)
        if of[-1] >= len(place) or (place[of] != cut[start:end] - first).any():
            raise CorruptData(
                "pieces of documents that are not kept stand beside the keep-list", hint="pile dedup again"
            )
        np.add.at(times, of, 1)
        times[np.unique(of)] -= 1
        repeated = np.repeat(place, times)
        piece = np.full(len(repeated), -1)
        piece[np.isin(repeated, place[of])] = np.arange(start, end)
        return repeated, piece

    def hashes(self) -> Iterator[tuple[int, NDArray[np.uint64]]]:
        """(first row, text hashes) of all rows."""
        for group in self.groups(["text_hash"]):
            yield group.first, group.hashes()

    def sizes(self, group: RowGroup) -> NDArray[np.uint64]:
        """Bytes of text of the rows of a group that has the column `bytes`."""
        sizes = group.column("bytes")
        cut = group.piece >= 0
        sizes[cut] = self._pieces["bytes"][group.piece[cut]]
        return sizes

    def spans(self, group: RowGroup) -> tuple[pa.Array, pa.Array]:
        """`piece_start` and `piece_end` of the rows of a group."""
        import pyarrow as pa

        whole = group.piece < 0
        if whole.all():
            return (pa.nulls(len(whole), pa.uint64()),) * 2
        return tuple(
            pa.array(self._pieces[name][group.piece], pa.uint64(), mask=whole) for name in ("piece_start", "piece_end")
        )

    def of_documents(self, values: NDArray) -> NDArray:
        """A value per document of the keep-list as one per row of the plan."""
        found = np.empty(len(self), values.dtype)
        for group in self.groups([]):
            found[group.first : group.first + len(group.document)] = values[group.document]
        return found


def _read_pieces(root: Path) -> dict[str, NDArray]:
    """The pieces of documents that were cut; none where deduplication cut none."""
    manifest = read_manifest(root / "dedup")
    # By the manifest: a file of an earlier deduplication may still lie there.
    if manifest is None or all(output.path != PIECES_FILE for output in manifest.outputs):
        return {name: np.empty(0, np.int64) for name in _PIECE}
    table = read_pieces(root)
    return {name: integers(joined(table, name)).astype(np.int64) for name in _PIECE}
