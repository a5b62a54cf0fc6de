"""A worker of intake that is killed knows again what was in the ledger, and the benchmark of that does what it says."""

from __future__ import annotations

import uuid
from pathlib import Path

from rheostat.streams.bench.load import SCHEMA
from rheostat.streams.bench.restart import STAGES, bench_restart
from rheostat.streams.engine.kafka import KafkaBroker
from rheostat.streams.local.pipeline import prepare
from rheostat.streams.provision import create_topics

IDS = 20_000


def test_after_kill_9_every_repeat_is_found_and_no_event_is_lost(kafka: str, tmp_path: Path) -> None:
    prefix = f"restart-{uuid.uuid4().hex[:8]}."
    settings: dict[str, dict[str, object]] = {"kafka": {"data_partitions": 2}}
    pipeline = prepare(tmp_path, kafka, SCHEMA, [STAGES], models=[], prefix=prefix, settings=settings)
    broker = KafkaBroker(kafka, prefix=prefix)
    create_topics(broker, 2, 1)
    shares: list[float] = []
    found = bench_restart(broker, pipeline, tmp_path, IDS, progress=shares.append)
    assert found["verified"] is True
    assert found["repeated"] == 2_000
    assert found["new"] > 2_000
    assert found["seconds_to_processing"] >= found["start_s"] + found["restore_s"] > 0
    assert 16 <= found["table_bytes_per_id"] <= 24
    assert 0 < found["empty_mb"] < found["peak_mb"]
    assert shares == sorted(shares)
    assert shares[-1] <= 1
