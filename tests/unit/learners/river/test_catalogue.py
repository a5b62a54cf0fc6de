"""Every estimator of River keeps the contract, or is refused; the README's table says which."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from rheostat.learners.checks import FURTHER_LAWS, LAWS, check_learner
from rheostat.learners.contract import FeatureSchema
from rheostat.learners.predictors import predictor
from rheostat.learners.river.build import Spec
from rheostat.learners.river.learner import RiverLearner
from rheostat.learners.river.roles import CHANGED_BY_ANSWERS, REFUSED
from rheostat.streams.config import load
from rheostat.streams.errors import ConfigError
from rheostat.streams.worker import learner_maker
from tests.support.river_catalogue import (
    BEGIN,
    END,
    EXCUSED,
    LEARNS,
    MEMORY,
    README,
    configuration,
    estimators,
    example,
    learner,
    river,
    row,
    table,
)

ROOT = Path(__file__).parents[4]
FAST = (
    "anomaly.OneClassSVM",
    "compose.Pipeline",
    "facto.FMClassifier",
    "imblearn.HardSamplingClassifier",
    "linear_model.BayesianLinearRegression",
    "linear_model.LinearRegression",
    "naive_bayes.GaussianNB",
    "naive_bayes.MultinomialNB",
    "neighbors.KNNClassifier",
    "preprocessing.StandardScaler",
    "tree.LASTClassifier",
)
"""One of each way of being a learner, quick enough for every run."""

KEPT = [name for name in estimators() if row(name).use != "refused"]


def _check(name: str) -> None:
    spec = configuration(name)
    also = FURTHER_LAWS if row(name).weights == "repeats" else ()
    check_learner(lambda: learner(spec), predictor, also=also, excused=EXCUSED.get(name))


@pytest.mark.parametrize("name", FAST)
def test_one_of_each_kind_keeps_every_law(name: str) -> None:
    _check(name)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in KEPT if name not in FAST])
def test_every_estimator_keeps_every_law(name: str) -> None:
    _check(name)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "law"), [(name, law) for name, laws in EXCUSED.items() for law in laws])
def test_no_excuse_is_made_without_need(name: str, law: str) -> None:
    spec = configuration(name)
    assert LAWS[law](lambda: learner(spec)) is not None


def test_only_what_a_model_is_for_is_excused() -> None:
    """State, purity, restarts and determinism are never."""
    assert {law for laws in EXCUSED.values() for law in laws} <= {LEARNS, MEMORY, "weight moves the model"}


def test_the_table_of_the_readme_is_true() -> None:
    text = README.read_text()
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)] == table()


def test_the_code_of_the_readme_makes_a_learner(tmp_path: Path) -> None:
    place = tmp_path / "readme_river.py"
    place.write_text(README.read_text().split("```python\n")[1].split("```")[0])
    spec = importlib.util.spec_from_file_location("readme_river", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert isinstance(module.learner, RiverLearner)


def test_the_configuration_of_the_readme_makes_a_learner(tmp_path: Path) -> None:
    file = tmp_path / "rheostat.toml"
    file.write_text(README.read_text().split("```toml\n")[1].split("```")[0])
    model = load(file).config.models["offers"]
    schema = FeatureSchema(model.feature_set, numeric=("price", "age_days"))
    assert learner_maker(model, schema)().kind == "river-linear/1"
    wrong = replace(model, steps=({"estimator": "linear_model.LogisticRegresion"},))
    with pytest.raises(ConfigError, match=r"shop@1: steps\[0\]\.estimator: .*is not a class of River"):
        learner_maker(wrong, schema)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("place", ["alone", "in a pipeline", "in an ensemble"])
def test_what_is_refused_is_refused_everywhere(name: str, place: str) -> None:
    spec: Mapping[str, Spec] = {
        "alone": example(name),
        "in a pipeline": {"steps": [example(name), river("linear_model.LogisticRegression")]},
        "in an ensemble": river("ensemble.BaggingClassifier", model=example(name)),
    }
    with pytest.raises(ValueError, match=REFUSED[name]):
        learner(spec[place])


def test_what_is_refused_or_copied_is_in_the_catalogue() -> None:
    assert {*REFUSED, *CHANGED_BY_ANSWERS} <= set(estimators())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_state_does_not_depend_on_the_process() -> None:
    """Texts hash differently in each process, and with them the order of sets."""
    found = []
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "tests.support.river_catalogue", "digests"]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, text=True)
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]
    assert set(found[0]) == set(KEPT)
