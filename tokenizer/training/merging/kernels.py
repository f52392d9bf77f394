"""Byte-pair merging, compiled: the best pair replaced in all its words, again and again, in given arrays.

What the arrays hold is said in `pairs/kernels.py`. Only pairs that count at least `threshold` are in the table. Counts
never rise after the merge that makes a pair, so that what is below is of no interest until the threshold falls, and
then all is counted again (`merges.py`).
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.bits.kernels import prefetch
from pile_toolkit.core.kernels import kernel
from tokenizer.training.long_words.kernels import first_at_least, replace_in_long
from tokenizer.training.pairs.kernels import (
    COUNT,
    EMPTY,
    HEADER,
    KEY,
    LENGTH,
    START,
    SYMBOL_BITS,
    SYMBOL_MASK,
    count_of,
    find,
    note_neighbour,
)

# Of `state`; CELLS_SEEN is what time grows with.
MERGES, CELLS_SEEN, HEAP_SIZE, POOL_USED, TABLE_USED = 0, 1, 2, 3, 4
STATE_SIZE = 5
WORDS_AHEAD = 16
# What `merge_pairs` returns: `until` merges are done; no pair is left at this threshold; an array is full.
REACHED, BELOW, FULL = 0, 1, 2


@kernel
def take_over(source, threshold, table, heap_counts, heap_keys, state):
    """Moves pairs of at least `threshold` into an empty table and heap, and gives each its part of the pool."""
    for row in range(source.shape[0]):
        if source[row, KEY] != EMPTY and source[row, COUNT] >= threshold:
            target = find(table, source[row, KEY])
            table[target, KEY] = source[row, KEY]
            table[target, COUNT] = source[row, COUNT]
            table[target, START] = state[POOL_USED]
            table[target, LENGTH] = 0
            state[POOL_USED] += source[row, LENGTH]
            state[TABLE_USED] += 1
            push(heap_counts, heap_keys, state, source[row, COUNT], source[row, KEY])


@kernel
def push(heap_counts, heap_keys, state, count, key):
    """Adds a pair to the heap: the highest count is first, of equal ones the lowest key."""
    place = state[HEAP_SIZE]
    state[HEAP_SIZE] += 1
    while place > 0:
        parent = (place - 1) >> 1
        if heap_counts[parent] > count or (heap_counts[parent] == count and heap_keys[parent] < key):
            break
        heap_counts[place] = heap_counts[parent]
        heap_keys[place] = heap_keys[parent]
        place = parent
    heap_counts[place] = count
    heap_keys[place] = key


@kernel
def replace_top(heap_counts, heap_keys, size, count, key):
    """Puts a pair in the place of the first one, of a heap of `size`, and lets it sink."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            heap_counts[other] > heap_counts[child]
            or (heap_counts[other] == heap_counts[child] and heap_keys[other] < heap_keys[child])
        ):
            child = other
        if count > heap_counts[child] or (count == heap_counts[child] and key < heap_keys[child]):
            break
        heap_counts[place] = heap_counts[child]
        heap_keys[place] = heap_keys[child]
        place = child
    heap_counts[place] = count
    heap_keys[place] = key


@kernel
def drop_top(heap_counts, heap_keys, state):
    """Removes the first pair of the heap."""
    state[HEAP_SIZE] -= 1
    last = state[HEAP_SIZE]
    if last > 0:
        replace_top(heap_counts, heap_keys, last, heap_counts[last], heap_keys[last])


@kernel
def best_pair(table, heap_counts, heap_keys, state, threshold):
    """The row of the pair to merge next, which stays first in the heap; -1 where none reaches `threshold`.

    The heap holds counts as they were when a pair was last looked at: they only fall, so that a pair that is first with
    the count of today is the best of all.
    """
    while state[HEAP_SIZE] > 0:
        key = heap_keys[0]
        row = find(table, key)
        count = table[row, COUNT]
        if count == heap_counts[0]:
            return row
        if count >= threshold:
            replace_top(heap_counts, heap_keys, state[HEAP_SIZE], count, key)
        else:
            drop_top(heap_counts, heap_keys, state)
    return -1


@kernel
def replace_pair(stream, pool, start, end, a, b, new, left, right, touched, records, sizes):
    """Writes `new` for `a`, `b` in short words of `pool[start:end]`, from the left; returns the count of `new`, `new`.

    `left` and `right` (int64[symbols, 2]) sum counts and places per symbol that stands before and after; `records`
    holds a word and such a symbol, those before as they are, those after as their complement. `sizes` becomes the
    lengths of `touched[0]`, `touched[1]` and `records`, and the number of cells looked at.
    """
    lefts, rights, number, seen, twice = 0, 0, 0, 0, np.int64(0)
    last = np.int64(-1)
    touched_left, touched_right = touched[0], touched[1]
    for place in range(start, end):
        # Words lie far apart, and those that come next are known.
        ahead = np.int64(pool[min(place + WORDS_AHEAD, end - 1)])
        prefetch(stream, ahead)
        prefetch(stream, ahead + 16)
        word = np.int64(pool[place])
        if word == last:
            continue
        last = word
        source = word + HEADER
        stop = source + stream[word]
        seen += stop - word
        while source < stop - 1 and not (stream[source] == a and stream[source + 1] == b):
            source += 1
        if source >= stop - 1:
            continue
        count = count_of(stream, word)
        target = source
        while source < stop:
            if source + 1 >= stop or stream[source] != a or stream[source + 1] != b:
                stream[target] = stream[source]
                target += 1
                source += 1
                continue
            # Beside the one before it, which has counted the two of them already.
            if target > word + HEADER and stream[target - 1] != new:
                symbol = np.int64(stream[target - 1])
                lefts = note_neighbour(left, symbol, count, touched_left, lefts)
                records[number, 0], records[number, 1] = word, symbol
                number += 1
            stream[target] = new
            target += 1
            source += 2
            if source < stop:
                symbol = np.int64(stream[source])
                if symbol == a and source + 1 < stop and stream[source + 1] == b:
                    twice += count
                    symbol = new
                rights = note_neighbour(right, symbol, count, touched_right, rights)
                records[number, 0], records[number, 1] = word, ~symbol
                number += 1
        stream[word] = target - word - HEADER
        stream[target:stop] = -1
    sizes[0], sizes[1], sizes[2], sizes[3] = lefts, rights, number, seen
    return twice


