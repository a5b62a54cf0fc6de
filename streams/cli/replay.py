"""`rheostat replay`: make a published version again from the log, and compare the digests."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rheostat.streams.cli.options import Bootstrap, ConfigFile, Json, Settings, connect, load
from rheostat.streams.errors import ConfigError
from rheostat.streams.models.version import Version

if TYPE_CHECKING:
    from rheostat.streams.learn.reproduce import Reproduced


def replay(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="Version to make again, EPOCH.SEQUENCE.")],
    since: Annotated[
        str | None, typer.Option("--from", help="Begin with the state saved with this version, not untrained.")
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Learn a version again from the log in one run, and compare its digest, and those of all before it.

    Needs the examples since the beginning, or since the version that `--from` names. Exit code 1 when a digest differs.
    Example: `rheostat replay linear 0.120 --config rheostat.toml`
    """
    from rheostat.streams.learn.reproduce import reproduce
    from rheostat.streams.worker import learner_maker

    target, begin = _version("VERSION", version), None if since is None else _version("--from", since)
    loaded = load(config, settings, bootstrap)
    schema = loaded.config.feature_schema(model)
    make = learner_maker(loaded.config.models[model], schema)
    started = time.monotonic()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task(f"{model} {target}", total=None)
        found = reproduce(
            connect(loaded.config.kafka).log(),
            model,
            target,
            make,
            since=begin,
            progress=lambda done, total: shown.update(task, completed=done, total=total),
        )
    seconds = time.monotonic() - started
    print(json.dumps(as_record(found, seconds)) if as_json else in_words(model, found, seconds))


def as_record(found: Reproduced, seconds: float) -> dict[str, object]:
    """Return the result as what JSON can hold."""
    since = None if found.since is None else str(found.since)
    return dataclasses.asdict(found) | {"version": str(found.version), "since": since, "seconds": round(seconds, 3)}


def in_words(model: str, found: Reproduced, seconds: float) -> str:
    """Return the result as a line of text."""
    begin = "an untrained learner" if found.since is None else f"the state of {found.since}"
    return (
        f"{model} {found.version} comes out as published, and so do all {found.versions} versions from {begin} on: "
        f"digest {found.digest[:12]}, {found.examples} examples in {seconds:.1f} s"
    )


def _version(option: str, text: str) -> Version:
    try:
        return Version.parse(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error
