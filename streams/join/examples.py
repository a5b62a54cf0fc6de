"""Examples: the features of a prediction with a label, and revisions of those that were given before.

What teaches is a signal, the silence of the whole window (`default`), or all signals together (`reward`, see
`rewards`). A revision repeats the id of an example with the label and weight that it has from now on, and those it had.
Where all signals teach together, each is still noted as it comes: with a revision below 0, which nobody learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import OutBlock
from rheostat.streams.join.answers import Floats
from rheostat.streams.join.changes import Changes
from rheostat.streams.join.rows import Mask, Times
from rheostat.streams.join.settings import JoinSettings

SCHEMA = codec.arrow_schema(catalogue.EXAMPLES)
DEFAULT_KIND = "default"
REWARD_KIND = "reward"
OWN_KINDS = (DEFAULT_KIND, REWARD_KIND)
NOTED = -1
"""The revision of a signal that is noted only; further ones count down from it."""

_FROM_PREDICTION = (
    "feature_set",
    "numeric",
    "categorical",
    "propensity",
    "score",
    "model",
    "epoch",
    "sequence",
    "arm",
    "action",
)
_FROM_FEEDBACK = ("subject", "kind", "occurred_at", "origin_topic", "origin_partition", "origin_offset")
_FROM_CHANGE = ("prediction_id", "kind", "occurred_at", "origin_topic", "origin_partition", "origin_offset")


class Revised(NamedTuple):
    """What examples count: label and weight, those they had before, and the number of the revision."""

    labels: Floats
    weights: Floats
    was_labels: Floats
    was_weights: Floats
    revisions: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp]) -> Revised:
        """Return those of some examples."""
        return Revised(
            self.labels[rows], self.weights[rows], self.was_labels[rows], self.was_weights[rows], self.revisions[rows]
        )

    def columns(self) -> dict[str, pa.Array]:
        """Return them as columns of examples."""
        names = ("label", "weight", "was_label", "was_weight", "revision")
        return {name: pa.array(each) for name, each in zip(names, self, strict=True)}


def first_time(labels: Floats, weights: Floats, revision: int = 0) -> Revised:
    """Return what examples count that were not there before."""
    zeros = np.zeros(len(labels))
    return Revised(labels, weights, zeros, zeros, np.full(len(labels), revision))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Predictions, encoded, each with a ledger entry, the time of the label in ms, and what the two count."""

    predictions: Sequence[bytes]
    feedback: pa.RecordBatch
    times: Times
    counts: Revised

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class Changed:
    """Changes of events with the predictions these had answered, None where it is not known any more."""

    predictions: Sequence[bytes | None]
    changes: Changes
    times: Times
    counts: Revised

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class Closed:
    """Predictions, encoded, whose window closed, with their own times in ms; which were silent, and what they count."""

    predictions: Sequence[bytes]
    times: Times
    silent: Mask
    counts: Revised

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class Found:
    """What examples are to be made of, of one partition number."""

    partition: int
    pairs: Sequence[Pairs]
    changed: Changed | None
    closed: Closed | None


class _Examples(NamedTuple):
    """Their columns, and label times in ms (the record timestamps)."""

    batch: pa.RecordBatch
    times: Times


def examples(found: Sequence[Found], settings: JoinSettings) -> list[OutBlock | None]:
    """Return the examples of each partition number, None where there are none.

    All are made at once, sort by sort: a call costs more than a few records.
    """
    pairs = [[each for each in one.pairs if len(each)] for one in found]
    made, counts = [], [sum(map(len, own)) for own in pairs]
    if any(pairs):
        made.append(_joined(list(chain.from_iterable(pairs))))
    counts += [len(one.changed) if one.changed else 0 for one in found]
    if changed := [one.changed for one in found if one.changed]:
        made.extend(map(_revised, changed))
    counts += [len(one.closed) if one.closed else 0 for one in found]
    if closed := [(one.partition, one.closed) for one in found if one.closed]:
        made.append(_closed(closed, settings))
    if not made:
        return [None] * len(found)
    batch, times = made[0] if len(made) == 1 else _concatenated(made)
    values = codec.encode_block(catalogue.EXAMPLES, batch)
    keys = batch.column("prediction_id").view(pa.binary()).to_numpy(zero_copy_only=False).tolist()
    spans = [slice(*each) for each in pairwise(accumulate(counts, initial=0))]
    columns = keys, values, times.tolist()
    return [_dealt(one.partition, *columns, spans[at :: len(found)]) for at, one in enumerate(found)]


def _dealt(
    partition: int, keys: list[bytes], values: list[bytes], times: list[int], spans: Sequence[slice]
) -> OutBlock | None:
    """Return the part of one partition number, which is several spans of the whole."""
    own = [each for span in spans for each in keys[span]]
    if not own:
        return None
    return OutBlock(
        catalogue.EXAMPLES,
        partition,
        own,
        [each for span in spans for each in values[span]],
        [each for span in spans for each in times[span]],
    )


