"""What `rheostat serve` makes of its configuration, before it asks anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from rheostat.streams.cli.serve import _arms, _explainer
from rheostat.streams.config import Config, load
from rheostat.streams.errors import ConfigError
from rheostat.streams.models.version import Version
from rheostat.streams.serving.arms import Arm

MODELS = """
[models.ranker]
learner = "linear"
feature_set = "shop@1"
[models.next]
learner = "linear"
feature_set = "shop@1"
[models.other]
learner = "linear"
feature_set = "shop@2"
"""


def config(folder: Path, text: str) -> Config:
    file = folder / "rheostat.toml"
    file.write_text(text + MODELS)
    return load(file).config


def test_arms_are_read_with_what_the_follower_must_keep(tmp_path: Path) -> None:
    text = """
[serve]
arms_salt = "2026-11"
[serve.arms.ranker.canary]
model = "next"
share = 0.05
[serve.arms.ranker.old]
version = "3.120"
share = 0
[serve.arms.ranker.trial]
model = "next"
shadow = true
"""
    plan = _arms(config(tmp_path, text))["ranker"]
    assert plan.answering == {"canary": Arm(model="next", share=0.05), "old": Arm(version="3.120", share=0.0)}
    assert plan.shadows == {"trial": Arm(model="next", shadow=True)}
    assert (plan.salt, plan.models, plan.versions) == ("2026-11", frozenset({"next"}), frozenset({Version(3, 120)}))


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ('[serve.arms.clicks.canary]\nmodel = "next"\nshare = 0.1', "clicks"),
        ('[serve.arms.ranker.canary]\nmodel = "later"\nshare = 0.1', "later"),
        ('[serve.arms.ranker.canary]\nmodel = "other"\nshare = 0.1', "another feature set"),
        ('[serve.arms.ranker.canary]\nmodel = "next"', "serve.arms.ranker.canary: share"),
        ('[serve.arms.ranker.canary]\nmodel = "next"\nshare = 2', "share"),
        ('[serve.arms.ranker.canary]\nmodel = "next"\nshare = 0.1\nshadows = true', "shadows"),
        ('[serve]\narms_salt = "a:b"\n[serve.arms.ranker.canary]\nmodel = "next"\nshare = 0.1', "colon"),
    ],
)
def test_arms_that_cannot_be_are_refused_by_name(tmp_path: Path, table: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        _arms(config(tmp_path, table))


def test_explanations_have_the_meanings_of_the_dictionary_and_the_words_of_a_file(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    (tmp_path / "words.toml").write_text(
        (root / "streams/serving/explain.en.toml").read_text().replace("clicks", "Klicks")
    )
    text = f'[features]\ndir = "{root / "schemas/features"}"\n[serve]\nexplain_words = "{tmp_path / "words.toml"}"\n'
    found = _explainer(config(tmp_path, text))
    assert found.words.kind("click") == "Klicks"
    assert found.meanings["phishing@1"]["popup_window"].startswith("Pop-up windows")
    assert _explainer(config(tmp_path, "")).words.kind("click") == "clicks"
