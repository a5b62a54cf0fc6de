"""Intake goes by the alarms it has read: what they leave no weight is held back, at once and after a restart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rheostat.schemas import catalogue
from rheostat.schemas.codec import encode_record
from rheostat.streams.engine.stage import Stage
from rheostat.streams.intake.alarms import Alarm
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.stage import IntakeStage
from rheostat.streams.intake_join import IntakeJoinStage
from rheostat.streams.join.settings import JoinSettings
from tests.support.alarms import ALARM
from tests.support.feedback import KEY, NOW_MS, block_of_events, event, records_of
from tests.support.written_log import Driver


def stages() -> list[Stage]:
    return [IntakeStage(IntakeSettings(KEY)), IntakeJoinStage(IntakeSettings(KEY), JoinSettings())]


def tell(driver: Driver, *alarms: Alarm) -> None:
    values = [encode_record(catalogue.ALARMS, alarm.as_record()) for alarm in alarms]
    driver.feed(driver.log.append(catalogue.ALARMS, [b"15"] * len(values), values, [NOW_MS] * len(values)))


def fates(driver: Driver, name: str) -> dict[str, list[str]]:
    """Send a low and a high value on the target, and a low one on another; return their ids by topic."""
    events = [
        event(f"{name}-low", value=0.0),
        event(f"{name}-high", value=1.0),
        event(f"{name}-other", value=0.0, target_id="item-2"),
    ]
    block = block_of_events(events)
    given = driver.log.append(block.topic, block.keys, block.values, block.timestamps_ms)
    output = driver.feed(given)
    topics = (catalogue.LEDGER, catalogue.QUARANTINE)
    return {topic: [each["event_id"] for each in records_of(output.records, topic)] for topic in topics}


@pytest.mark.parametrize("stage", stages(), ids=["intake", "intake-join"])
def test_what_an_alarm_leaves_no_weight_is_held_until_it_takes_its_word_back(stage: Stage) -> None:
    driver = Driver(stage, NOW_MS)
    assert fates(driver, "a")[catalogue.QUARANTINE] == []
    tell(driver, replace(ALARM, keeps=0.3, suspicion=0.7))
    assert fates(driver, "b")[catalogue.QUARANTINE] == []
    tell(driver, replace(ALARM, keeps=0.3, suspicion=0.7), ALARM)
    assert fates(driver, "c") == {
        catalogue.LEDGER: ["c-high", "c-other"],
        catalogue.QUARANTINE: ["c-low"],
    }
    driver.reopen()
    assert fates(driver, "d")[catalogue.QUARANTINE] == ["d-low"]
    (held,) = [each for each in records_of(driver.written, catalogue.QUARANTINE) if each["event_id"] == "d-low"]
    assert (held["alarm"], held["suspicion"], held["reasons"]) == (ALARM.number, ALARM.suspicion, ALARM.reason)
    assert {each["alarm"] for each in records_of(driver.written, catalogue.LEDGER)} == {None}
    tell(driver, replace(ALARM, over=True))
    assert fates(driver, "e")[catalogue.QUARANTINE] == []
    driver.reopen()
    assert fates(driver, "f")[catalogue.QUARANTINE] == []
