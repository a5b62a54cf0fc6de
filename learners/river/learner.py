"""`RiverLearner`: any classifier, regressor or anomaly detector of River behind the contract of learners."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats, Snapshot, Tensors
from rheostat.learners.digest import tensors_digest
from rheostat.learners.features import check_batch, select
from rheostat.learners.layout import check_settings, settings_tensor, take
from rheostat.learners.microbatch import MicroBatcher
from rheostat.learners.river import roles
from rheostat.learners.river.answers import scores
from rheostat.learners.river.build import build, names
from rheostat.learners.river.decode import decode
from rheostat.learners.river.encode import encode, named_classes
from rheostat.learners.river.export import export_of
from rheostat.learners.river.exported import RIVER, common_tensors
from rheostat.learners.river.inputs import times
from rheostat.learners.river.roles import Role
from rheostat.learners.river.settings import RiverSettings, inputs_of

BATCH_ROWS = 32


class RiverLearner:
    """An estimator of River as a learner; ValueError with the reason for one that cannot be.

    A classifier learns "positive" from labels of 1/2 and more; for labels in between use a regressor, whose answer is
    cut to [0, 1]. A detector scores how unusual a row is, whatever its label.
    An estimator that takes weights is given them; for any other a row of weight w is learned w times, fractions by
    chance (see `inputs.times`). Before the first row every score is 1/2.
    A row on which River's arithmetic fails is counted in `rows_failed`, and whatever it changed stays changed.
    """

    def __init__(self, schema: FeatureSchema, settings: RiverSettings) -> None:
        self._schema = schema
        self._settings = settings
        self._estimator, self._abilities = _made(settings)
        self._inputs = inputs_of(schema, settings, self._abilities.positive)
        # Frames have no columns of texts, and exported parameters no place for them.
        only_numbers = settings.categories == "inputs" or not schema.categorical
        rows = _batch_rows(settings.batch_rows, self._abilities, only_numbers)
        self._pending = MicroBatcher(schema, rows) if rows > 1 else None
        self._export = export_of(self._estimator, self._batched) if only_numbers else None
        self._told = _told(settings, self._batched)
        self._rows_seen = self._rows_given = self._rows_failed = 0

    @property
    def kind(self) -> str:
        """The kind of its parameters: "river/1", or one of `exported` where numbers are all that an answer takes."""
        return RIVER if self._export is None else self._export.kind

    @property
    def schema(self) -> FeatureSchema:
        """The inputs it takes."""
        return self._schema

    @property
    def rows_failed(self) -> int:
        """On how many rows River's arithmetic failed."""
        return self._rows_failed

    def learn(self, batch: Batch) -> None:
        """Learn from rows, in order: each by itself, or whenever `batch_rows` rows are there."""
        check_batch(self._schema, batch)
        for rows in self._parts(batch):
            self._learn(rows)

    def flush(self) -> None:
        """Learn from the rows that wait."""
        if self._pending is not None:
            for rows in self._pending.drain():
                self._learn(rows)

    def predict(self, batch: Batch) -> Floats:
        """Return the probability of a positive label (or the number, or the score), float64 (rows,) in [0, 1]."""
        check_batch(self._schema, batch)
        return scores(self._estimator, self._abilities, self._inputs, batch, self._trained, self._batched)

    def parameters(self) -> Tensors:
        """Return what `predictors.predictor` needs for this kind; for "river/1" that is the state, and River itself."""
        if self._export is None:
            return self._state()
        numbers = common_tensors(self._inputs.numbers, self._trained)
        return {**numbers, **self._export.tensors(self._estimator, self._inputs.names())}

    def _state(self) -> dict[str, NDArray[np.generic]]:
        return {
            "settings": settings_tensor(self._told),
            "counters": np.array([self._rows_seen, self._rows_given, self._rows_failed], np.int64),
            **encode(self._estimator),
        }

    def snapshot(self) -> Snapshot:
        """Return the full state, including rows that wait for their micro-batch."""
        waiting = {} if self._pending is None else self._pending.tensors()
        return Snapshot(self.kind, self._schema.id, {**self._state(), **waiting})

    def restore(self, snapshot: Snapshot) -> None:
        """Take over a state; ValueError for another kind, schema, settings or River, and nothing is changed then."""
        if (snapshot.kind, snapshot.schema_id) != (self.kind, self._schema.id):
            found = f"{snapshot.kind!r} of {snapshot.schema_id!r}"
            raise ValueError(f"snapshot is of {found}, expected {self.kind!r} of {self._schema.id!r}")
        fresh = RiverLearner(self._schema, self._settings)
        fresh._take_over(snapshot.tensors)
        self.__dict__ = fresh.__dict__

    def _take_over(self, tensors: Tensors) -> None:
        check_settings(tensors, self._told)
        counters = take(tensors, "counters", np.int64, (3,)).tolist()
        estimator = decode(tensors)
        if type(estimator) is not type(self._estimator):
            raise ValueError(
                f"the state is of {type(estimator).__qualname__}, not {type(self._estimator).__qualname__}"
            )
        if self._pending is not None:
            self._pending.restore(tensors)
        self._estimator = estimator
        self._rows_seen, self._rows_given, self._rows_failed = counters

    @property
    def _trained(self) -> bool:
        return self._rows_given > 0

    @property
    def _batched(self) -> bool:
        return self._pending is not None

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        if self._pending is not None:
            yield from self._pending.add(batch)
        else:
            yield select(batch, batch.weight > 0.0)

    def _learn(self, batch: Batch) -> None:
        weight = np.minimum(batch.weight, self._settings.weight_max)
        first, self._rows_seen = self._rows_seen, self._rows_seen + len(batch)
        if not self._abilities.weights:
            repeats = times(weight, first, self._settings.seed)
            batch, weight = select(batch, np.repeat(np.arange(len(batch)), repeats)), np.ones(int(repeats.sum()))
        self._rows_given += len(batch)
        with np.errstate(all="ignore"):
            if self._pending is None:
                self._learn_rows(batch, weight)
            elif len(batch):
                self._learn_batch(batch, weight)

    def _learn_rows(self, batch: Batch, weight: Floats) -> None:
        estimator, labels = self._estimator, self._labels(batch).tolist()
        for x, y, w in zip(self._inputs.rows(batch), labels, weight.tolist(), strict=True):
            try:
                if self._abilities.weights:
                    estimator.learn_one(x, y, w=w)
                elif self._abilities.labels:
                    estimator.learn_one(x, y)
                else:
                    estimator.learn_one(x)
            except ArithmeticError:
                self._rows_failed += 1

    def _learn_batch(self, batch: Batch, weight: Floats) -> None:
        label = self._labels(batch)
        labels = pd.Series(label.astype(np.float64) if self._abilities.number_labels else label)
        frame = self._inputs.frame(batch)
        try:
            if self._abilities.weights:
                self._estimator.learn_many(frame, labels, w=pd.Series(weight))
            else:
                self._estimator.learn_many(frame, labels)
        except ArithmeticError:
            self._rows_failed += len(batch)

    def _labels(self, batch: Batch) -> NDArray[Any]:
        return batch.label >= 0.5 if self._abilities.role is Role.CLASSIFIER else batch.label


def _made(settings: RiverSettings) -> tuple[Any, roles.Abilities]:
    """Return the estimator and what it can do; ValueError unless it always begins in the same state."""
    roles.check_allowed(names(settings.estimator))
    estimator, again = (build(settings.estimator, settings.seed) for _ in range(2))
    roles.role_of(estimator)
    state = encode(estimator)
    abilities = roles.abilities(estimator, named_classes(state))
    if tensors_digest(state) != tensors_digest(encode(again)):
        raise ValueError("it begins in another state each time: give it a seed")
    return estimator, abilities


def _batch_rows(asked: int | None, abilities: roles.Abilities, only_numbers: bool) -> int:
    batches = abilities.batches and only_numbers
    rows = (BATCH_ROWS if batches and not abilities.batch_is_a_step else 1) if asked is None else asked
    if rows < 1 or (rows > 1 and not batches):
        raise ValueError("batch_rows: River learns this one row by row; leave it out, or set 1")
    return rows


def _told(settings: RiverSettings, batched: bool) -> dict[str, Any]:
    """Return what a state says about itself, as JSON has it."""
    told = {**asdict(settings), "river": version("river"), "batched": batched}
    return json.loads(json.dumps(told))  # type: ignore[no-any-return]
