"""What an estimator of River can be here: what it answers, whether it takes batches and weights, what is refused."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from river import base, compose, linear_model, naive_bayes

from rheostat.learners.river.catalogue import catalogue

_TEXT = "it reads text, and features here are numbers and categories"

REFUSED: Mapping[str, str] = {
    "active.EntropySampler": "its answer is a prediction and a question to a person",
    "feature_extraction.BagOfWords": _TEXT,
    "feature_extraction.RandomTreesEmbedding": "it knows its leaves by their address in memory, which no restart keeps",
    "feature_extraction.TFIDF": _TEXT,
    "neighbors.SWINN": "its vertices share what the class knows of all graphs; as an engine take neighbors.LazySearch",
    "preprocessing.GapEncoder": _TEXT,
    "preprocessing.LDA": _TEXT,
    "rules.AMRules": "it knows its rules by hashes that differ between processes",
}
"""Estimators that fit by what they are, but cannot be a learner, nor a part of one."""

CHANGED_BY_ANSWERS = (
    "compose.Grouper",
    "feature_extraction.Agg",
    "feature_extraction.TargetAgg",
    "linear_model.BayesianLinearRegression",
)
"""Estimators whose answers change their state; they answer from a copy."""

_NO_BATCHES = (naive_bayes.ComplementNB, naive_bayes.MultinomialNB)
"""River's `learn_many` of these fails on frames that are not sparse."""


class Role(Enum):
    """What an estimator answers: a probability, a number, or how unusual a row is."""

    CLASSIFIER = "classifier"
    REGRESSOR = "regressor"
    DETECTOR = "detector"


@dataclass(frozen=True, slots=True)
class Abilities:
    """How rows can be given to an estimator.

    batches: it takes many rows at once. batch_is_a_step: it then makes one step for all of them, and learns more slowly
    than row by row. weights: it takes the weight of a row. labels: it takes labels. number_labels: in batches, some of
    its losses fail on labels that are truth values. positive: it takes no numbers below zero. answers_change_it: see
    `CHANGED_BY_ANSWERS`.
    """

    role: Role
    batches: bool
    batch_is_a_step: bool
    weights: bool
    labels: bool
    number_labels: bool
    positive: bool
    answers_change_it: bool


def abilities(estimator: Any, classes: Collection[type]) -> Abilities:
    """Return what an estimator can do, which holds objects of `classes`; ValueError if it cannot be a learner."""
    check_allowed([name for name, cls in catalogue().items() if cls in classes])
    last = _last(estimator)
    return Abilities(
        role=role_of(estimator),
        batches=_takes_batches(estimator),
        batch_is_a_step=isinstance(last, linear_model.LogisticRegression | linear_model.LinearRegression),
        weights="w" in inspect.signature(type(last).learn_one).parameters,
        labels=bool(estimator._supervised),
        number_labels=isinstance(last, linear_model.LogisticRegression),
        positive=any(base.tags.POSITIVE_INPUT in each._tags for each in _steps(estimator)),
        answers_change_it=any(catalogue()[name] in classes for name in CHANGED_BY_ANSWERS),
    )


def check_allowed(names: Collection[str]) -> None:
    """Raise ValueError, with the reason, if one of these names of the catalogue cannot be part of a learner."""
    for name, reason in REFUSED.items():
        if name in names:
            raise ValueError(f"{name} cannot be part of a learner: {reason}")


def role_of(estimator: Any) -> Role:
    """Return what an estimator answers; ValueError if that is nothing that a learner can."""
    # A pipeline is an instance of what its last step is.
    if isinstance(estimator, base.MultiLabelClassifier | base.MultiTargetRegressor):
        raise ValueError("it answers several labels at once; a model here has one")
    if isinstance(estimator, base.Classifier):
        return Role.CLASSIFIER
    if isinstance(estimator, base.SupervisedAnomalyDetector):
        raise ValueError("its score needs the label, which is not known when a score is asked for")
    if isinstance(estimator, base.AnomalyDetector) or hasattr(_last(estimator), "score_one"):
        return Role.DETECTOR
    if isinstance(estimator, base.Regressor) and not hasattr(_last(estimator), "rank"):
        return Role.REGRESSOR
    raise ValueError("it is no classifier, regressor or anomaly detector")


def _last(estimator: Any) -> Any:
    while isinstance(estimator, compose.Pipeline):
        estimator = estimator._last_step
    return estimator


def _steps(estimator: Any) -> list[Any]:
    """Return the steps of a pipeline, and those that a union or product does side by side."""
    if isinstance(estimator, compose.Pipeline):
        return [each for step in estimator.steps.values() for each in _steps(step)]
    if isinstance(estimator, compose.TransformerUnion):
        return [each for part in estimator.transformers.values() for each in _steps(part)]
    return [estimator]


def detector(estimator: Any) -> Any:
    """Return the detector that scores for an estimator, within pipelines and filters."""
    last = _last(estimator)
    while hasattr(last, "anomaly_detector"):
        last = _last(last.anomaly_detector)
    return last


def _takes_batches(estimator: Any) -> bool:
    *before, last = _steps(estimator)
    if not isinstance(last, base.MiniBatchClassifier | base.MiniBatchRegressor) or isinstance(last, _NO_BATCHES):
        return False
    return all(isinstance(step, base.MiniBatchTransformer) for step in before)
