"""What an operator does, on a running pipeline: look at the status, follow an event, roll back by hand, resume."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

from rheostat.streams.bench.load import SCHEMA, SimulatedLoad
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.local.children import Children
from rheostat.streams.local.pipeline import Pipeline, prepare
from rheostat.streams.local.predict_client import PredictClient
from rheostat.streams.models.version import Version
from rheostat.streams.provision import create_topics

GROUPS = ("intake,join", "learn,monitor")
DEADLINE_S = 60.0


def rheostat(pipeline: Pipeline, *arguments: str) -> tuple[int, Any]:
    """Run a verb as an operator would; return its exit code and what it printed as JSON."""
    command = [sys.executable, "-m", "rheostat.streams.cli.main", *arguments, "--config", str(pipeline.file), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_status_trace_rollback_and_resume(kafka: str, tmp_path: Path) -> None:
    settings: dict[str, dict[str, object]] = {"kafka": {"data_partitions": 2}}
    prefix = f"ops-{uuid.uuid4().hex[:8]}."
    pipeline = prepare(tmp_path, kafka, SCHEMA, GROUPS, prefix=prefix, settings=settings)
    broker = KafkaBroker(kafka, prefix=prefix)
    create_topics(broker, 2, 1)
    with Children(tmp_path) as children, closing(PredictClient(pipeline.url)) as server:
        pipeline.start(children, GROUPS)
        children.wait_until(pipeline.ready, "the server is ready", DEADLINE_S)

        def served() -> Version:
            answer = server.ask({"model": "linear", "features": dict.fromkeys(SCHEMA.numeric, 0.5)})
            return Version.parse(answer["version"])

        sent: list[str] = []
        load = SimulatedLoad(broker.producer(), lambda ids, at: sent.extend(ids))
        load.run(100, 1.0)
        children.wait_until(lambda: served() >= Version(0, 3), "the events were learned", DEADLINE_S)

        def status() -> dict[str, Any]:
            found: dict[str, Any] = rheostat(pipeline, "status")[1]
            return found

        children.wait_until(lambda: status()["accepted"] == len(sent), "everything is accepted", DEADLINE_S)
        code, found = rheostat(pipeline, "status")
        assert code == 0
        assert found["conservation_ok"] is True
        assert {each["role"] for each in found["members"]} == {"server", "learner"}

        code, trace = rheostat(pipeline, "trace", sent[0])
        assert code == 0
        assert len(trace["entries"]) == len(trace["examples"]) == 1
        assert {each["model"] for each in trace["lessons"]} == {"linear", "deep"}
        assert rheostat(pipeline, "trace", "no-such-event")[0] == 1

        code, answer = rheostat(pipeline, "rollback", "linear", "--to", "0.1", "--hold", "--reason", "a test")
        assert code == 0, answer
        assert set(answer["acknowledged"]) == {"server-1", "learner-linear-0"}
        assert served() == Version(1, 0)
        assert (
            next(each for each in rheostat(pipeline, "trace", sent[-1])[1]["lessons"] if each["model"] == "linear")[
                "taken_back_in"
            ]
            == 1
        )

        assert rheostat(pipeline, "rollback", "linear", "--resume")[0] == 0
        load.run(100, 0.5)
        children.wait_until(lambda: served() > Version(1, 0), "it learns again", DEADLINE_S)
        code, error = rheostat(pipeline, "rollback", "linear", "--to", "9.9")
        assert code == 1
        assert "linear 9.9 is not in the log" in error
