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
    batch_rows: Annotated[int, typer.Option("--batch-rows", help="Most rows of one step of a learner.")] = 256,
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
def learn(
    model: Annotated[str, typer.Option("--model", help="What learns: linear (River) or torch.")] = "linear",
    examples: Annotated[int, typer.Option("--examples", help="How many examples.")] = 1_000_000,
    numeric: Annotated[int, typer.Option("--numeric", help="Numeric features.")] = 8,
    categorical: Annotated[int, typer.Option("--categorical", help="Categorical features.")] = 2,
    batch_rows: Annotated[
        int | None, typer.Option("--batch-rows", help="Most rows of one step; the learner's own default.")
    ] = None,
    partitions: Annotated[int, typer.Option("--partitions", help="Partitions of the data topics.")] = 2,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Measure a learner on a backlog, exactly once, every example tested first, one worker (simulated input).

    Example: `rheostat bench learn --model linear --json`
    """
    from rheostat.streams.bench.learn import MODELS, bench_learn
    from rheostat.streams.bench.machine import machine
    from rheostat.streams.bench.simulated_examples import schema_of
    from rheostat.streams.engine.loop import LoopLimits
    from rheostat.streams.learn.stage import LearnStage
    from rheostat.streams.local.pipeline import prepare
    from rheostat.streams.provision import create_topics
    from rheostat.streams.worker import build_learn, learner_maker

    if model not in MODELS:
        raise ConfigError(f"--model: {model!r} is none of {', '.join(MODELS)}")
    name = MODELS[model]
    with _kafka(bootstrap, fast_start=False) as (address, folder), _progress("learn") as progress:
        settings: dict[str, dict[str, object]] = {"kafka": {"data_partitions": partitions}}
        if batch_rows is not None:
            settings[f"models.{name}"] = {"batch_rows": batch_rows}
        prefix = f"bench-{uuid.uuid4().hex[:8]}."
        schema = schema_of(numeric, categorical)
        config = prepare(folder, address, schema, [], models=[name], prefix=prefix, settings=settings).config
        broker = connect(config.kafka)
        create_topics(broker, partitions, 1)
        stage = build_learn(config, name, folder / "keys", "bench")
        assert isinstance(stage, LearnStage)
        untrained = learner_maker(config.models[name], schema)()
        limits = LoopLimits(interval_ms=config.learn.interval_ms)
        found = bench_learn(broker, stage, untrained, examples, limits=limits, progress=progress)
    _print({**found, "model": model, "partitions": partitions, "batch_rows": batch_rows, **machine()}, as_json)


@app.command()
def quality(
    data: Annotated[
        Path, typer.Option("--data", envvar="RHEOSTAT_DATA", help="Folder of the data sets that River does not bring.")
    ] = Path("../shared/data"),
    streams: Annotated[
        str, typer.Option("--streams", help="Which, with commas.")
    ] = "wiki-edit-reverted,phishing,bananas,shuttle",
    delay: Annotated[int, typer.Option("--delay", min=0, help="Rows scored before a row's label is known.")] = 200,
    block: Annotated[int, typer.Option("--block", min=1, help="Rows that our learners take at a time.")] = 8,
    as_json: Json = False,
) -> None:
    """Compare our learners with ten of River's, test-then-train: ROC AUC, and its margin to the best of the ten.

    Needs no Kafka. The slowest of River's take minutes on the longer streams.

    Example: `rheostat bench quality --streams phishing,bananas --json`
    """
    from rheostat.streams.bench.machine import machine
    from rheostat.streams.bench.quality import bench_quality
    from rheostat.streams.bench.quality_streams import STREAMS, stream

    chosen = [name.strip() for name in streams.split(",")]
    if unknown := [name for name in chosen if name not in STREAMS]:
        raise ConfigError(f"--streams: {unknown[0]!r} is none of {', '.join(STREAMS)}")
    with _progress("quality") as progress:
        found = bench_quality([stream(name, data) for name in chosen], delay, block, progress=progress)
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


@app.command()
def serve(
    seconds: Annotated[float, typer.Option("--seconds", help="Of each of the two loads.")] = 20.0,
    connections: Annotated[int, typer.Option("--connections", help="Of the client, which stay open.")] = 8,
    numeric: Annotated[int, typer.Option("--numeric", help="Numeric features.")] = 8,
    categorical: Annotated[int, typer.Option("--categorical", help="Categorical features.")] = 2,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Measure predictions in a process and over HTTP while versions, rollbacks and SIGTERM come (simulated input).

    Example: `rheostat bench serve --json`
    """
    from rheostat.streams.bench.machine import machine
    from rheostat.streams.bench.serve import MODELS, bench_serve, server_processor
    from rheostat.streams.bench.simulated_examples import schema_of
    from rheostat.streams.local.pipeline import prepare
    from rheostat.streams.provision import create_topics

    if seconds < 1 or connections < 1 or numeric < 1 or categorical < 1:
        raise ConfigError("--seconds, --connections, --numeric and --categorical must be at least 1")
    with server_processor() as processor, _kafka(bootstrap) as (address, folder), _progress("serve") as progress:
        prefix = f"bench-{uuid.uuid4().hex[:8]}."
        schema = schema_of(numeric, categorical)
        pipeline = prepare(folder, address, schema, [], models=MODELS, prefix=prefix)
        broker = connect(pipeline.config.kafka)
        create_topics(broker, pipeline.config.kafka.data_partitions, 1)
        found = bench_serve(
            broker,
            pipeline,
            folder,
            processor=processor,
            seconds=seconds,
            connections=connections,
            progress=progress,
        )
    _print({**found, "connections": connections, **machine()}, as_json)


@app.command()
def bandits(
    rounds: Annotated[int, typer.Option("--rounds", help="Versions of the model, 50 simulated choices each.")] = 200,
    seeds: Annotated[int, typer.Option("--seeds", help="How many simulated crowds.")] = 5,
    log: Annotated[
        Path | None, typer.Option("--log", help="A log of the Open Bandit Dataset, such as men.csv or men.csv.gz.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare rules of choice: regret against simulated crowds; with --log an estimate from a real log of choices.

    Example: `rheostat bench bandits --log men.csv --json`
    """
    from rheostat.streams.bench.bandits import bench_bandits
    from rheostat.streams.bench.machine import machine
    from rheostat.streams.bench.open_bandit import read_log

    if rounds < 1 or seeds < 1:
        raise ConfigError("--rounds and --seeds must be at least 1")
    read = None if log is None else read_log(log)
    with _progress("bandits") as progress:
        found = bench_bandits(rounds, seeds, read, progress)
    _print({**found, **machine()}, as_json)


@app.command()
def fads(
    learner: Annotated[str, typer.Option("--learner", help="What is protected: linear or hashed-mlp.")] = "linear",
    worlds: Annotated[int, typer.Option("--worlds", help="Simulated worlds; figures are medians over them.")] = 3,
    rows: Annotated[int, typer.Option("--rows", help="Rows an hour, for six weeks.")] = 100,
    as_json: Json = False,
) -> None:
    """Measure a fad of a day and a change that lasts, with and without protection (simulated input, no Kafka).

    Example: `rheostat bench fads --json`
    """
    from rheostat.streams.bench.fad_table import show
    from rheostat.streams.bench.fad_world import World
    from rheostat.streams.bench.fads import bench_fads
    from rheostat.streams.bench.machine import machine

    if learner not in ("linear", "hashed-mlp"):
        raise ConfigError(f"--learner: {learner!r} is none of linear, hashed-mlp")
    if worlds < 1 or rows < 1:
        raise ConfigError("--worlds and --rows must be at least 1")
    with _progress("fads") as progress:
        found = bench_fads(learner, World(rows_per_hour=rows), worlds=worlds, progress=progress)  # type: ignore[arg-type]
    if as_json:
        _print({**found, **machine()}, as_json)
    else:
        show(found, Console())


@app.command("large-model")
def large_model(
    rows: Annotated[int, typer.Option("--rows", help="Rows of the model's table, of 23 numbers each.")] = 10_000_000,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Measure how a large model is told and followed: time, memory of each process, deltas meanwhile (simulated).

    Example: `rheostat bench large-model --rows 10000000 --json`
    """
    from rheostat.streams.bench.large_model import LEARNER_KAFKA, Setup, bench_large_model
    from rheostat.streams.bench.machine import machine
    from rheostat.streams.engine.kafka import KafkaBroker
    from rheostat.streams.models.signing import generate_signer, save_signer
    from rheostat.streams.provision import create_topics

    if rows < 1_000:
        raise ConfigError("--rows must be at least 1000")
    with _kafka(bootstrap, fast_start=False) as (address, folder), _progress("large-model") as progress:
        prefix = f"bench-{uuid.uuid4().hex[:8]}."
        create_topics(KafkaBroker(address, prefix=prefix), 1, 1)
        key_file, _ = save_signer(generate_signer("bench"), folder)
        found = bench_large_model(Setup(address, prefix, key_file, rows), progress)
    _print({**found, "learner_kafka": LEARNER_KAFKA, **machine()}, as_json)


@app.command("cold-start")
def cold_start(
    periods: Annotated[str, typer.Option("--periods", help="Sizes of topics, in bases of a model.")] = "10,100,1000",
    models: Annotated[int, typer.Option("--models", help="Models in the topic.")] = 1,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Measure what a server that starts reads, and when it is ready, against the size of the topic (simulated input).

    Example: `rheostat bench cold-start --json`
    """
    from rheostat.streams.bench.cold_start import bench_cold_start
    from rheostat.streams.bench.machine import machine
    from rheostat.streams.provision import create_topics

    if not all(each.strip().isdigit() and int(each) for each in periods.split(",")) or models < 1:
        raise ConfigError("--periods: whole numbers with commas in between, such as 10,100; --models: at least 1")
    with _kafka(bootstrap, fast_start=False) as (address, _), _progress("cold-start") as progress:

        def new_broker() -> Any:
            broker = connect_with_prefix(address)
            create_topics(broker, 1, 1)
            return broker

        found = bench_cold_start(new_broker, [int(each) for each in periods.split(",")], models, progress)
    _print({**found, **machine()}, as_json)


@app.command("feedback-loop")
def feedback_loop(
    rounds: Annotated[int, typer.Option("--rounds", help="Rounds of showing and learning, 250 sessions each.")] = 40,
    seeds: Annotated[int, typer.Option("--seeds", help="How many simulated worlds.")] = 5,
    as_json: Json = False,
) -> None:
    """Show what popularity and position do to a model that learns from what it showed (simulated input, no Kafka).

    Example: `rheostat bench feedback-loop --json`
    """
    from rheostat.streams.bench.feedback_loop import bench_feedback_loop
    from rheostat.streams.bench.machine import machine

    if rounds < 1 or seeds < 1:
        raise ConfigError("--rounds and --seeds must be at least 1")
    with _progress("feedback-loop") as progress:
        found = bench_feedback_loop(rounds, seeds, progress)
    _print({**found, **machine()}, as_json)


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
