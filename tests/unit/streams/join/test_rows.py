"""Waiting rows against a plain dict, over random histories."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints
from rheostat.streams.join import answers as answers_module
from rheostat.streams.join import rows as rows_module
from rheostat.streams.join.answers import Said
from rheostat.streams.join.predictions import Predictions
from rheostat.streams.join.rows import FOREVER, NONE, Rows, Slots

WINDOW_MS = 2_048  # two milliseconds a span of the calendar
TIMES = st.one_of(st.integers(-5, 60), st.sampled_from([8_192, 8_200, 3 * 8_192 + 7, 10**12, -(10**6)]))
NAMES = st.integers(0, 9)
Steps = list[tuple[str, list[tuple[int, int]]]]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.tuples(NAMES, TIMES), max_size=9)),
        st.tuples(st.just("drop"), st.lists(st.tuples(st.integers(0, 1000), st.just(0)), max_size=9)),
        st.tuples(st.just("look"), st.lists(st.tuples(st.just(0), TIMES), min_size=1, max_size=1)),
    ),
    max_size=30,
)


def ids(names: list[int]) -> Fingerprints:
    # Ids of one hash, too: they differ in the other half alone.
    low = np.array([7 if name < 5 else name for name in names], np.uint64)
    return Fingerprints(low, np.array(names, np.uint64))


def add(rows: Rows, given_: list[tuple[int, int]], first: int) -> Slots:
    times = np.array([time for _, time in given_], np.int64)
    return rows.add(ids([name for name, _ in given_]), times, [b"%d" % (first + row) for row in range(len(given_))])


@pytest.fixture(autouse=True)
def few_slots_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "SLOTS_FIRST", 3)
    monkeypatch.setattr(answers_module, "FIRST", 3)


@settings(deadline=None)
@given(steps=STEPS, horizons=st.lists(TIMES, max_size=4), counted=st.integers(1, 50))
def test_rows_behave_like_a_dict(steps: Steps, horizons: list[int], counted: int) -> None:
    rows = Rows(WINDOW_MS)
    model: dict[int, tuple[int, int, int]] = {}  # slot: number in order of arrival, name, time
    added = 0

    def in_order(slots: list[int]) -> list[int]:
        return sorted(slots, key=lambda slot: model[slot][0])

    def due(horizon: int) -> list[int]:
        return sorted(in_order([slot for slot in model if model[slot][2] <= horizon]), key=lambda slot: model[slot][2])

    for what, given_ in steps:
        if what == "add":
            slots = add(rows, given_, added).tolist()
            assert not set(slots) & set(model)
            model |= {slot: (added + row, *given_[row]) for row, slot in enumerate(slots)}
            added += len(given_)
        elif what == "drop":
            chosen = sorted({sorted(model)[each % len(model)] for each, _ in given_}) if model else []
            rows.drop(np.array(chosen, np.int64))
            model = {slot: row for slot, row in model.items() if slot not in chosen}
        else:
            assert rows.through(given_[0][1]).tolist() == due(given_[0][1])
        assert len(rows) == len(model)
    every = list(model)
    assert rows.values(np.array(every, np.int64)) == [b"%d" % model[slot][0] for slot in every]
    assert rows.times(np.array(every, np.int64)).tolist() == [model[slot][2] for slot in every]
    named = [in_order([slot for slot in model if model[slot][1] == name]) for name in range(10)]
    assert rows.find(ids(list(range(10)))).tolist() == [slots[0] if slots else NONE for slots in named]
    which, found = rows.find_all(ids(list(range(10))))
    assert found.tolist() == [slot for slots in named for slot in slots]
    assert which.tolist() == [name for name, slots in enumerate(named) for _ in slots]
    for horizon in horizons:
        assert rows.through(horizon).tolist() == due(horizon)
    if counted <= len(model):
        assert rows.oldest(counted) == sorted(time for _, _, time in model.values())[counted - 1]


@settings(deadline=None)
@given(blocks=st.lists(st.lists(st.tuples(NAMES, st.integers(0, 5)), max_size=9), max_size=6))
def test_of_copies_the_newest_stays_and_of_equally_new_ones_the_first(blocks: list[list[tuple[int, int]]]) -> None:
    rows = Rows(WINDOW_MS)
    model: dict[int, tuple[int, int]] = {}
    added = 0
    for block in blocks:
        rows.drop(rows.copies(add(rows, block, added)))
        for name, time in block:
            if name not in model or time > model[name][1]:
                model[name] = (added, time)
            added += 1
    assert len(rows) == len(model)
    found = rows.find(ids(list(model)))
    assert rows.values(found) == [b"%d" % number for number, _ in model.values()]


def answers(names: list[str]) -> Said:
    """What these events say, all at time 0."""
    zeros = np.zeros(len(names))
    return Said(fingerprints(pa.array(names, pa.string())), zeros.astype(np.int64), zeros, zeros + 1.0)


@settings(deadline=None)
@given(steps=st.lists(st.tuples(st.lists(st.tuples(NAMES, st.integers(0, 20)), max_size=9), NAMES), max_size=12))
def test_an_event_answers_a_prediction_once_while_it_waits(steps: list[tuple[list[tuple[int, int]], int]]) -> None:
    predictions = Predictions(WINDOW_MS)
    model: dict[int, set[int]] = {}
    for events, renewed in steps:
        names = list(range(10)) if not model else [renewed]
        if model:
            predictions.drop(predictions.rows.find(ids([renewed])))
        model |= {name: set() for name in names}
        times = np.zeros(len(names), np.int64)
        forever = np.full(len(names), FOREVER)
        predictions.add(ids(names), times, [b""] * len(names), forever, np.zeros(len(names), np.bool_))
        slots = predictions.rows.find(ids([name for name, _ in events]))
        said = answers([f"e{event}" for _, event in events])
        wanted = []
        for name, event in events:
            wanted.append(event not in model[name])
            model[name].add(event)
        assert predictions.answer(slots, said, WINDOW_MS).tolist() == wanted
    due = predictions.rows.through(0)
    answered = predictions.merged(due, "each").answered
    found = predictions.rows.ids(due).high
    assert {int(each) for each in found[answered]} == {name for name, had in model.items() if had}
    assert {int(each) for each in found[~answered]} == {name for name, had in model.items() if not had}


def test_the_room_of_dropped_rows_is_used_again() -> None:
    rows = Rows(WINDOW_MS)
    for number in range(500):
        rows.drop(add(rows, [(number % 10, number)] * 50, 0))
    assert len(rows.table) < 100


def test_the_room_of_dropped_answers_is_used_again() -> None:
    predictions, times = Predictions(WINDOW_MS), np.zeros(10, np.int64)
    for number in range(100):
        slots = predictions.add(ids(list(range(10))), times, [b""] * 10, times, np.zeros(10, np.bool_))
        said = answers([f"e{number}-{row}" for row in range(10)])
        assert predictions.answer(slots, said, WINDOW_MS).all()
        predictions.drop(slots)
    assert len(predictions._answers.table) < 1_100
