"""The parts that find slow bursts, each by its own law."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.streams.intake.alarm_budget import alarm_height, count_hour, note_peak, peak_pool, peak_table
from rheostat.streams.intake.climb import FACTORS, climb_table, fall, rise
from rheostat.streams.intake.evidence import divergence, newcomer_evidence, suspicion, suspicious_side
from rheostat.streams.intake.newcomers import SHARE, actor_table, arrive, learn_share, usual_newcomers
from rheostat.streams.intake.usual_rate import begin, close_hour, expect, rate_pool, rate_table
from rheostat.streams.intake.watched import place_of, settle_down, watched_table

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
MONDAY_H = 24 * (4 + 7 * 2_900)
"""Midnight of a Monday, in hours since the epoch."""

WORD: Any = np.uint64
shares = st.floats(0.0, 1.0)
counts = st.floats(1.0, 1e5)


@given(shares, shares)
def test_divergence_is_zero_only_for_the_usual_share(share: float, usual: float) -> None:
    assert divergence(share, usual) >= -1e-12
    assert divergence(0.5, 0.5) == pytest.approx(0.0)
    assert divergence(0.9, 0.1) > 1


@given(counts, st.floats(1e-3, 1e4), st.sampled_from(FACTORS), st.floats(1.0, 50.0), shares, shares)
def test_a_rate_alone_is_never_suspicious(
    count: float, expected: float, factor: float, spread: float, value: float, newcomers: float
) -> None:
    found = suspicion(count, expected, factor, spread, count * value, count * value, count * newcomers, newcomers)
    assert found < 0.5


@given(counts, st.floats(1e-3, 1.0), shares)
def test_newcomers_alone_are_never_held(count: float, expected: float, usual: float) -> None:
    assert suspicion(count, expected, 2.0, 1.0, 0.7 * count, 0.7 * count, count, usual) < 0.8


@given(st.floats(1.0, 1e4), shares)
def test_opinions_at_the_usual_rate_are_never_suspicious(count: float, value: float) -> None:
    assert suspicion(count, count, 2.0, 1.0, count * value, count * 0.5, count, 0.3) == 0


@given(st.integers(20, 10_000), st.floats(0.2, 0.9))
def test_established_actors_speak_for_a_crowd_and_more_of_them_speak_louder(count: int, usual: float) -> None:
    assert newcomer_evidence(2 * count, 0.0, usual) < newcomer_evidence(count, 0.0, usual) < 0


def test_only_the_side_that_is_unusual_is_suspicious() -> None:
    assert suspicious_side(50.0, 5.0, 35.0) == -1
    assert suspicious_side(50.0, 48.0, 20.0) == 1
    assert suspicious_side(50.0, 34.0, 35.0) == 0


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0, 1, 2])
@pytest.mark.parametrize("up", [0.05, 0.5, 0.97])
def test_a_climb_gets_high_as_rarely_as_a_likelihood_ratio_may(scale: int, up: float) -> None:
    # By Ville's inequality a climb that begins with an event, so at log(factor) nats, reaches h nats with probability
    # factor x exp(-h) at most.
    rng, events, height = np.random.default_rng(scale), 30_000, 5.0
    gaps_ms = rng.exponential(HOUR_MS, events).astype(np.int64)
    values = (rng.random(events) < up).astype(float)
    climb, reached, now_ms = climb_table(1)[0, scale], 0, 0
    for gap, value in zip(gaps_ms.tolist(), values.tolist(), strict=True):
        now_ms += gap
        if fall(climb, FACTORS[scale], 1.0, 1.0, gap):
            climb["score"] = 0.0
        rise(climb, FACTORS[scale], 1.0, 0.0, value, up, now_ms)
        if climb["score"] > height:
            reached += 1
            climb["score"] = 0.0
    assert reached <= events * FACTORS[scale] * np.exp(-height)
    assert reached > 3


def test_a_climb_says_since_when() -> None:
    climb = climb_table(1)[0, 0]
    for each in range(10):
        assert not fall(climb, 2.0, 1.0, 0.1, HOUR_MS if each else 0)
        rise(climb, 2.0, 1.0, 1.0, 0.0, 0.7, 5 * HOUR_MS + each * HOUR_MS)
    assert climb["began_ms"] == 5 * HOUR_MS
    assert climb["peak_ms"] == 14 * HOUR_MS
    assert climb["peak_sums"].tolist() == pytest.approx([10, 10, 0, 7, 0.9])
    assert fall(climb, 2.0, 1.0, 0.1, 1_000 * HOUR_MS)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("budget", [0.5, 1.0, 2.0])
def test_peaks_reach_the_alarm_height_hardly_more_often_than_the_budget(scale: float, budget: float) -> None:
    rng, months, alarms = np.random.default_rng(3), 300, 0
    own, pool = peak_table(1)[0], peak_pool()[0]
    for hour in range(months * 720):
        if rng.random() < 0.02:
            score = 2.0 + rng.exponential(scale)
            height = alarm_height(own, pool, budget)
            alarms += score >= height
            note_peak(own, min(score, height))
        count_hour(own, pool, hour)
    assert budget / 40 < alarms / months <= 1.25 * budget


def test_a_smaller_budget_is_a_higher_threshold() -> None:
    own, pool = peak_table(1)[0], peak_pool()[0]
    for hour in range(720):
        note_peak(own, 4.0)
        count_hour(own, pool, hour)
    heights = [alarm_height(own, pool, budget) for budget in (10.0, 1.0, 0.1)]
    assert heights == sorted(heights)
    assert heights[0] < heights[2]


def learned(per_hour: np.ndarray, weeks: int, uneven: float = 0.0) -> tuple[np.void, np.void]:
    """Return the rate of a target that had these 168 hours week after week, and what is known of all targets."""
    rng = np.random.default_rng(2)
    rate, pool = rate_table(1)[0], rate_pool()[0]
    begin(rate, pool, MONDAY_H * HOUR_MS)
    for hour in range(168 * weeks):
        noise = rng.gamma(uneven**-2, uneven**2) if uneven else 1.0
        rate["count"] = rng.poisson(per_hour[hour % 168] * noise)
        close_hour(rate, pool, False, 0.5 ** (1 / 336))
    expect(rate, pool)
    return rate, pool


def expected_week(rate: np.void, pool: np.void) -> np.ndarray:
    found = np.empty(168)
    for hour in range(168):
        rate["hour"] = MONDAY_H + hour
        expect(rate, pool)
        found[hour] = rate["per_hour"]
    return found


def test_the_usual_rate_learns_the_shape_of_the_week() -> None:
    week = np.tile(20 + 18 * np.sin(np.arange(24) / 24 * 2 * np.pi), 7) * np.repeat([1, 1, 1, 1, 1, 2, 2], 24)
    expected = expected_week(*learned(week, 10))
    assert np.corrcoef(expected, week)[0, 1] > 0.95
    assert np.median(expected / week) == pytest.approx(1.0, abs=0.15)
    assert np.corrcoef(expected_week(*learned(np.full(168, 20.0), 10)), week)[0, 1] < 0.3


def test_a_new_target_has_the_shape_of_all_targets() -> None:
    week = np.tile(20 + 18 * np.sin(np.arange(24) / 24 * 2 * np.pi), 7)
    _, pool = learned(week, 10)
    new = rate_table(1)[0]
    begin(new, pool, MONDAY_H * HOUR_MS)
    assert np.corrcoef(expected_week(new, pool), week)[0, 1] > 0.95


def test_uneven_hours_are_a_wide_spread_and_steady_ones_are_not() -> None:
    flat = np.full(168, 30.0)
    assert learned(flat, 6)[0]["spread"] < 2.5
    assert learned(flat, 6, uneven=0.5)[0]["spread"] == pytest.approx(1 + 30 * 0.25, rel=0.4)


def test_a_burst_does_not_teach_what_is_usual() -> None:
    rate, pool = learned(np.full(168, 10.0), 4)
    before = expected_week(rate, pool).mean()
    for _ in range(48):
        rate["count"] = 1_000.0
        close_hour(rate, pool, True, 0.5 ** (1 / 336))
    assert expected_week(rate, pool).mean() < 1.5 * before


def test_everybody_is_new_once() -> None:
    actors, usual = actor_table(1 << 10), usual_newcomers()
    ids = np.random.default_rng(1).integers(0, 2**63, (50, 2)).tolist()
    words = [(WORD(low), WORD(high)) for low, high in ids]
    first = [arrive(actors, usual, low, high) for low, high in words]
    again = [arrive(actors, usual, low, high) for low, high in words]
    assert sum(first) >= 48
    assert sum(again) == 0


def test_actors_who_stay_away_are_forgotten_and_memory_is_fixed() -> None:
    actors, usual = actor_table(1 << 8), usual_newcomers()
    arrive(actors, usual, WORD(1), WORD(1))
    for _ in range(10 * 4 * 256):
        arrive(actors, usual, WORD(2), WORD(2))
    assert arrive(actors, usual, WORD(1), WORD(1)) == 1


def test_the_usual_share_of_newcomers_is_learned() -> None:
    usual = usual_newcomers()
    rng = np.random.default_rng(1)
    for _ in range(6_000):
        learn_share(usual, float(rng.random() < 0.3))
    assert usual[SHARE] == pytest.approx(0.3, abs=0.05)


def test_a_target_keeps_its_place_until_it_was_silent_for_long() -> None:
    table = watched_table(8)
    for owner in range(1, 9):
        place = place_of(table, WORD(2 * owner), WORD(0), 0, DAY_MS) + 8
        settle_down(table[place], WORD(2 * owner), WORD(0), owner)
    assert place_of(table, WORD(6), WORD(0), DAY_MS, DAY_MS) == 2
    assert place_of(table, WORD(100), WORD(0), DAY_MS, DAY_MS) == 8
    assert place_of(table, WORD(100), WORD(0), DAY_MS + 4, DAY_MS) == 0 - 8
