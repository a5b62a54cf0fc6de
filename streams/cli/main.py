"""`rheostat`: the verbs, and what their exit codes mean: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import sys

import typer

from rheostat.schemas.codec import BadRecord
from rheostat.streams.cli import (
    alarms,
    arms,
    backtest,
    bench,
    deadletter,
    demo,
    evaluate,
    explain,
    features,
    gateway,
    keys,
    models,
    quarantine,
    replay,
    rollback,
    schemas,
    serve,
    status,
    topics,
    topology,
    trace,
    worker,
)
from rheostat.streams.errors import RheostatError

app = typer.Typer(
    name="rheostat",
    help="A streaming pipeline on Kafka that turns feedback on predictions into better parameters.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)

app.command("demo")(demo.demo)
app.command("worker")(worker.worker)
app.command("serve")(serve.serve)
app.command("gateway")(gateway.gateway)
app.command("topics")(topics.topics)
app.command("topology")(topology.topology)
app.command("status")(status.status)
app.command("alarms")(alarms.alarms)
app.command("evaluate")(evaluate.evaluate)
app.command("arms")(arms.arms)
app.command("rollback")(rollback.rollback)
app.command("replay")(replay.replay)
app.command("trace")(trace.trace)
app.command("explain")(explain.explain)
app.command("keys")(keys.keys)
app.add_typer(deadletter.app, name="deadletter")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(models.app, name="models")
app.add_typer(schemas.app, name="schemas")
app.add_typer(features.app, name="features")
app.add_typer(bench.app, name="bench")
app.add_typer(backtest.app, name="backtest")


def main() -> None:
    """Run the command line; an error of ours becomes one line that says what to do."""
    try:
        app()
    except (RheostatError, BadRecord) as error:
        print(f"rheostat: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
