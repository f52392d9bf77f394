"""How good clusters are: the share of their pairs below the threshold, and what a choice of bands finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.errors import UsageError
from pipelines.lsh.sets import SetFiles
from pipelines.lsh.similarity import kernels
from pipelines.lsh.verify import millionths

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

WINDOW_BYTES = 64 << 20
_BATCH_PAIRS = 1 << 18


class PairsBelow(NamedTuple):
    """Pairs inside clusters, pairs compared, and the share of all pairs whose similarity is below the threshold.

    Where a cluster's pairs were sampled, the share found there stands for all of them.
    """

    pairs: int
    compared: int
    share: float


def s_curve(*, bands: int, rows: int, similarity: float) -> float:
    """The probability that two sets of this Jaccard similarity share a bucket.

    Source: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, ch. 3. Raises UsageError.
    """
    if bands < 1 or rows < 1 or not 0.0 <= similarity <= 1.0:
        raise UsageError(f"{bands} bands of {rows} rows at a similarity of {similarity} are no S-curve")
    return 1.0 - (1.0 - similarity**rows) ** bands


def pairs_below(
    representatives: NDArray,
    *,
    sets: Sequence[Path],
    documents: Sequence[int],
    threshold: float,
    sample: int = 64,
    seed: int = 1,
) -> PairsBelow:
    """How many pairs of documents of one cluster are not similar: union-find joins chains of similar ones.

    Clusters of up to `sample` pairs are compared whole, of larger ones `sample` pairs are drawn, by seed and cluster.
    Memory: 64 bytes per document in a cluster of several. Raises UsageError, CorruptData.
    """
    least = millionths(threshold)
    if sample < 1 or not 0 <= seed < 1 << 64:
        raise UsageError(f"{sample} pairs by the seed {seed} cannot be drawn", hint="sample=64, seed=1")
    members, ends = _clusters(representatives)
    total, compared, below = 0, 0, 0.0
    with SetFiles(sets, documents) as files:
        places, sizes = files.locate(members, limit_bytes=WINDOW_BYTES)
        for pairs, counts, of in _batches(members, ends, sample, seed):
            found = np.empty(len(pairs), np.bool_)
            done, progress = 0, np.zeros(3, np.int64)
            while done < len(pairs):
                given = files.base, places, sizes, pairs, least, done, WINDOW_BYTES // 4, found, progress
                done = kernels.similar_pairs(*given)
                files.trim(WINDOW_BYTES)
            wrong = np.add.reduceat(~found, np.cumsum(counts) - counts, dtype=np.int64)
            compared += len(pairs)
            total += int(of.sum())
            below += float((wrong * (of / counts)).sum())
    return PairsBelow(total, compared, below / total if total else 0.0)


def _clusters(representatives: NDArray) -> tuple[NDArray, NDArray[np.int64]]:
    """(members of all clusters of several documents, where each cluster ends), by representative, then number."""
    own = np.arange(len(representatives), dtype=representatives.dtype)
    others = representatives != own
    several = others.copy()
    several[representatives[others]] = True
    members = np.flatnonzero(several)
    tops = representatives[members]
    members = members[np.argsort(tops, kind="stable")]
    tops = representatives[members]
    return members, np.append(np.flatnonzero(tops[1:] != tops[:-1]) + 1, len(tops)) if len(tops) else np.empty(0, int)


def _batches(
    members: NDArray, ends: NDArray[np.int64], sample: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """(pairs of places in `members`, pairs of each cluster among them, all pairs of each), some clusters at a time."""
    room = max(_BATCH_PAIRS, sample)
    pairs, counts = np.empty((room, 2), np.int64), np.empty(room, np.int64)
    sizes = np.diff(ends, prepend=0)
    possible = sizes * (sizes - 1) // 2
    first = 0
    while first < len(ends):
        clusters, drawn = kernels.draw_pairs(members, ends, first, sample, np.uint64(seed), pairs, counts)
        yield pairs[:drawn], counts[:clusters], possible[first : first + clusters]
        first += clusters
