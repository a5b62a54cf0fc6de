"""A configuration makes what it says, or is refused with the name of the field that is wrong."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from river import compose, linear_model, optim, preprocessing

from rheostat.learners.river.build import DEPTH_MAX, SpecError, build, names
from rheostat.learners.river.catalogue import catalogue
from tests.support.river_catalogue import HALVES, LINEAR, TREE, river

TOML = """
estimator = { steps = [
  { estimator = "preprocessing.StandardScaler" },
  { estimator = "linear_model.LogisticRegression", parameters = { l2 = 0.01, optimizer = { estimator = "optim.Adam", parameters = { lr = 0.05 } } } },
] }
"""  # noqa: E501


def test_a_pipeline_comes_from_toml() -> None:
    made = build(tomllib.loads(TOML)["estimator"], 1)
    assert isinstance(made, compose.Pipeline)
    scaler, model = made.steps.values()
    assert isinstance(scaler, preprocessing.StandardScaler)
    assert isinstance(model, linear_model.LogisticRegression)
    assert (model.l2, type(model.optimizer), model.optimizer.learning_rate) == (0.01, optim.Adam, 0.05)


def test_a_seed_that_is_left_open_is_the_one_given() -> None:
    bagging = river("ensemble.BaggingClassifier", model=river("facto.FMClassifier"))
    assert build(bagging, 7).seed == 7
    assert build(bagging, 7)[0].seed == 7
    assert build(river("ensemble.BaggingClassifier", model=TREE, seed=3), 7).seed == 3


def test_labels_lists_and_steps_are_values() -> None:
    made: Any = build(river("imblearn.RandomUnderSampler", classifier=LINEAR, desired_dist=HALVES), 1)
    assert made.desired_dist == {True: 0.5, False: 0.5}
    assert build({"estimator": "compose.Select", "steps": ["a", "b"]}, 1).keys == {"a", "b"}
    assert len(build(river("ensemble.VotingClassifier", models=[TREE, LINEAR]), 1)) == 2


def test_all_names_in_a_configuration_are_found() -> None:
    spec = {"steps": [LINEAR, river("a.B", c=[river("d.E")], f={"g": river("h.I")})]}
    assert names(spec) == {LINEAR["estimator"], "a.B", "d.E", "h.I"}


def _deep(depth: int) -> Any:
    return LINEAR if depth == 0 else river("ensemble.BaggingClassifier", model=_deep(depth - 1))


LOGISTIC = "linear_model.LogisticRegression"
WRONG: dict[str, tuple[Any, str]] = {
    "no table": ("linear_model.LogisticRegression", "estimator: expected a table"),
    "nothing in it": ({}, "estimator: expected a table"),
    "another field": ({"estimator": LOGISTIC, "param": {}}, "estimator: expected a table"),
    "a name that is no text": ({"estimator": 5}, "estimator: 5 is not a class of River"),
    "a name outside River": (river("os.system"), "estimator: 'os.system' is not a class of River"),
    "a private module": (river("linear_model.base.GLM"), "is not a class of River"),
    "a function": (river("utils.expand_param_grid"), "is not a class of River"),
    "a dataset": (river("datasets.Phishing"), "is not a class of River"),
    "a short name": (river("LogisticRegression"), f"perhaps {LOGISTIC}"),
    "an unknown parameter": (river(LOGISTIC, L2=1.0), "parameters.L2: .* no such parameter; it has .*l2"),
    "a missing parameter": (river("ensemble.BaggingClassifier"), "parameters.model: .* needs it"),
    "code": (river("compose.FuncTransformer"), "parameters.func: .* a configuration holds no code"),
    "a text for a number": (river(LOGISTIC, l2="much"), "parameters.l2: 'much' is of another type than its default, 0"),
    "a truth for a number": (river(LOGISTIC, l2=True), "parameters.l2: True is of another type"),
    "a number for a truth": (river("preprocessing.StandardScaler", with_std=1), "parameters.with_std: 1 is of another"),
    "a number for an object": (river(LOGISTIC, optimizer=3), "parameters.optimizer: 3 is not what it takes"),
    "another object": (
        river(LOGISTIC, optimizer=river("optim.losses.Log")),
        "parameters.optimizer: .* not what it takes",
    ),
    "inside": (river(LOGISTIC, optimizer=river("optim.Adam", rate=1)), "parameters.optimizer.parameters.rate: "),
    "in a list": ({"steps": [LINEAR, river("x.Y")]}, r"steps\[1\].estimator: 'x.Y'"),
    "a date": (river(LOGISTIC, l2=object()), "parameters.l2: object is not a value"),
    "what River refuses": (river(LOGISTIC, l1=1.0, l2=1.0), "parameters: .* refuses them: .*joint use"),
    "steps of no pipeline": ({"estimator": LOGISTIC, "steps": [LINEAR]}, "steps: .* takes no steps"),
    "no steps": ({"steps": []}, "steps: a pipeline needs at least one"),
    "steps that are no list": ({"steps": "LogisticRegression"}, "steps: expected a list"),
    "parameters that are no table": ({"estimator": LOGISTIC, "parameters": [1]}, "parameters: expected a table"),
    "too deep": (_deep(DEPTH_MAX + 1), "parts in each other"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_configuration_names_its_field(what: str) -> None:
    spec, message = WRONG[what]
    with pytest.raises(SpecError, match=message):
        build(spec, 1)


def test_the_catalogue_reaches_no_files_and_no_network() -> None:
    assert not [name for name in catalogue() if name.startswith(("datasets", "stream", "evaluate"))]
    assert all(cls.__module__.startswith("river.") for cls in catalogue().values())
