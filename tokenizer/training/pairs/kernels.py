"""Words and their pairs of symbols as merging needs them, compiled: given arrays filled, nothing allocated.

A word lies in `stream` (int32) as its number of symbols, its count in two halves, and its symbols; where it has become
shorter, cells of -1 fill up what it no longer needs. A compact stream has none of those. A pair of symbols is a row of
`table` (int64[capacity, 4], open addressing): its key, its count, and which part of `pool` names the words it is in.
"""

from __future__ import annotations

import numpy as np

from tokenizer.kernels import kernel

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


@kernel
def write_words(data, ends, counts, symbol_of_byte, stream):
    """Fills `stream` from words of bytes, leaving out those of a single one; returns the cells used."""
    cells = 0
    start = 0
    for word in range(ends.size):
        length = ends[word] - start
        if length > 1:
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
    """Closes the gaps in `stream` and drops words that are a single symbol; returns the cells used."""
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
def count_pairs(stream, cells, table, limit):
    """Fills an empty `table` with all pairs of a compact stream: COUNT, and as LENGTH how often they stand in a word.

    Returns how many there are, or -1 where they would be more than `limit`.
    """
    used = 0
    word = 0
    while word < cells:
        count = count_of(stream, word)
        first = word + HEADER
        word = first + stream[word]
        for place in range(first, word - 1):
            key = (np.int64(stream[place]) << SYMBOL_BITS) | np.int64(stream[place + 1])
            row = find(table, key)
            if table[row, KEY] == EMPTY:
                if used == limit:
                    return -1
                used += 1
                table[row, KEY] = key
            table[row, COUNT] += count
            table[row, LENGTH] += 1
    return used


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
def place_words(stream, cells, table, pool):
    """Writes into the pool where each pair of the table stands: words of a compact stream, in order."""
    word = 0
    while word < cells:
        first = word + HEADER
        end = first + stream[word]
        for place in range(first, end - 1):
            row = find(table, (np.int64(stream[place]) << SYMBOL_BITS) | np.int64(stream[place + 1]))
            if table[row, KEY] != EMPTY:
                pool[table[row, START] + table[row, LENGTH]] = word
                table[row, LENGTH] += 1
        word = end
