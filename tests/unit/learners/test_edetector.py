"""The e-detector: reference values, its false-alarm rate in events, and how soon it finds a change."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.contract import Floats
from rheostat.learners.edetector import Detector, Evidence, begin, log_evidence, observe, targets_above
from tests.unit.learners.support import ANY_SPEED

LOSSES = (0, 0, 1, 0, 1, 1, 1, 0, 1, 1)
ONE = Detector(m0=0.2, targets=(0.4,), arl_events=100.0)
MANY = Detector(m0=0.2, targets=targets_above(0.2, 0.05), arl_events=5_000.0)


def _run(detector: Detector, losses: Floats, block_rows: int) -> Evidence:
    """Evidence at the alarm, or at the end."""
    evidence = begin(detector)
    for block, start in enumerate(range(0, len(losses), block_rows)):
        part = losses[start : start + block_rows]
        evidence = observe(detector, evidence, len(part), float(part.sum()), block)
        if evidence.alarm:
            break
    return evidence


def test_reference_values() -> None:
    evidence = begin(ONE)
    for index, loss in enumerate(LOSSES):
        evidence = observe(ONE, evidence, 1, float(loss), index)
    assert math.exp(evidence.log_sr[0]) == pytest.approx(152.25)
    assert math.exp(evidence.log_cusum[0]) == pytest.approx(36.0)
    assert math.exp(log_evidence(evidence)) == pytest.approx(152.25)
    assert evidence.events == 10
    # The excursion began with the first 1: before it every 0 took the e-CUSUM back below 1.
    assert (evidence.alarm_at, evidence.alarm_onset) == (9, 2)


def test_one_block_is_the_product_of_its_likelihood_ratios() -> None:
    evidence = observe(ONE, begin(ONE), 10, 6.0, 0)
    ratio = (0.4 / 0.2) ** 6 * (0.6 / 0.8) ** 4
    assert math.exp(evidence.log_sr[0]) == pytest.approx(10 * ratio)
    assert math.exp(evidence.log_cusum[0]) == pytest.approx(ratio)


@ANY_SPEED
@given(st.floats(0.001, 0.999), st.floats(0.01, 0.99), st.floats(0.0, 1.0))
def test_e_values_have_mean_at_most_one(mean: float, share: float, gap: float) -> None:
    """For losses of two values around the mean, exactly: E e <= 1 whenever the mean is at most m0."""
    m1 = mean + (1.0 - mean) * share
    if not mean < m1 < 1.0:
        return
    detector = Detector(mean, (m1,), 1e9)
    low, high = mean * (1.0 - gap), mean + (1.0 - mean) * gap
    chance = 0.5 if high == low else (mean - low) / (high - low)
    values = [math.exp(observe(detector, begin(detector), 1, loss, 0).log_sr[0]) for loss in (low, high)]
    assert (1.0 - chance) * values[0] + chance * values[1] <= 1.0 + 1e-9


@ANY_SPEED
@given(st.lists(st.lists(st.floats(0.0, 1.0), max_size=6), max_size=12))
def test_state_survives_json(blocks: list[list[float]]) -> None:
    evidence = stored = begin(MANY)
    for index, block in enumerate(blocks):
        evidence = observe(MANY, evidence, len(block), sum(block), index)
        stored = Evidence.from_json(json.loads(json.dumps(stored.to_json(), allow_nan=False)))
        stored = observe(MANY, stored, len(block), sum(block), index)
    assert stored == evidence


def test_the_alarm_stays_and_keeps_its_place() -> None:
    evidence = begin(ONE)
    for index in range(10):
        evidence = observe(ONE, evidence, 10, 8.0 if index >= 3 else 0.0, index)
    assert evidence.alarm
    after = observe(ONE, evidence, 1_000, 0.0, 10)
    assert (after.alarm_at, after.alarm_onset) == (evidence.alarm_at, evidence.alarm_onset)
    assert evidence.alarm_onset == 3


def test_an_empty_block_changes_nothing() -> None:
    assert observe(ONE, begin(ONE), 0, 0.0, 5) == begin(ONE)


def test_far_from_normal_numbers_stay_numbers() -> None:
    detector = replace(MANY, arl_events=1e12)
    evidence = observe(detector, begin(detector), 10**7, 10.0**7, 0)
    evidence = observe(detector, evidence, 10**9, 0.0, 1)
    assert all(not math.isnan(value) for value in (*evidence.log_sr, *evidence.log_cusum))
    assert Evidence.from_json(evidence.to_json()) == evidence


@pytest.mark.parametrize(("count", "total"), [(-1, 0.0), (3, 3.1), (3, -0.1), (3, math.nan)])
def test_impossible_sums_are_refused(count: int, total: float) -> None:
    with pytest.raises(ValueError, match="cannot have the sum"):
        observe(ONE, begin(ONE), count, total, 0)


@pytest.mark.parametrize(
    ("m0", "targets", "arl"),
    [(0.0, (0.5,), 10.0), (0.5, (0.5,), 10.0), (0.5, (1.0,), 10.0), (0.5, (), 10.0), (0.5, (0.6,), 0.5)],
)
def test_impossible_detectors_are_refused(m0: float, targets: tuple[float, ...], arl: float) -> None:
    with pytest.raises(ValueError, match=r"m0|arl_events"):
        Detector(m0, targets, arl)


@ANY_SPEED
@given(st.floats(0.001, 0.9), st.floats(0.001, 0.9), st.integers(1, 8))
def test_targets_rise_from_the_least_effect_and_stay_below_one(m0: float, share: float, count: int) -> None:
    effect = (1.0 - m0) * share
    targets = targets_above(m0, effect, count)
    assert targets[0] == pytest.approx(m0 + effect)
    assert list(targets) == sorted(targets)
    assert Detector(m0, targets, 10.0).targets == targets


def test_false_alarms_are_rarer_than_promised() -> None:
    """Until an alarm at least `arl_events` events pass on average; streams cut at twice that bound it from below."""
    random = np.random.default_rng(3)
    detector = replace(MANY, arl_events=400.0)
    runs = [_run(detector, (random.random(1_200) < 0.2).astype(np.float64), 20).events for _ in range(300)]
    standard_error = float(np.std(runs)) / math.sqrt(len(runs))
    assert float(np.mean(runs)) + 3.0 * standard_error >= detector.arl_events


@pytest.mark.parametrize(("mean", "within_events"), [(0.25, 3_000), (0.3, 900), (0.5, 200), (0.8, 80)])
def test_changes_are_found_soon_and_placed(mean: float, within_events: int) -> None:
    random = np.random.default_rng(4)
    before, block_rows = 2_000, 10
    delays, onsets = [], []
    for _ in range(40):
        chance = np.concatenate([np.full(before, 0.15), np.full(20_000, mean)])
        evidence = _run(MANY, (random.random(len(chance)) < chance).astype(np.float64), block_rows)
        assert evidence.alarm_onset is not None
        delays.append(evidence.events - before)
        onsets.append(evidence.alarm_onset * block_rows - before)
    assert np.median(delays) <= within_events
    # The placed onset is nearer to the change than the alarm is.
    assert abs(np.median(onsets)) <= max(np.median(delays) / 2, 3 * block_rows)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bernoulli", "beta", "falling", "dependent"])
@pytest.mark.parametrize("block_rows", [10, 100])
def test_false_alarms_on_many_streams(kind: str, block_rows: int) -> None:
    """1 000 streams with mean at most m0 given the past: the share that alarms within n events is at most n / ARL."""
    random = np.random.default_rng(5)
    events, streams = 1_000, 1_000
    detector = Detector(0.2, targets_above(0.2, 0.05), arl_events=5_000.0)
    alarms = sum(_run(detector, _harmless(kind, random, events), block_rows).alarm for _ in range(streams))
    expected = streams * events / detector.arl_events
    assert alarms <= expected + 3.0 * math.sqrt(expected)


def _harmless(kind: str, random: np.random.Generator, events: int) -> Floats:
    """Losses in [0, 1] whose mean given the past is never above 0.2."""
    if kind == "bernoulli":
        return (random.random(events) < 0.2).astype(np.float64)
    if kind == "beta":
        return random.beta(0.5, 2.0, events)
    if kind == "falling":
        return (random.random(events) < np.linspace(0.2, 0.05, events)).astype(np.float64)
    # A loss of 1 halves the next chance: dependent, but never above the bound.
    losses = np.zeros(events)
    for index in range(1, events):
        losses[index] = random.random() < 0.2 * (1.0 - 0.5 * losses[index - 1])
    return losses
