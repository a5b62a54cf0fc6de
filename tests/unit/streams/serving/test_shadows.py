"""Shadows answer after the answer is out, are logged beside it, and give way."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import numpy as np
import pytest

from rheostat.learners.contract import Batch, Floats
from rheostat.learners.features import batch_from_columns
from rheostat.streams.serving.answers import Answer
from rheostat.streams.serving.arms import Arm
from tests.support.arms import FEATURES, ONE, ArmedSite
from tests.support.model_topic import SCHEMA

DARK = {"dark": Arm(model="next", shadow=True)}


def shadows_in(site: ArmedSite) -> list[dict[str, Any]]:
    return [each for each in site.logged().values() if each["shadow_of"] is not None]


def test_a_shadow_is_scored_after_the_answer_and_logged_with_an_id_of_its_own_and_that_of_what_was_shown() -> None:
    site = ArmedSite({**DARK, "canary": Arm(model="next", share=0.0)})
    site.start()
    answer = site.ask(subject="s-1", segment="de", target_id="t-1", arm="layout:wide")
    assert (answer["model"], answer["arm"]) == ("phishing", "layout:wide,phishing:default")
    assert (len(site.shadows), len(site.logged())) == (1, 1)
    site.clock.advance(40)
    site.shadows.score()
    (record,) = shadows_in(site)
    shown = site.logged()[answer["prediction_id"]]
    trial = site.follower.current("next")
    assert trial is not None
    expected = trial.predictor.predict(batch_from_columns(SCHEMA, [[12.0, 3.5]], [["com"]]))[0]
    own = {"prediction_id", "model", "epoch", "sequence", "score", "arm", "flags", "arm_propensity", "shadow_of"}
    assert {name: each for name, each in record.items() if name not in own} == {
        name: each for name, each in shown.items() if name not in own
    }
    assert record["score"] == pytest.approx(expected, abs=1e-12)
    assert record["score"] != shown["score"]
    assert (record["model"], record["arm"], record["flags"]) == ("next", "layout:wide,phishing:dark", ["shadow"])
    assert (record["shadow_of"], record["arm_propensity"]) == (answer["prediction_id"], None)
    assert record["prediction_id"] != answer["prediction_id"]
    assert site.counted("predictions", arm="dark") == 1


def test_what_is_logged_of_a_shadow_lies_with_what_was_shown_and_so_with_its_feedback() -> None:
    site = ArmedSite(DARK)
    site.start()
    for _ in range(20):
        site.ask()
    site.shadows.score()
    site.log.drain()
    log = site.broker.log()
    where: dict[str, int] = {}
    for partition in range(log.partitions("predictions")):
        for block in log.read("predictions", partition):
            where |= dict.fromkeys([(key or b"").decode() for key in block.keys], partition)
    shadows = shadows_in(site)
    assert len(shadows) == 20
    assert {each["shadow_of"] for each in shadows} == set(where)


def test_all_answers_of_a_batch_are_shadowed_in_turn_whichever_arm_gave_them() -> None:
    site = ArmedSite({"dark": Arm(model="next", shadow=True), "canary": Arm(model="next", share=0.5)})
    site.start()
    instances = [{"features": {**FEATURES, "url_length": at}, "unit": f"u-{at}"} for at in range(30)]
    answers = site.client.post("/predict", json={"model": "phishing", "instances": instances}).json()["predictions"]
    assert {each["model"] for each in answers} == {"phishing", "next"}
    site.shadows.score()
    shadows = {each["shadow_of"]: each for each in shadows_in(site)}
    for at, answer in enumerate(answers):
        assert shadows[answer["prediction_id"]]["numeric"][0] == at


def test_a_shadow_with_a_share_takes_the_same_units_each_time() -> None:
    site = ArmedSite({"dark": Arm(model="next", shadow=True, share=0.3)})
    site.start()
    taken = {unit for unit in (f"u-{number}" for number in range(200)) if site.plan.shadows_of(unit)}
    assert 30 < len(taken) < 90
    for unit in (*sorted(taken)[:3], "u-0", "u-1", "u-2"):
        before = len(site.shadows)
        site.ask(unit=unit)
        assert len(site.shadows) - before == (unit in taken)


def test_a_full_queue_and_a_log_that_fills_up_drop_shadows_and_count_but_never_what_was_shown() -> None:
    site = ArmedSite(DARK, shadow_queue_max=3)
    site.start()
    for _ in range(5):
        site.ask()
    assert (len(site.shadows), site.counted("skipped_predictions", arm="dark", why="full")) == (3, 2)
    assert len(site.logged()) == 5
    crowded = ArmedSite(DARK, queue_max=10)
    crowded.start()
    for _ in range(10):
        crowded.ask()
    assert (crowded.log.dropped, len(crowded.shadows)) == (0, 4)
    assert crowded.counted("skipped_predictions", arm="dark", why="full") == 6
    crowded.shadows.stop()
    assert crowded.counted("skipped_predictions", arm="dark", why="full") == 10


def test_a_shadow_that_cannot_answer_is_counted_and_the_next_one_is_asked() -> None:
    site = ArmedSite(DARK)
    site.publish(site.published.publish(base=True))
    site.ask()
    site.shadows.score()
    assert site.counted("skipped_predictions", arm="dark", why="no-version") == 1
    site.publish(site.trial.publish(base=True, at_ms=site.clock.now_ms()))
    scorer = site.follower.scorer("next")
    assert scorer is not None
    calls = []

    def predict(batch: Batch) -> Floats:
        calls.append(len(batch))
        if len(calls) == 1:
            raise RuntimeError("a defect")
        return np.where(np.arange(len(batch)) == 0, np.nan, 0.25)

    scorer._predict = predict  # type: ignore[method-assign]
    for count in (3, 4):
        site.client.post("/predict", json={"model": "phishing", "instances": [{"features": FEATURES}] * count})
        site.shadows.score()
    assert calls == [3, 4]
    assert site.counted("skipped_predictions", arm="dark", why="failed") == 3 + 1
    assert site.counted("predictions", arm="dark") == 3
    assert [each["score"] for each in shadows_in(site)] == [0.25] * 3


def test_a_shadow_that_never_ends_keeps_nobody_waiting() -> None:
    site = ArmedSite(DARK, shadow_queue_max=4)
    site.start()
    scorer = site.follower.scorer("next")
    assert scorer is not None
    begun, end = threading.Event(), threading.Event()

    def answer(*_: Any) -> list[Answer]:
        begun.set()
        end.wait(30)
        raise RuntimeError("it was let go")

    scorer.answer = answer  # type: ignore[assignment]
    site.shadows.start()
    site.ask()
    assert begun.wait(10)
    started = time.monotonic()
    for _ in range(50):
        site.ask()
    # While the shadow waits for what happens only after this.
    assert not end.is_set()
    assert time.monotonic() - started < 30
    assert site.counted("skipped_predictions", arm="dark", why="full") == 50 - 4
    end.set()
    site.shadows.stop()


def test_the_answer_is_out_before_a_shadow_hears_of_the_question() -> None:
    site = ArmedSite(DARK)
    site.start()
    waiting_at_send: list[int] = []

    async def ask() -> None:
        body = json.dumps(ONE).encode()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            waiting_at_send.append(len(site.shadows))

        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
        await site.client._app(scope, receive, send)

    asyncio.run(ask())
    assert (waiting_at_send, len(site.shadows)) == ([0, 0], 1)
