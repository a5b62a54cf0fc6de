"""`rheostat alarms`: bursts of hours and days, and targets in lockstep, as the watch sees them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
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

    Times are when events happened; an alarm is shown while any of it is newer than --since. A burst that is unusual by
    the minute, the hour and the day has up to three alarms: they share a line, which says what the most suspicious
    one says; --json has them all. Example: `rheostat alarms`
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
    bursts = as_bursts(found)
    table = Table("alarms", "about", "which", "since", "until", "suspicion", "keeps", "why")
    for each in bursts[:_SHOWN]:
        table.add_row(*_row(each))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    if len(bursts) > _SHOWN:
        print(f"and {len(bursts) - _SHOWN} older ones; see --json")


def as_bursts(alarms: Sequence[Alarm]) -> list[list[Alarm]]:
    """Put alarms about the same thing that overlap in time together, the most suspicious first in each.

    The bursts are in the order of their newest `detected_ms`, the newest first.
    """
    bursts: list[list[Alarm]] = []
    latest: dict[tuple[str, str, str | None], list[Alarm]] = {}
    for alarm in sorted(alarms, key=lambda each: (each.start_ms, each.number)):
        about = alarm.about, alarm.id, alarm.other_id
        burst = latest.get(about)
        if burst is None or alarm.start_ms >= max(each.until_ms for each in burst):
            latest[about] = burst = []
            bursts.append(burst)
        burst.append(alarm)
    for burst in bursts:
        burst.sort(key=lambda each: (each.keeps, -each.suspicion, each.number))
    return sorted(bursts, key=lambda burst: (-max(each.detected_ms for each in burst), burst[0].number))


def _row(burst: Sequence[Alarm]) -> tuple[str, ...]:
    alarm = burst[0]
    which = alarm.id if alarm.other_id is None else f"{alarm.id} and {alarm.other_id}"
    until = _clock(max(each.end_ms for each in burst)) if all(each.over for each in burst) else "open"
    since = _clock(min(each.start_ms for each in burst))
    suspicion, keeps = f"{alarm.suspicion:.2f}", f"{alarm.keeps:.0%}"
    numbers = ", ".join(str(each.number) for each in burst)
    return numbers, alarm.about, which, since, until, suspicion, keeps, alarm.reason


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")
