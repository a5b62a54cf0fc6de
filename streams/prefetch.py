"""Asks the processor to fetch what a compiled loop will need a few rows later, so that it need not wait for it then.

For loops that look up rows at random in tables larger than the processor's caches: a look-up costs some hundred
nanoseconds, most of them waiting for memory, and a dozen of them can be under way at once.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_TO_WRITE, _KEEP, _DATA = 1, 3, 1
"""Arguments of LLVM's `llvm.prefetch`: it is going to be written, is to stay in all caches, and is no code."""


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing: Any, array: Any, index: Any) -> tuple[Any, Any]:
    """Begin to fetch one place of a one-dimensional array; changes nothing. For use in compiled loops."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        of = signature.args[0]
        view = make_array(of)(context, builder, arguments[0])
        pointer = cgutils.get_item_pointer(context, builder, of, view, [arguments[1]], wraparound=False)
        address, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        settings = [number(each) for each in (_TO_WRITE, _KEEP, _DATA)]
        builder.call(function, [builder.bitcast(pointer, address), *settings])
        return context.get_dummy_value()

    return types.void(array, index), generate
