"""A server scores what was asked for lately before it says that it is ready."""

from __future__ import annotations

import pytest

from rheostat.schemas import catalogue
from rheostat.streams.errors import Retryable
from rheostat.streams.models.version import Version
from rheostat.streams.serving.follower import FollowerSettings
from rheostat.streams.serving.predictions import Prediction, encode_predictions
from rheostat.streams.serving.warm_up import WINDOW_MS, warm_up
from tests.support.model_topic import SCHEMA, Publisher
from tests.support.serving import ServingWorld


def a_world(warm_up_rows: int = 100) -> ServingWorld:
    return ServingWorld(FollowerSettings("server-1", ("phishing",), warm_up_rows=warm_up_rows))


def asked(world: ServingWorld, count: int, *, age_ms: int = 0, model: str = "phishing", numbers: int = 2) -> None:
    """Log predictions as a server did some time ago."""
    at_ms = world.clock.now_ms() - age_ms
    for number in range(count):
        features = (float(number),) * numbers, ("com",)
        said = Prediction(f"{model}-{age_ms}-{number}", model, Version(1, 0), SCHEMA.id, *features, 0.5, at_ms)
        (value,) = encode_predictions([said], "server-1")
        world.producer.send(catalogue.PREDICTIONS, said.prediction_id.encode(), value, timestamp_ms=at_ms)


def scored(world: ServingWorld, rows_max: int = 100) -> int:
    world.publish(Publisher().publish(base=True))
    return warm_up(world.broker.log(), world.follower.scorer, rows_max, world.clock.now_ms())


def test_it_is_ready_only_after_it_has_warmed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world, ready = a_world(), []

    def watched(*_: object) -> int:
        ready.append(world.follower.ready)
        return 0

    monkeypatch.setattr("rheostat.streams.serving.follower.warm_up", watched)
    world.settle()
    assert not world.follower.ready
    assert not ready, "there is nothing to warm up yet"
    publisher = Publisher()
    world.publish(publisher.publish(base=True))
    world.publish(publisher.publish(base=True))
    assert ready == [False]
    assert world.follower.ready


def test_recent_predictions_of_models_that_are_followed_are_scored() -> None:
    world = a_world()
    asked(world, 5, age_ms=WINDOW_MS + 1)
    asked(world, 7)
    asked(world, 3, model="clicks")
    assert scored(world) == 7


def test_no_more_are_read_than_wanted() -> None:
    world = a_world()
    asked(world, 200)
    assert 0 < scored(world, rows_max=20) <= 20


def test_what_does_not_fit_or_cannot_be_read_is_passed_over() -> None:
    world = a_world()
    asked(world, 2, numbers=5)
    world.producer.send(catalogue.PREDICTIONS, b"k", b"no record", timestamp_ms=world.clock.now_ms())
    asked(world, 2)
    assert scored(world) == 2


def test_a_model_that_fails_does_not_end_the_follower(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world()
    asked(world, 2)
    monkeypatch.setattr("rheostat.streams.serving.answers.Scorer.answer", lambda *_: 1 / 0)
    world.publish(Publisher().publish(base=True))
    assert world.follower.ready


def test_a_log_that_cannot_be_read_keeps_no_server_from_being_ready() -> None:
    world = a_world()
    asked(world, 2)
    world.publish(Publisher().publish(base=True))

    class Unreachable:
        def partitions(self, topic: str) -> int:
            raise Retryable("no broker answers")

    assert warm_up(Unreachable(), world.follower.scorer, 100, 0) == 0  # type: ignore[arg-type]


def test_it_can_be_left_out() -> None:
    world = a_world(warm_up_rows=0)
    world.publish(Publisher().publish(base=True))
    assert world.follower.ready
