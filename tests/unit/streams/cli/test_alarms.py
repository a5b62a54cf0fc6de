"""Alarms of one burst share a line."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.cli.alarms import as_bursts
from rheostat.streams.intake.alarms import Alarm
from tests.support.alarms import ALARM

some_alarms = st.lists(
    st.builds(
        lambda number, name, start, length, over, keeps: replace(
            ALARM, number=number, id=name, start_ms=start, end_ms=start + length, over=over, keeps=keeps
        ),
        *(st.integers(1, 1_000), st.sampled_from(["item-1", "item-2"])),
        *(st.integers(0, 100), st.integers(1, 30), st.booleans(), st.sampled_from([0.0, 0.4, 1.0])),
    ),
    unique_by=lambda alarm: alarm.number,
    max_size=12,
)


def overlap(one: Alarm, other: Alarm) -> bool:
    return one.start_ms < other.until_ms and other.start_ms < one.until_ms


@given(some_alarms)
def test_alarms_about_one_thing_that_overlap_are_one_burst(alarms: list[Alarm]) -> None:
    bursts = as_bursts(alarms)
    assert sorted(each.number for burst in bursts for each in burst) == sorted(each.number for each in alarms)
    at = {each.number: index for index, burst in enumerate(bursts) for each in burst}
    for one in alarms:
        for other in alarms:
            if one.id != other.id:
                assert at[one.number] != at[other.number]
            elif overlap(one, other):
                assert at[one.number] == at[other.number]
    for burst in bursts:
        ordered = sorted(burst, key=lambda each: each.start_ms)
        ends = [max(each.until_ms for each in ordered[: index + 1]) for index in range(len(ordered))]
        assert all(later.start_ms < end for later, end in zip(ordered[1:], ends, strict=False))
        assert burst[0].keeps == min(each.keeps for each in burst)


def test_the_newest_burst_comes_first_and_the_most_suspicious_alarm_speaks() -> None:
    hour, day = replace(ALARM, number=7, suspicion=0.6, keeps=0.4), replace(ALARM, number=9, start_ms=500)
    newer = replace(ALARM, number=3, id="item-2", detected_ms=9_000)
    assert as_bursts([hour, newer, day]) == [[newer], [day, hour]]
