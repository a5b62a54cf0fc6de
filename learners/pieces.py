"""Bytes that come in parts of any size and go out from the front, in hardly more memory than they have.

To join parts takes twice their memory. Here they are copied once into pieces, and out of them once more; a piece is
given up as soon as all of it was taken. Pieces are so large that the C library gives their memory back to the system.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

PIECE_BYTES = 32 << 20
"""Below this glibc may put an array among others, whose place it cannot give back before theirs."""


class Pieces:
    """`len` is how many bytes can still be taken. `size`: how many will come in all; memory is taken as they come."""

    def __init__(self, size: int) -> None:
        self._to_come = size
        self._pieces: deque[Bytes] = deque()
        self._free = np.empty(0, np.uint8)
        self._length = 0

    @classmethod
    def of(cls, data: bytes) -> Pieces:
        """Return these bytes, not copied."""
        made = cls(0)
        made._pieces.append(np.frombuffer(data, np.uint8))
        made._length = len(data)
        return made

    def __len__(self) -> int:
        return self._length

    def add(self, part: bytes) -> None:
        """Take a part in behind the others; ValueError if that is more than was to come."""
        if len(part) > self._to_come + len(self._free):
            raise ValueError(f"{len(part)} bytes are more than were to come")
        left = np.frombuffer(part, np.uint8)
        while len(left):
            if not len(self._free):
                self._free = np.empty(min(self._to_come, PIECE_BYTES), np.uint8)
                self._to_come -= len(self._free)
                self._pieces.append(self._free)
            count = min(len(left), len(self._free))
            self._free[:count] = left[:count]
            self._free, left = self._free[count:], left[count:]
        self._length += len(part)

    def take(self, into: Bytes) -> None:
        """Fill an array with the next bytes, of which there must be so many; nothing may be added any more."""
        if len(into) > self._length:
            raise ValueError(f"{len(into)} bytes are more than the {self._length} that are there")
        self._length -= len(into)
        while len(into):
            piece = self._pieces.popleft()
            part = piece[: len(into)]
            into[: len(part)] = part
            into = into[len(part) :]
            if len(part) < len(piece):
                self._pieces.appendleft(piece[len(part) :])
