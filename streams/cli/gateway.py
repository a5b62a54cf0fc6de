"""`rheostat gateway`: take feedback over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rheostat.streams.cli.options import Bootstrap, ConfigFile, Settings, connect, load, read_api_keys
from rheostat.streams.errors import ConfigError


def gateway(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Take feedback by POST /feedback, for services without a Kafka client.

    Answers 202 when the broker has acknowledged all events of a request (or, with gateway.spool_dir, when they are
    on disk), 400 naming the field that is wrong, 503 while Kafka is away. Also /healthz and /metrics.

    Example: `rheostat gateway --port 8090 --bootstrap 127.0.0.1:9092`
    """
    from rheostat.streams.client.spool import SpoolSettings
    from rheostat.streams.gateway.http import HttpSettings
    from rheostat.streams.gateway.server import GatewaySettings, run_gateway

    given = {"gateway.host": host, "gateway.port": port}
    flags = [f"{name}={value}" for name, value in given.items() if value is not None]
    loaded = load(config, [*(settings or []), *flags], bootstrap)
    print(loaded.describe(), flush=True)
    wanted = loaded.config.gateway
    spool = wanted.spool_dir
    run_gateway(
        connect(loaded.config.kafka),
        GatewaySettings(
            http=HttpSettings(
                bytes_max=wanted.bytes_max,
                batch_max=wanted.batch_max,
                retry_after_s=wanted.retry_after_s,
                api_keys=read_api_keys("gateway.api_keys_file", wanted.api_keys_file),
            ),
            host=wanted.host,
            port=wanted.port,
            in_flight_max=wanted.in_flight_max,
            acknowledge_timeout_ms=wanted.acknowledge_timeout_ms,
            spool=None if spool is None else SpoolSettings(Path(spool), wanted.spool_bytes_max, wanted.spool_sync_ms),
            identity_secret=_secret(wanted.identity_secret_file),
            stamp_every=wanted.stamp_every,
        ),
    )


def _secret(file: str | None) -> bytes | None:
    """Return the bytes of the file with the secret; None without a file."""
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"gateway.identity_secret_file: cannot read {file}: {error.strerror}") from error
