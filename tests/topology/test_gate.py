"""The publication gate: what servers must not answer with they never do, the learner goes on, and nothing is lost."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rheostat.learners.checks import toy_batch
from rheostat.learners.digest import tensors_digest
from rheostat.schemas import codec
from rheostat.streams.learn.history import replay
from rheostat.streams.learn.reproduce import reproduce
from rheostat.streams.learn.settings import GateSettings, Golden
from rheostat.streams.models.commands import Command, ExcludedRange
from rheostat.streams.models.version import Version
from tests.support.examples import SCHEMA
from tests.support.gated import BREAKS, EXPLODES, answered, decisions, fragile, served, withheld
from tests.support.learn_world import World

QUICK = GateSettings(from_examples=50, hold_events=100, release_events=100)
SURE = Golden({"a": 2.0, "b": -2.0, "colour": "red"}, least=0.5)


def bred(world: World) -> str:
    """The digest of a bare learner that learned what the manifests say."""
    learner = world.new_learner()
    replay(world.broker.log(), [each.manifest for each in world.versions()], learner)
    return tensors_digest(learner.parameters())


def fell_ill_and_recovered(*, restarts: bool = False, partitions: int = 1) -> World:
    """A learner that learns well, then something that breaks it, then more that is good."""
    world = World(partitions, fragile)
    world.run(2)
    answered(world, range(48), score=0.5)
    world.run(8)
    answered(world, [48], numeric=[BREAKS, 0.0])
    for _ in range(4):
        if restarts:
            world.start()
        world.run(2)
    answered(world, range(49, 150), score=0.5)
    world.run(12)
    return world


def test_what_makes_a_learner_not_finite_is_left_out_and_never_published() -> None:
    world = fell_ill_and_recovered()
    versions, facts = world.versions(), [each.manifest.facts for each in world.versions()]
    assert withheld(world) == {}
    (left_out,) = [each for each in facts if not all(run.learned for run in each.training)]
    assert [run.count for run in left_out.training] == [1]
    at = left_out.version.sequence
    assert versions[at].digest == versions[at - 1].digest
    assert facts[-1].examples_total == 149
    assert versions[-1].digest == tensors_digest(world.task().learner.parameters()) == bred(world)
    assert world.task().left_out == 1
    (told,) = decisions(world)
    assert (told["rule"], told["verdict"], told["inputs"]) == ("gate-finite", "FAIL", {"examples": 1.0})
    assert "'weights'" in told["reason"]


def test_a_learner_that_was_taken_back_can_be_reproduced_and_restarts_change_nothing() -> None:
    world, restarted = fell_ill_and_recovered(), fell_ill_and_recovered(restarts=True)
    digests = [each.digest for each in world.versions()]
    assert [each.digest for each in restarted.versions()] == digests
    last = world.versions()[-1].version
    found = reproduce(world.broker.log(), "toy", last, fragile)
    assert (found.digest, found.examples) == (digests[-1], 149)


def test_what_breaks_a_learner_that_was_just_rolled_back_is_left_out_too() -> None:
    world = World(1, fragile)
    world.run(2)
    answered(world, range(60), score=0.5)
    world.run(8)
    good = world.versions()[2]
    assert good.digest != world.versions()[-1].digest
    # Both come in one transaction: the log does not have the version yet that the learner is to be taken back to.
    answered(world, [60], numeric=[BREAKS, 0.0])
    world.command(world.rollback(good.version, (ExcludedRange(0, good.manifest.facts.offsets[0], 60),)))
    world.run(8)
    versions = world.versions()
    assert [str(each.version) for each in versions[-2:]] == ["1.0", "1.1"]
    assert {each.digest for each in versions[-2:]} == {good.digest}
    assert versions[-1].manifest.facts.training[-1].learned is False


def test_what_breaks_an_untrained_learner_leaves_it_untrained() -> None:
    world = World(1, fragile)
    answered(world, [0], numeric=[BREAKS, 0.0])
    world.run(3)
    first, second = world.versions()
    assert first.digest == second.digest
    assert second.manifest.facts.examples_total == 0


def test_an_exploded_version_is_withheld_until_all_parameters_were_looked_at() -> None:
    world = World(1, fragile)
    world.run(2)
    answered(world, range(48), score=0.5)
    world.run(8)
    answered(world, [48], score=0.5, numeric=[EXPLODES, 0.0])
    world.run(3)
    last, before = world.versions()[-1], world.versions()[-2]
    assert last.manifest.facts.withheld == ("magnitude",)
    assert served(world)[-1] == (str(last.version), str(before.version))
    for number in range(49, 80):
        answered(world, [number], score=0.5)
        world.run(1)
    names = withheld(world)
    assert set(names.values()) == {("magnitude",)}
    # A base has everything, so it is the first to tell that nothing is too large any more.
    assert 1 <= len(names) <= 8
    released = Version.parse(max(names, key=lambda each: int(each[2:]))).next()
    assert released.sequence % 8 == 0
    head, serving = served(world)[-1]
    assert head == serving
    assert [(each["rule"], each["verdict"]) for each in decisions(world)] == [
        ("gate-magnitude", "FAIL"),
        ("gate-magnitude", "PASS"),
    ]
    fail, _ = decisions(world)
    assert (fail["value"], fail["threshold"]) == (1e9, 1e6)


def test_without_a_gate_only_what_is_not_finite_is_kept_back() -> None:
    world = World(1, fragile, gate=GateSettings(enabled=False))
    world.run(2)
    answered(world, [0], score=0.5, numeric=[EXPLODES, 0.0])
    answered(world, range(1, 80), flipped=True)
    answered(world, [80], numeric=[BREAKS, 0.0])
    world.run(12)
    assert withheld(world) == {}
    assert world.task().left_out > 0


def turned(world: World, numbers: range) -> None:
    """The labels are suddenly the other way round, and what was served knew it."""
    answered(world, numbers, flipped=True)
    world.run(len(numbers) // 16 + 2)


def learned_well() -> World:
    world = World(1, gate=QUICK)
    world.run(2)
    answered(world, range(160), score=0.5)
    world.run(14)
    return world


def test_what_is_worse_than_what_was_served_is_withheld_and_released_when_it_is_not() -> None:
    world = learned_well()
    assert withheld(world) == {}
    turned(world, range(200, 264))
    head, serving = served(world)[-1]
    assert world.versions()[-1].manifest.facts.withheld == ("worse",)
    assert serving is not None
    assert Version.parse(serving) < Version.parse(head)
    # It learns what holds now, and does better than a constant.
    answered(world, range(300, 1_000), flipped=True, score=0.5)
    world.run(60)
    head, serving = served(world)[-1]
    assert head == serving
    fail, passed = decisions(world)
    assert (fail["rule"], fail["verdict"], passed["verdict"]) == ("gate-worse", "FAIL", "PASS")
    assert fail["value"] >= fail["threshold"]
    assert fail["inputs"]["block_loss"] > fail["inputs"]["block_served_loss"] + QUICK.tolerance
    assert fail["ranges"]
    assert served(world)[0] == ("0.0", "0.0")


def test_what_a_model_did_not_serve_itself_and_what_weighs_nothing_say_nothing() -> None:
    world = learned_well()
    revised = {"revision": 1, "was_label": 0.0, "was_weight": 1.0}
    for other in ({"model": "another"}, {"weight": 0.0}, revised):
        answered(world, range(200, 300), flipped=True, **other)
        world.run(10)
    assert withheld(world) == {}
    assert decisions(world) == []


def test_a_young_model_is_not_compared() -> None:
    world = World(1, gate=GateSettings(from_examples=10_000, hold_events=100, golden=(SURE,)))
    world.run(2)
    answered(world, range(200), flipped=True)
    world.run(16)
    assert withheld(world) == {}
    # The same from its hundredth example on.
    grown = World(1, gate=GateSettings(from_examples=100, hold_events=100))
    grown.run(2)
    answered(grown, range(200), flipped=True)
    grown.run(16)
    assert Version.parse(min(withheld(grown), key=lambda each: int(each[2:]))).sequence >= 100 // 16


def test_a_golden_input_that_is_scored_wrong_keeps_versions_back() -> None:
    world = World(1, gate=GateSettings(from_examples=50, golden=(SURE,)))
    world.run(2)
    answered(world, range(160), score=0.5)
    world.run(14)
    assert withheld(world) == {}
    answered(world, range(200, 600), flipped=True, score=1.0)
    world.run(30)
    last = world.versions()[-1]
    assert last.manifest.facts.withheld == ("golden",)
    told = decisions(world)[-1]
    assert (told["rule"], told["threshold"]) == ("gate-golden", 0.5)
    assert told["value"] < 0.5
    assert told["inputs"] == {"input": 1.0, "least": 0.5, "most": 1.0}


@pytest.mark.parametrize(
    ("features", "wrong"),
    [
        ({"a": 1.0, "b": 1.0}, "has no feature 'colour'"),
        ({"a": 1.0, "b": 1.0, "colour": "red", "c": 1.0}, "'c' is not a feature of toy@1"),
        ({"a": "1", "b": 1.0, "colour": "red"}, "feature 'a' must be a finite number"),
        ({"a": 1.0, "b": float("inf"), "colour": "red"}, "feature 'b' must be a finite number"),
        ({"a": 1.0, "b": 1.0, "colour": 7}, "feature 'colour' must be a text"),
    ],
)
def test_a_golden_input_that_does_not_fit_the_features_is_refused(features: dict[str, object], wrong: str) -> None:
    world = World(1, gate=GateSettings(golden=(SURE, Golden(features))))
    with pytest.raises(ValueError, match=f"golden input 2: .*{wrong}"):
        world.run(1)


class Misrepresented(type(fragile())):  # type: ignore[misc]
    """What it publishes does not score as it does itself."""

    def predict(self, batch: object) -> object:
        return super().predict(batch) * 0.5


def test_a_version_that_servers_would_score_otherwise_is_taken_and_not_answered_with() -> None:
    world = World(1, Misrepresented)
    world.run(2)
    answered(world, range(300), score=0.5)
    world.run(30)
    bases = [each.manifest for each in world.versions() if each.manifest.kind == "base"]
    assert all("probes" in each.facts.withheld and not each.facts.probes for each in bases[1:])
    last = world.versions()[-1]
    assert last.predictor.predict(toy_batch(SCHEMA, 5, 1)) == pytest.approx(
        2 * world.task().learner.predict(toy_batch(SCHEMA, 5, 1))
    )
    assert served(world)[-1][1] == str(Version(0, bases[1].version.sequence - 1))


faults = st.lists(st.integers(0, 18), max_size=4)


def turned_with_restarts(restarts: list[int]) -> list[tuple[str, tuple[str, ...]]]:
    world = World(1, gate=QUICK)
    world.run(2)
    answered(world, range(160), score=0.5)
    answered(world, range(200, 264), flipped=True)
    answered(world, range(300, 340), flipped=True, score=0.5)
    for step in range(19):
        if step in restarts:
            world.start()
        world.run(1)
    world.run(3)
    return [(each.digest, each.manifest.facts.withheld) for each in world.versions()]


@cache
def turned_undisturbed() -> list[tuple[str, tuple[str, ...]]]:
    return turned_with_restarts([])


@hypothesis_settings(max_examples=8, deadline=None)
@given(faults)
def test_whenever_a_learner_is_killed_digests_and_verdicts_stay_the_same(restarts: list[int]) -> None:
    assert ("worse",) in [why for _, why in turned_undisturbed()]
    assert turned_with_restarts(restarts) == turned_undisturbed()


def test_a_rollback_opens_the_gate_for_what_it_goes_back_to() -> None:
    world = learned_well()
    good = world.versions()[-1]
    turned(world, range(200, 264))
    assert world.versions()[-1].manifest.facts.withheld == ("worse",)
    exclude = world.rollback(good.version, ())
    world.command(exclude)
    world.run(4)
    first = next(each for each in world.versions() if each.version == Version(1, 0))
    assert first.digest == good.digest
    assert ("1.0", "1.0") in served(world)


def test_an_apprentice_learns_and_is_not_answered_with_until_it_is_online() -> None:
    world = World(1, mode="apprentice")
    world.run(2)
    answered(world, range(100), score=0.5)
    world.run(10)
    versions = world.versions()
    assert versions[-1].manifest.facts.examples_total == 100
    assert [each.manifest.facts.mode for each in versions] == ["apprentice"] * len(versions)
    assert {serving for _, serving in served(world)} == {"0.0"}
    world.start(mode="online")
    world.run(3)
    last = world.versions()[-1]
    assert (last.version, last.digest) == (versions[-1].version.next(), versions[-1].digest)
    assert last.manifest.facts.training == ()
    assert served(world)[-1] == (str(last.version), str(last.version))
    assert last.digest == bred(world)
    world.start(mode="apprentice")
    answered(world, range(100, 140), score=0.5)
    world.run(5)
    head, serving = served(world)[-1]
    assert (head, serving) == (str(world.versions()[-1].version), str(last.version))


def test_an_apprentice_stays_one_over_a_rollback() -> None:
    world = World(1, mode="apprentice")
    world.run(2)
    answered(world, range(100), score=0.5)
    world.run(10)
    world.command(world.rollback(Version(0, 3), ()))
    world.run(4)
    assert world.versions()[-1].version.epoch == 1
    assert {serving for _, serving in served(world)} == {"0.0"}


def test_log_only_tests_and_learns_nothing() -> None:
    world = World(1, mode="log-only")
    world.run(2)
    answered(world, range(50), score=0.5)
    world.run(6)
    assert served(world) == [("0.0", "0.0")]
    assert (world.task().tested, world.task().learned) == (50, 0)
    log = world.broker.log()
    tested = [
        codec.decode_record("evaluations", value) for block in log.read("evaluations", 0) for value in block.values
    ]
    assert tested
    assert not any(each["learned"] for each in tested)
    now_ms = world.clock.now_ms()
    world.command(Command("c9", "toy", "resume", 0, "why not", "monitor", now_ms, now_ms + 60_000))
    world.start(mode="online")
    world.run(3)
    answered(world, range(50, 100), score=0.5)
    world.run(6)
    last = world.versions()[-1].manifest.facts
    assert (last.mode, last.examples_total) == ("online", 50)
    world.start(mode="log-only")
    answered(world, range(100, 150), score=0.5)
    world.run(6)
    head, serving = served(world)[-1]
    facts = world.versions()[-1].manifest.facts
    assert (facts.withheld, facts.training, facts.examples_total) == (("log-only",), (), 50)
    assert (head, serving) == (str(facts.version), str(last.version))
    assert world.versions()[-1].digest == bred(world)
    world.command(world.rollback(Version(0, 2), ()))
    world.run(3)
    # What came after it is not learned again either.
    assert [each.version for each in world.versions()][-2:] == [facts.version, Version(1, 0)]
