"""Where a stage's time goes: the processor time of its thread in each step, measured at the steps' own functions.

A step is called a few times in a transaction of thousands of records, so measuring it costs nothing.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

from rheostat.streams.engine.kafka_consumer import KafkaGroupConsumer
from rheostat.streams.engine.kafka_producer import KafkaTransactionalProducer
from rheostat.streams.intake import process
from rheostat.streams.intake.deduplicate import Deduplicator
from rheostat.streams.intake.pseudonymise import Pseudonymiser

Steps = Sequence[tuple[str, Any, str]]
"""Each step's name and the function that does it; what one step does within another is counted as its own."""

STEPS: Steps = (
    ("poll", KafkaGroupConsumer, "poll"),
    ("decode", process, "arrive"),
    ("check", process, "faults"),
    ("place", process.Intake, "_forward"),
    ("fingerprint", process, "fingerprints"),
    ("find duplicates", process, "_fresh"),
    ("pseudonyms", Pseudonymiser, "pseudonyms"),
    ("score bursts", process, "_events"),
    ("score bursts", process, "_scores"),
    ("make entries", process, "entries"),
    ("weigh", process, "candidates"),
    ("weigh", process, "weigh_among_others"),
    ("remember", Deduplicator, "remember"),
    ("encode", process, "write"),
    ("queue", KafkaTransactionalProducer, "write"),
    ("commit", KafkaTransactionalProducer, "send_offsets"),
    ("commit", KafkaTransactionalProducer, "commit"),
)
"""Intake's."""

OTHER = "everything else"


@contextmanager
def measured_steps(steps: Steps = STEPS) -> Iterator[MutableMapping[str, float]]:
    """Measure the seconds that the calling thread spends in each step while the `with` block runs."""
    seconds: MutableMapping[str, float] = defaultdict(float)
    inner: list[float] = []
    originals = [(owner, name, getattr(owner, name)) for _, owner, name in steps]
    began = time.thread_time()
    for step, owner, name in steps:
        setattr(owner, name, _measured(getattr(owner, name), step, seconds, inner))
    try:
        yield seconds
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
        seconds[OTHER] = time.thread_time() - began - sum(seconds.values())


def _measured(
    function: Callable[..., Any], step: str, seconds: MutableMapping[str, float], inner: list[float]
) -> Callable[..., Any]:
    """Return the function, adding its own time to its step; `inner` is a stack of what was spent in steps within."""

    @wraps(function)
    def measured(*arguments: Any, **named: Any) -> Any:
        inner.append(0.0)
        began = time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            spent = time.thread_time() - began
            seconds[step] += spent - inner.pop()
            if inner:
                inner[-1] += spent

    return measured
