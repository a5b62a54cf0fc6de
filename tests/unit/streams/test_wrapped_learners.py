"""What protects a model's learner is a table in its configuration, and what cannot be is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from rheostat.learners.anchor import Anchored
from rheostat.learners.contract import FeatureSchema
from rheostat.learners.replay_buffer import Replaying
from rheostat.learners.reweighted import Reweighted
from rheostat.learners.two_timescale import TwoTimescale
from rheostat.learners.wrapper_settings import AnchorSettings, ReplaySettings, ReweightingSettings, TimescaleSettings
from rheostat.streams.config import ModelConfig, load
from rheostat.streams.errors import ConfigError
from rheostat.streams.worker import learner_maker

SCHEMA = FeatureSchema("shop@1", ("price",), ("topic",))

FILE = """
[models.offers]
learner = "linear"
feature_set = "shop@1"

[models.offers.timescales]
half_life_ms = 3_600_000

[models.offers.replay]
ratio = 0.25

[models.offers.anchor]
elastic = true
renew_ms = 604_800_000

[models.offers.reweighting]
stratum_share_max = 0.4

[feature_sets."shop@1"]
numeric = ["price"]
"""


def _load(folder: Path, text: str) -> ModelConfig:
    file = folder / "pipeline.toml"
    file.write_text(text)
    return load(file).config.models["offers"]


def test_protection_is_read_from_a_file(tmp_path: Path) -> None:
    model = _load(tmp_path, FILE)
    assert model.timescales == TimescaleSettings(half_life_ms=3_600_000)
    assert model.replay == ReplaySettings(ratio=0.25)
    assert model.anchor == AnchorSettings(elastic=True, renew_ms=604_800_000)
    assert model.reweighting == ReweightingSettings(stratum_share_max=0.4)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("ratio = -1.0", "models.offers.replay: need ratio"),
        ("rows = 5", "models.offers.replay.rows: no such setting"),
        ('ratio = "many"', "models.offers.replay.ratio"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, wrong: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        _load(tmp_path, FILE.replace("ratio = 0.25", wrong))


def test_weights_are_outside_and_the_anchor_is_next_to_the_learner(tmp_path: Path) -> None:
    found = learner_maker(_load(tmp_path, FILE), SCHEMA)()
    assert isinstance(found, Reweighted)
    assert isinstance(found._inner, Replaying)
    assert isinstance(found._inner._inner, TwoTimescale)
    assert isinstance(found._inner._inner._inner, Anchored)
    assert found.kind == "linear/1"


def test_without_protection_a_learner_is_bare() -> None:
    assert type(learner_maker(ModelConfig("linear", "shop@1"), SCHEMA)()).__name__ == "RiverLinear"


def test_what_cannot_be_protected_is_refused() -> None:
    river = ModelConfig("river", "shop@1", estimator="tree.HoeffdingTreeClassifier", timescales=TimescaleSettings())
    with pytest.raises(ConfigError, match=r"timescales: the parameters .* cannot be moved"):
        learner_maker(river, SCHEMA)
    with pytest.raises(ConfigError, match="rows_per_stratum"):
        learner_maker(ModelConfig("linear", "shop@1", replay=ReplaySettings(rows_per_stratum=0)), SCHEMA)
