"""Simulated traffic of one partition: calm targets, and one burst of some kind."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from rheostat.schemas.signals import NAMES
from rheostat.streams.intake.bursts import BurstScorer, events_of
from rheostat.streams.intake.settings import BurstSettings

T0_MS = 1_760_000_000_000
SETTINGS = BurstSettings()
THUMB = NAMES.index("thumb")


def traffic(
    rng: np.random.Generator,
    start_ms: int,
    seconds: float,
    rate: float,
    *,
    actors: list[str],
    targets: list[str],
    up: float,
) -> list[tuple[int, str, str, float]]:
    count = rng.poisson(rate * seconds)
    times = np.sort(start_ms + rng.integers(0, max(1, int(seconds * 1000)), count))
    return [
        (int(t), targets[rng.integers(len(targets))], actors[rng.integers(len(actors))], float(rng.random() < up))
        for t in times
    ]


def score(
    scorer: BurstScorer, rows: list[tuple[int, str, str, float]], block: int
) -> tuple[np.ndarray, list[str | None]]:
    suspicion, reasons = [], []
    for start in range(0, len(rows), block):
        times, targets, actors, values = zip(*rows[start : start + block], strict=True)
        found = scorer.score(
            events_of(
                pa.array(targets, pa.string()),
                pa.array(actors, pa.string()),
                np.full(len(times), THUMB, np.int32),
                np.array(values),
                np.array(times, np.int64),
            )
        )
        suspicion.append(found.suspicion)
        reasons += found.reasons_column().to_pylist()
    return np.concatenate(suspicion), reasons


REGULARS = [f"regular-{i}" for i in range(500)]
ITEMS = [f"item-{i}" for i in range(200)]
BLOCKS = [13, 200, 1_000]


def calm(rng: np.random.Generator, start_ms: int, seconds: float) -> list[tuple[int, str, str, float]]:
    regulars = traffic(rng, start_ms, seconds, 95, actors=REGULARS, targets=ITEMS, up=0.6)
    visitors = [f"visitor-{rng.integers(10**9)}" for _ in range(int(5 * seconds) + 1)]
    return sorted(regulars + traffic(rng, start_ms, seconds, 5, actors=visitors, targets=ITEMS, up=0.6))


def warmed_up(rng: np.random.Generator) -> BurstScorer:
    scorer = BurstScorer(SETTINGS)
    score(scorer, calm(rng, T0_MS, 120), 1_000)
    return scorer


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("phase_ms", [0, 700])
def test_a_brigade_is_held_within_half_a_second_and_its_neighbours_are_not(
    block: int, seed: int, phase_ms: int
) -> None:
    rng = np.random.default_rng(seed)
    scorer = warmed_up(rng)
    onset = T0_MS + 120_000 + phase_ms
    recruits = [f"recruit-{i}" for i in range(300)]
    brigade = traffic(rng, onset, 5, 60, actors=recruits, targets=["item-7"], up=0.0)
    rows = sorted(brigade + calm(rng, T0_MS + 120_000, 6))
    suspicion, reasons = score(scorer, rows, block)
    late = np.array([row[2].startswith("recruit") and row[0] >= onset + 500 for row in rows])
    others = np.array([row[1] != "item-7" for row in rows])
    assert (suspicion[late] >= SETTINGS.quarantine_at).mean() > 0.99
    assert suspicion[others].max() == 0
    assert all(reason is not None and "events on this target" in reason for reason in np.array(reasons, object)[late])


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("up", [0.6, 0.95])
def test_a_flash_crowd_of_established_actors_passes(block: int, up: float) -> None:
    rng = np.random.default_rng(5)
    scorer = warmed_up(rng)
    start = T0_MS + 120_000
    visitors = [f"new-{i}" for i in range(400)]
    crowd = traffic(rng, start, 20, 160, actors=REGULARS, targets=["launch"], up=up)
    crowd += traffic(rng, start, 20, 40, actors=visitors, targets=["launch"], up=up)
    suspicion, reasons = score(scorer, sorted(crowd + calm(rng, start, 20)), block)
    assert suspicion.max() < SETTINGS.downweight_at
    assert set(reasons) == {None}


def test_newcomers_of_mixed_opinion_are_down_weighted_but_not_held() -> None:
    rng = np.random.default_rng(6)
    scorer = warmed_up(rng)
    start = T0_MS + 120_000
    crowd = traffic(rng, start, 10, 60, actors=[f"new-{i}" for i in range(5_000)], targets=["launch"], up=0.6)
    suspicion, _ = score(scorer, sorted(crowd + calm(rng, start, 10)), 500)
    assert suspicion[len(suspicion) // 2 :].max() >= SETTINGS.downweight_at
    assert (suspicion < SETTINGS.quarantine_at).mean() > 0.98


def test_nothing_is_suspicious_while_everybody_is_new() -> None:
    rng = np.random.default_rng(7)
    crowd = traffic(rng, T0_MS, 2, 400, actors=[f"new-{i}" for i in range(9_000)], targets=["a", "b"], up=0.0)
    suspicion, _ = score(BurstScorer(SETTINGS), crowd, 100)
    assert suspicion.max() == 0


def test_scores_do_not_depend_on_a_null_target_or_its_place() -> None:
    scorer = BurstScorer(SETTINGS)
    none = events_of(
        pa.nulls(40, pa.string()), pa.array(["a"] * 40), np.zeros(40, np.int32), np.zeros(40), np.full(40, T0_MS)
    )
    assert scorer.score(none).suspicion.tolist() == [0.0] * 40


def test_it_does_not_matter_how_events_are_cut_into_blocks() -> None:
    rng = np.random.default_rng(8)
    brigade = traffic(rng, T0_MS + 30_000, 3, 60, actors=["a", "b", "c"], targets=["item-7"], up=0.0)
    rows = sorted(calm(rng, T0_MS, 35) + brigade)
    whole, _ = score(BurstScorer(SETTINGS), rows, len(rows))
    assert whole.max() > 0
    for block in (1, 7, 1_000):
        cut, _ = score(BurstScorer(SETTINGS), rows, block)
        np.testing.assert_array_equal(cut, whole)


def test_nobody_becomes_a_newcomer_by_too_many_events() -> None:
    scorer, count = BurstScorer(BurstSettings()), 2**16 + 1
    everywhere = [(T0_MS + number, f"item-{number % 997}", "ann", 1.0) for number in range(count)]
    score(scorer, everywhere, count)
    assert scorer._history.max(axis=1).tolist() == [2**16 - 1] * 2
