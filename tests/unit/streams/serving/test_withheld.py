"""Versions that are withheld are taken and never answered with; apprentices answer beside what is shown."""

from __future__ import annotations

from typing import Any

import pytest

from rheostat.learners.bandits.linear import LinearBandit
from rheostat.learners.bandits.policy import Policy
from rheostat.learners.checks import toy_batch
from rheostat.learners.contract import FeatureSchema
from rheostat.learners.features import batch_from_columns
from rheostat.streams.models.manifest import Facts, Mode
from rheostat.streams.models.signing import KeyRing
from rheostat.streams.models.update import build_update
from rheostat.streams.models.version import Version
from rheostat.streams.serving.cold_start import Wanted, start_offsets
from rheostat.streams.serving.fallback import Fallback
from rheostat.streams.serving.follower import FollowerSettings
from tests.support.arms import AGE_MAX_MS, FEATURES, ArmedSite
from tests.support.model_topic import LEARNER, SCHEMA, Publisher
from tests.support.serving import ServingWorld

OFFERS = FeatureSchema("phishing@2", ("age", "visits"), ("device",), ("none", "banner", "mail"))
VISITOR = {"age": 1.5, "visits": -0.5, "device": "phone"}


class World(ServingWorld):
    """A server of `phishing` and its learner, whose versions are one after another."""

    def __init__(self, keep_versions: int = 100) -> None:
        super().__init__(
            FollowerSettings(
                "server-1",
                ("phishing",),
                keep_versions=keep_versions,
                fallbacks={"phishing": Fallback(AGE_MAX_MS, 0.5)},
            )
        )
        self.learner = Publisher()

    def learned(self, *withheld: str, base: bool = False, mode: Mode = "online") -> None:
        self.clock.advance(1_000)
        self.learner.nudge((self.learner.version or Version(0, 0)).sequence)
        built = self.learner.publish(base=base, at_ms=self.clock.now_ms(), mode=mode, withheld=withheld)
        self.publish(built)

    def versions(self) -> tuple[str | None, str | None]:
        """The newest version and the one that is answered with."""
        lineage, current = self.follower.lineage("phishing"), self.follower.current("phishing")
        head = None if lineage is None or lineage.head is None else str(lineage.head.version)
        return head, None if current is None else str(current.version)


def test_a_withheld_version_is_what_the_next_delta_builds_on_and_not_answered_with() -> None:
    world = World()
    world.learned(base=True)
    world.learned("worse")
    assert world.versions() == ("1.1", "1.0")
    world.learned("worse", "golden", base=True)
    assert world.versions() == ("1.2", "1.0")
    world.learned()
    assert world.versions() == ("1.3", "1.3")
    assert [str(each.version) for each in world.swaps] == ["1.0", "1.3"]
    assert world.refusals("gap") == 0


def test_a_server_waits_for_a_version_that_it_may_answer_with() -> None:
    world = World()
    world.learned("worse", base=True)
    assert world.versions() == ("1.0", None)
    assert world.follower.missing() == ("phishing",)
    assert not world.follower.ready
    world.learned()
    assert world.versions() == ("1.1", "1.1")
    assert world.follower.ready


def test_what_is_answered_with_is_kept_however_long_the_next_ones_are_withheld() -> None:
    world = World(keep_versions=2)
    world.learned(base=True)
    world.learned()
    for _ in range(20):
        world.learned("worse")
    assert world.versions() == ("1.21", "1.1")


def test_a_restart_answers_with_the_same_version() -> None:
    world = World()
    world.learned(base=True)
    for number in range(12):
        world.learned("worse", base=number % 5 == 0)
    world.restart()
    world.settle()
    assert world.versions() == ("1.12", "1.0")


def test_a_server_that_starts_reads_from_a_base_that_it_may_answer_with() -> None:
    world = World()
    for number in range(30):
        world.learned(*(("worse",) if number > 17 else ()), base=number % 5 == 0)
    wanted = [Wanted("phishing", history_ms=1_000)]
    ((_, start),) = start_offsets(world.broker.log(), KeyRing.of(LEARNER), wanted, step=3).items()
    keys = [key for block in world.broker.log().read("models", 0, start_offset=start) for key in block.keys]
    assert keys[0] == b"phishing|base|1.15|0"
    assert world.versions() == ("1.29", "1.17")


def test_a_rollback_goes_back_to_the_newest_version_before_its_target_that_may_be_answered_with() -> None:
    world = World()
    world.learned(base=True)
    world.learned()
    world.learned("worse")
    world.learned()
    world.command("rollback", epoch=2, target=Version(1, 2))
    assert world.versions() == ("1.2", "1.1")
    assert len(world.acknowledged()) == 1
    world.publish(world.learner.publish(base=True, epoch=2, at_ms=world.clock.now_ms()))
    assert world.versions() == ("2.0", "2.0")


def test_a_freeze_holds_what_is_answered_with_also_over_a_restart() -> None:
    world = World()
    world.learned(base=True)
    world.learned("worse")
    world.command("freeze")
    world.learned()
    assert world.versions() == ("1.2", "1.0")
    world.restart()
    world.settle()
    assert world.versions() == ("1.2", "1.0")


