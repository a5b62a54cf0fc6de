"""What features are worth, which could go, and where the examples for that come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rheostat.learners.contract import Batch, FeatureSchema, Learner
from rheostat.learners.features import hash_columns
from rheostat.learners.linear import RiverLinear
from rheostat.schemas import catalogue, codec
from rheostat.streams.cli.features import app
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.errors import ConfigError
from rheostat.streams.feature_prune import proposals_json, propose, without_all
from rheostat.streams.feature_value import Valued, as_json, value_features
from rheostat.streams.provision import create_topics
from rheostat.streams.taught import examples_of_log, examples_of_rows
from tests.support.backtest_rows import mapping_of, sales, write_rows
from tests.support.examples import SCHEMA as TOY
from tests.support.examples import an_example

SCHEMA = FeatureSchema("shop@1", ("price", "noise", "stars", "points", "still"), ("colour",))
ROWS, BLOCK, WORTH_MIN = 4_000, 200, 0.01


def new_learner() -> Learner:
    return RiverLinear(SCHEMA)


def shop(seed: int = 0, rows: int = ROWS) -> Batch:
    """Return examples whose label price, stars and colour make; points are stars in another unit, still never moves."""
    random = np.random.default_rng(seed)
    price, noise, stars = random.normal(size=(3, rows))
    red = random.random(rows) < 0.5
    chance = 1.0 / (1.0 + np.exp(-(2.0 * price + 1.5 * stars + 2.0 * red - 1.0)))
    label = (random.random(rows) < chance).astype(np.float64)
    colours = hash_columns(FeatureSchema("shop@1", (), ("colour",)), [np.where(red, "red", "blue").tolist()], rows)
    numeric = np.column_stack([price, noise, stars, 10.0 * stars, np.full(rows, 3.0)])
    return Batch(SCHEMA.id, numeric, colours, label, np.ones(rows))


@pytest.fixture(scope="module")
def valued() -> Valued:
    return value_features(new_learner, shop(), (), BLOCK)


def test_what_makes_the_label_comes_first_and_is_surely_worth_something(valued: Valued) -> None:
    best = valued.features[:2]
    assert {each.features[0] for each in best} == {"price", "colour"}
    assert all(each.nats.lower > WORTH_MIN for each in best)


def test_noise_is_proposed_and_what_makes_the_label_is_not(valued: Valued) -> None:
    proposed = {each.feature for each in propose(valued, WORTH_MIN)}
    assert {"noise", "still"} <= proposed
    assert not {"price", "colour"} & proposed


def test_of_two_copies_one_is_proposed_and_the_report_says_of_what_it_is_a_copy(valued: Valued) -> None:
    ((group, together),) = valued.copies
    assert group.features == ("stars", "points")
    assert together.nats.lower > WORTH_MIN
    alone = {each.features[0]: each.nats for each in valued.features}
    assert alone["stars"].upper < WORTH_MIN
    assert alone["points"].upper < WORTH_MIN
    (proposal,) = (each for each in propose(valued, WORTH_MIN) if each.feature in group.features)
    stays = next(name for name in group.features if name != proposal.feature)
    assert any(f"a copy of {stays}" in reason and f"{stays} would stay" in reason for reason in proposal.reasons)


def test_what_is_proposed_may_go_all_at_once(valued: Valued) -> None:
    proposals = propose(valued, WORTH_MIN)
    together = without_all(new_learner, valued, proposals, BLOCK)
    told = proposals_json(proposals, together, WORTH_MIN)
    assert told["together"]["features"] == [each.feature for each in proposals]
    assert told["all_at_once"] is True
    assert told["together"]["nats"]["upper"] < WORTH_MIN


def test_features_that_replace_each_other_must_not_all_go_at_once() -> None:
    """Three that tell the same, with noise of their own, are no copies, and no one of them adds much to the others."""
    random = np.random.default_rng(5)
    schema = FeatureSchema("shop@1", ("one", "two", "three"))
    truth = random.normal(size=ROWS)
    numeric = truth[:, None] + 0.3 * random.normal(size=(ROWS, 3))
    label = (random.random(ROWS) < 1.0 / (1.0 + np.exp(-2.0 * truth))).astype(np.float64)
    batch = Batch(schema.id, numeric, np.empty((ROWS, 0), np.uint64), label, np.ones(ROWS))
    found = value_features(lambda: RiverLinear(schema), batch, (), BLOCK)
    proposals = propose(found, 0.03)
    assert len(proposals) == 3
    together = without_all(lambda: RiverLinear(schema), found, proposals, BLOCK)
    assert proposals_json(proposals, together, 0.03)["all_at_once"] is False


def test_a_constant_is_named_as_one(valued: Valued) -> None:
    (still,) = (each for each in propose(valued, 0.0) if each.feature == "still")
    assert "100.00% of its values are the same" in still.reasons


def test_only_what_is_asked_for_costs_a_learner() -> None:
    found = value_features(new_learner, shop(rows=600), ("noise", "price"), BLOCK)
    assert [each.features for each in found.features] == [("price",), ("noise",)]
    assert found.learners == 3


def test_all_of_it_is_json(valued: Valued) -> None:
    told = json.loads(json.dumps(as_json(valued), allow_nan=False))
    assert told["learners"] == 1 + 6 + 1
    assert [each["feature"] for each in told["features"]][:1] == [valued.features[0].features[0]]


@pytest.mark.parametrize("rows", [0, 499])
def test_too_few_examples_tell_nothing(rows: int) -> None:
    with pytest.raises(ConfigError, match=f"{rows} examples are too few"):
        value_features(new_learner, shop(rows=rows), (), BLOCK)


def test_an_unknown_feature_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'shoe' is no feature of shop@1; there are price, noise"):
        value_features(new_learner, shop(rows=600), ("shoe",), BLOCK)


def a_broker(records: list[dict[str, Any]], partitions: int = 2) -> MemoryBroker:
    broker = MemoryBroker(ManualClock(), wait_ms=0)
    create_topics(broker, partitions, 1)
    producer = broker.producer()
    for each in records:
        value = codec.encode_record(catalogue.EXAMPLES, each)
        producer.send(catalogue.EXAMPLES, str(each["prediction_id"]).encode(), value, timestamp_ms=each["occurred_at"])
    return broker


def examples_at(times: range) -> list[dict[str, Any]]:
    return [an_example(number, at_ms=1_000 * time) for number, time in enumerate(times)]


def test_examples_of_all_partitions_come_in_the_order_of_their_labels_the_newest_only() -> None:
    broker = a_broker(examples_at(range(1, 301)))
    batch = examples_of_log(broker.log(), TOY, 0, 120)
    assert batch.context is not None
    assert batch.context.occurred_at_ms.tolist() == [1_000 * time + 10 for time in range(181, 301)]
    assert len(examples_of_log(broker.log(), TOY, 1_000 * 250, 120)) == 51


def test_of_an_example_that_was_revised_the_last_revision_counts() -> None:
    first, other = examples_at(range(1, 3))
    revised = first | {"revision": 1, "label": 0.25, "was_label": first["label"], "was_weight": 1.0}
    batch = examples_of_log(a_broker([first, other, revised], partitions=1).log(), TOY, 0, 10)
    assert sorted(batch.label.tolist()) == sorted([0.25, float(other["label"])])


def test_examples_of_another_feature_set_are_left_out() -> None:
    foreign = [each | {"feature_set": "other@1"} for each in examples_at(range(1, 5))]
    assert len(examples_of_log(a_broker(foreign).log(), TOY, 0, 10)) == 0


def test_rows_of_a_file_without_a_label_are_no_examples(tmp_path: Path) -> None:
    from rheostat.streams.backtest.learner_rows import read_learner_rows

    columns = sales(100)
    columns["sold"] = [None if row % 4 == 0 else sold for row, sold in enumerate(columns["sold"])]
    rows = read_learner_rows(write_rows(tmp_path / "sales.csv", columns), mapping_of())
    batch = examples_of_rows(rows, 50)
    assert len(batch) == 50
    assert batch.label.tolist() == [sold for sold in columns["sold"] if sold is not None][-50:]


MAPPING = """
[columns]
time = "at"
label = "sold"
[features]
id = "sales@1"
numeric = ["price", "age"]
categorical = ["colour"]
[label]
delay_ms = 0
"""


def test_the_verbs_say_what_features_are_worth_and_which_could_go(tmp_path: Path) -> None:
    file, mapping = write_rows(tmp_path / "sales.csv", sales(2_000)), tmp_path / "mapping.toml"
    mapping.write_text(MAPPING)
    args = ["--input", str(file), "--mapping", str(mapping)]
    told = json.loads(CliRunner().invoke(app, ["value", *args, "--json"], catch_exceptions=False).stdout)
    assert [each["feature"] for each in told["features"]] == ["price", "colour", "age"]
    shown = CliRunner().invoke(app, ["value", *args], catch_exceptions=False).stdout
    assert max(map(len, shown.splitlines())) <= 100
    worth = ["--worth-min", "0.02"]
    told = json.loads(CliRunner().invoke(app, ["prune", *args, *worth, "--json"], catch_exceptions=False).stdout)
    assert [each["feature"] for each in told["proposals"]] == ["age"]
    shown = CliRunner().invoke(app, ["prune", *args, *worth], catch_exceptions=False).stdout
    assert "could go" in shown
    assert "adds" in shown


def test_owners_come_from_the_dictionary(tmp_path: Path) -> None:
    from tests.support.feature_files import HEAD

    folder = tmp_path / "features"
    folder.mkdir()
    entry = '[[feature]]\nname = "{}"\ntype = "numeric"\nunit = "EUR"\nrange = [-9, 9]\nmeaning = "What it says."\n'
    (folder / "sales@1.toml").write_text(HEAD + entry.format("price") + entry.format("age"))
    file, mapping = write_rows(tmp_path / "sales.csv", sales(600)), tmp_path / "mapping.toml"
    mapping.write_text(
        MAPPING.replace('id = "sales@1"', 'set = "sales@1"').partition("numeric")[0] + "[label]\ndelay_ms = 0\n"
    )
    args = ["value", "--input", str(file), "--mapping", str(mapping), "--set", f"features.dir={folder}", "--json"]
    told = json.loads(CliRunner().invoke(app, args, catch_exceptions=False).stdout)
    assert [each["owner"] for each in told["features"]] == ["offers", "offers"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([], "say what is to be valued"),
        (["--input", "sales.csv"], "--input and --mapping belong together"),
        (["--feature-set", "none@1"], "'none@1' is not configured"),
        (["--model", "none"], "--model 'none'"),
    ],
)
def test_what_cannot_be_valued_is_refused(args: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        CliRunner().invoke(app, ["value", *args], catch_exceptions=False)
