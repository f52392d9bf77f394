"""Bytes in, their XXH64 or the first 32 bits of their SHA-1 out, as their specifications say.

XXH64: Collet, xxHash fast digest algorithm, version 0.1.1. SHA-1: FIPS 180-4.

Nearly all words have up to 15 bytes: of these, WORDS are hashed side by side.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from pile_toolkit.core.bits.kernels import address_of, intrinsic, load64
from pile_toolkit.core.kernels import kernel

SHORT_BYTES = 15
# Hashed at a time: 512 bits.
WORDS = 8

_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
)
_LOW_32 = np.uint64(0xFFFFFFFF)
_VECTOR = ir.VectorType(ir.IntType(64), WORDS)


@kernel
def _rotated(value, bits):
    return value << np.uint64(bits) | value >> np.uint64(64 - bits)


@kernel
def _eight_more(state, word):
    return _rotated(state ^ _rotated(word * _P2, 31) * _P1, 27) * _P1 + _P4


@kernel
def _four_more(state, word):
    return _rotated(state ^ (word & _LOW_32) * _P1, 23) * _P2 + _P3


@kernel
def _one_more(state, word):
    return _rotated(state ^ (word & np.uint64(0xFF)) * _P5, 11) * _P1


@kernel
def _finished(state):
    state = (state ^ state >> np.uint64(33)) * _P2
    state = (state ^ state >> np.uint64(29)) * _P3
    return state ^ state >> np.uint64(32)


class _Lanes:
    """WORDS numbers of 64 bits in a compiled function that is being built."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _with(self, operation: str, other: _Lanes | int) -> _Lanes:
        value = other.value if isinstance(other, _Lanes) else ir.Constant(_VECTOR, [int(other)] * WORDS)
        return _Lanes(self.builder, getattr(self.builder, operation)(self.value, value))

    __add__ = functools.partialmethod(_with, "add")
    __mul__ = functools.partialmethod(_with, "mul")
    __xor__ = functools.partialmethod(_with, "xor")
    __and__ = functools.partialmethod(_with, "and_")
    __lshift__ = functools.partialmethod(_with, "shl")
    __rshift__ = functools.partialmethod(_with, "lshr")

    def rotated(self, bits: int) -> _Lanes:
        return _Lanes(self.builder, self.builder.or_((self << bits).value, (self >> 64 - bits).value))

    def replaced(self, by: _Lanes, where: Any) -> _Lanes:
        return _Lanes(self.builder, self.builder.select(where, by.value, self.value))

    def holds(self, relation: str, value: int) -> Any:
        return self.builder.icmp_unsigned(relation, self.value, ir.Constant(_VECTOR, [value] * WORDS))


def _short_hashes(low: _Lanes, high: _Lanes, length: _Lanes) -> _Lanes:
    """XXH64 of up to SHORT_BYTES bytes, the first eight in `low`, the rest in `high`; more are ignored."""
    state = length + _P5
    has_eight, has_four, left = (length & 8).holds("!=", 0), (length & 4).holds("!=", 0), length & 3
    state = state.replaced((state ^ (low * _P2).rotated(31) * _P1).rotated(27) * _P1 + _P4, has_eight)
    rest = low.replaced(high, has_eight)
    state = state.replaced((state ^ (rest & 0xFFFFFFFF) * _P1).rotated(23) * _P2 + _P3, has_four)
    rest = rest.replaced(rest >> 32, has_four)
    for number in range(3):
        one_more = (state ^ (rest >> 8 * number & 0xFF) * _P5).rotated(11) * _P1
        state = state.replaced(one_more, left.holds(">", number))
    state = (state ^ state >> 33) * _P2
    state = (state ^ state >> 29) * _P3
    return state ^ state >> 32


@intrinsic
def xxh64_of_words(_context, low, high, lengths, hashes, first):
    """The hashes of WORDS words from number `first` on, of their first bytes and lengths.

    Each step is made and then taken or not, because a branch would be wrong for every other word. Those of more than
    SHORT_BYTES bytes get a hash that is none.
    """

    def codegen(context, builder, signature, arguments):
        kinds, first = signature.args, arguments[4]
        places = [address_of(context, builder, kinds[n], (arguments[n], first), _VECTOR) for n in range(4)]
        values = [builder.load(place) for place in places[:3]]
        for value in values:
            value.align = 8
        result = _short_hashes(*(_Lanes(builder, value) for value in values))
        builder.store(result.value, places[3]).align = 8
        return context.get_dummy_value()

    return types.void(low, high, lengths, hashes, types.int64), codegen


