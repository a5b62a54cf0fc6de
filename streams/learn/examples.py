"""Blocks of `examples` as a batch that a learner takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, repeat, starmap
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import types
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, Context, FeatureSchema, Floats
from rheostat.learners.features import SECOND, hash_columns, hash_value, select
from rheostat.streams.compiled import BYTES, FLOATS, INTS, compiled
from rheostat.streams.engine.block import Block
from rheostat.streams.models.manifest import TrainingRange
from rheostat.streams.packed_columns import own_columns

Offsets = NDArray[np.int64]

COLUMNS = (
    *("example_id", "feature_set", "numeric", "categorical", "label", "weight", "propensity", "segment", "score"),
    *("model", "label_age_ms", "predicted_at", "occurred_at", "action", "revision", "was_label", "was_weight"),
)
"""What is taken of an example: what learning, testing and cohorts need."""

_SEGMENT = FeatureSchema("segment", categorical=("segment",))
_BOOLS = types.Array(types.boolean, 1, "C")


class Revision(NamedTuple):
    """What an earlier example counts from now on: offset of the revision, id of the example, its label and weight.

    label: NaN where it stays as it was, as only the weight is known to have changed.
    """

    offset: int
    id: str
    label: float
    weight: float


class Revisions(NamedTuple):
    """Revisions of one run or several, in order, in columns."""

    offsets: Offsets
    ids: list[str]
    labels: Floats
    weights: Floats

    def each(self) -> Iterator[Revision]:
        """Yield one after the other."""
        return starmap(Revision, zip(self.offsets.tolist(), self.ids, self.labels, self.weights, strict=True))

    def within(self, start: int, end: int) -> Revisions:
        """Return those with offsets in [start, end)."""
        span = slice(*np.searchsorted(self.offsets, (start, max(start, end))).tolist())
        return Revisions(self.offsets[span], self.ids[span], self.labels[span], self.weights[span])


NO_REVISIONS = Revisions(np.zeros(0, np.int64), [], np.zeros(0), np.zeros(0))


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of some runs that are for one feature set, in order; all columns have the same length.

    `records` have the fields in COLUMNS. `runs` say where they come from and how many of each run these are. The end of
    one is the offset after the run as read, so a run without any such example still moves on. Revisions of earlier
    examples are among them, where they have features; `revisions` has all.
    """

    runs: tuple[TrainingRange, ...]
    offsets: Offsets
    records: pa.RecordBatch
    batch: Batch
    revisions: Revisions

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def filled(self) -> tuple[TrainingRange, ...]:
        """The runs that have examples here; all of them, where there are revisions, which may be of any."""
        return self.runs if self.revisions.ids else tuple(run for run in self.runs if run.count)

    def within(self, start: int, end: int) -> Examples:
        """Return the part of a single run with offsets in [start, end)."""
        (run,) = self.runs
        first, last = np.searchsorted(self.offsets, (start, max(start, end))).tolist()
        part = replace(run, start=max(start, run.start), end=min(end, run.end), count=last - first)
        records = self.records.slice(first, last - first)
        batch = select(self.batch, slice(first, last))
        return Examples((part,), self.offsets[first:last], records, batch, self.revisions.within(start, end))

    def without(self, start: int, end: int | None) -> list[Examples]:
        """Return what is left of a single run when offsets in [start, end) are taken out, in at most two runs."""
        (run,) = self.runs
        before = self.within(run.start, min(start, run.end))
        after = self.within(max(end, run.start), run.end) if end is not None else None
        return [part for part in (before, after) if part is not None and part.filled]


def decode_examples(blocks: Sequence[Block], schema: FeatureSchema, *, context: bool = False) -> Examples:
    """Decode blocks of `examples`, at least one, and keep those a learner of this feature set can learn from.

    With `context` the batch has one.

    Examples of other feature sets are left out, and so are those that do not fit the schema (wrong number of features,
    not finite, label outside [0, 1]): whoever wrote the prediction got them wrong, and no learner may fall over them.
    Raises Corrupt with topic, partition and offset when a record does not decode: the topic is ours.
    """
    records = own_columns(blocks, COLUMNS)
    offsets = np.concatenate([np.asarray(block.offsets, np.int64) for block in blocks])
    usable, revisions = _usable_rows(records, schema), NO_REVISIONS
    if (revised := _array(records.column("revision"))).any():
        revisions = _revisions(records, offsets, revised > 0)
        usable &= revised >= 0
    counts = [len(block) for block in blocks]
    if not usable.all():
        counts = [int(part.sum()) for part in np.split(usable, list(accumulate(counts))[:-1])]
        offsets, records = offsets[usable], records.filter(pa.array(usable))
    runs = tuple(
        TrainingRange(block.partition, block.offsets[0], block.next_offset, count)
        for block, count in zip(blocks, counts, strict=True)
    )
    return Examples(runs, offsets, records, _batch(records, schema, context), revisions)


