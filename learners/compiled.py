"""Loops over arrays, compiled to machine code when their module is imported, and kept on disk for the next time.

For what has to look at one row after the other, or would take dozens of passes of numpy: a pass costs microseconds
however few rows there are, and blocks of live traffic are small. Needs numba, so nothing that a serving team installs
may import this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit, types

Function = TypeVar("Function", bound=Callable[..., Any])


def read_only(element: Any, dimensions: int = 1) -> Any:
    """Return the type of an array that is only read; any contiguous one of these elements fits."""
    return types.Array(element, dimensions, "C", readonly=True)


BOOLS, BYTES = read_only(types.boolean), read_only(types.uint8)
INTS, LONGS, WORDS, FLOATS = (read_only(each) for each in (types.int32, types.int64, types.uint64, types.float64))


def compiled(*signatures: Any) -> Callable[[Function], Function]:
    """Compile a function for these argument types, such as `types.int64(LONGS, types.float64)`.

    Integers wrap, indices are not checked, the interpreter lock is free while it runs.
    """

    def decorate(function: Function) -> Function:
        return cast(Function, njit(list(signatures), cache=True, nogil=True)(function))

    return decorate
