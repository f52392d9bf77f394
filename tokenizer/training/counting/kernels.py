"""UTF-8 in, words and how often they occur out, compiled: given arrays filled, nothing allocated.

A word is a row of `table` (uint64[capacity, 4], open addressing). Up to 15 bytes it stands in the row itself, its
length in the highest byte of the second number; a longer one is there by its hash and length, its bytes are in `arena`.
"""

from __future__ import annotations

import numpy as np

from pile_toolkit.core.bits.kernels import load64, prefetch
from pile_toolkit.core.kernels import kernel
from tokenizer.pretokens.kernels import find_pretokens

# Columns of the table; FIRST and SECOND are the bytes, or the hash and the length.
FIRST, SECOND, COUNT, PLACE = 0, 1, 2, 3
# Of `keys`, besides.
ROW, END = 2, 3
COLUMNS = 4
# Of `state`: rows in use, bytes of the arena in use, and where a count that ran out of room goes on.
USED, ARENA_USED, TEXT, POSITION = 0, 1, 2, 3
STATE_SIZE = 4
LONGEST_SHORT = 15
_LENGTH_SHIFT = np.uint64(56)
# Of a longer word in the place of its length: no short word has it.
_LONG = np.uint64(0xFF) << _LENGTH_SHIFT
_LOW_56 = (np.uint64(1) << _LENGTH_SHIFT) - np.uint64(1)
# Odd numbers without a pattern: 2^64 by the golden ratio, and the multipliers of SplitMix64 (Steele et al., 2014).
_A, _B, _C = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel
def _hash(text, start, end):
    """64 bits of the bytes text[start:end]."""
    value = np.uint64(0)
    at = start
    while at + 8 <= end:
        value = (value ^ load64(text, at)) * _B
        value ^= value >> _HALF
        at += 8
    if at < end:
        value = (value ^ (load64(text, at) & (_ALL >> np.uint64(64 - 8 * (end - at))))) * _B
        value ^= value >> _HALF
    return value


@kernel
def _short_key(text, start, length):
    """FIRST and SECOND of a word of up to 15 bytes; 16 bytes from `start` on may be read.

    Without a branch on the length, which nothing could predict, and small enough to be put in place by the compiler.
    """
    first = load64(text, start) & (_ALL >> np.uint64(64 - 8 * min(length, 8)))
    rest = load64(text, start + 8) & (_ALL >> np.uint64(8) >> np.uint64(56 - 8 * (min(max(length, 8), 15) - 8)))
    return first, np.uint64(length) << _LENGTH_SHIFT | rest


@kernel
def _first_row(first, second, mask):
    """Where to look for a key first."""
    spread = first * _A + (second ^ (second >> _HALF)) * _C
    spread ^= spread >> _HALF
    return np.int64((spread * _B) >> _HALF & mask)


@kernel
def _insert(text, end, first, second, row, table, arena, state):
    """Makes an empty row that of a new word, which ends at `end` and has not occurred yet."""
    table[row, FIRST] = first
    table[row, SECOND] = second
    table[row, COUNT] = 0
    state[USED] += 1
    if second >= _LONG:
        table[row, PLACE] = state[ARENA_USED]
        for place in range(end - np.int64(second & _LOW_56), end):
            arena[state[ARENA_USED]] = text[place]
            state[ARENA_USED] += 1


@kernel
def _same(text, start, end, arena, place):
    """Whether a word is the one in the arena."""
    for offset in range(end - start):  # noqa: SIM110 - compiled, a generator would be slower
        if text[start + offset] != arena[place + offset]:
            return False
    return True


