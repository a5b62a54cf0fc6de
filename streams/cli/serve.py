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
    from rheostat.streams.config import Config, ModelConfig
    from rheostat.streams.serving.arms import ArmPlan
    from rheostat.streams.serving.explain import Explainer


def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on.")] = None,
    member: Annotated[str | None, typer.Option("--member", help="Name of this server in models.status.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Follow the model topic and serve /predict, /explain, /healthz, /models, /metrics and /openapi.json.

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
    arms = _arms(loaded.config)
    follower = FollowerSettings(
        member=wanted.member,
        models=tuple(loaded.config.models),
        keep_versions=wanted.keep_versions,
        status_interval_ms=wanted.status_interval_ms,
        fallbacks=wanted.fallbacks,
        modules=_modules(loaded.config.models),
        pinned={model: plan.versions for model, plan in arms.items()},
        optional=frozenset().union(*(plan.models for plan in arms.values())),
    )
    answers = HttpSettings(
        prediction_ttl_ms=wanted.prediction_ttl_ms, api_keys=read_api_keys("serve.api_keys_file", wanted.api_keys_file)
    )
    run_server(
        connect(loaded.config.kafka),
        ServerSettings(
            follower,
            answers,
            wanted.host,
            wanted.port,
            wanted.prediction_queue_max,
            drain_ms=wanted.drain_ms,
            arms=arms,
            shadow_queue_max=wanted.shadow_queue_max,
            explainer=_explainer(loaded.config),
        ),
        load_key_ring(Path(loaded.config.keys.dir)),
    )


def _arms(config: Config) -> dict[str, ArmPlan]:
    """Return the arms of models; ConfigError for what cannot be."""
    from rheostat.streams.serving.arms import ArmPlan

    plans = {}
    for model, arms in config.serve.arms.items():
        try:
            plans[model] = plan = ArmPlan.of(model, arms, config.serve.arms_salt)
        except ValueError as error:
            raise ConfigError(f"serve.arms.{model}: {error}") from error
        for name in (model, *sorted(plan.models)):
            if name not in config.models:
                raise ConfigError(f"serve.arms.{model}: no model {name!r}; known: {', '.join(config.models)}")
            if config.models[name].feature_set != config.models[model].feature_set:
                raise ConfigError(f"serve.arms.{model}: {name!r} takes another feature set, so it cannot answer for it")
    return plans


def _explainer(config: Config) -> Explainer:
    """Return what puts explanations into words, with the meanings of features where there is a dictionary."""
    from rheostat.schemas.feature_dictionary import feature_dictionary
    from rheostat.streams.serving.explain import Explainer
    from rheostat.streams.serving.explain_words import english, read_words

    file, folder = config.serve.explain_words, config.features.dir
    found = {} if folder is None else feature_dictionary(Path(folder))
    meanings = {name: {each.name: each.meaning for each in found[name].features} for name in found}
    return Explainer(english() if file is None else read_words(Path(file)), meanings)


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
