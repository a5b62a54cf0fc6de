"""Reliability of sources: learned from outcomes of others, corrected for chance, never from what it judges itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from rheostat.streams.intake.reliability import PLACES, Reliability, add_pair
from rheostat.streams.metrics import Metrics
from rheostat.streams.stage_metrics import StageMetrics
from tests.support.feedback import NOW_MS
from tests.support.weighed import Given, intake, signal, tell
from tests.support.written_log import Driver

FLOOR, PRIOR, HALFLIFE = 0.1, 20.0, 4_096


def pairs(reliability: Reliability, key: int, said: list[bool], came: list[bool], halflife: int = HALFLIFE) -> None:
    for one, other in zip(said, came, strict=True):
        add_pair(
            *(reliability.keys, reliability.pairs, reliability.factors, np.uint64(key), one, other),
            *(FLOOR, PRIOR, halflife),
        )


def weight_of(driver: Driver, source: str, kind: str = "thumb") -> float:
    """What a new event of a source weighs that nothing contradicts."""
    number = driver.task.memory.transactions  # type: ignore[attr-defined]
    name = f"probe-{source}-{number}"
    (entry,) = tell(driver, signal(name, kind, prediction_id=name, subject_id="", source=source))
    return float(entry["weight"])


def told(source: str, says: list[bool], came: list[bool], *, outcome_first: bool = False) -> list[Given]:
    """A thumb of a source and an outcome of the shop on each of several predictions."""
    sent: list[Given] = []
    for i, (said, was) in enumerate(zip(says, came, strict=True)):
        name = {"prediction_id": f"{source}-{i}", "subject_id": ""}
        both = [
            signal(f"{source}-{i}", value=float(said), source=source, **name),
            signal(f"{source}-{i}-came", "conversion", float(was), source="shop", **name),
        ]
        sent += reversed(both) if outcome_first else both
    return sent


@pytest.mark.parametrize("outcome_first", [False, True])
def test_a_liar_ends_at_the_floor_a_noisy_source_at_its_kappa_and_one_that_always_says_yes_near_nothing(
    outcome_first: bool,
) -> None:
    draw = np.random.default_rng(1)
    came = [bool(each) for each in draw.random(2_000) < 0.5]
    wrong = draw.random(2_000) < 0.2
    sources = {
        "liar": [not each for each in came],
        "noisy": [each != bool(flip) for each, flip in zip(came, wrong, strict=True)],
        "eager": [True] * len(came),
        "honest": came,
    }
    driver = intake()
    for source, says in sources.items():
        given = told(source, says, came, outcome_first=outcome_first)
        for kinds in (("thumb",), ("conversion",)) if not outcome_first else (("conversion",), ("thumb",)):
            tell(driver, *(each for each in given if each[1]["kind"] in kinds))
    driver.reopen()
    assert weight_of(driver, "liar") == FLOOR
    assert weight_of(driver, "noisy") == pytest.approx(0.6, abs=0.05)
    assert weight_of(driver, "eager") == FLOOR
    assert weight_of(driver, "honest") == 1.0
    assert weight_of(driver, "unheard") == 1.0


def test_a_common_success_does_not_make_a_source_that_always_says_yes_reliable() -> None:
    reliability = Reliability()
    pairs(reliability, 5, [True] * 2_000, [number % 20 > 0 for number in range(2_000)])
    assert reliability.factor(5) < 0.2


def test_the_factor_is_cohens_kappa_with_the_prior() -> None:
    reliability = Reliability()
    said, came = [True] * 60 + [False] * 40, [True] * 45 + [False] * 15 + [True] * 10 + [False] * 30
    pairs(reliability, 5, said, came)
    table = np.array([[30 + PRIOR / 2, 10], [15, 45 + PRIOR / 2]]) / (100 + PRIOR)
    by_chance = float(table.sum(0) @ table.sum(1))
    assert reliability.factor(5) == pytest.approx((np.trace(table) - by_chance) / (1 - by_chance))


def test_an_event_is_not_weighed_by_its_own_agreement() -> None:
    driver = intake(reliability_prior=1.0)
    tell(
        driver,
        *(signal(f"came-{i}", "conversion", float(i % 2), prediction_id=f"p{i}", source="shop") for i in range(9)),
    )
    weights = []
    for i in range(9):
        (entry,) = tell(
            driver,
            signal(f"said-{i}", value=float(i % 2 == 0), prediction_id=f"p{i}", source="liar", occurred_at=NOW_MS + 1),
        )
        weights.append(entry["weight"])
    assert weights[0] == 1.0
    assert weights[1] < 1.0
    assert "reliability of the source: x " in entry["reasons"]


@pytest.mark.parametrize(
    ("changed", "weights"),
    [
        ({"source": "liar"}, {}),  # its own outcomes
        ({}, {"outcome_sources": ("till",)}),  # not trusted
        ({"certainty": 0.0}, {}),  # weighs nothing
    ],
)
def test_what_does_not_rate_a_source(changed: dict[str, Any], weights: dict[str, Any]) -> None:
    driver = intake(**weights)
    for topic, record in told("liar", [True, False] * 50, [False, True] * 50):
        tell(driver, (topic, record | (changed if record["kind"] == "conversion" else {})))
    assert weight_of(driver, "liar") == 1.0


def test_a_trusted_source_of_outcomes_rates_others() -> None:
    driver = intake(outcome_sources=("till", "shop"))
    tell(driver, *told("liar", [True, False] * 50, [False, True] * 50))
    assert weight_of(driver, "liar") == FLOOR
    assert weight_of(driver, "shop", "conversion") == 1.0


def test_channels_of_a_source_are_rated_apart_and_verdicts_are_not() -> None:
    driver = intake()
    for i in range(100):
        of: dict[str, Any] = {"prediction_id": f"p{i}", "subject_id": ""}
        tell(driver, signal(f"c{i}", "click", source="web", **of), signal(f"v{i}", "correct", source="web", **of))
        tell(driver, signal(f"o{i}", "conversion", float(i % 10 == 0), source="shop", **of))
    assert weight_of(driver, "web", "click") < 0.3 * 0.5
    assert weight_of(driver, "web", "correct") == 1.0


def test_a_signal_counts_once_however_many_outcomes_come() -> None:
    driver = intake()
    tell(driver, *told("web", [True], [True]))
    tell(driver, *(signal(f"o{i}", "conversion", 0.0, prediction_id="web-0", source=f"shop-{i}") for i in range(5)))
    assert driver.task.memory.weigher.reliability.pairs.sum() == 1  # type: ignore[attr-defined]


def test_old_pairs_fade() -> None:
    reliability = Reliability()
    for said in (False, True):
        pairs(reliability, 5, [said] * 300, [True] * 150 + [False] * 150, halflife=16)
    pairs(reliability, 5, [True, False] * 150, [True, False] * 150, halflife=16)
    assert reliability.factor(5) > 0.95
    assert reliability.pairs.sum() < 32


@given(
    st.lists(st.tuples(st.integers(1, 60), st.booleans(), st.booleans()), max_size=300), st.sampled_from([16, 32_767])
)
def test_what_is_known_travels_in_few_bytes_and_comes_back_as_it_was(
    drawn: list[tuple[int, bool, bool]], halflife: int
) -> None:
    reliability, restored = Reliability(), Reliability()
    for key, said, came in drawn:
        pairs(reliability, key, [said], [came], halflife)
    text = reliability.as_text()
    assert len(text) <= 704
    restored.restore(text, FLOOR, PRIOR)
    for name in ("keys", "pairs", "factors"):
        assert (getattr(restored, name) == getattr(reliability, name)).all()
    assert all(restored.factor(key) == reliability.factor(key) for key, _, _ in drawn)


def test_sources_beyond_the_places_share_one() -> None:
    reliability = Reliability()
    for key in range(1, PLACES + 3):
        pairs(reliability, key, [True, False], [False, True])
    alone = reliability.factor(1)
    assert reliability.factor(PLACES) == alone
    assert reliability.factor(PLACES + 1) == reliability.factor(PLACES + 2) == reliability.factor(9_999) < alone


def test_the_least_factor_of_a_source_is_shown() -> None:
    driver = intake()
    tell(driver, *told("liar", [True, False] * 50, [False, True] * 50))
    registry = CollectorRegistry()
    observer = StageMetrics(Metrics(registry))
    observer.opened("intake", 0, driver.task, 0.1)
    observer.committed("intake", {}, {}, 0.1)
    shown = "rheostat_intake_source_reliability_ratio"
    assert registry.get_sample_value(shown, {"source": "liar"}) == FLOOR
    assert registry.get_sample_value(shown, {"source": "shop"}) is None
