"""Weights: an actor's cap, recency, and that neither cuts of blocks nor restarts change anything that is written."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas import catalogue
from rheostat.streams.config import load
from rheostat.streams.errors import ConfigError
from rheostat.streams.intake.fingerprint import Fingerprints
from rheostat.streams.intake.influence import SLOTS, Influence, used_up
from rheostat.streams.intake.settings import WeightSettings
from tests.support.feedback import NOW_MS, block_of, encoded, records_of
from tests.support.weighed import Given, blocks, intake, signal, tell
from tests.support.written_log import Driver

HOUR_MS = 3_600_000
CAP = 4.0
KINDS = {"thumb": (0.0, 0.5, 1.0), "accept": (0.0, 1.0), "click": (0.0, 1.0), "conversion": (0.0, 1.0)}
SMALL: dict[str, Any] = {
    "actor_weight_per_hour": CAP,
    "reliability_prior": 2.0,
    "reliability_halflife": 16,
    "conflict_window_ms": 20 * 60_000,
    "conflict_signals_max": 256,
}


def history(seed: int, count: int) -> list[Given]:
    """Events over some four hours, some of them late by up to two, of few actors, sources and predictions."""
    draw = np.random.default_rng(seed)
    sent, kind = [], "thumb"
    for number in range(count):
        if draw.random() < 0.2:
            kind = str(draw.choice(sorted(KINDS)))
        late = draw.integers(0, 2 * HOUR_MS) if draw.random() < 0.2 else draw.integers(0, 60_000)
        at = NOW_MS + number * 4 * HOUR_MS // count - int(late)
        fields = {
            "prediction_id": f"p{number // 6 + draw.integers(-3, 4)}",
            "subject_id": str(draw.choice(["", "ann", "bob", "cid"], p=[0.1, 0.4, 0.4, 0.1])),
            "source": str(draw.choice(["web", "app", "shop"])),
            "target_id": f"item-{number % 5}" if number % 7 else None,
            "certainty": 0.5 if number % 11 == 0 else None,
            "occurred_at": at,
        }
        sent.append(signal(f"e{number}", kind, float(draw.choice(KINDS[kind])), **fields))
    return sent


def runs(sent: list[Given]) -> list[list[Given]]:
    """Events in runs of one topic each: within one call topics are taken one after the other."""
    found: list[list[Given]] = []
    for each in sent:
        if found and found[-1][0][0] == each[0]:
            found[-1].append(each)
        else:
            found.append([each])
    return found


def written(driver: Driver) -> dict[str, list[dict[str, Any]]]:
    return {topic: records_of(driver.written, topic) for topic in (catalogue.LEDGER, catalogue.CORRECTIONS)}


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["explicit-first", "latest", "weighted-vote"]))
def test_cuts_and_restarts_change_nothing(seed: int, policy: str) -> None:
    random = Random(seed)
    now_ms = NOW_MS + 4 * HOUR_MS
    calm, troubled = (intake(now_ms, conflict_policy=policy, **SMALL) for _ in range(2))
    for number, run in enumerate(runs(history(seed, 500))):
        calm.feed(*blocks(run, 10_000 * number))
        first = 0
        while first < len(run):
            end = random.randint(first + 1, len(run))
            troubled.feed(*blocks(run[first:end], 10_000 * number + 2 * first))
            first = end
            if random.random() < 0.05:
                troubled.reopen()
    assert written(troubled) == written(calm)
    assert troubled.task.books == calm.task.books  # type: ignore[attr-defined]
    books = calm.task.books["intake"]  # type: ignore[attr-defined]
    assert books["capped"] > 10
    assert books["overruled"] > 10
    assert books["accepted"] == books["consumed"] == 500


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_first_weight_of_an_actor_in_an_hour_counts_and_the_rest_does_not(seed: int) -> None:
    driver = intake(NOW_MS + 4 * HOUR_MS, conflict_policy="keep-all", reliability_floor=1.0, **SMALL)
    used: dict[tuple[str, int], float] = defaultdict(float)
    watermark_hour = 0
    for run in runs(history(seed, 300)):
        driver.feed(*blocks(run))
        if not seed % 3:
            driver.reopen()
    weights = {"thumb": 1.0, "accept": 0.8, "click": 0.3, "conversion": 1.0}
    for entry in records_of(driver.written, catalogue.LEDGER):
        full = weights[entry["kind"]] * entry["certainty"]
        hour = entry["occurred_at"] // HOUR_MS
        watermark_hour = max(watermark_hour, hour)
        charged = entry["subject"], max(hour, watermark_hour - 1)
        capped = entry["subject"] != "" and used[charged] + full > CAP
        assert entry["weight"] == (0.0 if capped else full)
        assert entry["reasons"] == ("actor cap: over 4 within an hour counts 0" if capped else None)
        used[charged] += entry["weight"]
    assert all(total <= CAP for (subject, _), total in used.items() if subject)


def test_back_dated_events_do_not_get_round_the_cap() -> None:
    driver = intake(actor_weight_per_hour=3.0)
    old = [signal(f"e{i}", prediction_id=f"p{i}", occurred_at=NOW_MS - i * HOUR_MS) for i in range(100)]
    assert sum(each["weight"] for each in tell(driver, *old)) == 1.0 + 3.0


def test_in_an_hour_with_more_actors_than_places_some_are_not_capped_and_none_is_taken_for_another() -> None:
    influence, count, known = Influence(), 2 * SLOTS, SLOTS // 4
    draw = np.random.default_rng(3)
    actors = Fingerprints(*draw.integers(0, 2**64, (2, count), np.uint64))
    influence.fold(actors, np.ones(count, np.bool_), np.full(count, 2.0), np.full(count, NOW_MS))
    used = [used_up(influence.actors, influence.hours, NOW_MS, each) for each in actors.low[:known]]
    assert used == [2.0] * len(used)
    rest = [used_up(influence.actors, influence.hours, NOW_MS, each) for each in actors.low[known:]]
    assert set(rest) == {2.0, -np.inf}


def test_what_was_released_is_weighed_like_any_other_event_and_may_exceed_no_cap() -> None:
    driver = intake(actor_weight_per_hour=1.5)
    (entry,) = tell(driver, signal("first"))
    held = {**entry, "event_id": "held", "value": 0.0, "suspicion": 0.9, "weight": 0.1, "reasons": "burst"}
    again = {**held, "event_id": "again", "prediction_id": "q"}
    output = driver.feed(
        block_of([encoded(each, catalogue.QUARANTINE) for each in (held, again)], topic=catalogue.RELEASED)
    )
    lost, capped = records_of(output.records, catalogue.LEDGER)
    assert (lost["weight"], capped["weight"]) == (0.0, 0.0)
    assert capped["reasons"] == "released from quarantine; burst; actor cap: over 1.5 within an hour counts 0"


def test_late_events_count_less_where_that_is_asked_for() -> None:
    late, now = (signal(f"e{at}", prediction_id=f"p{at}", occurred_at=NOW_MS - at * HOUR_MS) for at in (2, 0))
    faded = tell(intake(recency_halflife_ms=HOUR_MS), late, now)
    assert [(each["weight"], each["reasons"]) for each in faded] == [(0.25, "comes late: x 0.25"), (1.0, None)]
    assert [each["weight"] for each in tell(intake(), late, now)] == [1.0, 1.0]


def test_a_team_sets_them_in_its_configuration() -> None:
    flags = {"intake.weights.conflict_policy": "latest", "intake.weights.outcome_sources": "shop,till"}
    weights = load(flags=flags).config.intake.weights
    assert weights == WeightSettings(conflict_policy="latest", outcome_sources=("shop", "till"))
    with pytest.raises(ConfigError, match="conflict_policy: 'loudest' is not one of explicit-first, latest"):
        load(flags={"intake.weights.conflict_policy": "loudest"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("actor_weight_per_hour", 0.0),
        ("recency_halflife_ms", -1),
        ("reliability_floor", 1.5),
        ("reliability_prior", 0.0),
        ("reliability_halflife", 32_768),
        ("conflict_margin", 0.6),
        ("conflict_window_ms", 0),
        ("conflict_signals_max", 1_000),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"weights.{name}"):
        WeightSettings(**{name: value})  # type: ignore[arg-type]
