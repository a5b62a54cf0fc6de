"""`rheostat demo`: the whole loop on real data, on this machine, in a minute."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from rheostat.streams.cli.options import Json, connect


class BrokerChoice(StrEnum):
    """Where the demo's topics live."""

    embedded = "embedded"
    kafka = "kafka"


def demo(
    broker: Annotated[
        BrokerChoice, typer.Option("--broker", help="Embedded, or a local real Kafka.")
    ] = BrokerChoice.embedded,
    bootstrap: Annotated[str | None, typer.Option("--bootstrap", help="Use a Kafka that runs already.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with training.tsv.gz and testing.tsv.gz of labelled edits.")
    ] = None,
    no_bursts: Annotated[bool, typer.Option("--no-bursts", help="Switch the burst check off.")] = False,
    no_monitor: Annotated[bool, typer.Option("--no-monitor", help="Switch the drift monitor off.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the simulated crowd.")] = 0,
    as_json: Json = False,
) -> None:
    """Show the loop at work: learning, broken input, a brigade, a poisoning, a rollback, recovery.

    The records are real, the reviewers are simulated. Nothing is scripted: switch a protection off and see what
    the others must make good. Exit code 1 when events are not conserved. Example: `rheostat demo --no-monitor --json`
    """
    from rheostat.streams.demo.display import screen
    from rheostat.streams.demo.records import load
    from rheostat.streams.demo.run import DemoSettings, run_demo

    records = load(data)
    settings = DemoSettings(
        records=records,
        broker=broker.value,
        bootstrap=bootstrap,
        bursts=not no_bursts,
        monitor=not no_monitor,
        seed=seed,
    )
    console = Console(file=sys.stderr)
    with Live(console=console, auto_refresh=False) as live:
        found = run_demo(
            settings,
            lambda pipeline: connect(pipeline.config.kafka),
            lambda second, seen, watched, books: live.update(
                screen(second, seen, watched, books, records.what), refresh=console.is_terminal
            ),
            lambda text: console.print(f"[dim]{text}[/]"),
        )
    print(json.dumps(found)) if as_json else Console().print(_table(found))
    if not found["conservation_ok"]:
        raise typer.Exit(1)


def _table(found: dict[str, Any]) -> Table:
    table = Table("figure", "value", title="Rheostat demo: real records, simulated reviewers")
    for name, value in found.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
    return table
