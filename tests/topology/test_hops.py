"""From a client's stamp to the server that serves what was learned of it: every hop of the way is measured."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from rheostat.schemas import catalogue, codec
from rheostat.schemas.hops import HEADER, Trail, write
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.hops import FAULTS
from rheostat.streams.engine.loop import LoopLimits, StageLoop
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.engine.stage import Stage
from rheostat.streams.errors import Abortable
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.stage import IntakeStage
from rheostat.streams.intake_join import IntakeJoinStage
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.join.stage import JoinStage
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.stage import LearnStage
from rheostat.streams.metrics import HOPS, Metrics
from rheostat.streams.models.commands import Command, CommandKind, sign_command
from rheostat.streams.models.signing import KeyRing
from rheostat.streams.models.version import Version
from rheostat.streams.provision import create_topics
from rheostat.streams.serving.follower import FollowerSettings, ModelFollower
from rheostat.streams.stage_metrics import StageMetrics
from rheostat.streams.topology import hop_of
from tests.support.examples import SCHEMA
from tests.support.feedback import KEY
from tests.support.join_records import T0, prediction
from tests.support.learn_world import LEARNER, MONITOR, linear

INTAKE, JOIN = IntakeSettings(KEY), JoinSettings(window_ms=60_000)
KEYS = KeyRing.of(LEARNER, MONITOR)
APART = ["produce", "intake", "to-join", "join", "to-learn", "learn", "publish", "follow"]
FUSED = ["produce", "intake-join", "to-learn", "learn", "publish", "follow"]
STEP_MS = 10


class World:
    """A client that stamps, all stages on the way, and a server; each takes its turn 10 ms after the one before it."""

    def __init__(self, *, fused: bool, stamp_every: int = 1) -> None:
        self.clock = ManualClock(T0)
        self.broker = MemoryBroker(self.clock, wait_ms=0)
        create_topics(self.broker, 2, 1)
        self.producer = self.broker.producer()
        self.client = FeedbackClient(self.broker, source="shop", clock=self.clock, stamp_every=stamp_every)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        before: list[Stage] = [IntakeJoinStage(INTAKE, JOIN)] if fused else [IntakeStage(INTAKE), JoinStage(JOIN)]
        learn = LearnStage(LearnSettings(model="toy", member="learner-toy"), linear, LEARNER, KEYS)
        self.loops = [self.loop(stage) for stage in (*before, learn)]
        self.start_server()
        self.count = 0
        for _ in range(3):
            self.turn()

    def start_server(self) -> None:
        settings = FollowerSettings("server-1", ("toy",))
        self.follower = ModelFollower(self.broker, settings, KEYS, self.clock, self.metrics)

    def loop(self, stage: Stage) -> StageLoop:
        limits = LoopLimits(poll_timeout_ms=0, interval_ms=0)
        observer = StageMetrics(self.metrics)
        hop = hop_of(stage.name)
        return StageLoop(stage, self.broker, slot="0", clock=self.clock, limits=limits, observer=observer, hop=hop)

    def turn(self) -> None:
        for loop in self.loops:
            self.clock.advance(STEP_MS)
            loop.step()
        self.clock.advance(STEP_MS)
        self.follower.step(0)

    def show(self) -> str:
        """Show a prediction whose feedback makes an example."""
        self.count += 1
        name, now_ms = f"p-{self.count}", self.clock.now_ms()
        record = prediction(name, now_ms, model="toy", feature_set=SCHEMA.id)
        value = codec.encode_record(catalogue.PREDICTIONS, record)
        self.producer.send(catalogue.PREDICTIONS, name.encode(), value, timestamp_ms=now_ms)
        return name

    def click(self, events: int = 1) -> None:
        for _ in range(events):
            self.client.thumb(self.show(), f"user-{self.count}", up=True, consent=True)

    def tell(self, header: bytes) -> None:
        """Send feedback with a header of one's own."""
        said = self.client.make("thumb", 1.0, self.show(), f"user-{self.count}", consent=True)
        value = codec.encode_record(said.topic, said.record())
        self.producer.send(said.topic, said.key, value, timestamp_ms=self.clock.now_ms(), headers=[(HEADER, header)])

    def version(self) -> Version:
        """The version that the server has in use."""
        found = self.follower.current("toy")
        assert found is not None
        return found.version

    def command(self, kind: CommandKind, target: Version | None = None) -> None:
        now_ms = self.clock.now_ms()
        command = Command(f"{kind}-1", "toy", kind, 0, "a test", "monitor", now_ms, now_ms + 60_000, target)
        key, value = sign_command(command, MONITOR)
        self.producer.send(catalogue.MODELS_COMMANDS, key, value, timestamp_ms=now_ms)

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"rheostat_{name}", labels) or 0.0

    def of_hops(self, part: str, suffix: str) -> dict[str, float]:
        found = {hop: self.value(f"{part}_hop_seconds_{suffix}", model="toy", hop=hop) for hop in (*HOPS, "other")}
        return {hop: value for hop, value in found.items() if value}


