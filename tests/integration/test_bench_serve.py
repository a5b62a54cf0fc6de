"""The benchmark of serving does what it says: no request fails while versions, a rollback and the end come."""

from __future__ import annotations

import uuid
from pathlib import Path

from rheostat.streams.bench.serve import MODELS, bench_serve, server_processor
from rheostat.streams.bench.simulated_examples import schema_of
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.local.pipeline import prepare
from rheostat.streams.provision import create_topics


def test_no_request_fails_during_swaps_rollbacks_and_the_drain_and_all_answers_are_logged(
    kafka: str, tmp_path: Path
) -> None:
    prefix = f"serve-{uuid.uuid4().hex[:8]}."
    pipeline = prepare(tmp_path, kafka, schema_of(8, 2), [], models=MODELS, prefix=prefix)
    broker = KafkaBroker(kafka, prefix=prefix)
    create_topics(broker, pipeline.config.kafka.data_partitions, 1)
    with server_processor() as processor:
        found = bench_serve(broker, pipeline, tmp_path, processor=processor, seconds=1.0, connections=4)
    assert found["failed_requests"] == 0, found["failures"]
    assert found["not_ready_first"]
    assert found["server_exit_code"] == 0
    assert found["answered"] == found["logged_predictions"] > 0
    assert found["versions_answering"] > 4
    assert all(found[key] > 0 for key in ("predict_us_linear", "predict_us_torch", "predict_batched_per_s"))
    assert min(each["requests_per_s"] for each in found["loads"].values()) > 0
