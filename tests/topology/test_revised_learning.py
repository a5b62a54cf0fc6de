"""Learning from examples that are revised later: what counts in the end is what the newest revisions say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue, codec
from rheostat.streams.errors import ConfigError, Corrupt
from rheostat.streams.learn.reproduce import reproduce
from rheostat.streams.models.commands import ExcludedRange
from rheostat.streams.models.version import Version
from tests.support.counting_learner import CountingLearner
from tests.support.examples import an_example, send_examples
from tests.support.learn_world import World, linear


def revise(world: World, number: int, *, weight: float, label: float | None = None, **changes: Any) -> None:
    """Say that an example counts otherwise from now on; `was_*` are what it had when it was new, unless given."""
    first: dict[str, Any] = an_example(number)
    given_ = {"was_label": first["label"], "was_weight": first["weight"], "revision": 1} | changes
    record = first | given_ | {"label": first["label"] if label is None else label, "weight": weight}
    value = codec.encode_record(catalogue.EXAMPLES, record)
    key = str(record["prediction_id"]).encode()
    world.producer.send(catalogue.EXAMPLES, key, value, timestamp_ms=1_760_000_000_020)


def featureless(world: World, number: int, weight: float) -> None:
    revise(world, number, weight=weight, feature_set="", numeric=[], categorical=[])


def newest_digest(world: World) -> str:
    return world.versions()[-1].digest


def learned(numbers: dict[int, float], labels: dict[int, float] | None = None) -> str:
    """Return the digest of a learner that saw these examples once, with these weights and, where given, labels."""
    world = World(new_learner=CountingLearner)
    world.run(2)
    for number, weight in numbers.items():
        record = an_example(number) | {"weight": weight}
        if labels and number in labels:
            record["label"] = labels[number]
        value = codec.encode_record(catalogue.EXAMPLES, record)
        world.producer.send(catalogue.EXAMPLES, str(record["prediction_id"]).encode(), value, timestamp_ms=1)
    world.run()
    return newest_digest(world)


def test_what_was_taken_back_leaves_a_learner_that_can_as_if_it_had_never_seen_it() -> None:
    world = World(new_learner=CountingLearner)
    world.run(2)
    send_examples(world.producer, range(40))
    world.run(10)
    for number in (3, 17):
        revise(world, number, weight=0.0)
    revise(world, 20, weight=0.5, label=0.25)
    world.run(10)
    weights = {number: 1.0 for number in range(40) if number not in (3, 17)}
    assert newest_digest(world) == learned(weights | {20: 0.5}, {20: 0.25})
    assert world.task().progress.owed_weight == 0.0


@settings(max_examples=15, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 19), st.sampled_from([0.0, 0.5, 1.0])), max_size=8),
    cuts=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_in_however_many_versions_revisions_come_only_the_last_counts(
    changes: list[tuple[int, float]], cuts: list[bool]
) -> None:
    world = World(new_learner=CountingLearner)
    world.run(2)
    send_examples(world.producer, range(20))
    counted = dict.fromkeys(range(20), 1.0)
    for (number, weight), cut in zip(changes, cuts, strict=False):
        if cut:
            world.run(4)
        revise(world, number, weight=weight, was_weight=counted[number])
        counted[number] = weight
    world.run()
    assert newest_digest(world) == learned(counted)
    assert (
        newest_digest(world)
        == reproduce(world.broker.log(), "toy", world.versions()[-1].version, CountingLearner).digest
    )


def test_another_learner_owes_what_it_cannot_take_back_until_it_learns_again() -> None:
    world = World()
    world.run(2)
    send_examples(world.producer, range(60))
    world.run(10)
    early = Version(0, 0)
    revise(world, 5, weight=0.0)
    featureless(world, 7, weight=0.25)
    world.run(10)
    assert world.task().progress.owed_weight == 1.0
    world.command(world.rollback(early, ()))
    world.run()
    assert world.task().progress.owed_weight == 0.0
    again = World()
    again.run(2)
    for number in range(60):
        record = an_example(number) | {"weight": {5: 0.0, 7: 0.25}.get(number, 1.0)}
        value = codec.encode_record(catalogue.EXAMPLES, record)
        again.producer.send(catalogue.EXAMPLES, str(record["prediction_id"]).encode(), value, timestamp_ms=1)
    again.run(10)
    again.command(again.rollback(early, ()))
    again.run()
    assert newest_digest(world) == newest_digest(again)


def test_a_new_label_is_learned_as_one_more_example_where_the_old_one_cannot_be_taken_back() -> None:
    world = World()
    world.run(2)
    send_examples(world.producer, range(40))
    world.run(10)
    before = newest_digest(world)
    revise(world, 5, weight=1.0, label=1.0 - float(str(an_example(5)["label"])))
    world.run(5)
    assert newest_digest(world) != before
    assert world.task().progress.owed_weight == 1.0
    assert world.versions()[-1].manifest.facts.examples_total == 40


def test_signals_that_are_only_noted_teach_nothing() -> None:
    world = World()
    world.run(2)
    revise(world, 1, weight=1.0, revision=-1)
    revise(world, 1, weight=0.5, revision=-2)
    world.run(5)
    assert world.versions()[-1].version == Version(0, 0)


def test_a_version_comes_out_again_from_the_log_through_rollbacks_and_revisions() -> None:
    world = World()
    world.run(2)
    send_examples(world.producer, range(80))
    world.run(12)
    good = world.versions()[-1]
    send_examples(world.producer, range(80, 120), flipped=True)
    world.run(8)
    featureless(world, 85, weight=0.0)
    world.run(3)
    exclude = tuple(ExcludedRange(number, at, at + 5) for number, at in good.manifest.facts.offsets.items())
    world.command(world.rollback(good.version, exclude))
    world.run(8)
    revise(world, 3, weight=0.0)
    send_examples(world.producer, range(120, 160))
    world.start()
    world.run()
    last = world.versions()[-1]
    assert last.version.epoch == 1
    log = world.broker.log()
    found = reproduce(log, "toy", last.version, linear)
    assert found.digest == last.digest == tensors_digest(world.task().learner.parameters())
    assert found.examples > 140
    saved = Version(0, 5)
    later = reproduce(log, "toy", last.version, linear, since=saved)
    assert (later.digest, later.versions) == (found.digest, found.versions - 6)


def test_what_cannot_come_out_again_is_said() -> None:
    world = World(partitions=1)
    world.run(2)
    send_examples(world.producer, range(80))
    world.run()
    log, last = world.broker.log(), world.versions()[-1].version
    with pytest.raises(ConfigError, match=r"toy 0\.99 is not in the log"):
        reproduce(log, "toy", Version(0, 99), linear)
    with pytest.raises(ConfigError, match="was not learned from"):
        reproduce(log, "toy", Version(0, 2), linear, since=Version(0, 3))
    with pytest.raises(Corrupt, match=r"toy 0\.1 .*comes out with digest"):
        reproduce(log, "toy", last, lambda: linear_of_other_settings())
    world.broker.delete_before(catalogue.EXAMPLES, 0, 20)
    with pytest.raises(Corrupt, match=r"of which the log has .*go on from"):
        reproduce(log, "toy", last, linear)


def linear_of_other_settings() -> Any:
    from rheostat.learners.linear import LinearSettings, RiverLinear
    from tests.support.examples import SCHEMA

    return RiverLinear(SCHEMA, LinearSettings(batch_rows=3))
