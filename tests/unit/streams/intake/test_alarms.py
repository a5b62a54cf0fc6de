"""Which events alarms take weight from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rheostat.schemas import catalogue
from rheostat.schemas.codec import encode_record
from rheostat.streams.engine.block import Block
from rheostat.streams.intake.alarms import LOCKSTEP, Alarm, StandingAlarms, read_alarms
from rheostat.streams.watch.rows import read_rows
from tests.support.alarms import ALARM
from tests.support.watch_rows import entries_block, entry


def keeps(alarms: list[Alarm], *entries: dict[str, object]) -> list[float]:
    verdict = StandingAlarms(alarms).verdict(read_rows([entries_block(list(entries))]).events)
    return [1.0] * len(entries) if verdict is None else verdict.keeps.tolist()


def test_an_alarm_as_a_record_is_the_alarm() -> None:
    value = encode_record(catalogue.ALARMS, ALARM.as_record())
    assert read_alarms(Block(catalogue.ALARMS, 0, [0], [b"5"], [value], [0])) == [ALARM]


@pytest.mark.parametrize(
    ("target", "value", "occurred_at", "kept"),
    [
        ("item-1", 0.0, 1_200, 0.0),
        ("item-1", 0.7, 1_200, 0.0),
        ("item-1", 0.8, 1_200, 1.0),
        ("item-2", 0.0, 1_200, 1.0),
        (None, 0.0, 1_200, 1.0),
        ("item-1", 0.0, 999, 1.0),
        ("item-1", 0.0, 1_000, 0.0),
        ("item-1", 0.0, 9_000, 0.0),
    ],
)
def test_an_open_alarm_takes_from_its_side_of_its_target_since_its_onset(
    target: str | None, value: float, occurred_at: int, kept: float
) -> None:
    assert keeps([ALARM], entry("e", occurred_at, target_id=target, value=value)) == [kept]


def test_when_it_is_over_it_takes_until_its_end() -> None:
    over = replace(ALARM, over=True)
    entries = [entry(f"e{at}", at, value=0.0) for at in (1_999, 2_000)]
    assert keeps([ALARM, over], *entries) == [0.0, 1.0]


def test_of_several_the_strictest_holds_and_the_last_word_of_each() -> None:
    lenient = replace(ALARM, number=10, keeps=0.4, suspicion=0.6)
    low = entry("e", 1_200, value=0.0)
    assert keeps([lenient], low) == [0.4]
    assert keeps([ALARM, lenient], low) == [0.0]
    assert keeps([ALARM, lenient, replace(ALARM, keeps=1.0)], low) == [0.4]


@pytest.mark.parametrize("change", [{"dimension": "source"}, {"kind": LOCKSTEP}, {"keeps": 1.0}])
def test_others_take_nothing(change: dict[str, object]) -> None:
    assert keeps([replace(ALARM, **change)], entry("e", 1_200, value=0.0)) == [1.0]  # type: ignore[arg-type]
