"""`rheostat alarms`: bursts of hours and days, and targets in lockstep, as the watch sees them."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from rheostat.streams.cli.options import Bootstrap, ConfigFile, Json, Settings, connect, load
from rheostat.streams.cli.since import Since, since_ms
from rheostat.streams.clock import WallClock

if TYPE_CHECKING:
    from rheostat.streams.intake.alarms import Alarm

_SHOWN = 50


def alarms(
    since: Since = "7d",
    suspicious: Annotated[bool, typer.Option("--suspicious", help="Only those that take weight away.")] = False,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Show what the watch has found: what gets far more feedback than usual, since when, and whether it is suspicious.

    Times are when events happened; an alarm is shown while any of it is newer than --since. Example: `rheostat alarms`
    """
    from rheostat.streams.intake.alarms import alarms_told

    log = connect(load(config, settings, bootstrap).config.kafka).log()
    after_ms = since_ms(since, WallClock().now_ms())
    known = alarms_told(log, 0).standing()
    found = [each for each in known if each.until_ms >= after_ms and (each.keeps < 1.0 or not suspicious)]
    found.sort(key=lambda each: (-each.detected_ms, each.number))
    if as_json:
        print(json.dumps({"alarms": [each.as_record() for each in found]}))
        return
    if not found:
        print("no alarms")
        return
    table = Table("no.", "about", "which", "since", "until", "suspicion", "keeps", "why")
    for each in found[:_SHOWN]:
        table.add_row(*_row(each))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    if len(found) > _SHOWN:
        print(f"and {len(found) - _SHOWN} older ones; see --json")


def _row(alarm: Alarm) -> tuple[str, ...]:
    which = alarm.id if alarm.other_id is None else f"{alarm.id} and {alarm.other_id}"
    until = _clock(alarm.end_ms) if alarm.over else "open"
    suspicion, keeps = f"{alarm.suspicion:.2f}", f"{alarm.keeps:.0%}"
    return str(alarm.number), alarm.about, which, _clock(alarm.start_ms), until, suspicion, keeps, alarm.reason


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")
