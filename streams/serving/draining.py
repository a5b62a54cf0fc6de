"""The end of a server without a failed request: not ready first, then no connections, then the end.

While it drains a server goes on answering: whoever balances load needs a moment to notice. Each answer closes its
connection, so that clients which keep theirs open go elsewhere; a connection on which nothing was asked meanwhile is
closed in the end.
"""

from __future__ import annotations

import time
from types import FrameType

import uvicorn
from starlette.types import Message, Send


class Drain:
    """Whether a server was told to end."""

    def __init__(self) -> None:
        self.begun = False


def closing(send: Send) -> Send:
    """Return what sends an answer after which the connection is closed."""

    async def send_last(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return send_last


class DrainingServer(uvicorn.Server):
    """Ends `drain_ms` after SIGTERM or SIGINT, and at once when it is told again."""

    def __init__(self, config: uvicorn.Config, drain: Drain, drain_ms: int) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_ms = drain_ms
        self._ends_at = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if self._drain.begun:
            super().handle_exit(sig, frame)
        self._drain.begun = True
        self._ends_at = time.monotonic() + self._drain_ms / 1000

    async def on_tick(self, counter: int) -> bool:
        """Return whether it is time to end; asked ten times a second."""
        if self._drain.begun and time.monotonic() >= self._ends_at:
            self.should_exit = True
        return await super().on_tick(counter)
