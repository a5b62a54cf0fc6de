"""When numbered things were written: times that only rise, kept by steps instead of one by one."""

from __future__ import annotations

from array import array
from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

_FORGET_AT_ONCE = 1_024


class Timeline:
    """Which number was the first of each step of time that has any: 16 bytes a step, however many numbers it has."""

    def __init__(self, step_ms: int) -> None:
        self.step_ms = step_ms
        self._steps = array("q")
        self._numbers = array("q")

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return len(self._steps) * self._steps.itemsize + len(self._numbers) * self._numbers.itemsize

    def append(self, times_ms: NDArray[np.int64], number: int) -> None:
        """Take the times of `number` and the numbers after it; they must not fall, nor be before earlier ones."""
        steps = times_ms // self.step_ms
        first = np.flatnonzero(np.diff(steps, prepend=self._steps[-1] if self._steps else steps[0] - 1))
        self._steps.frombytes(steps[first].tobytes())
        self._numbers.frombytes((first + number).astype(np.int64).tobytes())

    def first_since(self, time_ms: int) -> int | None:
        """Return the first number written in the step of this time or later; None if there is none."""
        index = bisect_left(self._steps, time_ms // self.step_ms)
        return self._numbers[index] if index < len(self._numbers) else None

    def forget_before(self, number: int) -> None:
        """Forget steps whose numbers are all below this; not always at once."""
        gone = bisect_left(self._numbers, number + 1) - 1
        if gone >= min(_FORGET_AT_ONCE, len(self._numbers) // 2 + 1):
            del self._steps[:gone], self._numbers[:gone]

    def renumber(self, less: int) -> None:
        """Take this off every number."""
        self._numbers = array("q", (number - less for number in self._numbers))
