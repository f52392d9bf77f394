"""Star edges and shingle sets in, the edges that stand out: those between sets of at least the threshold's similarity.

In every bucket the member of smallest rank is compared with all others; those that are not similar to it form a new
star among themselves, until none is left or the bucket has had its number of comparisons. Which edges come out depends
on the buckets, the ranks, the threshold and that number only.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import atomic_path
from pile_toolkit.core.held import refuse_if_displaced
from pile_toolkit.core.tasks import Task, run_tasks
from pipelines.lsh import kernels as grouping
from pipelines.lsh.arrays import save_array
from pipelines.lsh.edges import EDGES_FILE, EdgePart, Edges, damaged_edges
from pipelines.lsh.loading import load_verification
from pipelines.lsh.memory import MIB
from pipelines.lsh.similarity.kernels import ONE
from pipelines.lsh.stars import CACHE_PAIRS, RANK_FILE, Centres, Rule, row_bytes, verify_centres

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pile_toolkit.core.tasks import Workers
    from pipelines.lsh.memory import Memory

COMPARISONS_PER_MEMBER = 64
_CELL_BITS = 14
_CACHE_BYTES = 8 * CACHE_PAIRS
# A quarter of it is read of two sets at a time, with the pages that come with them.
_LEAST_WINDOW_BYTES = 8 * MIB


class Verified(NamedTuple):
    """Edges that stand; pairs compared that do not; members, and buckets, whose comparisons were cut short.

    A pair that stands in several buckets counts in each.
    """

    edges: Edges
    failed: int
    capped_members: int
    capped_buckets: int


def verify_edges(
    edges: Edges,
    *,
    sets: Sequence[Path],
    documents: Sequence[int],
    threshold: float,
    work: Path,
    workers: Workers,
    memory: Memory,
    rank: NDArray | None = None,
    comparisons_per_member: int = COMPARISONS_PER_MEMBER,
) -> Verified:
    """Compares the members of every bucket by their sets; `sets` are the files of `write_sets`, one per document file.

    documents: how many each document file has. threshold: a Jaccard similarity, of which six decimal places count.
    rank: one integer per document, the centre of a bucket is its member of smallest rank. Resumable in `work`. Raises
    UsageError for bad parameters or too little memory, CorruptData where a set is missing or damaged.
    """
    rule = Rule(millionths(threshold), comparisons_per_member)
    if comparisons_per_member < 1:
        raise UsageError(f"{comparisons_per_member} comparisons per member are too few", hint="at least 1")
    if sum(documents) != edges.documents or (rank is not None and rank.shape != (edges.documents,)):
        raise UsageError(f"sets, ranks and edges are of different documents: {sum(documents):,}, {edges.documents:,}")
    load_verification()
    rank_path = None if rank is None else _write_rank(work / RANK_FILE, rank)
    share = memory.per_worker(shared_bytes=0 if rank is None else rank.nbytes) - _CACHE_BYTES
    window_bytes = max(share // 2, _LEAST_WINDOW_BYTES)
    jobs = plan_centres(edges, (share - window_bytes) // row_bytes(edges.documents), memory)
    given = edges, [str(path.absolute()) for path in sets], list(documents), rank_path
    tasks = [
        Task(f"stars-{job.low}-{job.high}-{job.band}", (*given, job, rule, window_bytes), size=job.edges)
        for job in jobs
    ]
    found = run_tasks(verify_centres, tasks, work=work, workers=workers, label="verifying", unit="edges")
    parts = tuple(
        # Of no band any more.
        EdgePart(path=work / task.name / EDGES_FILE, band=0, count=result["edges"])
        for task, result in zip(tasks, found, strict=True)
    )
    failed, members, buckets = (
        sum(result[name] for result in found) for name in ("failed", "capped_members", "capped_buckets")
    )
    return Verified(Edges(documents=edges.documents, parts=parts), failed, members, buckets)


def millionths(threshold: float) -> int:
    """A threshold as the whole number that it is compared as. Raises UsageError outside (0, 1]."""
    found = round(Fraction(threshold) * ONE) if 0.0 < threshold <= 1.0 else 0
    if not found:
        raise UsageError(f"the similarity threshold is {threshold}, it lies between 0 and 1", hint="--threshold 0.8")
    return found


def _write_rank(path: Path, rank: NDArray) -> str:
    refuse_if_displaced()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, needs_bytes=rank.nbytes) as temporary:
        save_array(temporary, rank)
    return str(path.absolute())


def plan_centres(edges: Edges, limit: int, memory: Memory) -> list[Centres]:
    """Ranges of centres with at most `limit` edges each; where a few centres have more, those of one band at a time."""
    shift = max(0, (edges.documents - 1).bit_length() - _CELL_BITS)
    bands = 1 + max((part.band for part in edges.parts), default=0)
    counts = np.zeros((bands, 1 << _CELL_BITS), np.int64)
    for band, block in edges.blocks():
        if not grouping.count_centres(block, shift, counts[band]):
            raise damaged_edges(edges.parts[0].path, f"a document is not below {edges.documents:,}")
    jobs, first, total = [], 0, 0
    for cell, count in enumerate(counts.sum(axis=0).tolist()):
        if total + count > limit:
            if total:
                jobs.append(Centres(first << shift, cell << shift, None, total))
            first, total = cell, 0
        if count > limit:
            jobs += _by_band(cell << shift, (cell + 1) << shift, counts[:, cell], limit, edges, memory)
            first = cell + 1
            continue
        total += count
    if total:
        jobs.append(Centres(first << shift, edges.documents, None, total))
    return jobs


def _by_band(low: int, high: int, counts: NDArray[np.int64], limit: int, edges: Edges, memory: Memory) -> list[Centres]:
    largest = int(counts.max())
    if largest > limit:
        more_bytes = (largest - limit) * row_bytes(edges.documents) * 4 // 3 * memory.jobs
        raise memory.too_little(memory.limit_bytes + more_bytes, jobs=memory.jobs)
    return [Centres(low, high, band, count) for band, count in enumerate(counts.tolist()) if count]
