"""River's whole catalogue as learners: an example of each estimator, what it cannot keep, and the table in the README.

python -m tests.support.river_catalogue            writes the table into learners/river/README.md
python -m tests.support.river_catalogue digests    prints a digest of every example after learning, as JSON
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from river import base

from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import FeatureSchema
from rheostat.learners.digest import tensors_digest
from rheostat.learners.river.build import Spec
from rheostat.learners.river.catalogue import catalogue
from rheostat.learners.river.learner import RiverLearner
from rheostat.learners.river.settings import RiverSettings

SCHEMA = FeatureSchema("numbers@1", ("x", "y"))
README = Path(__file__).parents[2] / "learners" / "river" / "README.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def river(name: str, **parameters: Any) -> Spec:
    """Return the configuration of a part of River."""
    return {"estimator": name, "parameters": parameters}


TREE = river("tree.HoeffdingTreeClassifier", grace_period=50)
LINEAR = river("linear_model.LogisticRegression")
NUMBER = river("linear_model.LinearRegression", intercept_lr=0.02)
SCALED = {"steps": [river("preprocessing.StandardScaler"), LINEAR]}
SIGN = river("preprocessing.Binarizer")
HALVES = {"true": 0.5, "false": 0.5}
BUDGET: dict[str, Any] = {"budget": 500, "metric": river("metrics.Accuracy"), "models": [TREE, LINEAR]}

EXAMPLES: Mapping[str, Spec] = {
    "anomaly.QuantileFilter": river("anomaly.QuantileFilter", anomaly_detector=river("anomaly.HalfSpaceTrees"), q=0.9),
    "anomaly.ThresholdFilter": river(
        "anomaly.ThresholdFilter", anomaly_detector=river("anomaly.HalfSpaceTrees"), threshold=0.9
    ),
    "anomaly.LocalOutlierFactor": river("anomaly.LocalOutlierFactor", n_neighbors=5),
    "compose.Discard": {"estimator": "compose.Discard", "steps": ["y"]},
    "compose.Grouper": river("compose.Grouper", transformer=river("preprocessing.StandardScaler"), by="y"),
    "compose.Pipeline": SCALED,
    "compose.Prefixer": river("compose.Prefixer", prefix="p_"),
    "compose.Renamer": river("compose.Renamer", mapping={"x": "z"}),
    "compose.Select": {"estimator": "compose.Select", "steps": ["x"]},
    "compose.Suffixer": river("compose.Suffixer", suffix="_s"),
    "compose.TransformerProduct": {
        "estimator": "compose.TransformerProduct",
        "steps": [{"estimator": "compose.Select", "steps": [name]} for name in ("x", "y")],
    },
    "compose.TargetTransformRegressor": river("compose.TargetTransformRegressor", regressor=NUMBER),
    "compose.TransformerUnion": {
        "estimator": "compose.TransformerUnion",
        "steps": [river("preprocessing.StandardScaler"), river("feature_extraction.PolynomialExtender")],
    },
    "conf.RegressionJackknife": river("conf.RegressionJackknife", regressor=NUMBER),
    "ensemble.StackingClassifier": river("ensemble.StackingClassifier", models=[TREE, LINEAR], meta_classifier=LINEAR),
    "ensemble.VotingClassifier": river("ensemble.VotingClassifier", models=[TREE, LINEAR], use_probabilities=False),
    "feature_extraction.Agg": river("feature_extraction.Agg", on="x", by="y", how=river("stats.Mean")),
    "feature_extraction.TargetAgg": river("feature_extraction.TargetAgg", by="y", how=river("stats.Mean")),
    "feature_selection.PoissonInclusion": river("feature_selection.PoissonInclusion", p=0.5),
    "feature_selection.SelectKBest": river("feature_selection.SelectKBest", similarity=river("stats.PearsonCorr"), k=1),
    "imblearn.RandomOverSampler": river("imblearn.RandomOverSampler", classifier=LINEAR, desired_dist=HALVES),
    "imblearn.RandomSampler": river("imblearn.RandomSampler", classifier=LINEAR, desired_dist=HALVES),
    "imblearn.RandomUnderSampler": river("imblearn.RandomUnderSampler", classifier=LINEAR, desired_dist=HALVES),
    "model_selection.SuccessiveHalvingClassifier": river("model_selection.SuccessiveHalvingClassifier", **BUDGET),
    "neighbors.KNNClassifier": river("neighbors.KNNClassifier", engine=river("neighbors.LazySearch", window_size=200)),
    "neighbors.KNNRegressor": river("neighbors.KNNRegressor", engine=river("neighbors.LazySearch", window_size=200)),
    "neighbors.SWINN": river("neighbors.SWINN"),
    "preprocessing.OneHotEncoder": {"steps": [SIGN, river("preprocessing.OneHotEncoder")]},
    "preprocessing.OrdinalEncoder": {"steps": [SIGN, river("preprocessing.OrdinalEncoder")]},
    "preprocessing.TargetMinMaxScaler": river("preprocessing.TargetMinMaxScaler", regressor=NUMBER),
    "preprocessing.TargetStandardScaler": river("preprocessing.TargetStandardScaler", regressor=NUMBER),
}
"""Estimators that need parameters; for any other River's own test parameters are taken."""


