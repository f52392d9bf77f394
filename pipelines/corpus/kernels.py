"""Lines of documents in, where their text and meta stand out, and the text itself: eight bytes at a time; and back.

Only lines of the plain form are understood, those that `json.dumps` and this project write; of all others it is said
that they are not. `data` must have eight bytes more after its last line.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

from pile_toolkit.core.bits.kernels import address_of, load64, trailing_zeros
from pile_toolkit.core.kernels import kernel
from pipelines.corpus.hashing.kernels import LANES, store64, swapped, xxh3_128

# For type checkers an intrinsic would still take the compiler's context as its first argument.
intrinsic: Any = extending.intrinsic

_QUOTE, _BACKSLASH, _COLON, _COMMA, _SPACE, _OPEN, _CLOSE = 34, 92, 58, 44, 32, 123, 125
_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)
_NEWLINES = np.uint64(0x0A0A0A0A0A0A0A0A)
_TEXT = np.frombuffer(b'"text"', np.uint8)
_META = np.frombuffer(b'"meta"', np.uint8)
_BEFORE_TEXT = np.frombuffer(b'{"text":"', np.uint8)
_HASH = 7
# What `find_lines` says of a line: seven numbers, the hash, and room to make it in.
FOUND = _HASH + 2 + LANES


@intrinsic
def copy_bytes(_context, target, offset, source, place, size):
    """So many bytes from item `place` of one array to item `offset` of another, as the C library copies them."""

    def codegen(context, builder, signature, arguments):
        kinds, byte = signature.args, ir.IntType(8)
        to = address_of(context, builder, kinds[0], arguments[:2], byte)
        come = address_of(context, builder, kinds[2], arguments[2:4], byte)
        cgutils.raw_memcpy(builder, to, come, arguments[4], 1)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), codegen


@kernel
def find_lines(data, begin, end, number, numbers, first, plain, found):
    """Finds the lines `numbers[first:]` among those from `begin` to `end`, the first of which has this number.

    All of them end with a newline. `found[n]` is, for number `first + n`: where the line begins and where its newline
    is, start and end of the text as it is written, start of the meta, which ends one byte before the newline, the end
    of the text in `plain`, where it begins at the end of the one before, 1 where the meta is another than the last one,
    and the 16 bytes of the hash of the text. A line that is not plain has -1 as the start of its text, no text in
    `plain` and no hash. Returns how many were found, and the number of the next line.
    """
    at, count = np.int64(0), np.int64(0)
    last_meta, last_size = np.int64(0), np.int64(-1)
    while begin < end:
        if first + count >= numbers.size or number != numbers[first + count]:
            begin = _newline(data, begin, end) + 1
            number += 1
            continue
        start, close, meta, text_end = _parts(data, begin, end, plain, at)
        newline = _newline(data, begin if start < 0 else meta, end)
        if start >= 0 and (newline < meta + 2 or data[newline - 1] != _CLOSE):
            start = np.int64(-1)
        found[count, 0], found[count, 1], found[count, 2] = begin, newline, start
        found[count, 3], found[count, 4], found[count, 6] = close, meta, 0
        if start >= 0:
            high, low = xxh3_128(plain, at, text_end - at, found, count * FOUND + _HASH + 2)
            found[count, _HASH], found[count, _HASH + 1] = swapped(high), swapped(low)
            at = text_end
            size = newline - meta
            if size != last_size or not _equal(data, last_meta, meta, size):
                found[count, 6] = 1
                last_meta, last_size = meta, size
        found[count, 5] = at
        count, number, begin = count + 1, number + 1, newline + 1
    return count, number


@kernel
def _parts(data, begin, end, plain, at):
    """Start and end of the text, start of the meta, end of the text in `plain`; -1 as the first of another line."""
    none = np.int64(-1)
    start = _after_key(data, begin + 1, end, _TEXT) if data[begin] == _OPEN else none
    if start < 0 or data[start] != _QUOTE:
        return none, none, none, at
    # No newline is passed: a string has none.
    close, text_end = _unescape(data, start + 1, end, plain, at)
    if close < 0 or data[close + 1] != _COMMA:
        return none, none, none, at
    meta = _after_key(data, close + 3 if data[close + 2] == _SPACE else close + 2, end, _META)
    return (start + 1 if meta >= 0 else none), close, meta, text_end


@kernel
def _newline(data, place, end):
    """Where the next newline is; there is one before `end`."""
    while place < end:
        ends = _zeros(load64(data, place) ^ _NEWLINES)
        if ends != 0:
            return place + (np.int64(trailing_zeros(ends)) >> 3)
        place += 8
    return end


@kernel
def _equal(data, one, other, size):
    place = np.int64(0)
    while place < size and data[one + place] == data[other + place]:
        place += 1
    return place == size


@kernel
def join_lines(data, rest, spans, chosen, out):
    """Writes the chosen lines one after the other; `out` has just the room. Returns their bytes.

    `spans[n]` is start and end of the text of line n in `data`, start and end in `rest` of what comes after it, or of
    the whole line where the first is -1.
    """
    at = np.int64(0)
    for place in range(chosen.size):
        line = chosen[place]
        start, size = spans[line, 0], spans[line, 1] - spans[line, 0]
        if start >= 0:
            copy_bytes(out, at, _BEFORE_TEXT, 0, _BEFORE_TEXT.size)
            copy_bytes(out, at + _BEFORE_TEXT.size, data, start, size)
            at += _BEFORE_TEXT.size + size
        start, size = spans[line, 2], spans[line, 3] - spans[line, 2]
        copy_bytes(out, at, rest, start, size)
        at += size
    return at


@kernel
def _after_key(data, at, end, key):
    """Where the value begins after this key, a colon and a space or none; -1 where they do not stand there."""
    if at + key.size + 2 >= end:
        return np.int64(-1)
    for place in range(key.size):
        if data[at + place] != key[place]:
            return np.int64(-1)
    at += key.size
    if data[at] != _COLON:
        return np.int64(-1)
    return at + 2 if data[at + 1] == _SPACE else at + 1


@kernel
def _unescape(data, place, end, plain, at):
    """(place of the quote that closes the string, end of its text in `plain`); (-1, ...) for escapes of code points."""
    while place < end:
        word = load64(data, place)
        store64(plain, at, word)
        special = _zeros(word ^ _QUOTES) | _zeros(word ^ _BACKSLASHES) | ((word - _SPACES) & ~word & _HIGH)
        if special == 0:
            place, at = place + 8, at + 8
            continue
        ahead = np.int64(trailing_zeros(special)) >> 3
        place, at = place + ahead, at + ahead
        if data[place] != _BACKSLASH:
            return (place, at) if data[place] == _QUOTE and place < end else (np.int64(-1), at)
        escaped = _escaped(data[place + 1])
        if escaped < 0:
            return np.int64(-1), at
        plain[at] = escaped
        place, at = place + 2, at + 1
    return np.int64(-1), at


@kernel
def _zeros(word):
    """The highest bit of every byte that is zero, and maybe of some above the first of them."""
    return (word - _ONES) & ~word & _HIGH


@kernel
def _escaped(letter):
    """What a backslash and this letter stand for, where our writer writes the same two; else -1."""
    if letter == 110:
        return 10
    if letter in (_QUOTE, _BACKSLASH):
        return np.int64(letter)
    if letter == 116:
        return 9
    if letter == 114:
        return 13
    if letter == 98:
        return 8
    return 12 if letter == 102 else -1
