"""Configuration: one frozen tree, built once from defaults < file < environment < flags.

A file is TOML with one table for each group (`[kafka]`, `[intake]`, …), `[models.NAME]` for each model and
`[feature_sets."NAME@VERSION"]` for each feature set. The environment variable RHEOSTAT_KAFKA__BOOTSTRAP and the flag
`--set kafka.bootstrap=…` both mean `kafka.bootstrap`. Where each value came from is kept and printed at start.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rheostat.learners.bandits.linear import BanditSettings
from rheostat.learners.bandits.policy import Policy
from rheostat.learners.contract import FeatureSchema
from rheostat.learners.deep_settings import DeepSettings, ModuleSettings
from rheostat.learners.wrapper_settings import AnchorSettings, ReplaySettings, ReweightingSettings, TimescaleSettings
from rheostat.streams.declared_features import declared_schema
from rheostat.streams.errors import ConfigError
from rheostat.streams.intake.settings import BurstSettings, WeightSettings
from rheostat.streams.intake.sources import SourceSettings
from rheostat.streams.join.settings import JoinSettings
from rheostat.streams.learn.settings import GateSettings
from rheostat.streams.models.manifest import Mode
from rheostat.streams.monitor.settings import MonitorSettings
from rheostat.streams.serving.arms import Arm
from rheostat.streams.serving.fallback import Fallback
from rheostat.streams.watch.settings import WatchSettings

ENVIRONMENT_PREFIX = "RHEOSTAT_"
_CREDENTIALS = re.compile("://[^/@]*@")
SECRET_WORDS = ("password", "secret", "key", "token", "jaas")


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """How to reach the cluster and what this pipeline's names start with there."""

    bootstrap: str = "127.0.0.1:9092"
    prefix: str = ""
    protocol: Literal["consumer", "classic"] = "consumer"
    embedded: bool = False
    data_partitions: int = 4
    replication: int = 1
    interval_ms: int = 40
    client: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _in_range("kafka.data_partitions", self.data_partitions, 1, 10_000)
        _in_range("kafka.replication", self.replication, 1, 10)
        _in_range("kafka.interval_ms", self.interval_ms, 0, 10_000)


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """A schema registry with Confluent's API, http://[NAME:PASSWORD@]HOST:PORT; without `url`, the committed ids."""

    url: str | None = None


@dataclass(frozen=True, slots=True)
class KeysConfig:
    """Folder of key files: `NAME.pem` private, `NAME.pub.pem` public, `pseudonym.key`; made by `rheostat keys`."""

    dir: str = "keys"


@dataclass(frozen=True, slots=True)
class IntakeConfig:
    """Bounds and thresholds of intake."""

    bursts_enabled: bool = True
    dedup_window_ms: int = 24 * 3_600_000
    dedup_ids_max: int = 10_000_000
    record_bytes_max: int = 65_536
    bursts: BurstSettings = field(default_factory=BurstSettings)
    weights: WeightSettings = field(default_factory=WeightSettings)
    sources: SourceSettings = field(default_factory=SourceSettings)


