"""Which learner a name on the command line means: a model of the configuration, or a kind of learner."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast, get_args, get_type_hints

from rheostat.learners.contract import FeatureSchema, Learner
from rheostat.streams.config import Config, ModelConfig
from rheostat.streams.errors import ConfigError

_NO_SET = ""


def named_model(config: Config, name: str, estimator: str | None = None) -> ModelConfig:
    """Return the configured model of this name, else one with the learner of this name. Raises ConfigError.

    estimator: of River, for the learner "river". A model that is not configured has no feature set of its own.
    """
    learners = get_args(get_type_hints(ModelConfig)["learner"])
    if name in config.models:
        if estimator is not None:
            raise ConfigError(f"--estimator: is for a learner of River; model {name!r} is configured")
        return config.models[name]
    if name not in learners:
        models = ", ".join(config.models) or "none is configured (--config)"
        raise ConfigError(f"--model {name!r}: models: {models}; learners: {', '.join(learners)}")
    return ModelConfig(cast(Any, name), _NO_SET, estimator=estimator)


def schema_named(config: Config, model: str, set_id: str | None) -> FeatureSchema:
    """Return a feature set as the configuration or its dictionary has it; None: that of the model.

    Raises ConfigError.
    """
    if set_id is None:
        if model not in config.models:
            raise ConfigError(f"features: model {model!r} is not configured, so name a set, or list its features")
        return config.feature_schema(model)
    asked = dataclasses.replace(config, models={model: ModelConfig("linear", set_id)})
    return asked.feature_schema(model)


def maker(chosen: ModelConfig, schema: FeatureSchema) -> Callable[[], Learner]:
    """Return what makes untrained learners of a model on these features. Raises ConfigError."""
    from rheostat.streams.worker import learner_maker

    return learner_maker(dataclasses.replace(chosen, feature_set=schema.id), schema)
