"""What each source of feedback is like: how old its events are when they come, and how many it puts elsewhere.

An event's delay is the present less `occurred_at`. Its median over recent events shows a source's clock: a negative one
runs ahead, whatever the network does; one that is large beside that of the quickest source runs behind, or its events
wait long before they are sent. A backlog delays all sources alike, so it accuses none.
This is of one process, since its start: it depends on when events were read, so it is no part of what is restored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.streams.errors import ConfigError

Longs = NDArray[np.int64]

OTHER = "other"
"""Stands for all sources beyond the first `names_max`."""

_STEPS = 4
"""Buckets for each doubling of a delay: medians are right within a tenth."""

_BUCKETS = 160
"""On each side of zero: up to 2 ** 40 ms, some thirty years."""


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """When a source's clock counts as broken.

    ahead_max_ms, behind_max_ms: by how much its median delay may be below zero, and above that of the quickest source.
    events_min: events below which nothing is said. window_ms: after each of these the older events count half.
    """

    ahead_max_ms: int = 2_000
    behind_max_ms: int = 600_000
    events_min: int = 20
    window_ms: int = 300_000
    names_max: int = 200
    name_chars_max: int = 64

    def __post_init__(self) -> None:
        for name, low, high in (
            *(("ahead_max_ms", 0, 86_400_000), ("behind_max_ms", 1_000, 30 * 86_400_000)),
            *(("events_min", 1, 1_000_000), ("window_ms", 1_000, 86_400_000)),
            *(("names_max", 1, 10_000), ("name_chars_max", 8, 1_000)),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"sources.{name}: {getattr(self, name)} is out of range, {low} to {high}")


@dataclass(frozen=True, slots=True)
class SourceReport:
    """One source. `delay_ms` is the median, None while too few events came; `fault`: what is wrong with its clock."""

    name: str
    events: int
    forwarded: int
    delay_ms: float | None
    fault: str | None


class Sources:
    """Counts events by source, in bounded memory: about 3 KB a name."""

    def __init__(self, settings: SourceSettings | None = None) -> None:
        self._settings = settings or SourceSettings()
        self._places: dict[str, int] = {}
        self._events = np.zeros(self._settings.names_max + 1, np.int64)
        self._forwarded = np.zeros(self._settings.names_max + 1, np.int64)
        self._delays = np.zeros((self._settings.names_max + 1, 2 * _BUCKETS + 1))
        self._halved_at_ms: int | None = None

    def observe(self, names: pa.StringArray, times_ms: Longs, now_ms: int) -> None:
        """Take note of events: their sources and when they occurred."""
        if not len(times_ms):
            return
        self._fade(now_ms)
        rows = self._rows(names)
        np.add.at(self._delays, (rows, _bucket(now_ms - times_ms)), 1.0)
        self._events += np.bincount(rows, minlength=len(self._events))

    def forwarded(self, names: pa.StringArray) -> None:
        """Take note of events that lay in another partition than their own."""
        self._forwarded += np.bincount(self._rows(names), minlength=len(self._forwarded))

    def report(self) -> list[SourceReport]:
        """Return what is known of every source, by name."""
        names = [*self._places, *([OTHER] if self._events[-1] else [])]
        medians = {name: self._median(self._place(name)) for name in names}
        known = [max(median, 0.0) for median in medians.values() if median is not None]
        quickest = min(known, default=0.0)
        return [
            SourceReport(
                name,
                int(self._events[self._place(name)]),
                int(self._forwarded[self._place(name)]),
                medians[name],
                self._fault(medians[name], quickest),
            )
            for name in sorted(names)
        ]

    def _fault(self, delay_ms: float | None, quickest_ms: float) -> str | None:
        if delay_ms is None:
            return None
        if delay_ms < -self._settings.ahead_max_ms:
            return f"its clock is about {_span(-delay_ms)} ahead"
        if delay_ms - quickest_ms > self._settings.behind_max_ms:
            return f"its clock is about {_span(delay_ms - quickest_ms)} behind, or its events wait that long"
        return None

    def _place(self, name: str) -> int:
        return self._places.get(name, self._settings.names_max)

    def _rows(self, names: pa.StringArray) -> NDArray[np.intp]:
        """Return the place of each row's source, giving places to new ones while there are some."""
        encoded = names.dictionary_encode()
        chars = self._settings.name_chars_max
        places = []
        for name in encoded.dictionary.to_pylist():
            if name[:chars] not in self._places and len(self._places) < self._settings.names_max:
                self._places[name[:chars]] = len(self._places)
            places.append(self._place(name[:chars]))
        return np.asarray(np.array(places, np.intp)[encoded.indices.to_numpy()])

    def _fade(self, now_ms: int) -> None:
        if self._halved_at_ms is None:
            self._halved_at_ms = now_ms
        if now_ms - self._halved_at_ms >= self._settings.window_ms:
            self._delays /= 2.0
            self._halved_at_ms = now_ms

    def _median(self, place: int) -> float | None:
        counts = self._delays[place]
        if counts.sum() < self._settings.events_min:
            return None
        return _middle(int(np.searchsorted(np.cumsum(counts), counts.sum() / 2)))


def _bucket(delays_ms: Longs) -> NDArray[np.intp]:
    """Return the bucket of each delay: a quarter of a doubling wide, one side for each sign."""
    size = np.minimum(np.log2(np.abs(delays_ms) + 1.0) * _STEPS, _BUCKETS)
    return np.asarray(np.sign(delays_ms) * np.ceil(size), np.intp) + np.intp(_BUCKETS)


def _middle(bucket: int) -> float:
    """Return the delay in the middle of a bucket, in ms."""
    step = bucket - _BUCKETS
    return float(np.sign(step) * (2.0 ** (max(abs(step) - 0.5, 0.0) / _STEPS) - 1.0))


def _span(ms: float) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if ms >= size:
            return f"{ms / size:.3g} {unit}"
    return f"{ms:.0f} ms"
