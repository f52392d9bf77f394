"""What a processor does in one instruction and numba has no word for: unaligned loads and stores, counts of bits.

Offsets count items of the array, so that eight bytes may be read from any byte of a text and written to any id of a
result. Nothing is checked: who calls knows that the bytes are there.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

# For type checkers an intrinsic would still take the compiler's context as its first argument.
intrinsic: Any = extending.intrinsic

_BIT, _BYTE, _WORD, _WIDE = ir.IntType(1), ir.IntType(8), ir.IntType(64), ir.VectorType(ir.IntType(64), 2)


def address_of(context: Any, builder: Any, kind: Any, item: Any, pointed: Any) -> Any:
    """A pointer to `item`, array and offset, of an array of that numba type, as a pointer to `pointed`."""
    array, offset = item
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), pointed.as_pointer())


@intrinsic
def load64(_context, array, offset):
    """Eight bytes of an array from item `offset` on, as a little-endian uint64."""

    def codegen(context, builder, signature, arguments):
        value = builder.load(address_of(context, builder, signature.args[0], arguments, _WORD))
        value.align = 1
        return value

    return types.uint64(array, types.int64), codegen


@intrinsic
def copy16(_context, target, offset, source, place):
    """Sixteen bytes from item `place` of one array to item `offset` of another."""

    def codegen(context, builder, signature, arguments):
        value = builder.load(address_of(context, builder, signature.args[2], arguments[2:], _WIDE))
        value.align = 8
        builder.store(value, address_of(context, builder, signature.args[0], arguments[:2], _WIDE)).align = 1
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), codegen


@intrinsic
def swap32(_context, array, offset, other):
    """Exchanges 32 bytes from item `offset` on for those from item `other` on."""

    def codegen(context, builder, signature, arguments):
        block = ir.VectorType(_WORD, 4)
        items = [(arguments[0], place) for place in arguments[1:]]
        one, two = (address_of(context, builder, signature.args[0], item, block) for item in items)
        values = builder.load(one), builder.load(two)
        for value, target in zip(values, (two, one), strict=True):
            value.align = 8
            builder.store(value, target).align = 8
        return context.get_dummy_value()

    return types.void(array, types.uint64, types.uint64), codegen


@intrinsic
def prefetch(_context, array, offset):
    """Asks for the cache line of an item, and does not wait for it."""

    def codegen(context, builder, signature, arguments):
        address = address_of(context, builder, signature.args[0], arguments, _BYTE)
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        # For reading, to be kept in all caches, data and not code.
        builder.call(function, [address, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def trailing_zeros(_context, value):
    """The number of zero bits below the lowest one; 64 where there is none."""

    def codegen(_context, builder, _signature, arguments):
        return builder.cttz(arguments[0], _BIT(0))

    return types.uint64(types.uint64), codegen


@intrinsic
def leading_zeros(_context, value):
    """The number of zero bits above the highest one; 64 where there is none."""

    def codegen(_context, builder, _signature, arguments):
        return builder.ctlz(arguments[0], _BIT(0))

    return types.uint64(types.uint64), codegen


@intrinsic
def ones(_context, value):
    """The number of one bits."""

    def codegen(_context, builder, _signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), codegen
