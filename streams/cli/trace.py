"""`rheostat trace`: from a feedback event to the versions it taught."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from rheostat.streams.cli.options import Bootstrap, ConfigFile, Json, Settings, connect, load
from rheostat.streams.clock import WallClock
from rheostat.streams.trace import Trace, trace_event


def trace(
    event_id: Annotated[str, typer.Argument(help="The event_id the client sent.")],
    since_hours: Annotated[float, typer.Option("--since-hours", help="How far back to look, in event time.")] = 24.0,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Show what became of one event: accepted or held back, learned by which versions, taken back by which rollback.

    Exit code 1 when the event is not found. Example: `rheostat trace 0f3c… --bootstrap 127.0.0.1:9092`
    """
    loaded = load(config, settings, bootstrap)
    since_ms = WallClock().now_ms() - int(since_hours * 3_600_000)
    found = trace_event(connect(loaded.config.kafka).log(), event_id, since_ms)
    print(json.dumps(dataclasses.asdict(found), default=str) if as_json else in_words(found))
    if not found.entries:
        raise typer.Exit(1)


def in_words(found: Trace) -> str:
    """Return the trace as a few lines of text."""
    if not found.entries:
        return f"{found.event_id}: not in the ledger or the quarantine; look wider with --since-hours"
    lines = []
    for place, entry in found.entries:
        state = "held back" if place.topic.endswith("quarantine") else "accepted"
        why = f" ({entry['reasons']})" if entry["reasons"] else ""
        lines.append(f"{state} with weight {entry['weight']:g}{why}: {place.topic}[{place.partition}]@{place.offset}")
    for place, change in found.corrections:
        left = f"corrected: {change['keeps']:.0%} of its weight left by {change['cause']} ({change['reasons']})"
        lines.append(f"{left}: {place.topic}[{place.partition}]@{place.offset}")
    for place, row in found.examples:
        arm = "" if row["arm"] is None else f", arm {row['arm']}"
        counts = f"label {row['label']:g}, weight {row['weight']:g}{arm}"
        if row["revision"]:
            counts += f" (before: {row['was_label']:g}, {row['was_weight']:g})"
        joined = "revised" if row["revision"] > 0 else "noted" if row["revision"] < 0 else "joined"
        lines.append(f"{joined}: examples[{place.partition}]@{place.offset}, {counts}")
    for lesson in found.lessons:
        back = "" if lesson.taken_back_in is None else f", taken back by the rollback to epoch {lesson.taken_back_in}"
        lines.append(f"taught: {lesson.model} {lesson.version}{back}")
    return "\n".join(lines)
