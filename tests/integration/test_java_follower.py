"""A follower in Java, made from schemas/MODELS.md and sharing no code with us, agrees with us about every record."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rheostat.learners.digest import tensors_digest
from rheostat.schemas import catalogue
from rheostat.streams.clock import WallClock
from rheostat.streams.engine.block import OutBlock
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.engine.loop import ALL_PARTITIONS, LoopLimits, StageLoop
from rheostat.streams.learn.settings import LearnSettings
from rheostat.streams.learn.stage import LearnStage, LearnTask
from rheostat.streams.models.commands import Command, sign_command
from rheostat.streams.models.refusal import CHECKS
from rheostat.streams.models.signing import KeyRing, Signer, generate_signer, save_signer
from rheostat.streams.models.version import Version
from rheostat.streams.provision import create_topics
from tests.support.brokers import T0_MS, await_condition
from tests.support.examples import send_examples
from tests.support.java_follower import JavaFollower, build_java_follower
from tests.support.learn_world import deep, linear
from tests.support.model_follower import Followed, History
from tests.support.model_histories import HISTORIES
from tests.support.model_updates import Author
from tests.support.model_vectors import FOLDER, followed, tensors

# A JDK is more than the other tests ask for.
pytestmark = pytest.mark.slow

PARTITIONS = 2
DISTURBED = 120
LEARNERS = {"toy": linear, "deep": deep}


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> JavaFollower:
    return build_java_follower(tmp_path_factory.mktemp("classes"))


def test_it_agrees_on_every_vector(java: JavaFollower) -> None:
    answers = java.ask("vectors", str(FOLDER))
    assert sorted(answers) == sorted(path.name for path in FOLDER.iterdir())
    for name, answer in answers.items():
        assert answer == json.loads((FOLDER / name).read_text("utf-8"))["expected"], name


@cache
def told(name: str) -> History:
    """The history of this name, made once."""
    return HISTORIES[name]()


def disturbed(number: int) -> dict[str, Any]:
    """A history after an unreliable channel, and what our own follower makes of it."""
    draw = random.Random(number)
    history = told(draw.choice(sorted(HISTORIES)))
    records = list(history.records)
    for _ in range(draw.randint(1, 8)):
        at, other = draw.randrange(len(records)), draw.randrange(len(records))
        key, value = records[at]
        place = draw.randrange(len(value)) if value else 0
        change = draw.choice(["drop", "repeat", "swap", "cut", "grow", "flip", "rekey", "delete", "replay"])
        if change == "drop" and len(records) > 1:
            del records[at]
        elif change == "repeat":
            records.insert(at, records[other])
        elif change == "swap":
            records[at], records[other] = records[other], records[at]
        elif change == "rekey":
            records[at] = (records[other][0], value)
        elif change == "delete":
            records[at] = (key, None)
        elif change == "replay":
            records += records[at:]
        elif value:
            flipped = bytes([value[place] ^ 1 << draw.randrange(8)])
            changed = {
                "cut": value[:place],
                "grow": value + b"\0",
                "flip": value[:place] + flipped + value[place + 1 :],
            }
            records[at] = (key, changed.get(change, value))
    return followed(f"number {number}", history.signers, records)


def test_it_agrees_on_what_unreliable_channels_deliver(java: JavaFollower, tmp_path: Path) -> None:
    made = {f"history-{number}.json": disturbed(number) for number in range(DISTURBED)}
    for name, each in made.items():
        (tmp_path / name).write_text(json.dumps(each), "utf-8")
    answers = java.ask("vectors", str(tmp_path))
    assert {name: answers[name] == each["expected"] for name, each in made.items()} == dict.fromkeys(made, True)
    outcomes = [record for each in made.values() for record in each["expected"]["records"]]
    assert {check for record in outcomes for check in record["refused"]} == set(CHECKS)


class Learners:
    """The learn stages of two models on a real broker, whose updates need several chunks each."""

    def __init__(self, broker: KafkaBroker, signer: Signer, keys: KeyRing) -> None:
        self._producer = broker.producer()
        self._loops = {
            model: StageLoop(
                LearnStage(
                    LearnSettings(model, f"learner-{model}", base_every=4, state_every=4, chunk_bytes_max=200),
                    new_learner,
                    signer,
                    keys,
                ),
                broker,
                slot="0",
                clock=WallClock(),
                limits=LoopLimits(records_max=8, poll_timeout_ms=20, interval_ms=0),
            )
            for model, new_learner in LEARNERS.items()
        }

    def learn(self, numbers: range) -> None:
        """Learn examples to the last of them."""
        send_examples(self._producer, numbers)
        assert self._producer.flush(30_000) == 0
        await_condition(lambda: self._step() == {numbers.stop}, "every example is learned")

    def roll_back(self, model: str, target: Version, signer: Signer) -> None:
        """Order a rollback and wait until it is carried out."""
        now_ms = WallClock().now_ms()
        command = Command("c1", model, "rollback", 1, "worse", "operator", now_ms, now_ms + 60_000, target)
        key, value = sign_command(command, signer)
        self._producer.send(catalogue.MODELS_COMMANDS, key, value, timestamp_ms=now_ms)
        assert self._producer.flush(30_000) == 0

        def carried_out() -> bool:
            self._step()
            version = self._tasks()[model].progress.version
            return version is not None and version.epoch == command.epoch

        await_condition(carried_out, "it is rolled back")

    def digests(self) -> dict[str, str]:
        """The digests of the learners themselves, by model."""
        return {model: tensors_digest(task.learner.parameters()) for model, task in self._tasks().items()}

    def close(self) -> None:
        """End them, as at the end of a process."""
        for loop in self._loops.values():
            loop.close()
        self._producer.close()

    def _step(self) -> set[int]:
        for loop in self._loops.values():
            loop.step()
        return {task.progress.examples_total for task in self._tasks().values()}

    def _tasks(self) -> dict[str, LearnTask]:
        found = {model: loop.tasks.get(ALL_PARTITIONS) for model, loop in self._loops.items()}
        return {model: task for model, task in found.items() if isinstance(task, LearnTask)}


def write_aborted(broker: KafkaBroker) -> None:
    """Leave an update in the topic that was never committed."""
    producer = broker.transactional_producer("nobody")
    producer.begin()
    records = Author(model="toy").base(Version(9, 0))
    keys, values = [key for key, _ in records], [value for _, value in records]
    producer.write(OutBlock(catalogue.MODELS, 0, keys, values, [T0_MS] * len(records)))
    producer.abort()


def as_we_read_it(broker: KafkaBroker, keys: KeyRing) -> tuple[list[dict[str, Any]], Followed]:
    """What our own follower makes of every record of the topic."""
    follower, found = Followed(keys), []
    for block in broker.log().read(catalogue.MODELS, 0):
        for offset, key, value in zip(block.offsets, block.keys, block.values, strict=True):
            follower.read(key, value)
            outcome = follower.outcomes[-1]
            digests = {model: version.digest for model, version in follower.current()}
            model = (key or b"").split(b"|")[0].decode()
            applied = {} if outcome.applied is None else {"model": model, "digest": digests[model]}
            found.append({"refused": list(outcome.refused), "applied": outcome.applied, **applied, "offset": offset})
    return found, follower


def test_it_rebuilds_what_learners_publish_on_a_broker(
    java: JavaFollower, make_kafka_broker: Callable[[], KafkaBroker], kafka: str, tmp_path: Path
) -> None:
    broker, first, second = make_kafka_broker(), generate_signer("learner-1"), generate_signer("learner-2")
    create_topics(broker, PARTITIONS, 1)
    keys = KeyRing.of(first, second)
    for signer in (first, second):
        save_signer(signer, tmp_path)

    learners = Learners(broker, first, keys)
    learners.learn(range(60))
    learners.close()
    write_aborted(broker)
    # The learners start again, with another key.
    learners = Learners(broker, second, keys)
    learners.learn(range(60, 90))
    learners.roll_back("toy", Version(0, 3), second)
    digests = learners.digests()
    learners.close()

    topic = broker._settings.prefix + catalogue.MODELS
    answer = java.ask("topic", kafka, topic, str(tmp_path))
    ours, follower = as_we_read_it(broker, keys)
    assert answer["records"] == ours
    assert {model: found["digest"] for model, found in answer["models"].items()} == digests
    assert {model: found["tensors"] for model, found in answer["models"].items()} == {
        model: tensors(version.tensors) for model, version in follower.current()
    }
    applied = [each["applied"] for each in answer["records"] if each["applied"] is not None]
    assert len(applied) > 20
    assert "1.0" in applied
    assert len(answer["records"]) > 3 * len(applied)
