"""What every feature of a set adds to a learner, measured by ablation (`learners.ablation`), and what copies add.

All learners see the same examples, test-then-train, so differences are paired; intervals are by batch means, which
allow for neighbouring examples that resemble each other, and hold all at once. The first fifth of the examples only
teaches: there, a learner with a copy of an input may be ahead because it learns faster. Cost: one learner for every
feature, one for every group of copies, and one with all features.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rheostat.learners import prequential
from rheostat.learners.ablation import Progress, Value, ablate, each_of, finite, value_of
from rheostat.learners.contract import Batch, FeatureSchema, Floats, Learner
from rheostat.learners.copies import Alike, alike, constant_shares
from rheostat.streams.errors import ConfigError

EXAMPLES_MIN = 500
CONFIDENCE = 0.95
_WARM_UP = 0.2
"""The share of the examples, the first ones, that are learned but do not count."""


@dataclass(frozen=True, slots=True)
class Valued:
    """The values of features, the best first, and of groups of copies. `full`: scores with all features.

    shares: of its commonest value, of every feature that was asked for.
    """

    schema: FeatureSchema
    examples: Batch
    full: Floats
    features: tuple[Value, ...]
    copies: tuple[tuple[Alike, Value], ...]
    shares: dict[str, float]
    learners: int
    seconds: float

    @property
    def counted(self) -> slice:
        """The examples that count: those after the warm-up."""
        return slice(warm_up(self.examples), None)


def warm_up(examples: Batch) -> int:
    """Return how many examples, the first ones, are learned but do not count."""
    return int(_WARM_UP * len(examples))


def value_features(
    new_learner: Callable[[], Learner],
    examples: Batch,
    only: Sequence[str],
    block_rows: int,
    progress: Progress = lambda done: None,
) -> Valued:
    """Return the value of the features in `only`, all where it is empty. Raises ConfigError."""
    schema = new_learner().schema
    asked = _asked(schema, only)
    _check(examples)
    started = time.monotonic()
    groups = [each for each in alike(schema, examples) if set(each.features) & set(asked)]
    without = [(), *((name,) for name in asked), *(each.features for each in groups)]
    scores = ablate(new_learner, examples, without, block_rows, progress)
    confidence = each_of(CONFIDENCE, len(without) - 1)
    values = [
        value_of(names, examples, scores[0], score, confidence, warm_up(examples))
        for names, score in zip(without[1:], scores[1:], strict=True)
    ]
    shares = constant_shares(schema, examples)
    return Valued(
        schema=schema,
        examples=examples,
        full=scores[0],
        features=tuple(sorted(values[: len(asked)], key=lambda each: -each.nats.mean)),
        copies=tuple(zip(groups, values[len(asked) :], strict=True)),
        shares={name: shares[name] for name in asked},
        learners=len(without),
        seconds=time.monotonic() - started,
    )


def as_json(valued: Valued) -> dict[str, Any]:
    """Return all of it as JSON."""
    score, label = valued.full[valued.counted], valued.examples.label[valued.counted]
    weight, nothing = valued.examples.weight[valued.counted], np.zeros(len(score), np.int64)
    (sums,) = prequential.cells(score, label, weight, [None] * len(score), nothing)
    return {
        "feature_set": valued.schema.id,
        "examples": len(valued.examples),
        "counted": len(score),
        "learners": valued.learners,
        "seconds": round(valued.seconds, 3),
        "confidence": CONFIDENCE,
        "all_features": {
            "log_loss": sums["log_loss_sum"] / sums["count"],
            "roc_auc": prequential.roc_auc(score, label),
        },
        "features": [
            {"feature": each.features[0], **value_json(each), "commonest": valued.shares[each.features[0]]}
            for each in valued.features
        ],
        "copies": [
            {"features": list(group.features), "likeness": group.least, **value_json(each)}
            for group, each in valued.copies
        ],
    }


def value_json(value: Value) -> dict[str, Any]:
    """Return the two intervals of a value as JSON."""
    return {"nats": finite(value.nats), "roc_auc": finite(value.auc)}


def _asked(schema: FeatureSchema, only: Sequence[str]) -> tuple[str, ...]:
    names = (*schema.numeric, *schema.categorical)
    if unknown := [name for name in only if name not in names]:
        raise ConfigError(f"--features: {unknown[0]!r} is no feature of {schema.id}; there are {', '.join(names)}")
    return tuple(name for name in names if name in only) if only else names


def _check(examples: Batch) -> None:
    if len(examples) < EXAMPLES_MIN:
        raise ConfigError(
            f"{len(examples)} examples are too few to tell what a feature adds; {EXAMPLES_MIN} are needed"
        )
    positive = examples.label >= 0.5
    if positive.all() or not positive.any():
        raise ConfigError("all examples have the same label: nothing can be told")
