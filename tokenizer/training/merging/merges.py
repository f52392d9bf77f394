"""Word counts in, merges out, in order: those of the `tokenizers` library's BpeTrainer, with counts of 64 bits.

In memory: 4 bytes per byte of every distinct word and 12 a word; twice 4 bytes per place of a pair that counts enough
to be merged soon, 16 per place of the one that has most; up to 128 bytes per distinct pair. That is bounded by the
distinct words, however long the text was. Time grows with the places that change, also in a word of megabytes.
Source: Sennrich et al., 2016; the lazy heap is that of `tokenizers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.errors import UsageError
from tokenizer.training.long_words import kernels as long_words
from tokenizer.training.merging import kernels
from tokenizer.training.pairs import kernels as pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tokenizer.training.counting.words import WordCounts

# The next threshold is this part of the highest count: lower ones name more places that are never looked up, higher
# ones count all pairs again more often. On 75 MB of text: 16 to 256 differ by a fifth.
THRESHOLD_SHARE = 256
# Of the pairs above it so many are indexed, and those that occur as often: of millions that occur a few times each most
# are never merged.
MOST_PAIRS = 1 << 18
# Progress is told after so many merges.
MERGES_AT_ONCE = 500
SMALLEST_TABLE = 1 << 12
# A word of up to so many bytes is looked through for every merge in it, in a longer one each pair has its own place.
# On 1 GB of text 32 to 1,024 make no difference.
LONGEST_SHORT_BYTES = 64
LONGEST_WORD_BYTES = 2**31 - 1


class Found(NamedTuple):
    """Merges in order: `pairs` int64[merges, 2] of symbols, `counts` int64, how often each occurred, never rising."""

    pairs: NDArray[np.int64]
    counts: NDArray[np.int64]


def find_merges(
    words: WordCounts,
    *,
    symbol_of_byte: NDArray[np.int32],
    first_id: int,
    limit: int,
    advance: Callable[[int, int], object] = lambda merges, count: None,
) -> Found:
    """At most `limit` merges; fewer where the words have no more.

    The most frequent pair comes first, of equal ones that of the lower ids; merge number k makes the symbol
    `first_id` + k. `symbol_of_byte`: int32[256], below `first_id`. `advance` is called with the number of merges made
    since the last call, and how often the pair of the last one occurred.
    """
    stream = _Stream(words, symbol_of_byte)
    found, counts = (np.zeros(min(limit, stream.cells), np.int64) for _ in range(2))
    # Per symbol that there can be: what stands before the pair at work, and after it.
    left, right = (np.zeros((first_id + len(found), 2), np.int64) for _ in range(2))
    touched = np.empty((2, first_id + len(found)), np.int64)
    state = np.zeros(kernels.STATE_SIZE, np.int64)
    expected, done = SMALLEST_TABLE, 0
    while done < len(found):
        stream.compact()
        index = _Index.build(stream, state, symbols=len(left), expected=expected)
        if index is None:
            break
        expected = index.distinct
        status = kernels.REACHED
        while status == kernels.REACHED and done < len(found):
            until = min(done + MERGES_AT_ONCE, len(found))
            status = kernels.merge_pairs(
                *stream.arrays, *index.arrays, left, right, touched, found, counts, state, index.threshold, until
            )
            before, done = done, int(state[kernels.MERGES])
            if done > before:
                advance(done - before, int(counts[done - 1]))
        # Before the next one is made.
        del index
    found = found[:done]
    return Found(np.stack([found >> pairs.SYMBOL_BITS, found & pairs.SYMBOL_MASK], axis=1), counts[:done])


class _Stream:
    """The words as symbols: short ones, then long ones; how many cells they take, and where the long ones begin."""

    def __init__(self, words: WordCounts, symbol_of_byte: NDArray[np.int32]) -> None:
        lengths = np.diff(words.ends, prepend=0)
        if (longest := int(lengths.max(initial=0))) > LONGEST_WORD_BYTES:
            raise UsageError(
                f"a word of {longest:,} bytes is in the text, at most {LONGEST_WORD_BYTES:,} can be trained on",
                hint="leave the document without white space out",
            )
        self.symbols = np.empty(len(words.data) + pairs.HEADER * len(words.ends), np.int32)
        self.short_cells = pairs.write_words(*words, symbol_of_byte, 2, LONGEST_SHORT_BYTES, self.symbols, 0)
        shortest_long = max(2, LONGEST_SHORT_BYTES + 1)
        self.cells = pairs.write_words(
            *words, symbol_of_byte, shortest_long, LONGEST_WORD_BYTES, self.symbols, self.short_cells
        )
        self.long_words = np.empty(int((lengths >= shortest_long).sum()), np.int64)

    def compact(self) -> None:
        """Closes the gaps that merging left."""
        short_cells = pairs.compact(self.symbols, self.short_cells)
        self.cells = long_words.compact_long(self.symbols, self.short_cells, self.cells, short_cells)
        self.short_cells = short_cells
        number = long_words.list_long(self.symbols, short_cells, self.cells, self.long_words)
        self.long_words = self.long_words[:number]

    @property
    def arrays(self) -> tuple[NDArray[np.int32], int, int, NDArray[np.int64]]:
        """In the order in which `merge_pairs` takes them."""
        return self.symbols, self.short_cells, self.cells, self.long_words


class _Index:
    """The pairs that count enough, and where they stand: made new whenever the threshold falls or an array is full."""

    def __init__(
        self, stream: _Stream, *, symbols: int, distinct: int, threshold: int, live: int, places: int, largest: int
    ) -> None:
        self.distinct, self.threshold = distinct, threshold
        # A place is a cell. One merge has at most two new places for each of the pair's, which do not share a cell.
        place = np.int32 if stream.cells < 2**31 else np.int64
        most = min(2 * largest, stream.cells)
        # Twice as many as there are now: merging makes new ones, but of one pair no more than there are symbols.
        capacity = 2 * live + SMALLEST_TABLE + 4 * min(largest, symbols)
        self.table = _empty_table(2 * capacity)
        self.pool: NDArray = np.empty(places + max(places, most) + SMALLEST_TABLE, place)
        self.heap = np.empty((2, capacity), np.int64)
        self.records = np.empty((most, 2), place)
        self.sizes = np.zeros(4, np.int64)

    @property
    def arrays(self) -> tuple[NDArray, ...]:
        """In the order in which `merge_pairs` takes them."""
        return self.table, self.pool, self.heap[0], self.heap[1], self.records, self.sizes

    @classmethod
    def build(cls, stream: _Stream, state: NDArray[np.int64], *, symbols: int, expected: int) -> _Index | None:
        """The index of a compact stream, None where it has no pair; there are at most so many `symbols`."""
        counted, distinct = _count_pairs(stream, expected)
        if distinct == 0:
            return None
        threshold = _threshold(counted[:, pairs.COUNT])
        totals = np.zeros(3, np.int64)
        pairs.measure(counted, threshold, totals)
        live, places, largest = totals.tolist()
        index = cls(
            stream,
            symbols=symbols,
            distinct=distinct,
            threshold=threshold,
            live=live,
            places=places,
            largest=largest,
        )
        state[kernels.HEAP_SIZE :] = 0
        kernels.take_over(counted, threshold, index.table, index.heap[0], index.heap[1], state)
        del counted
        pairs.place_words(stream.symbols, stream.short_cells, stream.cells, index.table, index.pool)
        return index


def _threshold(counts: NDArray[np.int64]) -> int:
    """How often a pair has to occur to be indexed, of which there is at least one. Any number gives the same merges."""
    threshold = max(1, int(counts.max()) // THRESHOLD_SHARE)
    above = counts[counts >= threshold]
    return threshold if len(above) <= MOST_PAIRS else int(np.partition(above, -MOST_PAIRS)[-MOST_PAIRS])


def _count_pairs(stream: _Stream, expected: int) -> tuple[NDArray[np.int64], int]:
    """The table of all pairs, and how many they are."""
    table = _empty_table(2 * expected)
    word, place, used = pairs.count_pairs(stream.symbols, 0, 0, stream.cells, table, 0)
    while word < stream.cells:
        larger = _empty_table(2 * len(table))
        pairs.move_pairs(table, larger)
        table = larger
        word, place, used = pairs.count_pairs(stream.symbols, word, place, stream.cells, table, used)
    return table, used


def _empty_table(rows: int) -> NDArray[np.int64]:
    """A table of at least so many rows, a power of two."""
    table = np.zeros((1 << max(rows - 1, SMALLEST_TABLE).bit_length(), 4), np.int64)
    table[:, pairs.KEY] = pairs.EMPTY
    return table
