"""Several partition numbers in one call give what each would give by itself."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Block
from rheostat.streams.intake.memory import fresh_memory
from rheostat.streams.intake.process import Intake
from rheostat.streams.intake.settings import BurstSettings, IntakeSettings
from rheostat.streams.intake.stage import IntakeTask, take_in
from tests.support.feedback import KEY, NOW_MS, block_of, encoded, event

PARTITIONS = 3
SETTINGS = IntakeSettings(KEY, bursts=BurstSettings(events_min=2, actor_events_min=1))
KINDS = dict(zip(catalogue.FEEDBACK, ("thumb", "click", "conversion"), strict=True))

events = st.fixed_dictionaries(
    {},
    optional={
        "value": st.sampled_from([0.0, 7.0]),
        "consent": st.just(False),
        "target_id": st.sampled_from(["t1", "t2"]),
        "subject_id": st.sampled_from(["", "u1", "u2"]),
        "certainty": st.sampled_from([0.5, -1.0]),
        "occurred_at": st.integers(NOW_MS - 3_000, NOW_MS),
    },
)
rows = st.one_of(st.none(), st.just(b"garbage"), st.tuples(st.integers(0, 9), events))
calls = st.lists(st.lists(st.tuples(st.integers(0, PARTITIONS - 1), st.sampled_from(catalogue.FEEDBACK), rows)))


def blocks_of(call: list[tuple[int, str, Any]], first_offset: int) -> list[list[Block]]:
    blocks: list[list[Block]] = [[] for _ in range(PARTITIONS)]
    for number in range(PARTITIONS):
        for topic in catalogue.FEEDBACK:
            given_rows = [row for at, of, row in call if (at, of) == (number, topic)]
            if given_rows:
                values = [value_of(topic, row) for row in given_rows]
                keys: list[bytes | None] = [f"k{number}-{place}".encode() for place in range(len(values))]
                blocks[number].append(
                    block_of(values, topic=topic, partition=number, first_offset=first_offset, keys=keys)
                )
    return blocks


def value_of(topic: str, row: Any) -> bytes | None:
    if not isinstance(row, tuple):
        return row if row is None else bytes(row)
    number, fields = row
    return encoded(event(f"e{number}", **{"kind": KINDS[topic], **fields}), topic)


def new_tasks() -> list[IntakeTask]:
    intake = Intake(SETTINGS, PARTITIONS)
    return [IntakeTask(intake, fresh_memory(SETTINGS)) for _ in range(PARTITIONS)]


@settings(deadline=None)
@given(calls)
def test_together_is_as_each_on_its_own(history: list[list[tuple[int, str, Any]]]) -> None:
    together, alone = new_tasks(), new_tasks()
    for index, call in enumerate(history):
        blocks = blocks_of(call, 100 * index)
        taken = take_in(together, blocks, NOW_MS)
        expected = [task.process(own, NOW_MS) for task, own in zip(alone, blocks, strict=True)]
        assert [dataclasses.asdict(each.output) for each in taken] == [dataclasses.asdict(each) for each in expected]
        accepted = [sum(len(one.entries()) for one in each.accepted) for each in taken]
        ledgers = [[len(out) for out in each.records if out.topic == catalogue.LEDGER] for each in expected]
        assert accepted == [sum(sizes) for sizes in ledgers]
    assert [task.counts for task in together] == [task.counts for task in alone]
