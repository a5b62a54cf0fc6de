"""`rheostat quarantine`: events held back, why, and what a person decides about them."""

from __future__ import annotations

import getpass
import json
import sys
from collections import defaultdict
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rheostat.streams.cli.options import Bootstrap, ConfigFile, Json, Settings, connect, load
from rheostat.streams.cli.since import Since, since_ms
from rheostat.streams.clock import WallClock
from rheostat.streams.control.quarantine import Held, Selection, Verb, decide, decided, held_events
from rheostat.streams.errors import ConfigError

app = typer.Typer(help="Events held back as part of a burst: find them, see why, release or reject them.")

Target = Annotated[str | None, typer.Option("--target", help="Only events on this target.")]
Event = Annotated[str | None, typer.Option("--event", help="Only the event with this id.")]
Until = Annotated[str | None, typer.Option("--until", help="Only events that happened before that: 2h means 2 h ago.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")]
_TARGETS_SHOWN = 50


@app.command("list")
def list_held(
    since: Since = "24h",
    until: Until = None,
    target: Target = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="With --json: events at most.")] = 1_000,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Count what is held by target, with the time span, the highest suspicion and its reason; with --json list each.

    Times are when events happened. Example: `rheostat quarantine list --since 2h`
    """
    log = connect(load(config, settings, bootstrap).config.kafka).log()
    selection = _selection(since, until, target, None, WallClock().now_ms())
    decisions = decided(log, 0)
    found = held_events(log, selection)
    if as_json:
        shown = [_facts(held, decisions) for held in islice(found, limit + 1)]
        print(json.dumps({"events": shown[:limit], "more": len(shown) > limit}, default=str))
        return
    by_target: dict[str, list[Held]] = defaultdict(list)
    for held in found:
        by_target[held.event["target_id"] or "-"].append(held)
    _print_targets(by_target, decisions)


@app.command("show")
def show(
    event: Annotated[str, typer.Argument(help="The event_id the client sent.")],
    since: Since = "7d",
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Show one held event: who, what, why, and what was decided. Example: `rheostat quarantine show 0f3c…`"""
    log = connect(load(config, settings, bootstrap).config.kafka).log()
    selection = _selection(since, None, None, event, WallClock().now_ms())
    decisions = decided(log, 0)
    found = [_facts(held, decisions) for held in held_events(log, selection)]
    if not found:
        raise ConfigError(f"{event}: not in quarantine; look further back with --since, or see: rheostat trace {event}")
    for facts in found:
        print(json.dumps(facts, default=str) if as_json else "\n".join(f"{name}: {facts[name]}" for name in facts))


@app.command("release")
def release(
    since: Since = "24h",
    until: Until = None,
    target: Target = None,
    event: Event = None,
    reason: Reason = "released by hand",
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Let held events teach after all: each enters the ledger once, at the time it happened, with its full weight.

    Name a target or an event. Example: `rheostat quarantine release --target item-7 --since 2h --reason "a launch"`
    """
    _decide("release", since, until, target, event, reason, config, settings, bootstrap, as_json)


@app.command("reject")
def reject(
    since: Since = "24h",
    until: Until = None,
    target: Target = None,
    event: Event = None,
    reason: Reason = "rejected by hand",
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Decide that held events never teach; they cannot be released afterwards.

    Name a target or an event. Example: `rheostat quarantine reject --event 0f3c…`
    """
    _decide("reject", since, until, target, event, reason, config, settings, bootstrap, as_json)


def _decide(verb: Verb, since: str, until: Any, target: Any, event: Any, reason: str, *rest: Any) -> None:
    config, settings, bootstrap, as_json = rest
    if target is None and event is None:
        raise ConfigError(f"quarantine {verb}: name what is meant, --target NAME or --event ID; see: quarantine list")
    broker = connect(load(config, settings, bootstrap).config.kafka)
    now_ms = WallClock().now_ms()
    found = held_events(broker.log(), _selection(since, until, target, event, now_ms))
    # Decisions are noted at the time they are made, which events from a clock ahead of ours may seem to precede.
    done = decide(broker, verb, found, getpass.getuser(), reason, 0, now_ms)
    result = {"decided": done.now, "decided_before": done.before}
    print(json.dumps(result) if as_json else f"{verb}: {done.now} events, {done.before} decided before")


def _selection(since: str, until: str | None, target: str | None, event: str | None, now_ms: int) -> Selection:
    before = None if until is None else since_ms(until, now_ms, "--until")
    return Selection(since_ms(since, now_ms), before, target, event)


def _facts(held: Held, decisions: dict[str, str]) -> dict[str, Any]:
    return {"place": str(held.place), "decision": decisions.get(str(held.place)), **held.event}


def _print_targets(by_target: dict[str, list[Held]], decisions: dict[str, str]) -> None:
    if not by_target:
        print("nothing is held")
        return
    table = Table("target", "held", "open", "from", "to", "suspicion", "reason")
    for target, held in sorted(by_target.items(), key=lambda pair: -len(pair[1]))[:_TARGETS_SHOWN]:
        times = [each.occurred_at_ms for each in held]
        worst = max(held, key=lambda each: float(each.event["suspicion"])).event
        left = sum(str(each.place) not in decisions for each in held)
        span = _clock(min(times)), _clock(max(times))
        table.add_row(target, f"{len(held):,}", f"{left:,}", *span, f"{worst['suspicion']:.2f}", worst["reasons"] or "")
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    if len(by_target) > _TARGETS_SHOWN:
        print(f"and {len(by_target) - _TARGETS_SHOWN} more targets; narrow it with --target")


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
