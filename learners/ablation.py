"""What features add to a learner: test-then-train with all of them, and without some of them, on the same examples.

A learner "without" features gets them as constants, which tell nothing, from its first example on. Differences are
paired, example by example. What another feature tells as well is no loss, so of two copies neither adds anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rheostat.learners.batch_means import Interval, auc_influence, batch_means
from rheostat.learners.contract import Batch, FeatureSchema, Floats, Learner
from rheostat.learners.features import check_batch, select
from rheostat.learners.prequential import LOG_LOSS_CLIP

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Value:
    """What a learner loses without these features: log loss in nats an example, and ROC AUC, with bounds.

    Above 0 they help. auc is None where one of the classes is absent.
    """

    features: tuple[str, ...]
    nats: Interval
    auc: Interval | None


def ablate(
    new_learner: Callable[[], Learner],
    batch: Batch,
    without: Sequence[Collection[str]],
    block_rows: int,
    progress: Progress = lambda done: None,
) -> Floats:
    """Return the scores (len(without), rows) of learners that lack features: each block is scored, then learned.

    One learner for each entry of `without`; all see the same examples, in order. `progress` is told how many rows are
    done. Raises ValueError for a batch of another schema or an unknown feature.
    """
    learners = [new_learner() for _ in without]
    schema = learners[0].schema
    check_batch(schema, batch)
    # Any constant tells nothing; this one lies where the learner expects the numbers.
    constants = batch.numeric[:block_rows].mean(axis=0)
    columns = [_columns(schema, names) for names in without]
    scores = np.empty((len(without), len(batch)))
    for start in range(0, len(batch), block_rows):
        rows = slice(start, min(start + block_rows, len(batch)))
        block = select(batch, rows)
        for row, (learner, (numbers, texts)) in enumerate(zip(learners, columns, strict=True)):
            seen = _neutral(block, numbers, texts, constants)
            scores[row, rows] = learner.predict(seen)
            learner.learn(seen)
            learner.flush()
        progress(rows.stop)
    return scores


def value_of(
    features: Sequence[str], batch: Batch, full: Floats, without: Floats, confidence: float, first: int = 0
) -> Value:
    """Return the value of features, given the scores of all rows with them and without them.

    Rows before `first` do not count: there a learner with more inputs may only have been sooner to learn.
    """
    counted = slice(first, None)
    batch, full, without = select(batch, counted), full[counted], without[counted]
    losses = _log_loss(without, batch.label) - _log_loss(full, batch.label)
    positive = batch.label >= 0.5
    influences = [auc_influence(score, positive, batch.weight) for score in (full, without)]
    auc = None
    if influences[0] is not None and influences[1] is not None:
        auc = batch_means(influences[0] - influences[1], batch.weight, confidence)
    return Value(tuple(features), batch_means(losses, batch.weight, confidence), auc)


def each_of(confidence: float, count: int) -> float:
    """Return the confidence that each of so many intervals needs for all to hold at once (Bonferroni)."""
    return 1.0 - (1.0 - confidence) / max(count, 1)


def _columns(schema: FeatureSchema, names: Collection[str]) -> tuple[list[int], list[int]]:
    if unknown := [name for name in names if name not in (*schema.numeric, *schema.categorical)]:
        raise ValueError(f"{unknown[0]!r} is no feature of {schema.id}")
    return (
        [at for at, name in enumerate(schema.numeric) if name in names],
        [at for at, name in enumerate(schema.categorical) if name in names],
    )


def _neutral(block: Batch, numbers: list[int], texts: list[int], constants: Floats) -> Batch:
    """Return the block with some columns constant; a text is then missing."""
    numeric, categorical = block.numeric, block.categorical
    if numbers:
        numeric = numeric.copy()
        numeric[:, numbers] = constants[numbers]
    if texts:
        categorical = categorical.copy()
        categorical[:, texts] = 0
    return replace(block, numeric=numeric, categorical=categorical)


def _log_loss(score: Floats, label: Floats) -> Floats:
    clipped = np.clip(score, LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP)
    return np.asarray(-(label * np.log(clipped) + (1.0 - label) * np.log1p(-clipped)), np.float64)


def finite(interval: Interval | None) -> dict[str, float | int | None]:
    """Return an interval as what JSON can hold: no infinity."""
    if interval is None:
        return {"mean": None, "lower": None, "upper": None, "batches": 0}
    return {name: None if math.isinf(each) else each for name, each in interval._asdict().items()}
