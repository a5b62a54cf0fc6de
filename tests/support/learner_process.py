"""A process that learns one model from a real broker until it is killed."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from rheostat.learners.contract import Learner
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.streams.clock import WallClock
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.keys import signer
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.stage import LearnStage
from rheostat.streams.models.signing import load_key_ring
from tests.support.examples import SCHEMA

MODEL = "toy"


def linear() -> Learner:
    return RiverLinear(SCHEMA, LinearSettings(batch_rows=8))


def starter(bootstrap: str, prefix: str, keys_dir: Path) -> Callable[[], BaseProcess]:
    """Return what starts one; its modules are imported once, in a process that they are forked from."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])

    def start() -> BaseProcess:
        process = context.Process(target=learn_for_ever, args=(bootstrap, prefix, keys_dir), daemon=True)
        process.start()
        return process

    return start


def learn_for_ever(bootstrap: str, prefix: str, keys_dir: Path) -> None:
    settings = LearnSettings(model=MODEL, member="learner-toy", base_every=10, state_every=10)
    stage = LearnStage(settings, linear, signer(keys_dir, "learner"), load_key_ring(keys_dir))
    limits = LoopLimits(records_max=200, interval_ms=10)
    loop = StageLoop(stage, KafkaBroker(bootstrap, prefix=prefix), slot="0", clock=WallClock(), limits=limits)
    while True:
        loop.step()
