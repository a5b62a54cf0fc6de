"""One call of `process`: every event ends in exactly one place, for the right reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from rheostat.schemas import catalogue
from rheostat.schemas.ids import COMMITTED
from rheostat.streams.engine.block import Block
from rheostat.streams.engine.stage import Output
from rheostat.streams.errors import ConfigError
from rheostat.streams.intake.memory import fresh_memory
from rheostat.streams.intake.process import Intake
from rheostat.streams.intake.settings import BurstSettings, IntakeSettings
from rheostat.streams.intake.stage import IntakeTask
from tests.support.feedback import KEY, NOW_MS, block_of, block_of_events, encoded, event, records_of

DAY_MS = 86_400_000
WIRE_HEADER = b"\x00" + COMMITTED.id_of(catalogue.FEEDBACK_EXPLICIT).to_bytes(4, "big")


def task(**settings: Any) -> IntakeTask:
    chosen = IntakeSettings(KEY, **settings)
    return IntakeTask(Intake(chosen, 1), fresh_memory(chosen))


def ledger(output: Output) -> list[dict[str, Any]]:
    return records_of(output.records, catalogue.LEDGER)


def letters(output: Output) -> list[dict[str, Any]]:
    return records_of(output.records, catalogue.DEADLETTER)


BAD_EVENTS: list[tuple[Mapping[str, Any], str, str]] = [
    ({"event_id": ""}, "event_id", "0 characters, 1 to 128"),
    ({"event_id": "é" * 129}, "event_id", "129 characters"),
    ({"prediction_id": "", "subject_id": ""}, "prediction_id", "subject_id"),
    ({"prediction_id": None, "subject_id": ""}, "prediction_id", "subject_id"),
    ({"kind": "applause"}, "kind", "'applause' is not known"),
    ({"kind": "click"}, "kind", "feedback.implicit"),
    ({"value": float("nan")}, "value", "is nan; thumb takes 0 to 1"),
    ({"value": float("inf")}, "value", "is inf"),
    ({"kind": "rating", "value": 5.5}, "value", "is 5.5; rating takes 1 to 5 (stars, 1 to 5)"),
    ({"certainty": 1.5}, "certainty", "is 1.5, 0 to 1"),
    ({"certainty": float("nan")}, "certainty", "is nan"),
    ({"text": "é" * 8_193}, "text", "has 8193 characters, 0 to 8192"),
    ({"kind": "retraction", "value": 0.0}, "retracts", "must name the event_id"),
    ({"kind": "retraction", "value": 0.0, "retracts": ""}, "retracts", "must name the event_id"),
    ({"occurred_at": 0}, "occurred_at", "is 1970-01-01T00:00:00.000Z (0)"),
    ({"occurred_at": 3_786_912_000_000}, "occurred_at", "is 2090-01-01T00:00:00.000Z"),
    ({"occurred_at": NOW_MS - 30 * DAY_MS - 1}, "occurred_at", f"{30 * DAY_MS} ms before"),
    ({"occurred_at": NOW_MS + 300_001}, "occurred_at", "300000 ms after"),
    ({"occurred_at": -(2**62)}, "occurred_at", "are allowed"),
]

BAD_BYTES: list[tuple[bytes | None, str, str]] = [
    (b"\xff\xfe garbage", "payload", "first byte"),
    (b"", "payload", "0 bytes"),
    (None, "payload", ""),
    (b"\x00\x00\x01\x00\x00" + encoded(event("x"))[5:], "payload", "65536"),
    (encoded(event("x"))[:-1], "consent", ""),
    (encoded(event("x"))[:12], "subject_id", ""),
    (WIRE_HEADER, "event_id", ""),
    (encoded(event("x")) + b"more", "payload", ""),
    (b"\x00" * (10 * 1024 * 1024), "payload", "has 10485760 bytes, at most 65536 are allowed"),
]


@pytest.mark.parametrize(("fields", "field", "reason"), BAD_EVENTS)
def test_an_invalid_event_becomes_one_dead_letter(fields: Mapping[str, Any], field: str, reason: str) -> None:
    given = encoded(event("bad") | dict(fields))
    check_one_dead_letter(given, field, reason)


@pytest.mark.parametrize(("given", "field", "reason"), BAD_BYTES)
def test_undecodable_bytes_become_one_dead_letter(given: bytes | None, field: str, reason: str) -> None:
    check_one_dead_letter(given, field, reason)


def check_one_dead_letter(given: bytes | None, field: str, reason: str) -> None:
    values = [encoded(event("before")), given, encoded(event("after"))]
    headers = [None, [("ce_source", b"shop"), ("trace", b"\x00\x01")], None]
    block = block_of(values, first_offset=40, keys=[b"k1", b"k2", b"k3"])
    block = Block(block.topic, 0, block.offsets, block.keys, values, block.timestamps_ms, headers)
    intake = task()
    output = intake.process([block], NOW_MS)
    (letter,) = letters(output)
    assert letter["field"] == field
    assert reason in letter["error"]
    assert (letter["origin_topic"], letter["origin_partition"], letter["origin_offset"]) == (block.topic, 0, 42)
    assert (letter["key"], letter["payload"]) == (b"k2", given)
    assert letter["headers"] == {"ce_source": b"shop", "trace": b"\x00\x01"}
    assert [out.keys for out in output.records] == [[b"k1", b"k3"], [b"k2"]]
    assert [(each["event_id"], each["origin_offset"]) for each in ledger(output)] == [("before", 40), ("after", 44)]
    assert intake.counts.as_json() == dict.fromkeys(intake.counts.as_json(), 0) | {
        "consumed": 3,
        "accepted": 2,
        "invalid": 1,
    }


def test_of_several_faults_the_first_field_is_named() -> None:
    output = task().process([block_of_events([event("", value=7.0, occurred_at=0)])], NOW_MS)
    assert [letter["field"] for letter in letters(output)] == ["event_id"]


def test_bounds_themselves_are_allowed() -> None:
    events = [
        event("x" * 128, occurred_at=NOW_MS - 30 * DAY_MS, certainty=0.0),
        event("y", occurred_at=NOW_MS + 300_000, certainty=1.0, text="é" * 8_192),
        event("z", kind="rating", value=5.0, prediction_id=None),
        event("w", kind="rating", value=1.0, subject_id=""),
    ]
    output = task().process([block_of_events(events)], NOW_MS)
    assert [each["event_id"] for each in ledger(output)] == ["x" * 128, "y", "z", "w"]
    assert not letters(output)


def test_faults_in_several_blocks_keep_their_own_origin() -> None:
    explicit = block_of_events([event("a"), event("b", value=2.0)])
    implicit = block_of_events(
        [event("c", kind="click", value=9.0), event("d", kind="dwell", value=30.0)], catalogue.FEEDBACK_IMPLICIT
    )
    outcome = block_of_events([event("e", kind="conversion")], catalogue.FEEDBACK_OUTCOME)
    output = task().process([explicit, implicit, outcome], NOW_MS)
    assert [(each["origin_topic"], each["origin_offset"]) for each in letters(output)] == [
        (catalogue.FEEDBACK_EXPLICIT, 2),
        (catalogue.FEEDBACK_IMPLICIT, 0),
    ]
    found = [
        (each["event_id"], each["channel"], each["origin_topic"], each["origin_offset"]) for each in ledger(output)
    ]
    assert found == [
        ("a", "explicit", catalogue.FEEDBACK_EXPLICIT, 0),
        ("d", "implicit", catalogue.FEEDBACK_IMPLICIT, 2),
        ("e", "outcome", catalogue.FEEDBACK_OUTCOME, 0),
    ]


def test_an_entry_is_normalised_weighed_and_pseudonymous() -> None:
    given = event("e", kind="rating", value=4.0, certainty=0.5, segment="new", subject_id="ann@example.org")
    (entry,) = ledger(task().process([block_of_events([given])], NOW_MS))
    assert entry.pop("subject").startswith("1-")
    assert entry == {
        "event_id": "e",
        "prediction_id": "p-e",
        "target_id": "item-1",
        "channel": "explicit",
        "kind": "rating",
        "value": 0.75,
        "certainty": 0.5,
        "segment": "new",
        "retracts": None,
        "occurred_at": NOW_MS,
        "source": "web",
        "weight": 0.5,
        "suspicion": 0.0,
        "reasons": None,
        "origin_topic": catalogue.FEEDBACK_EXPLICIT,
        "origin_partition": 0,
        "origin_offset": 0,
        "alarm": None,
    }


def test_an_event_without_consent_is_written_nowhere_not_even_when_it_is_invalid() -> None:
    intake = task()
    output = intake.process(
        [block_of_events([event("a", consent=False), event("b", consent=False, value=9.0)])], NOW_MS
    )
    assert not output.records
    assert intake.counts.withheld == 2
    assert ledger(intake.process([block_of_events([event("a")])], NOW_MS))[0]["event_id"] == "a"


def test_the_first_of_duplicates_wins_within_a_block_across_topics_and_across_calls() -> None:
    intake = task()
    outcome = block_of_events([event("a", kind="retained")], catalogue.FEEDBACK_OUTCOME)
    first = intake.process([block_of_events([event("a", value=1.0), event("a", value=0.0)]), outcome], NOW_MS)
    second = intake.process([block_of_events([event("a"), event("b")])], NOW_MS)
    assert [(each["event_id"], each["value"]) for each in ledger(first)] == [("a", 1.0)]
    assert [each["event_id"] for each in ledger(second)] == ["b"]
    assert intake.counts.duplicate == 3


def test_an_id_may_come_again_after_the_window() -> None:
    intake = task(dedup_window_ms=1_000)
    times = [NOW_MS, NOW_MS + 1_000, NOW_MS + 1_001, NOW_MS + 2_000]
    for at in times:
        intake.process([block_of_events([event(f"clock-{at}", occurred_at=at)])], NOW_MS)
        intake.process([block_of_events([event("again", occurred_at=at)])], NOW_MS)
    assert intake.counts.accepted == len(times) + 2


def test_an_attacked_target_goes_to_quarantine_with_reasons_and_is_not_accepted_later() -> None:
    bursts = BurstSettings(events_min=5)
    intake = task(bursts=bursts)
    past = [
        event(f"calm-{i}", subject_id=f"u{i % 50}", target_id=f"t{i % 997}", occurred_at=NOW_MS - 100_000 + 10 * i)
        for i in range(9_000)
    ]
    attack = [
        event(f"bad-{i}", subject_id=f"new-{i}", target_id="victim", value=0.0, occurred_at=NOW_MS + i)
        for i in range(100)
    ]
    intake.process([block_of_events(past)], NOW_MS)
    output = intake.process([block_of_events(attack)], NOW_MS)
    held = records_of(output.records, catalogue.QUARANTINE)
    assert len(held) > 80
    assert all(each["suspicion"] >= bursts.quarantine_at and "burst: " in each["reasons"] for each in held)
    down = [each for each in ledger(output) if each["suspicion"] >= bursts.downweight_at]
    assert all(each["weight"] == pytest.approx(1 - each["suspicion"]) and each["reasons"] for each in down)
    assert all(each["weight"] == 1 and each["reasons"] is None for each in ledger(output) if each not in down)
    again = intake.process([block_of_events(attack)], NOW_MS)
    assert not again.records
    assert intake.counts.quarantined == len(held)
    assert intake.counts.duplicate == 100
    assert not task(bursts_enabled=False).process([block_of_events(attack)], NOW_MS).records[1:]


def test_nothing_in_nothing_out() -> None:
    intake = task()
    assert not intake.process([], NOW_MS).records
    assert not intake.process([block_of([])], NOW_MS).records
    assert intake.counts.consumed == 0


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"pseudonym_key": b"short"}, "pseudonym_key"),
        ({"dedup_window_ms": 0}, "dedup_window_ms"),
        ({"record_bytes_max": 1}, "record_bytes_max"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        IntakeSettings(**{"pseudonym_key": KEY, **settings})


def test_the_key_is_not_shown() -> None:
    assert "test's" not in repr(IntakeSettings(KEY))
