"""What arms and shadows come to on the labels that stand: from questions and feedback to the table that people read."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from rheostat.schemas import catalogue, codec
from rheostat.streams.arm_quality import compare_arms
from rheostat.streams.cli.arms import show
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage
from rheostat.streams.serving.arms import Arm
from tests.support.arms import ArmedSite
from tests.support.join_records import entry

ASKED = 120


@pytest.fixture(scope="module")
def world() -> tuple[ArmedSite, list[dict[str, Any]]]:
    """Nobody changes it."""
    return judged()


def judged() -> tuple[ArmedSite, list[dict[str, Any]]]:
    """A server whose answers were judged by what the trial model would have said, but for one in ten."""
    site = ArmedSite({"canary": Arm(model="next", share=0.4), "dark": Arm(model="next", shadow=True)})
    site.start()
    answers = []
    for number in range(ASKED):
        site.clock.advance(10)
        answers.append(
            site.ask(subject=f"s-{number}", features={"url_length": number % 7 - 3, "age_days": 1, "tld": "com"})
        )
    site.shadows.score()
    hidden = {each["shadow_of"]: each["score"] for each in site.logged().values() if each["shadow_of"]}
    for number, answer in enumerate(answers):
        value = float(hidden[answer["prediction_id"]] >= 0.5) if number % 10 else 0.5
        said = entry(f"e{number}", answer["prediction_id"], site.clock.now_ms(), kind="correction", value=value)
        record = codec.encode_record(catalogue.LEDGER, said)
        site.producer.send(catalogue.LEDGER, answer["prediction_id"].encode(), record, timestamp_ms=said["occurred_at"])
    limits = LoopLimits(poll_timeout_ms=0, interval_ms=0)
    loop = StageLoop(JoinStage(JoinSettings()), site.broker, slot="0", clock=site.clock, limits=limits)
    for _ in range(50):
        loop.step()
    loop.close()
    return site, answers


def examples(site: ArmedSite) -> list[dict[str, Any]]:
    log = site.broker.log()
    blocks = [block for at in range(log.partitions("examples")) for block in log.read("examples", at)]
    return [codec.decode_record(catalogue.EXAMPLES, value) for block in blocks for value in block.values]


def test_losses_are_those_of_each_arm_and_of_the_shadow_on_the_same_labels(
    world: tuple[ArmedSite, list[dict[str, Any]]],
) -> None:
    site, answers = world
    found = compare_arms(site.broker.log(), "phishing", 0)
    made = examples(site)
    hidden = {each["shadow_of"]: each["score"] for each in site.logged().values() if each["shadow_of"]}
    for arm in ("canary", "default"):
        own = [each for each in made if each["arm"] == f"phishing:{arm}"]
        told = found["arms"][arm]
        assert told["predictions"] == told["examples"] == len(own)
        brier = [(each["label"] - each["score"]) ** 2 for each in own]
        assert told["brier"]["mean"] == pytest.approx(np.mean(brier))
        assert told["label"]["mean"] == pytest.approx(np.mean([each["label"] for each in own]))
        assert told["brier"]["lower"] < told["brier"]["mean"] < told["brier"]["upper"]
    shadow = found["shadows"]["dark"]
    assert shadow["predictions"] == shadow["examples"] == len(answers) == len(made)
    differences = [
        (each["label"] - hidden[each["prediction_id"]]) ** 2 - (each["label"] - each["score"]) ** 2 for each in made
    ]
    assert shadow["brier_less_shown"]["mean"] == pytest.approx(np.mean(differences))
    # Labels follow the trial model, so it is surely better; where it was shown itself there is no difference.
    assert shadow["brier_less_shown"]["upper"] < 0
    assert found["stood_in"] == 0


def test_the_table_says_it(world: tuple[ArmedSite, list[dict[str, Any]]]) -> None:
    text = io.StringIO()
    show(compare_arms(world[0].broker.log(), "phishing", 0), Console(file=text, width=160))
    for word in ("canary", "default", "dark", "less than shown by"):
        assert word in text.getvalue()


def test_what_is_taken_back_and_other_models_do_not_count() -> None:
    site, answers = judged()
    before = compare_arms(site.broker.log(), "phishing", 0)
    example = next(each for each in examples(site) if each["prediction_id"] == answers[1]["prediction_id"])
    again = {**example, "revision": 1, "was_weight": example["weight"], "was_label": example["label"], "weight": 0.0}
    value = codec.encode_record(catalogue.EXAMPLES, again)
    site.producer.send(
        catalogue.EXAMPLES, example["prediction_id"].encode(), value, timestamp_ms=example["occurred_at"]
    )
    after = compare_arms(site.broker.log(), "phishing", 0)
    assert after["shadows"]["dark"]["examples"] == before["shadows"]["dark"]["examples"] - 1
    for nothing in (compare_arms(site.broker.log(), "clicks", 0), compare_arms(site.broker.log(), "phishing", 1 << 50)):
        assert (nothing["arms"], nothing["shadows"]) == ({}, {})
