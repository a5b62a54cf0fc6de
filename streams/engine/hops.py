"""Carries trails (`schemas/hops.py`) through a stage: from the records it reads onto the last that it writes.

Stages know nothing of them, and nothing here fails: what cannot be read is passed over and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from rheostat.schemas.hops import COUNT_MAX, HEADER, STAGES_MAX, BadTrail, Trail, read, thinned, write
from rheostat.streams.engine.block import Block, Headers, OutBlock
from rheostat.streams.engine.packed_headers import named

TRAILS_MAX = 4
"""How many trails one record carries at most, each standing for its share of all."""

READ_MAX = 16
"""How many trails are looked at in a transaction; of more, every second, third and so on."""

AGE_MAX_MS = 3_600_000
"""What is older was replayed, or held back on purpose: that tells nothing of how fast records pass."""

FAULTS = ("length", "version", "form", "age", "clock")
"""Why a trail was passed over; but for `clock`: of that one, what lies in the future is taken for now."""

OnFault = Callable[[str], None]
"""Told one of `FAULTS` for each trail that had one."""


class Hop(NamedTuple):
    """A stage on the way: its name in trails, and the topic whose records carry them on."""

    stage: str
    topic: str


def trails_of(headers: Iterable[Sequence[Headers | None] | None], now_ms: int, on_fault: OnFault) -> list[Trail]:
    """Return the trails that several blocks' headers carry, as of when they were read."""
    values = named(headers, HEADER)
    stride = 1 + max(0, len(values) - 1) // READ_MAX
    found = [_read(values[at], min(stride, len(values) - at), now_ms, on_fault) for at in range(0, len(values), stride)]
    return [each for each in found if each is not None]


def carried(block: OutBlock, trails: Sequence[Trail]) -> OutBlock:
    """Return a block whose last record carries these trails, besides what headers it had."""
    headers: list[Headers | None] = [None] * len(block) if block.headers is None else list(block.headers)
    headers[-1] = [*(headers[-1] or ()), *((HEADER, write(each)) for each in trails)]
    return replace(block, headers=headers)


class Relay:
    """Carries trails through one stage, a transaction at a time; `passed` are those of the transaction at hand.

    Without a hop they end here.
    """

    def __init__(self, hop: Hop | None, on_fault: OnFault) -> None:
        self._hop = hop
        self._on_fault = on_fault
        self.passed: list[Trail] = []

    def begin(self) -> None:
        """Forget the last transaction."""
        self.passed = []

    def onto(
        self, records: Sequence[OutBlock], blocks: Iterable[Block], read_ms: int, written_ms: int
    ) -> Sequence[OutBlock]:
        """Return what a task wrote for the blocks that it read, with their trails on it.

        Nothing carries them when it wrote nothing to the hop's topic.
        """
        if self._hop is None:
            return records
        stage, topic = self._hop
        found = trails_of([block.headers for block in blocks], read_ms, self._on_fault)
        fitting = [each for each in found if len(each.passed) < STAGES_MAX]
        trails = [each.then(stage, read_ms, written_ms) for each in thinned(fitting, TRAILS_MAX)]
        place = max((at for at, each in enumerate(records) if each.topic == topic and len(each)), default=-1)
        if place < 0 or not trails:
            return records
        self.passed += trails
        return [*records[:place], carried(records[place], trails), *records[place + 1 :]]


def _read(value: bytes, times: int, now_ms: int, on_fault: OnFault) -> Trail | None:
    try:
        trail = read(value)
    except BadTrail as bad:
        on_fault(bad.fault)
        return None
    if now_ms - trail.produced_ms > AGE_MAX_MS:
        on_fault("age")
        return None
    if trail.last_ms > now_ms:
        on_fault("clock")
        trail = trail.until(now_ms)
    return trail if times == 1 else replace(trail, count=min(COUNT_MAX, trail.count * times))
