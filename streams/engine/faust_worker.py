"""The Faust shell: one agent for each stage, fed through a channel by the stage's transaction loop.

This is the only module that builds Faust objects. Faust gives the worker, supervision, agents and signals; its own
consumer, producer, conductor and tables stay off. A pump thread for each stage runs the `StageLoop`; every set of
blocks goes through the stage's channel to its agent, which processes it and sets the result on the work's future.
An error ends the process: Faust would restart the agent and skip the blocks.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import faust
from faust.app.base import BootStrategy
from mode.supervisors import CrashingSupervisor

from rheostat.streams.engine.block import Block
from rheostat.streams.engine.loop import Process, StageLoop
from rheostat.streams.engine.stage import Output, Stage, Task
from rheostat.streams.errors import Fatal, Fenced

logger = logging.getLogger("rheostat.worker")

FENCED_EXIT = 71
FATAL_EXIT = 70

MakeLoop = Callable[[Process], StageLoop]
"""Builds a stage's loop around the given way of processing; called in the pump's own thread."""


@dataclass(slots=True)
class Work:
    """The blocks of one transaction on their way to an agent, and the future for its result."""

    stage: Stage
    tasks: Sequence[Task]
    blocks: Sequence[Sequence[Block]]
    now_ms: int
    done: concurrent.futures.Future[list[Output]] = field(default_factory=concurrent.futures.Future)


class _AgentsOnly(BootStrategy):
    """Starts sensors and agents; nothing of Faust's that talks to Kafka."""

    enable_kafka = False
    enable_web = False

    def server(self) -> Iterable[Any]:
        return [*self.sensors(), *self.agents()]


class _App(faust.App):
    BootStrategy = _AgentsOnly


class _Worker(faust.Worker):
    async def _sentinel_task(self) -> None:
        """Do not sleep for a second at the end: the pumps have been waited for."""


class _Stopping(Exception):
    """The worker stops while a block waits for its agent; the transaction is aborted and read again later."""


class _Pump:
    """Runs one stage's loop in a thread and hands its blocks to the agent's channel."""

    def __init__(self, name: str, channel: Any, make_loop: MakeLoop) -> None:
        self.name = name
        self._channel = channel
        self._make_loop = make_loop
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._events: asyncio.AbstractEventLoop | None = None
        self.failed: concurrent.futures.Future[None] = concurrent.futures.Future()

    def start(self, events: asyncio.AbstractEventLoop) -> None:
        self._events = events
        self._thread = threading.Thread(target=self._run, name=f"pump-{self.name}", daemon=True)
        self._thread.start()

    def ask_to_stop(self) -> None:
        self._stop.set()

    def join(self, seconds: float) -> bool:
        """Wait for the loop to have closed its transaction and left its group."""
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._make_loop(self._through_channel).run(self._stop)
        except _Stopping:
            self.failed.set_result(None)
        except Fenced as error:
            _exit_now(FENCED_EXIT, self.name, error)
        except Fatal as error:
            _exit_now(FATAL_EXIT, self.name, error)
        except BaseException as error:
            self.failed.set_exception(error)
        else:
            self.failed.set_result(None)

    def _through_channel(
        self, stage: Stage, tasks: Sequence[Task], blocks: Sequence[Sequence[Block]], now_ms: int
    ) -> list[Output]:
        assert self._events is not None
        work = Work(stage, tasks, blocks, now_ms)
        asyncio.run_coroutine_threadsafe(self._channel.put(work), self._events)
        while True:
            try:
                return work.done.result(timeout=1.0)
            except concurrent.futures.TimeoutError:
                if self._stop.is_set() and self._events.is_closed():
                    raise _Stopping from None


def _exit_now(code: int, name: str, error: BaseException) -> None:
    """Leave at once: after a fatal client error no further call works, and another process may own the slot."""
    logger.critical("stage %s: %s: %s", name, type(error).__name__, error)
    logging.shutdown()
    os._exit(code)


def _agent_for(pump: _Pump) -> Callable[[Any], Any]:
    async def handle(works: Any) -> None:
        async for work in works:
            try:
                work.done.set_result(work.stage.process(work.tasks, work.blocks, work.now_ms))
            except BaseException as error:
                work.done.set_exception(error)
                raise

    handle.__name__ = f"agent_{pump.name}"
    return handle


def run_worker(loops: dict[str, MakeLoop], *, loglevel: str = "WARNING") -> None:
    """Run the stages in this process until SIGTERM or SIGINT, then finish the block in flight and exit.

    Exits with 0 after a signal, 1 after an error of a stage, 70 after a fatal client error and 71 when another
    worker took the slot.
    """
    with tempfile.TemporaryDirectory(prefix="rheostat-worker-") as datadir:
        _run(loops, loglevel, datadir)


def _run(loops: dict[str, MakeLoop], loglevel: str, datadir: str) -> None:
    app = _App(
        "rheostat",
        broker="kafka://127.0.0.1:1",  # never contacted: _AgentsOnly starts no Kafka service of Faust's
        datadir=datadir,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    pumps: list[_Pump] = []
    for name, make_loop in loops.items():
        channel = app.channel(maxsize=1)
        pump = _Pump(name, channel, make_loop)
        app.agent(channel, name=f"rheostat.{name}", supervisor_strategy=CrashingSupervisor)(_agent_for(pump))
        pumps.append(pump)

    @app.service
    class Pumps(faust.Service):
        """Starts the pumps once the agents listen; a failed pump crashes the worker."""

        async def on_started(self) -> None:
            app.flow_control.resume()
            for pump in pumps:
                pump.start(asyncio.get_running_loop())
                self.add_future(self._watch(pump))

        async def _watch(self, pump: _Pump) -> None:
            try:
                await asyncio.wrap_future(pump.failed)
            except Exception as error:
                logger.critical("stage %s failed", pump.name, exc_info=error)
                await app.crash(error)

        async def on_stop(self) -> None:
            for pump in pumps:
                pump.ask_to_stop()
            for pump in pumps:
                joined = await asyncio.get_running_loop().run_in_executor(None, pump.join, 15.0)
                if not joined:
                    logger.error("stage %s did not finish its block within 15 s", pump.name)

    worker = _Worker(app, loglevel=loglevel, redirect_stdouts=False, quiet=True)
    worker.execute_from_commandline()
