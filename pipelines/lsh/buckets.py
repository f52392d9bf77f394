"""Columns of band hashes in, star edges of all buckets out: from the smallest document of each to all others.

Two phases of tasks. First the keys of each band are counted by cell (the highest 12 bits); then each task takes as many
cells as fit into its memory, reads the column once, puts the rows in order of their cells, and finds equal keys by a
hash table per cell, which stays in the processor's cache. A band whose rows do not fit is read several times, which is
cheaper than writing partitions. A cell that is too large alone is cut into cells of its own, down to a single key,
which needs no memory: nobody's hashes can make it more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xxhash

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.tasks import Task, run_tasks
from pipelines.lsh import kernels
from pipelines.lsh.arrays import save_array
from pipelines.lsh.columns import BLOCK_DOCUMENTS, BandFiles
from pipelines.lsh.edges import BLOCK_EDGES, EDGES_FILE, EdgePart, Edges, id_type
from pipelines.lsh.loading import load_buckets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pile_toolkit.core.tasks import Workers
    from pipelines.lsh.memory import Memory

# More are more than a processor's caches can write to at once: with 14 bits a row takes three times as long.
CELL_BITS = 12
KEY_BITS = 64
COUNTS_FILE = "counts.npy"
# Small parts are done by one task: a task costs some 10 ms, most of it waiting for the disk.
TASK_ROWS = 1 << 20


class Span(NamedTuple):
    """Keys of a band from `low` on, in so many cells of 2^shift keys."""

    band: int
    low: int
    shift: int
    cells: int

    @classmethod
    def whole(cls, band: int) -> Span:
        """All keys of a band."""
        return cls(band, 0, KEY_BITS - CELL_BITS, 1 << CELL_BITS)

    def inner(self, cell: int) -> Span:
        """A cell as a span of its own."""
        shift = max(self.shift - CELL_BITS, 0)
        return Span(self.band, self.low + (cell << self.shift), shift, 1 << (self.shift - shift))


class Piece(NamedTuple):
    """Cells [first, end) of a span, which are in memory together, and how many rows they have."""

    span: Span
    first: int
    end: int
    rows: int

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
    # What joins the edges afterwards, said before anything is done.
    memory.check_here(documents * id_type(documents).itemsize)
    pieces: list[Piece] = []
    counted: dict[Span, tuple[str, int]] = {}
    spans = [Span.whole(band) for band in range(columns.bands)] if documents else []
    while spans:
        larger = []
        for span, place in count_cells(columns, spans, work=work, workers=workers):
            counted[span] = place
            fitting, too_large = cut(span, _counts(work, place), limit_bytes, id_type(documents).itemsize)
            pieces += fitting
            larger += too_large
        spans = larger
    pieces.sort(key=lambda piece: (piece.span.band, piece.low))
    groups = list(grouped(pieces, [piece.rows for piece in pieces]))
    tasks = [
        Task(
            _name("edges", group),
            (_paths(columns), group, [counted[piece.span] for piece in group]),
            size=sum(piece.rows for piece in group),
        )
        for group in groups
    ]
    found = run_tasks(write_edges, tasks, work=work, workers=workers, label="finding buckets", unit="hashes")
    parts = tuple(
        EdgePart(path=work / task.name / f"{EDGES_FILE}-{number}", band=piece.span.band, count=edges)
        for task, group, results in zip(tasks, groups, found, strict=True)
        for number, (piece, (edges, _)) in enumerate(zip(group, results, strict=True))
    )
    edges = Edges(documents=documents, parts=parts)
    buckets = sum(each for results in found for _, each in results)
    return Buckets(edges, buckets, edges.count + buckets)


def count_cells(
    columns: BandFiles, spans: Sequence[Span], *, work: Path, workers: Workers
) -> Iterator[tuple[Span, tuple[str, int]]]:
    """Counts the keys in the cells of spans; every span with where its counts are: the task, and which of its spans."""
    groups = list(grouped(spans, [columns.documents] * len(spans)))
    names = [_name("cells", group) for group in groups]
    tasks = [
        Task(name, (_paths(columns), group), size=columns.documents * len(group))
        for name, group in zip(names, groups, strict=True)
    ]
    run_tasks(count_spans, tasks, work=work, workers=workers, label="counting band hashes", unit="hashes")
    for name, group in zip(names, groups, strict=True):
        yield from ((span, (name, number)) for number, span in enumerate(group))


def _counts(work: Path, place: tuple[str, int]) -> NDArray[np.int64]:
    name, number = place
    return np.load(work / name / COUNTS_FILE, allow_pickle=False)[number]


def grouped(parts: Sequence[Any], rows: Sequence[int]) -> Iterator[list[Any]]:
    """Consecutive parts, as many together as have TASK_ROWS rows, or one."""
    group: list[Any] = []
    total = 0
    for part, count in zip(parts, rows, strict=True):
        if group and total + count > TASK_ROWS:
            yield group
            group, total = [], 0
        group.append(part)
        total += count
    if group:
        yield group


def _name(kind: str, group: Sequence[Span] | Sequence[Piece]) -> str:
    """Of a task, by all that it does: another memory may put other parts together."""
    return f"{kind}-{xxhash.xxh3_64_hexdigest(repr([tuple(part) for part in group]).encode())}"


def _paths(columns: BandFiles) -> list[str]:
    return [str(path.absolute()) for path in columns.paths]


def cut(span: Span, counts: NDArray[np.int64], limit_bytes: int, id_bytes: int) -> tuple[list[Piece], list[Span]]:
    """(pieces that fit into the memory, cells that do not and are to be counted further)."""
    total, most = int(counts.sum()), int(counts.max(initial=0))
    if piece_bytes(total, most, id_bytes) <= limit_bytes:
        return [Piece(span, 0, span.cells, total)] if total else [], []
    pieces: list[Piece] = []
    larger: list[Span] = []
    first, rows, largest = 0, 0, 0
    for cell, count in enumerate(counts.tolist()):
        if piece_bytes(rows + count, max(largest, count), id_bytes) > limit_bytes:
            if rows:
                pieces.append(Piece(span, first, cell, rows))
            first, rows, largest = cell, 0, 0
            if piece_bytes(count, count, id_bytes) > limit_bytes:
                # A single key is not held in memory.
                if span.shift > 0:
                    larger.append(span.inner(cell))
                else:
                    pieces.append(Piece(span, cell, cell + 1, count))
                first = cell + 1
                continue
        rows, largest = rows + count, max(largest, count)
    if rows:
        pieces.append(Piece(span, first, span.cells, rows))
    return pieces, larger


def piece_bytes(rows: int, largest: int, id_bytes: int) -> int:
    """Memory of a task: its rows, the hash table of its largest cell, the edges of it."""
    return rows * (8 + id_bytes) + _table_size(largest) * (8 + id_bytes) + _room(largest) * 2 * id_bytes


def _table_size(rows: int) -> int:
    return max(4, 1 << (2 * rows - 1).bit_length()) if rows else 4


def _room(largest: int) -> int:
    return max(BLOCK_EDGES, largest)


def count_spans(folder: Path, paths: Sequence[str], spans: Sequence[Span]) -> None:
    """A task: writes how many keys of some spans, all of as many cells, lie in each cell."""
    columns = BandFiles([Path(path) for path in paths])
    counts = np.zeros((len(spans), spans[0].cells), np.int64)
    for span, found in zip(spans, counts, strict=True):
        for _, hashes in columns.blocks(span.band):
            kernels.count_cells(hashes, np.uint64(span.low), np.uint64(span.shift), found)
    save_array(folder / COUNTS_FILE, counts)


def write_edges(
    folder: Path, paths: Sequence[str], pieces: Sequence[Piece], counted: Sequence[tuple[str, int]]
) -> list[tuple[int, int]]:
    """A task: writes the star edges of the buckets in some pieces; returns (edges, buckets) of each.

    `counted` says where the counts of each piece's span are, beside the folder.
    """
    columns = BandFiles([Path(path) for path in paths])
    found = []
    for number, (piece, place) in enumerate(zip(pieces, counted, strict=True)):
        with (folder / f"{EDGES_FILE}-{number}").open("wb") as stream:
            if piece.span.shift == 0 and piece.end - piece.first == 1:
                found.append(_write_single(columns, piece, stream))
            else:
                counts = _counts(folder.parent, place)[piece.first : piece.end]
                found.append(_write_piece(columns, piece, counts, stream))
    return found


def _write_piece(columns: BandFiles, piece: Piece, counts: NDArray[np.int64], stream: Any) -> tuple[int, int]:
    """(edges, buckets) of a piece whose rows are in memory."""
    keys, ids, ends = collect(columns, piece, counts)
    largest = int(counts.max(initial=0))
    table = np.empty(_table_size(largest), np.uint64), np.empty(_table_size(largest), ids.dtype)
    edges = np.empty((_room(largest), 2), ids.dtype)
    state = np.zeros(2, np.int64)
    total = 0
    while state[0] < len(ends):
        made = kernels.find_stars(keys, ids, ends, *table, edges, state)
        stream.write(edges[:made].data.cast("B") if made else b"")
        total += made
    return total, int(state[1])


def collect(
    columns: BandFiles, piece: Piece, counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray, NDArray[np.int64]]:
    """(keys, document numbers, ends of the cells) of a piece: in the order of cells, in a cell of documents."""
    keys, ids = np.empty(piece.rows, np.uint64), np.empty(piece.rows, id_type(columns.documents))
    ends = np.cumsum(counts)
    places = ends - counts
    low, shift = np.uint64(piece.low), np.uint64(piece.span.shift)
    for first, hashes in columns.blocks(piece.span.band):
        if not kernels.scatter(hashes, first, low, shift, places, keys, ids):
            break
    if len(counts) == 0 or ends[-1] != piece.rows or not np.array_equal(places, ends):
        raise CorruptData(
            f"the band hashes in {columns.paths[0].parent} are others than a moment ago",
            hint="remove the work folder, then the same command again",
        )
    return keys, ids, ends


def _write_single(columns: BandFiles, piece: Piece, stream: Any) -> tuple[int, int]:
    """The same for one key, with one block of hashes in memory."""
    edges = np.empty((BLOCK_DOCUMENTS, 2), id_type(columns.documents))
    centre, total = -1, 0
    for first, hashes in columns.blocks(piece.span.band):
        made, centre = kernels.list_equal(hashes, first, np.uint64(piece.low), centre, edges)
        stream.write(edges[:made].data.cast("B") if made else b"")
        total += made
    return total, int(total > 0)
