"""Bursts of hours and days: who loses weight, who keeps it, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.streams.intake.bursts import Events
from rheostat.streams.intake.slow_alarm import SlowAlarm
from rheostat.streams.intake.slow_bursts import SlowBursts
from tests.support.slow_traffic import DAY_MS, HOUR_MS, SMALL, T0_MS, Traffic, last_words, month, of_target

ONSET_MS = T0_MS + 21 * DAY_MS + 10 * HOUR_MS
DOWNWEIGHT, QUARANTINE = SMALL.downweight_at, SMALL.quarantine_at


def worst(traffic: Traffic, target: str = "item-9") -> tuple[float, list[SlowAlarm], Events]:
    """Return the highest suspicion of a target's alarms since the onset, these, and all events."""
    events, targets = traffic.events()
    alarms = of_target(last_words(events)[0], events, targets, target)
    alarms = [alarm for alarm in alarms if alarm.end_ms > ONSET_MS]
    return max((alarm.suspicion for alarm in alarms), default=0.0), alarms, events


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("hours", [3, 48])
def test_a_brigade_is_held_from_its_onset_on_and_its_neighbours_are_not(seed: int, hours: float) -> None:
    traffic = month(seed)
    traffic.burst("item-9", ONSET_MS, hours, 100, traffic.mixed(100), up=0.05)
    suspicion, alarms, events = worst(traffic)
    assert suspicion >= QUARANTINE
    held = [alarm for alarm in alarms if alarm.suspicion >= QUARANTINE]
    assert min(alarm.start_ms for alarm in held) <= ONSET_MS + 0.1 * hours * HOUR_MS
    assert max(alarm.end_ms for alarm in held) >= ONSET_MS + 0.9 * hours * HOUR_MS
    assert min(alarm.detected_ms for alarm in held) <= ONSET_MS + 0.3 * hours * HOUR_MS + 3 * HOUR_MS
    assert {alarm.side for alarm in held} == {-1.0}
    assert "mean value" in held[0].reason
    assert "usual are" in held[0].reason
    others = [each for each in last_words(events)[0] if each.low != alarms[0].low]
    assert not [alarm for alarm in others if alarm.suspicion >= QUARANTINE]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("up", [0.5, 0.7, 0.85])
def test_a_flash_crowd_of_established_actors_raises_an_alarm_and_keeps_its_weight(seed: int, up: float) -> None:
    traffic = month(seed)
    traffic.burst("item-9", ONSET_MS, 48, 500, traffic.regulars(500), up=up)
    suspicion, alarms, _ = worst(traffic)
    assert max(alarm.score for alarm in alarms) > 100
    assert suspicion < DOWNWEIGHT


@pytest.mark.parametrize("seed", range(3))
def test_the_usual_mix_of_actors_with_the_usual_opinions_keeps_its_weight(seed: int) -> None:
    traffic = month(seed)
    traffic.burst("item-9", ONSET_MS, 48, 500, traffic.mixed(500), up=0.7)
    suspicion, alarms, _ = worst(traffic)
    assert alarms
    assert suspicion < QUARANTINE


@pytest.mark.parametrize("seed", range(3))
def test_newcomers_with_the_usual_opinions_weigh_less_and_are_not_held(seed: int) -> None:
    traffic = month(seed)
    traffic.burst("item-9", ONSET_MS, 24, 200, traffic.newcomers(200), up=0.7)
    _, alarms, _ = worst(traffic)
    longest = max(alarms, key=lambda alarm: alarm.events)
    assert DOWNWEIGHT <= longest.suspicion < QUARANTINE


def test_aged_accounts_of_one_mind_are_held() -> None:
    traffic = month(4)
    traffic.burst("item-9", ONSET_MS, 24, 200, traffic.regulars(200), up=0.0)
    assert worst(traffic)[0] >= QUARANTINE


@pytest.mark.parametrize("seed", range(5))
def test_opinions_that_change_at_the_usual_rate_are_news_and_no_attack(seed: int) -> None:
    traffic = month(seed, days=21)
    for each in range(20):
        up = 0.1 if each == 9 else 0.7
        traffic.ordinary(f"item-{each}", 14, 12, start_ms=T0_MS + 21 * DAY_MS, up=up)
    traffic.ordinary("item-9", 0.0, 12)
    events, targets = traffic.events()
    suspicion = last_words(events)[2]
    after = (targets == "item-9") & (events.times_ms >= T0_MS + 22 * DAY_MS)
    assert after.sum() > 100
    assert suspicion[after].mean() < 0.1


def test_a_rhythm_of_the_day_raises_no_alarm_once_it_is_known() -> None:
    traffic = Traffic(np.random.default_rng(5))
    for each in range(3):
        traffic.ordinary(f"item-{each}", 28, 1_000)
    events, _ = traffic.events()
    alarms = last_words(events)[0]
    assert len([alarm for alarm in alarms if alarm.start_ms > T0_MS + 14 * DAY_MS]) <= 3


def test_what_lasts_does_not_become_usual_at_once() -> None:
    traffic = month(6)
    traffic.burst("item-9", ONSET_MS, 7 * 24, 700, traffic.mixed(700), up=0.0)
    _, alarms, events = worst(traffic)
    inside = (events.targets.low | np.uint64(1)) == np.uint64(alarms[0].low)
    inside &= (events.times_ms >= ONSET_MS) & (events.times_ms < ONSET_MS + 7 * DAY_MS) & (events.values == 0)
    covered = np.zeros(len(events), bool)
    for alarm in alarms:
        if alarm.suspicion >= QUARANTINE:
            covered |= (events.times_ms >= alarm.start_ms) & (events.times_ms < alarm.end_ms)
    assert covered[inside].mean() > 0.95


