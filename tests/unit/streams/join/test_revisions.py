"""What an example counts may change after it was given: corrections, retractions, late feedback, reward functions."""

from __future__ import annotations

from typing import Any

import pytest

from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Block
from tests.support.join_records import T0, append, correction, entry, prediction
from tests.support.join_world import WINDOW, driver, examples
from tests.support.written_log import Driver


def say(world: Driver, *records: dict[str, Any]) -> Block:
    return append(world.log, catalogue.LEDGER, list(records))


def show(world: Driver, *records: dict[str, Any]) -> Block:
    return append(world.log, catalogue.PREDICTIONS, list(records))


def correct(world: Driver, *records: dict[str, Any]) -> Block:
    return append(world.log, catalogue.CORRECTIONS, list(records))


def pass_time(world: Driver, ms: int) -> None:
    """Let both clocks come this far after T0, by records that have nothing to do with others."""
    world.feed(show(world, prediction(f"far-{ms}", T0 + ms)), say(world, entry(f"far-{ms}", f"far-{ms}", T0 + ms)))


def told(world: Driver, start: int = 0) -> list[tuple[str, float, float, int]]:
    """Return id, label, weight and revision of the examples from one on, without those that only pass the time."""
    made = [each for each in examples(world)[start:] if not each["prediction_id"].startswith("far-")]
    return [(each["example_id"], each["label"], each["weight"], each["revision"]) for each in made]


def test_a_retraction_takes_back_what_was_taught_with_what_it_counted() -> None:
    world = driver()
    world.feed(show(world, prediction("p1", T0)), say(world, entry("e1", "p1", T0 + 1, weight=0.5)))
    world.reopen()
    world.feed(say(world, entry("e2", "p1", T0 + 2, kind="retraction", retracts="e1")))
    assert told(world) == [("e1", 1.0, 0.5, 0), ("e1", 1.0, 0.0, 1)]
    taken_back = examples(world)[1]
    assert (taken_back["was_label"], taken_back["was_weight"]) == (1.0, 0.5)
    assert taken_back["numeric"] == [1.5, -2.0]


def test_what_is_taken_back_before_it_is_joined_counts_nothing_from_the_start() -> None:
    world = driver()
    event = entry("e1", "p1", T0)
    world.feed(correct(world, correction(event, "burst", 0.25)))
    world.feed(say(world, event))
    world.reopen()
    world.feed(show(world, prediction("p1", T0)))
    # Whether a prediction nobody knows has gone or is still to come, nobody knows either.
    assert [each for each in told(world) if each[3] == 0] == [("e1", 1.0, 0.25, 0)]


def test_what_an_event_keeps_is_the_product_over_causes_of_the_newest_correction() -> None:
    world = driver()
    event = entry("e1", "p1", T0, weight=0.8)
    world.feed(show(world, prediction("p1", T0)), say(world, event))
    for cause, keeps in (("burst", 0.5), ("conflict", 0.5), ("burst", 1.0), ("burst", 1.0), ("conflict", 0.0)):
        world.feed(correct(world, correction(event, cause, keeps)))
        world.reopen()
    assert [(weight, revision) for _, _, weight, revision in told(world)] == [
        (0.8, 0),
        (0.4, 1),
        (0.2, 2),
        (0.4, 3),
        (0.0, 4),
    ]


def test_of_several_corrections_at_once_only_what_they_lead_to_is_told() -> None:
    world = driver()
    event = entry("e1", "p1", T0)
    world.feed(show(world, prediction("p1", T0)), say(world, event))
    world.feed(correct(world, correction(event, "burst", 0.0), correction(event, "burst", 0.5)))
    assert told(world)[1:] == [("e1", 1.0, 0.5, 1)]
    assert world.task.counts["changes_in"] == 2  # type: ignore[attr-defined]


def test_a_correction_of_what_left_the_window_is_told_without_features() -> None:
    world = driver()
    event = entry("e1", "p1", T0, weight=0.5)
    world.feed(show(world, prediction("p1", T0)), say(world, event))
    pass_time(world, 5_000)
    world.feed(correct(world, correction(event, "lockstep", 0.5)))
    assert told(world)[1:] == [("e1", 0.0, 0.25, 1)]
    last = examples(world)[-1]
    assert (last["feature_set"], last["numeric"], last["was_weight"]) == ("", [], 0.5)


