"""Word counts in, merges out, in order: those of the `tokenizers` library's BpeTrainer, with counts of 64 bits.

In memory: 4 bytes per byte of every distinct word and 12 a word; twice 8 bytes per place of a pair that counts enough
to be merged soon; 32 bytes per distinct pair. That is bounded by the distinct words, however long the text was.
Time grows with the places that change. Source: Sennrich et al., 2016; the lazy heap is that of `tokenizers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tokenizer.training.merging import kernels
from tokenizer.training.pairs import kernels as pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tokenizer.training.counting.words import WordCounts

# The next threshold is this part of the highest count: lower ones name more places that are never looked up, higher
# ones count all pairs again more often. On 75 MB of text: 16 to 256 differ by a fifth.
THRESHOLD_SHARE = 256
# Progress is told after so many merges.
MERGES_AT_ONCE = 500
SMALLEST_TABLE = 1 << 12


def find_merges(
    words: WordCounts,
    *,
    symbol_of_byte: NDArray[np.int32],
    first_id: int,
    limit: int,
    advance: Callable[[int], object] = lambda merges: None,
) -> NDArray[np.int64]:
    """At most `limit` pairs of symbols, int64[merges, 2]; fewer where the words have no more.

    The most frequent pair comes first, of equal ones that of the lower ids; merge number k makes the symbol
    `first_id` + k. `symbol_of_byte`: int32[256], below `first_id`. `advance` is called with merges as they are made.
    """
    stream = np.empty(len(words.data) + pairs.HEADER * len(words.ends), np.int32)
    cells = pairs.write_words(words.data, words.ends, words.counts, symbol_of_byte, stream)
    found = np.zeros(min(limit, cells), np.int64)
    # Per symbol that there can be: what stands before the pair at work, and after it.
    left, right = (np.zeros((first_id + len(found), 2), np.int64) for _ in range(2))
    touched = np.empty((2, first_id + len(found)), np.int64)
    state = np.zeros(kernels.STATE_SIZE, np.int64)
    expected, done = SMALLEST_TABLE, 0
    while done < len(found):
        cells = pairs.compact(stream, cells)
        index = _Index.build(stream, cells, state, expected)
        if index is None:
            break
        expected = index.distinct
        status = kernels.REACHED
        while status == kernels.REACHED and done < len(found):
            until = min(done + MERGES_AT_ONCE, len(found))
            status = kernels.merge_pairs(
                stream, *index.arrays, left, right, touched, found, state, index.threshold, until
            )
            advance(int(state[kernels.MERGES]) - done)
            done = int(state[kernels.MERGES])
    found = found[:done]
    return np.stack([found >> pairs.SYMBOL_BITS, found & pairs.SYMBOL_MASK], axis=1)


class _Index:
    """The pairs that count enough, and where they stand: made new whenever the threshold falls or an array is full."""

    def __init__(self, *, distinct: int, threshold: int, places: int, largest: int, live: int, place: type) -> None:
        self.distinct, self.threshold = distinct, threshold
        # Twice as many as there are now: merging makes new ones.
        capacity = 2 * live + SMALLEST_TABLE + 4 * largest
        self.table = _empty_table(2 * capacity)
        self.pool: NDArray = np.empty(2 * places + 2 * largest + SMALLEST_TABLE, place)
        self.heap = np.empty((2, capacity), np.int64)
        self.records = np.empty((2 * largest, 2), np.int64)
        self.sizes = np.zeros(3, np.int64)

    @property
    def arrays(self) -> tuple[NDArray, ...]:
        """In the order in which `merge_pairs` takes them."""
        return self.table, self.pool, self.heap[0], self.heap[1], self.records, self.sizes

    @classmethod
    def build(cls, stream: NDArray[np.int32], cells: int, state: NDArray[np.int64], expected: int) -> _Index | None:
        """The index of a compact stream, None where it has no pair."""
        counted = _count_pairs(stream, cells, expected)
        highest = int(counted[:, pairs.COUNT].max(initial=0))
        if highest == 0:
            return None
        threshold = max(1, highest // THRESHOLD_SHARE)
        totals = np.zeros(3, np.int64)
        pairs.measure(counted, threshold, totals)
        live, places, largest = totals.tolist()
        index = cls(
            distinct=int((counted[:, pairs.KEY] != pairs.EMPTY).sum()),
            threshold=threshold,
            places=places,
            largest=largest,
            live=live,
            # A place is the cell where a word begins.
            place=np.int32 if cells < 2**31 else np.int64,
        )
        state[kernels.HEAP_SIZE :] = 0
        kernels.take_over(counted, threshold, index.table, index.heap[0], index.heap[1], state)
        del counted
        pairs.place_words(stream, cells, index.table, index.pool)
        return index


def _count_pairs(stream: NDArray[np.int32], cells: int, expected: int) -> NDArray[np.int64]:
    while True:
        table = _empty_table(2 * expected)
        if pairs.count_pairs(stream, cells, table, len(table) // 2) >= 0:
            return table
        expected = 2 * len(table)


def _empty_table(rows: int) -> NDArray[np.int64]:
    """A table of at least so many rows, a power of two."""
    table = np.zeros((1 << max(rows - 1, SMALLEST_TABLE).bit_length(), 4), np.int64)
    table[:, pairs.KEY] = pairs.EMPTY
    return table
