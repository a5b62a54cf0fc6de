"""A learner over a file: the stages of the pipeline themselves, in the order of event time, and no label too early."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rheostat.learners.contract import Batch, Learner
from rheostat.learners.digest import tensors_digest
from rheostat.learners.features import select
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.learners.prequential import roc_auc
from rheostat.schemas import catalogue
from rheostat.streams.backtest.learner import LearnerTrial, Tried, try_learner
from rheostat.streams.backtest.learner_mapping import learner_mapping
from rheostat.streams.backtest.learner_records import LearnerRecords
from rheostat.streams.backtest.learner_report import report
from rheostat.streams.backtest.learner_rows import LearnerRows, read_learner_rows
from rheostat.streams.backtest.periods import Periods
from rheostat.streams.engine.block import Block, OutBlock
from rheostat.streams.errors import ConfigError
from rheostat.streams.join.books import imbalance
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.stage import LearnStage, LearnTask
from rheostat.streams.models.signing import KeyRing, generate_signer
from rheostat.streams.models.version import Version
from tests.support.backtest_rows import GAP_MS, ROWS, START_MS, mapping_of, no_set, sales, write_rows
from tests.support.written_log import WrittenLog
from tests.unit.learners.support import schema_of, wiki_edits

BLOCK_ROWS = 100


def read(tmp_path: Path, rows: dict[str, list[Any]] | None = None, **changes: Any) -> LearnerRows:
    return read_learner_rows(write_rows(tmp_path / "sales.csv", rows or sales()), mapping_of(**changes))


def a_trial(**changes: Any) -> LearnerTrial:
    schema = mapping_of().schema

    def new_learner() -> Learner:
        return RiverLinear(schema, LinearSettings(batch_rows=8))

    given: dict[str, Any] = {"block_rows": BLOCK_ROWS, "join": JoinSettings()} | changes
    return LearnerTrial("toy", new_learner, **given)


def as_blocks(log: WrittenLog, written: list[OutBlock]) -> list[Block]:
    return [log.append(each.topic, each.keys, each.values, each.timestamps_ms) for each in written if len(each)]


def driven_by_hand(rows: LearnerRows, trial: LearnerTrial) -> LearnTask:
    """Return the learner that the two stages make of the same records, given to them by hand with the same cuts."""
    log, signer = WrittenLog(), generate_signer("learner")
    join = JoinStage(trial.join).open([0], {}, log, START_MS)
    stage = LearnStage(LearnSettings("toy", "learner-toy"), trial.new_learner, signer, KeyRing.of(signer))
    learn = stage.open([0], {}, log, START_MS)
    learn.process([], START_MS)
    records = LearnerRecords(rows, "toy", mapping_of().schema)
    for cut in records.cuts(trial.block_rows, trial.block_ms):
        count = cut.predictions.stop - cut.predictions.start
        shown = records.predictions(cut.predictions, np.full(count, 0.5), Version(0, 0))
        out = join.process(as_blocks(log, [shown, records.labels_of(cut.labels)]), cut.now_ms)
        if made := as_blocks(log, [each for each in out.records if each.topic == catalogue.EXAMPLES]):
            as_blocks(log, list(learn.process(made, cut.now_ms).records))
    return learn


@pytest.mark.parametrize("changes", [{}, {"block_rows": 37}, {"block_ms": 300_000}], ids=str)
def test_a_file_teaches_what_the_stages_learn_from_the_same_records_with_the_same_cuts(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    rows, trial = read(tmp_path), a_trial(**changes)
    tried, by_hand = try_learner(rows, trial), driven_by_hand(rows, trial)
    assert tried.digest == tensors_digest(by_hand.learner.parameters())
    assert tried.version == by_hand.progress.version
    assert tried.outcomes.tested["count"] == by_hand.tested == ROWS


def test_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    columns = sales()
    shuffled = np.random.default_rng(1).permutation(ROWS).tolist()
    mixed = {name: [values[at] for at in shuffled] for name, values in columns.items()}
    assert try_learner(read(tmp_path), a_trial()).digest == try_learner(read(tmp_path, mixed), a_trial()).digest


def served(tried: Tried) -> dict[int, float]:
    return dict(zip(tried.outcomes.row.tolist(), tried.outcomes.served.tolist(), strict=True))


@pytest.mark.parametrize("delay_rows", [0, 5, 300])
def test_no_label_is_seen_before_its_time(tmp_path: Path, delay_rows: int) -> None:
    """Turn over all labels that come after a moment: no score of a prediction until then may change."""
    moment = 700
    rows = read(tmp_path, label={"delay_rows": delay_rows})
    late = rows.label_times_ms > START_MS + GAP_MS * moment
    turned = replace(rows, label=np.where(late, 1.0 - rows.label, rows.label))
    join = JoinSettings(window_ms=86_400_000)
    one, other = (served(try_learner(each, a_trial(join=join))) for each in (rows, turned))
    assert [one[row] for row in range(moment)] == [other[row] for row in range(moment)]
    assert [one[row] for row in range(moment, ROWS)] != [other[row] for row in range(moment, ROWS)]


def test_until_the_first_label_comes_nothing_is_known(tmp_path: Path) -> None:
    join = JoinSettings(window_ms=86_400_000)
    tried = try_learner(read(tmp_path, label={"delay_rows": 400}), a_trial(join=join))
    scores = served(tried)
    assert {scores[row] for row in range(400)} == {0.5}
    assert len({scores[row] for row in range(600, ROWS)}) > 500


def test_what_can_be_known_is_learned(tmp_path: Path) -> None:
    outcomes = try_learner(read(tmp_path), a_trial()).outcomes
    later = outcomes.row >= ROWS // 2
    auc = roc_auc(outcomes.served[later], outcomes.label[later])
    assert auc is not None
    assert auc > 0.85


def test_labels_that_come_after_the_window_are_late_and_the_books_say_so(tmp_path: Path) -> None:
    columns = sales()
    columns["told"] = [at + (7_200_000 if row % 3 == 0 else 60_000) for row, at in enumerate(columns["at"])]
    mapped = {"columns": {"time": "at", "label": "sold", "label_time": "told"}, "label": {}}
    tried = try_learner(read(tmp_path, columns, **mapped), a_trial(join=JoinSettings(window_ms=1_800_000)))
    lost = tried.books["late"] + tried.books["dangling"] + tried.books["waiting"]
    assert lost == ROWS // 3
    assert tried.books["joined"] == len(tried.outcomes) == ROWS - lost
    assert not imbalance(tried.books)


def test_silence_teaches_the_default_label_once_the_window_is_over(tmp_path: Path) -> None:
    columns = sales()
    columns["sold"] = [1 if sold else None for sold in columns["sold"]]
    join = JoinSettings(window_ms=600_000, default_label=0.0)
    tried = try_learner(read(tmp_path, columns), a_trial(join=join))
    assert tried.labels == tried.books["joined"] == sum(each == 1 for each in columns["sold"])
    assert tried.books["default_emitted"] > 0
    silent = tried.outcomes.label_age_ms == 600_000
    assert silent.sum() == tried.books["default_emitted"]
    assert not tried.outcomes.label[silent].any()
    assert not imbalance(tried.books)


def test_a_default_label_is_taken_back_by_an_outcome_that_comes_late(tmp_path: Path) -> None:
    """Whoever had to wait counts once, with the outcome that came in the end."""
    columns = sales()
    late = [row % 3 == 0 for row in range(ROWS)]
    columns["sold"] = [1] * ROWS
    columns["told"] = [at + (1_800_000 if each else 60_000) for at, each in zip(columns["at"], late, strict=True)]
    mapped = {"columns": {"time": "at", "label": "sold", "label_time": "told"}, "label": {}}
    join = JoinSettings(window_ms=600_000, late_ms=7_200_000, default_label=0.0)
    outcomes = try_learner(read(tmp_path, columns, **mapped), a_trial(join=join)).outcomes
    assert sorted(outcomes.row.tolist()) == list(range(ROWS))
    assert outcomes.label.tolist() == [1.0] * ROWS


def test_a_prediction_with_two_outcomes_is_shown_once_and_teaches_twice(tmp_path: Path) -> None:
    columns = sales(200)
    twice = {name: [value for value in values for _ in range(2)] for name, values in columns.items()}
    tried = try_learner(read(tmp_path, twice), a_trial())
    assert tried.books["duplicate_predictions"] == 200
    assert len(tried.outcomes) == 400


def test_scores_that_were_logged_are_judged_on_the_same_examples(tmp_path: Path) -> None:
    columns = sales()
    columns["score"] = [1.0 if sold else 0.25 for sold in columns["sold"]]
    rows = read(tmp_path, columns, columns={"time": "at", "label": "sold", "score": "score"})
    told = report(rows, try_learner(rows, a_trial()), Periods("row", 300), "toy")
    assert told["logged"]["roc_auc"] == 1.0
    assert [each["logged_roc_auc"] for each in told["periods"]] == [1.0] * 4
    assert 0.5 < told["total"]["roc_auc"] < 1.0


def test_the_parts_of_a_report_add_up(tmp_path: Path) -> None:
    rows = read(tmp_path)
    told = report(rows, try_learner(rows, a_trial()), Periods("hour", 3_600_000), "toy")
    assert told["total"]["examples"] == told["examples"] == ROWS
    for parts in (told["periods"], told["segments"], told["label_ages"]):
        assert sum(each["examples"] for each in parts) == ROWS
        loss = sum(each["examples"] * each["log_loss"] for each in parts) / ROWS
        assert loss == pytest.approx(told["total"]["log_loss"])
    assert [each["segment"] for each in told["segments"]] in (["DE", "FR"], ["FR", "DE"])
    assert [each["label_age"] for each in told["label_ages"]] == ["under 1h"]
    assert sum(inside["examples"] for each in told["periods"] for inside in each["segments"]) == ROWS
    assert told["periods"][0]["period"] == "2025-10-09 08:00"


def bare_auc(batch: Batch, late_rows: int, block_rows: int) -> float:
    """Return the AUC of the learner alone in the same order: labels come so many rows late, in blocks."""
    learner, scores = RiverLinear(schema_of(batch)), []
    for start in range(0, len(batch), block_rows):
        scores.append(learner.predict(select(batch, slice(start, start + block_rows))))
        learner.learn(select(batch, slice(max(0, start - late_rows), max(0, start + block_rows - late_rows))))
        learner.flush()
    auc = roc_auc(np.concatenate(scores), batch.label)
    assert auc is not None
    return auc


@pytest.mark.slow
def test_wiki_edits_are_learned_as_well_as_by_the_learner_alone(tmp_path: Path) -> None:
    batch = wiki_edits()
    schema = schema_of(batch)
    columns = {name: batch.numeric[:, at].tolist() for at, name in enumerate(schema.numeric)}
    mapping = learner_mapping(
        {
            "columns": {"label": "reverted"},
            "time": {"unit": "row"},
            "features": {"id": schema.id, "numeric": list(schema.numeric)},
            "label": {"delay_rows": 200},
        },
        no_set,
    )
    rows = read_learner_rows(write_rows(tmp_path / "edits.csv", columns | {"reverted": batch.label.tolist()}), mapping)
    outcomes = try_learner(rows, LearnerTrial("linear", lambda: RiverLinear(schema), JoinSettings(), 500)).outcomes
    found = roc_auc(outcomes.served, outcomes.label)
    assert found == pytest.approx(bare_auc(batch, 200, 250), abs=0.003)
    assert found is not None
    assert found > 0.81


@pytest.mark.parametrize("changes", [{"block_rows": 0}, {"block_rows": 40_001}, {"block_ms": 0}], ids=str)
def test_steps_that_cannot_be_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        a_trial(**changes)
