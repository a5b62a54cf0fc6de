"""A whole pipeline on this machine for demos, benchmarks and tests: keys, configuration, topics and processes."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from rheostat.learners.contract import FeatureSchema
from rheostat.streams.config import Config, load
from rheostat.streams.keys import create_keys
from rheostat.streams.local.children import Children
from rheostat.streams.local.process import free_ports

MODELS: Mapping[str, str] = {"linear": "linear", "deep": "hashed-mlp"}
"""Each model with its learner."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A prepared pipeline: its configuration file, and the ports of its processes."""

    file: Path
    config: Config
    metrics_ports: Mapping[str, int]

    @property
    def url(self) -> str:
        """Where the server answers."""
        return f"http://{self.config.serve.host}:{self.config.serve.port}"

    def start(self, children: Children, groups: Sequence[str]) -> None:
        """Start a worker for each group of stages (such as "intake,join"), and the server."""
        for name in (*groups, "serve"):
            self.restart(children, name)

    def restart(self, children: Children, name: str) -> None:
        """Start the worker of a group of stages, or the server, under the name and slot it always has."""
        if name == "serve":
            children.start(name, ["serve", "--config", str(self.file)])
        else:
            port = str(self.metrics_ports[name])
            children.start(name, ["worker", "--stages", name, "--config", str(self.file), "--metrics-port", port])

    def ready(self) -> bool:
        """Whether the server has a verified version of every model."""
        try:
            with urlopen(f"{self.url}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


def prepare(
    folder: Path,
    bootstrap: str,
    schema: FeatureSchema,
    groups: Sequence[str],
    *,
    models: Collection[str] = tuple(MODELS),
    embedded: bool = False,
    prefix: str = "",
    settings: Mapping[str, Mapping[str, object]] | None = None,
) -> Pipeline:
    """Write keys and a configuration with models of MODELS on one feature set into `folder`; `settings` by table."""
    create_keys(folder / "keys")
    ports = free_ports(len(groups) + 1)
    tables: dict[str, dict[str, object]] = {
        "kafka": {"bootstrap": bootstrap, "prefix": prefix, "embedded": embedded},
        "keys": {"dir": str(folder / "keys")},
        "serve": {"port": ports[0]},
        f"feature_sets.{json.dumps(schema.id)}": {
            "numeric": list(schema.numeric),
            "categorical": list(schema.categorical),
        },
        **{f"models.{name}": {"learner": MODELS[name], "feature_set": schema.id} for name in models},
    }
    for table, values in (settings or {}).items():
        tables.setdefault(table, {}).update(values)
    file = folder / "rheostat.toml"
    file.write_text("\n".join(_toml(name, values) for name, values in tables.items()))
    return Pipeline(file, load(file).config, dict(zip(groups, ports[1:], strict=True)))


def _toml(name: str, values: Mapping[str, object]) -> str:
    # JSON's strings, numbers, booleans and lists are TOML's.
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join([f"[{name}]", *lines, ""])