@kernel(forceinline=True)
def lower_count(table, key, count):
    """Takes a count from that of a pair, if the table has it."""
    row = find(table, key)
    if table[row, KEY] != EMPTY:
        table[row, COUNT] -= count


@kernel
def change_pairs(table, heap_counts, heap_keys, state, threshold, neighbours, touched, number, old, new, before):
    """Takes the counts of the touched symbols from their pairs with `old`, and adds those with `new`.

    `before` says that the symbols stand before. Their places become where in the pool a word goes next, or -1.
    """
    for position in range(number):
        symbol = np.int64(touched[position])
        count = neighbours[symbol, 0]
        if symbol != new:
            lower_count(table, (symbol << SYMBOL_BITS) | old if before else (old << SYMBOL_BITS) | symbol, count)
        if count < threshold:
            neighbours[symbol, 1] = -1
            continue
        key = (symbol << SYMBOL_BITS) | new if before else (new << SYMBOL_BITS) | symbol
        row = find(table, key)
        table[row, KEY] = key
        table[row, COUNT] = count
        table[row, START] = state[POOL_USED]
        table[row, LENGTH] = neighbours[symbol, 1]
        state[POOL_USED] += neighbours[symbol, 1]
        state[TABLE_USED] += 1
        neighbours[symbol, 1] = table[row, START]
        push(heap_counts, heap_keys, state, count, key)


@kernel
def place_records(records, number, left, right, pool):
    """Writes the words of `records` into the parts of the pool that their pairs were given."""
    for position in range(number):
        symbol = records[position, 1]
        if symbol >= 0:
            place = left[symbol, 1]
            if place >= 0:
                pool[place] = records[position, 0]
                left[symbol, 1] = place + 1
        else:
            place = right[~symbol, 1]
            if place >= 0:
                pool[place] = records[position, 0]
                right[~symbol, 1] = place + 1


@kernel
def forget_neighbours(neighbours, touched, number):
    """Makes the touched symbols' rows zero again."""
    for position in range(number):
        neighbours[touched[position], :] = 0


@kernel(forceinline=True)
def has_room(places, symbols, records, pool, heap_counts, state):
    """Whether the arrays hold what one merge needs at most.

    That is two places for each of the pair's, of which no two share a cell, and a pair before and after each symbol.
    """
    return (
        places <= records.shape[0]
        and state[POOL_USED] + places <= pool.size
        and state[TABLE_USED] + 2 * symbols <= heap_counts.size
    )


@kernel
def merge_pairs(
    stream,
    short_cells,
    cells,
    long_words,
    table,
    pool,
    heap_counts,
    heap_keys,
    records,
    sizes,
    left,
    right,
    touched,
    merges,
    merge_counts,
    state,
    threshold,
    until,
):
    """Merges the best pair, and again, until there are `until`; returns REACHED, BELOW or FULL.

    `merges` (int64) becomes their keys, `merge_counts` how often each pair occurred when it was merged.
    The compact stream had `cells` cells, the first `short_cells` of them short words; `long_words`: where others begin.
    `first_id` of the new symbols is the length of `left` less that of `merges`. Nothing is half done when it returns.
    """
    first_id = left.shape[0] - merges.size
    while state[MERGES] < until:
        row = best_pair(table, heap_counts, heap_keys, state, threshold)
        if row < 0:
            return BELOW
        start, length = table[row, START], table[row, LENGTH]
        new = np.int64(first_id + state[MERGES])
        if not has_room(min(2 * length, cells), min(length, new + 1), records, pool, heap_counts, state):
            return FULL
        drop_top(heap_counts, heap_keys, state)
        key = table[row, KEY]
        merges[state[MERGES]] = key
        merge_counts[state[MERGES]] = table[row, COUNT]
        state[MERGES] += 1
        table[row, COUNT] = 0
        a, b = key >> SYMBOL_BITS, key & SYMBOL_MASK
        end = start + length
        middle = end if pool[end - 1] < short_cells else first_at_least(pool, start, end, short_cells)
        twice = replace_pair(stream, pool, start, middle, a, b, new, left, right, touched, records, sizes)
        if middle < end:
            twice += replace_in_long(
                stream, long_words, pool, middle, end, a, b, new, left, right, touched, records, sizes
            )
        state[CELLS_SEEN] += sizes[3]
        if twice > 0:
            lower_count(table, (b << SYMBOL_BITS) | a, twice)
        change_pairs(table, heap_counts, heap_keys, state, threshold, left, touched[0], sizes[0], a, new, True)
        change_pairs(table, heap_counts, heap_keys, state, threshold, right, touched[1], sizes[1], b, new, False)
        place_records(records, sizes[2], left, right, pool)
        forget_neighbours(left, touched[0], sizes[0])
        forget_neighbours(right, touched[1], sizes[1])
    return REACHED
