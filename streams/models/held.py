"""Deltas that came before the base that they follow.

The parts of a large base lie between the deltas of the versions after it (see `base_parts`), some of them even before
its first part. Whoever has the version before them has no need of that base; whoever waits for it keeps them meanwhile.
"""

from __future__ import annotations

from collections import deque

from rheostat.streams.models.update import Update
from rheostat.streams.models.version import Version

HELD_BYTES_MAX = 256 << 20


class HeldDeltas:
    """The newest deltas of one model that there is a gap before, at most `bytes_max` of tensors."""

    def __init__(self, bytes_max: int = HELD_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._updates: deque[Update] = deque()
        self._bytes = 0

    def hold(self, update: Update) -> None:
        """Keep a delta until `take`, unless others take its place."""
        self._updates.append(update)
        self._bytes += _size(update)
        while self._bytes > self._bytes_max:
            self._bytes -= _size(self._updates.popleft())

    def take(self, base: Version) -> list[Update]:
        """Return what was kept of the versions after this one in its epoch, as it came, and keep nothing any longer."""
        taken = [
            each for each in self._updates if each.manifest.version.epoch == base.epoch and each.manifest.version > base
        ]
        self._updates.clear()
        self._bytes = 0
        return taken


def _size(update: Update) -> int:
    return sum(tensor.nbytes for tensor in update.tensors.values())
