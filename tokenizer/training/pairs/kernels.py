"""Words and their pairs of symbols as merging needs them, compiled: given arrays filled, nothing allocated.

A word lies in `stream` (int32) as its number of symbols, its count in two halves, and its symbols; where it has become
shorter, cells of -1 fill up what it no longer needs. A compact stream has none of those. Long words come after all
short ones and have their gaps elsewhere: `long_words/kernels.py`. A pair of symbols is a row of `table`
(int64[capacity, 4], open addressing): its key, its count, and which part of `pool` names where it is, in ascending
order: the cell where a short word begins, the cell of the pair itself in a long one.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.kernels import kernel

# Before the symbols of a word.
HEADER = 3
# Columns of the table.
KEY, COUNT, START, LENGTH = 0, 1, 2, 3
EMPTY = -1
# A key is two symbols.
SYMBOL_BITS = 32
SYMBOL_MASK = (1 << SYMBOL_BITS) - 1
# 2^64 divided by the golden ratio: multiplication spreads neighbouring keys (Knuth, vol. 3, 6.4).
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@kernel
def find(table, key):
    """The row of a pair, or the empty one where it belongs."""
    spread = np.uint64(key) * _SPREAD
    mask = np.uint64(table.shape[0] - 1)
    row = np.int64((spread ^ (spread >> np.uint64(SYMBOL_BITS))) & mask)
    while table[row, KEY] != key and table[row, KEY] != EMPTY:
        row = (row + 1) & np.int64(mask)
    return row


@kernel
def count_of(stream, word):
    """How often a word occurs: 64 bits in two cells."""
    return (np.int64(stream[word + 1]) << SYMBOL_BITS) | (np.int64(stream[word + 2]) & SYMBOL_MASK)


@kernel(forceinline=True)
def note_neighbour(neighbours, symbol, count, touched, number):
    """Adds to the count and the places of a symbol beside a new one; `touched` lists those that had none."""
    if neighbours[symbol, 1] == 0:
        touched[number] = symbol
        number += 1
    neighbours[symbol, 0] += count
    neighbours[symbol, 1] += 1
    return number


@kernel
def write_words(data, ends, counts, symbol_of_byte, shortest, longest, stream, cells):
    """Fills `stream` from cell `cells` on with words of `shortest` to `longest` bytes; returns the cells then used."""
    start = 0
    for word in range(ends.size):
        length = ends[word] - start
        if shortest <= length <= longest:
            stream[cells] = length
            stream[cells + 1] = counts[word] >> SYMBOL_BITS
            stream[cells + 2] = np.int32(np.uint32(counts[word] & SYMBOL_MASK))
            cells += HEADER
            for place in range(length):
                stream[cells + place] = symbol_of_byte[data[start + place]]
            cells += length
        start = ends[word]
    return cells


@kernel
def compact(stream, cells):
    """Closes the gaps between short words and drops those of a single symbol; returns the cells used."""
    used = 0
    word = 0
    while word < cells:
        length = int(stream[word])
        end = word + HEADER + length
        if length > 1:
            for place in range(word, end):
                stream[used] = stream[place]
                used += 1
        while end < cells and stream[end] < 0:
            end += 1
        word = end
    return used


@kernel
def count_pairs(stream, word, place, cells, table, used):
    """Adds all pairs of a compact stream to a table that has `used`: COUNT, and as LENGTH how often one stands there.

    Goes on at cell `place` of the word at `word`. Returns these two and `used`: word is `cells` when all is counted,
    otherwise the table is half full.
    """
    limit = table.shape[0] // 2
    while word < cells:
        count = count_of(stream, word)
        first = word + HEADER
        end = first + stream[word]
        place = max(place, first)
        while place < end - 1:
            key = (np.int64(stream[place]) << SYMBOL_BITS) | np.int64(stream[place + 1])
            row = find(table, key)
            if table[row, KEY] == EMPTY:
                if used == limit:
                    return word, place, used
                used += 1
                table[row, KEY] = key
            table[row, COUNT] += count
            table[row, LENGTH] += 1
            place += 1
        word = end
    return word, place, used


@kernel
def move_pairs(source, target):
    """Moves all pairs into an empty table."""
    for old in range(source.shape[0]):
        if source[old, KEY] != EMPTY:
            row = find(target, source[old, KEY])
            for column in range(source.shape[1]):
                target[row, column] = source[old, column]


@kernel
def measure(table, threshold, totals):
    """Pairs of at least `threshold`: `totals` becomes their number, their places in words, and the most of one pair."""
    totals[:] = 0
    for row in range(table.shape[0]):
        if table[row, KEY] != EMPTY and table[row, COUNT] >= threshold:
            totals[0] += 1
            totals[1] += table[row, LENGTH]
            totals[2] = max(totals[2], table[row, LENGTH])


@kernel
def place_words(stream, short_cells, cells, table, pool):
    """Writes into the pool where each pair of the table stands in a compact stream, in order."""
    word = 0
    while word < cells:
        first = word + HEADER
        end = first + stream[word]
        for place in range(first, end - 1):
            row = find(table, (np.int64(stream[place]) << SYMBOL_BITS) | np.int64(stream[place + 1]))
            if table[row, KEY] != EMPTY:
                pool[table[row, START] + table[row, LENGTH]] = word if word < short_cells else place
                table[row, LENGTH] += 1
        word = end