def _concatenated(made: Sequence[_Examples]) -> _Examples:
    return _Examples(pa.concat_batches([each.batch for each in made]), np.concatenate([each.times for each in made]))


def _joined(pairs: Sequence[Pairs]) -> _Examples:
    """Make one example of each pair.

    Segment and target are the prediction's; where it names none, the feedback's.
    """
    predictions = codec.decode_own(catalogue.PREDICTIONS, [value for each in pairs for value in each.predictions])
    feedback = pairs[0].feedback if len(pairs) == 1 else pa.concat_batches([each.feedback for each in pairs])
    columns = {name: predictions.column(name) for name in ("prediction_id", *_FROM_PREDICTION)}
    columns |= {name: feedback.column(name) for name in _FROM_FEEDBACK}
    columns |= {name: _first_of(predictions.column(name), feedback.column(name)) for name in ("segment", "target_id")}
    columns |= {
        "example_id": feedback.column("event_id"),
        "label_age_ms": pa.array(_ms(feedback) - _ms(predictions)),
        "predicted_at": predictions.column("occurred_at"),
    }
    columns |= _one([each.counts for each in pairs]).columns()
    return _Examples(_batch(columns), np.concatenate([each.times for each in pairs]))


def _revised(changed: Changed) -> _Examples:
    """Make one example of each change; without its prediction it has no features, but still says what counts."""
    values = [_unknown() if value is None else value for value in changed.predictions]
    known = np.array([value is not None for value in changed.predictions])
    predictions, changes = codec.decode_own(catalogue.PREDICTIONS, values), changed.changes.columns
    times = _ms(changes)
    predicted = np.where(known, _ms(predictions), times)
    columns = {name: predictions.column(name) for name in (*_FROM_PREDICTION, "segment", "target_id")}
    columns |= {name: changes.column(name) for name in _FROM_CHANGE} | {
        "example_id": changes.column("event_id"),
        "subject": pa.nulls(len(changed), pa.string()),
        "label_age_ms": pa.array(times - predicted),
        "predicted_at": pa.array(predicted),
    }
    return _Examples(_batch(columns | changed.counts.columns()), changed.times)


def _closed(closed: Sequence[tuple[int, Closed]], settings: JoinSettings) -> _Examples:
    """Make one example of each prediction.

    It has no feedback event of its own: its origin is `predictions`, with offset -1.
    """
    predictions = codec.decode_own(catalogue.PREDICTIONS, [value for _, each in closed for value in each.predictions])
    lengths = [len(each) for _, each in closed]
    count = sum(lengths)
    silent = pa.array(np.concatenate([each.silent for _, each in closed]))
    prefix = own_prefix(settings)
    columns = {name: predictions.column(name) for name in ("prediction_id", *_FROM_PREDICTION)} | {
        **{name: predictions.column(name) for name in ("segment", "target_id")},
        "example_id": pc.binary_join_element_wise(prefix, predictions.column("prediction_id"), ""),
        "subject": pa.nulls(count, pa.string()),
        "kind": pc.if_else(silent, DEFAULT_KIND, REWARD_KIND),
        "label_age_ms": pa.repeat(settings.window_ms, count),
        "predicted_at": predictions.column("occurred_at"),
        "occurred_at": pa.array(_ms(predictions) + settings.window_ms),
        "origin_topic": pa.repeat(catalogue.PREDICTIONS, count),
        "origin_partition": pa.array(np.repeat([partition for partition, _ in closed], lengths)),
        "origin_offset": pa.repeat(-1, count),
    }
    columns |= _one([each.counts for _, each in closed]).columns()
    return _Examples(_batch(columns), np.concatenate([each.times for _, each in closed]) + settings.window_ms)


def own_prefix(settings: JoinSettings) -> str:
    """Return what the ids of examples begin with that are made of a prediction alone."""
    return f"{DEFAULT_KIND if settings.reward == 'each' else REWARD_KIND}:"


@cache
def _unknown() -> bytes:
    """Return a prediction of which nothing is known."""
    blank: dict[str, Any] = dict.fromkeys(("prediction_id", "model", "feature_set", "source"), "")
    blank |= dict.fromkeys(("epoch", "sequence", "occurred_at"), 0) | {"numeric": [], "categorical": [], "score": 0.0}
    return codec.encode_record(catalogue.PREDICTIONS, blank)


def _one(counts: Sequence[Revised]) -> Revised:
    return counts[0] if len(counts) == 1 else Revised(*map(np.concatenate, zip(*counts, strict=True)))


def _batch(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    # Columns of another type are cast.
    return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _first_of(column: pa.Array, other: pa.Array) -> pa.Array:
    if column.null_count in (0, len(column)):
        return other if column.null_count else column
    return pc.coalesce(column, other)


def _ms(batch: pa.RecordBatch) -> Times:
    return np.asarray(batch.column("occurred_at").view(pa.int64()), np.int64)
