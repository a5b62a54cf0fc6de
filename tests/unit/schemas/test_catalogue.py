"""The topics as a whole: complete, consistent with the schemas, and kept long enough."""

from __future__ import annotations

import pytest

from rheostat.schemas import catalogue
from rheostat.schemas.catalogue import (
    ALARMS,
    COMMAND,
    CORRECTIONS,
    DEADLETTER,
    EXAMPLES,
    FEEDBACK,
    FOREVER,
    LEDGER,
    MANIFEST,
    PREDICTIONS,
    QUARANTINE,
    REKEYED,
    RELEASED,
    TOPICS,
    topic_settings,
)
from rheostat.schemas.documents import document, names
from rheostat.schemas.ids import COMMITTED

DEDUP_WINDOW_MS = 24 * 60 * 60 * 1000


def test_topics_schemas_and_ids_are_the_same_set() -> None:
    own = {name for name, topic in TOPICS.items() if not topic.carries}
    assert own | {MANIFEST, COMMAND} == set(names()) == set(COMMITTED.ids)
    assert {schema for topic in TOPICS.values() for schema in topic.carries} <= own


def test_every_topic_constant_is_in_the_table() -> None:
    constants = {value for name, value in vars(catalogue).items() if name.isupper() and isinstance(value, str)}
    assert constants == set(TOPICS) | {MANIFEST, COMMAND}


def test_topics_that_hold_stage_state_outlive_the_window_and_lose_nothing_inside_it() -> None:
    for name in (LEDGER, QUARANTINE, EXAMPLES, PREDICTIONS):
        topic = TOPICS[name]
        assert topic.retention_ms > DEDUP_WINDOW_MS
        assert not topic.compacted
        assert topic.config()["cleanup.policy"] == "delete"


def test_what_is_made_from_a_record_can_stay_in_its_partition() -> None:
    data = {*FEEDBACK, REKEYED, RELEASED, PREDICTIONS, LEDGER, QUARANTINE, DEADLETTER, EXAMPLES, ALARMS, CORRECTIONS}
    assert {name for name, topic in TOPICS.items() if topic.co_partitioned} == data
    partitions = {name: count for name, count, _ in topic_settings(data_partitions=12)}
    assert {name for name, count in partitions.items() if count == 12} == data
    assert {count for name, count in partitions.items() if name not in data} == {1}


def test_a_record_that_fits_a_feedback_topic_fits_the_dead_letters() -> None:
    largest = max(TOPICS[name].record_bytes_max for name in FEEDBACK)
    assert TOPICS[DEADLETTER].record_bytes_max >= largest + 64 * 1024


def test_compacted_topics_are_those_with_state() -> None:
    assert {name for name, topic in TOPICS.items() if topic.compacted} == {"models", "models.state", "watch.state"}
    assert all(topic.retention_ms == FOREVER for topic in TOPICS.values() if topic.compacted)


def test_three_replicas_need_two_acknowledgements() -> None:
    assert {config["min.insync.replicas"] for _, _, config in topic_settings(4, 1)} == {"1"}
    assert {config["min.insync.replicas"] for _, _, config in topic_settings(4, 3)} == {"2"}


@pytest.mark.parametrize(("partitions", "replication"), [(0, 1), (1, 0)])
def test_impossible_counts_are_refused(partitions: int, replication: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        topic_settings(partitions, replication)


@pytest.mark.parametrize("schema", names())
def test_every_field_is_documented_and_optional_ones_default_to_null(schema: str) -> None:
    avro = document(schema)
    assert avro["doc"].endswith(".")
    for field in avro["fields"]:
        assert field["doc"].strip(), field["name"]
        if isinstance(field["type"], list):
            assert field["type"][0] == "null"
            assert field["default"] is None
