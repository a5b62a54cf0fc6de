"""What a step does with a table of many rows, compiled: looking some of them up, and moving those alone.

These are loops over single numbers. A pass of torch or numpy over so few takes longer to begin than to do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from rheostat.learners.compiled import LONGS, compiled, read_only

_TABLE, _READ, _LONGS = types.float32[:, ::1], read_only(types.float32, 2), types.int64[::1]
_INT, _SINGLES = types.int64, read_only(types.float32)
_ONLY = np.zeros(1, np.int64)
_EPSILON = np.float32(1e-8)


@compiled(types.void(_READ, LONGS, _TABLE, _INT))
def embed(table: Any, rows: Any, inputs: Any, column: Any) -> None:
    """Write these rows of a table into inputs, side by side from a column on, as many for each; zeros for row -1."""
    dim = table.shape[1]
    each = len(rows) // max(len(inputs), 1)
    for place in range(len(rows)):
        into, at = place // each, column + place % each * dim
        for number in range(dim):
            inputs[into, at + number] = table[rows[place], number] if rows[place] >= 0 else np.float32(0.0)


@compiled(_INT(LONGS, _READ, _LONGS, _TABLE))
def _sum_by_row(rows: Any, gradient: Any, distinct: Any, sums: Any) -> int:
    """Write which rows there are but -1, as they first came, and the sum of each one's gradients; return how many."""
    count, last = 0, 1
    while last < 2 * len(rows):
        last = 2 * last + 1
    slots = np.full(last + 1, -1, np.int64)
    for place in range(len(rows)):
        row = rows[place]
        if row < 0:
            continue
        slot = row & last
        while slots[slot] >= 0 and distinct[slots[slot]] != row:
            slot = (slot + 1) & last
        if slots[slot] < 0:
            slots[slot], distinct[count] = count, row
            sums[count, :] = np.float32(0.0)
            count += 1
        for number in range(gradient.shape[1]):
            sums[slots[slot], number] += gradient[place, number]
    return count


@compiled(types.float64(_READ, _READ, LONGS, _READ, _SINGLES, _TABLE, _TABLE))
def _moved(values: Any, squares: Any, rows: Any, gradient: Any, settings: Any, moved: Any, moved_squares: Any) -> float:
    """Write where a step of Adagrad leads for these rows, and their sums of squares.

    Returns the sum of squares of all that was moved; it is not finite if anything written is not.
    """
    rate, keep, l2 = settings
    length = 0.0
    for place in range(len(rows)):
        row = rows[place]
        for number in range(values.shape[1]):
            value = values[row, number]
            slope = gradient[place, number] + l2 * value
            square = keep * squares[row, number] + slope * slope
            value -= rate * slope / (np.sqrt(square) + _EPSILON)
            moved[place, number], moved_squares[place, number] = value, square
            # 0 times what is not finite is NaN.
            length += np.float64(value) * value + np.float64(square) * 0.0
    return length


@compiled(
    types.boolean(_TABLE, _TABLE, _TABLE, _TABLE, _READ, LONGS, _READ, _SINGLES, types.float64, types.boolean[::1])
)
def descend(
    dense: Any,
    dense_squares: Any,
    table: Any,
    table_squares: Any,
    of_dense: Any,
    rows: Any,
    of_rows: Any,
    settings: Any,
    norm_max: Any,
    touched: Any,
) -> bool:
    """Make a step of Adagrad (Duchi, Hazan and Singer 2011), or change nothing and return False.

    dense: all parameters of layers, as one row. rows: those of the table that there is a gradient for, of_rows
    (len(rows), dim), repeated ones in several parts; -1 for none. settings: rate, share of the sums of squares that is
    kept, and l2. It is not made if it leads to what is not finite, or to a norm above `norm_max`.
    """
    distinct, sums = np.empty(len(rows), np.int64), np.empty_like(of_rows)
    count = _sum_by_row(rows, of_rows, distinct, sums)
    distinct = distinct[:count]
    moved, moved_squares = np.empty_like(sums), np.empty_like(sums)
    dense_moved, dense_moved_squares = np.empty_like(dense), np.empty_like(dense)
    length = _moved(dense, dense_squares, _ONLY, of_dense, settings, dense_moved, dense_moved_squares)
    length += _moved(table, table_squares, distinct, sums, settings, moved, moved_squares)
    # NaN passes no comparison.
    if not length <= norm_max * norm_max:
        return False
    dense[:], dense_squares[:] = dense_moved, dense_moved_squares
    for place in range(count):
        row = distinct[place]
        table[row], table_squares[row], touched[row] = moved[place], moved_squares[place], True
    return True
