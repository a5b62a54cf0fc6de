"""Provider and hook in the hands of OpenFeature's own SDK: flags resolved, arms noted, tracking events sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagEvaluationOptions, FlagResolutionDetails, Reason
from openfeature.hook import Hook, HookContext, HookHints
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
from openfeature.track import TrackingEventDetails

from rheostat.schemas import catalogue
from rheostat.schemas.codec import decode_record
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.client.openfeature import FeedbackProvider
from rheostat.streams.client.openfeature_hook import ExperimentHook, arm_of
from rheostat.streams.client.request_arms import arm_field, request_arms
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.broker import TopicSpec
from rheostat.streams.engine.memory import MemoryBroker

FLAG = "new-ranking"
TREATED = {"arm": "ranker-v2:treatment"}


def by_subject(flag: InMemoryFlag[str], context: EvaluationContext) -> FlagResolutionDetails[str]:
    """Split subjects as a flag service does: who ends in an odd digit is treated; nobody knows the unknown."""
    if context.targeting_key is None:
        return FlagResolutionDetails(flag.variants["control"], reason=Reason.DEFAULT, variant="control")
    if not context.targeting_key[-1].isdigit():
        raise ValueError(f"{context.targeting_key} is no subject")
    variant = "treatment" if int(context.targeting_key[-1]) % 2 else "control"
    return FlagResolutionDetails(flag.variants[variant], reason=Reason.SPLIT, variant=variant)


FLAGS: dict[str, InMemoryFlag[Any]] = {
    FLAG: InMemoryFlag("control", {"control": "by price", "treatment": "by score"}, context_evaluator=by_subject),
    "checkout": InMemoryFlag("short", {"short": 1, "long": 3}),
}


class FailingHook(Hook):
    """Fails after every evaluation."""

    def after(self, hook_context: HookContext, details: FlagEvaluationDetails[Any], hints: HookHints) -> None:
        raise RuntimeError("not my day")


class World:
    """The SDK with our provider around a team's own, in front of a broker, and our hook on a client."""

    def __init__(self) -> None:
        clock = ManualClock(1_760_000_000_000)
        self.broker = MemoryBroker(clock)
        self.broker.create_topics([TopicSpec(topic, 1) for topic in catalogue.FEEDBACK])
        self.told: list[tuple[str, str]] = []
        feedback = FeedbackClient(self.broker, source="shop", clock=clock)
        api.set_provider_and_wait(FeedbackProvider(InMemoryProvider(FLAGS), feedback, self.tell))
        hook = ExperimentHook({FLAG: "ranker-v2", "checkout": "checkout"}, on_rejected=self.tell)
        self.hook = cast(Hook, hook)
        self.client = api.get_client()
        self.client.add_hooks([self.hook])

    def tell(self, name: str, reason: str) -> None:
        self.told.append((name, reason))

    def ranking(self, subject: str | None) -> str:
        return self.client.get_string_value(FLAG, "default", EvaluationContext(subject))


@pytest.fixture
def world() -> Iterator[World]:
    yield World()
    api.shutdown()


def test_a_flag_evaluated_in_a_request_is_its_arm(world: World) -> None:
    with request_arms():
        assert world.ranking("user-1") == "by score"
        assert arm_field() == TREATED
        assert world.client.get_integer_value("checkout", 2) == 1
        assert arm_field() == {"arm": "checkout:short,ranker-v2:treatment"}
        assert world.ranking("user-2") == "by price"
        assert arm_field() == {"arm": "checkout:short,ranker-v2:control"}
    assert world.told == []


def test_details_say_their_arm_without_a_hook(world: World) -> None:
    client = api.get_client("without hooks")
    details = client.get_string_details(FLAG, "default", EvaluationContext("user-1"))
    assert arm_of("ranker-v2", details) == TREATED["arm"]
    assert arm_of("ranker-v2", client.get_string_details(FLAG, "default")) is None
    assert arm_of("ranker-v2", client.get_string_details("no such flag", "default")) is None


@pytest.mark.parametrize("level", ["api", "client", "invocation"])
def test_the_hook_may_be_added_at_every_level(world: World, level: str) -> None:
    client = api.get_client("another")
    options = FlagEvaluationOptions([world.hook] if level == "invocation" else [])
    if level == "api":
        api.add_hooks([world.hook])
    elif level == "client":
        client.add_hooks([world.hook])
    with request_arms():
        assert client.get_string_value(FLAG, "default", EvaluationContext("user-1"), options) == "by score"
        assert arm_field() == TREATED


@pytest.mark.parametrize(("subject", "value"), [(None, "by price"), ("nobody", "default")])
def test_who_was_not_assigned_has_no_arm(world: World, subject: str | None, value: str) -> None:
    with request_arms():
        world.ranking("user-1")
        assert world.ranking(subject) == value
        assert arm_field() == {}


def test_a_value_of_another_type_is_no_arm(world: World) -> None:
    with request_arms():
        world.ranking("user-1")
        details = world.client.get_integer_details(FLAG, 0, EvaluationContext("user-1"))
        assert (details.value, details.error_code) == (0, ErrorCode.TYPE_MISMATCH)
        assert arm_field() == {}


def test_a_default_that_another_hook_caused_is_no_arm(world: World) -> None:
    api.add_hooks([FailingHook()])
    with request_arms():
        assert world.ranking("user-1") == "default"
        assert arm_field() == {}


def test_without_a_provider_there_is_no_arm(world: World) -> None:
    with request_arms():
        world.ranking("user-1")
        api.clear_providers()
        assert world.ranking("user-1") == "default"
        assert arm_field() == {}


def test_outside_of_a_request_a_flag_is_evaluated_as_ever(world: World) -> None:
    assert world.ranking("user-1") == "by score"
    assert [flag for flag, _ in world.told] == [FLAG]


def test_requests_that_are_answered_at_once_have_their_own_arms(world: World) -> None:
    async def serve(number: int, all_evaluated: asyncio.Barrier) -> dict[str, str]:
        with request_arms():
            context = EvaluationContext(f"user-{number}")
            await asyncio.create_task(world.client.get_string_value_async(FLAG, "default", context))
            await all_evaluated.wait()
            return arm_field()

    async def serve_all() -> list[dict[str, str]]:
        all_evaluated = asyncio.Barrier(50)
        return await asyncio.gather(*(serve(number, all_evaluated) for number in range(50)))

    assert asyncio.run(serve_all()) == [{"arm": "ranker-v2:control"}, TREATED] * 25


def test_a_tracked_event_is_feedback(world: World) -> None:
    context = EvaluationContext("user-4", {"consent": True})
    world.client.track("rating", context, TrackingEventDetails(4, {"prediction_id": "p-1"}))
    blocks = [block for topic in catalogue.FEEDBACK for block in world.broker.log().read(topic, 0)]
    (record,) = (decode_record(block.topic, value) for block in blocks for value in block.values)
    assert (record["kind"], record["value"], record["subject_id"]) == ("rating", 4.0, "user-4")
    assert world.told == []
