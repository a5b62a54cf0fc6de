"""Options that several verbs share, and what they become."""

from __future__ import annotations

import os
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer

from rheostat.schemas.ids import IdTable, put_in_force
from rheostat.schemas.registry import Registry, RegistryError
from rheostat.streams import config as configuration
from rheostat.streams.config import KafkaConfig, Loaded
from rheostat.streams.engine.broker import Broker
from rheostat.streams.errors import ConfigError

ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.", dir_okay=False)]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="One setting, such as kafka.prefix=team1. May be repeated.")
]
Bootstrap = Annotated[str | None, typer.Option("--bootstrap", help="Kafka address, HOST:PORT.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]


def load(config: Path | None, settings: list[str] | None, bootstrap: str | None = None) -> Loaded:
    """Build the configuration from file, environment and flags; where it names a registry, use its schema ids.

    Raises ConfigError.
    """
    loaded = load_offline(config, settings, bootstrap)
    if loaded.config.registry.url is not None:
        put_in_force(_ids_of(loaded.config.registry.url, loaded.config.kafka.prefix))
    return loaded


def load_offline(config: Path | None, settings: list[str] | None, bootstrap: str | None = None) -> Loaded:
    """Build the configuration from file, environment and flags, and ask nobody. Raises ConfigError."""
    flags: dict[str, str] = {}
    for text in settings or []:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ConfigError(f"--set {text!r}: write it as name=value, such as --set kafka.prefix=team1")
        flags[name] = value
    if bootstrap is not None:
        flags["kafka.bootstrap"] = bootstrap
    return configuration.load(config, os.environ, flags)


def _ids_of(url: str, prefix: str) -> IdTable:
    try:
        return Registry(url, prefix).id_table()
    except ValueError as error:
        raise ConfigError(f"registry.url: {error}") from error
    except RegistryError as error:
        hint = "; `rheostat schemas register` registers all schemas" if error.status == HTTPStatus.NOT_FOUND else ""
        raise ConfigError(f"registry.url: {error}{hint}") from error


def connect(kafka: KafkaConfig) -> Broker:
    """Open the broker of a configuration. Raises ConfigError when none answers."""
    from rheostat.streams.engine.kafka import KafkaBroker

    overrides = dict(kafka.client)
    if kafka.embedded:
        from rheostat.streams.local.embedded_client import embedded_kafka_broker

        return embedded_kafka_broker(kafka.bootstrap, prefix=kafka.prefix, overrides=overrides)
    return KafkaBroker(kafka.bootstrap, prefix=kafka.prefix, protocol=kafka.protocol, overrides=overrides)


def read_api_keys(setting: str, file: str | None) -> tuple[str, ...]:
    """Return the keys in the file that a setting names, one a line; none without a file. Raises ConfigError."""
    if file is None:
        return ()
    try:
        found = tuple(line.strip() for line in Path(file).read_text().splitlines() if line.strip())
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read {file}: {error.strerror}") from error
    if not found:
        raise ConfigError(f"{setting}: {file} has no key; one a line is expected")
    return found
