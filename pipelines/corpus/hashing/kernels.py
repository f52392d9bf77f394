"""Bytes in, their XXH3-128 out, without a seed, as its specification says (xxHash fast digest algorithms, 0.7.3).

Long inputs go through eight lanes of 64 bits at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from pile_toolkit.core.bits.kernels import address_of, intrinsic, load64
from pile_toolkit.core.kernels import kernel

LANES = 8
_STRIPE_BYTES, _STRIPES = 64, 16
_BLOCK_BYTES = _STRIPE_BYTES * _STRIPES
_P32_1, _P32_2, _P32_3 = (np.uint64(prime) for prime in (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D))
_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
)
_MIX_1, _MIX_2 = np.uint64(0x165667919E3779F9), np.uint64(0x9FB21C651E98DF25)
_LOW_32 = np.uint64(0xFFFFFFFF)
_SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
        "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
        "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
    np.uint8,
)
# Where in the secret the last stripe, the scrambling and the two halves of a long hash begin.
_LAST, _SCRAMBLE, _LOW_MERGE, _HIGH_MERGE = 121, 128, 11, 117
_WIDE, _WORD = ir.IntType(128), ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, LANES)


@intrinsic
def store64(_context, array, offset, value):
    """Eight bytes, a little-endian uint64, into an array from item `offset` on."""

    def codegen(context, builder, signature, arguments):
        array_, place, word = arguments
        target = address_of(context, builder, signature.args[0], (array_, place), _WORD)
        builder.store(word, target).align = 1
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen


@intrinsic
def high_product(_context, one, other):
    """The upper 64 bits of a product of 128."""

    def codegen(_context, builder, _signature, arguments):
        product = builder.mul(*(builder.zext(value, _WIDE) for value in arguments))
        return builder.trunc(builder.lshr(product, _WIDE(64)), _WORD)

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic
def swapped(_context, value):
    """The same eight bytes in reverse."""

    def codegen(_context, builder, _signature, arguments):
        return builder.bswap(arguments[0])

    return types.uint64(types.uint64), codegen


def _loaded(builder: Any, pointer: Any) -> Any:
    value = builder.load(pointer)
    value.align = 1
    return value


def _constant(value: int) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


def _stripe(builder: Any, state: Any, data: Any, secret: Any) -> Any:
    """The state after one more stripe: each lane gets its neighbour's word and a product of its own halves."""
    neighbours = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [lane ^ 1 for lane in range(LANES)])
    keyed = builder.xor(data, secret)
    product = builder.mul(builder.and_(keyed, _constant(0xFFFFFFFF)), builder.lshr(keyed, _constant(32)))
    return builder.add(builder.add(state, builder.shuffle_vector(data, data, neighbours)), product)


@intrinsic
def add_stripe(_context, state, at, data, place, secret, key):
    """Adds a stripe, the data from byte `place` on, with the secret from byte `key` on, to the state in item `at`."""

    def codegen(context, builder, signature, arguments):
        kinds = signature.args
        places = [address_of(context, builder, kinds[n], arguments[n : n + 2], _VECTOR) for n in (0, 2, 4)]
        added = _stripe(builder, *(_loaded(builder, place) for place in places))
        builder.store(added, places[0]).align = 1
        return context.get_dummy_value()

    return types.void(state, types.int64, data, types.int64, secret, types.int64), codegen


@intrinsic
def add_block(_context, state, at, data, place, secret):
    """Adds a block of stripes, from byte `place` of the data on, to the state in item `at`, and scrambles it."""

    def codegen(context, builder, signature, arguments):
        kinds, zero = signature.args, ir.Constant(_WORD, 0)
        pointer = address_of(context, builder, kinds[0], arguments[:2], _VECTOR)
        value = _loaded(builder, pointer)

        def words(number: int, item: Any, offset: int) -> Any:
            at = (arguments[number], builder.add(item, ir.Constant(_WORD, offset)))
            return _loaded(builder, address_of(context, builder, kinds[number], at, _VECTOR))

        for number in range(_STRIPES):
            text = words(2, arguments[3], _STRIPE_BYTES * number)
            value = _stripe(builder, value, text, words(4, zero, 8 * number))
        value = builder.xor(value, builder.lshr(value, _constant(47)))
        value = builder.mul(builder.xor(value, words(4, zero, _SCRAMBLE)), _constant(int(_P32_1)))
        builder.store(value, pointer).align = 1
        return context.get_dummy_value()

    return types.void(state, types.int64, data, types.int64, secret), codegen


@kernel
def xxh3_128(data, start, length, state, at):
    """(upper, lower half) of the hash of `length` bytes from `start` on; up to 7 more are read and do not matter.

    LANES items of `state`, of 64 bits, are to work in, from item `at` on.
    """
    if length > 240:
        return _long(data, start, length, state, at)
    if length > 16:
        return _medium(data, start, length)
    if length > 8:
        return _up_to_16(data, start, length)
    if length >= 4:
        return _up_to_8(data, start, length)
    if length > 0:
        return _up_to_3(data, start, length)
    return _last_mix(_key(80) ^ _key(88)), _last_mix(_key(64) ^ _key(72))


