"""The simulated load: what it writes is what the codec writes, at the rate that was asked for."""

from __future__ import annotations

import numpy as np

from rheostat.schemas import catalogue, codec
from rheostat.schemas.hops import HEADER
from rheostat.streams.bench.load import SCHEMA, SimulatedLoad, feedback, predictions
from rheostat.streams.clock import WallClock
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.provision import create_topics

NOW_MS = 1_763_806_572_000


def test_records_are_what_the_codec_would_make_of_them() -> None:
    random = np.random.default_rng(1)
    texts = [f"{number:032x}" for number in (0, 7, 2**127)]
    ids = np.frombuffer("".join(texts).encode(), np.uint8).reshape(3, 32)
    features = random.normal(size=(3, len(SCHEMA.numeric)))
    made = predictions(ids, features, NOW_MS)
    for value, text, row in zip(made, texts, features, strict=True):
        record = codec.decode_record(catalogue.PREDICTIONS, value)
        assert (record["prediction_id"], record["numeric"], record["feature_set"]) == (text, row.tolist(), SCHEMA.id)
        assert codec.encode_record(catalogue.PREDICTIONS, record) == value
    events = feedback(ids, np.array([True, False, True]), np.array([0, 42, 4_999]), np.array([7, 0, 1_999]), NOW_MS)
    found = [codec.decode_record(catalogue.FEEDBACK_EXPLICIT, value) for value in events]
    assert [codec.encode_record(catalogue.FEEDBACK_EXPLICIT, record) for record in found] == events
    names = ("event_id", "prediction_id", "subject_id", "target_id", "value")
    assert [tuple(record[name] for name in names) for record in found] == [
        (f"e-{texts[0]}", texts[0], "u0000", "t0007", 1.0),
        (f"e-{texts[1]}", texts[1], "u0042", "t0000", 0.0),
        (f"e-{texts[2]}", texts[2], "u4999", "t1999", 1.0),
    ]


def test_feedback_follows_its_prediction_and_one_in_so_many_is_stamped() -> None:
    broker = MemoryBroker(WallClock())
    create_topics(broker, 2, 1)
    told: list[str] = []
    load = SimulatedLoad(broker.producer(), lambda ids, at: told.extend(ids), stamp_every=10)
    for _ in range(3):
        load.send(20)
    read = {
        topic: [
            (block, row)
            for number in range(2)
            for block in broker.log().read(topic, number)
            for row in range(len(block))
        ]
        for topic in (catalogue.PREDICTIONS, catalogue.FEEDBACK_EXPLICIT)
    }
    events = [
        (block.keys[row], codec.decode_record(block.topic, block.values[row]))
        for block, row in read[catalogue.FEEDBACK_EXPLICIT]
    ]
    keys = {block.keys[row] for block, row in read[catalogue.PREDICTIONS]}
    assert load.sent == len(events) == len(keys) == 60
    assert {key for key, _ in events} == keys
    assert sorted(record["event_id"] for _, record in events) == sorted(told)
    stamped = [block for block, row in read[catalogue.FEEDBACK_EXPLICIT] if block.headers and block.headers[row]]
    assert len(stamped) == 6
    assert all(block.headers is None for block, _ in read[catalogue.PREDICTIONS])
    assert {own[0][0] for block in stamped for own in block.headers or () if own} == {HEADER}
