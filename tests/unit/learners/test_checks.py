"""Both learners keep every law, and for every law there is a learner that breaks it and is found out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rheostat.learners.checks import FURTHER_LAWS, LAWS, LawBroken, check_learner
from rheostat.learners.contract import Batch, FeatureSchema, Floats, Learner, Predictor, Snapshot, Tensors
from rheostat.learners.deep.hashed_mlp import HashedMLP
from rheostat.learners.deep_settings import DeepSettings
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.learners.predictors import predictor
from rheostat.learners.running_scale import RunningScale
from tests.unit.learners.support import NUMERIC, SCHEMAS

DEEP = DeepSettings(table_bits=8, batch_rows=32)


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam", "ftrl"])
def test_linear_keeps_every_law(schema: FeatureSchema, optimizer: str) -> None:
    settings = LinearSettings(optimizer=optimizer)  # type: ignore[arg-type]
    check_learner(lambda: RiverLinear(schema, settings), predictor)


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("batch_rows", [pytest.param(1, marks=pytest.mark.slow), 7, 50])
def test_linear_keeps_every_law_with_any_batch(schema: FeatureSchema, batch_rows: int) -> None:
    check_learner(lambda: RiverLinear(schema, LinearSettings(batch_rows=batch_rows, learning_rate=0.1)), predictor)


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("memory_rows", [None, 1_000.0])
def test_deep_keeps_every_law(schema: FeatureSchema, memory_rows: float | None) -> None:
    check_learner(lambda: HashedMLP(schema, replace(DEEP, memory_rows=memory_rows)), predictor)


class ChangesInput(RiverLinear):
    def learn(self, batch: Batch) -> None:
        super().learn(batch)
        batch.numeric[:1] = 0.0


class KeepsInput(RiverLinear):
    def __init__(self, schema: FeatureSchema) -> None:
        super().__init__(schema)
        self.kept: list[Batch] = []

    def learn(self, batch: Batch) -> None:
        self.kept.append(batch)

    def flush(self) -> None:
        for batch in self.kept:
            super().learn(batch)
        self.kept = []
        super().flush()


class LearnsFromPrediction(RiverLinear):
    def predict(self, batch: Batch) -> Floats:
        scores = super().predict(batch)
        self._scale.update(batch.numeric)
        return scores


class PeeksAtLabels(RiverLinear):
    def predict(self, batch: Batch) -> Floats:
        return super().predict(batch) * 0.5 + batch.label * 0.5


class GivesLogits(RiverLinear):
    def predict(self, batch: Batch) -> Floats:
        scores = np.clip(super().predict(batch), 1e-9, 1.0 - 1e-9)
        logits: Floats = np.log(scores / (1.0 - scores))
        return logits


class GivesAwayArrays(RiverLinear):
    def __init__(self, schema: FeatureSchema) -> None:
        super().__init__(schema)
        self.own = np.ones(1)

    def snapshot(self) -> Snapshot:
        snapshot = super().snapshot()
        return replace(snapshot, tensors={**snapshot.tensors, "own": self.own})


class ForgetsItsScale(RiverLinear):
    def restore(self, snapshot: Snapshot) -> None:
        super().restore(snapshot)
        self._scale = RunningScale(len(self.schema.numeric), True, 5.0)


class SharesHistory(RiverLinear):
    """Its snapshot holds a read-only window on an array that goes on changing."""

    def __init__(self, schema: FeatureSchema) -> None:
        super().__init__(schema)
        self.rows = np.zeros(1)

    def learn(self, batch: Batch) -> None:
        self.rows += float((batch.weight > 0.0).sum())
        super().learn(batch)

    def snapshot(self) -> Snapshot:
        snapshot, window = super().snapshot(), self.rows.view()
        window.flags.writeable = False
        return replace(snapshot, tensors={**snapshot.tensors, "rows": window})

    def restore(self, snapshot: Snapshot) -> None:
        super().restore(snapshot)
        self.rows = np.array(snapshot.tensors["rows"], np.float64)


class GivesAWindow(RiverLinear):
    """Its parameters hold a read-only window on an array that goes on changing, which it does not say."""

    def __init__(self, schema: FeatureSchema) -> None:
        super().__init__(schema)
        self.rows = np.zeros(1)

    def learn(self, batch: Batch) -> None:
        self.rows += float((batch.weight > 0.0).sum())
        super().learn(batch)

    def restore(self, snapshot: Snapshot) -> None:
        super().restore(snapshot)
        self.rows = np.zeros(1)

    def parameters(self) -> Tensors:
        window = self.rows.view()
        window.flags.writeable = False
        return {**super().parameters(), "rows": window}


class HidesWhatItTouched(RiverLinear):
    def touched_rows(self) -> dict[str, NDArray[np.int64]]:
        return {"weights": np.array([0])}


class NamesItsInstances(RiverLinear):
    numbers = itertools.count()

    def parameters(self) -> Tensors:
        return {**super().parameters(), "made": np.array([next(self.numbers)])}


class TakesAnything(RiverLinear):
    def restore(self, snapshot: Snapshot) -> None:
        super().restore(replace(snapshot, kind=self.kind, schema_id=self.schema.id))


class TakesAnyBatch(RiverLinear):
    def learn(self, batch: Batch) -> None:
        super().learn(replace(batch, schema_id=self.schema.id))


class SeesTheUnseen(RiverLinear):
    def learn(self, batch: Batch) -> None:
        super().learn(replace(batch, weight=np.maximum(batch.weight, 1e-9)))


class IgnoresWeight(RiverLinear):
    def learn(self, batch: Batch) -> None:
        super().learn(replace(batch, weight=(batch.weight > 0.0).astype(np.float64)))


class CutsWhereItIsHandedOver(RiverLinear):
    def learn(self, batch: Batch) -> None:
        super().learn(batch)
        super().flush()


class FallsOverLargeNumbers(RiverLinear):
    def predict(self, batch: Batch) -> Floats:
        wild = (np.abs(batch.numeric) > 1e100).any(axis=1)
        return np.where(wild, np.nan, super().predict(batch))


class RemembersEverything(RiverLinear):
    """Its snapshot holds a number for every row, as a table of ids without a bound would."""

    def __init__(self, schema: FeatureSchema) -> None:
        super().__init__(schema)
        self.seen = np.zeros(0)

    def learn(self, batch: Batch) -> None:
        super().learn(batch)
        self.seen = np.concatenate([self.seen, np.repeat(batch.label[batch.weight > 0.0], 64)])

    def snapshot(self) -> Snapshot:
        snapshot = super().snapshot()
        return replace(snapshot, tensors={**snapshot.tensors, "seen": self.seen.copy()})

    def restore(self, snapshot: Snapshot) -> None:
        super().restore(snapshot)
        self.seen = np.array(snapshot.tensors["seen"], np.float64)


class LearnsTheOpposite(RiverLinear):
    """One step there and another one back do not lead to where one was."""

    def unlearn(self, batch: Batch) -> None:
        self.learn(replace(batch, label=1.0 - batch.label))
        self.flush()


class LearnsTheAverage(RiverLinear):
    def predict(self, batch: Batch) -> Floats:
        return super().predict(replace(batch, numeric=np.zeros_like(batch.numeric)))


BROKEN: list[tuple[type[RiverLinear], str]] = [
    (ChangesInput, "the input is not changed"),
    (KeepsInput, "the input is not kept"),
    (LearnsFromPrediction, "predict changes nothing"),
    (PeeksAtLabels, "predict changes nothing"),
    (GivesLogits, "scores are probabilities"),
    (GivesAwayArrays, "parameters and snapshot are copies"),
    (ForgetsItsScale, "a restored learner continues exactly"),
    (SharesHistory, "a snapshot stays as it was taken"),
    (GivesAWindow, "changes of parameters are told"),
    (HidesWhatItTouched, "changes of parameters are told"),
    (NamesItsInstances, "equal state gives equal bytes"),
    (TakesAnything, "what is foreign is refused"),
    (TakesAnyBatch, "what is foreign is refused"),
    (SeesTheUnseen, "weight 0 is not seen"),
    (IgnoresWeight, "weight moves the model"),
    (CutsWhereItIsHandedOver, "only order and flushes matter"),
    (FallsOverLargeNumbers, "the state stays finite"),
    (RemembersEverything, "memory is bounded"),
    (LearnsTheOpposite, "what is taken back leaves no trace"),
    (LearnsTheAverage, "it learns"),
]


@pytest.mark.parametrize(("broken", "law"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_who_breaks_a_law_is_found_out(broken: Callable[[FeatureSchema], Learner], law: str) -> None:
    with pytest.raises(LawBroken) as caught:
        check_learner(lambda: broken(NUMERIC))
    assert caught.value.law == law


def test_every_law_has_someone_who_breaks_it() -> None:
    assert {law for _, law in BROKEN} == set(LAWS)


def test_a_law_that_is_excused_is_not_checked() -> None:
    check_learner(lambda: LearnsTheAverage(NUMERIC), excused={"it learns": "it answers the same for every row"})


def test_a_further_law_is_checked_when_it_is_asked_for() -> None:
    """Logistic regression makes one step twice as far where two rows make two steps."""
    (law,) = FURTHER_LAWS
    with pytest.raises(LawBroken) as caught:
        check_learner(lambda: RiverLinear(NUMERIC), also=[law])
    assert caught.value.law == law


@pytest.mark.parametrize("wrong", [{"also": ["it flies"]}, {"excused": {"it flies": "it is heavy"}}])
def test_a_law_that_does_not_exist_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no such law: it flies"):
        check_learner(lambda: RiverLinear(NUMERIC), **wrong)


def test_a_server_that_scores_differently_is_found_out() -> None:
    class Shifted:
        def __init__(self, inner: Predictor) -> None:
            self.inner = inner

        def predict(self, batch: Batch) -> Floats:
            return self.inner.predict(batch) + 1e-5

    with pytest.raises(LawBroken, match="served scores"):
        check_learner(
            lambda: RiverLinear(NUMERIC), lambda kind, schema, tensors: Shifted(predictor(kind, schema, tensors))
        )
