"""What is found in records read again is what decoding them gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas import catalogue
from rheostat.schemas.codec import BadRecord, decode_fields, encode_record
from rheostat.schemas.signals import NAMES, codes_of
from rheostat.streams.engine.block import Block
from rheostat.streams.engine.packed import Packed, packed
from rheostat.streams.intake.bursts import Events, events_of
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints
from rheostat.streams.intake.leading import leading_fields
from rheostat.streams.intake.tail import events_in, ids_in
from tests.unit.schemas.strategies import damaged, records

pa.array([""])  # pyarrow's first conversion imports pandas: not within a test that is timed

TOPICS = (catalogue.LEDGER, catalogue.QUARANTINE)
FIELDS = 7
ENTRIES = st.builds(
    lambda entry, kind: {**entry, "kind": kind or entry["kind"]}, records(TOPICS[0]), st.sampled_from([None, *NAMES])
)


def run_of(values: Sequence[bytes | None]) -> Packed:
    return packed(Block("topic", 0, range(len(values)), [None] * len(values), values, range(len(values))))


def rows(found: Fingerprints) -> list[tuple[int, int]]:
    return list(zip(found.low.tolist(), found.high.tolist(), strict=True))


def decoded(topic: str, values: Sequence[bytes | None]) -> tuple[Fingerprints, Events]:
    """Return what the records say by the codec."""
    batch = decode_fields(topic, values, FIELDS)
    numbers = np.asarray(batch.column("value").to_numpy(), np.float64)
    events = events_of(
        *(batch.column("target_id"), batch.column("subject"), codes_of(batch.column("kind"))),
        *(numbers, np.arange(len(values))),
    )
    return fingerprints(batch.column("event_id")), events


def same(found: Events, expected: Events) -> bool:
    pairs = [
        (found.targets, expected.targets),
        (found.actors, expected.actors),
        *((getattr(found, name), getattr(expected, name)) for name in ("targeted", "known", "kinds", "times_ms")),
    ]
    return all(map(np.array_equal, *zip(*pairs, strict=True))) and np.array_equal(
        found.values, expected.values, equal_nan=True
    )


@pytest.mark.parametrize("topic", TOPICS)
@given(st.lists(ENTRIES, max_size=8))
def test_ids_and_events_are_found_as_they_were_written(topic: str, entries: list[dict[str, object]]) -> None:
    values = [encode_record(topic, entry) for entry in entries]
    ids, events = decoded(topic, values)
    assert leading_fields(topic, run_of(values), FIELDS) is not None
    assert rows(ids_in(topic, run_of(values))) == rows(ids)
    assert same(events_in(topic, run_of(values)), events)


@given(records(catalogue.LEDGER), st.data())
def test_what_is_no_such_record_is_left_to_the_decoder(entry: dict[str, object], data: st.DataObject) -> None:
    good = encode_record(catalogue.LEDGER, entry)
    values = [good, data.draw(damaged(good)), good]
    found = leading_fields(catalogue.LEDGER, run_of(values), FIELDS)
    try:
        ids, _ = decoded(catalogue.LEDGER, values)
    except BadRecord:
        # All that it does not look at is whether strings are valid UTF-8.
        return
    assert found is None or rows(found.fingerprints("event_id")) == rows(ids)


def one_value() -> bytes:
    """Return an entry with nulls where it may have them."""
    entry = {**dict.fromkeys(("event_id", "subject", "channel", "kind"), "x" * 70), "value": 0.5}
    others = {"certainty": 1.0, "occurred_at": 0, "source": "s", "weight": 1.0, "suspicion": 0.0}
    origin = {"origin_topic": "t", "origin_partition": 0, "origin_offset": 0}
    return encode_record(catalogue.LEDGER, {**entry, **others, **origin})


@pytest.mark.parametrize("branch", [1, 3, 4, 255])
def test_what_is_neither_a_string_nor_null_is_refused(branch: int) -> None:
    value = one_value()
    found = leading_fields(catalogue.LEDGER, run_of([value]), 2)
    assert found is not None
    at = int(found.begins[1, 0]) - 1
    assert leading_fields(catalogue.LEDGER, run_of([value[:at] + bytes([branch]) + value[at + 1 :]]), 2) is None


@pytest.mark.parametrize("count", [1, FIELDS])
def test_a_record_cut_within_its_first_fields_is_refused(count: int) -> None:
    value = one_value()
    batch = [leading_fields(catalogue.LEDGER, run_of([value, value[:size]]), count) for size in range(len(value))]
    found = leading_fields(catalogue.LEDGER, run_of([value]), count)
    assert found is not None
    least = int(found.ends[-1, 0])
    assert [size for size, each in enumerate(batch) if each is None] == list(range(least))


@pytest.mark.parametrize(
    "bad", [None, b"", b"\x00\x00\x00\x00\x05", b"\x00\x00\x00\x00\x05\xff\xff\xff\xff\xff\xff\x01"]
)
def test_what_has_no_first_field_is_a_bad_record(bad: bytes | None) -> None:
    with pytest.raises(BadRecord):
        ids_in(catalogue.LEDGER, run_of([bad]))
