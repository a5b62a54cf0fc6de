"""Which kinds of signals a version learned from last, for all rows and for rows with a certain text. No one's data.

A version says up to where in `examples` it has learned; the last ones before that are read, at most `EXAMPLES_MAX`, and
stand for all versions of that minute. What is told are kinds with their share of the weight, rounded to `STEP`, each of
them only if it comes from `PEOPLE_MIN` people or more (for silence: from as many predictions).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.learners.features import hash_columns
from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.stage import Log
from rheostat.streams.models.apply import ModelVersion

EXAMPLES_MAX = 8_000
PEOPLE_MIN = 10
STEP = 0.05
_FRESH_MS = 60_000
_TABLES_MAX = 16
_SILENCE = "default"


class Share(NamedTuple):
    """A kind of signal, and the share of the weight that it had."""

    kind: str
    share: float


@dataclass(frozen=True, slots=True)
class Learned:
    """Examples that a version learned last: kinds as places in `names`, who they came from, hashes (rows, texts)."""

    names: tuple[str, ...]
    kind: NDArray[np.int64]
    person: NDArray[np.int64]
    weight: NDArray[np.float64]
    texts: NDArray[np.uint64]

    def shares(self, feature: int | None = None, value: int = 0) -> tuple[Share, ...]:
        """Return the kinds of all examples, or of those with this hash of a text, the largest share first."""
        rows = np.arange(len(self.kind)) if feature is None else np.flatnonzero(self.texts[:, feature] == value)
        kind, person, weight = self.kind[rows], self.person[rows], self.weight[rows]
        told = [at for at in range(len(self.names)) if len(np.unique(person[kind == at])) >= PEOPLE_MIN]
        total = float(weight[np.isin(kind, told)].sum())
        if not total:
            return ()
        found = [
            Share(self.names[at], round(round(float(weight[kind == at].sum()) / total / STEP) * STEP, 2)) for at in told
        ]
        return tuple(sorted((each for each in found if each.share), key=lambda each: (-each.share, each.kind)))


class RecentSignals:
    """Reads what versions learned last. For one thread at a time."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._kept: OrderedDict[tuple[str, str, int, int], Learned] = OrderedDict()

    def of(self, version: ModelVersion) -> Learned:
        """Return the examples that a version, or one published within the same minute, learned last."""
        facts = version.manifest.facts
        key = (facts.model, facts.schema.id, facts.version.epoch, facts.published_at_ms // _FRESH_MS)
        if key not in self._kept:
            self._kept[key] = self._read(version)
            if len(self._kept) > _TABLES_MAX:
                self._kept.popitem(last=False)
        return self._kept[key]

    def _read(self, version: ModelVersion) -> Learned:
        facts, found = version.manifest.facts, []
        for partition, end in sorted(facts.offsets.items()):
            start = max(0, end - EXAMPLES_MAX // len(facts.offsets))
            for block in self._log.read(catalogue.EXAMPLES, partition, start_offset=start, end_offset=end):
                records = codec.decode_block(catalogue.EXAMPLES, block.values).batch
                learned = pc.and_(pc.equal(records.column("feature_set"), facts.schema.id), _counts(records))
                found.append(records.filter(learned))
        schema = codec.arrow_schema(catalogue.EXAMPLES)
        return _table(version, pa.Table.from_batches(found, schema))


def _counts(records: pa.RecordBatch) -> pa.Array:
    return pc.and_(pc.greater(records.column("weight"), 0.0), pc.greater_equal(records.column("revision"), 0))


def _table(version: ModelVersion, records: pa.Table) -> Learned:
    schema = version.manifest.facts.schema
    kinds = records.column("kind").combine_chunks().dictionary_encode()
    # Nobody gave silence: it counts by prediction. Whoever is not named is one and the same.
    silent = pc.equal(records.column("kind"), _SILENCE)
    person = pc.if_else(silent, records.column("prediction_id"), pc.fill_null(records.column("subject"), ""))
    texts = records.column("categorical").to_pylist()
    columns = list(zip(*texts, strict=True)) if texts else [()] * len(schema.categorical)
    return Learned(
        tuple(kinds.dictionary.to_pylist()),
        np.asarray(kinds.indices, np.int64),
        np.asarray(person.combine_chunks().dictionary_encode().indices, np.int64),
        np.asarray(records.column("weight"), np.float64),
        hash_columns(schema, columns, len(texts)),
    )
