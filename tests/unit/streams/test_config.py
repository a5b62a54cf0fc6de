"""The configuration tree: precedence, sources, errors that name the value, hidden secrets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rheostat.learners.bandits.linear import BanditSettings
from rheostat.learners.bandits.policy import Policy
from rheostat.learners.contract import FeatureSchema
from rheostat.streams.config import load
from rheostat.streams.errors import ConfigError
from rheostat.streams.worker import learner_maker


def a_file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "rheostat.toml"
    file.write_text(text)
    return file


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = a_file(tmp_path, '[kafka]\nbootstrap = "file:1"\nprefix = "f."\nreplication = 3\n')
    loaded = load(
        file,
        {"RHEOSTAT_KAFKA__BOOTSTRAP": "env:1", "RHEOSTAT_KAFKA__PREFIX": "e.", "HOME": "x"},
        {"kafka.bootstrap": "flag:1"},
    )
    kafka = loaded.config.kafka
    assert (kafka.bootstrap, kafka.prefix, kafka.replication, kafka.data_partitions) == ("flag:1", "e.", 3, 4)


def test_every_value_says_where_it_came_from(tmp_path: Path) -> None:
    file = a_file(tmp_path, "[join]\nwindow_ms = 5000\n")
    lines = load(file, {"RHEOSTAT_KAFKA__PREFIX": "e."}, {"intake.bursts_enabled": "false"}).describe().splitlines()
    assert f"join.window_ms = 5000  ({file})" in lines
    assert 'kafka.prefix = "e."  (RHEOSTAT_KAFKA__PREFIX)' in lines
    assert "intake.bursts_enabled = false  (--set intake.bursts_enabled)" in lines
    assert "kafka.replication = 1  (default)" in lines


def test_secrets_are_not_printed(tmp_path: Path) -> None:
    file = a_file(tmp_path, '[kafka.client]\n"sasl.password" = "hunter2"\n')
    assert "hunter2" not in load(file).describe()
    registry = a_file(tmp_path, '[registry]\nurl = "https://ann:hunter2@registry:8081"\n')
    assert 'registry.url = "https://***@registry:8081"' in load(registry).describe()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"kafka.data_partitions": "0"}, r"kafka.data_partitions: 0 is out of range, 1 to 10000"),
        ({"kafka.data_partitions": "many"}, r"kafka.data_partitions: 'many' is not of type int"),
        ({"kafka.protocol": "carrier pigeon"}, r"kafka.protocol: 'carrier pigeon' is not one of consumer, classic"),
        ({"kafka.bootstraps": "x"}, r"kafka.bootstraps: no such setting; known: bootstrap"),
        ({"models.a.learner": "linear"}, r"models.a.feature_set: must be set"),
        ({"monitor.effect": "2"}, r"monitor.effect: 2.0 is out of range"),
        ({"models.a.learner": "river", "models.a.feature_set": "f"}, r'learner "river" needs an estimator'),
        (
            {"models.a.learner": "linear", "models.a.feature_set": "f", "models.a.parameters.l2": "1"},
            r'estimator, parameters and steps are for learner "river", not \'linear\'',
        ),
        (
            {"models.a.learner": "linear", "models.a.feature_set": "f", "models.a.policy.epsilon": "0.1"},
            r'policy and bandit are for learner "linear-bandit", not \'linear\'',
        ),
        (
            {"models.a.learner": "linear", "models.a.feature_set": "f", "models.a.network.dim": "4"},
            r'network is for learner "hashed-mlp", not \'linear\'',
        ),
        (
            {"models.a.learner": "hashed-mlp", "models.a.feature_set": "f", "models.a.network.ids.admit_after": "0"},
            r"models.a.network.ids: need admit_after in \[1, 255\]",
        ),
        (
            {"models.a.learner": "hashed-mlp", "models.a.feature_set": "f", "models.a.network.task": "survival"},
            r"models.a.network.task: 'survival' is not one of binary, regression",
        ),
        ({"models.a.learner": "torch", "models.a.feature_set": "f"}, r'learner "torch", and no other, needs a table'),
        (
            {"models.a.learner": "linear-bandit", "models.a.feature_set": "f", "models.a.policy.epsilon": "7"},
            r"models.a.policy: epsilon: 7.0 is not in \[0, 1\]",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(flags: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(flags=flags)


def test_models_and_feature_sets_become_a_schema(tmp_path: Path) -> None:
    file = a_file(
        tmp_path,
        '[models.m]\nlearner = "linear"\nfeature_set = "shop@1"\n'
        '[feature_sets."shop@1"]\nnumeric = ["price"]\ncategorical = ["colour"]\n',
    )
    schema = load(file).config.feature_schema("m")
    assert (schema.id, schema.numeric, schema.categorical) == ("shop@1", ("price",), ("colour",))
    with pytest.raises(ConfigError, match="model 'x' is not configured; known: m"):
        load(file).config.feature_schema("x")


def test_what_is_learned_and_not_scored_with_has_a_value_for_scores(tmp_path: Path) -> None:
    def schema(neutral: str) -> FeatureSchema:
        text = (
            '[models.m]\nlearner = "linear"\nfeature_set = "list@1"\n[feature_sets."list@1"]\n'
            f'numeric = ["price", "position"]\ncategorical = ["page"]\ntraining_only = {neutral}\n'
        )
        return load(a_file(tmp_path, text)).config.feature_schema("m")

    assert schema('{ position = 1, page = "first" }').training_only == (("position", 1.0), ("page", "first"))
    for wrong in ("{ rank = 1.0 }", "{ page = 1.0 }", '{ position = "1" }', "{ position = [1] }"):
        with pytest.raises(ConfigError, match=r"feature_sets.list@1.*(rank|page|position)"):
            schema(wrong)


def test_a_bandit_has_actions_a_policy_and_a_half_life(tmp_path: Path) -> None:
    file = a_file(
        tmp_path,
        '[models.m]\nlearner = "linear-bandit"\nfeature_set = "shop@1"\n'
        '[models.m.policy]\nrule = "linucb"\nalpha = 0.5\npropensity_min = 0.01\n'
        "[models.m.bandit]\nhalf_life_ms = 86400000\n"
        '[feature_sets."shop@1"]\nnumeric = ["price"]\nactions = ["none", "mail"]\n',
    )
    config = load(file, flags={"models.m.policy.epsilon": "0.2"}).config
    assert config.models["m"].policy == Policy("linucb", 0.2, alpha=0.5, propensity_min=0.01)
    assert config.models["m"].bandit == BanditSettings(half_life_ms=86_400_000)
    schema = config.feature_schema("m")
    assert learner_maker(config.models["m"], schema)().schema.actions == ("none", "mail")
    with pytest.raises(ConfigError, match="the bandit on shop@1: feature set 'shop@1' has 0 actions"):
        learner_maker(config.models["m"], replace(schema, actions=()))


def test_an_estimator_comes_as_the_file_has_it_and_from_flags_as_json(tmp_path: Path) -> None:
    file = a_file(
        tmp_path,
        '[models.m]\nlearner = "river"\nfeature_set = "shop@1"\nestimator = "linear_model.LogisticRegression"\n'
        'parameters = { l2 = 0.5, optimizer = { estimator = "optim.FTRLProximal", parameters = { alpha = 1 } } }\n'
        '[models.p]\nlearner = "river"\nfeature_set = "shop@1"\n'
        'steps = [{ estimator = "preprocessing.StandardScaler" }, { estimator = "naive_bayes.GaussianNB" }]\n',
    )
    models = load(file, flags={"models.m.parameters.l2": "0.25"}).config.models
    optimizer = {"estimator": "optim.FTRLProximal", "parameters": {"alpha": 1}}
    assert models["m"].river_estimator == {
        "estimator": "linear_model.LogisticRegression",
        "parameters": {"l2": 0.25, "optimizer": optimizer},
        "steps": [],
    }
    steps = [{"estimator": "preprocessing.StandardScaler"}, {"estimator": "naive_bayes.GaussianNB"}]
    assert models["p"].river_estimator == {"parameters": {}, "steps": steps}
