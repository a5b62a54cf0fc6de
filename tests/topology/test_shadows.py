"""What was never shown teaches nothing: from the question to the examples, by silence, feedback and after a restart."""

from __future__ import annotations

from typing import Any

import pytest

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage, JoinTask
from rheostat.streams.serving.arms import Arm
from tests.support.arms import ArmedSite
from tests.support.join_records import entry

WINDOW_MS = 60_000
SETTINGS = JoinSettings(window_ms=WINDOW_MS, late_ms=0, default_label=0.0, default_weight=0.1)
LIMITS = LoopLimits(poll_timeout_ms=0, interval_ms=0)


def say(site: ArmedSite, event_id: str, prediction_id: str, key: str) -> None:
    said = entry(event_id, prediction_id, site.clock.now_ms())
    value = codec.encode_record(catalogue.LEDGER, said)
    site.producer.send(catalogue.LEDGER, key.encode(), value, timestamp_ms=said["occurred_at"])


def examples(site: ArmedSite) -> list[dict[str, Any]]:
    log = site.broker.log()
    blocks = [block for at in range(log.partitions("examples")) for block in log.read("examples", at)]
    return [codec.decode_record(catalogue.EXAMPLES, value) for block in blocks for value in block.values]


@pytest.mark.parametrize("restarts", [False, True])
def test_only_what_was_shown_becomes_examples_with_its_arm_and_the_books_name_the_rest(restarts: bool) -> None:
    site = ArmedSite({"canary": Arm(model="next", share=0.3), "dark": Arm(model="next", shadow=True)})
    site.start()
    books: dict[int, dict[str, int]] = {}

    def join() -> None:
        loop = StageLoop(JoinStage(SETTINGS), site.broker, slot="0", clock=site.clock, limits=LIMITS)
        for _ in range(30):
            loop.step()
        for task in loop.tasks.values():
            assert isinstance(task, JoinTask)
            books[task.partition] = dict(task.counts)
        loop.close()

    shown = [site.ask(subject=f"s-{number}") for number in range(30)]
    site.shadows.score()
    hidden = {each["shadow_of"]: each for each in site.logged().values() if each["shadow_of"]}
    assert len(hidden) == len(shown)
    if restarts:
        join()
    site.clock.advance(1_000)
    for number, answer in enumerate(shown[:10]):
        say(site, f"e{number}", answer["prediction_id"], answer["prediction_id"])
        # Nobody can know a shadow's id; whoever guesses one teaches nothing.
        say(site, f"x{number}", hidden[answer["prediction_id"]]["prediction_id"], answer["prediction_id"])
    if restarts:
        join()
    site.clock.advance(3 * WINDOW_MS)
    site.start()
    for number in range(40):
        site.ask(subject=f"later-{number}")
    site.shadows.score()
    site.logged()
    join()
    made = [each for each in examples(site) if each["prediction_id"] in {answer["prediction_id"] for answer in shown}]
    assert len(made) == len(examples(site)) == len(shown)
    arms = {answer["prediction_id"]: (answer["arm"], answer["model"], answer["score"]) for answer in shown}
    assert {each["prediction_id"]: (each["arm"], each["model"], each["score"]) for each in made} == arms
    assert sorted(each["kind"] for each in made) == ["default"] * 20 + ["thumb"] * 10
    assert sum(each["shadow_predictions"] for each in books.values()) == 30 + 40
    assert sum(each["predictions_in"] for each in books.values()) == 2 * (30 + 40)
    assert sum(each["dangling"] for each in books.values()) == 10