UNSUPERVISED = "it learns how unusual a row is, not its label"
MARGIN = "it steps until a row is right by a margin; seeing the row again moves nothing"
NO_INTERCEPT = "it has no intercept, and weighing one class lifts no score as such"
NO_PRIOR = "its answer does not depend on how often a class was seen"
SHAPE = "the toy problem is not one that its kind of model can describe"
TRANSFORMED = "what it makes of the row does not tell the label"
GROUPS = "it keeps something for every value it groups by; the toy's are all different"
RESAMPLED = "it learns some rows again, or leaves them out, whatever their weight"

LEARNS, WEIGHT, MEMORY = "it learns", "weight moves the model", "memory is bounded"

EXCUSED: Mapping[str, Mapping[str, str]] = {
    "anomaly.HalfSpaceTrees": {LEARNS: UNSUPERVISED},
    "anomaly.LODA": {LEARNS: UNSUPERVISED},
    "anomaly.LocalOutlierFactor": {LEARNS: UNSUPERVISED},
    "anomaly.OneClassSVM": {LEARNS: UNSUPERVISED, WEIGHT: UNSUPERVISED},
    "anomaly.QuantileFilter": {LEARNS: UNSUPERVISED},
    "anomaly.ThresholdFilter": {LEARNS: UNSUPERVISED},
    "compose.Grouper": {LEARNS: TRANSFORMED, MEMORY: GROUPS},
    "compose.SelectType": {LEARNS: TRANSFORMED},
    "compose.TransformerProduct": {LEARNS: TRANSFORMED},
    "dummy.NoChangeClassifier": {LEARNS: SHAPE, WEIGHT: SHAPE},
    "dummy.PriorClassifier": {LEARNS: SHAPE},
    "dummy.StatisticRegressor": {LEARNS: SHAPE},
    "ensemble.SRPRegressor": {WEIGHT: "its trees fit the toy problem exactly, whatever the weights"},
    "feature_extraction.Agg": {LEARNS: TRANSFORMED, MEMORY: GROUPS},
    "feature_extraction.TargetAgg": {LEARNS: TRANSFORMED, MEMORY: GROUPS},
    "forest.AMFRegressor": {MEMORY: "its trees have a node for almost every row"},
    "imblearn.ChebyshevOverSampler": {WEIGHT: RESAMPLED},
    "imblearn.RandomOverSampler": {WEIGHT: RESAMPLED},
    "imblearn.RandomUnderSampler": {WEIGHT: RESAMPLED},
    "linear_model.ALMAClassifier": {WEIGHT: NO_INTERCEPT},
    "linear_model.AdPredictor": {LEARNS: SHAPE},
    "linear_model.BayesianLinearRegression": {LEARNS: SHAPE},
    "linear_model.PAClassifier": {WEIGHT: MARGIN},
    "linear_model.PARegressor": {WEIGHT: MARGIN},
    "linear_model.SoftmaxRegression": {WEIGHT: NO_INTERCEPT},
    "naive_bayes.ComplementNB": {LEARNS: SHAPE, WEIGHT: NO_PRIOR},
    "naive_bayes.MultinomialNB": {LEARNS: SHAPE},
    "tree.ExtremelyFastDecisionTreeClassifier": {WEIGHT: "heavier rows make it split earlier, and elsewhere"},
    "tree.HoeffdingTreeClassifier": {WEIGHT: "heavier rows make it split earlier, and elsewhere"},
    "tree.SGTRegressor": {LEARNS: "it needs more rows", MEMORY: "it grows up to `max_depth`, which has no default"},
}
"""Laws that an estimator cannot keep, each with the reason; every one of them is tested to be broken indeed."""


