"""Learners in torch from the configuration: what can be set, and what the errors say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import Learner, needs_context
from rheostat.streams.config import load
from rheostat.streams.errors import ConfigError
from rheostat.streams.worker import learner_maker

README = Path(__file__).parents[3] / "learners" / "deep" / "README.md"

FEATURES = """
[feature_sets."shop@1"]
numeric = ["price", "age"]
categorical = ["user"]
actions = ["red", "green"]
"""

MODEL = (
    FEATURES
    + """
[models.m]
feature_set = "shop@1"
seed = 3
"""
)


def made(folder: Path, settings: str) -> Learner:
    """Return the learner of a model with these settings."""
    file = folder / "rheostat.toml"
    file.write_text(MODEL + settings)
    config = load(file).config
    return learner_maker(config.models["m"], config.feature_schema("m"))()


NETWORK = """
learner = "hashed-mlp"
batch_rows = 16
[models.m.network]
task = "rewards"
dim = 4
memory_bytes_max = 10_000_000
ids = {rows_bits = 6, expire_after_ms = 86_400_000}
rewards = {loss = "squared", propensity_floor = 0.1}
"""

MODULE = """
learner = "torch"
[models.m.module]
builder = "tests.unit.learners.deep.modules:wide"
task = "classes"
category_rows = 64
optimiser = "adagrad"
parameters = {lr = 0.1}
"""


@pytest.mark.parametrize(("settings", "kind"), [(NETWORK, "hashed-mlp/2"), (MODULE, "torch-module/1")])
def test_what_is_set_is_what_learns(tmp_path: Path, settings: str, kind: str) -> None:
    learner = made(tmp_path, settings)
    assert (learner.kind, needs_context(learner)) == (kind, True)
    batch = toy_batch(learner.schema, 64, 1)
    before = learner.predict(batch)
    learner.learn(batch)
    assert (learner.predict(batch) != before).any()
    told = learner.snapshot().tensors["settings"].tobytes().decode()
    assert '"seed":3' in told


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            NETWORK.replace("10_000_000", "1_000_000"),
            r"needs 3,2\d\d,\d+ bytes, memory_bytes_max is 1,000,000",
        ),
        (NETWORK.replace('"rewards"', '"pairwise"'), r"for pairs, the features of the second candidate must follow"),
        (
            NETWORK + "[models.m.timescales]\nhalf_life_ms = 1000\n",
            r"ids cannot have rows of their own",
        ),
        (MODULE.replace(":wide", ":narrow"), r"builder '.*:narrow' is not a function that can be imported"),
        (MODULE.replace('"adagrad"', '"lbfgs"'), r"optimiser 'lbfgs' is not one of"),
        (MODULE + 'device = "tpu"', r"models.m.module.device: 'tpu' is not one of cpu, cuda, auto"),
    ],
)
def test_what_cannot_be_is_an_error_of_the_configuration(tmp_path: Path, settings: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        made(tmp_path, settings)


def test_what_the_readme_shows_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = README.read_text()
    code, *tables = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "toml"))
    folder = tmp_path / "our_models"
    folder.mkdir()
    (folder / "scorer.py").write_text(code[0])
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "rheostat.toml"
    file.write_text(FEATURES + "\n".join(tables[0]))
    config = load(file).config
    try:
        made = [learner_maker(each, config.feature_schema(name))() for name, each in config.models.items()]
    finally:
        sys.modules.pop("our_models.scorer", None)
    assert [learner.kind for learner in made] == ["hashed-mlp/2", "torch-module/1"]