@dataclass(frozen=True, slots=True)
class LearnConfig:
    """How often a learner publishes and saves its state."""

    interval_ms: int = 40
    base_every: int = 50
    state_every: int = 50

    def __post_init__(self) -> None:
        _in_range("learn.interval_ms", self.interval_ms, 1, 60_000)
        _in_range("learn.base_every", self.base_every, 1, 1_000_000)
        _in_range("learn.state_every", self.state_every, 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """The HTTP server. drain_ms: how long it goes on answering, as not ready, after it was told to end.

    fallbacks: tables `[serve.fallbacks.MODEL]`, what is answered when the model's version has become too old.
    arms: tables `[serve.arms.MODEL.ARM]`, what else answers for a model, and whom; another salt places everybody anew.
    shadow_queue_max: answers that may wait for shadows. explain_words: a file as streams/serving/explain.en.toml.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    member: str = "server-1"
    keep_versions: int = 2_000
    status_interval_ms: int = 5_000
    prediction_queue_max: int = 100_000
    prediction_ttl_ms: int = 30 * 60_000
    drain_ms: int = 1_000
    fallbacks: Mapping[str, Fallback] = field(default_factory=dict)
    arms: Mapping[str, Mapping[str, Arm]] = field(default_factory=dict)
    arms_salt: str = ""
    shadow_queue_max: int = 10_000
    explain_words: str | None = None
    api_keys_file: str | None = None

    def __post_init__(self) -> None:
        _in_range("serve.drain_ms", self.drain_ms, 0, 300_000)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """The HTTP gateway for feedback.

    in_flight_max: events that may wait for the broker. spool_dir: where set, events are safe once they are in a spool
    there, and are accepted while Kafka is away. identity_secret_file: see the feedback client's `identity_secret`.
    stamp_every: which events are stamped for measuring freshness: every so-many-th, 0 none.
    """

    host: str = "127.0.0.1"
    port: int = 8090
    bytes_max: int = 1 << 20
    batch_max: int = 1_000
    in_flight_max: int = 10_000
    acknowledge_timeout_ms: int = 5_000
    retry_after_s: int = 5
    spool_dir: str | None = None
    spool_bytes_max: int = 256 << 20
    spool_sync_ms: int = 1_000
    api_keys_file: str | None = None
    identity_secret_file: str | None = None
    stamp_every: int = 100

    def __post_init__(self) -> None:
        _in_range("gateway.port", self.port, 0, 65_535)
        _in_range("gateway.bytes_max", self.bytes_max, 1_024, 1 << 30)
        _in_range("gateway.batch_max", self.batch_max, 1, 100_000)
        _in_range("gateway.in_flight_max", self.in_flight_max, self.batch_max, 500_000)
        _in_range("gateway.acknowledge_timeout_ms", self.acknowledge_timeout_ms, 100, 300_000)
        _in_range("gateway.retry_after_s", self.retry_after_s, 1, 3_600)
        _in_range("gateway.stamp_every", self.stamp_every, 0, 1_000_000)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model: which learner, on which features. `batch_rows`: the most rows of one step; None: the learner's own.

    timescales, replay, anchor: tables of what protects it from fads and from forgetting, each none where it is not set.
    reweighting: table of what rows count by how they were chosen and where they come from, none where it is not set.
    network, module: a table for learner "hashed-mlp", and for "torch"; the seed is the model's, not the one in it.
    policy, bandit: tables for learner "linear-bandit" alone: how it chooses, and how it learns.
    estimator, parameters, steps: for learner "river" alone, which estimator of River, see learners/river/README.md.
    mode: what servers do with what is learned. gate: table of when a version is withheld from them.
    """

    learner: Literal["linear", "hashed-mlp", "torch", "bayes-logistic", "river", "linear-bandit"]
    feature_set: str
    seed: int = 1
    batch_rows: int | None = None
    estimator: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Any, ...] = ()
    timescales: TimescaleSettings | None = None
    replay: ReplaySettings | None = None
    anchor: AnchorSettings | None = None
    reweighting: ReweightingSettings | None = None
    network: DeepSettings | None = None
    module: ModuleSettings | None = None
    policy: Policy | None = None
    bandit: BanditSettings | None = None
    mode: Mode = "online"
    gate: GateSettings = field(default_factory=GateSettings)

    def __post_init__(self) -> None:
        river = self.estimator is not None or bool(self.steps)
        if self.learner == "river" and not river:
            raise ConfigError('models: learner "river" needs an estimator, such as "tree.HoeffdingTreeClassifier"')
        if self.learner != "river" and (river or self.parameters):
            raise ConfigError(f'models: estimator, parameters and steps are for learner "river", not {self.learner!r}')
        if self.learner != "hashed-mlp" and self.network is not None:
            raise ConfigError(f'models: network is for learner "hashed-mlp", not {self.learner!r}')
        if (self.learner == "torch") != (self.module is not None):
            example = '{builder = "package.module:function"}'
            raise ConfigError(f'models: learner "torch", and no other, needs a table module, such as {example}')
        if self.learner != "linear-bandit" and (self.policy is not None or self.bandit is not None):
            raise ConfigError(f'models: policy and bandit are for learner "linear-bandit", not {self.learner!r}')

    @property
    def river_estimator(self) -> Mapping[str, Any]:
        """The estimator of River as `rheostat.learners.river.build` takes it."""
        named = {} if self.estimator is None else {"estimator": self.estimator}
        return {**named, "parameters": self.parameters, "steps": list(self.steps)}


