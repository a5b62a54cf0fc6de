"""The learn stage on the in-memory broker: versions, restarts that change nothing, rollbacks that leave nothing."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.learners.checks import toy_batch
from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue
from rheostat.streams.errors import Abortable, Corrupt
from rheostat.streams.learn.history import replay
from rheostat.streams.models.commands import Command, ExcludedRange
from rheostat.streams.models.signing import generate_signer
from rheostat.streams.models.version import Version
from tests.support.examples import SCHEMA, send_examples
from tests.support.learn_world import MONITOR, RECORDS_MAX, World, deep, of_river


def test_every_version_a_server_rebuilds_is_the_learners() -> None:
    world = World()
    world.run(2)
    send_examples(world.producer, range(300))
    world.run()
    versions = world.versions()
    assert versions[0].version == Version(0, 0)
    assert len(versions) >= 300 // RECORDS_MAX
    assert versions[-1].manifest.facts.examples_total == 300
    assert {each.manifest.kind for each in versions} == {"base", "delta"}


def digest_of_what_the_manifests_say(world: World) -> str:
    """Feed a bare learner what the versions say they learned, in their order."""
    learner = world.new_learner()
    replay(world.broker.log(), [each.manifest for each in world.versions()], learner)
    return tensors_digest(learner.parameters())


def test_a_learner_that_tells_its_touched_rows_is_published_whole() -> None:
    world = World(new_learner=deep)
    world.run(2)
    for number in range(6):
        send_examples(world.producer, range(20 * number, 20 * number + 20))
        world.run(3)
        # Between two saved states and two bases: the next delta builds on what was learned again.
        if number == 2:
            world.start()
    last = world.versions()[-1]
    assert last.manifest.kind == "delta"
    assert last.digest == tensors_digest(world.task().learner.parameters())
    assert last.digest == digest_of_what_the_manifests_say(world)


@pytest.mark.parametrize(
    "steps",
    [
        ("tree.HoeffdingTreeClassifier",),
        ("preprocessing.StandardScaler", "linear_model.LogisticRegression"),
        ("naive_bayes.GaussianNB",),
    ],
    ids=" ".join,
)
def test_estimators_of_river_are_published_and_go_on_after_a_restart(steps: tuple[str, ...]) -> None:
    world = World(partitions=1, new_learner=of_river(*steps))
    world.run(2)
    for number in range(6):
        send_examples(world.producer, range(40 * number, 40 * number + 40))
        world.run(3)
        if number % 2:
            world.start()
    world.run(3)
    last = world.versions()[-1]
    learner = world.task().learner
    assert last.manifest.facts.examples_total == 240
    assert last.digest == tensors_digest(learner.parameters())
    assert last.digest == digest_of_what_the_manifests_say(world)
    batch = toy_batch(SCHEMA, 50, 1)
    assert last.predictor.predict(batch) == pytest.approx(learner.predict(batch), abs=1e-9)


def test_a_tick_without_work_says_nothing() -> None:
    world = World()
    world.run(2)
    send_examples(world.producer, range(20))
    world.run(5)
    task = world.task()
    before, now_ms = task.progress, world.clock.now_ms()
    assert not task.process([], now_ms + 1).records
    assert task.progress == before
    (status,) = task.process([], now_ms + task.settings.status_interval_ms).records
    assert status.topic == catalogue.MODELS_STATUS


@cache
def undisturbed_digest(partitions: int, count: int) -> str:
    world = World(partitions)
    world.run(2)
    send_examples(world.producer, range(count))
    world.run()
    return world.versions()[-1].digest


faults = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["restart", "begin", "write", "send_offsets", "commit"])), max_size=5
)


def disturbed(partitions: int, plan: list[tuple[int, str]]) -> World:
    world = World(partitions)
    world.run(2)
    send_examples(world.producer, range(120))
    for step in range(20):
        for at, what in plan:
            if at == step and what == "restart":
                world.start()
            elif at == step:
                world.broker.fail_next(what, Abortable("injected"))
        world.run(1)
    world.run(5)
    return world


@settings(max_examples=12, deadline=None)
@given(faults)
def test_whatever_is_killed_or_aborted_the_manifests_tell_the_truth(plan: list[tuple[int, str]]) -> None:
    world = disturbed(2, plan)
    versions = world.versions()
    assert versions[-1].digest == digest_of_what_the_manifests_say(world)
    assert [each.version for each in versions] == [Version(0, number) for number in range(len(versions))]
    assert sum(part.count for each in versions for part in each.manifest.facts.training) == 120


@settings(max_examples=8, deadline=None)
@given(faults)
def test_on_one_partition_a_disturbed_learner_ends_where_an_undisturbed_one_does(plan: list[tuple[int, str]]) -> None:
    assert disturbed(1, plan).versions()[-1].digest == undisturbed_digest(1, 120)


def offsets_after(world: World) -> dict[int, int]:
    return dict(world.versions()[-1].manifest.facts.offsets)


def test_a_rolled_back_learner_equals_one_that_never_saw_what_is_excluded() -> None:
    world = World()
    world.run(2)
    send_examples(world.producer, range(100))
    world.run()
    good = world.versions()[-1]
    send_examples(world.producer, range(100, 180), flipped=True)
    world.run()
    assert world.versions()[-1].digest != good.digest
    poisoned_until = offsets_after(world)
    exclude = tuple(
        ExcludedRange(number, good.manifest.facts.offsets[number], end) for number, end in poisoned_until.items()
    )
    world.command(world.rollback(good.version, exclude))
    world.run()
    back = world.versions()[-1]
    assert (back.version, back.digest) == (Version(1, 0), good.digest)
    assert back.manifest.facts.command_id == "c1"


def test_what_is_not_excluded_is_learned_again() -> None:
    world = World()
    world.run(2)
    send_examples(world.producer, range(100))
    world.run()
    all_learned = world.versions()[-1]
    early = next(each for each in world.versions() if each.version == Version(0, 3))
    world.command(world.rollback(early.version, ()))
    world.run()
    again = world.versions()[-1]
    assert again.version.epoch == 1
    assert again.manifest.facts.examples_total == all_learned.manifest.facts.examples_total
    assert dict(again.manifest.facts.offsets) == dict(all_learned.manifest.facts.offsets)


def test_an_open_exclusion_holds_the_learner_until_a_resume() -> None:
    world = World()
    world.run(2)
    send_examples(world.producer, range(60))
    world.run()
    good = world.versions()[-1]
    exclude = tuple(ExcludedRange(number, at) for number, at in good.manifest.facts.offsets.items())
    world.command(world.rollback(good.version, exclude))
    world.run(3)
    send_examples(world.producer, range(60, 120), flipped=True)
    world.run()
    assert world.task().progress.frozen
    assert world.versions()[-1].digest == good.digest
    now_ms = world.clock.now_ms()
    world.command(Command("c2", "toy", "resume", 1, "calm again", "monitor", now_ms, now_ms + 60_000))
    world.run(3)
    send_examples(world.producer, range(120, 180))
    world.run()
    last = world.versions()[-1]
    assert last.version.epoch == 1
    assert last.manifest.facts.examples_total == 120


def test_a_restart_after_a_rollback_stays_in_the_new_epoch_and_obeys_nothing_twice() -> None:
    world = World()
    world.run(2)
    send_examples(world.producer, range(60))
    world.run()
    good = world.versions()[-1]
    command = world.rollback(good.version, ())
    world.command(command)
    world.run(3)
    world.start()
    world.command(command)
    world.run(5)
    assert world.task().progress.version == Version(1, 0)
    assert world.task().rollbacks == 0


@pytest.mark.parametrize("why", ["expired", "unknown key", "another model", "old epoch"])
def test_a_command_that_may_not_be_obeyed_changes_nothing(why: str) -> None:
    world = World()
    world.run(2)
    send_examples(world.producer, range(40))
    world.run()
    before = world.versions()[-1]
    command = world.rollback(Version(0, 0), ())
    signer = MONITOR
    if why == "expired":
        world.clock.advance(60_001)
    elif why == "unknown key":
        signer = generate_signer("stranger")
    elif why == "another model":
        command = Command("c1", "other", "rollback", 1, "", "m", 0, 1 << 60, Version(0, 0))
    else:
        command = world.rollback(Version(0, 0), (), epoch=7)
    world.command(command, signer)
    world.run(5)
    assert world.versions()[-1].version == before.version


def test_a_state_that_the_log_does_not_give_back_stops_the_learner() -> None:
    world = World()
    world.run(2)
    send_examples(world.producer, range(100))
    world.run()
    for number in range(2):
        world.broker.delete_before(catalogue.EXAMPLES, number, 10_000)
    world.broker.delete_before(catalogue.MODELS_STATE, 0, 10_000)
    world.start()
    with pytest.raises(Corrupt, match="state of toy"):
        world.run(3)
