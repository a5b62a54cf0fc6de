"""Evidence by betting: reference values, how often it comes by chance, and how soon it finds what is there."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.learners.contract import Floats
from rheostat.learners.paired_bets import SHARES, Bets, bet, loss_gains
from tests.unit.learners.support import ANY_SPEED

REFERENCE = (0, 1, 0, -1, 1, 1, 0, 1, 1, 1)
ONE = Bets((-math.inf,))


def test_reference_values() -> None:
    bets = ONE
    for gain in REFERENCE:
        bets = bet(bets, np.array([float(gain)]), shares=(0.5,))
    assert math.exp(bets.nats) == pytest.approx(42.140625)
    assert bets.count == 10


def test_one_block_is_the_product_of_its_bets() -> None:
    bets = bet(ONE, np.array(REFERENCE, np.float64), shares=(0.5,))
    assert math.exp(bets.nats) == pytest.approx(10 * 5.6953125)


@ANY_SPEED
@given(st.floats(0.0, 1.0), st.floats(0.001, 1.0), st.floats(0.0, 1.0))
def test_bets_on_what_has_no_mean_win_nothing(down: float, up: float, more_down: float) -> None:
    """For gains of two values with mean at most 0, exactly: E (1 + lam x) <= 1."""
    up_chance = down / (up + down) * more_down if down else 0.0
    for index in range(len(SHARES)):
        fair = sum(
            chance * math.exp(bet(Bets(), np.array([gain])).log_sr[index])
            for gain, chance in ((up, up_chance), (-down, 1.0 - up_chance))
        )
        assert fair <= 1.0 + 1e-9


@ANY_SPEED
@given(st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=30), st.randoms())
def test_within_a_block_the_order_says_nothing(gains: list[float], chance: random.Random) -> None:
    before = bet(Bets(), np.array([0.3, -0.2]))
    one = bet(before, np.array(gains))
    chance.shuffle(gains)
    assert bet(before, np.array(gains)).nats == pytest.approx(one.nats)
    assert one.count == 2 + len(gains)


def test_what_weighs_nothing_is_no_evidence_however_much_of_it_there_is() -> None:
    weight = np.full(1_000, 1e-6)
    gains = loss_gains(np.ones(1_000), np.zeros(1_000), weight, 0.02)
    assert bet(Bets(), gains, weight.sum()).nats < math.log(0.01)
    assert bet(Bets(), np.zeros(50), 0.0) == Bets()


def test_an_empty_block_changes_nothing_and_impossible_gains_are_refused() -> None:
    bets = bet(Bets(), np.array([0.5]))
    assert bet(bets, np.zeros(0)) == bets
    for wrong in ([1.5], [math.nan], [-1.01]):
        with pytest.raises(ValueError, match=r"in \[-1, 1\]"):
            bet(bets, np.array(wrong))


@ANY_SPEED
@given(
    *(st.lists(st.integers(0, 100), min_size=5, max_size=5) for _ in range(3)),
    st.integers(0, 90),
)
def test_differences_of_losses_can_be_bet_on(
    loss: list[int], other: list[int], weight: list[int], tolerance: int
) -> None:
    gains = loss_gains(np.array(loss) / 100, np.array(other) / 100, np.array(weight) / 50, tolerance / 100)
    assert np.abs(gains).max() <= 1.0
    difference = np.array(loss) - np.array(other) - tolerance
    certain = np.abs(difference) > 0
    assert ((gains > 0.0) == ((difference > 0) & (np.array(weight) > 0)))[certain].all()
    assert not gains[np.array(weight) == 0].any()


def reached_after(gains: Floats, rows: int, events: float) -> int | None:
    """How many gains it takes until the evidence is reached."""
    bets = Bets()
    for at in range(0, len(gains), rows):
        bets = bet(bets, gains[at : at + rows])
        if bets.nats >= math.log(events):
            return int(bets.count)
    return None


@pytest.mark.parametrize("rows", [1, 40])
def test_what_is_worse_is_found_soon(rows: int) -> None:
    draw = np.random.default_rng(3)
    worse = np.clip(draw.normal(0.05, 0.2, 20_000), -1.0, 1.0)
    found = reached_after(worse, rows, 1e6)
    assert found is not None
    assert found < 1_500


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.02, 0.2, 0.9])
def test_on_the_edge_of_the_hypothesis_it_takes_as_long_as_promised(spread: float) -> None:
    """Gains of mean exactly 0, looked at after each: on average at least as many as asked for until a false alarm."""
    draw, events, longest, runs = np.random.default_rng(4), 300.0, 3_000, 200
    taken = []
    for _ in range(runs):
        gains = np.where(draw.random(longest) < 0.5, spread, -spread)
        taken.append(reached_after(gains, 1, events) or longest)
    # Runs that were cut short count as less than they took: the true mean is larger.
    assert np.mean(taken) >= events
