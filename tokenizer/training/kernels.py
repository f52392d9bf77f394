"""What both kinds of kernels use: memory asked for before it is needed."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def _prefetch(_context, array, item):
    """Asks for the memory of one item of a contiguous array of whatever shape, to be written to."""

    def codegen(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, flag, flag, flag])
        name = "llvm.prefetch.p0i8"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name=name)
        # For writing, to be kept in all caches, data and not code.
        builder.call(function, [address, flag(1), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


# For type checkers an intrinsic would still take the compiler's context as its first argument.
prefetch: Any = _prefetch
