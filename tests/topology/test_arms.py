"""From a flag that a service evaluates to the example, and to what its trace says: the arm is never another's."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from rheostat.schemas import catalogue, codec
from rheostat.streams.cli.trace import in_words
from rheostat.streams.client.openfeature_hook import ExperimentHook
from rheostat.streams.client.request_arms import RequestArms, arm_field
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage
from rheostat.streams.metrics import Metrics
from rheostat.streams.serving.http import build_app
from rheostat.streams.serving.prediction_log import PredictionLog
from rheostat.streams.trace import trace_event
from tests.support.flags import Details, evaluate, split
from tests.support.join_records import entry
from tests.support.model_topic import Publisher
from tests.support.serving import ServingWorld

USERS = 40
HOOKS = [ExperimentHook({"new-ranking": "ranker-v2", "layout": "layout"})]


def flags_of(user: int) -> list[Details]:
    """Every fourth user is in no experiment, every other one is in two."""
    if user % 4 == 0:
        return [Details("new-ranking", False, "off", "DEFAULT")]
    ranking = split("new-ranking", f"v{user}")
    return [ranking, split("layout", "wide")] if user % 2 else [ranking]


def arm_of(user: int) -> str | None:
    if user % 4 == 0:
        return None
    return f"layout:wide,ranker-v2:v{user}" if user % 2 else f"ranker-v2:v{user}"


def service(predict: httpx.AsyncClient, users: int) -> ASGIApp:
    """A service that evaluates flags and asks for a prediction, when all its users are at that point."""
    all_evaluated = asyncio.Barrier(users)

    async def answer(request: Request) -> JSONResponse:
        user = int(request.path_params["user"])
        for found in flags_of(user):
            evaluate(HOOKS, found)
        await all_evaluated.wait()
        features = {"url_length": user, "age_days": 1.0, "tld": "com"}
        question = {"model": "phishing", "features": features, "subject": f"s-{user}", **arm_field()}
        answered = await predict.post("/predict", json=question)
        return JSONResponse(answered.json(), answered.status_code)

    return Starlette(routes=[Route("/{user}", answer)], middleware=[Middleware(RequestArms)])


async def ask_all(server: ASGIApp) -> list[str]:
    """Return the id of the prediction that each user was given; all ask at once."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://server") as predict:
        transport = httpx.ASGITransport(service(predict, USERS))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            answers = await asyncio.gather(*(client.get(f"/{user}") for user in range(USERS)))
    return [each.json()["prediction_id"] for each in answers]


def records(world: ServingWorld, topic: str) -> list[dict[str, Any]]:
    log = world.broker.log()
    blocks = [block for number in range(log.partitions(topic)) for block in log.read(topic, number)]
    return [codec.decode_record(topic, value) for block in blocks for value in block.values]


def join_feedback(world: ServingWorld, shown: list[str]) -> None:
    """Let every user say something, and the join go over it."""
    for user, prediction_id in enumerate(shown):
        said = entry(f"e{user}", prediction_id, world.clock.now_ms())
        value = codec.encode_record(catalogue.LEDGER, said)
        world.producer.send(catalogue.LEDGER, prediction_id.encode(), value, timestamp_ms=said["occurred_at"])
    limits = LoopLimits(poll_timeout_ms=0, interval_ms=0)
    loop = StageLoop(JoinStage(JoinSettings()), world.broker, slot="0", clock=world.clock, limits=limits)
    for _ in range(50):
        loop.step()
    loop.close()


def test_predictions_and_examples_have_the_arm_of_their_request_and_a_trace_says_it() -> None:
    world = ServingWorld()
    world.publish(Publisher().publish(base=True))
    metrics = Metrics(CollectorRegistry())
    log = PredictionLog(world.broker.producer(), metrics, "server-1")
    shown = asyncio.run(ask_all(build_app(world.follower, log, metrics, world.registry, world.clock)))
    log.drain()
    join_feedback(world, shown)
    arms = {prediction_id: arm_of(user) for user, prediction_id in enumerate(shown)}
    assert {each["prediction_id"]: each["arm"] for each in records(world, catalogue.PREDICTIONS)} == arms
    assert {each["prediction_id"]: each["arm"] for each in records(world, catalogue.EXAMPLES)} == arms
    traces = [in_words(trace_event(world.broker.log(), f"e{user}", 0)) for user in range(4)]
    assert ", arm" not in traces[0]
    assert [text.rpartition(", arm ")[2] for text in traces[1:]] == [arm_of(user) for user in (1, 2, 3)]
    world.follower.stop()
