"""Contradictions on one prediction: what stands in the end follows from the policy, in whatever order signals came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas import catalogue
from rheostat.schemas.signals import KINDS, normalise
from rheostat.streams.intake.fingerprint import fingerprints
from rheostat.streams.intake.recent_signals import FOUND_MAX
from tests.support.feedback import NOW_MS, records_of
from tests.support.weighed import Given, intake, signal, standing, tell

SAYS = {
    "thumb": (0.0, 0.5, 1.0),
    "rating": (1.0, 3.0, 5.0),
    "correct": (1.0,),
    "incorrect": (1.0,),
    "click": (0.0, 1.0),
    "dismiss": (1.0,),
    "conversion": (0.0, 1.0),
}
signals = st.lists(
    st.tuples(st.sampled_from(sorted(SAYS)), st.integers(0, 2), st.integers(0, 3)), min_size=2, max_size=7
).map(
    lambda drawn: [
        signal(f"e{i}", kind, SAYS[kind][value % len(SAYS[kind])], occurred_at=NOW_MS + at)
        for i, (kind, value, at) in enumerate(drawn)
    ]
)


def side(record: dict[str, Any]) -> int:
    value = normalise(record["kind"], record["value"])
    return int(value >= 0.6) - int(value <= 0.4)


def contradict(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return side(one) * side(other) < 0 and KINDS[one["kind"]].basis == KINDS[other["kind"]].basis


def rank(record: dict[str, Any], policy: str) -> tuple[bool, int, int]:
    first = policy == "explicit-first" and KINDS[record["kind"]].channel != "implicit"
    return first, record["occurred_at"], int(fingerprints(pa.array([record["event_id"]])).low[0])


def expected(records: Sequence[dict[str, Any]], policy: str) -> dict[str, float]:
    """What stands, said in other words than intake's: each event is compared with all others."""
    weights = {}
    for one in records:
        against = [KINDS[other["kind"]].weight for other in records if contradict(one, other)]
        same = [
            KINDS[other["kind"]].weight
            for other in records
            if KINDS[other["kind"]].basis == KINDS[one["kind"]].basis and side(other) == side(one)
        ]
        if policy == "weighted-vote":
            share = sum(same) / (sum(same) + sum(against)) if against else 1.0
        else:
            share = float(
                not any(contradict(one, other) and rank(other, policy) > rank(one, policy) for other in records)
            )
        weights[one["event_id"]] = KINDS[one["kind"]].weight * share
    return weights


@settings(max_examples=150, deadline=None)
@given(signals, st.sampled_from(["explicit-first", "latest", "weighted-vote"]), st.data())
def test_what_stands_is_the_same_for_every_order_of_arrival_and_every_cut(
    sent: list[Given], policy: str, data: st.DataObject
) -> None:
    driver = intake(conflict_policy=policy, reliability_floor=1.0)
    order = data.draw(st.permutations(sent))
    while order:
        count = data.draw(st.integers(1, len(order)))
        tell(driver, *order[:count])
        order = order[count:]
        if data.draw(st.booleans()):
            driver.reopen()
    assert standing(driver.written) == pytest.approx(expected([record for _, record in sent], policy))
    corrected = [each["event_id"] for each in records_of(driver.written, catalogue.CORRECTIONS)]
    assert policy == "weighted-vote" or len(set(corrected)) == len(corrected)


def test_by_the_default_policy_an_explicit_signal_beats_a_newer_implicit_one_and_says_so() -> None:
    driver = intake()
    tell(driver, signal("said", value=0.0))
    (entry,) = tell(driver, signal("clicked", "click", occurred_at=NOW_MS + 1))
    assert entry["weight"] == 0.0
    assert entry["reasons"] == "conflict (explicit-first): lost to thumb said"
    assert not records_of(driver.written, catalogue.CORRECTIONS)


