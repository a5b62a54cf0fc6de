"""Examples to judge features by: the newest ones of the topic `examples`, or the labelled rows of a file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np
import pyarrow as pa

from rheostat.learners.contract import Batch, Context, FeatureSchema
from rheostat.learners.features import no_context, select
from rheostat.schemas import catalogue
from rheostat.streams.backtest.learner_rows import LearnerRows
from rheostat.streams.engine.stage import Log
from rheostat.streams.learn.examples import Examples, decode_examples
from rheostat.streams.standing import standing

Progress = Callable[[int], None]


def examples_of_log(
    log: Log, schema: FeatureSchema, since_ms: int, examples_max: int, progress: Progress = lambda read: None
) -> Batch:
    """Return the newest examples of a feature set, by the time of their label; those of one moment as they lie there.

    Only what stands counts, see `standing`. `progress` is told how many were read.
    """
    found: list[Examples] = []
    read = 0
    for partition in range(log.partitions(catalogue.EXAMPLES)):
        kept: deque[Examples] = deque()
        for block in log.read(catalogue.EXAMPLES, partition, since_ms=since_ms):
            kept.append(decode_examples([block], schema, context=True))
            while sum(map(len, kept)) - len(kept[0]) >= examples_max:
                kept.popleft()
            progress(read := read + len(block))
        found += [each for each in kept if len(each)]
    if not found:
        return _joined([_empty(schema)])
    batch = _joined([each.batch for each in found])
    ids = pa.concat_arrays([each.records.column("example_id") for each in found])
    revisions = np.concatenate([each.records.column("revision").to_numpy() for each in found])
    stands = standing(ids, revisions, batch.weight)
    assert batch.context is not None
    order = stands[np.argsort(batch.context.occurred_at_ms[stands], kind="stable")]
    return select(batch, order[-examples_max:])


def examples_of_rows(rows: LearnerRows, examples_max: int) -> Batch:
    """Return the newest labelled rows of a file, by the time of their label."""
    labelled = np.flatnonzero(rows.labelled)
    order = labelled[np.argsort(rows.label_times_ms[labelled], kind="stable")][-examples_max:]
    context = replace(no_context(len(order)), occurred_at_ms=rows.label_times_ms[order])
    if rows.propensity is not None:
        context = replace(context, propensity=rows.propensity[order])
    return replace(select(rows.batch, order), label=rows.label[order], weight=rows.weight[order], context=context)


def _joined(batches: Sequence[Batch]) -> Batch:
    contexts = [each.context or no_context(len(each)) for each in batches]
    context = Context(*(np.concatenate([getattr(each, part.name) for each in contexts]) for part in fields(Context)))
    numeric, categorical, label, weight = (
        np.concatenate([getattr(each, name) for each in batches])
        for name in ("numeric", "categorical", "label", "weight")
    )
    return Batch(batches[0].schema_id, numeric, categorical, label, weight, context)


def _empty(schema: FeatureSchema) -> Batch:
    categorical = np.zeros((0, len(schema.categorical)), np.uint64)
    return Batch(schema.id, np.zeros((0, len(schema.numeric))), categorical, np.zeros(0), np.zeros(0))
