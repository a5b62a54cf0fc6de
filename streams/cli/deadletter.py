"""`rheostat deadletter`: what could not be used, why, and sending it again after a fix."""

from __future__ import annotations

import getpass
import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rheostat.schemas import catalogue, codec
from rheostat.streams.cli.options import Bootstrap, ConfigFile, Json, Settings, connect, load
from rheostat.streams.cli.since import Since, since_ms
from rheostat.streams.clock import WallClock
from rheostat.streams.control import deadletters
from rheostat.streams.control.deadletters import Condition, Letter
from rheostat.streams.engine.block import Place
from rheostat.streams.errors import ConfigError

app = typer.Typer(help="Records that could not be used: find them, see what is wrong, send them again.")

Where = Annotated[
    list[str] | None,
    typer.Option("--where", help=f"FIELD=TEXT or FIELD~TEXT (contains); FIELD: {', '.join(deadletters.FIELDS)}."),
]
_PAYLOAD_BYTES_SHOWN = 512


@app.command("list")
def list_letters(
    since: Since = "24h",
    where: Where = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="With --json: letters at most.")] = 1_000,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Count dead letters by topic, field and error; with --json list each.

    Example: `rheostat deadletter list --since 2h --where field=value`
    """
    log = connect(load(config, settings, bootstrap).config.kafka).log()
    from_ms = since_ms(since, WallClock().now_ms())
    found = deadletters.letters(log, from_ms, _conditions(where))
    again = deadletters.replayed(log, from_ms)
    if as_json:
        shown = [_short(letter, again) for letter in islice(found, limit + 1)]
        print(json.dumps({"letters": shown[:limit], "more": len(shown) > limit}))
        return
    _table(found, again)


@app.command("show")
def show(
    place: Annotated[str, typer.Argument(help="Where the letter lies: feedback.deadletter/PARTITION/OFFSET.")],
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Show one dead letter with its original bytes, and whether they can be read by now.

    Example: `rheostat deadletter show feedback.deadletter/0/17`
    """
    log = connect(load(config, settings, bootstrap).config.kafka).log()
    letter = deadletters.letter_at(log, _place(place))
    facts = _short(letter, deadletters.replayed(log, letter.record["failed_at"])) | _contents(letter)
    print(json.dumps(facts) if as_json else "\n".join(f"{name}: {value}" for name, value in facts.items()))


@app.command("replay")
def replay(
    places: Annotated[list[str] | None, typer.Argument(help="Letters; none means all that --where chooses.")] = None,
    since: Since = "24h",
    where: Where = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")] = "replayed by hand",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be sent.")] = False,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Send the original records to their topics again, each letter once, however often this is ordered.

    What is still wrong becomes a new dead letter. Example: `rheostat deadletter replay --since 2h --where field=value`
    """
    broker = connect(load(config, settings, bootstrap).config.kafka)
    now_ms = WallClock().now_ms()
    from_ms = since_ms(since, now_ms)
    found: Iterator[Letter] = deadletters.letters(broker.log(), from_ms, _conditions(where))
    if places:
        chosen = [deadletters.letter_at(broker.log(), _place(place)) for place in places]
        from_ms = min(letter.record["failed_at"] for letter in chosen)
        found = iter(chosen)
    if dry_run:
        again = deadletters.replayed(broker.log(), from_ms)
        found_all = [str(letter.place) in again for letter in found]
        result = {"would_send": found_all.count(False), "sent_before": found_all.count(True)}
    else:
        done = deadletters.replay(broker, found, getpass.getuser(), reason, from_ms, now_ms)
        result = {"sent": done.now, "sent_before": done.before}
    print(json.dumps(result) if as_json else ", ".join(f"{name.replace('_', ' ')}: {n}" for name, n in result.items()))


def _table(found: Iterator[Letter], again: set[str]) -> None:
    counts: Counter[tuple[str, str, str]] = Counter()
    sent: Counter[tuple[str, str, str]] = Counter()
    newest: dict[tuple[str, str, str], str] = {}
    for letter in found:
        group = letter.text("origin_topic"), letter.text("field"), letter.text("error")[:80]
        counts[group] += 1
        sent[group] += str(letter.place) in again
        newest[group] = str(letter.place)
    if not counts:
        print("no dead letters")
        return
    table = Table("letters", "sent again", "topic", "field", "error", "newest")
    for group, count in counts.most_common(50):
        table.add_row(f"{count:,}", f"{sent[group]:,}", *group, newest[group])
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    if len(counts) > 50:
        print(f"and {len(counts) - 50} more kinds; narrow it with --where")


def _short(letter: Letter, again: set[str]) -> dict[str, Any]:
    record = letter.record
    names = ("origin_topic", "origin_partition", "origin_offset", "field", "error", "failed_at")
    facts = {"place": str(letter.place), **{name: record[name] for name in names}}
    return {
        **facts,
        "key": None if record["key"] is None else letter.text("key"),
        "replayed": str(letter.place) in again,
    }


def _contents(letter: Letter) -> dict[str, Any]:
    record = letter.record
    payload: bytes = record["payload"] or b""
    headers = {name: value.decode("utf-8", "replace") for name, value in record["headers"].items()}
    facts = {"headers": headers, "payload_bytes": len(payload), "payload_hex": payload[:_PAYLOAD_BYTES_SHOWN].hex()}
    topic = record["origin_topic"]
    if topic not in (*catalogue.FEEDBACK, catalogue.PREDICTIONS):
        return facts
    try:
        return {**facts, "decoded": codec.decode_record(topic, payload)}
    except codec.BadRecord as error:
        return {**facts, "undecodable": str(error)}


def _conditions(where: list[str] | None) -> list[Condition]:
    return [Condition.parse(given) for given in where or ()]


def _place(text: str) -> Place:
    try:
        return Place.parse(text)
    except ValueError as error:
        raise ConfigError(str(error)) from error
