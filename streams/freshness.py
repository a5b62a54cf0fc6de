"""How long feedback takes to reach served predictions: produced → first prediction by a version that learned it.

The tracker is told four kinds of facts, in any order: when an event was sent, at which offset of `examples` it came out
of the join, which offsets a version learned, and when a prediction by a version was received. Times are seconds of one
monotonic clock, so events and predictions must be observed on the same machine.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rheostat.streams.models.version import Version


@dataclass(slots=True)
class FreshnessTracker:
    """Collects the facts; `latencies_ms` pairs them up. The caller bounds it: an entry for each event and version."""

    sent: dict[str, float] = field(default_factory=dict)
    offsets: dict[str, tuple[int, int]] = field(default_factory=dict)
    learned: dict[int, list[tuple[int, int, Version]]] = field(default_factory=lambda: defaultdict(list))
    served: dict[Version, float] = field(default_factory=dict)

    def event_sent(self, event_id: str, at: float) -> None:
        """An event was handed to the producer."""
        self.sent[event_id] = at

    def event_joined(self, event_id: str, partition: int, offset: int) -> None:
        """An event became the example at this offset."""
        self.offsets[event_id] = (partition, offset)

    def version_published(self, version: Version, training: Iterable[tuple[int, int, int]]) -> None:
        """A version learned the examples in these (partition, start, end) ranges."""
        for partition, start, end in training:
            self.learned[partition].append((start, end, version))

    def prediction_served(self, version: Version, at: float) -> None:
        """A prediction by this version was received; only the first one of each version counts."""
        self.served.setdefault(version, at)

    def latencies_ms(self) -> NDArray[np.float64]:
        """Return one latency for each event that was learned and then served; others are left out.

        May be called while other threads still report facts.
        """
        ranges = {partition: sorted(found) for partition, found in list(self.learned.items())}
        first = _FirstServed(dict(self.served))
        found = []
        for event_id, (partition, offset) in list(self.offsets.items()):
            version = _learned_by(ranges.get(partition, []), offset)
            at = None if version is None else first.at(version)
            if at is not None and event_id in self.sent:
                found.append((at - self.sent[event_id]) * 1000.0)
        return np.asarray(found, dtype=np.float64)


class _FirstServed:
    """When a version, or a later one of its epoch, was first served."""

    def __init__(self, served: dict[Version, float]) -> None:
        self._sequences: dict[int, list[int]] = defaultdict(list)
        self._times: dict[int, list[float]] = defaultdict(list)
        for version in sorted(served):
            self._sequences[version.epoch].append(version.sequence)
            self._times[version.epoch].append(served[version])
        for times in self._times.values():
            for index in range(len(times) - 2, -1, -1):
                times[index] = min(times[index], times[index + 1])

    def at(self, version: Version) -> float | None:
        index = bisect_left(self._sequences[version.epoch], version.sequence)
        times = self._times[version.epoch]
        return times[index] if index < len(times) else None


def _learned_by(ranges: list[tuple[int, int, Version]], offset: int) -> Version | None:
    index = bisect_right(ranges, offset, key=lambda each: each[0]) - 1
    if index < 0:
        return None
    start, end, version = ranges[index]
    return version if start <= offset < end else None
