"""`rheostat status`: the state of the pipeline, read from the log."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rheostat.streams.cli.options import Bootstrap, ConfigFile, Json, Settings, connect, load
from rheostat.streams.clock import WallClock
from rheostat.streams.conservation import OUTCOMES
from rheostat.streams.status import Status, read_status


def status(
    since_hours: Annotated[float, typer.Option("--since-hours", help="How far back to look for members.")] = 1.0,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Show the books of intake, what every server and learner runs, open alerts and the last decisions.

    Exit code 1 when the books do not balance or an alert is open. Example: `rheostat status --json`
    """
    loaded = load(config, settings, bootstrap)
    now_ms = WallClock().now_ms()
    found = read_status(connect(loaded.config.kafka), now_ms - int(since_hours * 3_600_000))
    if as_json:
        print(json.dumps(found.as_json(), default=str))
    else:
        show(found, now_ms)
    if not found.books.balanced or found.open_alerts:
        raise typer.Exit(1)


def show(found: Status, now_ms: int) -> None:
    """Print the status as tables."""
    console = Console()
    balanced = "[green]balanced[/]" if found.books.balanced else "[red]NOT BALANCED[/]"
    parts = " + ".join(f"{found.books.total(name):,} {name}" for name in OUTCOMES)
    console.print(f"intake: {found.books.total('consumed'):,} events = {parts}  {balanced}")
    members = Table("member", "role", "model", "version", "state", "seen", "digest", title="who runs what")
    for each in found.members:
        seen = f"{(now_ms - each['at']) / 1000:.0f} s ago"
        version = f"{each['epoch']}.{each['sequence']}"
        members.add_row(each["member"], each["role"], each["model"], version, each["state"], seen, each["digest"][:12])
    console.print(members)
    for each in found.members:
        if each["refused"] is not None:
            console.print(f"[yellow]{each['member']}[/] {each['model']}: {each['refused']}")
    for alert in found.open_alerts:
        console.print(f"[red]open {alert['severity']}[/] {alert['rule']}: {alert['summary']}")
    for decision in found.decisions:
        console.print(f"{decision['verdict']} {decision['rule']} {decision['model']}: {decision['reason']}")