def test_a_withheld_version_can_be_pinned_by_order() -> None:
    world = World()
    world.learned(base=True)
    world.learned("worse")
    world.command("pin", target=Version(1, 1))
    assert world.versions() == ("1.1", "1.1")


def test_what_stands_for_an_apprentice_does_not_grow_too_old_and_a_version_the_gate_keeps_does() -> None:
    world = World()
    world.learned(base=True)
    world.learned("apprentice", mode="apprentice")
    world.clock.advance(AGE_MAX_MS + 1)
    assert not world.follower.too_old("phishing")
    world.learned("worse")
    assert world.follower.too_old("phishing")


def test_what_an_apprentice_learned_is_logged_beside_the_answer_and_never_answered() -> None:
    site = ArmedSite()
    first = site.published.publish(base=True, at_ms=site.clock.now_ms(), mode="apprentice")
    site.publish(first)
    before = site.ask()
    for seed in range(3):
        site.published.nudge(seed)
        site.publish(site.published.publish(base=False, mode="apprentice", withheld=("apprentice",)))
    answer = site.ask()
    assert (answer["version"], answer["score"]) == ("1.0", before["score"])
    assert "arm" not in answer or answer["arm"] == "phishing:default"
    site.shadows.score()
    (about,) = [each for each in site.client.get("/models").json()["models"] if each["model"] == "phishing"]
    assert {name: about[name] for name in ("version", "mode", "newest", "withheld")} == {
        "version": "1.0",
        "mode": "apprentice",
        "newest": "1.3",
        "withheld": ["apprentice"],
    }
    learned = site.follower.apprentice("phishing")
    assert learned is not None
    expected = learned.version.predictor.predict(batch_from_columns(SCHEMA, [[12.0, 3.5]], [["com"]]))[0]
    (beside,) = [each for each in site.logged().values() if each["shadow_of"] == answer["prediction_id"]]
    assert (beside["epoch"], beside["sequence"], beside["arm"]) == (1, 3, "phishing:apprentice")
    assert beside["score"] == pytest.approx(expected, abs=1e-12)
    assert beside["score"] != answer["score"]
    assert site.counted("predictions", arm="apprentice") == 2
    site.published.nudge(4)
    site.publish(site.published.publish(base=False))
    online = site.ask()
    assert online["version"] == "1.4"
    assert site.follower.apprentice("phishing") is None
    assert site.shadows.score() == 0


def bandit(site: ArmedSite, version: Version, seed: int, mode: Mode, *withheld: str) -> None:
    learner = LinearBandit(OFFERS, Policy("thompson", epsilon=0.3))
    learner.learn(toy_batch(OFFERS, 300, seed))
    learner.flush()
    now_ms = site.clock.now_ms()
    facts = Facts("phishing", version, learner.kind, OFFERS, published_at_ms=now_ms, mode=mode, withheld=withheld)
    site.publish(build_update(facts, learner.parameters(), None, LEARNER))


def asked(site: ArmedSite, count: int, **more: Any) -> list[dict[str, Any]]:
    instances = [{"features": VISITOR, **more}] * count
    answers = site.client.post("/predict", json={"model": "phishing", "instances": instances})
    assert answers.status_code == 200, answers.text
    found: list[dict[str, Any]] = answers.json()["predictions"]
    return found


def test_a_model_that_chooses_answers_by_default_until_it_is_online() -> None:
    site = ArmedSite()
    bandit(site, Version(1, 0), 1, "apprentice")
    assert {(each["action"], each["propensity"]) for each in asked(site, 50)} == {("none", 1.0)}
    some = asked(site, 50, actions=["mail", "banner"])
    assert {(each["action"], each["propensity"]) for each in some} == {("banner", 1.0)}
    bandit(site, Version(1, 1), 2, "apprentice", "apprentice")
    shown = asked(site, 100)
    assert {(each["version"], each["action"]) for each in shown} == {("1.0", "none")}
    while site.shadows.score():
        pass
    beside = [each for each in site.logged().values() if each["shadow_of"] in {one["prediction_id"] for one in shown}]
    assert len(beside) == 100
    assert len({each["action"] for each in beside}) > 1
    assert all(0.0 < each["propensity"] <= 1.0 for each in beside)
    bandit(site, Version(1, 2), 2, "online")
    assert len({each["action"] for each in asked(site, 100)}) > 1
    bandit(site, Version(1, 3), 2, "log-only", "log-only")
    assert {(each["version"], each["action"]) for each in asked(site, 50)} == {("1.2", "none")}
    assert site.follower.apprentice("phishing") is None


def test_features_that_servers_answer_with_are_those_of_the_version_that_answers() -> None:
    """An apprentice that takes others cannot be asked; that is counted and hurts nobody."""
    site = ArmedSite()
    site.publish(site.published.publish(base=True, at_ms=site.clock.now_ms()))
    bandit(site, Version(1, 1), 1, "apprentice", "apprentice")
    answer = site.client.post("/predict", json={"model": "phishing", "features": FEATURES}).json()
    assert answer["version"] == "1.0"
    site.shadows.score()
    assert site.counted("skipped_predictions", arm="apprentice", why="features") == 1
