"""The benchmark of learning learns everything it claims, and says so when something is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rheostat.learners.contract import FeatureSchema
from rheostat.learners.linear import RiverLinear
from rheostat.streams.bench.learn import Span, bench_learn, misfits
from rheostat.streams.bench.simulated_examples import schema_of
from rheostat.streams.clock import WallClock
from rheostat.streams.engine.block import Block
from rheostat.streams.engine.loop import LoopLimits
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.learn import history
from rheostat.streams.learn.examples import Examples, decode_examples
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.stage import LearnStage
from rheostat.streams.models.signing import KeyRing, generate_signer
from rheostat.streams.provision import create_topics

EXAMPLES = 3_000
SCHEMA = schema_of(numeric=3, categorical=1)


def measured() -> dict[str, Any]:
    broker = MemoryBroker(WallClock())
    create_topics(broker, 2, 1)
    signer = generate_signer("learner")
    settings = LearnSettings(model="bench", member="learner-bench")
    stage = LearnStage(settings, lambda: RiverLinear(SCHEMA), signer, KeyRing.of(signer))
    return bench_learn(broker, stage, RiverLinear(SCHEMA), EXAMPLES, limits=LoopLimits(records_max=1_000))


def test_every_example_is_tested_and_learned_once() -> None:
    found = measured()
    assert found["faults"] == []
    assert found["verified"] is True
    assert found["tested"] == found["learned"] == EXAMPLES
    assert found["transactions"] == 3
    assert found["bases"] + found["deltas"] == 4
    assert {"decode", "test", "score", "learn", "publish"} <= set(found["step_us_per_example"])


def test_a_block_that_is_lost_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose_one(blocks: Sequence[Block], schema: FeatureSchema, *, context: bool = False) -> Examples:
        return decode_examples(blocks[:1], schema, context=context)

    monkeypatch.setattr(history, "decode_examples", lose_one)
    found = measured()
    assert found["verified"] is False
    told = " ".join(found["faults"])
    assert f"of {EXAMPLES} examples" in told
    assert "tested: partition" in told
    assert "learned: partition" in told
    assert "gap at offset" in told


@pytest.mark.parametrize(
    ("spans", "fault"),
    [
        ([Span(0, 0, 5), Span(0, 6, 10)], "partition 0: gap at offset 5"),
        ([Span(0, 0, 5), Span(0, 4, 10)], "partition 0: overlap at offset 5"),
        ([Span(0, 0, 9)], "partition 0: gap at offset 9"),
        ([Span(0, 0, 10), Span(1, 0, 3)], "partition 1: overlap at offset 3"),
    ],
)
def test_gaps_and_overlaps_are_found(spans: list[Span], fault: str) -> None:
    assert misfits(spans, {0: 10}) == [fault]


def test_spans_in_any_order_that_cover_everything_once_are_right() -> None:
    assert misfits([Span(0, 5, 10), Span(1, 0, 4), Span(0, 0, 5)], {0: 10, 1: 4}) == []
