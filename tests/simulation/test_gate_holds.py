"""How often the publication gate closes without reason, and how soon where there is one, on learners that learn."""

from __future__ import annotations

import numpy as np
import pytest

from rheostat.learners.contract import FeatureSchema, Floats
from rheostat.learners.features import batch_from_columns
from rheostat.learners.linear import LinearSettings, RiverLinear
from rheostat.streams.learn.gate import Gate, GateState
from rheostat.streams.learn.golden import GoldenInputs
from rheostat.streams.learn.settings import GateSettings

pytestmark = pytest.mark.slow

SCHEMA = FeatureSchema("simulated@1", ("a", "b", "c"))
TRUTH = np.array([1.5, -1.0, 0.0])
ROWS, BLOCKS, DELAY_BLOCKS, STREAMS = 50, 400, 20, 20


def drawn(draw: np.random.Generator, truth: Floats) -> tuple[Floats, Floats]:
    """Features and labels of one block, as noisy as clicks are."""
    features = draw.normal(size=(ROWS, len(truth)))
    return features, (draw.random(ROWS) < 1.0 / (1.0 + np.exp(-(features @ truth)))).astype(np.float64)


def closed_at(seed: int, turns_at: int | None = None) -> list[int]:
    """The blocks at which the gate closes; answers come from the learner as it was `DELAY_BLOCKS` before their labels.

    turns_at: from this block on the learner is taught the opposite of what is true.
    """
    draw, learner = np.random.default_rng(seed), RiverLinear(SCHEMA, LinearSettings(batch_rows=16))
    settings = GateSettings(from_examples=200)
    gate, shown, closed = Gate(settings, GoldenInputs(SCHEMA, ()), GateState()), [], []
    for block in range(BLOCKS):
        features, label = drawn(draw, TRUTH)
        rows = batch_from_columns(SCHEMA, features, [], label)
        shown.append((rows, learner.predict(rows)))
        if len(shown) <= DELAY_BLOCKS:
            continue
        rows, served = shown.pop(0)
        score = learner.predict(rows)
        if block * ROWS >= settings.from_examples:
            gate.weigh(score, served, rows.label, rows.weight)
        closed += [block for each in gate.found if each.failed]
        gate.found.clear()
        taught = 1.0 - rows.label if turns_at is not None and block >= turns_at else rows.label
        learner.learn(batch_from_columns(SCHEMA, rows.numeric, [], taught))
        learner.flush()
    return closed


def test_a_learner_that_learns_is_never_held_up() -> None:
    """A stream has 20,000 examples; all together less than half of those in which one false alarm is allowed."""
    assert [closed_at(seed) for seed in range(STREAMS)] == [[]] * STREAMS


def test_one_that_is_taught_wrong_is_held_up_within_a_thousand_examples() -> None:
    delays = [closed_at(seed, turns_at=200)[0] - 200 for seed in range(10)]
    assert max(delays) * ROWS <= 1_000
