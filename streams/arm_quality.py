"""How the arms of a model do on the labels that stand: those that answer on their own, shadows against what was shown.

An example belongs to the arm that was shown. A shadow is held against the same labels, so its loss minus that of what
was shown is paired, prediction by prediction, and much surer than the difference of two arms. Where a model chooses,
only predictions count for which the shadow chose what was shown: of anything else nobody knows what would have come.

Intervals are by batch means over the order of labels. Brier loss (label - score)^2, log loss in nats; an example counts
by its weight. Labels that have not come yet are missing in all arms alike.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.learners.ablation import finite
from rheostat.learners.batch_means import batch_means
from rheostat.learners.contract import Floats
from rheostat.learners.prequential import LOG_LOSS_CLIP
from rheostat.schemas import catalogue, codec
from rheostat.schemas.arms import variants_in
from rheostat.streams.engine.stage import Log
from rheostat.streams.serving.arms import DEFAULT, FALLEN_BACK
from rheostat.streams.standing import standing

CONFIDENCE = 0.95
SHADOWS_MAX = 2_000_000
"""Shadow predictions that are held in memory, of all arms together."""

_OF_EXAMPLES = (
    "example_id",
    "revision",
    "weight",
    "label",
    "score",
    "prediction_id",
    "model",
    "arm",
    "action",
    "occurred_at",
)
_OF_SHADOWS = ("shadow_of", "score", "action")


@dataclass(slots=True)
class _Predictions:
    shown: Counter[str] = field(default_factory=Counter)
    stood_in: int = 0
    shadows: dict[str, list[pa.RecordBatch]] = field(default_factory=lambda: defaultdict(list))
    held: int = 0


def compare_arms(log: Log, model: str, since_ms: int) -> dict[str, Any]:
    """Return counts, labels and losses by arm; None for what nothing is known of. An arm is there if it was asked."""
    predictions = _read_predictions(log, model, since_ms)
    examples = _read_examples(log, since_ms)
    arms = _arms_of(examples, model)
    shadows = {arm: pa.Table.from_batches(found) for arm, found in sorted(predictions.shadows.items())}
    answering = sorted({*predictions.shown, *(arm for arm in arms if arm is not None)})
    return {
        "model": model,
        "stood_in": predictions.stood_in,
        "arms": {arm: _of_arm(predictions.shown[arm], examples, arms == arm) for arm in answering},
        "shadows": {arm: _of_shadow(found, examples) for arm, found in shadows.items()},
    }


def _read_predictions(log: Log, model: str, since_ms: int) -> _Predictions:
    found = _Predictions()
    for records in _records(log, catalogue.PREDICTIONS, since_ms):
        arms = _arms_of(pa.Table.from_batches([records]), model)
        shadow = np.asarray(records.column("shadow_of").is_valid(), np.bool_)
        found.shown.update(arm for arm in arms[~shadow] if arm is not None)
        flags = zip(records.column("flags").to_pylist(), arms, strict=True)
        found.stood_in += sum(arm is not None and FALLEN_BACK in own for own, arm in flags)
        for arm in {each for each in arms[shadow] if each is not None}:
            some = records.filter(pa.array(shadow & (arms == arm))).select(_OF_SHADOWS)
            if found.held < SHADOWS_MAX:
                found.shadows[arm].append(some)
                found.held += len(some)
    return found


def _read_examples(log: Log, since_ms: int) -> pa.Table:
    schema = codec.arrow_schema(catalogue.EXAMPLES)
    batches = [records.select(_OF_EXAMPLES) for records in _records(log, catalogue.EXAMPLES, since_ms)]
    found = pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in _OF_EXAMPLES])).combine_chunks()
    ids = found.column("example_id").combine_chunks() if len(found) else pa.array([], pa.string())
    kept = standing(ids, _numbers(found, "revision").astype(np.int64), _numbers(found, "weight"))
    return found.take(pa.array(kept)).sort_by("occurred_at")


def _records(log: Log, topic: str, since_ms: int) -> Iterator[pa.RecordBatch]:
    for partition in range(log.partitions(topic)):
        for block in log.read(topic, partition, since_ms=since_ms):
            yield codec.decode_block(topic, block.values).batch


def _arms_of(records: pa.Table, model: str) -> NDArray[np.object_]:
    """Return the arm of each record within a model: that of its field `arm`, else the default where it answered."""
    encoded = (
        records.column("arm").combine_chunks().dictionary_encode() if len(records) else pa.array([]).dictionary_encode()
    )
    named = np.array([*(_variant(text, model) for text in encoded.dictionary.to_pylist()), None], np.object_)
    arms: NDArray[np.object_] = named[np.asarray(encoded.indices.fill_null(len(named) - 1), np.int64)]
    own = np.asarray(pc.equal(records.column("model"), model), np.bool_)
    arms[own & np.array([each is None for each in arms], np.bool_)] = DEFAULT
    return arms


def _variant(arm: str, model: str) -> str | None:
    try:
        return variants_in(arm).get(model)
    except ValueError:
        return None


def _of_arm(predictions: int, examples: pa.Table, own: NDArray[np.bool_]) -> dict[str, Any]:
    some = examples.filter(pa.array(own)) if len(examples) else examples
    label, weight = _numbers(some, "label"), _numbers(some, "weight")
    losses = _losses(label, _numbers(some, "score"))
    means = {"label": label, **losses}
    return {
        "predictions": predictions,
        "examples": len(some),
        **{name: finite(batch_means(each, weight, CONFIDENCE)) if len(some) else None for name, each in means.items()},
    }


def _of_shadow(shadows: pa.Table, examples: pa.Table) -> dict[str, Any]:
    places = pc.index_in(examples.column("prediction_id"), value_set=shadows.column("shadow_of").combine_chunks())
    known = np.asarray(places.is_valid(), np.bool_) if len(examples) else np.zeros(0, np.bool_)
    some = examples.filter(pa.array(known))
    theirs = shadows.take(places.filter(pa.array(known)))
    same = _same(some.column("action").to_pylist(), theirs.column("action").to_pylist())
    compared, theirs = some.filter(pa.array(same)), theirs.filter(pa.array(same))
    label, weight = _numbers(compared, "label"), _numbers(compared, "weight")
    own, shown = _losses(label, _numbers(theirs, "score")), _losses(label, _numbers(compared, "score"))
    found: dict[str, Any] = {
        "predictions": len(shadows),
        "examples": len(compared),
        "same_action": float(same.mean()) if len(same) else None,
    }
    for name in own:
        told = (own[name], own[name] - shown[name]) if len(compared) else ()
        means = [finite(batch_means(each, weight, CONFIDENCE)) for each in told]
        found |= dict(zip((name, f"{name}_less_shown"), means or (None, None), strict=True))
    return found


def _same(shown: Sequence[str | None], own: Sequence[str | None]) -> NDArray[np.bool_]:
    return np.array([one == other for one, other in zip(shown, own, strict=True)], np.bool_)


def _losses(label: Floats, score: Floats) -> dict[str, Floats]:
    clipped = np.clip(score, LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP)
    log_loss = -(label * np.log(clipped) + (1.0 - label) * np.log1p(-clipped))
    return {"brier": (label - score) ** 2, "log_loss": log_loss}


def _numbers(records: pa.Table, name: str) -> Floats:
    return np.asarray(records.column(name), np.float64)
