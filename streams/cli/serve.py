"""`rheostat serve`: answer prediction requests with the newest verified versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rheostat.streams.cli.options import Bootstrap, ConfigFile, Settings, connect, load, read_api_keys
from rheostat.streams.errors import ConfigError

if TYPE_CHECKING:
    from rheostat.learners.predictors import Modules
    from rheostat.streams.config import ModelConfig


def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on.")] = None,
    member: Annotated[str | None, typer.Option("--member", help="Name of this server in models.status.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Follow the model topic and serve /predict, /healthz, /models, /metrics and /openapi.json.

    Example: `rheostat serve --port 8080 --config rheostat.toml`
    """
    from rheostat.streams.models.signing import load_key_ring
    from rheostat.streams.serving.follower import FollowerSettings
    from rheostat.streams.serving.predict import HttpSettings
    from rheostat.streams.serving.server import ServerSettings
    from rheostat.streams.serving.server import serve as run_server

    given = {"serve.host": host, "serve.port": port, "serve.member": member}
    flags = [f"{name}={value}" for name, value in given.items() if value is not None]
    loaded = load(config, [*(settings or []), *flags], bootstrap)
    print(loaded.describe(), flush=True)
    wanted = loaded.config.serve
    if unknown := sorted(set(wanted.fallbacks) - set(loaded.config.models)):
        raise ConfigError(f"serve.fallbacks.{unknown[0]}: no such model; known: {', '.join(loaded.config.models)}")
    follower = FollowerSettings(
        member=wanted.member,
        models=tuple(loaded.config.models),
        keep_versions=wanted.keep_versions,
        status_interval_ms=wanted.status_interval_ms,
        fallbacks=wanted.fallbacks,
        modules=_modules(loaded.config.models),
    )
    answers = HttpSettings(
        prediction_ttl_ms=wanted.prediction_ttl_ms, api_keys=read_api_keys("serve.api_keys_file", wanted.api_keys_file)
    )
    run_server(
        connect(loaded.config.kafka),
        ServerSettings(
            follower, answers, wanted.host, wanted.port, wanted.prediction_queue_max, drain_ms=wanted.drain_ms
        ),
        load_key_ring(Path(loaded.config.keys.dir)),
    )


def _modules(models: Mapping[str, ModelConfig]) -> Modules:
    """Return what makes the modules of torch that models are configured with."""
    names = {each.module.builder for each in models.values() if each.module is not None}
    if not names:
        return {}
    from rheostat.learners.deep.served import load_builder

    try:
        return {name: load_builder(name) for name in sorted(names)}
    except ValueError as error:
        raise ConfigError(f"models: {error}") from error
