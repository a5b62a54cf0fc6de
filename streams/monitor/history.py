"""Which version was tested when, and where its learning stood: what a rollback chooses its target from."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from rheostat.streams.models.version import Version

BLOCKS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Tested:
    """A block of evaluated examples. `offsets`: where the examples stood before it, by partition."""

    block: int
    version: Version
    events_before: int
    offsets: Mapping[int, int]


class History:
    """The last blocks of one model, oldest first; at most `BLOCKS_MAX`."""

    def __init__(self) -> None:
        self._tested: deque[Tested] = deque(maxlen=BLOCKS_MAX)
        self._offsets: dict[int, int] = {}
        self._events = 0

    def add(self, block: int, version: Version, ranges: list[dict[str, int]], events: int) -> None:
        """Note a block: its version was tested on these ranges of examples."""
        self._tested.append(Tested(block, version, self._events, dict(self._offsets)))
        self._events += events
        for each in ranges:
            self._offsets[each["partition"]] = max(self._offsets.get(each["partition"], 0), each["end"])

    def target(self, onset: int, margin_events: int, epoch: int) -> Tested | None:
        """Return the last block of the epoch at least `margin_events` before the one where a change began.

        When the epoch does not reach back so far, its first block. None when no block of it is known.
        """
        began = next((each.events_before for each in self._tested if each.block >= onset), self._events)
        of_epoch = [each for each in self._tested if each.version.epoch == epoch]
        early = [each for each in of_epoch if each.events_before <= began - margin_events]
        return early[-1] if early else of_epoch[0] if of_epoch else None