@dataclass(frozen=True, slots=True)
class FeaturesConfig:
    """Folder of the feature dictionary (schemas/features/README.md).

    Where it is set, every model's feature set must be in it: what could be left out by its name would guard nothing.
    """

    dir: str | None = None


@dataclass(frozen=True, slots=True)
class FeatureSetConfig:
    """The inputs of a model, in order; `actions`: what can be chosen, where the model chooses.

    training_only: features that are learned but not scored with, each with the value that it has in every score.
    """

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    training_only: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a process needs to know. Immutable; pass a stage only its part."""

    kafka: KafkaConfig = field(default_factory=KafkaConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    keys: KeysConfig = field(default_factory=KeysConfig)
    intake: IntakeConfig = field(default_factory=IntakeConfig)
    watch: WatchSettings = field(default_factory=WatchSettings)
    join: JoinSettings = field(default_factory=JoinSettings)
    learn: LearnConfig = field(default_factory=LearnConfig)
    monitor: MonitorSettings = field(default_factory=MonitorSettings)
    serve: ServeConfig = field(default_factory=ServeConfig)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    models: Mapping[str, ModelConfig] = field(default_factory=dict)
    feature_sets: Mapping[str, FeatureSetConfig] = field(default_factory=dict)

    def feature_schema(self, model: str) -> FeatureSchema:
        """Return the inputs of a model, as the dictionary declares them, where there is one.

        Raises ConfigError for an unknown model or feature set, and for one that the dictionary does not allow.
        """
        if model not in self.models:
            raise ConfigError(f"model {model!r} is not configured; known: {', '.join(sorted(self.models)) or 'none'}")
        name = self.models[model].feature_set
        if self.features.dir is not None:
            listed = self._listed(name) if name in self.feature_sets else None
            return declared_schema(Path(self.features.dir), model, name, listed)
        if name not in self.feature_sets:
            known = ", ".join(sorted(self.feature_sets)) or "none"
            raise ConfigError(f"models.{model}.feature_set: {name!r} is not configured; known: {known}")
        return self._listed(name)

    def _listed(self, name: str) -> FeatureSchema:
        found = self.feature_sets[name]
        neutral = tuple((each, _neutral(name, each, value)) for each, value in found.training_only.items())
        try:
            return FeatureSchema(name, found.numeric, found.categorical, found.actions, neutral)
        except ValueError as error:
            raise ConfigError(f"feature_sets.{name}: {error}") from error


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration with the source of every value that is not a default."""

    config: Config
    sources: Mapping[str, str]

    def describe(self) -> str:
        """Return one line a value: name, value (secrets hidden), source."""
        lines = []
        for name, value in sorted(_flatten(dataclasses.asdict(self.config)).items()):
            hidden = any(word in name.rsplit(".", 1)[-1].lower() for word in SECRET_WORDS)
            shown = "***" if hidden else _CREDENTIALS.sub("://***@", json.dumps(value))
            lines.append(f"{name} = {shown}  ({self._source(name)})")
        return "\n".join(lines)

    def _source(self, name: str) -> str:
        for given, source in self.sources.items():
            if name == given or name.startswith(given + "."):
                return source
        return "default"


