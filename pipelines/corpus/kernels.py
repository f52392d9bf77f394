"""Lines of documents in, where their text and meta stand out, and the text itself: eight bytes at a time.

Only lines of the plain form are understood, those that `json.dumps` and this project write; of all others it is said
that they are not. `data` must have eight bytes more after its last line.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types

from pile_toolkit.core.bits.kernels import address_of, load64, trailing_zeros
from pile_toolkit.core.kernels import kernel

# For type checkers an intrinsic would still take the compiler's context as its first argument.
intrinsic: Any = extending.intrinsic

_QUOTE, _BACKSLASH, _COLON, _COMMA, _SPACE, _CLOSE = 34, 92, 58, 44, 32, 125
_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)
_TEXT = np.frombuffer(b'"text"', np.uint8)
_META = np.frombuffer(b'"meta"', np.uint8)


@intrinsic
def store64(_context, array, offset, value):
    """Eight bytes, a little-endian uint64, into an array from item `offset` on."""

    def codegen(context, builder, signature, arguments):
        array_, place, word = arguments
        target = address_of(context, builder, signature.args[0], (array_, place), ir.IntType(64))
        builder.store(word, target).align = 1
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen


@kernel
def find_plain(data, ends, plain, found):
    """Finds text and meta of each line; line n ends before `ends[n]`. Returns the bytes of all texts.

    `found[n]` is: start and end of the text as it is written, start of the meta, which ends one byte before the line,
    and the end of the text in `plain`, where it begins at the end of the one before. A line that is not plain has -1 as
    the first, and no text in `plain`. `plain` is as long as `data`.
    """
    at, begin = np.int64(0), np.int64(0)
    for line in range(ends.size):
        end = ends[line]
        start = _after_key(data, begin + 1, end, _TEXT) if data[begin] == 123 else np.int64(-1)
        found[line, 0] = -1
        if start >= 0 and data[start] == _QUOTE:
            close, text_end = _unescape(data, start + 1, end, plain, at)
            if close >= 0:
                meta = np.int64(-1)
                if data[close + 1] == _COMMA:
                    meta = close + 3 if data[close + 2] == _SPACE else close + 2
                    meta = _after_key(data, meta, end, _META)
                if meta >= 0 and meta + 1 < end and data[end - 1] == _CLOSE:
                    found[line, 0], found[line, 1], found[line, 2] = start + 1, close, meta
                    at = text_end
        found[line, 3] = at
        begin = end + 1
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
