"""Signals of every kind: the mapping to [0, 1], and what is refused."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.schemas.signals import KINDS, NAMES, Channel, Kind, codes_of, normalise, read_signals

CHANNELS: tuple[Channel, ...] = get_args(Channel)
ALL = pytest.mark.parametrize("kind", KINDS.values(), ids=NAMES)


@ALL
@given(data=st.data())
def test_a_kind_rises_or_falls_over_its_range(kind: Kind, data: st.DataObject) -> None:
    values = st.floats(kind.low, kind.high)
    smaller, larger = sorted([data.draw(values), data.draw(values)])
    first, second = normalise(kind.name, smaller), normalise(kind.name, larger)
    assert 0.0 <= first <= 1.0
    assert (second - first) * kind.polarity >= -1e-12


@ALL
def test_the_ends_of_a_range_are_the_worst_and_the_best(kind: Kind) -> None:
    low, high = normalise(kind.name, kind.low), normalise(kind.name, kind.high)
    worst, best = (low, high) if kind.polarity > 0 else (high, low)
    assert worst == pytest.approx(0.0, abs=1e-12)
    assert best == pytest.approx(1.0, abs=1e-3)  # dwell comes near 1 only


@ALL
@pytest.mark.parametrize("outside", [-1e-9, 1e-9, float("nan"), float("inf"), float("-inf")])
def test_values_out_of_range_are_refused(kind: Kind, outside: float) -> None:
    if outside == 1e-9:
        value = kind.high + 1e-6
    else:
        value = kind.low + outside
    with pytest.raises(ValueError, match="value: "):
        normalise(kind.name, value)
    signals = read_signals(pa.array([kind.name]), np.array([value]), kind.channel or "explicit")
    assert not signals.in_range[0]
    assert np.isnan(signals.normalised[0])
    assert signals.weight[0] == 0.0


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [("rating", 4.0, 0.75), ("dwell", 30.0, 0.5), ("dwell", 90.0, 0.75), ("undo", 0.25, 0.75), ("incorrect", 1.0, 0.0)],
)
def test_known_values(kind: str, value: float, expected: float) -> None:
    assert normalise(kind, value) == pytest.approx(expected)


@pytest.mark.parametrize("channel", CHANNELS)
@given(
    rows=st.lists(
        st.tuples(st.one_of(st.sampled_from(NAMES), st.none(), st.text(max_size=5)), st.floats(-2, 100)), max_size=30
    )
)
def test_columns_say_the_same_as_single_values(channel: Channel, rows: list[tuple[str | None, float]]) -> None:
    kinds = pa.array([kind for kind, _ in rows], pa.string())
    values = np.array([value for _, value in rows], np.float64)
    signals = read_signals(kinds, values, channel)
    assert read_signals(kinds.dictionary_encode(), values, channel).codes.tolist() == signals.codes.tolist()
    for row, (name, value) in enumerate(rows):
        kind = KINDS.get(name or "")
        valid = kind is not None and kind.channel in (channel, None) and kind.low <= value <= kind.high
        assert bool(signals.known[row]) == (kind is not None)
        assert bool(signals.valid[row]) == valid
        if kind is not None and valid:
            assert signals.normalised[row] == normalise(kind.name, value)
            assert signals.weight[row] == kind.weight


def test_codes_are_positions_in_the_names() -> None:
    assert codes_of(pa.array(NAMES)).tolist() == list(range(len(NAMES)))
    assert codes_of(pa.chunked_array([["click"], ["no such kind", None]])).tolist() == [NAMES.index("click"), -1, -1]


def test_a_retraction_may_come_on_every_channel_and_teaches_nothing() -> None:
    for channel in CHANNELS:
        signals = read_signals(pa.array(["retraction"]), np.array([1.0]), channel)
        assert signals.valid.all()
        assert signals.weight.tolist() == [0.0]


def test_every_channel_has_kinds() -> None:
    assert {kind.channel for kind in KINDS.values()} == {*CHANNELS, None}
