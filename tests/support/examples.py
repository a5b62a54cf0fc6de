"""Builders for examples, as the join writes them."""

from __future__ import annotations

import numpy as np

from rheostat.learners.contract import FeatureSchema
from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.broker import Producer

SCHEMA = FeatureSchema("toy@1", ("a", "b"), ("colour",))


def an_example(number: int, *, flipped: bool = False, at_ms: int = 1_760_000_000_000) -> dict[str, object]:
    """Return the example with this number: separable by a - b, with a colour; `flipped` gives it the wrong label."""
    draw = np.random.default_rng(number)
    a, b = draw.normal(size=2)
    label = float((a - b > 0) != flipped)
    return {
        "example_id": f"event-{number}",
        "prediction_id": f"prediction-{number}",
        "feature_set": SCHEMA.id,
        "numeric": [float(a), float(b)],
        "categorical": [["red", "green", ""][number % 3]],
        "label": label,
        "weight": 1.0,
        "propensity": None,
        "segment": "all",
        "target_id": None,
        "subject": None,
        "kind": "thumb",
        "score": 0.5,
        "model": "toy",
        "epoch": 0,
        "sequence": 0,
        "label_age_ms": 10,
        "predicted_at": at_ms,
        "occurred_at": at_ms + 10,
        "origin_topic": catalogue.FEEDBACK_EXPLICIT,
        "origin_partition": 0,
        "origin_offset": number,
    }


def send_examples(producer: Producer, numbers: range, *, flipped: bool = False) -> None:
    """Write examples, placed by their prediction."""
    for number in numbers:
        record = an_example(number, flipped=flipped)
        value = codec.encode_record(catalogue.EXAMPLES, record)
        key = str(record["prediction_id"]).encode()
        producer.send(catalogue.EXAMPLES, key, value, timestamp_ms=1_760_000_000_010)