def test_feedback_after_the_window_takes_the_default_back() -> None:
    world = driver(default_label=0.0, default_weight=0.1, late_ms=10_000)
    world.feed(show(world, prediction("p1", T0), prediction("p2", T0)))
    pass_time(world, 3_000)
    world.reopen()
    assert told(world) == [("default:p1", 0.0, 0.1, 0), ("default:p2", 0.0, 0.1, 0)]
    world.feed(say(world, entry("e1", "p1", T0 + 2_500)))
    assert told(world)[2:] == [("e1", 1.0, 1.0, 0), ("default:p1", 0.0, 0.0, 1)]
    world.reopen()
    world.feed(say(world, entry("e2", "p1", T0 + 2_600, kind="retraction", retracts="e1")))
    assert told(world)[4:] == [("e1", 1.0, 0.0, 1), ("default:p1", 0.0, 0.1, 2)]


def test_what_is_kept_is_let_go_in_the_end() -> None:
    world = driver(default_label=0.0, late_ms=2_000)
    world.feed(show(world, prediction("p1", T0)))
    pass_time(world, 2_500)
    assert world.task.counts["default_emitted"] == 0  # type: ignore[attr-defined]
    pass_time(world, 3_500)
    pass_time(world, 4_500)
    assert world.task.counts["default_emitted"] == 1  # type: ignore[attr-defined]
    assert [each[0] for each in told(world)] == ["default:p1"]


SIGNALS = (("e1", 3, 0.75, 1.0), ("e2", 1, 0.25, 0.5), ("e3", 2, 1.0, 0.25))
WORTH = {
    "earliest": (0.25, 0.5),
    "latest": (0.75, 1.0),
    "sum": (1.0, 1.0),
    "mean": ((0.75 + 0.125 + 0.25) / 1.75, 1.0),
    "min": (0.25, 0.5),
    "max": (1.0, 0.25),
}


@pytest.mark.parametrize("reward", WORTH)
def test_a_reward_function_makes_one_example_of_all_signals_when_the_window_closes(reward: str) -> None:
    world = driver(reward=reward)
    world.feed(show(world, prediction("p1", T0)))
    for event, at, value, weight in SIGNALS:
        world.feed(say(world, entry(event, "p1", T0 + at, value=value, weight=weight)))
        world.reopen()
    assert [each[3] for each in told(world)] == [-1, -1, -1]
    pass_time(world, 5_000)
    (made,) = told(world)[3:]
    assert made[0] == "reward:p1"
    assert made[1:3] == pytest.approx(WORTH[reward])
    assert made[3] == 0


def test_a_late_signal_revises_what_all_were_worth() -> None:
    world = driver(reward="max", default_label=0.0, late_ms=10_000)
    world.feed(show(world, prediction("p1", T0)), say(world, entry("e1", "p1", T0 + 1, value=0.5)))
    pass_time(world, 3_000)
    world.reopen()
    world.feed(say(world, entry("e2", "p1", T0 + 2_500, value=0.75)))
    world.feed(say(world, *(entry(f"r{at}", "p1", T0 + 2_600, kind="retraction", retracts=f"e{at}") for at in (1, 2))))
    own = [each for each in told(world) if each[0].startswith("reward")]
    assert own == [("reward:p1", 0.5, 1.0, 0), ("reward:p1", 0.75, 1.0, 1), ("reward:p1", 0.0, 1.0, 2)]
    assert {each["kind"] for each in examples(world) if each["revision"] == 2} == {"default"}


def test_with_a_reward_function_a_silent_prediction_gets_the_default() -> None:
    world = driver(reward="mean", default_label=0.0, default_weight=0.1)
    world.feed(show(world, prediction("p1", T0)))
    pass_time(world, WINDOW * 3)
    (made,) = [each for each in examples(world) if each["prediction_id"] == "p1"]
    assert (made["example_id"], made["kind"], made["label"], made["weight"]) == ("reward:p1", "default", 0.0, 0.1)
