"""The dictionary in force: which inputs a model may have, and what `rheostat features` says of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rheostat.learners.contract import FeatureSchema
from rheostat.learners.sketches import number_distance
from rheostat.schemas.feature_dictionary import find_feature_set, packaged_dictionary
from rheostat.streams.config import Config, load
from rheostat.streams.demo.records import WIKI_FEATURES, phishing
from rheostat.streams.errors import ConfigError
from tests.support.feature_files import HEAD

PRICE = '[[feature]]\nname = "price"\ntype = "numeric"\nmeaning = "Price [net]."\nunit = "EUR"\nrange = [0, inf]\n'
AGE = '[[feature]]\nname = "age"\ntype = "numeric"\nmeaning = "Age."\nunit = "days"\nrange = [0, 9]\n'
COLOUR = '[[feature]]\nname = "colour"\ntype = "categorical"\nmeaning = "Colour."\ncategories_max = 9\n'
REASON = '[[feature]]\nname = "complaint"\ntype = "boolean"\nmeaning = "1: complained of."\navailable_at = "outcome"\n'


def a_dictionary(folder: Path, **sets: str) -> Path:
    """Write feature sets (`shop__1=...` becomes shop@1.toml) into a folder."""
    place = folder / "features"
    place.mkdir(exist_ok=True)
    for name, text in sets.items():
        (place / f"{name.replace('__', '@')}.toml").write_text(HEAD + text)
    return place


def a_config(folder: Path, place: Path | None, tables: str = "", feature_set: str = "shop@1") -> Path:
    file = folder / "rheostat.toml"
    features = "" if place is None else f"[features]\ndir = {json.dumps(str(place))}\n"
    file.write_text(f'{features}[models.m]\nlearner = "linear"\nfeature_set = "{feature_set}"\n{tables}')
    return file


def loaded(folder: Path, place: Path | None, tables: str = "", feature_set: str = "shop@1") -> Config:
    return load(a_config(folder, place, tables, feature_set)).config


def rheostat(*arguments: str) -> tuple[int, str, str]:
    """Run the command line; return its exit code and what it printed on either side."""
    command = [sys.executable, "-m", "rheostat.streams.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_the_inputs_of_a_model_come_from_the_dictionary(tmp_path: Path) -> None:
    place = a_dictionary(tmp_path, shop__1=PRICE + COLOUR + AGE)
    assert loaded(tmp_path, place).feature_schema("m") == FeatureSchema("shop@1", ("price", "age"), ("colour",))


def test_the_configuration_says_what_is_not_scored_with(tmp_path: Path) -> None:
    place = a_dictionary(tmp_path, shop__1=PRICE + COLOUR + AGE)
    table = (
        '[feature_sets."shop@1"]\nnumeric = ["price", "age"]\ncategorical = ["colour"]\ntraining_only = { age = 3 }\n'
    )
    schema = loaded(tmp_path, place, table).feature_schema("m")
    assert schema == FeatureSchema("shop@1", ("price", "age"), ("colour",), training_only=(("age", 3.0),))
    undeclared = table.replace('"price", "age"', '"price", "rank"').replace("age = 3", "rank = 3")
    with pytest.raises(ConfigError, match="'rank' is not declared so in"):
        loaded(tmp_path, place, undeclared).feature_schema("m")


def test_without_a_dictionary_the_configuration_says_what_the_inputs_are(tmp_path: Path) -> None:
    a_dictionary(tmp_path, shop__1=PRICE + REASON)
    found = loaded(tmp_path, None, '[feature_sets."shop@1"]\nnumeric = ["complaint"]\n').feature_schema("m")
    assert found == FeatureSchema("shop@1", ("complaint",))


def test_a_feature_known_after_the_outcome_is_refused_by_model_feature_and_file(tmp_path: Path) -> None:
    place = a_dictionary(tmp_path, shop__1=PRICE + REASON, shop__2=PRICE)
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, place).feature_schema("m")
    for told in ("models.m.feature_set", "'m'", "'complaint'", str(place / "shop@1.toml"), "outcome", "shop@2"):
        assert told in str(caught.value)
    assert "price" not in str(caught.value)
    assert loaded(tmp_path, place, feature_set="shop@2").feature_schema("m").numeric == ("price",)


def test_its_learner_does_not_start(tmp_path: Path) -> None:
    file = a_config(tmp_path, a_dictionary(tmp_path, shop__1=PRICE + REASON))
    code, _, error = rheostat("worker", "--stages", "learn", "--config", str(file))
    assert code == 1
    assert "model 'm' would learn from 'complaint', known only after the outcome" in error.splitlines()[-1]


def test_a_leak_cannot_be_hidden_by_listing_the_features_or_by_another_name(tmp_path: Path) -> None:
    place = a_dictionary(tmp_path, shop__1=PRICE + REASON)
    with pytest.raises(ConfigError, match="known only after the outcome"):
        loaded(tmp_path, place, '[feature_sets."shop@1"]\nnumeric = ["price"]\n').feature_schema("m")
    renamed = '[feature_sets."other@1"]\nnumeric = ["price", "complaint"]\n'
    with pytest.raises(ConfigError, match=r"other@1\.toml: there is no such file; feature sets there: shop@1"):
        loaded(tmp_path, place, renamed, "other@1").feature_schema("m")


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ('numeric = ["price", "age"]\ncategorical = ["colour"]', None),
        ('numeric = ["age", "price"]\ncategorical = ["colour"]', "numeric: is not in the order of"),
        ('numeric = ["price"]\ncategorical = ["colour"]', "numeric: lacks 'age' of"),
        ('numeric = ["price", "age"]', "categorical: lacks 'colour' of"),
        ('numeric = ["price", "age", "colour"]', "numeric: 'colour' is not declared so in"),
    ],
)
def test_a_list_in_the_configuration_must_agree(tmp_path: Path, listed: str, why: str | None) -> None:
    place = a_dictionary(tmp_path, shop__1=PRICE + COLOUR + AGE)
    config = loaded(tmp_path, place, f'[feature_sets."shop@1"]\n{listed}\n')
    if why is None:
        assert config.feature_schema("m").numeric == ("price", "age")
    else:
        with pytest.raises(ConfigError) as caught:
            config.feature_schema("m")
        assert f"feature_sets.shop@1: {why} {place / 'shop@1.toml'}" in str(caught.value)


def test_a_wrong_file_stops_only_the_models_that_need_it(tmp_path: Path) -> None:
    place = a_dictionary(tmp_path, shop__1=PRICE, other__1=PRICE.replace("EUR", ""))
    assert loaded(tmp_path, place).feature_schema("m").numeric == ("price",)
    with pytest.raises(ConfigError, match=r"models\.m\.feature_set: .*other@1\.toml: feature 'price': unit"):
        loaded(tmp_path, place, feature_set="other@1").feature_schema("m")


def test_the_sets_of_the_demo_are_those_of_its_records() -> None:
    declared = find_feature_set(packaged_dictionary(), "phishing@1")
    assert declared.numeric == phishing().feature_names
    assert find_feature_set(packaged_dictionary(), "wiki-edit@1").numeric == WIKI_FEATURES
    for feature in declared.features:
        found = number_distance(feature, np.array([record.features[feature.name] for record in phishing().records]))
        assert found.outside == found.missing == 0.0
        assert found.shift == pytest.approx(0.0, abs=1e-4)


def test_list_shows_every_feature_with_what_is_declared(tmp_path: Path) -> None:
    place = a_dictionary(tmp_path, shop__1=PRICE + COLOUR, other__1=AGE)
    code, shown, _ = rheostat("features", "list", "--dir", str(place), "shop@1")
    assert code == 0
    for told in ("shop@1: An offer.", "price", "Price [net].", "EUR", "0 to inf", "offers", "contract", "30 days"):
        assert told in shown
    assert "age" not in shown
    code, shown, _ = rheostat("features", "list", "--config", str(a_config(tmp_path, place)), "--json")
    other, shop = json.loads(shown)["feature_sets"]
    assert (other["id"], shop["id"], shop["meaning"]) == ("other@1", "shop@1", "An offer.")
    assert [each["name"] for each in shop["features"]] == ["price", "colour"]
    assert (shop["features"][0]["low"], shop["features"][0]["high"], shop["features"][0]["unit"]) == (0.0, None, "EUR")
    code, _, error = rheostat("features", "list", "--dir", str(place), "none@1")
    assert (code, "has no feature set 'none@1'; there are other@1, shop@1" in error) == (1, True)


def test_check_tells_everything_that_is_wrong_and_fails(tmp_path: Path) -> None:
    broken = {"bad__1": PRICE.replace("EUR", "") + AGE.replace("[0, 9]", "[9, 0]"), "late__1": PRICE + REASON}
    place = a_dictionary(tmp_path, **broken, shop__1=PRICE + COLOUR)
    file = a_config(tmp_path, place, '[feature_sets."shop@1"]\nnumeric = ["price"]\n')
    code, shown, _ = rheostat("features", "check", "--config", str(file))
    assert code == 1
    *problems, summary = shown.splitlines()
    told = [
        (f"{place / 'bad@1.toml'}: feature 'price': unit: ", "is not what it counts"),
        (f"{place / 'bad@1.toml'}: feature 'age': range: ", "[9, 0] is not two rising numbers"),
        (f"{place / 'late@1.toml'}: feature 'complaint': available_at: ", "outcome"),
        ("feature_sets.shop@1: categorical: lacks 'colour'", str(place / "shop@1.toml")),
    ]
    assert len(problems) == len(told)
    for line, (start, part) in zip(problems, told, strict=True):
        assert line.startswith(start)
        assert part in line
    assert summary == f"{place}: feature sets: 2, features: 4, models: 1, wrong: 4"
    code, shown, _ = rheostat("features", "check", "--config", str(file), "--json")
    assert (code, json.loads(shown)["problems"]) == (1, problems)


def test_check_of_a_right_dictionary_passes(tmp_path: Path) -> None:
    place = a_dictionary(tmp_path, shop__1=PRICE + COLOUR)
    code, shown, _ = rheostat("features", "check", "--config", str(a_config(tmp_path, place)))
    assert (code, shown) == (0, f"{place}: feature sets: 1, features: 2, models: 1, wrong: nothing\n")
    assert rheostat("features", "check")[0] == 0, "the dictionary of the demo"
    code, _, error = rheostat("features", "check", "--dir", str(tmp_path / "nowhere"))
    assert (code, "there is no such folder" in error) == (1, True)