def configuration(name: str) -> Spec:
    """Return a learner's configuration with an estimator in it: by itself, or before a logistic regression."""
    return example(name) if row(name).use == "learner" else {"steps": [example(name), LINEAR]}


def estimators() -> list[str]:
    """Return the names of everything in the catalogue that learns or transforms."""
    return [name for name, cls in catalogue().items() if issubclass(cls, base.Estimator) and "splitter" not in name]


def example(name: str) -> Spec:
    """Return a configuration of an estimator."""
    if name in EXAMPLES:
        return EXAMPLES[name]
    try:
        parameters = next(iter(catalogue()[name]._unit_test_params()))  # type: ignore[attr-defined]
    except RuntimeError:
        parameters = {}
    return river(name, **{key: _spec(value) for key, value in parameters.items() if value is not None})


def learner(spec: Spec) -> RiverLearner:
    """Return a learner of two numbers."""
    return RiverLearner(SCHEMA, RiverSettings(spec))


@dataclass(frozen=True)
class Row:
    """One line of the table: what an estimator can be ("learner", "part", "refused"), kind of parameters, and words."""

    name: str
    use: str
    kind: str = ""
    rows: str = ""
    weights: str = ""
    note: str = ""


@cache
def row(name: str) -> Row:
    """Return what is true of an estimator, by making it."""
    spec = example(name)
    try:
        made = learner(spec)
    except ValueError as error:
        reason = str(error)
    else:
        can = made._abilities
        rows = "batches" if made._pending is not None else "rows, or batches" if can.batches else "rows"
        return Row(name, "learner", made.kind, rows, "given" if can.weights else "repeats", can.role.value)
    try:
        part = learner({"steps": [spec, LINEAR]})
        part.learn(toy_batch(SCHEMA, 100, 1))
        part.predict(toy_batch(SCHEMA, 10, 2))
    except Exception:
        return Row(name, "refused", note=reason)
    return Row(name, "part")


def table() -> str:
    """Return the table as Markdown."""
    lines = ["| estimator | can be | parameters | learns | weights | |", "|---|---|---|---|---|---|"]
    for each in map(row, estimators()):
        kept = [f"not kept: {law} ({reason})" for law, reason in EXCUSED.get(each.name, {}).items()]
        note = "; ".join([each.note, *kept] if each.note else kept)
        lines.append(f"| `{each.name}` | {each.use} | {each.kind} | {each.rows} | {each.weights} | {note} |")
    return "\n".join(lines) + "\n"


def digests() -> dict[str, str]:
    """Return a digest of the state of every learner after a few hundred rows."""
    found = {}
    for name in estimators():
        each = row(name)
        if each.use != "refused":
            made = learner(configuration(name))
            made.learn(toy_batch(SCHEMA, 300, 1))
            found[name] = tensors_digest(made.snapshot().tensors)
    return found


def _spec(value: Any) -> Any:
    """Return the configuration of an object that River made."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_spec(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key).lower(): _spec(each) for key, each in value.items()}
    name = next(name for name, cls in catalogue().items() if cls is type(value))
    if hasattr(value, "steps"):
        return {"steps": [_spec(step) for step in value.steps.values()]}
    parameters = {}
    for key, each in inspect.signature(type(value)).parameters.items():
        held = getattr(value, key)
        if (
            held is not None and held != each.default and not isinstance(held, base.Base)
        ) or each.default is each.empty:
            parameters[key] = _spec(held)
    return river(name, **parameters)


def main() -> None:
    """Write the table, or print digests."""
    if sys.argv[1:] == ["digests"]:
        print(json.dumps(digests()))
        return
    text = README.read_text()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    README.write_text(text[:start] + table() + text[end:])


if __name__ == "__main__":
    main()
