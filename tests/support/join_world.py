"""A join driven by hand over a written log."""

from __future__ import annotations

from typing import Any

from rheostat.schemas import catalogue, codec
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage
from tests.support.join_records import T0
from tests.support.written_log import Driver

NOW = T0 + 60_000
WINDOW = 1_000


def driver(**settings: Any) -> Driver:
    """Return a join with a window of a second, unless the settings say otherwise."""
    return Driver(JoinStage(JoinSettings(**({"window_ms": WINDOW} | settings))), NOW)


def examples(world: Driver) -> list[dict[str, Any]]:
    """Return all examples that it has made, in order."""
    made = []
    for block in world.written:
        if block.topic == catalogue.EXAMPLES:
            some = [codec.decode_record(catalogue.EXAMPLES, value) for value in block.values]
            assert block.keys == [each["prediction_id"].encode() for each in some]
            made += some
    return made
