"""Asks the processor to fetch what a compiled loop will need a few rows later, so that it need not wait for it then.

For loops that look up rows at random in tables larger than the processor's caches: a look-up costs some hundred
nanoseconds, most of them waiting for memory, and a dozen of them can be under way at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_TO_WRITE, _KEEP, _DATA = 1, 3, 1
"""Arguments of LLVM's `llvm.prefetch`: it is going to be written, is to stay in all caches, and is no code."""


def _fetching(typing: Any, array: Any, index: Any) -> tuple[Any, Any]:
    """Return the type and the code of a call with arguments of these types."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        of = signature.args[0]
        untyped, tools = cast(Any, make_array), cast(Any, cgutils)
        view = untyped(of)(context, builder, arguments[0])
        pointer = tools.get_item_pointer(context, builder, of, view, [arguments[1]], wraparound=False)
        address, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address, number, number, number])
        function = tools.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        settings = [number(each) for each in (_TO_WRITE, _KEEP, _DATA)]
        builder.call(function, [builder.bitcast(pointer, address), *settings])
        return context.get_dummy_value()

    return types.void(array, index), generate


prefetch: Callable[[Any, Any], None] = cast(Any, intrinsic(_fetching))
"""Begin to fetch one place, `(array, index)`, of a one-dimensional array; changes nothing. For compiled loops alone."""
