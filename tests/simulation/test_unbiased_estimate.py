"""Means under another rule of choice are within their intervals, whatever delays, falsifies and corrects the labels.

Two hundred periods of `reward_world` go through the join and the test of a learn stage, and are added up again from the
`evaluations`. Asked is the mean label, and the mean squared error of the model, had both actions been chosen the same;
the truth is known. In 200 periods an interval that held it 95 times in 100 exactly would miss the bar of 95 % by chance
in 42 of 100 seeds. `Moments.interval` holds for whatever is bounded (empirical Bernstein), also where the few largest
weights, here 15 times the mean one, have labels of their own: it is several times as wide as this world needs, and the
bar can be asked of a fixed seed. What so wide an interval would hide is asked besides: that the mean over all periods
is right, and that estimates are off by what their sums say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from rheostat.learners.contract import Floats
from rheostat.learners.importance import Moments, importance_weights
from rheostat.schemas import catalogue
from rheostat.streams.engine.block import Block
from rheostat.streams.evaluations import Evaluations, Totals
from rheostat.streams.join.settings import JoinSettings, Reward
from rheostat.streams.join.stage import JoinStage
from rheostat.streams.learn import evaluation
from rheostat.streams.learn.examples import decode_examples
from rheostat.streams.models.version import Version
from rheostat.streams.own_records import decode_own
from tests.support import reward_world as world
from tests.support.evaluations import Scored
from tests.support.examples import SCHEMA
from tests.support.written_log import Driver

SEED = 20_261_122
RUNS = 200
PREDICTIONS = 2_000
STEP_MS = world.HOUR
NOW = world.START + 48 * world.HOUR
TRUTH = world.truth(evaluation.PROPENSITY_FLOOR)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Run(NamedTuple):
    """What one period comes to: sums of the final labels, and of those that were told first, by importance."""

    final: Totals
    first: Moments


def joined(seed: tuple[int, ...], reward: Reward, silence: float = 1.0) -> list[Block]:
    """Let a join live through one period, step by step in the order in which records arrive; return its examples.

    silence: what that weighs, where thumbs weigh 1 on average.
    """
    settings = JoinSettings(
        window_ms=world.WINDOW_MS, late_ms=world.LATE_MS, reward=reward, default_label=0.0, default_weight=silence
    )
    driver = Driver(JoinStage(settings), NOW)
    said = world.Feedback.of(seed, PREDICTIONS)
    records = [(each.topic, *each.encoded()) for each in (said.predictions, said.entries, said.corrections)]
    for at in range(0, world.SETTLED_MS, STEP_MS):
        blocks = []
        for topic, values, times, arrives in records:
            some = slice(*np.searchsorted(arrives, (at, at + STEP_MS)).tolist())
            if len(keys := [b"k"] * len(values[some])):
                blocks.append(driver.log.append(topic, keys, values[some], times[some].tolist()))
        driver.feed(*blocks)
    return driver.log.blocks[catalogue.EXAMPLES]


def totals(examples: Sequence[Block]) -> Totals:
    """Test a model with examples as a learn stage does, and add the mature cohorts up."""
    learner: Any = Scored()
    found = Evaluations(mature_ms=world.LATE_MS)
    for each in (decode_examples([block], SCHEMA) for block in examples):
        if len(each):
            found.add(evaluation.evaluate("toy", Version(0, 1), learner, each, learned=False, now_ms=NOW))
    assert found.mature_hours == {world.START + hour * world.HOUR for hour in range(world.PERIOD_MS // world.HOUR)}
    return found.all()


def told_first(examples: Sequence[Block]) -> Moments:
    """Return the sums of the labels that predictions had first, by importance."""
    learned = [np.isin(each.offsets, decode_examples([each], SCHEMA).offsets) for each in examples]
    kept = [decode_own(each).filter(pa.array(rows)) for each, rows in zip(examples, learned, strict=True)]
    records = pa.Table.from_batches(kept)
    _, first = np.unique(records.column("prediction_id").to_numpy(), return_index=True)
    propensity, weight, label = (np.array(records.column(name))[first] for name in ("propensity", "weight", "label"))
    return Moments.of(importance_weights(propensity, weight, evaluation.PROPENSITY_FLOOR), label)


@pytest.fixture(scope="module", params=["each", "max"])
def runs(request: pytest.FixtureRequest) -> list[Run]:
    """The periods, where every thumb is an example by itself, and where all of a prediction are one."""
    periods = (joined((SEED, number), request.param) for number in range(RUNS))
    return [Run(totals(examples), told_first(examples)) for examples in periods]


def share_that_holds(value: float, moments: Sequence[Moments]) -> float:
    """Return how many of the intervals of 95 % have a value in them."""
    intervals = [each.interval(0.95) for each in moments]
    return sum(each is not None and each.covers(value) for each in intervals) / len(intervals)


def deviations(value: float, moments: Sequence[Moments]) -> Floats:
    """Return how far each mean is from a value, in the deviations that its own sums say a mean has."""
    squares = [m.weighted_squares - 2.0 * value * m.weighted_total + value**2 * m.weight_squared for m in moments]
    return np.array([(m.total - value * m.weight) / np.sqrt(each) for m, each in zip(moments, squares, strict=True)])


@pytest.mark.parametrize("name", ["label", "brier"])
def test_it_is_within_its_interval(runs: list[Run], name: str) -> None:
    assert share_that_holds(TRUTH[name], [run.final.moments(f"ips_{name}") for run in runs]) >= 0.95


@pytest.mark.parametrize("name", ["label", "brier"])
def test_it_is_right_on_average_and_off_by_what_its_sums_say(runs: list[Run], name: str) -> None:
    off = deviations(TRUTH[name], [run.final.moments(f"ips_{name}") for run in runs])
    # Of fixed seeds, one in 370 would miss the first by chance, and one in 860 the second.
    assert abs(off.mean()) < 3.0 / np.sqrt(RUNS)
    assert 0.9 <= np.count_nonzero(np.abs(off) < 1.96) / RUNS <= 0.995


def test_as_many_rows_count_as_there_were_predictions(runs: list[Run]) -> None:
    """Or they would not be independent: a prediction that is told of twice would count twice."""
    assert {run.final.moments("label").rows for run in runs} == {PREDICTIONS}


def test_without_propensities_it_is_not(runs: list[Run]) -> None:
    assert share_that_holds(TRUTH["label"], [run.final.moments("label") for run in runs]) < 0.05


def test_by_the_first_labels_alone_it_is_not(runs: list[Run]) -> None:
    assert share_that_holds(TRUTH["label"], [run.first for run in runs]) < 0.05


def test_where_silence_weighs_less_it_leans_to_what_is_said() -> None:
    leaning = [totals(joined((SEED, number), "each", silence=0.2)).moments("ips_label") for number in range(20)]
    assert share_that_holds(TRUTH["label"], leaning) == 0.0
    assert all(each.mean is not None and each.mean > TRUTH["label"] for each in leaning)
