"""Intake goes by the schema ids in force: a registry's, and those of older versions."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record, encode_record
from rheostat.schemas.documents import document
from rheostat.schemas.ids import COMMITTED
from rheostat.schemas.layouts import Layout
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.block import Block
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.engine.packed import packed
from rheostat.streams.intake.memory import restored_memory
from rheostat.streams.intake.process import Intake
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.stage import IntakeTask
from rheostat.streams.intake.tail import events_in, ids_in
from tests.support.feedback import KEY, NOW_MS, block_of, create_topics, event
from tests.support.schema_ids import ids_in_force
from tests.unit.schemas.older import value_of
from tests.unit.streams.intake.test_stage import ledger, letters, task

OLD_ID, UNKNOWN_ID = 900, 901
NEW_IDS = {name: number + 1_000 for name, number in COMMITTED.ids.items()}


def without(schema: str, *fields: str) -> Layout:
    """A schema before it had some fields."""
    avro = copy.deepcopy(dict(document(schema)))
    avro["fields"] = [field for field in avro["fields"] if field["name"] not in fields]
    return Layout(schema, avro)


def cut(record: Mapping[str, Any], older: Layout) -> dict[str, Any]:
    """What an older version has of a record."""
    return {field["name"]: record[field["name"]] for field in older.document["fields"]}


def block(values: Iterable[bytes], topic: str = catalogue.FEEDBACK_EXPLICIT) -> Block:
    return block_of(list(values), topic=topic)


def test_events_of_an_older_version_are_accepted_in_their_order_and_unknown_ones_are_not() -> None:
    older = without(catalogue.FEEDBACK_EXPLICIT, "certainty", "text")
    events = [event(f"e-{at}") for at in range(4)]
    values = [
        value_of(older, number, cut(each, older)) for number, each in zip((OLD_ID, UNKNOWN_ID), events[:2], strict=True)
    ]
    with ids_in_force(COMMITTED.replaced({}, {OLD_ID: older})):
        values += [
            encode_record(catalogue.FEEDBACK_EXPLICIT, events[2]),
            value_of(older, OLD_ID, cut(events[3], older)),
        ]
        output = task().process([block(values)], NOW_MS)
        assert [each["event_id"] for each in ledger(output)] == ["e-0", "e-2", "e-3"]
        (letter,) = letters(output)
    assert letter["payload"] == values[1]
    assert "schema id 901 is not known" in letter["error"]


def test_everything_is_written_under_the_ids_in_force() -> None:
    """And read: what comes under the committed ids is refused then."""
    ours = encode_record(catalogue.FEEDBACK_EXPLICIT, event("ours"))
    with ids_in_force(COMMITTED.replaced(NEW_IDS, {})):
        theirs = encode_record(catalogue.FEEDBACK_EXPLICIT, event("theirs"))
        output = task().process([block([ours, theirs])], NOW_MS)
        assert [each["event_id"] for each in ledger(output)] == ["theirs"]
        assert len(letters(output)) == 1
    for out in output.records:
        header = b"\0" + NEW_IDS[out.topic].to_bytes(4, "big")
        assert all((value or b"").startswith(header) for value in out.values)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_is_restored_does_not_depend_on_the_version_it_was_written_under(share: float) -> None:
    events_in_order = [encode_record(catalogue.FEEDBACK_EXPLICIT, event(f"e-{at}")) for at in range(200)]
    entries = ledger(task().process([block(events_in_order)], NOW_MS))
    optional = [field["name"] for field in document(catalogue.LEDGER)["fields"] if "default" in field]
    older = without(catalogue.LEDGER, optional[-1])
    rng = np.random.default_rng(1)
    values = [
        value_of(older, OLD_ID, cut(each, older)) if rng.random() < share else encode_record(catalogue.LEDGER, each)
        for each in entries
    ]
    with ids_in_force(COMMITTED.replaced({}, {OLD_ID: older})):
        run = packed(block(values, catalogue.LEDGER))
        found, events = ids_in(catalogue.LEDGER, run), events_in(catalogue.LEDGER, run)
        assert decode_record(catalogue.LEDGER, values[0])["event_id"] == "e-0"
    present = packed(block((encode_record(catalogue.LEDGER, each) for each in entries), catalogue.LEDGER))
    np.testing.assert_array_equal(found, ids_in(catalogue.LEDGER, present))
    expected = events_in(catalogue.LEDGER, present)
    for name in ("targets", "targeted", "actors", "known", "kinds", "values", "times_ms"):
        np.testing.assert_array_equal(getattr(events, name), getattr(expected, name))


def test_after_an_upgrade_what_the_former_version_accepted_is_known() -> None:
    """The ledger changed: it is read back under its former id, and its events are duplicates."""
    events = block(encode_record(catalogue.FEEDBACK_EXPLICIT, event(f"e-{at}")) for at in range(50))
    former = Layout(catalogue.LEDGER, document(catalogue.LEDGER))
    former_id = COMMITTED.id_of(catalogue.LEDGER)
    broker = MemoryBroker(ManualClock(NOW_MS))
    create_topics(broker, 1)
    producer = broker.producer()
    for out in task().process([events], NOW_MS).records:
        for key, value in zip(out.keys, out.values, strict=True):
            producer.send(out.topic, key, value, timestamp_ms=NOW_MS, partition=0)
    producer.close()
    settings = IntakeSettings(KEY)
    with ids_in_force(COMMITTED.replaced({catalogue.LEDGER: OLD_ID}, {former_id: former})):
        restored = IntakeTask(Intake(settings, 1), restored_memory(settings, 0, {}, broker.log(), NOW_MS))
        again = restored.process([events, block([encode_record(catalogue.FEEDBACK_EXPLICIT, event("new"))])], NOW_MS)
        assert [each["event_id"] for each in ledger(again)] == ["new"]
    assert restored.counts.duplicate == 50
