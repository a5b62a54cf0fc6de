"""`rheostat bench`: measurements that print JSON with the machine and the versions they were taken on."""

from __future__ import annotations

import json
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from rheostat.streams.cli.options import Bootstrap, Json, connect
from rheostat.streams.config import KafkaConfig
from rheostat.streams.errors import ConfigError

app = typer.Typer(help="Measure this installation; real Kafka, started here unless --bootstrap is given.")


@app.command()
def freshness(
    rate: Annotated[int, typer.Option("--rate", help="Feedback events a second.")] = 5_000,
    seconds: Annotated[float, typer.Option("--seconds", help="How long to measure.")] = 30.0,
    warm_up: Annotated[float, typer.Option("--warm-up", help="Seconds of the same load before that.")] = 30.0,
    partitions: Annotated[int, typer.Option("--partitions", help="Partitions of the data topics.")] = 2,
    batch_rows: Annotated[int, typer.Option("--batch-rows", help="Rows of one step of a learner.")] = 256,
    models: Annotated[str, typer.Option("--models", help="Models that learn side by side: linear, deep.")] = "linear",
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Measure feedback produced → first served prediction by a version that learned it (simulated input).

    Each model learns in transactions of its own, so several on a small machine wait for each other.

    Example: `rheostat bench freshness --rate 5000 --seconds 30 --json`
    """
    from rheostat.streams.bench.freshness import GROUPS, bench_freshness
    from rheostat.streams.bench.load import SCHEMA
    from rheostat.streams.bench.machine import machine
    from rheostat.streams.local.pipeline import MODELS, prepare
    from rheostat.streams.provision import create_topics

    chosen = [name.strip() for name in models.split(",")]
    if unknown := [name for name in chosen if name not in MODELS]:
        raise ConfigError(f"--models: {unknown[0]!r} is none of {', '.join(MODELS)}")
    with _kafka(bootstrap) as (address, folder), _progress("freshness") as progress:
        settings: dict[str, dict[str, object]] = {
            "kafka": {"data_partitions": partitions},
            **{f"models.{name}": {"batch_rows": batch_rows} for name in chosen},
        }
        prefix = f"bench-{uuid.uuid4().hex[:8]}."
        pipeline = prepare(folder, address, SCHEMA, GROUPS, models=chosen, prefix=prefix, settings=settings)
        broker = connect(pipeline.config.kafka)
        create_topics(broker, pipeline.config.kafka.data_partitions, 1)
        found = bench_freshness(broker, pipeline, folder, rate, seconds, warm_up_s=warm_up, progress=progress)
    _print({**found, "partitions": partitions, "batch_rows": batch_rows, **machine()}, as_json)


@app.command()
def intake(
    records: Annotated[int, typer.Option("--records", help="How many events.")] = 1_000_000,
    contender: Annotated[
        bool, typer.Option("--contender", help="Take part in a comparison: input and output come by the environment.")
    ] = False,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Measure intake, exactly once, one worker (simulated input).

    Example: `rheostat bench intake --json`
    """
    from rheostat.streams.bench.machine import machine

    if contender:
        from rheostat.streams.bench import contender as comparison

        comparison.main()
        return
    from rheostat.streams.bench.intake import bench_intake

    with _kafka(bootstrap, fast_start=False) as (address, _):
        found = bench_intake(connect_with_prefix(address), records)
    _print({**found, **machine()}, as_json)


@app.command()
def restart(
    ids: Annotated[
        int, typer.Option("--ids", help="How many event ids are known when the worker is killed.")
    ] = 1_000_000,
    partitions: Annotated[int, typer.Option("--partitions", help="Partitions of the data topics.")] = 4,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Kill a worker of intake and start it again: time, memory, restored records a second (simulated input).

    Example: `rheostat bench restart --ids 1000000 --json`
    """
    from rheostat.streams.bench.load import SCHEMA
    from rheostat.streams.bench.machine import machine
    from rheostat.streams.bench.restart import STAGES, bench_restart
    from rheostat.streams.local.pipeline import prepare
    from rheostat.streams.provision import create_topics

    with _kafka(bootstrap) as (address, folder), _progress("restart") as progress:
        settings: dict[str, dict[str, object]] = {"kafka": {"data_partitions": partitions}}
        prefix = f"bench-{uuid.uuid4().hex[:8]}."
        pipeline = prepare(folder, address, SCHEMA, [STAGES], models=[], prefix=prefix, settings=settings)
        broker = connect(pipeline.config.kafka)
        create_topics(broker, partitions, 1)
        found = bench_restart(broker, pipeline, folder, ids, progress=progress)
    _print({**found, "partitions": partitions, **machine()}, as_json)


def connect_with_prefix(address: str) -> Any:
    """Open a broker whose topics are this run's alone."""
    return connect(KafkaConfig(bootstrap=address, prefix=f"bench-{uuid.uuid4().hex[:8]}."))


@contextmanager
def _kafka(bootstrap: str | None, *, fast_start: bool = True) -> Iterator[tuple[str, Path]]:
    """Give a cluster's address, a local one of our own if need be, and a folder for the run."""
    from rheostat.streams.local.kafka import local_kafka

    with tempfile.TemporaryDirectory(prefix="rheostat-bench-") as name:
        if bootstrap is not None:
            yield bootstrap, Path(name)
        else:
            with local_kafka(fast_start=fast_start) as running:
                yield running.bootstrap, Path(name)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[float], None]]:
    with Progress(console=Console(file=sys.stderr), transient=True) as shown:
        task = shown.add_task(what, total=1.0)
        yield lambda done: shown.update(task, completed=done)


def _print(found: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(found) if as_json else json.dumps(found, indent=2))
