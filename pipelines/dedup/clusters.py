"""Columns of the documents in, cluster and fate of every row out: what is equal, what is near, who is kept.

Memory beside what the parts of `pipelines.lsh` take of their own: 17 bytes a document (rank 8, the group of equal texts
4, the cluster 4, the reason 1), some more once there are 2^31 documents.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.dedup.verification import verify_candidates
from pipelines.keep_list import REASONS
from pipelines.lsh import kernels
from pipelines.lsh.buckets import find_buckets
from pipelines.lsh.columns import BandFiles
from pipelines.lsh.edges import BLOCK_EDGES, Edges
from pipelines.lsh.joining import joined, representatives

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pile_toolkit.core.components import ComponentFile
    from pile_toolkit.core.tasks import Workers
    from pipelines.dedup.documents import Documents
    from pipelines.dedup.settings import Settings
    from pipelines.dedup.verification import Evidence
    from pipelines.lsh.memory import Memory

BYTES_PER_DOCUMENT = 17
_EXACT, _NEAR = REASONS.index("exact duplicate"), REASONS.index("near duplicate")


class Fates(NamedTuple):
    """`cluster` is the row of the kept member, `reason` a place in REASONS (uint8); evidence where it was verified."""

    cluster: NDArray
    reason: NDArray[np.uint8]
    evidence: Evidence | None


def decide(
    documents: Documents,
    files: Sequence[ComponentFile],
    settings: Settings,
    priority: Sequence[int],
    *,
    work: Path,
    workers: Workers,
    memory: Memory,
) -> Fates:
    """The fate of every document; `files` are the document files in order, `priority` a place for each component.

    Resumable in `work`. Raises UsageError for too little memory, CorruptData.
    """
    reason = np.zeros(len(documents), np.uint8)
    if settings.method == "none" or not len(documents):
        return Fates(np.arange(len(documents), dtype=documents.id_type), reason, None)
    memory.check_here(BYTES_PER_DOCUMENT * len(documents))
    equal = equal_texts(documents, work=work / "exact", workers=workers, memory=_holding(memory, len(documents)))
    rank = documents.ranks(priority)
    kernels.crown(equal, rank)
    if settings.signature is None:
        name_reasons(reason, equal, equal)
        return Fates(equal, reason, None)
    held = _holding(memory, equal.nbytes + rank.nbytes + reason.nbytes)
    found = find_buckets(BandFiles(documents.near), work=work / "near", workers=workers, memory=held)
    edges, evidence = found.edges, None
    if settings.verify:
        given = documents, files, settings, found.edges, rank
        edges, evidence = verify_candidates(*given, work=work, workers=workers, memory=held)
    cluster = joined(len(documents), _both(equal, edges), rank=rank)
    name_reasons(reason, cluster, equal)
    return Fates(cluster, reason, evidence)


def _holding(memory: Memory, held_bytes: int) -> Memory:
    return dataclasses.replace(memory, held_bytes=memory.held_bytes + held_bytes)


def equal_texts(documents: Documents, *, work: Path, workers: Workers, memory: Memory) -> NDArray:
    """The smallest row with the same 128-bit hash for each row: exact, and never with all hashes in memory.

    Each half of the hash is a band of its own. Rows are equal where both halves are, and a half is as good as the
    smallest row that has it: nearly everywhere both are the same row, and the rest fits anywhere.
    """
    found = find_buckets(BandFiles(documents.exact), work=work, workers=workers, memory=memory)
    parts = found.edges.parts
    group, other = (
        representatives(Edges(documents=len(documents), parts=tuple(part for part in parts if part.band == half)))
        for half in range(2)
    )
    return same_in_both(group, other)


def same_in_both(group: NDArray, other: NDArray) -> NDArray:
    """The smallest row that is in the same group as each row in both groupings, of which `group` becomes the result.

    A group is named by its smallest row.
    """
    apart = np.flatnonzero(group != other)
    if apart.size:
        pairs = np.stack([group[apart], other[apart]], axis=1)
        _, first, number = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
        group[apart] = apart[first[number.ravel()]]
    return group


def _both(equal: NDArray, edges: Edges) -> Iterator[NDArray]:
    """Edges of equal texts, then the others, in blocks."""
    for first in range(0, len(equal), BLOCK_EDGES):
        part = equal[first : first + BLOCK_EDGES]
        rows = np.arange(first, first + len(part), dtype=equal.dtype)
        others = part != rows
        yield np.stack([part[others], rows[others]], axis=1)
    for _, block in edges.blocks():
        yield block


def name_reasons(reason: NDArray[np.uint8], cluster: NDArray, equal: NDArray) -> None:
    """Fills in why rows go: of equal texts that all went for a third the one that would have stayed is a near one."""
    for first in range(0, len(reason), BLOCK_EDGES):
        some = slice(first, first + BLOCK_EDGES)
        rows = np.arange(first, first + len(reason[some]), dtype=cluster.dtype)
        reason[some][cluster[some] != rows] = _NEAR
        reason[some][equal[some] != rows] = _EXACT