def test_what_loses_later_is_corrected_where_it_came_from() -> None:
    driver = intake()
    tell(driver, signal("clicked", "click", target_id="item-7"))
    tell(driver, signal("sure", "conversion", 0.0, occurred_at=NOW_MS + 5, target_id=None))
    (out,) = (out for out in driver.written if out.topic == catalogue.CORRECTIONS)
    assert (out.keys, list(out.timestamps_ms), out.partition) == ([b"p"], [NOW_MS + 5], 0)
    assert records_of([out], catalogue.CORRECTIONS) == [
        {
            "event_id": "clicked",
            "prediction_id": "p",
            "target_id": "item-7",
            "kind": "click",
            "value": 1.0,
            "occurred_at": NOW_MS,
            "weight": 0.3,
            "cause": "conflict",
            "keeps": 0.0,
            "reasons": "conflict (explicit-first): lost to conversion sure",
            "alarm": None,
            "origin_topic": catalogue.FEEDBACK_IMPLICIT,
            "origin_partition": 0,
            "origin_offset": 0,
        }
    ]
    assert driver.task.books["intake"]["overruled"] == 1  # type: ignore[attr-defined]


def test_a_vote_leaves_the_full_weight_in_the_ledger_and_corrects_it() -> None:
    driver = intake(conflict_policy="weighted-vote")
    tell(driver, signal("a"), signal("b"))
    (entry,) = tell(driver, signal("c", value=0.0))
    assert entry["weight"] == 1.0
    assert entry["reasons"] == "conflict (weighted-vote): counts by the share of its side, see its corrections"
    corrections = records_of(driver.written, catalogue.CORRECTIONS)
    assert {each["event_id"]: each["keeps"] for each in corrections} == pytest.approx(
        {"a": 2 / 3, "b": 2 / 3, "c": 1 / 3}
    )
    assert corrections[0]["reasons"] == "conflict (weighted-vote): its side has 0.67 of the weight"


@pytest.mark.parametrize(
    ("other", "weights"),
    [
        (signal("x", "retraction", 0.0, retracts="first"), {}),
        (signal("x", "incorrect"), {}),
        (signal("x", value=0.5), {}),
        (signal("x", value=0.0, prediction_id="another"), {}),
        (signal("x", value=0.0, prediction_id=None), {}),
        (signal("x", value=0.0, certainty=0.0), {}),
        (signal("x", value=0.0, occurred_at=NOW_MS + 1), {"conflict_policy": "keep-all"}),
        (signal("x", value=0.2, occurred_at=NOW_MS + 1), {"conflict_margin": 0.4}),
        (signal("x", value=0.0, occurred_at=NOW_MS + 1_001), {"conflict_window_ms": 1_000}),
    ],
)
def test_no_contradiction(other: Given, weights: dict[str, Any]) -> None:
    driver = intake(**weights)
    tell(driver, signal("first"))
    (entry,) = tell(driver, other)
    assert not records_of(driver.written, catalogue.CORRECTIONS)
    assert entry["reasons"] is None


def test_one_event_corrects_a_bounded_number_of_others() -> None:
    driver = intake()
    many = 3 * FOUND_MAX
    tell(driver, *(signal(f"e{i}", occurred_at=NOW_MS + i, subject_id=f"u{i}") for i in range(many)))
    tell(driver, signal("no", value=0.0, occurred_at=NOW_MS + many))
    corrected = [each["event_id"] for each in records_of(driver.written, catalogue.CORRECTIONS)]
    assert sorted(corrected) == sorted(f"e{i}" for i in range(many - FOUND_MAX, many))


def test_only_the_newest_entries_are_remembered() -> None:
    kept = 256
    driver = intake(conflict_signals_max=kept)
    tell(driver, *(signal(f"e{i}", prediction_id=f"p{i}") for i in range(kept + 1)))
    for number in (0, 1, kept):
        later: dict[str, Any] = {"value": 0.0, "occurred_at": NOW_MS + 1}
        tell(driver, signal(f"no-{number}", prediction_id=f"p{number}", **later))
    # The first two fell out: one as the last of the run came, one as the first contradiction did.
    assert [each["event_id"] for each in records_of(driver.written, catalogue.CORRECTIONS)] == [f"e{kept}"]
