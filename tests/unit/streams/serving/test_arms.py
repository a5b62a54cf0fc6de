"""Who meets which arm, what answers there, and in the place of an arm that cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.learners.contract import FeatureSchema
from rheostat.schemas.arms import EXPERIMENTS_MAX
from rheostat.streams.models.manifest import Facts
from rheostat.streams.models.update import build_update
from rheostat.streams.models.version import Version
from rheostat.streams.serving.arms import Arm, ArmPlan, place
from tests.support.arms import AGE_MAX_MS, FEATURES, ArmedSite
from tests.support.model_topic import LEARNER, linear_tensors

VECTORS = json.loads((Path(__file__).parents[3] / "vectors/arms.json").read_text())
CANARY = {"canary": Arm(model="next", share=0.25)}
NAMES = st.text("abcdefgh", min_size=1, max_size=4)


def unit_in(plan: ArmPlan, arm: str) -> str:
    return next(unit for unit in (f"u-{number}" for number in range(10_000)) if plan.arm_of(unit) == arm)


# --- places


@pytest.mark.parametrize("vector", VECTORS["places"], ids=lambda each: each["what"] + each["unit"])
def test_places_are_those_of_the_vectors(vector: dict[str, Any]) -> None:
    found = place(vector["salt"], vector["what"], vector["unit"])
    assert (found, found * 2**53) == (vector["place"], vector["place_times_2_to_53"])


def test_arms_are_those_of_the_vectors() -> None:
    assigned = VECTORS["assigned"]
    arms = {name: Arm(model="other", share=share) for name, share in assigned["shares"].items()}
    plan = ArmPlan.of(assigned["model"], arms, assigned["salt"])
    assert {unit: plan.arm_of(unit) for unit in assigned["units"]} == assigned["units"]


def test_each_arm_has_its_share_of_units_and_no_more() -> None:
    shares = {"a": 0.05, "b": 0.3, "default": 0.65}
    plan = ArmPlan.of("ranker", {name: Arm(model="x", share=share) for name, share in shares.items() if name in "ab"})
    met = [plan.arm_of(f"user-{number}") for number in range(20_000)]
    for name, share in shares.items():
        # Five standard deviations of the count.
        assert abs(met.count(name) - share * len(met)) < 5 * np.sqrt(len(met) * share * (1 - share))


def test_places_are_even_and_independent_between_models_and_salts() -> None:
    columns = np.array(
        [[place(*key, f"user-{number}") for key in (("", "a"), ("", "b"), ("s", "a"))] for number in range(5_000)]
    )
    counts = np.array([np.histogram(column, 20, (0, 1))[0] for column in columns.T])
    # Chi-squared with 19 degrees of freedom is above 52 once in 20,000 times.
    assert (((counts - 250) ** 2 / 250).sum(axis=1) < 52).all()
    assert np.abs(np.corrcoef(columns.T) - np.eye(3)).max() < 5 / np.sqrt(5_000)


@settings(max_examples=200)
@given(NAMES, st.text(max_size=20), st.dictionaries(NAMES, st.floats(0, 0.2), max_size=4), st.floats(0, 0.2))
def test_a_unit_stays_in_its_arm_and_a_growing_last_arm_takes_from_the_default_alone(
    model: str, unit: str, shares: dict[str, float], more: float
) -> None:
    def plan(last: float) -> ArmPlan:
        arms = {name: Arm(model=model + "-next", share=share) for name, share in shares.items()}
        return ArmPlan.of(model, {**arms, "zz": Arm(model=model + "-next", share=last)})

    before, after = plan(0.01).arm_of(unit), plan(0.01 + 0.1 * more).arm_of(unit)
    assert before == plan(0.01).arm_of(unit)
    assert after == before or (before, after) == ("default", "zz")


@pytest.mark.parametrize(
    ("arms", "named"),
    [
        ({"a": {"model": "x"}}, "share"),
        ({"a": {"share": 0.1}}, "either a model"),
        ({"a": {"model": "x", "version": "1.2", "share": 0.1}}, "either a model"),
        ({"a": {"version": "1", "share": 0.1}}, "not a version"),
        ({"a": {"model": "x", "share": 1.1}}, "share"),
        ({"a": {"model": "x", "share": float("nan")}}, "share"),
        ({"a": {"model": "x", "share": 0.6}, "b": {"model": "x", "share": 0.6}}, "more than 1"),
        ({"default": {"model": "x", "share": 0.1}}, "default"),
        ({"a": {"model": "ranker", "share": 0.1}}, "the model itself"),
        ({"a:b": {"model": "x", "share": 0.1}}, "a:b"),
    ],
)
def test_arms_that_cannot_be_are_refused(arms: dict[str, dict[str, Any]], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ArmPlan.of("ranker", {name: Arm(**each) for name, each in arms.items()})


# --- answers


def test_an_arm_answers_its_units_with_its_own_model_and_says_with_which_probability() -> None:
    site = ArmedSite(CANARY)
    site.start()
    inside, outside = (unit_in(site.plan, arm) for arm in ("canary", "default"))
    first, again, other = site.ask(subject=inside), site.ask(unit=inside), site.ask(subject=outside)
    assert (first["model"], first["arm"], first["arm_propensity"]) == ("next", "phishing:canary", 0.25)
    assert (other["model"], other["arm"], other["arm_propensity"]) == ("phishing", "phishing:default", 0.75)
    assert first["score"] == again["score"] != other["score"]
    assert not {"sticky", "arm_fallback"} & {*first, *other}
    logged = site.logged()
    record = logged[first["prediction_id"]]
    assert (record["model"], record["arm"], record["arm_propensity"]) == ("next", "phishing:canary", 0.25)
    assert (record["flags"], record["shadow_of"], record["subject_id"]) == ([], None, inside)
    assert site.counted("predictions", arm="canary") == 2
    assert site.counted("predictions", arm="default") == 1


def test_without_a_unit_chance_decides_once_for_a_request_and_the_answer_says_so() -> None:
    site = ArmedSite(CANARY)
    site.start()
    batch = {"model": "phishing", "instances": [{"features": FEATURES}] * 3}
    seen = set()
    for _ in range(60):
        answers = site.client.post("/predict", json=batch).json()["predictions"]
        assert {each["sticky"] for each in answers} == {False}
        assert len({each["arm"] for each in answers}) == 1
        seen.add(answers[0]["arm"])
    assert seen == {"phishing:canary", "phishing:default"}
    assert {tuple(each["flags"]) for each in site.logged().values()} == {("not-sticky",)}


def test_instances_of_a_batch_meet_the_arms_of_their_own_units_in_order() -> None:
    site = ArmedSite(CANARY)
    site.start()
    units = [f"u-{number}" for number in range(40)]
    instances = [{"features": {**FEATURES, "url_length": at}, "unit": unit} for at, unit in enumerate(units)]
    answers = site.client.post("/predict", json={"model": "phishing", "instances": instances}).json()["predictions"]
    singles = [site.ask(**each) for each in instances]
    for name in ("model", "arm", "arm_propensity"):
        assert [each[name] for each in answers] == [each[name] for each in singles]
    assert [each["score"] for each in answers] == pytest.approx([each["score"] for each in singles], abs=1e-12)
    one_unit = {"model": "phishing", "instances": [{"features": FEATURES}] * 4, "unit": unit_in(site.plan, "canary")}
    answers = site.client.post("/predict", json=one_unit).json()["predictions"]
    assert {each["model"] for each in answers} == {"next"}


def test_a_request_may_name_its_arm_and_then_there_is_no_propensity() -> None:
    site = ArmedSite({**CANARY, "off": Arm(model="next", share=0.0), "dark": Arm(model="next", shadow=True)})
    site.start()
    subject = unit_in(site.plan, "default")
    for name, model in (("canary", "next"), ("off", "next"), ("default", "phishing")):
        answer = site.ask(subject=subject, arm=f"layout:wide,phishing:{name}")
        assert (answer["model"], answer["arm"]) == (model, f"layout:wide,phishing:{name}")
        assert "arm_propensity" not in answer
        record = site.logged()[answer["prediction_id"]]
        assert (record["arm_propensity"], record["flags"]) == (None, ["arm-named"])
    for wrong in ("dark", "blue"):
        refused = site.client.post(
            "/predict", json={"model": "phishing", "features": FEATURES, "arm": f"phishing:{wrong}"}
        )
        assert (refused.status_code, refused.json()["field"]) == (400, "arm")
    many = ",".join(f"e{number}:a" for number in range(EXPERIMENTS_MAX))
    refused = site.client.post("/predict", json={"model": "phishing", "features": FEATURES, "arm": many})
    assert (refused.status_code, refused.json()["field"]) == (400, "arm")


def test_an_arm_without_a_version_or_with_one_that_is_too_old_is_stood_in_for_visibly() -> None:
    site = ArmedSite(CANARY)
    site.publish(site.published.publish(base=True))
    assert site.client.get("/healthz").status_code == 200
    subject = unit_in(site.plan, "canary")
    answers = [site.ask(subject=subject)]
    site.publish(site.trial.publish(base=True, at_ms=site.clock.now_ms()))
    assert "arm_fallback" not in site.ask(subject=subject)
    site.clock.advance(AGE_MAX_MS + 1)
    answers.append(site.ask(subject=subject))
    for answer in answers:
        assert (answer["model"], answer["arm"], answer["arm_fallback"]) == ("phishing", "phishing:default", True)
        assert answer["arm_propensity"] == 1.0
        assert site.logged()[answer["prediction_id"]]["flags"] == ["arm-fallback"]
    assert [site.counted("skipped_predictions", arm="canary", why=why) for why in ("no-version", "too-old")] == [1, 1]


def test_an_arm_that_takes_other_features_or_gives_no_number_does_no_harm() -> None:
    site = ArmedSite(CANARY)
    site.publish(site.published.publish(base=True))
    subject = unit_in(site.plan, "canary")
    broken = linear_tensors() | {"weights": np.full(6, 1e306), "scale.options": np.array([0.0, 1e6])}
    site.trial.learn(**broken)
    site.publish(site.trial.publish(base=True, probes=(), at_ms=site.clock.now_ms()))
    scorer = site.follower.scorer("next")
    assert scorer is not None
    with np.errstate(all="ignore"):
        answer = site.ask(subject=subject, features={"url_length": 1e6, "age_days": -1e6, "tld": "com"})
    assert (answer["arm"], answer["arm_fallback"], answer["arm_propensity"]) == ("phishing:default", True, 1.0)
    assert site.counted("skipped_predictions", arm="canary", why="failed") == 1
    schema = FeatureSchema("phishing@2", ("url_length",), ())
    tensors = {name: each[:1] for name, each in linear_tensors().items()} | {"scale.options": np.array([0.0, 1.0])}
    facts = Facts("next", Version(2, 0), "linear/1", schema, published_at_ms=site.clock.now_ms())
    site.publish(build_update(facts, tensors, None, LEARNER))
    assert site.ask(subject=subject)["arm_fallback"] is True
    assert site.counted("skipped_predictions", arm="canary", why="features") == 1


def test_a_pinned_version_answers_however_many_come_after_it_until_it_is_rolled_back() -> None:
    site = ArmedSite({"old": Arm(version="1.1", share=0.5)})
    for step in range(6):
        site.published.nudge(step)
        site.publish(site.published.publish(base=step == 0, at_ms=site.clock.advance(1_000)))
    subject = unit_in(site.plan, "old")
    answer = site.ask(subject=subject)
    assert (answer["model"], answer["version"], answer["arm"]) == ("phishing", "1.1", "phishing:old")
    assert site.ask(subject=unit_in(site.plan, "default"))["version"] == "1.5"
    site.command("rollback", epoch=2, target=Version(1, 0))
    assert site.ask(subject=subject)["arm_fallback"] is True


def test_without_arms_nothing_is_said_of_them_and_the_arm_of_the_request_is_noted_as_ever() -> None:
    site = ArmedSite(CANARY)
    site.start()
    answer = site.client.post("/predict", json={"model": "next", "features": FEATURES, "arm": "phishing:canary"}).json()
    assert sorted(answer) == ["expires_at", "model", "prediction_id", "score", "version"]
    assert site.logged()[answer["prediction_id"]]["arm"] == "phishing:canary"
