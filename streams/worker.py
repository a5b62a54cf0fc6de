"""A worker process: stages built from the configuration, run under Faust, with their metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from prometheus_client import CollectorRegistry

from rheostat.learners.contract import FeatureSchema, Learner
from rheostat.streams.clock import Clock, WallClock
from rheostat.streams.collector import collect_later, collect_rarely
from rheostat.streams.config import Config, IntakeConfig, ModelConfig
from rheostat.streams.engine.broker import Broker
from rheostat.streams.engine.loop import LoopLimits, LoopObserver, Process, StageLoop
from rheostat.streams.engine.stage import Stage
from rheostat.streams.errors import ConfigError
from rheostat.streams.heap import share_arenas
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.keys import pseudonym_key, signer
from rheostat.streams.lean_imports import compile_without_scipy, convert_without_pandas
from rheostat.streams.metrics import Metrics, serve_metrics
from rheostat.streams.models.signing import load_key_ring
from rheostat.streams.monitor.settings import MonitorSettings
from rheostat.streams.topology import StageRow, hop_of
from rheostat.streams.watch.settings import WatchSettings
from rheostat.streams.wrapped_learners import wrapped

if TYPE_CHECKING:
    from rheostat.streams.engine.faust_worker import MakeLoop


def run_stages(
    rows: Iterable[StageRow],
    config: Config,
    broker: Broker,
    *,
    slot: str,
    only_models: tuple[str, ...] | None,
    metrics_port: int | None,
    log_level: str,
) -> None:
    """Run these stages until SIGTERM; does not return."""
    share_arenas()
    collect_later()
    from rheostat.streams.engine.faust_worker import run_worker  # With Faust, which is large: only now.

    rows = list(rows)
    if any(row.per_model for row in rows):
        pa.array([0])  # imports pandas, which River needs: before there is work, not during it
    else:
        convert_without_pandas()
        compile_without_scipy()
    stages = [stage for row in rows for stage in build_stages(row, config, slot, only_models)]
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    if metrics_port is not None:
        serve_metrics(metrics_port, registry)
    loops = {stage.name: _make_loop(stage, broker, slot, config, observers(stage, metrics)) for stage in stages}
    collect_rarely()
    run_worker(loops, loglevel=log_level)


def build_stages(row: StageRow, config: Config, slot: str, only_models: tuple[str, ...] | None) -> list[Stage]:
    """Build the stages of one row of the topology: one, or one for each model. Raises ConfigError."""
    keys_dir = Path(config.keys.dir)
    if row.name == "intake":
        return [build_intake(config.intake, pseudonym_key(keys_dir))]
    if row.name == "intake-join":
        return [build_intake_join(config, pseudonym_key(keys_dir))]
    if row.name == "watch":
        return [build_watch(config.watch)]
    if row.name == "join":
        return [build_join(config.join)]
    if row.name == "monitor":
        return [build_monitor(config.monitor, keys_dir)]
    names = tuple(config.models) if only_models is None else only_models
    if not names:
        raise ConfigError("no model is configured; add a table [models.NAME] with learner and feature_set")
    return [build_learn(config, name, keys_dir, slot) for name in names]


def build_intake(config: IntakeConfig, key: bytes) -> Stage:
    """Build intake."""
    from rheostat.streams.intake.stage import IntakeStage

    return IntakeStage(_intake_settings(config, key))


def build_intake_join(config: Config, key: bytes) -> Stage:
    """Build intake and join as one stage."""
    from rheostat.streams.intake_join import IntakeJoinStage

    return IntakeJoinStage(_intake_settings(config.intake, key), config.join)


def _intake_settings(config: IntakeConfig, key: bytes) -> IntakeSettings:
    return IntakeSettings(
        pseudonym_key=key,
        bursts_enabled=config.bursts_enabled,
        dedup_window_ms=config.dedup_window_ms,
        dedup_ids_max=config.dedup_ids_max,
        record_bytes_max=config.record_bytes_max,
        bursts=config.bursts,
        weights=config.weights,
        sources=config.sources,
    )


def build_watch(settings: WatchSettings) -> Stage:
    """Build the watch."""
    from rheostat.streams.watch.stage import WatchStage

    return WatchStage(settings)


def build_join(settings: JoinSettings) -> Stage:
    """Build the join."""
    from rheostat.streams.join.stage import JoinStage

    return JoinStage(settings)


def build_monitor(settings: MonitorSettings, keys_dir: Path) -> Stage:
    """Build the monitor."""
    from rheostat.streams.monitor.stage import MonitorStage

    return MonitorStage(settings, signer(keys_dir, "monitor"))


def build_learn(config: Config, model: str, keys_dir: Path, slot: str) -> Stage:
    """Build the learn stage of one model. Imports River or torch only where the model needs it."""
    from rheostat.streams.learn.golden import GoldenInputs
    from rheostat.streams.learn.settings import LearnSettings
    from rheostat.streams.learn.stage import LearnStage

    schema, chosen = config.feature_schema(model), config.models[model]
    settings = LearnSettings(
        model=model,
        member=f"learner-{model}-{slot}",
        base_every=config.learn.base_every,
        state_every=config.learn.state_every,
        mode=chosen.mode,
        gate=chosen.gate,
    )
    try:
        GoldenInputs(schema, chosen.gate.golden)
    except ValueError as error:
        raise ConfigError(f"models.{model}.gate: {error}") from error
    return LearnStage(settings, learner_maker(chosen, schema), signer(keys_dir, "learner"), load_key_ring(keys_dir))


def learner_maker(config: ModelConfig, schema: FeatureSchema) -> Callable[[], Learner]:
    """Return what makes untrained learners with all that is around them, always in the same state; or ConfigError."""
    return wrapped(config, _bare_learner_maker(config, schema))


def _bare_learner_maker(config: ModelConfig, schema: FeatureSchema) -> Callable[[], Learner]:
    """Return what makes untrained learners, always in the same state. Raises ConfigError for an unusable estimator.

    What they need is imported now: stages are opened in threads of their own, and SciPy, which River imports, fails
    while another thread is half-way through the import of torch.
    """
    if config.learner == "linear":
        from rheostat.learners.linear import LinearSettings, RiverLinear

        linear = LinearSettings()
        linear = replace(linear, batch_rows=config.batch_rows or linear.batch_rows)
        return lambda: RiverLinear(schema, linear)
    if config.learner == "bayes-logistic":
        return _bayes_maker(config, schema)
    if config.learner == "river":
        return _river_maker(config, schema)
    if config.learner == "linear-bandit":
        return _bandit_maker(config, schema)
    if config.learner == "torch":
        return _torch_maker(config, schema)
    return _deep_maker(config, schema)


def _torch_maker(config: ModelConfig, schema: FeatureSchema) -> Callable[[], Learner]:
    from rheostat.learners.deep.served import load_builder
    from rheostat.learners.deep.torch_learner import TorchLearner

    assert config.module is not None
    settings = replace(config.module, seed=config.seed, batch_rows=config.batch_rows or config.module.batch_rows)
    try:
        make_module = load_builder(settings.builder)
        TorchLearner(schema, make_module, settings)
    except ValueError as error:
        raise ConfigError(f"the module on {config.feature_set}: {error}") from error
    return lambda: TorchLearner(schema, make_module, settings)


def _deep_maker(config: ModelConfig, schema: FeatureSchema) -> Callable[[], Learner]:
    from rheostat.learners.deep.hashed_mlp import HashedMLP
    from rheostat.learners.deep_settings import DeepSettings

    settings = config.network or DeepSettings()
    settings = replace(settings, seed=config.seed, batch_rows=config.batch_rows or settings.batch_rows)
    if settings.ids is not None and (config.timescales is not None or config.anchor is not None):
        raise ConfigError(
            f"the network on {config.feature_set}: ids cannot have rows of their own with timescales or an anchor, "
            "which would give a row's new owner what the last one learned"
        )
    try:
        HashedMLP(schema, settings)
    except ValueError as error:
        raise ConfigError(f"the network on {config.feature_set}: {error}") from error
    return lambda: HashedMLP(schema, settings)


def _bayes_maker(config: ModelConfig, schema: FeatureSchema) -> Callable[[], Learner]:
    from rheostat.learners.bayes_logistic import BayesLogistic, BayesSettings

    settings = BayesSettings(seed=config.seed)
    settings = replace(settings, batch_rows=config.batch_rows or settings.batch_rows)
    try:
        BayesLogistic(schema, settings)
    except ValueError as error:
        raise ConfigError(f"the model on {config.feature_set}: {error}") from error
    return lambda: BayesLogistic(schema, settings)


def _river_maker(config: ModelConfig, schema: FeatureSchema) -> Callable[[], Learner]:
    from rheostat.learners.river.learner import RiverLearner
    from rheostat.learners.river.settings import RiverSettings

    settings = RiverSettings(config.river_estimator, seed=config.seed, batch_rows=config.batch_rows)
    try:
        RiverLearner(schema, settings)
    except ValueError as error:
        raise ConfigError(f"the estimator of the model on {config.feature_set}: {error}") from error
    return lambda: RiverLearner(schema, settings)


def _bandit_maker(config: ModelConfig, schema: FeatureSchema) -> Callable[[], Learner]:
    from rheostat.learners.bandits.linear import BanditSettings, LinearBandit

    settings = config.bandit or BanditSettings()
    settings = replace(settings, batch_rows=config.batch_rows or settings.batch_rows)
    try:
        LinearBandit(schema, config.policy, settings)
    except ValueError as error:
        raise ConfigError(f"the bandit on {config.feature_set}: {error}") from error
    return lambda: LinearBandit(schema, config.policy, settings)


def observers(stage: Stage, metrics: Metrics) -> LoopObserver:
    """Return what shows a stage's work as metrics."""
    if stage.name == "watch":
        from rheostat.streams.watch.metrics import WatchMetrics

        return WatchMetrics(metrics)
    from rheostat.streams.stage_metrics import StageMetrics

    return StageMetrics(metrics)


def _make_loop(stage: Stage, broker: Broker, slot: str, config: Config, observer: LoopObserver) -> MakeLoop:
    limits = LoopLimits(interval_ms=_interval_ms(stage, config))
    clock: Clock = WallClock()

    def make(process: Process) -> StageLoop:
        return StageLoop(
            stage,
            broker,
            slot=slot,
            clock=clock,
            limits=limits,
            process=process,
            observer=observer,
            hop=hop_of(stage.name),
        )

    return make


def _interval_ms(stage: Stage, config: Config) -> int:
    if stage.name == "monitor":
        return config.monitor.interval_ms
    if stage.name == "watch":
        return config.watch.interval_ms
    return config.learn.interval_ms if stage.name.startswith("learn-") else config.kafka.interval_ms
