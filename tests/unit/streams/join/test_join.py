"""The join over random histories: exact books, and a restart changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas import catalogue, codec
from rheostat.streams.engine.block import Block, Committed, TopicPartition
from rheostat.streams.errors import ConfigError, Corrupt
from rheostat.streams.join.arrivals import read_entries
from rheostat.streams.join.books import imbalance
from rheostat.streams.join.rewards import REWARDS
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage, join
from tests.support.join_records import T0, append, correction, entry, prediction
from tests.support.join_world import NOW, WINDOW, driver, examples
from tests.support.written_log import Driver, WrittenLog


def predictions(world: Driver, *records: dict[str, Any]) -> Block:
    return append(world.log, catalogue.PREDICTIONS, list(records))


def ledger(world: Driver, *records: dict[str, Any]) -> Block:
    return append(world.log, catalogue.LEDGER, list(records))


def corrections(world: Driver, *records: dict[str, Any]) -> Block:
    return append(world.log, catalogue.CORRECTIONS, list(records))


def counts(world: Driver) -> dict[str, int]:
    return dict(world.task.counts)  # type: ignore[attr-defined]


def test_an_example_has_the_features_of_the_prediction_and_the_label_of_the_feedback() -> None:
    world = driver()
    world.feed(
        predictions(world, prediction("p1", T0, segment="eu", propensity=0.25, score=0.2, arm="ranker:b")),
        ledger(world, entry("e1", "p1", T0 + 400, kind="incorrect", value=0.0, weight=0.5, target_id="t", segment="x")),
    )
    (made,) = examples(world)
    assert made == {
        "example_id": "e1",
        "prediction_id": "p1",
        "feature_set": "f@1",
        "numeric": [1.5, -2.0],
        "categorical": ["a"],
        "label": 1.0,
        "weight": 0.5,
        "propensity": 0.25,
        "segment": "eu",
        "target_id": "t",
        "subject": "1:ab",
        "kind": "incorrect",
        "score": 0.2,
        "model": "linear",
        "epoch": 1,
        "sequence": 7,
        "label_age_ms": 400,
        "predicted_at": T0,
        "occurred_at": T0 + 400,
        "origin_topic": catalogue.FEEDBACK_EXPLICIT,
        "origin_partition": 0,
        "origin_offset": 42,
        "arm": "ranker:b",
        "action": None,
        "revision": 0,
        "was_label": 0.0,
        "was_weight": 0.0,
    }
    (block,) = world.written
    assert (block.partition, block.keys, block.timestamps_ms) == (0, [b"p1"], [T0 + 400])


def test_feedback_waits_for_its_prediction() -> None:
    world = driver()
    world.feed(ledger(world, entry("e1", "p1", T0), entry("e2", "p1", T0 + 5)))
    assert counts(world)["waiting"] == 2
    world.feed(predictions(world, prediction("p1", T0 - 10)))
    assert [each["example_id"] for each in examples(world)] == ["e1", "e2"]
    assert (counts(world)["joined"], counts(world)["waiting"]) == (2, 0)


def test_a_silent_prediction_gets_the_default_label_when_its_window_closes() -> None:
    world = driver(default_label=0.0, default_weight=0.1)
    shown = predictions(world, prediction("p1", T0), prediction("p2", T0, arm="ranker:a"))
    world.feed(shown, ledger(world, entry("e1", "p1", T0 + 1)))
    world.feed(predictions(world, prediction("p3", T0 + 1_500)), ledger(world, entry("e3", "p3", T0 + 1_500)))
    made = {each["example_id"]: each for each in examples(world)}
    assert set(made) == {"e1", "e3", "default:p2"}
    default = made["default:p2"]
    assert (default["label"], default["weight"], default["kind"], default["label_age_ms"]) == (
        0.0,
        0.1,
        "default",
        WINDOW,
    )
    assert (default["occurred_at"], default["arm"]) == (T0 + WINDOW, "ranker:a")
    assert made["e1"]["arm"] is None
    assert (counts(world)["default_emitted"], counts(world)["answered"]) == (1, 1)


def test_feedback_after_the_predictions_expiry_dangles() -> None:
    world = driver()
    world.feed(
        predictions(world, prediction("p1", T0, expires_at=T0 + 100)),
        ledger(world, entry("e1", "p1", T0 + 100), entry("e2", "p1", T0 + 101)),
    )
    assert [each["example_id"] for each in examples(world)] == ["e1"]
    world.feed(predictions(world, prediction("p9", T0 + 5_000)), ledger(world, entry("e9", "p9", T0 + 5_000)))
    assert counts(world)["dangling"] == 1


def test_what_comes_after_its_window_is_late() -> None:
    world = driver()
    world.feed(predictions(world, prediction("p1", T0 + 5_000)), ledger(world, entry("e1", "p1", T0 + 5_000)))
    world.feed(predictions(world, prediction("p2", T0 + 4_000)), ledger(world, entry("e2", "p2", T0 + 4_000)))
    world.feed(predictions(world, prediction("p3", T0 + 4_001)), ledger(world, entry("e3", "p3", T0 + 4_001)))
    assert [each["example_id"] for each in examples(world)] == ["e1", "e3"]
    assert (counts(world)["late_predictions"], counts(world)["late"], counts(world)["dangling"]) == (1, 1, 0)


def test_retractions_and_feedback_on_nothing_teach_nothing() -> None:
    world = driver()
    world.feed(
        predictions(world, prediction("p1", T0)),
        ledger(world, entry("e1", "p1", T0, kind="retraction", retracts="e0"), entry("e2", None, T0)),
    )
    assert not world.written
    assert (counts(world)["retracting"], counts(world)["unsupported"]) == (1, 1)
    assert counts(world)["remembered"] == 1


def test_the_same_event_never_teaches_a_prediction_twice() -> None:
    world = driver()
    world.feed(predictions(world, prediction("p1", T0)))
    for _ in range(2):
        world.feed(ledger(world, entry("e1", "p1", T0), entry("e1", "p1", T0), entry("e2", "p1", T0)))
        world.reopen()
    assert [each["example_id"] for each in examples(world)] == ["e1", "e2"]


def test_an_undecodable_prediction_becomes_a_dead_letter_and_its_neighbours_join() -> None:
    world = driver()
    good = codec.encode_record(catalogue.PREDICTIONS, prediction("p1", T0))
    block = world.log.append(catalogue.PREDICTIONS, [b"x", b"p1", b"y"], [b"junk", good, None], [T0, T0, T0])
    world.feed(block, ledger(world, entry("e1", "p1", T0)))
    assert len(examples(world)) == 1
    letters = [
        codec.decode_record(catalogue.DEADLETTER, value)
        for out in world.written
        if out.topic == catalogue.DEADLETTER
        for value in out.values
    ]
    assert [(each["origin_offset"], each["payload"], each["field"]) for each in letters] == [
        (0, b"junk", "payload"),
        (2, None, "payload"),
    ]
    assert counts(world)["invalid_predictions"] == 2


def test_an_undecodable_ledger_entry_stops_the_stage() -> None:
    world = driver()
    with pytest.raises(Corrupt, match=r"feedback\.ledger\[0\]@0"):
        world.feed(world.log.append(catalogue.LEDGER, [b"x"], [b"junk"], [T0]))


def test_room_is_made_by_giving_up_the_oldest() -> None:
    world = driver(waiting_predictions_max=3, waiting_feedback_max=2)
    world.feed(predictions(world, *(prediction(f"p{at}", T0 + at) for at in (5, 1, 4, 2, 3))))
    world.feed(ledger(world, *(entry(f"e{at}", f"q{at}", T0 + at) for at in (3, 1, 2))))
    assert (counts(world)["evicted_predictions"], counts(world)["evicted"]) == (2, 1)
    world.reopen()
    world.feed(ledger(world, *(entry(f"f{at}", f"p{at}", T0 + 9) for at in range(1, 6))))
    assert [each["prediction_id"] for each in examples(world)] == ["p3", "p4", "p5"]


def test_a_log_cut_short_is_noticed() -> None:
    world = driver()
    world.feed(predictions(world, prediction("p1", T0)))
    world.log.blocks[catalogue.PREDICTIONS].clear()
    with pytest.raises(Corrupt, match="1 predictions and 0 feedback"):
        world.reopen()


def test_of_several_copies_of_a_prediction_the_newest_is_joined() -> None:
    world = driver()
    world.feed(predictions(world, *(prediction("p1", T0 + at, segment=str(at)) for at in (3, 7, 5, 7))))
    world.feed(ledger(world, entry("e1", "p1", T0 + 9)))
    world.feed(predictions(world, prediction("p1", T0 + 6), prediction("p1", T0 + 8, segment="8")))
    for _ in range(2):
        world.reopen()
        world.feed(ledger(world, entry("e1", "p1", T0 + 9)))
    assert [(each["example_id"], each["segment"]) for each in examples(world)] == [("e1", "7"), ("e1", "8")]
    assert counts(world)["duplicate_predictions"] == 5


def test_without_the_ledger_among_the_sources_all_of_it_was_joined() -> None:
    log, stage = WrittenLog(), JoinStage(JoinSettings(window_ms=WINDOW))
    source = TopicPartition(catalogue.PREDICTIONS, 0)
    straight = stage.open([0], {source: Committed(None, "")}, log, NOW)
    said = [entry("e1", "p1", T0), entry("e2", "p2", T0), entry("e3", "p1", T0 + 1), entry("e4", "p3", T0 + 2)]
    for shown, given_ in ((["p1"], said[:2]), (["p4"], said[2:])):
        block = append(log, catalogue.PREDICTIONS, [prediction(each, T0) for each in shown])
        written = append(log, catalogue.LEDGER, given_)
        output = join([straight], [[block]], [read_entries([written])], [[]], NOW)[0]
        for out in output.records:
            log.append(out.topic, out.keys, out.values, out.timestamps_ms)
    again = stage.open([0], {source: Committed(block.next_offset, output.metadata)}, log, NOW)
    assert again.counts == straight.counts
    assert again.counts["waiting"] == 2
    late = append(log, catalogue.PREDICTIONS, [prediction(each, T0) for each in ("p3", "p2")])
    (joined,) = join([again], [[late]], [[]], [[]], NOW)
    assert joined == join([straight], [[late]], [[]], [[]], NOW)[0]
    assert joined.records[0].keys == [b"p3", b"p2"]


def test_several_partitions_at_once_give_what_each_gives_alone() -> None:
    settings_ = JoinSettings(window_ms=WINDOW, default_label=0.0)
    stage, log = JoinStage(settings_), WrittenLog()
    together, alone = ([stage.open([number], {}, log, NOW) for number in range(3)] for _ in range(2))
    for at in (0, 1_500):
        blocks = []
        for number in range(3):
            names = [f"p{number}-{at}-{each}" for each in range(number + 1)]
            shown = append(log, catalogue.PREDICTIONS, [prediction(name, T0 + at) for name in names])
            shown = replace(
                shown, partition=number, values=[b"junk", *shown.values[1:]] if number == 1 else shown.values
            )
            given_ = append(log, catalogue.LEDGER, [entry(f"e{name}", name, T0 + at) for name in names[::2]])
            blocks.append([shown, replace(given_, partition=number)])
        outputs = stage.process(together, blocks, NOW)
        assert outputs == [task.process(own, NOW) for task, own in zip(alone, blocks, strict=True)]
    assert [sum(map(len, output.records)) for output in outputs] == [1, 2, 3]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"join\.window_ms"):
        JoinSettings(window_ms=0)
    with pytest.raises(ConfigError, match=r"join\.default_label"):
        JoinSettings(default_label=1.5)


NAMES = st.integers(0, 12)
KINDS = st.sampled_from(["thumb", "correct", "retraction"])
CHANGES = st.tuples(st.integers(0, 30), st.sampled_from(["burst", "conflict"]), st.sampled_from([0.0, 0.5, 1.0]))
STEP = st.tuples(
    st.lists(st.tuples(NAMES, st.integers(-300, 300)), max_size=6),
    st.lists(
        st.tuples(NAMES, st.integers(-1_500, 1_500), KINDS, st.integers(0, 30), st.sampled_from([0.0, 0.3, 1.0])),
        max_size=6,
    ),
    st.lists(CHANGES, max_size=3),
    st.integers(0, 700),
    st.booleans(),
)
WAYS = st.fixed_dictionaries(
    {
        "default_label": st.sampled_from([None, 0.0]),
        "late_ms": st.sampled_from([0, 700, 5_000]),
        "reward": st.sampled_from(REWARDS),
        "waiting_predictions_max": st.sampled_from([1_000, 4, 1]),
        "waiting_feedback_max": st.sampled_from([1_000, 3, 1]),
    }
)


def play(world: Driver, steps: list[Any], *, restarts: bool) -> list[str]:
    """Run a history; the time of each step goes on, single events scatter around it. Return the metadata."""
    at, said = T0, []
    events: list[dict[str, Any]] = []
    for shown, given_, changes, passed, restart in steps:
        at += passed
        blocks = []
        if shown:
            # An id belongs to one period, within which it may be logged again, with another time.
            blocks.append(
                predictions(
                    world,
                    *(prediction(f"p{at // 1_500}-{name}", at // 1_500 * 1_500 + jitter) for name, jitter in shown),
                )
            )
        if given_:
            entries = []
            for name, jitter, kind, other, value in given_:
                retracts = {"retracts": f"e{len(events) - other}"} if kind == "retraction" else {}
                about = f"p{at // 1_500}-{name}"
                entries.append(entry(f"e{len(events)}", about, at + jitter, kind=kind, value=value, **retracts))
                events.append(entries[-1])
            blocks.append(ledger(world, *entries))
        if changes:
            changed = [(events[-1 - back], cause, keeps) for back, cause, keeps in changes if back < len(events)]
            if changed:
                blocks.append(corrections(world, *(correction(*each) for each in changed)))
        if restart and restarts:
            world.reopen()
        if blocks:
            said.append(world.feed(*blocks).metadata)
            assert imbalance(counts(world)) == 0
    return said


@settings(deadline=None, max_examples=40)
@given(steps=st.lists(STEP, max_size=15), ways=WAYS)
def test_a_restart_changes_neither_outputs_nor_books(steps: list[Any], ways: dict[str, Any]) -> None:
    straight, interrupted = driver(**ways), driver(**ways)
    said = play(straight, steps, restarts=False)
    assert play(interrupted, steps, restarts=True) == said
    assert interrupted.written == straight.written


@settings(deadline=None, max_examples=25)
@given(steps=st.lists(STEP, max_size=15), ways=WAYS, after_bytes=st.sampled_from([0, 1_000]))
def test_what_waits_on_disk_joins_as_in_memory(steps: list[Any], ways: dict[str, Any], after_bytes: int) -> None:
    in_memory, on_disk = driver(**ways), driver(**ways, spill_after_bytes=after_bytes)
    said = play(in_memory, steps, restarts=False)
    assert play(on_disk, steps, restarts=False) == said
    assert on_disk.written == in_memory.written
    assert on_disk.task.waiting_bytes["memory"] <= 2 * after_bytes  # type: ignore[attr-defined]


@settings(deadline=None, max_examples=25)
@given(steps=st.lists(STEP, max_size=15), default_label=st.sampled_from([None, 0.0]))
def test_every_record_has_one_fate(steps: list[Any], default_label: float | None) -> None:
    world = driver(default_label=default_label)
    said = play(world, steps, restarts=True)
    made = examples(world)
    new = [each for each in made if each["revision"] == 0]
    ids = [(each["example_id"], each["predicted_at"] if each["kind"] == "default" else None) for each in new]
    assert len(ids) == len(set(ids))
    if said:
        books = json.loads(said[-1])["counts"]
        assert books["feedback_in"] == sum(len(given_) for _, given_, *_ in steps)
        assert books["predictions_in"] == sum(len(shown) for shown, *_ in steps)
        defaults = sum(each["kind"] == "default" for each in new)
        assert books["joined"] + defaults == len(new)
        # One whose signals were all taken back has the default label too, and was answered.
        assert books["default_emitted"] <= defaults
        assert books["revising"] + books["after_window"] == len(made) - len(new)
        assert books["retracting"] == sum(kind == "retraction" for _, given_, *_ in steps for _, _, kind, *_ in given_)


@settings(deadline=None, max_examples=25)
@given(order=st.permutations([("p", name) for name in range(6)] + [("f", name) for name in range(6)] * 2))
def test_inside_the_window_the_order_of_arrival_does_not_matter(order: list[tuple[str, int]]) -> None:
    world = driver()
    for event, (side, name) in enumerate(order):
        if side == "p":
            world.feed(predictions(world, prediction(f"p{name}", T0 + name)))
        else:
            world.feed(ledger(world, entry(f"e{event}", f"p{name}", T0 + 10 + name)))
    assert sorted(each["prediction_id"] for each in examples(world)) == sorted([f"p{name}" for name in range(6)] * 2)
    assert counts(world)["waiting"] == 0
