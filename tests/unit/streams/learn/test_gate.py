"""What the publication gate's checks look at, and that what it knows survives a restart."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rheostat.learners.contract import Batch, FeatureSchema, Floats
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.learners.paired_bets import SHARES, Bets
from rheostat.learners.predictors import PARAMETER_MAX
from rheostat.streams.config import Config, load
from rheostat.streams.errors import ConfigError
from rheostat.streams.learn.gate import Gate, GateState, NotFinite
from rheostat.streams.learn.golden import GoldenInputs
from rheostat.streams.learn.settings import GateSettings, Golden
from rheostat.streams.models.manifest import GATE_CHECKS
from rheostat.streams.worker import build_learn

SCHEMA = FeatureSchema("toy@1", ("a",), ("colour",))
Arrays = dict[str, NDArray[np.generic]]


class Stated(RiverLinear):
    """A learner of whatever kind is wanted, that scores whatever is wanted."""

    def __init__(self, kind: str = "linear/1", score: float = 0.5) -> None:
        super().__init__(SCHEMA, LinearSettings())
        self.kind, self._score = kind, score

    def predict(self, batch: Batch) -> Floats:
        return np.full(len(batch), self._score)


def a_gate(**settings: object) -> Gate:
    made = GateSettings(**settings)  # type: ignore[arg-type]
    return Gate(made, GoldenInputs(SCHEMA, made.golden), GateState())


def judged(gate: Gate, tensors: Arrays, carried: Arrays | None = None, kind: str = "linear/1") -> tuple[str, ...]:
    """The verdict on a delta, or on a base if nothing is said to be carried."""
    base = carried is None
    return gate.judge(Stated(kind), tensors, tensors if carried is None else carried, None, 10_000, base=base)


def test_the_bound_of_parameters_is_the_one_that_learners_keep_to() -> None:
    assert GateSettings().magnitude_max == PARAMETER_MAX


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["weights", "scale.mean", "anything", "table#values"])
@pytest.mark.parametrize("kind", ["linear/1", "river/1", "something/9"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_not_finite_is_never_let_through(name: str, kind: str, dtype: type, value: float) -> None:
    tensor: NDArray[np.generic] = np.ones((3, 2), dtype)
    tensor[1, 1] = value
    for gate in (a_gate(), a_gate(enabled=False)):
        with pytest.raises(NotFinite, match=repr(name.removesuffix("#values"))):
            judged(gate, {name: tensor}, {"ids": np.arange(3), "empty": np.zeros(0), name: tensor}, kind)


def test_an_explosion_counts_until_all_parameters_were_looked_at() -> None:
    gate = a_gate()
    small, huge = np.ones(4), np.array([1.0, -2e6, 1.0, 1.0])
    assert judged(gate, {"weights": small}) == ()
    assert judged(gate, {"weights": huge}, {"weights#values": huge[1:2]}) == ("magnitude",)
    assert judged(gate, {"weights": huge}, {"weights#values": huge[2:]}) == ("magnitude",)
    # A base in parts: the update beside it carries what changed and no more.
    beside = gate.judge(Stated(), {"weights": huge}, {"weights#values": huge[2:]}, None, 10_000, base=True)
    assert beside == ("magnitude",)
    assert gate.judge(Stated(), {"weights": small}, {}, None, 10_000, base=True) == ()
    assert [(each.check, each.failed) for each in gate.found] == [("magnitude", True), ("magnitude", False)]


@pytest.mark.parametrize(
    ("kind", "name", "found"),
    [
        ("linear/1", "weights", ("magnitude",)),
        ("hashed-mlp/2", "table", ("magnitude",)),
        ("linear/1", "scale.mean", ()),
        ("hashed-mlp/2", "ids.keys", ()),
        ("linear-bandit/1", "precision", ()),
        ("river/1", "state", ()),
    ],
)
def test_only_what_grows_by_steps_can_explode(kind: str, name: str, found: tuple[str, ...]) -> None:
    assert judged(a_gate(), {name: np.array([1e12])}, kind=kind) == found


def test_every_golden_input_counts_and_a_score_that_is_no_number_is_wrong() -> None:
    features = {"a": 1.0, "colour": "red"}
    gate = a_gate(golden=(Golden(features, most=0.9), Golden(features, least=0.4, most=0.6)))
    scores = (0.5, 0.6, 0.61, 0.5, math.nan)
    verdicts = [gate.judge(Stated(score=score), {}, {}, None, 10_000, base=False) for score in scores]
    assert verdicts == [(), (), ("golden",), (), ("golden",)]
    assert [each.inputs.get("input") for each in gate.found] == [2.0, None, 1.0]
    assert gate.judge(Stated(score=math.nan), {}, {}, None, 999, base=False) == ("golden",)
    young = a_gate(golden=(Golden(features, least=0.9),))
    assert young.judge(Stated(), {}, {}, None, 999, base=False) == ()


def test_scores_that_are_no_numbers_are_the_worst() -> None:
    gate = a_gate(hold_events=100)
    for _ in range(20):
        gate.weigh(np.full(50, np.nan), np.full(50, 0.5), np.ones(50), np.ones(50))
    assert gate.state.failed == ("worse",)


@given(
    st.sets(st.sampled_from(GATE_CHECKS)),
    st.tuples(*(st.one_of(st.just(-math.inf), st.floats(-1e3, 1e3)) for _ in SHARES)),
    st.floats(0.0, 1e12),
)
def test_what_the_gate_knows_comes_back_exactly(failed: set[str], log_sr: tuple[float, ...], count: float) -> None:
    state = GateState(tuple(each for each in GATE_CHECKS if each in failed), Bets(log_sr, count))
    assert GateState.from_json(json.loads(json.dumps(state.to_json()))) == state
    assert GateState.from_json(()) == GateState()


@pytest.mark.parametrize(
    "wrong", [{"tolerance": 0.6}, {"hold_events": 10}, {"release_events": 0}, {"magnitude_max": 0.0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: .* is out of range"):
        GateSettings(**wrong)  # type: ignore[arg-type]


CONFIGURATION = """
[feature_sets."toy@1"]
numeric = ["a"]
categorical = ["colour"]
[models.toy]
learner = "linear"
feature_set = "toy@1"
mode = "apprentice"
[models.toy.gate]
tolerance = 0.05
golden = [{features = {a = 1.5, colour = "red"}, least = 0.5}]
"""


def configured(folder: Path, text: str) -> Config:
    (folder / "rheostat.toml").write_text(text)
    return load(folder / "rheostat.toml").config


def test_mode_and_gate_are_the_models_configuration(tmp_path: Path) -> None:
    model = configured(tmp_path, CONFIGURATION).models["toy"]
    assert (model.mode, model.gate.tolerance) == ("apprentice", 0.05)
    assert model.gate.golden == (Golden({"a": 1.5, "colour": "red"}, least=0.5),)


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ('"apprentice"', '"learning"', "models.toy.mode: 'learning' is not one of online, apprentice, log-only"),
        ("0.05", "5.0", "models.toy.gate: tolerance: 5.0 is out of range"),
        ("least = 0.5", "lest = 0.5", "models.toy.gate.golden.lest: no such setting"),
        ("a = 1.5, ", "", "models.toy.gate: golden input 1: has no feature 'a'"),
    ],
)
def test_what_is_wrong_with_it_is_told_before_anything_is_learned(
    tmp_path: Path, old: str, new: str, wrong: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(wrong)):
        build_learn(configured(tmp_path, CONFIGURATION.replace(old, new)), "toy", tmp_path, "0")


@pytest.mark.parametrize("bounds", [(0.5, 0.4), (-0.1, 0.5), (0.5, 1.1), (math.nan, 1.0)])
def test_bounds_that_no_score_can_keep_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="in this order"):
        Golden({}, *bounds)
