"""How well models predict what they have not learned yet: ours beside ten of River's, in one order with one delay.

Test, then train. The label of a row is known once `delay_rows` more rows were scored, and nothing learns it sooner.
River's models take rows one by one, as its users run them. Ours are fed in blocks through the contract of learners: a
block is scored with what was known before its first row, so a label may come up to a block later, never sooner.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rheostat.learners.contract import Batch, Learner
from rheostat.learners.features import select
from rheostat.learners.prequential import roc_auc
from rheostat.learners.river.build import Spec, build
from rheostat.streams.bench.quality_streams import Stream
from rheostat.streams.config import ModelConfig
from rheostat.streams.worker import learner_maker

Progress = Callable[[float], None]

DEFAULT = "bayes-logistic"
OURS: tuple[Literal["bayes-logistic", "hashed-mlp", "linear"], ...] = ("bayes-logistic", "hashed-mlp", "linear")
SEED = 1


def _scaled(estimator: str, **parameters: Any) -> Spec:
    return {
        "steps": [{"estimator": "preprocessing.StandardScaler"}, {"estimator": estimator, "parameters": parameters}]
    }


RIVER: Mapping[str, Spec] = {
    "logistic regression": _scaled("linear_model.LogisticRegression"),
    "leveraging bagging of logistic regression": _scaled(
        "ensemble.LeveragingBaggingClassifier", model={"estimator": "linear_model.LogisticRegression"}
    ),
    "ALMA": _scaled("linear_model.ALMAClassifier"),
    "k nearest neighbours": _scaled("neighbors.KNNClassifier"),
    "Gaussian naive Bayes": {"estimator": "naive_bayes.GaussianNB"},
    "Hoeffding tree": {"estimator": "tree.HoeffdingTreeClassifier"},
    "Hoeffding adaptive tree": {"estimator": "tree.HoeffdingAdaptiveTreeClassifier"},
    "aggregated Mondrian forest": {"estimator": "forest.AMFClassifier"},
    "streaming random patches": {"estimator": "ensemble.SRPClassifier"},
    "adaptive random forest": {"estimator": "forest.ARFClassifier"},
}
"""Ten of River's classifiers with River's own parameters, scaled where they need it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one model did on one stream: ROC AUC of all its scores, and the processor seconds it took."""

    auc: float
    cpu_s: float


def bench_quality(
    streams: Iterable[Stream],
    delay_rows: int,
    block_rows: int,
    *,
    river: Mapping[str, Spec] = RIVER,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Run every model on every stream; `best` is the best of River's on a stream, margins are AUC above it."""
    streams = list(streams)
    steps = sum(len(each.batch) * (len(river) + len(OURS) + 1) for each in streams)
    done = 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        progress(done / steps)

    found = {each.name: _compare(each, delay_rows, block_rows, river, advance) for each in streams}
    return {
        "delay_rows": delay_rows,
        "block_rows": block_rows,
        "default": DEFAULT,
        "default_margin_min": min(each["ours"][DEFAULT]["margin"] for each in found.values()),
        "ours_margin_min": min(max(one["margin"] for one in each["ours"].values()) for each in found.values()),
        "streams": found,
    }


def river_outcome(estimator: Any, stream: Stream, delay_rows: int) -> Outcome:
    """Run an estimator of River by its own methods; where it knows no class yet its score is 1/2."""
    waiting: deque[tuple[dict[str, float], bool]] = deque()
    scores = []
    rows = stream.rows()
    began = time.process_time()
    with np.errstate(all="ignore"):
        for x, label in rows:
            answer = estimator.predict_proba_one(x)
            scores.append(answer.get(True, 0.0) if answer else 0.5)
            waiting.append((x, label))
            if len(waiting) > delay_rows:
                estimator.learn_one(*waiting.popleft())
    return _outcome(np.array(scores), stream.batch, began)


def learner_outcome(learner: Learner, stream: Stream, delay_rows: int, block_rows: int) -> Outcome:
    """Run a learner block by block: what the delay allows is learned, then the block is scored."""
    batch, learned, scores = stream.batch, 0, []
    began = time.process_time()
    for start in range(0, len(batch), block_rows):
        known = max(start - delay_rows, learned)
        learner.learn(select(batch, slice(learned, known)))
        learned = known
        scores.append(learner.predict(select(batch, slice(start, start + block_rows))))
    return _outcome(np.concatenate(scores), batch, began)


def _speed(learner: Learner, batch: Batch) -> int:
    """Return the rows a learner learns in a processor second when it is given all of them in one batch."""
    began = time.process_time()
    learner.learn(batch)
    learner.flush()
    return round(len(batch) / max(time.process_time() - began, 1e-9))


def _outcome(scores: Any, batch: Batch, began: float) -> Outcome:
    seconds = time.process_time() - began
    auc = roc_auc(scores, batch.label)
    if auc is None:
        raise ValueError(f"{batch.schema_id}: all labels are the same")
    return Outcome(auc, seconds)


def _compare(
    stream: Stream, delay_rows: int, block_rows: int, river: Mapping[str, Spec], advance: Callable[[int], None]
) -> dict[str, Any]:
    def counted(outcome: Outcome) -> Outcome:
        advance(len(stream.batch))
        return outcome

    bare = {name: counted(river_outcome(build(spec, SEED), stream, delay_rows)) for name, spec in river.items()}
    best = max(bare, key=lambda name: bare[name].auc)
    learners = _learners(stream, best, river[best])
    ours = {name: counted(learner_outcome(make(), stream, delay_rows, block_rows)) for name, make in learners.items()}

    def told(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
        return {name: _told(outcome, bare[best].auc, len(stream.batch)) for name, outcome in outcomes.items()}

    return {
        "rows": len(stream.batch),
        "features": len(stream.schema.numeric),
        "positive_share": round(float(stream.batch.label.mean()), 4),
        "best": best,
        "best_auc": round(bare[best].auc, 4),
        "ours": told(ours),
        "learned_at_once_rows_per_cpu_s": {name: _speed(learners[name](), stream.batch) for name in OURS},
        "river": told(bare),
    }


def _learners(stream: Stream, best: str, spec: Spec) -> dict[str, Callable[[], Learner]]:
    """Return ours as a configuration makes them, the best of River's among them."""
    made: dict[str, Callable[[], Learner]] = {
        name: learner_maker(ModelConfig(name, stream.schema.id), stream.schema) for name in OURS
    }
    adapted = ModelConfig(
        "river",
        stream.schema.id,
        seed=SEED,
        estimator=spec.get("estimator"),
        parameters=spec.get("parameters", {}),
        steps=tuple(spec.get("steps", ())),
    )
    return {**made, f"river: {best}": learner_maker(adapted, stream.schema)}


def _told(outcome: Outcome, best_auc: float, rows: int) -> dict[str, float]:
    return {
        "auc": round(outcome.auc, 4),
        "margin": round(outcome.auc - best_auc, 4),
        "cpu_s": round(outcome.cpu_s, 2),
        "rows_per_cpu_s": round(rows / max(outcome.cpu_s, 1e-9)),
    }