@kernel
def count_texts(text, text_ends, counts, longest_run, page_of, properties, ends, keys, table, arena, limit, state):
    """Counts the words of all texts, text number i as often as counts[i]; False where there is no more room.

    `text` holds the texts one after the other, and the padding of `find_pretokens`. It goes on at state[TEXT],
    state[POSITION]; at most `limit` rows are taken. Runs of 2 to `longest_run` spaces count as nothing.
    """
    mask = np.uint64(table.shape[0] - 1)
    while state[TEXT] < text_ends.size:
        stop = text_ends[state[TEXT]]
        count = np.uint64(counts[state[TEXT]])
        while state[POSITION] < stop:
            start = state[POSITION]
            number, position = find_pretokens(text, start, stop, longest_run, page_of, properties, ends)
            if state[USED] + number > limit or state[ARENA_USED] + position - start > arena.size:
                return False
            found = 0
            for entry in range(number):
                end = ends[entry]
                if end > 0:
                    first, second = _short_key(text, start, end - start)
                    if end - start > LONGEST_SHORT:
                        first, second = _hash(text, start, end), _LONG | np.uint64(end - start)
                    row = _first_row(first, second, mask)
                    prefetch(table, row * COLUMNS)
                    keys[found, FIRST] = first
                    keys[found, SECOND] = second
                    keys[found, ROW] = np.uint64(row)
                    keys[found, END] = np.uint64(end)
                    found += 1
                start = abs(end)
            for entry in range(found):
                first, second, row = keys[entry, FIRST], keys[entry, SECOND], np.int64(keys[entry, ROW])
                # In place, not in a function: handing over so many arrays costs more than the search itself.
                while True:
                    if table[row, FIRST] == first and table[row, SECOND] == second:
                        end = np.int64(keys[entry, END])
                        start = end - np.int64(second & _LOW_56)
                        if second < _LONG or _same(text, start, end, arena, np.int64(table[row, PLACE])):
                            break
                    elif table[row, SECOND] == 0:
                        _insert(text, np.int64(keys[entry, END]), first, second, row, table, arena, state)
                        break
                    row = (row + 1) & np.int64(mask)
                table[row, COUNT] += count
            state[POSITION] = position
        state[TEXT] += 1
    return True


@kernel
def count_words(data, ends, counts, table, arena, limit, state):
    """Adds words that are counted already; False where there is no more room. It goes on at word state[TEXT]."""
    mask = np.uint64(table.shape[0] - 1)
    while state[TEXT] < ends.size:
        word = state[TEXT]
        start, end = ends[word - 1] if word > 0 else 0, ends[word]
        if state[USED] == limit or state[ARENA_USED] + end - start > arena.size:
            return False
        first, second = _short_key(data, start, end - start)
        if end - start > LONGEST_SHORT:
            first, second = _hash(data, start, end), _LONG | np.uint64(end - start)
        row = _first_row(first, second, mask)
        while True:
            if table[row, FIRST] == first and table[row, SECOND] == second:
                if second < _LONG or _same(data, start, end, arena, np.int64(table[row, PLACE])):
                    break
            elif table[row, SECOND] == 0:
                _insert(data, end, first, second, row, table, arena, state)
                break
            row = (row + 1) & np.int64(mask)
        table[row, COUNT] += np.uint64(counts[word])
        state[TEXT] += 1
    return True


@kernel
def move_rows(source, target):
    """Moves all words into an empty table."""
    mask = np.uint64(target.shape[0] - 1)
    for old in range(source.shape[0]):
        if source[old, SECOND] != 0:
            row = _first_row(source[old, FIRST], source[old, SECOND], mask)
            while target[row, SECOND] != 0:
                row = (row + 1) & np.int64(mask)
            for column in range(4):
                target[row, column] = source[old, column]


@kernel
def measure_words(table, least, parts, words, size):
    """words[p], size[p]: how many words of at least `least` occurrences part p of `parts` has, and their bytes."""
    for row in range(table.shape[0]):
        second = table[row, SECOND]
        if second != 0 and table[row, COUNT] >= np.uint64(least):
            part = _part(table[row, FIRST], second, parts)
            words[part] += 1
            size[part] += np.int64(second & _LOW_56 if second >= _LONG else second >> _LENGTH_SHIFT)


@kernel
def _part(first, second, parts):
    # From other bits than those that make the row.
    return np.int64(((first ^ second) * _C >> np.uint64(40)) % np.uint64(parts))


@kernel
def list_words(table, arena, least, parts, part, data, ends, counts):
    """Fills arrays of the measured sizes with the words of one part, in no particular order."""
    number, place = 0, 0
    for row in range(table.shape[0]):
        first, second = table[row, FIRST], table[row, SECOND]
        if second == 0 or table[row, COUNT] < np.uint64(least) or _part(first, second, parts) != part:
            continue
        if second >= _LONG:
            length = int(second & _LOW_56)
            start = np.int64(table[row, PLACE])
            for offset in range(length):
                data[place + offset] = arena[start + offset]
        else:
            length = int(second >> _LENGTH_SHIFT)
            for offset in range(length):
                value = first >> np.uint64(8 * offset) if offset < 8 else second >> np.uint64(8 * (offset - 8))
                data[place + offset] = value & np.uint64(0xFF)
        place += length
        ends[number] = place
        counts[number] = np.int64(table[row, COUNT])
        number += 1