def _revisions(records: pa.RecordBatch, offsets: Offsets, revised: NDArray[np.bool_]) -> Revisions:
    ids, sets = (records.column(name).filter(pa.array(revised)).to_pylist() for name in ("example_id", "feature_set"))
    label, weight = (_array(records.column(name))[revised] for name in ("label", "weight"))
    known = np.array([bool(each) for each in sets])
    return Revisions(offsets[revised], ids, np.where(known, label, np.nan), weight)


def _usable_rows(records: pa.RecordBatch, schema: FeatureSchema) -> NDArray[np.bool_]:
    ids, numeric, categorical = (records.column(name) for name in ("feature_set", "numeric", "categorical"))
    _, ends, letters = ids.buffers()
    usable: NDArray[np.bool_] = _usable(
        np.frombuffer(ends, np.int32),
        np.frombuffer(letters or b"", np.uint8),
        np.frombuffer(schema.id.encode(), np.uint8),
        _array(numeric.offsets),
        _array(numeric.values),
        len(schema.numeric),
        _array(categorical.offsets),
        len(schema.categorical),
        _array(records.column("label")),
        _array(records.column("weight")),
    )
    return usable


@compiled(_BOOLS(INTS, BYTES, BYTES, INTS, FLOATS, types.int64, INTS, types.int64, FLOATS, FLOATS))
def _usable(
    id_ends: Any,
    id_letters: Any,
    wanted: Any,
    numeric_ends: Any,
    numeric: Any,
    numeric_width: int,
    categorical_ends: Any,
    categorical_width: int,
    label: Any,
    weight: Any,
) -> Any:
    usable = np.zeros(len(label), np.bool_)
    for row in range(len(label)):
        id_at, at = id_ends[row], numeric_ends[row]
        if (
            id_ends[row + 1] - id_at != len(wanted)
            or numeric_ends[row + 1] - at != numeric_width
            or categorical_ends[row + 1] - categorical_ends[row] != categorical_width
            or not (0.0 <= label[row] <= 1.0 and 0.0 <= weight[row] < np.inf)
        ):
            continue
        same, finite = True, True
        for index in range(len(wanted)):
            same &= id_letters[id_at + index] == wanted[index]
        for index in range(numeric_width):
            finite &= np.isfinite(numeric[at + index])
        usable[row] = same and finite
    return usable


def _batch(records: pa.RecordBatch, schema: FeatureSchema, context: bool) -> Batch:
    return Batch(
        schema.id,
        _array(records.column("numeric").flatten()).reshape(records.num_rows, len(schema.numeric)),
        category_hashes(records, schema),
        _array(records.column("label")),
        _array(records.column("weight")),
        _context(records, schema) if context else None,
    )


def category_hashes(records: pa.RecordBatch, schema: FeatureSchema) -> NDArray[np.uint64]:
    """Return what `hash_columns` would; each category that occurs is looked at once, however many rows have it."""
    rows, width = records.num_rows, len(schema.categorical)
    hashes = np.empty((rows, width), np.uint64)
    if not width:
        return hashes
    coded = records.column("categorical").flatten().dictionary_encode()
    texts, codes = coded.dictionary.to_pylist(), _array(coded.indices).reshape(rows, width)
    by_code = np.empty(len(texts), np.uint64)
    for index, name in enumerate(schema.categorical):
        occurs = np.zeros(len(texts), np.bool_)
        occurs[codes[:, index]] = True
        found = np.flatnonzero(occurs)
        of_found = map(hash_value, repeat(name.removesuffix(SECOND)), map(texts.__getitem__, found.tolist()))
        by_code[found] = np.fromiter(of_found, np.uint64, len(found))
        hashes[:, index] = by_code[codes[:, index]]
    return hashes


def _context(records: pa.RecordBatch, schema: FeatureSchema) -> Context:
    segments = hash_columns(_SEGMENT, [records.column("segment").to_pylist()], records.num_rows)
    actions = pc.index_in(records.column("action"), pa.array(schema.actions, pa.string())).fill_null(-1)
    return Context(
        _array(actions.cast(pa.int64())),
        _array(records.column("propensity").fill_null(np.nan)),
        _array(records.column("occurred_at").view(pa.int64())),
        segments[:, 0],
    )


def _array(column: pa.Array) -> Any:
    return column.to_numpy(zero_copy_only=True)
