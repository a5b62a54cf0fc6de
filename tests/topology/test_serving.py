import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from rheostat.learners.deep.torch_learner import TorchLearner
from rheostat.learners.deep_settings import ModuleSettings
from rheostat.learners.digest import tensors_digest
from rheostat.learners.features import batch_from_columns
from rheostat.streams.errors import Fatal, Retryable
from rheostat.streams.models.apply import ModelVersion
from rheostat.streams.models.manifest import Probe
from rheostat.streams.models.signing import generate_signer
from rheostat.streams.models.update import BuiltUpdate
from rheostat.streams.models.version import Version
from rheostat.streams.serving.follower import FollowerSettings
from tests.support.model_topic import SCHEMA, Publisher, hashed_tensors
from tests.support.serving import ServingWorld
from tests.unit.learners.deep.modules import ROWS, wide


def serving(world: ServingWorld, model: str = "phishing") -> ModelVersion:
    version = world.follower.current(model)
    assert version is not None
    return version


def grow(world: ServingWorld, publisher: Publisher, count: int, base_every: int = 1000) -> list[BuiltUpdate]:
    """Publish `count` versions, one every 10 ms, the first of them a base."""
    updates = []
    for step in range(count):
        publisher.nudge(step)
        updates.append(publisher.publish(base=step % base_every == 0, at_ms=world.clock.advance(10)))
        world.publish(updates[-1])
    return updates


def started(count: int = 10) -> tuple[ServingWorld, Publisher]:
    world, publisher = ServingWorld(), Publisher()
    world.settle()
    grow(world, publisher, count)
    return world, publisher


# --- following


def test_every_version_is_served_as_soon_as_it_is_published() -> None:
    world, publisher = started()
    assert [str(version.version) for version in world.swaps] == [f"1.{sequence}" for sequence in range(10)]
    assert serving(world).digest == tensors_digest(publisher.tensors)
    assert world.follower.missing() == ()


def test_a_server_that_starts_late_ends_where_the_others_are() -> None:
    world, publisher = started()
    world.restart()
    assert world.follower.missing() == ("phishing",)
    world.settle()
    assert serving(world).digest == tensors_digest(publisher.tensors)


def test_only_wanted_models_are_followed() -> None:
    world, clicks = started()[0], Publisher(model="clicks")
    world.publish(clicks.publish(base=True))
    assert world.follower.models == ("phishing",)
    everything = ServingWorld(FollowerSettings("server-1"))
    everything.publish(clicks.publish(base=True), Publisher().publish(base=True))
    assert everything.follower.models == ("clicks", "phishing")


def test_a_module_of_torch_is_served_by_the_function_that_makes_it_and_by_no_other() -> None:
    name = "tests.unit.learners.deep.modules:wide"
    learner = TorchLearner(SCHEMA, wide, ModuleSettings(name, category_rows=ROWS))
    batch = batch_from_columns(SCHEMA, [(12.0, 3.0)], [["com"]])
    probe = Probe((12.0, 3.0), ("com",), float(learner.predict(batch)[0]))
    publisher = Publisher(kind=learner.kind, tensors=dict(learner.parameters()))
    update = publisher.publish(base=True, probes=(probe,))
    for modules, scores in (({name: wide}, [probe.score]), ({}, [])):
        world = ServingWorld(FollowerSettings("server-1", ("phishing",), modules=modules))
        world.publish(update)
        scorer = world.follower.scorer("phishing")
        found = [] if scorer is None else [scorer.score({"url_length": 12.0, "age_days": 3.0, "tld": "com"})]
        assert found == pytest.approx(scores)


def test_each_base_and_a_heartbeat_state_what_runs_with_a_digest_computed_anew() -> None:
    world, publisher = started(1)
    assert [status["state"] for status in world.statuses()] == ["starting", "live"]
    world.follower.step(0)
    assert len(world.statuses()) == 2
    world.clock.advance(5_000)
    world.follower.step(0)
    last = world.statuses()[-1]
    assert (last["member"], last["role"], last["epoch"], last["sequence"]) == ("server-1", "server", 1, 0)
    assert last["digest"] == tensors_digest(publisher.tensors)
    assert (last["version_age_ms"], last["refused"]) == (5_000, None)
    assert last["probe_error_max"] < 1e-9


def test_tensors_that_were_tampered_with_in_memory_show_in_the_status() -> None:
    world, _ = started(1)
    weights = serving(world).tensors["weights"]
    weights.flags.writeable = True
    weights[0] = np.float64(9.0)
    world.clock.advance(5_000)
    world.follower.step(0)
    assert world.statuses()[-1]["digest"] != serving(world).digest


def test_a_refusal_keeps_the_last_good_version_and_is_reported_until_a_base_heals() -> None:
    world, publisher = started(3)
    good = serving(world)
    publisher.publish(base=False)
    publisher.nudge(1)
    world.publish(publisher.publish(base=False))
    assert serving(world) is good
    assert world.refusals("gap") == 1
    world.clock.advance(5_000)
    world.follower.step(0)
    assert world.statuses()[-1]["state"] == "degraded"
    assert "waiting for the next base" in world.statuses()[-1]["refused"]
    world.publish(publisher.publish(base=True))
    assert serving(world).digest == tensors_digest(publisher.tensors)
    assert (world.statuses()[-1]["state"], world.statuses()[-1]["refused"]) == ("live", None)


