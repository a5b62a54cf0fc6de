"""Arms, shadows and explanations on a real Kafka, of a server process that the configuration file tells of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from rheostat.schemas import catalogue, codec
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.keys import signer
from rheostat.streams.local.children import Children
from rheostat.streams.local.pipeline import prepare
from rheostat.streams.provision import create_topics
from rheostat.streams.serving.arms import Arm, ArmPlan
from tests.support.brokers import await_condition
from tests.support.model_topic import SCHEMA, Publisher, hashed_tensors

ASKED = 60
PLAN = ArmPlan.of("linear", {"canary": Arm(model="deep", share=0.5), "dark": Arm(model="deep", shadow=True)})
FEATURES = {"url_length": 12, "age_days": 3.5, "tld": "com"}


def publish(broker: KafkaBroker, publisher: Publisher) -> None:
    producer, now_ms = broker.producer(), int(time.time() * 1000)
    partition = partition_for(publisher.model.encode(), broker.log().partitions(catalogue.MODELS))
    for key, value in publisher.publish(base=True, at_ms=now_ms).records:
        producer.send(catalogue.MODELS, key, value, timestamp_ms=now_ms, partition=partition)
    assert producer.flush(30_000) == 0
    producer.close()


def logged(broker: KafkaBroker) -> dict[str, tuple[int, dict[str, Any]]]:
    """All predictions in the log by their ids, with their partitions."""
    log, found = broker.log(), {}
    for partition in range(log.partitions(catalogue.PREDICTIONS)):
        for block in log.read(catalogue.PREDICTIONS, partition):
            for value in block.values:
                record = codec.decode_record(catalogue.PREDICTIONS, value)
                found[record["prediction_id"]] = (partition, record)
    return found


def ask(server: httpx.Client, path: str = "/predict", **body: Any) -> dict[str, Any]:
    answer = server.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def rheostat(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rheostat.streams.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_arms_answer_shadows_are_logged_beside_them_and_both_can_be_explained_and_compared(
    make_kafka_broker: Callable[[], KafkaBroker], kafka: str, tmp_path: Path
) -> None:
    broker = make_kafka_broker()
    create_topics(broker, 2, 1)
    arms = {
        "serve.arms.linear.canary": {"model": "deep", "share": 0.5},
        "serve.arms.linear.dark": {"model": "deep", "shadow": True},
    }
    pipeline = prepare(tmp_path, kafka, SCHEMA, (), prefix=broker._settings.prefix, settings=arms)
    keys = signer(Path(pipeline.config.keys.dir), "learner")
    publish(broker, Publisher("linear", signer=keys))
    with Children(tmp_path) as children, httpx.Client(base_url=pipeline.url, timeout=30) as server:
        pipeline.restart(children, "serve")
        children.wait_until(pipeline.ready, "the server is ready without a version of the arm's model", 60)
        canary = next(unit for unit in map(str, range(100)) if PLAN.arm_of(unit) == "canary")
        first = ask(server, model="linear", features=FEATURES, unit=canary)
        assert (first["model"], first["arm_fallback"]) == ("linear", True)
        publish(broker, Publisher("deep", "hashed-mlp/1", keys, hashed_tensors(64)))
        asked: dict[str, Any] = {"model": "linear", "features": FEATURES, "unit": canary}
        await_condition(lambda: ask(server, **asked)["model"] == "deep", "the arm answers")
        known = set(logged(broker))
        answers = [ask(server, model="linear", features=FEATURES, subject=f"1:{number}") for number in range(ASKED)]
        mine = {each["prediction_id"] for each in answers}
        assert [each["arm"] for each in answers] == [f"linear:{PLAN.arm_of(f'1:{number}')}" for number in range(ASKED)]
        await_condition(
            lambda: sum(each["shadow_of"] in mine for _, each in logged(broker).values()) == ASKED,
            "all shadows are logged",
        )
        found = logged(broker)
        assert len(mine & set(found)) == ASKED
        assert not mine & known
        for partition, record in found.values():
            if record["shadow_of"] is not None:
                assert partition == found[record["shadow_of"]][0]
                assert (record["model"], record["arm"]) == ("deep", "linear:dark")
        for answer in answers[:4]:
            explained = ask(server, "/explain", prediction_id=answer["prediction_id"])
            assert (explained["model"], explained["version"]) == (answer["model"], answer["version"])
            assert (explained["score"], explained["arm"]) == (answer["score"], answer["arm"])
        said = rheostat("explain", answers[0]["prediction_id"], "--config", str(pipeline.file))
        assert f"of the model {answers[0]['model']} answered" in said.stdout
        unknown = rheostat("explain", "p-1", "--config", str(pipeline.file))
        assert (unknown.returncode, "no id of a prediction" in unknown.stderr) == (1, True)
    ran = rheostat("arms", "linear", "--since", "1h", "--json", "--config", str(pipeline.file))
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert set(told["arms"]) == {"canary", "default"}
    assert told["shadows"]["dark"]["predictions"] == sum(each["shadow_of"] is not None for _, each in found.values())
    assert told["stood_in"] >= 1
