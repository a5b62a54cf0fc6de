"""Evaluations of examples by a model that does not change, as a learn stage writes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rheostat.learners.contract import Batch, Floats
from rheostat.learners.platt import PlattScaling
from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import Block
from rheostat.streams.learn import evaluation
from rheostat.streams.learn.examples import decode_examples
from rheostat.streams.models.version import Version
from tests.support.examples import SCHEMA, an_example

HOUR = 3_600_000
T0 = 1_760_000_400_000


class Scored:
    """A model that scores by the first feature."""

    schema = SCHEMA

    def predict(self, batch: Batch) -> Floats:
        scores: Floats = 1.0 / (1.0 + np.exp(-batch.numeric[:, 0]))
        return scores


def evaluated(
    records: list[dict[str, Any]], calibration: PlattScaling | None = None, *, now_ms: int = T0
) -> dict[str, Any]:
    """Evaluate examples as one block, and read the record as it was written."""
    values = [codec.encode_record(catalogue.EXAMPLES, each) for each in records]
    count = len(values)
    block = Block(catalogue.EXAMPLES, 0, list(range(count)), [b"k"] * count, values, [T0] * count)
    examples = decode_examples([block], SCHEMA)
    learner: Any = Scored()
    made = evaluation.evaluate(
        "toy", Version(0, 1), learner, examples, learned=True, now_ms=now_ms, calibration=calibration
    )
    return codec.decode_record(catalogue.EVALUATIONS, evaluation.encode(made))


def example(number: int, **changes: Any) -> dict[str, Any]:
    random = np.random.default_rng(number)
    given = {
        "segment": ["a", None][number % 2],
        "predicted_at": T0 + (number % 3) * HOUR,
        "weight": float(random.choice([0.5, 1.0, 2.0])),
        "propensity": [None, 0.01, 0.5][number % 3],
        "score": float(random.random()),
        "model": ["toy", "other"][number % 5 == 0],
    }
    return an_example(number) | given | changes
