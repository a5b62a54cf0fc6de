"""Scores what was asked for lately before a server is ready: the first requests after a start are not the slow ones.

What they would wait for is done then: libraries set themselves up at their first call, and frequent texts are hashed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice, takewhile
from typing import Any

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.stage import Log
from rheostat.streams.errors import BrokerError
from rheostat.streams.serving.answers import Scorer
from rheostat.streams.serving.requests import Row

WINDOW_MS = 60_000
_SECONDS_MAX = 2.0


def warm_up(log: Log, scorer: Callable[[str], Scorer | None], rows_max: int, now_ms: int) -> int:
    """Score at most `rows_max` predictions of the last minute, for at most two seconds; return how many were scored.

    Whatever cannot be read or does not fit its model is passed over: to be ready sooner or later is all it is about.
    """
    deadline, scored = time.monotonic() + _SECONDS_MAX, 0
    for value in _recent(log, rows_max, now_ms - WINDOW_MS, deadline):
        # A model that fails here fails for requests too, which are told; the follower must go on whatever happens.
        with suppress(Exception):
            scored += _score(codec.decode_record(catalogue.PREDICTIONS, value), scorer)
    return scored


def _recent(log: Log, rows_max: int, since_ms: int, deadline: float) -> Iterator[bytes | None]:
    """Yield records of predictions, as many of each partition, while the log can be read and there is time."""
    with suppress(BrokerError):
        partitions = log.partitions(catalogue.PREDICTIONS)
        for partition in range(partitions):
            blocks = log.read(catalogue.PREDICTIONS, partition, since_ms=since_ms)
            values = (value for block in blocks for value in block.values)
            yield from takewhile(lambda _: time.monotonic() < deadline, islice(values, max(1, rows_max // partitions)))
            if time.monotonic() > deadline:
                return


def _score(record: dict[str, Any], scorer: Callable[[str], Scorer | None]) -> bool:
    found, row = scorer(record["model"]), Row(tuple(record["numeric"]), tuple(record["categorical"]))
    if found is None or record["feature_set"] != found.schema.id or not _fits(found, row):
        return False
    found.answer([row], [record["prediction_id"]], [[True] * len(found.actions)])
    return True


def _fits(scorer: Scorer, row: Row) -> bool:
    return (len(row.numeric), len(row.categorical)) == (len(scorer.schema.numeric), len(scorer.schema.categorical))
