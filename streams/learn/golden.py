"""Golden inputs: what is known to be scored right within bounds, as a batch that a learner takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rheostat.learners.contract import Batch, FeatureSchema, Learner
from rheostat.learners.features import batch_from_columns
from rheostat.streams.learn.settings import Golden


class Wrong(NamedTuple):
    """A golden input, counting from 1, whose score is not within its bounds."""

    number: int
    score: float
    least: float
    most: float


class GoldenInputs:
    """Golden inputs of one feature set. Raises ValueError naming the input and the feature that is wrong."""

    def __init__(self, schema: FeatureSchema, golden: Sequence[Golden]) -> None:
        self._golden = tuple(golden)
        self._batch = _batch(schema, self._golden) if golden else None

    def __len__(self) -> int:
        return len(self._golden)

    def wrong(self, learner: Learner) -> Wrong | None:
        """Return the first input whose score is outside of its bounds, or no number; None if all are right."""
        if self._batch is None:
            return None
        scores = learner.predict(self._batch).tolist()
        for number, (score, each) in enumerate(zip(scores, self._golden, strict=True), 1):
            if not each.least <= score <= each.most:
                return Wrong(number, score, each.least, each.most)
        return None


def _batch(schema: FeatureSchema, golden: Sequence[Golden]) -> Batch:
    rows = [_row(schema, f"golden input {number}", each.features) for number, each in enumerate(golden, 1)]
    columns = [[row[name] for row in rows] for name in schema.categorical]
    numeric = np.array([[row[name] for name in schema.numeric] for row in rows], np.float64)
    return batch_from_columns(schema, numeric.reshape(len(rows), len(schema.numeric)), columns)


def _row(schema: FeatureSchema, what: str, features: Mapping[str, Any]) -> dict[str, Any]:
    given = {**features, **dict(schema.training_only)}
    known = (*schema.numeric, *schema.categorical)
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{what}: {unknown[0]!r} is not a feature of {schema.id}: {', '.join(known)}")
    for name in known:
        if name not in given:
            raise ValueError(f"{what}: has no feature {name!r}")
        if name in schema.categorical and not isinstance(given[name], str):
            raise ValueError(f"{what}: feature {name!r} must be a text, got {given[name]!r}")
        if name in schema.numeric and not _is_number(given[name]):
            raise ValueError(f"{what}: feature {name!r} must be a finite number, got {given[name]!r}")
    return given


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
