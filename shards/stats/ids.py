"""Every id of a `.bin` in, two counts per id out: how often it is stored, and how often one epoch reads it.

One pass in blocks over the mapped file, several at a time; sequences that share or overlap bytes are counted rightly.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import CorruptData
from shards.format import data_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pile_toolkit.core.console import Reporter
    from shards.dataset import TokenDataset

BLOCK_IDS = 8 << 20
FEWEST_COUNTERS = 1 << 16
# No vocabulary is near it; the counters of a damaged file must not fill the memory.
MOST_COUNTERS = 1 << 24


class IdCounts(NamedTuple):
    """int64 per id, of one length: `stored` in the `.bin`, `read` by the sequences of the index, copies counted."""

    stored: NDArray[np.int64]
    read: NDArray[np.int64]


def count_all_ids(
    dataset: TokenDataset, *, vocab_size: int | None = None, jobs: int = 1, reporter: Reporter = SILENT
) -> IdCounts:
    """Counts every id of a data set; arrays of `vocab_size`, without it as long as the highest id demands.

    Raises CorruptData for a negative id and one past the vocabulary.
    """
    starts = dataset.pointers // dataset.dtype.itemsize
    ends = starts + dataset.sizes
    for items in (starts, ends):
        items.sort()
    count = partial(_count_block, dataset, starts, ends, vocab_size)
    total = IdCounts(*(np.zeros(vocab_size or 0, np.int64) for _ in range(2)))
    blocks = range(0, len(dataset.ids), BLOCK_IDS)
    with (
        reporter.progress("ids", total=dataset.ids.nbytes, unit="bytes") as advance,
        ThreadPoolExecutor(jobs) as pool,
    ):
        for block, found in zip(blocks, pool.map(count, blocks), strict=True):
            total = _sum(total, found)
            advance(dataset.ids[block : block + BLOCK_IDS].nbytes)
    highest = int(np.flatnonzero(total.stored).max(initial=-1))
    return IdCounts(*(counts[: vocab_size or highest + 1] for counts in total))


def _count_block(dataset: TokenDataset, starts: NDArray, ends: NDArray, vocab_size: int | None, first: int) -> IdCounts:
    # numba takes 0.6 s to import, which only those who count ids should pay.
    from shards.stats.kernels import count_ids

    ids = dataset.ids[first : first + BLOCK_IDS]
    counters = vocab_size or FEWEST_COUNTERS
    counts = IdCounts(np.zeros(counters, np.int64), np.zeros(counters, np.int64))
    done = 0
    while True:
        place = first + done
        opened, closed = (int(np.searchsorted(items, place, side="right")) for items in (starts, ends))
        done += count_ids(ids[done:], place, starts, ends, opened, closed, *counts)
        if done == len(ids):
            dataset.forget(first, len(ids))
            return counts
        wrong = int(ids[done])
        if wrong < 0 or vocab_size or wrong >= MOST_COUNTERS:
            raise _outside(dataset, first + done, vocab_size)
        more = np.zeros(min(max(2 * wrong, FEWEST_COUNTERS), MOST_COUNTERS), np.int64)
        counts = _sum(counts, IdCounts(more, more))


def _outside(dataset: TokenDataset, place: int, vocab_size: int | None) -> CorruptData:
    limit = f"a vocabulary of {vocab_size:,}" if vocab_size else "any vocabulary"
    return CorruptData(
        f"{data_path(dataset.prefix)} has id {dataset.ids[place]} at byte {place * dataset.dtype.itemsize:,}, "
        f"outside {limit}",
        hint=f"pile shards verify {dataset.prefix}",
    )


def _sum(left: IdCounts, right: IdCounts) -> IdCounts:
    """Both counts together, as long as the longer."""
    longer, shorter = (left, right) if len(left.stored) >= len(right.stored) else (right, left)
    summed = IdCounts(*(counts.copy() for counts in longer))
    for total, counts in zip(summed, shorter, strict=True):
        total[: len(counts)] += counts
    return summed
