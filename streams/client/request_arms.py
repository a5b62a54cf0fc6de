"""The arms of the request that a service is answering, from the flags it evaluates to the predictions it asks for.

    with request_arms():
        ...  # flags are evaluated: `openfeature_hook` assigns their arms
        httpx.post(f"{server}/predict", json={"model": "ranker", "features": features, **arm_field()})

`RequestArms`, as middleware of an ASGI application, does so around each of its requests; for WSGI, call the application
within the same `with`.

Whatever runs in the context of a request assigns its arms: also tasks and `asyncio.to_thread` calls that it starts,
whose assignments a plain context variable would lose. A thread that does not copy the context (that of an executor)
sees no request, unless it is given `contextvars.copy_context().run`. When the request ends, its arms are gone for
everybody: neither the thread that serves the next one, nor a task that outlives this one, ever has an arm of another.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rheostat.schemas.arms import EXPERIMENTS_MAX, arm_text, check_name

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An application as in ASGI 3."""


class Arms:
    """The arms of one request, by experiment: at most `EXPERIMENTS_MAX`. Its threads and tasks may share it."""

    def __init__(self) -> None:
        self._variants: dict[str, str] = {}
        self._lock = threading.Lock()
        self.closed = False

    def assign(self, experiment: str, variant: str | None) -> None:
        """Note the variant of an experiment instead of an earlier one, or with None that there is none.

        Raises ValueError for a name that cannot be used, and for one experiment too many; there is no variant then.
        What comes after the end of the request is forgotten.
        """
        with self._lock:
            self._variants.pop(experiment, None)
            if variant is None or self.closed:
                return
            check_name("experiment", experiment)
            check_name("variant", variant)
            if len(self._variants) == EXPERIMENTS_MAX:
                raise ValueError(
                    f"{experiment!r} is one too many: a request is in at most {EXPERIMENTS_MAX} experiments"
                )
            self._variants[experiment] = variant

    def close(self) -> None:
        """End the request: forget all, and take no more."""
        with self._lock:
            self.closed = True
            self._variants.clear()

    @property
    def text(self) -> str | None:
        """What the field `arm` of a prediction says, see `rheostat.schemas.arms`; None without any."""
        with self._lock:
            return arm_text(self._variants)


_CURRENT: ContextVar[Arms | None] = ContextVar("rheostat_request_arms", default=None)


@contextmanager
def request_arms() -> Iterator[Arms]:
    """Begin a request without arms, for the time of the `with`; one inside another has arms of its own."""
    arms, outer = Arms(), _CURRENT.get()
    _CURRENT.set(arms)
    try:
        yield arms
    finally:
        arms.close()
        # Not by token, which is refused where a framework leaves the block in another context than it entered it.
        _CURRENT.set(outer)


def current_arms() -> Arms | None:
    """Return the arms of the request in hand, None where there is none."""
    arms = _CURRENT.get()
    return None if arms is None or arms.closed else arms


def arm_field() -> dict[str, str]:
    """Return the field `arm` of a request to `/predict`, to be merged into its JSON: empty where there is no arm."""
    arms = current_arms()
    text = None if arms is None else arms.text
    return {} if text is None else {"arm": text}


class RequestArms:
    """ASGI middleware: `app.add_middleware(RequestArms)` in Starlette or FastAPI, else `RequestArms(app)`."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or a websocket for as long as it is open, with arms of its own."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        with request_arms():
            await self._app(scope, receive, send)
