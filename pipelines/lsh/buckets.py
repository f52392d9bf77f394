"""Columns of band hashes in, star edges of all buckets out: from the smallest document of each to all others.

Two phases of tasks. First the keys of each band are counted by cell (the highest 14 bits); then each task takes as many
cells as fit into its memory, reads the column once, puts the rows in order of their cells, and finds equal keys by a
hash table per cell, which stays in the processor's cache. A band whose rows do not fit is read several times, which is
cheaper than writing partitions. A cell that is too large alone is cut into cells of its own, down to a single key,
which needs no memory: nobody's hashes can make it more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.tasks import Task, run_tasks
from pipelines.lsh import kernels
from pipelines.lsh.columns import BLOCK_DOCUMENTS, BandFiles
from pipelines.lsh.edges import BLOCK_EDGES, EDGES_FILE, EdgePart, Edges, id_type
from pipelines.lsh.loading import load_buckets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pile_toolkit.core.tasks import Workers
    from pipelines.lsh.memory import Memory

CELL_BITS = 14
KEY_BITS = 64
COUNTS_FILE = "counts.npy"


class Span(NamedTuple):
    """Keys of a band from `low` on, in cells of 2^shift keys."""

    band: int
    low: int
    shift: int

    @property
    def cells(self) -> int:
        """At most 2^14; none reaches past the last key."""
        return min(1 << CELL_BITS, ((1 << KEY_BITS) - self.low) >> self.shift)

    def inner(self, cell: int) -> Span:
        """A cell as a span of its own."""
        return Span(self.band, self.low + (cell << self.shift), max(self.shift - CELL_BITS, 0))


class Piece(NamedTuple):
    """Cells [first, end) of a span, for one task."""

    span: Span
    first: int
    end: int

    @property
    def low(self) -> int:
        """Its first key."""
        return self.span.low + (self.first << self.span.shift)


class Buckets(NamedTuple):
    """Star edges, the number of buckets of at least two documents in all bands, and of memberships in them."""

    edges: Edges
    buckets: int
    members: int


def find_buckets(columns: BandFiles, *, work: Path, workers: Workers, memory: Memory) -> Buckets:
    """The edges of all buckets, as files in folders of `work`; linear in the documents, whatever they are.

    Resumable: finished parts in `work` are not made again. The edges are the same set for any workers and any memory.
    Raises UsageError where the memory is too little, CorruptData.
    """
    documents = columns.documents
    load_buckets()
    limit_bytes = memory.per_worker()
    paths = [str(path.absolute()) for path in columns.paths]
    pieces: list[Piece] = []
    spans = [Span(band, 0, KEY_BITS - CELL_BITS) for band in range(columns.bands)] if documents else []
    while spans:
        tasks = [Task(f"cells-{_name(span)}", (paths, span), size=documents) for span in spans]
        run_tasks(count_span, tasks, work=work, workers=workers, label="counting band hashes", unit="hashes")
        larger = []
        for span, task in zip(spans, tasks, strict=True):
            counts = np.load(work / task.name / COUNTS_FILE, allow_pickle=False)
            fitting, too_large = cut(span, counts, limit_bytes, id_type(documents).itemsize)
            pieces += fitting
            larger += too_large
        spans = larger
    pieces.sort(key=lambda piece: (piece.span.band, piece.low))
    tasks = [Task(f"edges-{_name(piece.span)}-{piece.first}-{piece.end}", (paths, piece)) for piece in pieces]
    found = run_tasks(write_edges, tasks, work=work, workers=workers, label="finding buckets", unit="parts")
    parts = tuple(
        EdgePart(path=work / task.name / EDGES_FILE, band=piece.span.band, count=result["edges"])
        for task, piece, result in zip(tasks, pieces, found, strict=True)
    )
    edges = Edges(documents=documents, parts=parts)
    buckets = sum(result["buckets"] for result in found)
    return Buckets(edges, buckets, edges.count + buckets)


def _name(span: Span) -> str:
    return f"{span.band}-{span.low:016x}-{span.shift}"


def cut(span: Span, counts: NDArray[np.int64], limit_bytes: int, id_bytes: int) -> tuple[list[Piece], list[Span]]:
    """(pieces that fit into the memory, cells that do not and are to be counted further)."""
    pieces, larger = [], []
    first, rows, largest = 0, 0, 0
    for cell, count in enumerate(counts.tolist()):
        if piece_bytes(rows + count, max(largest, count), id_bytes) > limit_bytes:
            if rows:
                pieces.append(Piece(span, first, cell))
            first, rows, largest = cell, 0, 0
            if piece_bytes(count, count, id_bytes) > limit_bytes:
                # A single key is not held in memory.
                if span.shift > 0:
                    larger.append(span.inner(cell))
                else:
                    pieces.append(Piece(span, cell, cell + 1))
                first = cell + 1
                continue
        rows, largest = rows + count, max(largest, count)
    if rows:
        pieces.append(Piece(span, first, span.cells))
    return pieces, larger


def piece_bytes(rows: int, largest: int, id_bytes: int) -> int:
    """Memory of a task: its rows, the hash table of its largest cell, the edges of it."""
    return rows * (8 + id_bytes) + _table_size(largest) * (8 + id_bytes) + _room(largest) * 2 * id_bytes


def _table_size(rows: int) -> int:
    return max(4, 1 << (2 * rows - 1).bit_length()) if rows else 4


def _room(largest: int) -> int:
    return max(BLOCK_EDGES, largest)


def count_span(folder: Path, paths: Sequence[str], span: Span) -> None:
    """A task: writes how many keys of a band lie in each cell."""
    counts = np.zeros(span.cells, np.int64)
    for _, hashes in BandFiles([Path(path) for path in paths]).blocks(span.band):
        kernels.count_cells(hashes, np.uint64(span.low), np.uint64(span.shift), counts)
    np.save(folder / COUNTS_FILE, counts, allow_pickle=False)


def write_edges(folder: Path, paths: Sequence[str], piece: Piece) -> dict[str, Any]:
    """A task: writes the star edges of the buckets in some cells; returns how many edges and buckets there are."""
    columns = BandFiles([Path(path) for path in paths])
    counts = np.load(folder.parent / f"cells-{_name(piece.span)}" / COUNTS_FILE, allow_pickle=False)
    counts = counts[piece.first : piece.end]
    with (folder / EDGES_FILE).open("wb") as stream:
        if piece.span.shift == 0 and len(counts) == 1:
            made = _write_single(columns, piece, stream)
            return {"edges": made, "buckets": int(made > 0)}
        kind = id_type(columns.documents)
        keys, ids, ends = collect(columns, piece, counts)
        largest = int(counts.max(initial=0))
        table = np.empty(_table_size(largest), np.uint64), np.empty(_table_size(largest), kind)
        edges = np.empty((_room(largest), 2), kind)
        state = np.zeros(2, np.int64)
        total = 0
        while state[0] < len(ends):
            made = kernels.find_stars(keys, ids, ends, *table, edges, state)
            stream.write(edges[:made].data.cast("B") if made else b"")
            total += made
    return {"edges": total, "buckets": int(state[1])}


def collect(
    columns: BandFiles, piece: Piece, counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray, NDArray[np.int64]]:
    """(keys, document numbers, ends of the cells) of a piece: in the order of cells, in a cell of documents."""
    rows = int(counts.sum())
    keys, ids = np.empty(rows, np.uint64), np.empty(rows, id_type(columns.documents))
    ends = np.cumsum(counts)
    places = ends - counts
    low, shift = np.uint64(piece.low), np.uint64(piece.span.shift)
    for first, hashes in columns.blocks(piece.span.band):
        if not kernels.scatter(hashes, first, low, shift, places, keys, ids):
            break
    if not np.array_equal(places, ends):
        raise CorruptData(
            f"the band hashes in {columns.paths[0].parent} are others than a moment ago",
            hint="remove the work folder, then the same command again",
        )
    return keys, ids, ends


def _write_single(columns: BandFiles, piece: Piece, stream: Any) -> int:
    """The edges of one key, in the order of documents, with one block of hashes in memory."""
    edges = np.empty((BLOCK_DOCUMENTS, 2), id_type(columns.documents))
    centre, total = -1, 0
    for first, hashes in columns.blocks(piece.span.band):
        made, centre = kernels.list_equal(hashes, first, np.uint64(piece.low), centre, edges)
        stream.write(edges[:made].data.cast("B") if made else b"")
        total += made
    return total
