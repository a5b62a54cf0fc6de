from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas import catalogue
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.engine.block import Block
from rheostat.streams.intake.memory import fresh_memory
from rheostat.streams.intake.placement import ORIGIN_HEADER, as_written, places
from rheostat.streams.intake.process import Intake
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.stage import IntakeTask
from tests.support.feedback import KEY, NOW_MS, block_of, encoded, event, key_of, records_of

ids = st.one_of(st.none(), st.text(max_size=20))


@settings(deadline=None)
@given(st.lists(st.tuples(ids, st.text(min_size=1, max_size=20))), st.integers(1, 12))
def test_an_event_belongs_where_kafkas_rule_puts_its_prediction_or_else_its_subject(
    rows: list[tuple[str | None, str]], partitions: int
) -> None:
    columns = {
        "prediction_id": pa.array([row[0] for row in rows], pa.string()),
        "subject_id": pa.array([row[1] for row in rows], pa.string()),
    }
    expected = [partition_for((row[0] or row[1]).encode(), partitions) for row in rows]
    assert places(pa.RecordBatch.from_pydict(columns), partitions).tolist() == expected


def task(partitions: int) -> IntakeTask:
    bounds = IntakeSettings(KEY)
    return IntakeTask(Intake(bounds, partitions), fresh_memory(bounds))


def sent_to(partition: int, events: list[dict[str, Any]], headers: Any = None) -> Block:
    block = block_of([encoded(each) for each in events], partition=partition, keys=[b"another key"] * len(events))
    return Block(block.topic, partition, block.offsets, block.keys, block.values, block.timestamps_ms, headers)


def test_events_of_other_partitions_are_forwarded_and_come_out_as_if_they_had_been_put_right() -> None:
    events = [event(f"e{i}") for i in range(200)]
    traced = [[("trace", b"7")] for _ in events]
    sender = task(4)
    output = sender.process([sent_to(1, events, traced)], NOW_MS)
    own = [each["event_id"] for each in records_of(output.records, catalogue.LEDGER)]
    assert own == [each["event_id"] for each in events if partition_for(key_of(each), 4) == 1]
    moved = [out for out in output.records if out.topic == catalogue.REKEYED]
    assert {out.partition for out in moved} == {0, 2, 3}
    assert sender.counts.forwarded == sum(map(len, moved)) == 200 - len(own)
    assert not sender.counts.imbalance

    for out in moved:
        assert [partition_for(key or b"", 4) for key in out.keys] == [out.partition] * len(out)
        arrived = Block(out.topic, out.partition, range(len(out)), out.keys, out.values, out.timestamps_ms, out.headers)
        receiver = task(4)
        result = receiver.process([arrived], NOW_MS)
        entries = records_of(result.records, catalogue.LEDGER)
        belonging = [i for i, each in enumerate(events) if partition_for(key_of(each), 4) == out.partition]
        assert [each["event_id"] for each in entries] == [f"e{i}" for i in belonging]
        origins = [(each["origin_topic"], each["origin_partition"], each["origin_offset"]) for each in entries]
        assert origins == [(catalogue.FEEDBACK_EXPLICIT, 1, 2 * i) for i in belonging]
        assert {written.partition for written in result.records} == {out.partition}
        assert receiver.counts.forwarded == 0


def test_a_record_forwarded_twice_keeps_its_first_origin_and_other_headers() -> None:
    origin = (ORIGIN_HEADER, b"feedback.implicit/7/42")
    record = event("e", kind="click", prediction_id="p")
    elsewhere = (partition_for(b"p", 3) + 1) % 3
    block = Block(
        catalogue.REKEYED,
        elsewhere,
        [9],
        [b"p"],
        [encoded(record, catalogue.FEEDBACK_IMPLICIT)],
        [NOW_MS],
        [[("trace", b"7"), origin]],
    )
    (out,) = task(3).process([block], NOW_MS).records
    assert out.headers == [[("trace", b"7"), origin]]


def test_a_rekeyed_record_of_nowhere_is_a_dead_letter() -> None:
    for headers in (None, [None], [[(ORIGIN_HEADER, b"models/0/1")]], [[(ORIGIN_HEADER, b"feedback.explicit/x/1")]]):
        block = Block(catalogue.REKEYED, 0, [5], [b"k"], [encoded(event("e"))], [NOW_MS], headers)
        intake = task(1)
        (letter,) = records_of(intake.process([block], NOW_MS).records, catalogue.DEADLETTER)
        assert (letter["field"], letter["origin_topic"], letter["origin_offset"]) == ("headers", catalogue.REKEYED, 5)
        assert intake.counts.invalid == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(catalogue.FEEDBACK), st.integers(0, 3), st.integers(0, 99))))
def test_rekeyed_records_become_the_blocks_they_were(origins: list[tuple[str, int, int]]) -> None:
    headers = [[(ORIGIN_HEADER, f"{topic}/{partition}/{offset}".encode())] for topic, partition, offset in origins]
    values = [str(row).encode() for row in range(len(origins))]
    count = len(origins)
    blocks = as_written(Block(catalogue.REKEYED, 0, range(count), values, values, [0] * count, headers))
    found = [
        (value, (each.topic, each.partition, at))
        for each in blocks
        for value, at in zip(each.values, each.offsets, strict=True)
    ]
    assert sorted(found, key=lambda pair: int(pair[0] or b"")) == list(zip(values, origins, strict=True))
