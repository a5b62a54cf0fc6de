"""Trails: when an event was produced, and when each stage on its way read and wrote it, as a record header.

`rheostat-hops` holds ASCII text, `1;PRODUCED*COUNT;STAGE:READ/WRITTEN;…`: the version of the form, wall-clock ms since
1970 when the event was handed to its producer, how many stamped events the trail stands for, and for each stage that
passed it on, in order, its name and two times in ms after PRODUCED. Times never fall along a trail. For example

    1;1763806572000*1;intake:12/19;join:31/35;learn:52/60

A producer stamps some of its events (`1;PRODUCED*1`). Stages do not follow single events: the trails of what a
transaction read go, a few in place of all, onto the last record that it wrote, as several headers of this name. They
measure; nothing depends on them. Who cannot read one passes over it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

HEADER = "rheostat-hops"
BYTES_MAX = 400
STAGES_MAX = 8
COUNT_MAX = 1_000_000
_VERSION = b"1;"
_STAGE = rb"[a-z-]{1,16}:[0-9]{1,10}/[0-9]{1,10}"
_FORM = re.compile(rb"1;([0-9]{1,14})\*([0-9]{1,7})((?:;%s){0,%d})" % (_STAGE, STAGES_MAX))


class BadTrail(ValueError):
    """A header that is no trail. `fault` is one of `length`, `version` and `form`."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"{HEADER}: its {fault} is not known")
        self.fault = fault


class Passed(NamedTuple):
    """A stage on the way: when it read the event, and when it had written what came of it, in ms since 1970."""

    stage: str
    read_ms: int
    written_ms: int


@dataclass(frozen=True, slots=True)
class Trail:
    """The way of an event so far, and how many stamped events it stands for."""

    produced_ms: int
    count: int = 1
    passed: tuple[Passed, ...] = ()

    @property
    def last_ms(self) -> int:
        """The last time in it."""
        return self.passed[-1].written_ms if self.passed else self.produced_ms

    def until(self, now_ms: int) -> Trail:
        """Return the trail with no time after `now_ms`: clocks that are ahead are taken for equal to the reader's."""
        passed = (Passed(name, min(at, now_ms), min(to, now_ms)) for name, at, to in self.passed)
        return replace(self, produced_ms=min(self.produced_ms, now_ms), passed=tuple(passed))

    def then(self, stage: str, read_ms: int, written_ms: int) -> Trail:
        """Return the trail after another stage; one whose clock is behind is taken to have been as fast as could be."""
        read_ms = max(read_ms, self.last_ms)
        return replace(self, passed=(*self.passed, Passed(stage, read_ms, max(read_ms, written_ms))))

    def spans(self, read_ms: int, served_ms: int) -> list[tuple[str, int]]:
        """Return the name and length in ms of every hop, for who read the trail at the end of it.

        produce: until the first stage read it. A stage's name: from there until it had written. to-STAGE: from there
        until the next stage read it. publish: until it was read at the end. follow: until it was served.
        """
        end = self.then("follow", read_ms, served_ms).passed
        found = [("produce", end[0].read_ms - self.produced_ms)]
        for one, following in pairwise(end):
            found.append((one.stage, one.written_ms - one.read_ms))
            name = "publish" if following is end[-1] else f"to-{following.stage}"
            found.append((name, following.read_ms - one.written_ms))
        return [*found, ("follow", end[-1].written_ms - end[-1].read_ms)]


def write(trail: Trail) -> bytes:
    """Return a trail as a header's value. Raises BadTrail for one with too many stages."""
    stages = [f";{name}:{at - trail.produced_ms}/{to - trail.produced_ms}" for name, at, to in trail.passed]
    if len(stages) > STAGES_MAX:
        raise BadTrail("length")
    return f"1;{trail.produced_ms}*{trail.count}{''.join(stages)}".encode()


def read(value: bytes) -> Trail:
    """Return the trail of a header's value. Raises BadTrail."""
    if len(value) > BYTES_MAX:
        raise BadTrail("length")
    if not value.startswith(_VERSION):
        raise BadTrail("version")
    found = _FORM.fullmatch(value)
    if found is None:
        raise BadTrail("form")
    produced_ms, count = int(found[1]), int(found[2])
    passed = tuple(_passed(each, produced_ms) for each in found[3].decode().split(";")[1:])
    times = [produced_ms, *(at for each in passed for at in each[1:])]
    if not 1 <= count <= COUNT_MAX or times != sorted(times):
        raise BadTrail("form")
    return Trail(produced_ms, count, passed)


def thinned(trails: Sequence[Trail], most: int) -> list[Trail]:
    """Return at most so many trails that stand for all of them, evenly chosen from the first to the last produced."""
    if len(trails) <= most:
        return list(trails)
    ordered = sorted(trails, key=lambda each: each.produced_ms)
    cuts = [len(ordered) * number // most for number in range(most + 1)]
    groups = [ordered[first:end] for first, end in pairwise(cuts)]
    return [
        replace(group[len(group) // 2], count=min(COUNT_MAX, sum(each.count for each in group))) for group in groups
    ]


def _passed(text: str, produced_ms: int) -> Passed:
    stage, _, times = text.partition(":")
    read_ms, _, written_ms = times.partition("/")
    return Passed(stage, produced_ms + int(read_ms), produced_ms + int(written_ms))
