"""Pairs replaced in long words, compiled: at the cell where each one stands, whatever the length of the word.

A megabyte without a space is one word; looking through all of it for every merge would take the square of its length.
So its symbols keep their cells, and its header the number of its cells. What a symbol no longer needs is a gap after
it, whose first and last cell hold its length, negative: the symbols before and after are one step away. In between
lie negative numbers that mean nothing. A compact stream has no gaps.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.bits.kernels import prefetch
from pile_toolkit.core.kernels import kernel
from tokenizer.training.pairs.kernels import HEADER, count_of, note_neighbour

PLACES_AHEAD = 16


@kernel
def first_at_least(values, start, end, value):
    """The first place in values[start:end], which ascend, of a number that is `value` or more; `end` without one."""
    while start < end:
        middle = (start + end) >> 1
        if values[middle] < value:
            start = middle + 1
        else:
            end = middle
    return start


@kernel
def compact_long(stream, start, stop, used):
    """Closes the gaps in the long words of stream[start:stop] and moves them to `used`; returns the cells used.

    Words of a single symbol are dropped.
    """
    word = start
    while word < stop:
        end = word + HEADER + stream[word]
        stream[used + 1], stream[used + 2] = stream[word + 1], stream[word + 2]
        length = 0
        for place in range(word + HEADER, end):
            if stream[place] >= 0:
                stream[used + HEADER + length] = stream[place]
                length += 1
        if length > 1:
            stream[used] = length
            used += HEADER + length
        word = end
    return used


@kernel
def list_long(stream, start, stop, words):
    """Fills `words` with the cells where the long words of a compact stream begin; returns how many there are."""
    number = 0
    word = start
    while word < stop:
        words[number] = word
        number += 1
        word += HEADER + stream[word]
    return number


@kernel
def _after(stream, place, stop):
    """The cell of the symbol after that at `place`, `stop` after the last."""
    place += 1
    return place - stream[place] if place < stop and stream[place] < 0 else place


@kernel
def replace_in_long(stream, words, pool, start, end, a, b, new, left, right, touched, records, sizes):
    """What `replace_pair` does, and goes on from `sizes`: at the cells of pool[start:end], all of them in long words.

    A record holds the cell of the new pair in the place of a word.
    """
    lefts, rights, number, twice = sizes[0], sizes[1], sizes[2], np.int64(0)
    touched_left, touched_right = touched[0], touched[1]
    first, stop, count = np.int64(0), np.int64(0), np.int64(0)
    for entry in range(start, end):
        prefetch(stream, np.int64(pool[min(entry + PLACES_AHEAD, end - 1)]))
        place = np.int64(pool[entry])
        if stream[place] != a:
            continue
        if place >= stop:
            word = words[first_at_least(words, 0, words.size, place) - 1]
            first, count = word + HEADER, count_of(stream, word)
            stop = first + stream[word]
        second = _after(stream, place, stop)
        if second >= stop or stream[second] != b:
            continue
        following = _after(stream, second, stop)
        if place > first:
            before = place - 1
            if stream[before] < 0:
                before += np.int64(stream[before])
            symbol = np.int64(stream[before])
            # Beside the one before it, which has counted the two of them already.
            if symbol != new:
                lefts = note_neighbour(left, symbol, count, touched_left, lefts)
                records[number, 0], records[number, 1] = before, symbol
                number += 1
        stream[place] = new
        stream[second] = -1
        stream[place + 1] = stream[following - 1] = place + 1 - following
        if following < stop:
            symbol = np.int64(stream[following])
            if symbol == a:
                other = _after(stream, following, stop)
                if other < stop and stream[other] == b:
                    twice += count
                    symbol = new
            rights = note_neighbour(right, symbol, count, touched_right, rights)
            records[number, 0], records[number, 1] = place, ~symbol
            number += 1
    sizes[0], sizes[1], sizes[2], sizes[3] = lefts, rights, number, sizes[3] + end - start
    return twice