def test_a_broker_that_does_not_answer_for_a_moment_changes_nothing() -> None:
    world, publisher = started(2)
    world.broker.fail_next("poll", Retryable("no answer"))
    assert world.follower.step(0) == 0
    world.write(*publisher.publish(base=True).records)
    world.broker.fail_next("send", Retryable("full"))
    world.settle()
    assert serving(world).version == publisher.version


def test_the_thread_serves_what_is_published_and_keeps_the_error_that_ended_it() -> None:
    world, publisher = ServingWorld(), Publisher()
    world.follower.start()
    world.write(*publisher.publish(base=True).records)
    wait_for(lambda: world.follower.current("phishing") is not None)
    world.broker.fail_next("poll", Fatal("unusable"))
    wait_for(lambda: world.follower.failure is not None)
    world.follower.stop()
    assert isinstance(world.follower.failure, Fatal)


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline


def test_a_stopped_server_says_so() -> None:
    world, _ = started(1)
    world.follower.stop()
    world.follower.stop()
    assert [status["state"] for status in world.statuses()][-2:] == ["live", "stopped"]


# --- commands


def test_a_rollback_switches_at_once_is_acknowledged_and_fences_the_old_epoch_off() -> None:
    world, publisher = started()
    world.command("rollback", epoch=2, target=Version(1, 4))
    assert serving(world).version == Version(1, 4)
    (acknowledgement,) = world.acknowledged()
    assert (acknowledgement["epoch"], acknowledgement["sequence"]) == (1, 4)
    assert acknowledgement["digest"] == serving(world).digest
    publisher.nudge(3)
    world.publish(publisher.publish(base=True), publisher.publish(base=False))
    assert serving(world).version == Version(1, 4)
    assert world.refusals("fenced") == 2
    publisher.nudge(4)
    world.publish(publisher.publish(base=True, epoch=2, command_id="c-1"))
    assert serving(world).version == Version(2, 0)
    assert [status["epoch"] for status in world.acknowledged()] == [1, 2]


def test_a_rollback_takes_the_nearest_older_version_that_is_kept() -> None:
    world = ServingWorld(FollowerSettings("server-1", ("phishing",), keep_versions=3))
    publisher = Publisher()
    grow(world, publisher, 40)
    lineage = world.follower.lineage("phishing")
    assert lineage is not None
    kept = [version.version for version in lineage.kept]
    assert len(kept) == 3
    assert (kept[0], kept[-1]) == (Version(1, 0), Version(1, 39))
    world.command("rollback", epoch=2, target=Version(1, 38))
    assert serving(world).version == kept[1]


def test_without_any_version_that_old_the_new_epochs_base_heals_and_acknowledges() -> None:
    world, publisher = ServingWorld(), Publisher()
    publisher.publish(base=True)
    world.publish(publisher.publish(base=True))
    world.command("rollback", epoch=2, target=Version(1, 0))
    assert serving(world).version == Version(1, 1)
    assert world.acknowledged() == []
    assert world.statuses()[-1]["state"] == "degraded"
    assert "no version that old is kept" in world.statuses()[-1]["refused"]
    world.publish(publisher.publish(base=True, epoch=2))
    assert [status["epoch"] for status in world.acknowledged()] == [2]
    assert world.statuses()[-1]["state"] == "live"


def test_the_learners_answer_may_come_before_the_command() -> None:
    world, publisher = started()
    world.publish(publisher.publish(base=True, epoch=2))
    world.command("rollback", epoch=2, target=Version(1, 4))
    assert serving(world).version == Version(2, 0)
    assert len(world.acknowledged()) == 1
    world.command("rollback", epoch=3, target=Version(1, 8), command_id="c-2")
    assert serving(world).version == Version(1, 4), "what the first rollback took back must not come back"


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("expired", [False, True])
def test_a_restart_ends_in_the_same_state(answered: bool, expired: bool) -> None:
    world, publisher = started()
    world.command("rollback", epoch=2, target=Version(1, 4))
    if answered:
        world.publish(publisher.publish(base=True, epoch=2))
    before = serving(world).version
    world.clock.advance(120_000 if expired else 0)
    acknowledged = len(world.acknowledged())
    world.restart()
    world.settle()
    # An expired rollback that no learner answered was never carried out: the old epoch goes on.
    assert serving(world).version == (Version(1, 9) if expired and not answered else before)
    assert (len(world.acknowledged()) == acknowledged) == expired


