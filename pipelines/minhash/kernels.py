"""Folded texts in, their shingles, signatures and band hashes out.

A text is taken a piece of CHUNK units (words or characters) at a time, so that whatever is made of it stays in the
processor's first cache, and a text of any length takes the same memory. Units and their hashes lie in the arrays of a
`Room`; the last `size - 1` of a piece are the first ones of the next.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from pile_toolkit.core.bits.kernels import address_of, intrinsic, load64, trailing_zeros
from pile_toolkit.core.kernels import kernel
from pipelines.minhash.hashing.kernels import SHORT_BYTES, WORDS, sha1_32, xxh64, xxh64_of_words
from pipelines.minhash.signing.kernels import lower_minima

CHUNK = 512
BLOCK = 64
# Bytes behind a text that may be read; what they are does not matter.
PADDING = 2 * BLOCK
EMPTY = 0xFFFFFFFF

_NONE, _ONE, _ALL = np.uint64(0), np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
_MULTIPLIER, _FINAL_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xBF58476D1CE4E5B9)


class Room(NamedTuple):
    """Of each unit of a piece its start, length in bytes, first 16 bytes and hash; of each shingle its hash."""

    starts: np.ndarray
    lengths: np.ndarray
    low: np.ndarray
    high: np.ndarray
    hashes: np.ndarray
    shingles: np.ndarray
    words: np.ndarray


def make_room(size: int) -> Room:
    """For shingles of `size` units: 44 bytes for each of CHUNK + size units."""
    # Hashes are written some at a time, the last of them behind the end.
    units = CHUNK + size + WORDS
    starts, low, high = np.zeros(units, np.int64), np.zeros(units, np.uint64), np.zeros(units, np.uint64)
    lengths, hashes = np.zeros(units, np.uint64), np.zeros(units, np.uint64)
    shingles, words = np.zeros(units, np.uint32), np.zeros(80, np.uint32)
    return Room(starts, lengths, low, high, hashes, shingles, words)


@intrinsic
def _spaces(_context, array, offset):
    """Which of 64 bytes from `offset` on are spaces."""
    vector = ir.VectorType(ir.IntType(8), BLOCK)

    def codegen(context, builder, signature, arguments):
        block = builder.load(address_of(context, builder, signature.args[0], arguments, vector))
        block.align = 1
        found = builder.icmp_unsigned("==", block, ir.Constant(vector, [0x20] * BLOCK))
        return builder.bitcast(found, ir.IntType(64))

    return types.uint64(array, types.int64), codegen


@kernel
def _note(text, room, number, start, end):
    room.starts[number] = start
    room.lengths[number] = np.uint64(end - start)
    room.low[number] = load64(text, start)
    room.high[number] = load64(text, start + 8)


@kernel
def find_words(text, at, stop, room, count):
    """Notes the words from `at` on, where one starts, behind the `count` that are there.

    Returns how many there are then, and where the next one starts.
    """
    block = at
    while block < stop and count + BLOCK // 2 + WORDS < room.starts.size:
        spaces = _spaces(text, block)
        if stop - block < BLOCK:
            spaces &= (_ONE << np.uint64(stop - block)) - _ONE
        while spaces != _NONE:
            end = block + np.int64(trailing_zeros(spaces))
            _note(text, room, count, at, end)
            count += 1
            at = end + 1
            spaces &= spaces - _ONE
        block += BLOCK
    if block >= stop and at < stop:
        _note(text, room, count, at, stop)
        count += 1
        at = stop
    return count, at


@kernel
def _find_characters(text, at, stop, room, count):
    while at < stop and count + WORDS < room.starts.size:
        first = text[at]
        end = at + 1 + np.int64(first >= 0xC0) + np.int64(first >= 0xE0) + np.int64(first >= 0xF0)
        _note(text, room, count, at, end)
        count += 1
        at = end
    return count, at


@kernel
def hash_units(text, room, first, end):
    """XXH64 of the noted units from `first` to `end`."""
    for number in range(first, end, WORDS):
        xxh64_of_words(room.low, room.high, room.lengths, room.hashes, number)
    for number in range(first, end):
        if room.lengths[number] > SHORT_BYTES:
            room.hashes[number] = xxh64(text, room.starts[number], np.int64(room.lengths[number]), _NONE)


@kernel
def hash_shingles(hashes, units, count, size, result, first):
    """The keys of shingles, or of a uint32 `result` the low halves, which are the hashes, from result[first] on."""
    key, out = _NONE, _ONE
    for number in range(size):
        key = key * _MULTIPLIER + hashes[number]
        out *= _MULTIPLIER
    for number in range(count):
        mixed = (key ^ key >> np.uint64(29)) * _FINAL_MULTIPLIER
        result[first + number] = mixed ^ mixed >> np.uint64(32)
        if number + size < units:
            # The next unit comes in, and the first one goes, which was multiplied as often as there are units.
            key = key * _MULTIPLIER + (hashes[number + size] - hashes[number] * out)


@kernel
def keep_last(room, count, kept):
    """The last `kept` of `count` units become the first ones."""
    for number in range(kept):
        room.starts[number] = room.starts[count - kept + number]
        room.lengths[number] = room.lengths[count - kept + number]
        room.hashes[number] = room.hashes[count - kept + number]


@kernel
def _next_units(text, at, stop, words, size, room, kept, begun):
    """Notes the units of the next piece: how many there are, of shingles, of units in one, and where the next starts.

    `begun`: whether the text had shingles before; else all of a text that is shorter than a shingle is one.
    """
    if words:
        units, at = find_words(text, at, stop, room, kept)
    else:
        units, at = _find_characters(text, at, stop, room, kept)
    count = units - size + 1
    if count < 1:
        count = 1 if at >= stop and units > 0 and not begun else 0
        size = units if count else size
    return units, count, size, at


@kernel
def _next_shingles(text, at, stop, words, size, sha1, room, kept, begun):
    """The shingles of the next piece, in `room.shingles`: how many, where the piece after it starts, units kept for it.

    `begun`: as in `_next_units`.
    """
    units, count, own, at = _next_units(text, at, stop, words, size, room, kept, begun)
    if sha1:
        for number in range(count):
            last = number + own - 1
            length = room.starts[last] + np.int64(room.lengths[last]) - room.starts[number]
            room.shingles[number] = sha1_32(text, room.starts[number], length, room.words)
    else:
        hash_units(text, room, kept, units)
        hash_shingles(room.hashes, units, count, own, room.shingles, 0)
    kept = min(size - 1, units)
    keep_last(room, units, kept)
    return count, at, kept


@kernel
def write_shingles(text, stop, words, size, sha1, room, result):
    """The hashes of all shingles of a folded text, in order; how many."""
    at, kept, total = np.int64(0), np.int64(0), np.int64(0)
    while at < stop:
        count, at, kept = _next_shingles(text, at, stop, words, size, sha1, room, kept, total > 0)
        for number in range(count):
            result[total + number] = room.shingles[number]
        total += count
    return total


@kernel
def write_keys(text, ends, words, size, room, result, result_ends):
    """The 64-bit keys of all shingles of folded texts, one text after the other; where those of each text end.

    `result` has room for as many as the texts have bytes.
    """
    at, total = np.int64(0), np.int64(0)
    for number in range(ends.size):
        kept, first, stop = np.int64(0), total, ends[number]
        while at < stop:
            units, count, own, at = _next_units(text, at, stop, words, size, room, kept, total > first)
            hash_units(text, room, kept, units)
            hash_shingles(room.hashes, units, count, own, result, total)
            kept = min(size - 1, units)
            keep_last(room, units, kept)
            total += count
        result_ends[number] = total


@kernel
def drop_repeats(keys, ends):
    """Of numbers that are sorted up to each of `ends`, the first of those that are equal; sets `ends` to the rest's."""
    start, used = np.int64(0), np.int64(0)
    for number in range(ends.size):
        for place in range(start, ends[number]):
            if place == start or keys[place] != keys[place - 1]:
                keys[used] = keys[place]
                used += 1
        start, ends[number] = ends[number], used