def attacked_month() -> tuple[Events, np.ndarray]:
    traffic = month(7, targets=8)
    traffic.burst("item-3", ONSET_MS, 30, 120, traffic.mixed(120), up=0.0)
    traffic.burst("item-5", ONSET_MS + DAY_MS, 6, 150, traffic.regulars(150), up=0.7)
    return traffic.events()


ATTACKED, _NAMES = attacked_month()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(ATTACKED)), max_size=12).map(sorted))
def test_it_does_not_matter_how_events_are_cut_into_blocks(cuts: list[int]) -> None:
    whole, whole_scorer, whole_suspicion = last_words(ATTACKED)
    cut, cut_scorer, cut_suspicion = last_words(ATTACKED, cuts=tuple(cuts))
    assert whole == cut
    assert whole_scorer.open_alarms() == cut_scorer.open_alarms()
    np.testing.assert_array_equal(whole_suspicion, cut_suspicion)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, len(ATTACKED)))
def test_later_events_change_nothing_that_was_told_before(end: int) -> None:
    whole, part = SlowBursts(SMALL).score(ATTACKED), SlowBursts(SMALL).score(ATTACKED.take(np.arange(end)))
    np.testing.assert_array_equal(whole.suspicion[:end], part.suspicion)
    assert whole.alarms[: len(part.alarms)] == part.alarms
    now_ms = int(ATTACKED.times_ms[end - 1])
    assert all(alarm.start_ms <= alarm.detected_ms <= now_ms and alarm.end_ms <= now_ms + 1 for alarm in part.alarms)


def test_an_alarm_keeps_its_onset_and_detection_while_it_is_revised() -> None:
    told: dict[int, SlowAlarm] = {}
    for alarm in SlowBursts(SMALL).score(ATTACKED).alarms:
        first = told.setdefault(alarm.number, alarm)
        assert (alarm.start_ms, alarm.detected_ms, alarm.low) == (first.start_ms, first.detected_ms, first.low)
        assert not first.over or first is alarm
    assert len(told) > 3


def test_an_alarm_is_over_after_the_burst() -> None:
    traffic = month(8)
    traffic.burst("item-9", ONSET_MS, 6, 100, traffic.mixed(100), up=0.0)
    _, alarms, _ = worst(traffic)
    assert alarms
    assert all(alarm.over for alarm in alarms)


def test_events_that_come_late_count_as_happening_now() -> None:
    late = ATTACKED.take(np.arange(len(ATTACKED)))
    late.times_ms[::7] -= 3 * HOUR_MS
    alarms = last_words(late)[0]
    assert max(alarm.suspicion for alarm in alarms) >= QUARANTINE
    assert all(alarm.start_ms <= alarm.detected_ms for alarm in alarms)


def test_events_without_a_target_are_not_suspicious() -> None:
    untargeted = ATTACKED.take(np.arange(len(ATTACKED)))
    untargeted.targeted[:] = False
    alarms, _, suspicion = last_words(untargeted)
    assert not alarms
    assert suspicion.max() == 0


def test_memory_is_fixed_and_a_crowd_of_targets_does_not_hide_an_attack() -> None:
    traffic = month(9)
    for each in range(2_000):
        traffic.add(f"seen-once-{each}", np.array([T0_MS + 20 * DAY_MS + each]), ["a"], 0.7)
    traffic.burst("item-9", ONSET_MS, 24, 100, traffic.mixed(100), up=0.0)
    events, targets = traffic.events()
    scorer = SlowBursts(SMALL)
    before = arrays_bytes(scorer)
    alarms = {alarm.number: alarm for alarm in scorer.score(events).alarms}
    assert arrays_bytes(scorer) == before
    assert before < 2_300 * SMALL.targets_max + 8 * SMALL.actors_max + 300_000
    assert scorer.unwatched > 0
    found = of_target(list(alarms.values()), events, targets, "item-9")
    assert max(alarm.suspicion for alarm in found) >= QUARANTINE


def arrays_bytes(scorer: SlowBursts) -> int:
    return sum(value.nbytes for value in vars(scorer).values() if isinstance(value, np.ndarray))


@pytest.mark.slow
@pytest.mark.parametrize("uneven", [0.0, 0.5, 1.0])
def test_ordinary_traffic_keeps_to_the_budget_of_false_alarms(uneven: float) -> None:
    traffic, targets, days = Traffic(np.random.default_rng(10)), 60, 90
    for each in range(targets):
        traffic.ordinary(f"item-{each}", days, 120 / (1 + each), uneven=uneven)
    events, _ = traffic.events()
    for budget in (0.3, 1.0, 3.0):
        wanted = type(SMALL)(alarms_per_target_month=budget, targets_max=1 << 8, actors_max=1 << 18)
        alarms = last_words(events, wanted)[0]
        a_month = len(alarms) / (targets * days / 30)
        assert budget / 20 < a_month <= budget, (uneven, budget, a_month)
        assert sum(alarm.suspicion >= QUARANTINE for alarm in alarms) / (targets * days / 30) < 0.1