def test_pin_holds_a_version_while_updates_go_on_and_resume_lets_go() -> None:
    world, publisher = started()
    world.command("pin", target=Version(1, 6), issuer="ada")
    assert serving(world).version == Version(1, 6)
    grow(world, publisher, 3)
    assert serving(world).version == Version(1, 6)
    world.command("resume", command_id="c-2", issuer="monitor")
    assert serving(world).version == Version(1, 6), "the monitor does not lift what a person ordered"
    world.command("resume", command_id="c-3", issuer="ada")
    assert serving(world).version == publisher.version
    assert [len(world.acknowledged(each)) for each in ("c-1", "c-2", "c-3")] == [1, 1, 1]


def test_freeze_holds_the_version_in_use_also_over_a_restart() -> None:
    world, publisher = started()
    world.command("freeze", issuer="ada")
    grow(world, publisher, 3)
    assert serving(world).version == Version(1, 9)
    world.clock.advance(120_000)
    world.restart()
    world.settle()
    assert serving(world).version == Version(1, 9)
    world.follower.step(0)
    assert world.statuses()[-1]["state"] == "frozen"


def test_a_rollback_moves_a_held_version_only_when_it_is_taken_back() -> None:
    for pinned, expected in ((Version(1, 2), Version(1, 2)), (Version(1, 7), Version(1, 4))):
        world, _ = started()
        world.command("pin", target=pinned, issuer="ada")
        world.command("rollback", epoch=2, target=Version(1, 4), command_id="c-2")
        assert serving(world).version == expected


def test_a_version_that_is_not_kept_cannot_be_pinned() -> None:
    world, _ = started(2)
    world.command("pin", target=Version(1, 77))
    assert world.acknowledged() == []
    assert "1.77" in world.statuses()[-1]["refused"]
    assert serving(world).version == Version(1, 1)


def test_expired_repeated_and_foreign_commands_are_ignored_and_counted() -> None:
    world, _ = started()
    world.command("rollback", epoch=2, target=Version(1, 4), command_id="late", ttl_ms=-1)
    world.command("rollback", epoch=2, target=Version(1, 4), command_id="other", model="clicks")
    world.command("promote", target=Version(1, 4), command_id="twice")
    world.command("promote", target=Version(1, 4), command_id="twice")
    assert serving(world).version == Version(1, 9)
    assert world.follower.ignored_commands == {"expired": 1, "foreign": 1, "duplicate": 1}
    assert len(world.acknowledged("twice")) == 1


def test_a_command_signed_by_a_stranger_is_refused() -> None:
    world, _ = started()
    world.command("rollback", epoch=2, target=Version(1, 4), signer=generate_signer("monitor-1"))
    assert serving(world).version == Version(1, 9)
    assert world.refusals("signature", model="other") == 1


# --- bounds


def test_kept_versions_are_bounded_by_bytes_and_shared_arrays_count_once() -> None:
    table_bytes = 4096 * 4 * 4
    world = ServingWorld(FollowerSettings("server-1", ("phishing",), keep_bytes_max=5 * table_bytes))
    publisher = Publisher(kind="hashed-mlp/1", tensors=hashed_tensors(4096))
    for step in range(30):
        table = publisher.tensors["table"].copy()
        table[step] = np.float32(1.0)
        publisher.learn(table=table)
        world.publish(publisher.publish(base=step == 0, at_ms=world.clock.advance(10)))
    lineage = world.follower.lineage("phishing")
    assert lineage is not None
    arrays = {id(tensor): tensor.nbytes for version in lineage.kept for tensor in version.tensors.values()}
    assert lineage.kept.bytes == sum(arrays.values()) <= 5 * table_bytes
    assert [each.version for each in lineage.kept][-1] == publisher.version


def test_serving_needs_neither_faust_nor_river_nor_torch() -> None:
    code = (
        "import sys, rheostat.streams.serving.server, rheostat.streams.serving.follower\n"
        "print([name for name in ('faust', 'river', 'torch', 'pandas', 'sklearn') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


SERVER = """
import sys
from rheostat.streams.models.signing import KeyRing
from rheostat.streams.serving.follower import FollowerSettings
from rheostat.streams.serving.server import ServerSettings, serve
from tests.support.model_topic import LEARNER, Publisher
from tests.support.serving import ServingWorld
from tests.unit.learners.deep.modules import ROWS, wide

world = ServingWorld()
world.write(*Publisher().publish(base=True).records)
settings = ServerSettings(FollowerSettings("server-1", ("phishing",)), port=int(sys.argv[1]))
serve(world.broker, settings, KeyRing.of(LEARNER))
blocks = [block for p in range(4) for block in world.broker.log().read("predictions", p)]
print(sum(map(len, blocks)), world.statuses()[-1]["state"])
"""


def test_a_server_that_is_told_to_end_answers_first_and_logs_everything() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).parents[2]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: server.poll() is not None or answers(port), seconds=30)
        body = {"model": "phishing", "instances": [{"features": {"url_length": 1, "age_days": 2, "tld": None}}] * 9}
        assert httpx.post(f"http://127.0.0.1:{port}/predict", json=body).status_code == 200
        server.send_signal(signal.SIGTERM)
        output, errors = server.communicate(timeout=30)
    finally:
        server.kill()
        server.wait()
    assert server.returncode == 0, errors
    assert output.split() == ["9", "stopped"]


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx.TransportError:
        return False