@kernel
def _mix(shingles, count):
    # The finalizer of MurmurHash3, with which datasketch's affine schemes begin.
    for number in range(count):
        value = shingles[number]
        value = np.uint32((value ^ value >> np.uint32(16)) * np.uint32(0x85EBCA6B))
        value = np.uint32((value ^ value >> np.uint32(13)) * np.uint32(0xC2B2AE35))
        shingles[number] = value ^ value >> np.uint32(16)


@kernel
def hash_bands(data, start, rows, hashes):
    """XXH64 of the bytes of each band's `rows` minima from `start` on; its seed is the number of the band."""
    for band in range(hashes.size):
        hashes[band] = xxh64(data, start + 4 * rows * band, 4 * rows, np.uint64(band))


@kernel
def hash_signatures(data, num_perm, rows, bands):
    """The band hashes of signatures that lie one after the other, as bytes."""
    for number in range(bands.shape[0]):
        hash_bands(data, 4 * num_perm * number, rows, bands[number])


@kernel
def sign_texts(text, ends, words, size, sha1, mixed, multipliers, offsets, room, minima, data, signatures, rows, bands):
    """Signatures and band hashes of folded texts that lie one after the other and end at `ends`.

    `minima` is uint32 scratch of a multiple of 16 permutations, `data` the same memory as bytes and PADDING more;
    `signatures` and `bands` have a row for each text, or none.
    """
    at = np.int64(0)
    for number in range(ends.size):
        minima[:] = EMPTY
        kept, begun, stop = np.int64(0), False, ends[number]
        while at < stop:
            count, at, kept = _next_shingles(text, at, stop, words, size, sha1, room, kept, begun)
            if count:
                begun = True
                if mixed:
                    _mix(room.shingles, count)
                lower_minima(minima, multipliers, offsets, room.shingles, count)
        if signatures.shape[0]:
            for place in range(signatures.shape[1]):
                signatures[number, place] = minima[place]
        if bands.shape[0]:
            hash_bands(data, 0, rows, bands[number])
