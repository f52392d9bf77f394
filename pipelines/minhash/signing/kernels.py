"""Shingle hashes and permutations in, the least value of each permutation out.

    affine32: (a * h + b) mod 2^32, of h mixed before
    legacy:   ((a * h + b) mod 2^64 mod (2^61 - 1)) mod 2^32

As datasketch has them, the wrap at 2^64 included. The minima of 128 permutations, their factors and summands stay in
registers while all hashes pass by (where those have 512 bits; elsewhere the compiler makes the best of it), so that a
hash costs two multiplications, an addition and a minimum for each 16 permutations: 16 cycles for 128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from pile_toolkit.core.bits.kernels import address_of, intrinsic
from pile_toolkit.core.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Callable

# Permutations in a register, and registers at a time.
LANES = 16
REGISTERS = 8

_INT32 = ir.IntType(32)
_MINIMA = ir.VectorType(_INT32, LANES)


def _constant(vector: ir.VectorType, value: int) -> ir.Constant:
    return ir.Constant(vector, [value] * LANES)


def _affine32(builder: Any, factor: Any, summand: Any, value: Any) -> Any:
    return builder.add(builder.mul(factor, value), summand)


def _legacy(builder: Any, factor: Any, summand: Any, value: Any) -> Any:
    value = _affine32(builder, factor, summand, value)
    prime = _constant(value.type, (1 << 61) - 1)
    # 2^61 is 1 modulo the prime.
    value = builder.add(builder.and_(value, prime), builder.lshr(value, _constant(value.type, 61)))
    value = builder.select(builder.icmp_unsigned(">=", value, prime), builder.sub(value, prime), value)
    return builder.trunc(value, _MINIMA)


def _lower(registers: int) -> Callable:
    """Builds the loop over all hashes for LANES * `registers` permutations."""

    def codegen(context, builder, signature, arguments):
        kinds = signature.args
        minima, first, multipliers, offsets, hashes, count = arguments
        legacy = kinds[2].dtype.bitwidth == 64
        permuted = _legacy if legacy else _affine32
        vector = ir.VectorType(ir.IntType(64) if legacy else _INT32, LANES)

        def loaded(kind, array, number, pointed):
            item = (array, builder.add(first, first.type(LANES * number)))
            address = address_of(context, builder, kind, item, pointed)
            value = builder.load(address)
            value.align = pointed.element.width // 8
            return value, address

        numbers = range(registers)
        factors = [loaded(kinds[2], multipliers, number, vector)[0] for number in numbers]
        summands = [loaded(kinds[3], offsets, number, vector)[0] for number in numbers]
        before = [loaded(kinds[0], minima, number, _MINIMA) for number in numbers]
        # The optimizer makes registers of these variables.
        least = [cgutils.alloca_once_value(builder, value) for value, _ in before]
        with cgutils.for_range(builder, count) as loop:
            one = builder.load(address_of(context, builder, kinds[4], (hashes, loop.index), _INT32))
            one = builder.zext(one, vector.element) if legacy else one
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), one, _INT32(0))
            one = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), _constant(_MINIMA, 0))
            for number in numbers:
                value, so_far = permuted(builder, factors[number], summands[number], one), builder.load(least[number])
                smaller = builder.icmp_unsigned("<", value, so_far)
                builder.store(builder.select(smaller, value, so_far), least[number])
        for number in numbers:
            builder.store(builder.load(least[number]), before[number][1]).align = 4
        return context.get_dummy_value()

    return codegen


@intrinsic
def _lower_many(_context, minima, first, multipliers, offsets, hashes, count):
    return types.void(minima, types.int64, multipliers, offsets, hashes, types.int64), _lower(REGISTERS)


@intrinsic
def _lower_few(_context, minima, first, multipliers, offsets, hashes, count):
    return types.void(minima, types.int64, multipliers, offsets, hashes, types.int64), _lower(1)


@kernel
def lower_minima(minima, multipliers, offsets, hashes, count):
    """Lowers uint32 `minima` to the least of each permutation of the first `count` of uint32 `hashes`.

    As many minima as permutations, a multiple of LANES. uint32 permutations are those of affine32, uint64 of legacy.
    """
    first = 0
    while first + LANES * REGISTERS <= minima.size:
        _lower_many(minima, first, multipliers, offsets, hashes, count)
        first += LANES * REGISTERS
    while first < minima.size:
        _lower_few(minima, first, multipliers, offsets, hashes, count)
        first += LANES
