"""Large tensors that the version before has left: the next version is made in their memory, not in as much again.

A delta changes a few rows of a table that may have gigabytes. To copy all of it for each delta would take a second, in
which readers wait for the processor; here only the rows of the last two deltas are copied.

    version n: A, in use          delta n+1 changes rows r: A is copied to B, B[r] = values; A is left, behind B by r
    version n+1: B, in use        delta n+2 changes rows s: nobody has A any more, so A[r] = B[r], A[s] = values
    version n+2: A, in use        B is left, behind A by s, and so on

What readers may still have is never written to: a tensor is taken only if Python counts no reference to it but ours.
"""

from __future__ import annotations

import sys
from typing import NamedTuple
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from rheostat.learners.digest import Rows

BYTES_MIN = 1 << 20
"""A smaller tensor is copied in less time than it takes to look for what could be spared."""

_OURS = 2
"""References to an array that is in one local variable, as `sys.getrefcount` counts: that and its own argument."""


class _Left(NamedTuple):
    array: NDArray[np.generic]
    rows: Rows
    successor: ref[NDArray[np.generic]]


class Spares:
    """What the last version of one model left. Used by one thread, the one that applies updates."""

    def __init__(self, bytes_min: int = BYTES_MIN) -> None:
        self._bytes_min = bytes_min
        self._left: dict[str, _Left] = {}

    def copy(self, name: str, current: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return an array with the contents of `current` that nobody else has, to be written to."""
        left = self._left.pop(name, None)
        if left is None or left.successor() is not current:
            return current.copy()
        array, rows, _ = left
        del left
        # A view of it would count, as long as its memory is its own: numpy lets views refer to whoever owns that.
        if sys.getrefcount(array) > _OURS or not array.flags.owndata:
            return current.copy()
        array.flags.writeable = True
        array[rows] = current[rows]
        return array

    def leave(
        self, name: str, array: NDArray[np.generic], rows: NDArray[np.generic], successor: NDArray[np.generic]
    ) -> None:
        """Note that `successor` takes the place of `array` and differs from it in these rows alone."""
        if array.nbytes >= self._bytes_min:
            self._left[name] = _Left(array, rows.astype(np.int64), ref(successor))

    def clear(self) -> None:
        """Give up all of it."""
        self._left.clear()
