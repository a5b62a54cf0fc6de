"""What waiting rows hold, by slot: encoded records, in memory as they came, on disk once that is more than a bound.

What came first goes to disk first, nearly: `Rows` uses slots again in the order in which they became free, and rows
leave by age, so to go around by slot is to go by age.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.streams.compiled import INTS, LONGS, compiled
from rheostat.streams.join.settings import Spill
from rheostat.streams.join.spilled import Lengths, Places, Spilled, segment_of

Slots = NDArray[np.int64]

IN_MEMORY, NOWHERE = -1, -2
"""Places of what is not on disk; of what has none."""

ROWS_AT_ONCE = 4_096
BYTES_AT_ONCE = 1 << 20
"""What goes to disk in one go: at most so many rows, and so many bytes where as many may be in memory."""

SLOTS_AT_ONCE = 1 << 16
"""How many slots are looked at in one go for what must be moved."""

PYTHON_BYTES = 48
"""What an object of `bytes` takes besides its contents: 33, and what it is rounded up by."""

_PLACES, _LENGTHS = types.int64[::1], types.int32[::1]
_NEXT = types.Tuple((types.int64[::1], types.int64))  # type: ignore[no-untyped-call]


class Values:
    """Byte strings by slot; a slot takes 20 bytes.

    memory_bytes: what the values in memory take, Python's part of it included.
    """

    def __init__(self, spill: Spill) -> None:
        self._after_bytes = spill.after_bytes
        self._spilled = Spilled(spill)
        self._values = np.empty(0, object)
        self._places: Places = np.empty(0, np.int64)
        self._lengths: Lengths = np.empty(0, np.int32)
        self._end = 0  # slots from here on were never used
        self._hand = 0  # of what is in memory, that in this slot and the next ones came first
        self.memory_bytes = 0

    @property
    def disk_bytes(self) -> int:
        """How large the files are, with what waits no more."""
        return self._spilled.bytes

    def resize(self, size: int) -> None:
        """Make room for more slots."""
        self._values, self._places = longer(self._values, size), longer(self._places, size)
        self._lengths = longer(self._lengths, size)

    def put(self, slots: Slots, values: Sequence[bytes | None]) -> None:
        """Keep a value, which must not be None, in each of these slots, all free; slots are used from 0 on.

        Raises NoRoom when older ones must go to disk and there is no room.
        """
        lengths = np.fromiter(map(len, values), np.int32, len(values))  # type: ignore[arg-type]
        self._values[slots] = values
        more, end = _put(self._places, self._lengths, slots, lengths)
        self.memory_bytes, self._end = self.memory_bytes + more, max(self._end, end)
        if self.memory_bytes > self._after_bytes:
            self._write_oldest()

    def read(self, slots: Slots) -> list[bytes]:
        """Return values, in the order of `slots`, which may repeat."""
        values: list[bytes] = self._values[slots].tolist()
        if len(self._spilled):
            on_disk = np.flatnonzero(self._places[slots] >= 0)
            some = slots[on_disk]
            found = self._spilled.read(self._places[some], self._lengths[some])
            for row, value in zip(on_disk.tolist(), found, strict=True):
                values[row] = value
        return values

    def drop(self, slots: Slots) -> None:
        """Forget values; each once."""
        if len(self._spilled):
            on_disk = slots[self._places[slots] >= 0]
            self._spilled.release(self._places[on_disk], self._lengths[on_disk])
        self.memory_bytes -= _drop(self._places, self._lengths, slots)
        self._values[slots] = None
        while (number := self._spilled.sparse()) is not None:
            self._move(number)

    def _write_oldest(self) -> None:
        """Bring values to disk, and so many more that it need not be done again at once."""
        keep = self._after_bytes - min(self._after_bytes, BYTES_AT_ONCE)
        while self.memory_bytes > keep:
            used, wanted = self._places[: self._end], self.memory_bytes - keep
            slots, self._hand = _next_in_memory(used, self._lengths, self._hand, ROWS_AT_ONCE, wanted)
            lengths = self._lengths[slots]
            self._places[slots] = self._spilled.append(self._values[slots].tolist(), lengths)
            self._values[slots] = None
            self.memory_bytes -= int(lengths.sum()) + PYTHON_BYTES * len(slots)

    def _move(self, number: int) -> None:
        """Move what is left of a segment to the end."""
        for start in range(0, self._end, SLOTS_AT_ONCE):
            end = min(start + SLOTS_AT_ONCE, self._end)
            slots = start + np.flatnonzero(segment_of(self._places[start:end]) == number)
            places, lengths = self._places[slots], self._lengths[slots]
            self._places[slots] = self._spilled.append(self._spilled.read(places, lengths), lengths)
            self._spilled.release(places, lengths)


def longer(array: NDArray[Any], size: int) -> NDArray[Any]:
    """Return a copy with room for more; the memory of what is new is not touched, unless it is of objects."""
    copy = np.empty((size, *array.shape[1:]), array.dtype)
    copy[: len(array)] = array
    return copy


@compiled(types.UniTuple(types.int64, 2)(_PLACES, _LENGTHS, LONGS, INTS))  # type: ignore[no-untyped-call]
def _put(places: Places, lengths: Lengths, slots: Slots, given: Lengths) -> tuple[int, int]:
    """Note values in memory; return their bytes, and the slot behind the last of them."""
    size, end = 0, 0
    for row in range(len(slots)):
        slot = slots[row]
        places[slot], lengths[slot] = IN_MEMORY, given[row]
        size, end = size + PYTHON_BYTES + given[row], max(end, slot + 1)
    return size, end


@compiled(types.int64(_PLACES, _LENGTHS, LONGS))
def _drop(places: Places, lengths: Lengths, slots: Slots) -> int:
    """Forget where values are; return the bytes of those that were in memory."""
    size = 0
    for slot in slots:
        if places[slot] == IN_MEMORY:
            size += PYTHON_BYTES + lengths[slot]
        places[slot] = NOWHERE
    return size


@compiled(_NEXT(_PLACES, _LENGTHS, types.int64, types.int64, types.int64))
def _next_in_memory(
    places: Places, lengths: Lengths, hand: int, count_max: int, bytes_wanted: int
) -> tuple[Slots, int]:
    """Return the next slots whose values are in memory, enough for so many bytes but no more slots than that; and the
    slot behind them."""
    slots, count = np.empty(count_max, np.int64), 0
    for _ in range(len(places)):
        if count == count_max or bytes_wanted <= 0:
            break
        hand = hand if hand < len(places) else 0
        if places[hand] == IN_MEMORY:
            slots[count] = hand
            count, bytes_wanted = count + 1, bytes_wanted - PYTHON_BYTES - lengths[hand]
        hand += 1
    return slots[:count], hand