@pytest.mark.parametrize(("fused", "hops"), [(False, APART), (True, FUSED)], ids=["two stages", "one stage"])
def test_every_hop_of_the_way_is_measured_and_they_add_up(fused: bool, hops: list[str]) -> None:
    world = World(fused=fused)
    world.click()
    world.turn()
    # Read 10 ms after it was sent, and each time again 10 ms later; nothing takes time of its own here.
    assert world.of_hops("follower", "count") == dict.fromkeys(hops, 1.0)
    waiting = [hop for hop in hops if hop in ("produce", "publish") or hop.startswith("to-")]
    assert world.of_hops("follower", "sum") == pytest.approx(dict.fromkeys(waiting, STEP_MS / 1000))
    assert world.value("follower_freshness_seconds_sum", model="toy") == pytest.approx(len(waiting) * STEP_MS / 1000)
    # The learner knows the same of the way up to its own commit.
    assert world.of_hops("learn", "count") == dict.fromkeys(hops[:-1], 1.0)
    until = (len(waiting) - 1) * STEP_MS / 1000
    assert world.value("learn_freshness_seconds_sum", model="toy") == pytest.approx(until)


@pytest.mark.parametrize("fused", [False, True], ids=["two stages", "one stage"])
def test_every_stamped_event_counts_and_no_other(fused: bool) -> None:
    world = World(fused=fused, stamp_every=10)
    for _ in range(3):
        world.click(100)
        world.turn()
    assert world.value("follower_freshness_seconds_count", model="toy") == 30
    assert world.value("learn_freshness_seconds_count", model="toy") == 30


def test_what_nobody_can_read_stops_nothing() -> None:
    world = World(fused=False)
    now_ms = world.clock.now_ms()
    for header in (b"7;new", b"1;\xff", b"1;1*1", b"x" * 70_000, write(Trail(now_ms + 3_600_000))):
        world.tell(header)
    world.turn()
    faults = {each: world.value("stage_bad_trails_total", stage="intake", fault=each) for each in FAULTS}
    assert faults == {"version": 1, "form": 1, "age": 1, "length": 1, "clock": 1}
    assert world.value("learn_examples_total", model="toy") == 5
    # The one from the future is taken for one of the present: it waited for nothing at first.
    assert world.value("follower_freshness_seconds_count", model="toy") == 1
    assert world.of_hops("follower", "sum").get("produce", 0.0) == 0.0


def test_trails_of_an_update_that_lie_are_counted_by_the_server() -> None:
    world = World(fused=False)
    world.producer.send(
        catalogue.MODELS,
        b"toy|delta|0.9|0",
        b"",
        timestamp_ms=world.clock.now_ms(),
        headers=[(HEADER, b"?")],
        partition=0,
    )
    world.turn()
    assert world.value("follower_bad_trails_total", fault="version") == 1


def test_after_an_abort_an_event_counts_once() -> None:
    world = World(fused=False)
    world.click()
    world.broker.fail_next("commit", Abortable("a fault"))
    for _ in range(4):
        world.turn()
    assert world.value("stage_aborted_transactions_total", stage="intake") == 1
    assert world.value("follower_freshness_seconds_count", model="toy") == 1


def test_what_a_server_is_held_back_from_is_not_measured() -> None:
    world = World(fused=False)
    world.click()
    world.turn()
    world.command("pin", world.version())
    for _ in range(2):
        world.turn()
        world.click()
    world.turn()
    assert world.value("learn_freshness_seconds_count", model="toy") == 3
    assert world.value("follower_freshness_seconds_count", model="toy") == 1
    world.command("resume")
    world.turn()
    world.click()
    world.turn()
    assert world.value("follower_freshness_seconds_count", model="toy") == 2


def test_a_server_that_starts_late_measures_from_then_on() -> None:
    world = World(fused=True)
    world.click(3)
    for loop in world.loops:
        loop.step()
    world.start_server()
    world.turn()
    assert world.value("follower_freshness_seconds_count", model="toy") == 0
    world.click()
    world.turn()
    assert world.value("follower_freshness_seconds_count", model="toy") == 1