def load(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Loaded:
    """Build the tree. `flags` and the environment give texts, parsed by the type of the value they set.

    Raises ConfigError naming the value, where it came from, and what is allowed.
    """
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if file is not None:
        _merge(tree, _read(file), str(file), sources)
    for variable, text in sorted((environment or {}).items()):
        if variable.startswith(ENVIRONMENT_PREFIX) and "__" in variable:
            path = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            _put(tree, path, _Text(text), variable, sources)
    for name, text in (flags or {}).items():
        _put(tree, name.split("."), _Text(text), f"--set {name}", sources)
    return Loaded(_build(Config, tree, ""), sources)


class _Text(str):
    """A value given as text, still to be parsed."""


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {file}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error


def _merge(tree: dict[str, Any], given: Mapping[str, Any], source: str, sources: dict[str, str], at: str = "") -> None:
    for name, value in given.items():
        path = f"{at}{name}"
        if isinstance(value, dict):
            _merge(tree.setdefault(name, {}), value, source, sources, path + ".")
        else:
            tree[name] = value
            sources[path] = source


def _put(tree: dict[str, Any], path: list[str], value: Any, source: str, sources: dict[str, str]) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
    sources[".".join(path)] = source


def _build(kind: Any, given: Any, at: str) -> Any:
    if not isinstance(given, dict):
        raise ConfigError(f"{at}: expected a table, got {given!r}")
    hints = get_type_hints(kind)
    known = {each.name: each for each in dataclasses.fields(kind)}
    if unknown := sorted(set(given) - set(known)):
        raise ConfigError(f"{at + '.' if at else ''}{unknown[0]}: no such setting; known: {', '.join(known)}")
    missing = [
        name
        for name, each in known.items()
        if name not in given and each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{at}.{missing[0]}: must be set")
    values = {name: _value(hints[name], value, f"{at}.{name}".lstrip(".")) for name, value in given.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f"{at}: {error}") from error


def _value(hint: Any, value: Any, at: str) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return _anything(value)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, at)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise ConfigError(f"{at}: expected a table, got {value!r}")
        return {name: _value(get_args(hint)[1], each, f"{at}.{name}") for name, each in value.items()}
    if origin is tuple:
        items = str(value).split(",") if isinstance(value, _Text) else value
        return tuple(_value(get_args(hint)[0], each, at) for each in items)
    if origin is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{at}: {str(value)!r} is not one of {', '.join(map(str, get_args(hint)))}")
        return str(value)
    if origin in (types.UnionType, typing.Union):
        if value is None or (isinstance(value, _Text) and value == ""):
            return None
        return _value(next(each for each in get_args(hint) if each is not type(None)), value, at)
    return _scalar(hint, value, at)


def _anything(value: Any) -> Any:
    """Return a value as the file has it; a text of the environment or a flag is JSON or, where it is none, itself."""
    if isinstance(value, dict):
        return {name: _anything(each) for name, each in value.items()}
    if isinstance(value, list):
        return list(map(_anything, value))
    if not isinstance(value, _Text):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return str(value)


def _scalar(hint: Any, value: Any, at: str) -> Any:
    try:
        if hint is bool:
            if isinstance(value, _Text):
                return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[value.lower()]
            if isinstance(value, bool):
                return value
        elif hint in (int, float):
            if isinstance(value, _Text) or (isinstance(value, int | float) and not isinstance(value, bool)):
                return hint(value)
        elif isinstance(value, str):
            return str(value)
    except (KeyError, ValueError):
        pass
    raise ConfigError(f"{at}: {str(value)!r} is not of type {getattr(hint, '__name__', hint)}")


def _neutral(feature_set: str, name: str, value: Any) -> float | str:
    if isinstance(value, str):
        return value
    return float(_scalar(float, value, f"feature_sets.{feature_set}.training_only.{name}"))


def _flatten(tree: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{at}{name}.")
        else:
            flat[f"{at}{name}"] = value
    return flat


def _in_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}: {value} is out of range, {low} to {high}")