@kernel
def xxh64(data, start, length, seed):
    """Of `length` bytes from `start` on; up to 7 bytes behind them are read and do not matter."""
    at, stop = np.int64(start), np.int64(start + length)
    if length >= 32:
        one, two, three, four = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
        while at + 32 <= stop:
            one = _rotated(one + load64(data, at) * _P2, 31) * _P1
            two = _rotated(two + load64(data, at + 8) * _P2, 31) * _P1
            three = _rotated(three + load64(data, at + 16) * _P2, 31) * _P1
            four = _rotated(four + load64(data, at + 24) * _P2, 31) * _P1
            at += 32
        state = _rotated(one, 1) + _rotated(two, 7) + _rotated(three, 12) + _rotated(four, 18)
        for lane in (one, two, three, four):
            state = (state ^ _rotated(lane * _P2, 31) * _P1) * _P1 + _P4
    else:
        state = seed + _P5
    state += np.uint64(length)
    while at + 8 <= stop:
        state = _eight_more(state, load64(data, at))
        at += 8
    if at + 4 <= stop:
        state = _four_more(state, load64(data, at))
        at += 4
    while at < stop:
        state = _one_more(state, np.uint64(data[at]))
        at += 1
    return _finished(state)


@kernel
def _rotated32(value, bits):
    return np.uint32(value << np.uint32(bits)) | np.uint32(value >> np.uint32(32 - bits))


@kernel
def _message_word(data, at, stop, length, place, last):
    """The 32 bits of the padded message from byte `place` of its last or an earlier block on."""
    if last and place == 56:
        return np.uint32(length >> 29)
    if last and place == 60:
        return np.uint32(length << 3)
    word = np.uint32(0)
    for number in range(4):
        byte = np.uint32(0)
        if at + number < stop:
            byte = np.uint32(data[at + number])
        elif at + number == stop:
            byte = np.uint32(0x80)
        word = np.uint32(word << np.uint32(8)) | byte
    return word


@kernel
def sha1_32(data, start, length, words):
    """The first four bytes of the SHA-1 of `length` bytes from `start` on, little-endian. `words` is uint32[80]."""
    h0, h1, h2 = np.uint32(0x67452301), np.uint32(0xEFCDAB89), np.uint32(0x98BADCFE)
    h3, h4 = np.uint32(0x10325476), np.uint32(0xC3D2E1F0)
    blocks = (length + 72) // 64
    for block in range(blocks):
        for t in range(16):
            at = start + 64 * block + 4 * t
            words[t] = _message_word(data, at, start + length, length, 4 * t, block == blocks - 1)
        for t in range(16, 80):
            words[t] = _rotated32(words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16], 1)
        a, b, c, d, e = h0, h1, h2, h3, h4
        for t in range(80):
            if t < 20:
                mixed, constant = (b & c) | (~b & d), np.uint32(0x5A827999)
            elif t < 40:
                mixed, constant = b ^ c ^ d, np.uint32(0x6ED9EBA1)
            elif t < 60:
                mixed, constant = (b & c) | (b & d) | (c & d), np.uint32(0x8F1BBCDC)
            else:
                mixed, constant = b ^ c ^ d, np.uint32(0xCA62C1D6)
            mixed = np.uint32(_rotated32(a, 5) + mixed + e + constant + words[t])
            a, b, c, d, e = mixed, a, _rotated32(b, 30), c, d
        h0, h1, h2, h3, h4 = (
            np.uint32(h0 + a),
            np.uint32(h1 + b),
            np.uint32(h2 + c),
            np.uint32(h3 + d),
            np.uint32(h4 + e),
        )
    swapped = (h0 & np.uint32(0xFF00)) << np.uint32(8) | h0 >> np.uint32(8) & np.uint32(0xFF00)
    return np.uint32(h0 << np.uint32(24) | swapped | h0 >> np.uint32(24))
