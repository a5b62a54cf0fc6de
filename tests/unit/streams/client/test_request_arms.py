"""An arm is that of the request which assigned it, and of no other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context

import httpx
import pytest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rheostat.schemas.arms import EXPERIMENTS_MAX
from rheostat.streams.client.request_arms import RequestArms, arm_field, current_arms, request_arms


def assign(experiment: str, variant: str | None) -> None:
    arms = current_arms()
    assert arms is not None
    arms.assign(experiment, variant)


def test_arms_of_a_request_are_one_field() -> None:
    with request_arms() as arms:
        assert (arms.text, arm_field()) == (None, {})
        assign("ranker-v2", "treatment")
        assert arm_field() == {"arm": "ranker-v2:treatment"}
        assign("checkout", "short")
        assert arm_field() == {"arm": "checkout:short,ranker-v2:treatment"}


def test_the_last_variant_counts_and_none_takes_it_back() -> None:
    with request_arms() as arms:
        arms.assign("ranker-v2", "treatment")
        arms.assign("ranker-v2", "control")
        assert arms.text == "ranker-v2:control"
        arms.assign("ranker-v2", None)
        assert arms.text is None


def test_outside_of_a_request_there_is_no_arm() -> None:
    def fail_in_a_request() -> None:
        with request_arms():
            assign("ranker-v2", "treatment")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_a_request()
    assert (current_arms(), arm_field()) == (None, {})


def test_a_request_within_another_has_arms_of_its_own() -> None:
    with request_arms():
        assign("ranker-v2", "treatment")
        with request_arms():
            assert arm_field() == {}
            assign("ranker-v2", "control")
        assert arm_field() == {"arm": "ranker-v2:treatment"}


def test_a_name_that_cannot_be_leaves_no_variant() -> None:
    with request_arms() as arms:
        arms.assign("ranker-v2", "treatment")
        with pytest.raises(ValueError, match="variant 'a,b' must be printable"):
            arms.assign("ranker-v2", "a,b")
        assert arms.text is None


def test_a_request_takes_as_many_experiments_as_an_arm_and_no_more() -> None:
    with request_arms() as arms:
        for number in range(EXPERIMENTS_MAX):
            arms.assign(f"e{number}", "a")
        before = arms.text
        with pytest.raises(ValueError, match="'one-more' is one too many: a request is in at most 16 experiments"):
            arms.assign("one-more", "a")
        arms.assign("e0", "b")
        assert before is not None
        assert arms.text == before.replace("e0:a", "e0:b")


def test_a_thread_that_serves_one_request_after_the_other_keeps_nothing() -> None:
    both_are_open = threading.Barrier(2)

    def serve(number: int) -> tuple[dict[str, str], dict[str, str]]:
        with request_arms():
            before = arm_field()
            if number % 3:
                assign("ranker-v2", f"v{number}")
            both_are_open.wait(timeout=30)
            return before, arm_field()

    with ThreadPoolExecutor(2) as threads:
        served = list(threads.map(serve, range(100)))
        left = list(threads.map(lambda _: arm_field(), range(2)))
    assert served == [({}, {"arm": f"ranker-v2:v{number}"} if number % 3 else {}) for number in range(100)]
    assert left == [{}, {}]


def test_tasks_and_threads_of_a_request_share_its_arms() -> None:
    async def serve() -> dict[str, str]:
        with request_arms():
            await asyncio.gather(asyncio.create_task(in_a_task()), asyncio.to_thread(assign, "checkout", "short"))
            return arm_field()

    async def in_a_task() -> None:
        assign("ranker-v2", "treatment")

    assert asyncio.run(serve()) == {"arm": "checkout:short,ranker-v2:treatment"}


def test_threads_of_one_request_may_assign_at_once() -> None:
    with request_arms() as arms, ThreadPoolExecutor(4) as threads:
        for _ in range(50):
            contexts = [copy_context() for _ in range(EXPERIMENTS_MAX)]
            calls = [threads.submit(each.run, assign, f"e{at:02}", "a") for at, each in enumerate(contexts)]
            texts = [arms.text for _ in range(10)]
            for call in calls:
                call.result(timeout=30)
            assert arms.text == ",".join(f"e{at:02}:a" for at in range(EXPERIMENTS_MAX))
            assert all(text is None or text.count(":") <= EXPERIMENTS_MAX for text in texts)


def test_what_outlives_a_request_has_no_arm_of_it_and_cannot_assign_any() -> None:
    async def serve() -> tuple[object, ...]:
        begun, over = asyncio.Event(), asyncio.Event()
        with request_arms() as arms:
            assign("ranker-v2", "treatment")
            outliving = asyncio.create_task(later(begun, over))
            await begun.wait()
        over.set()
        arms.assign("checkout", "short")
        return *await outliving, arms.text, arm_field()

    async def later(begun: asyncio.Event, over: asyncio.Event) -> tuple[dict[str, str], object]:
        begun.set()
        await over.wait()
        return arm_field(), current_arms()

    assert asyncio.run(serve()) == ({}, None, None, {})


def service(seen: list[object], together: int = 1) -> Starlette:
    """A service that assigns the arm it is asked for, waits for as many requests, and says what the arm of each is."""
    all_assigned = asyncio.Barrier(together)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        seen.append(current_arms())
        yield

    async def answer(request: Request) -> JSONResponse:
        before = arm_field()
        if variant := request.query_params.get("variant"):
            await run_in_threadpool(assign, "ranker-v2", variant)
        await all_assigned.wait()
        return JSONResponse({"before": before, "after": arm_field()})

    return Starlette(routes=[Route("/", answer)], middleware=[Middleware(RequestArms)], lifespan=lifespan)


def test_requests_of_an_asgi_application_are_apart() -> None:
    variants = [f"v{number}" if number % 3 else "" for number in range(60)]

    async def ask_all() -> list[dict[str, dict[str, str]]]:
        transport = httpx.ASGITransport(service([], together=len(variants)))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            asked = [client.get("/", params={"variant": each}) for each in variants]
            return [each.json() for each in await asyncio.gather(*asked)]

    arms = [{"arm": f"ranker-v2:{each}"} if each else {} for each in variants]
    assert asyncio.run(ask_all()) == [{"before": {}, "after": each} for each in arms]


def test_a_request_that_begins_within_another_one_has_none_of_its_arms() -> None:
    """A server may answer the next request on a connection from the context of the one before."""

    async def ask_twice() -> tuple[httpx.Response, dict[str, str]]:
        transport = httpx.ASGITransport(service([]))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            with request_arms():
                assign("ranker-v2", "treatment")
                return await client.get("/"), arm_field()

    answered, own = asyncio.run(ask_twice())
    assert answered.json() == {"before": {}, "after": {}}
    assert own == {"arm": "ranker-v2:treatment"}


def test_the_life_of_an_application_is_no_request() -> None:
    seen: list[object] = []
    sent: list[str] = []

    async def live() -> None:
        said = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, str]:
            return {"type": next(said)}

        async def send(message: object) -> None:
            assert isinstance(message, dict)
            sent.append(message["type"])

        await service(seen)({"type": "lifespan", "state": {}}, receive, send)

    asyncio.run(live())
    assert (seen, sent) == ([None], ["lifespan.startup.complete", "lifespan.shutdown.complete"])
