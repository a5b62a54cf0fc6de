"""Whatever bytes and headers come, intake goes on and accounts for every record, in flat memory."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Block, Headers
from rheostat.streams.intake.counts import Counts
from rheostat.streams.intake.memory import fresh_memory
from rheostat.streams.intake.placement import ORIGIN_HEADER
from rheostat.streams.intake.process import Intake
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.stage import IntakeTask, take_in
from tests.support.feedback import KEY, NOW_MS, encoded, event

PARTITIONS = 2
RECORDS = 1_000_000
BLOCK = 2_000
GROWTH_BYTES_MAX = 64 << 20
KINDS = dict(zip(catalogue.FEEDBACK, ("rating", "dwell", "conversion"), strict=True))
TOPICS = (*catalogue.FEEDBACK, catalogue.REKEYED, catalogue.RELEASED)


def originals() -> list[bytes]:
    """Valid events of all topics, with and without their optional fields."""
    full = {"certainty": 0.5, "segment": "s", "text": "grüße", "retracts": "e0"}
    return [
        encoded(event(f"e{topic}{number}", kind=kind, value=1.0 + number % 2, **fields), topic)
        for topic, kind in KINDS.items()
        for number in range(20)
        for fields in ({}, full, {"prediction_id": None})
    ]


def mutated(dice: random.Random, seeds: list[bytes]) -> bytes | None:
    """One payload: as it was, or broken in one of the ways that bytes break."""
    value = bytearray(dice.choice(seeds))
    way = dice.randrange(9)
    if way == 0:
        return None
    if way == 1:
        return bytes(value[: dice.randrange(len(value))])
    if way == 2:
        return bytes(value) + dice.randbytes(dice.randrange(1, 40))
    if way == 3:
        return dice.randbytes(dice.randrange(0, 200))
    if way == 4:
        other = dice.choice(seeds)
        return bytes(value[: dice.randrange(len(value))] + other[dice.randrange(len(other)) :])
    for _ in range(dice.randrange(0, 4) if way < 8 else 1):
        # Past the five bytes of the wire format more often than not.
        at = dice.randrange(5 if dice.random() < 0.9 else 0, len(value))
        value[at] = dice.choice((0, 1, 2, 0x7F, 0x80, 0xFF, dice.randrange(256)))
    return bytes(value)


def some_headers(dice: random.Random) -> Headers | None:
    if dice.random() < 0.5:
        return None
    origins = (
        *(b"feedback.explicit/1/7", b"feedback.explicit/-1/7", b"feedback.implicit/9999999999999/1"),
        *(b"feedback.outcome/1/99999999999999999999", b"models/0/1", b"\xff\xfe//"),
    )
    names = (ORIGIN_HEADER, "ce_id", "ce_source", "", "\u2603", "x" * 300)
    return [
        (dice.choice(names), dice.choice((*origins, b"", dice.randbytes(dice.randrange(50)))))
        for _ in range(dice.randrange(4))
    ]


def blocks(dice: random.Random, records: int) -> Iterator[list[list[Block]]]:
    seeds, offset = originals(), 0
    for _ in range(records // (PARTITIONS * BLOCK)):
        yield [
            [
                Block(
                    dice.choice(TOPICS) if dice.random() < 0.3 else dice.choice(catalogue.FEEDBACK),
                    partition,
                    range(offset, offset + BLOCK),
                    [dice.choice((None, b"", b"p", dice.randbytes(8))) for _ in range(BLOCK)],
                    [mutated(dice, seeds) for _ in range(BLOCK)],
                    [NOW_MS] * BLOCK,
                    [some_headers(dice) for _ in range(BLOCK)] if dice.random() < 0.5 else None,
                )
            ]
            for partition in range(PARTITIONS)
        ]
        offset += BLOCK


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def run(records: int, seed: int) -> tuple[Counts, list[int]]:
    settings = IntakeSettings(KEY)
    intake = Intake(settings, PARTITIONS)
    tasks = [IntakeTask(intake, fresh_memory(settings)) for _ in range(PARTITIONS)]
    resident = []
    for each in blocks(random.Random(seed), records):
        for taken in take_in(tasks, each, NOW_MS):
            # Whatever goes out can be encoded as a record: nothing half done.
            assert all(len(out.keys) == len(out.values) == len(out.timestamps_ms) for out in taken.output.records)
        resident.append(resident_bytes())
    return sum((task.counts for task in tasks), Counts()), resident


def test_every_mutated_record_is_accounted_for() -> None:
    counts, _ = run(8_000, seed=1)
    assert counts.consumed == 8_000
    assert counts.imbalance == 0
    assert counts.invalid > 2_000
    assert counts.accepted > 50
    assert counts.forwarded > 50


@pytest.mark.slow
def test_a_million_mutated_records_are_accounted_for_in_flat_memory() -> None:
    counts, resident = run(RECORDS, seed=2)
    assert counts.consumed == RECORDS
    assert counts.imbalance == 0
    warm = len(resident) // 5
    assert max(resident[warm:]) - max(resident[: warm + 1]) < GROWTH_BYTES_MAX