@kernel
def _key(place):
    return load64(_SECRET, place)


@kernel
def _last_mix(value):
    value = (value ^ value >> np.uint64(33)) * _P2
    value = (value ^ value >> np.uint64(29)) * _P3
    return value ^ value >> np.uint64(32)


@kernel
def _mix(value):
    value = (value ^ value >> np.uint64(37)) * _MIX_1
    return value ^ value >> np.uint64(32)


@kernel
def _folded(one, other):
    return high_product(one, other) ^ one * other


@kernel
def _up_to_3(data, start, length):
    one, two, last = np.uint64(data[start]), np.uint64(data[start + (length >> 1)]), np.uint64(data[start + length - 1])
    both = last | np.uint64(length) << np.uint64(8) | one << np.uint64(16) | two << np.uint64(24)
    turned = swapped(both) >> np.uint64(32)
    turned = (turned << np.uint64(13) | turned >> np.uint64(19)) & _LOW_32
    first, second = _key(0), _key(8)
    low, high = (first ^ first >> np.uint64(32)) & _LOW_32, (second ^ second >> np.uint64(32)) & _LOW_32
    return _last_mix(high ^ turned), _last_mix(low ^ both)


@kernel
def _up_to_8(data, start, length):
    first, last = load64(data, start) & _LOW_32, load64(data, start + length - 4) & _LOW_32
    value = _key(16) ^ _key(24) ^ (first | last << np.uint64(32))
    factor = _P1 + (np.uint64(length) << np.uint64(2))
    low = value * factor
    high = high_product(value, factor) + (low << np.uint64(1))
    low ^= high >> np.uint64(3)
    low = (low ^ low >> np.uint64(35)) * _MIX_2
    return _mix(high), low ^ low >> np.uint64(28)


@kernel
def _up_to_16(data, start, length):
    first, last = load64(data, start), load64(data, start + length - 8)
    one, other = _key(32) ^ _key(40) ^ first ^ last, _key(48) ^ _key(56) ^ last
    low = one * _P1 + (np.uint64(length - 1) << np.uint64(54))
    high = high_product(one, _P1) + other + (other & _LOW_32) * (_P32_2 - np.uint64(1))
    low ^= swapped(high)
    return _mix(high_product(low, _P2) + high * _P2), _mix(low * _P2)


@kernel
def _two_chunks(data, one, other, key, low, high):
    """The two sums after 16 bytes from `one` and 16 from `other` on."""
    first, second = load64(data, one), load64(data, one + 8)
    third, fourth = load64(data, other), load64(data, other + 8)
    low = low + _folded(first ^ _key(key), second ^ _key(key + 8)) ^ third + fourth
    high = high + _folded(third ^ _key(key + 16), fourth ^ _key(key + 24)) ^ first + second
    return low, high


@kernel
def _medium(data, start, length):
    low, high, end = np.uint64(length) * _P1, np.uint64(0), start + length
    if length <= 128:
        for pair in range((length - 1) >> 5, -1, -1):
            low, high = _two_chunks(data, start + 16 * pair, end - 16 * pair - 16, 32 * pair, low, high)
    else:
        for pair in range(4):
            low, high = _two_chunks(data, start + 32 * pair, start + 32 * pair + 16, 32 * pair, low, high)
        low, high = _mix(low), _mix(high)
        for pair in range(4, length >> 5):
            low, high = _two_chunks(data, start + 32 * pair, start + 32 * pair + 16, 32 * pair - 125, low, high)
        low, high = _two_chunks(data, end - 16, end - 32, 103, low, high)
    mixed = low * _P1 + high * _P4 + np.uint64(length) * _P2
    return np.uint64(0) - _mix(mixed), _mix(low + high)


@kernel
def _long(data, start, length, state, at):
    for lane, prime in enumerate((_P32_3, _P1, _P2, _P3, _P4, _P32_2, _P5, _P32_1)):
        store64(state, at + lane, prime)
    # The last block is never a whole one for these, even where it has as many bytes.
    end, last = start + length, start + (length - 1) // _BLOCK_BYTES * _BLOCK_BYTES
    for place in range(start, last, _BLOCK_BYTES):
        add_block(state, at, data, place, _SECRET)
    for number in range((end - 1 - last) // _STRIPE_BYTES):
        add_stripe(state, at, data, last + _STRIPE_BYTES * number, _SECRET, 8 * number)
    add_stripe(state, at, data, end - _STRIPE_BYTES, _SECRET, _LAST)
    low = _merged(state, at, np.uint64(length) * _P1, _LOW_MERGE)
    return _merged(state, at, ~(np.uint64(length) * _P2), _HIGH_MERGE), low


@kernel
def _merged(state, at, value, place):
    for lane in range(0, LANES, 2):
        one, other = load64(state, at + lane), load64(state, at + lane + 1)
        value += _folded(one ^ _key(place + 8 * lane), other ^ _key(place + 8 * lane + 8))
    return _mix(value)
