"""A task of the verification: the buckets of some centres in, the edges between similar members of them out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipelines.lsh import kernels as grouping
from pipelines.lsh.edges import BLOCK_EDGES, EDGES_FILE, Edges, damaged_edges, id_type
from pipelines.lsh.sets import SetFiles
from pipelines.lsh.similarity import kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RANK_FILE = "rank.npy"
# Decided pairs that are remembered; the buckets of a centre lie side by side, so that few are asked for much later.
CACHE_PAIRS = 1 << 20
_CACHED_DOCUMENTS = 1 << 31


class Centres(NamedTuple):
    """The buckets whose smallest document lies in [low, high), of one band or of all, and their number of edges."""

    low: int
    high: int
    band: int | None
    edges: int


class Rule(NamedTuple):
    """When an edge stands (threshold in millionths), and comparisons per member of a bucket before it is left alone."""

    threshold: int
    comparisons_per_member: int


class Members(NamedTuple):
    """Documents by bucket, in the order in which they become centres, and where each bucket ends."""

    items: NDArray
    ends: NDArray[np.int64]


def row_bytes(documents: int) -> int:
    """Memory of a task per edge: it, the order, and number, rank, place and size of two documents."""
    return 88 if id_type(documents).itemsize == 4 else 128


def verify_centres(
    folder: Path,
    edges: Edges,
    set_paths: Sequence[str],
    set_documents: Sequence[int],
    rank_path: str | None,
    centres: Centres,
    rule: Rule,
    window_bytes: int,
) -> dict[str, Any]:
    """A task: writes the edges of these buckets that stand; returns how many, and what was refused and left out.

    `window_bytes` bounds what of the sets is in memory at once.
    """
    members = by_rank(gather_buckets(edges, centres), rank_path)
    kind = members.items.dtype
    out = np.empty((BLOCK_EDGES, 2), kind)
    cache = np.zeros(CACHE_PAIRS if edges.documents <= _CACHED_DOCUMENTS else 0, np.uint64)
    state, progress = np.zeros(kernels.STATE_SIZE, np.int64), np.zeros(3, np.int64)
    with SetFiles([Path(path) for path in set_paths], set_documents) as sets, (folder / EDGES_FILE).open("wb") as file:
        places, sizes = sets.locate(members.items, limit_bytes=window_bytes)
        while state[kernels.BUCKET] < len(members.ends):
            # Up to twice as much may be read, beside the half of the window that may be there already.
            made = kernels.find_verified(
                members.items, places, sizes, members.ends, sets.base, *rule, window_bytes // 4, cache, out, state,
                progress,
            )  # fmt: skip
            file.write(out[:made].data.cast("B") if made else b"")
            sets.trim(window_bytes)
    return {
        "edges": int(state[kernels.VERIFIED]),
        "failed": int(state[kernels.REFUSED]),
        "capped_members": int(state[kernels.CAPPED]),
        "capped_buckets": int(state[kernels.CAPPED_BUCKETS]),
    }


def gather_buckets(edges: Edges, centres: Centres) -> Members:
    """The buckets of these centres, in the order of centres, of one centre in that of bands."""
    kind = id_type(edges.documents)
    lefts, rights = np.empty(centres.edges, kind), np.empty(centres.edges, kind)
    bands = np.empty(centres.edges, np.uint16)
    used = 0
    for band, block in edges.blocks(band=centres.band):
        used = grouping.gather_edges(block, centres.low, centres.high, band, lefts, rights, bands, used)
        if used < 0:
            break
    if used != centres.edges:
        raise damaged_edges(edges.parts[0].path, "its edges are others than a moment ago")
    # Stable, and the edges come in the order of bands.
    order = np.argsort(lefts, kind="stable")
    items, ends = np.empty(2 * used, kind), np.empty(used, np.int64)
    buckets = kernels.lay_out(lefts, bands, rights, order, items, ends)
    ends = ends[:buckets].copy()
    return Members(items[: int(ends[-1]) if buckets else 0], ends)


def by_rank(members: Members, rank_path: str | None) -> Members:
    """The same with the members of each bucket in the order of (rank, number); without ranks in that of numbers."""
    if rank_path is not None:
        ranks = np.load(rank_path, mmap_mode="r", allow_pickle=False)[members.items]
        kernels.sort_buckets(members.items, ranks, members.ends)
    return members
