"""A comparison of models is fair: one order, no label before its time, each as it would be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rheostat.learners.contract import Batch, FeatureSchema, Floats
from rheostat.learners.prequential import roc_auc
from rheostat.learners.river.build import build
from rheostat.streams.bench import quality
from rheostat.streams.bench.quality import RIVER, bench_quality, learner_outcome, river_outcome
from rheostat.streams.bench.quality_streams import STREAMS, WIKI, Stream, stream
from rheostat.streams.errors import ConfigError

SCHEMA = FeatureSchema("numbered@1", ("row", "x"))


def _numbered(rows: int, label: Sequence[float] | None = None) -> Stream:
    """A stream whose first feature is the number of its row; the label follows from the second."""
    x = np.random.default_rng(1).normal(size=rows)
    numeric = np.column_stack([np.arange(rows, dtype=np.float64), x])
    labels = (x > 0.0).astype(np.float64) if label is None else np.asarray(label, np.float64)
    batch = Batch(SCHEMA.id, numeric, np.zeros((rows, 0), np.uint64), labels, np.ones(rows))
    return Stream("numbered", SCHEMA, batch)


class Diary:
    """A learner, and an estimator of River's kind, that writes down what it was asked: ("score" or "learn", row)."""

    kind = "diary/1"
    schema = SCHEMA

    def __init__(self) -> None:
        self.entries: list[tuple[str, int]] = []

    def learn(self, batch: Batch) -> None:
        self.entries += [("learn", int(row)) for row in batch.numeric[:, 0]]

    def flush(self) -> None: ...

    def predict(self, batch: Batch) -> Floats:
        self.entries += [("score", int(row)) for row in batch.numeric[:, 0]]
        return np.linspace(0.0, 1.0, len(batch))

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        self.entries.append(("score", int(x["row"])))
        return {True: 0.5}

    def learn_one(self, x: dict[str, float], label: bool) -> None:
        self.entries.append(("learn", int(x["row"])))

    def parameters(self) -> Any: ...

    def snapshot(self) -> Any: ...

    def restore(self, snapshot: Any) -> None: ...


def _latest_known(entries: list[tuple[str, int]]) -> dict[int, int]:
    """By scored row, the last row that was learned before, -1 for none; every row is scored once and in order."""
    known, found = -1, dict[int, int]()
    for what, row in entries:
        if what == "learn":
            assert row == known + 1
            known = row
        else:
            assert row == len(found)
            found[row] = known
    return found


@pytest.mark.parametrize("delay", [0, 1, 30])
def test_a_label_is_learned_by_rivers_when_the_delay_is_over(delay: int) -> None:
    diary = Diary()
    river_outcome(diary, _numbered(100), delay)
    assert _latest_known(diary.entries) == {row: max(row - delay, 0) - 1 for row in range(100)}


@pytest.mark.parametrize("delay", [0, 1, 30])
@pytest.mark.parametrize("block", [1, 7, 64])
def test_a_label_is_learned_by_ours_no_sooner_than_by_rivers(delay: int, block: int) -> None:
    diary = Diary()
    learner_outcome(diary, _numbered(100), delay, block)
    assert _latest_known(diary.entries) == {row: max(row - row % block - delay, 0) - 1 for row in range(100)}


def test_an_estimator_of_river_scores_as_its_users_have_it() -> None:
    stream_ = _numbered(400)
    model, waiting, scores = build(RIVER["logistic regression"], 1), [], []
    for x, label in stream_.rows():
        scores.append(model.predict_proba_one(x)[True])
        waiting.append((x, label))
        if len(waiting) > 20:
            model.learn_one(*waiting.pop(0))
    again = river_outcome(build(RIVER["logistic regression"], 1), stream_, 20)
    assert again.auc == roc_auc(np.array(scores), stream_.batch.label)


def test_margins_are_above_the_best_of_rivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "OURS", ("bayes-logistic", "linear"))
    told: list[float] = []
    chosen = {name: RIVER[name] for name in ("logistic regression", "Gaussian naive Bayes")}
    found = bench_quality([_numbered(300)], 20, 10, river=chosen, progress=told.append)
    of_stream = found["streams"]["numbered"]
    assert of_stream["best_auc"] == max(each["auc"] for each in of_stream["river"].values())
    assert of_stream["river"][of_stream["best"]]["margin"] == 0.0
    assert {*of_stream["ours"]} == {*quality.OURS, f"river: {of_stream['best']}"}
    for each in of_stream["ours"].values():
        assert each["margin"] == pytest.approx(each["auc"] - of_stream["best_auc"], abs=1.1e-4)
    assert found["default_margin_min"] == of_stream["ours"][quality.DEFAULT]["margin"]
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_ten_of_rivers_can_be_built_and_learn() -> None:
    assert len(RIVER) == 10
    for spec in RIVER.values():
        assert 0.0 <= river_outcome(build(spec, 1), _numbered(40), 5).auc <= 1.0


def test_one_class_alone_has_no_auc() -> None:
    with pytest.raises(ValueError, match="labels are the same"):
        river_outcome(Diary(), _numbered(10, [0.0] * 10), 0)


@pytest.mark.parametrize(("name", "rows"), [("phishing", 1_250), ("bananas", 5_300), ("shuttle", 49_097)])
def test_rivers_streams_are_read_in_their_order(name: str, rows: int, tmp_path: Path) -> None:
    found = stream(name, tmp_path)
    assert len(found.batch) == rows
    assert {*found.batch.label.tolist()} == {0.0, 1.0}
    assert len(found.schema.numeric) == found.batch.numeric.shape[1]


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.tsv\.gz.*--data"):
        stream(WIKI, tmp_path)
    assert {*STREAMS} == {WIKI, "phishing", "bananas", "shuttle"}
