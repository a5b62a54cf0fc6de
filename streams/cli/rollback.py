"""`rheostat rollback`: order a model back to an earlier version, by hand."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from rheostat.schemas import catalogue
from rheostat.streams.cli.options import Bootstrap, ConfigFile, Json, Settings, connect, load
from rheostat.streams.clock import WallClock
from rheostat.streams.errors import ConfigError
from rheostat.streams.keys import signer
from rheostat.streams.manual import acknowledgements, order_rollback
from rheostat.streams.models.version import Version


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    to: Annotated[str | None, typer.Option("--to", help="Version to go back to, EPOCH.SEQUENCE.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; goes into the decision log.")] = "ordered by hand",
    hold: Annotated[bool, typer.Option("--hold", help="Learn nothing new until `--resume` is ordered.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Order a held learner to learn again; no rollback.")] = False,
    relearn: Annotated[
        bool, typer.Option("--relearn", help="Learn what came after it again, each example as it counts by now.")
    ] = False,
    wait_s: Annotated[float, typer.Option("--wait", help="Seconds to wait for acknowledgements.")] = 10.0,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Send a signed command to the learner and all servers of a model, and wait for their acknowledgements.

    Exit code 1 when a member that was alive did not acknowledge in time.
    Example: `rheostat rollback linear --to 0.120 --reason "bad import at noon"`

    Feedback that was taken back after a model learned it stays in the model until that is learned again: with
    `--relearn`, from a version before it.
    """
    loaded = load(config, settings, bootstrap)
    broker = connect(loaded.config.kafka)
    key = signer(Path(loaded.config.keys.dir), "operator")
    if (to is None) != resume:
        raise ConfigError("give either --to EPOCH.SEQUENCE or --resume")
    if relearn and (resume or hold):
        raise ConfigError("--relearn goes with --to alone: nothing is held then")
    try:
        target = None if to is None else Version.parse(to)
    except ValueError as error:
        raise ConfigError(f"--to: {error}") from error
    clock = WallClock()
    command, expected = order_rollback(
        broker, key, model, target, reason=reason, hold=hold, relearn=relearn, now_ms=clock.now_ms()
    )
    deadline = time.monotonic() + wait_s
    found: dict[str, int] = {}
    while expected - found.keys() and time.monotonic() < deadline:
        found = acknowledgements(broker, command)
        time.sleep(0.1)
    missing = sorted(expected - found.keys())
    if as_json:
        print(json.dumps({"command_id": command.command_id, "acknowledged": found, "missing": missing}))
    else:
        print(f"{command.kind} {command.command_id} on {catalogue.MODELS_COMMANDS}")
        for member, at_ms in sorted(found.items()):
            print(f"  {member} acknowledged after {(at_ms - command.issued_at_ms) / 1000:.2f} s")
        for member in missing:
            print(f"  {member} did NOT acknowledge within {wait_s:g} s")
    if missing:
        raise typer.Exit(1)
