"""The parts of River that a configuration may name: its public classes, by the name under which River shows them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

_PACKAGES = (
    "active",
    "anomaly",
    "bandit",
    "cluster",
    "compose",
    "conf",
    "covariance",
    "drift",
    "drift.binary",
    "dummy",
    "ensemble",
    "facto",
    "feature_extraction",
    "feature_selection",
    "forest",
    "imblearn",
    "linear_model",
    "metrics",
    "misc",
    "model_selection",
    "multiclass",
    "multioutput",
    "naive_bayes",
    "neighbors",
    "optim",
    "optim.initializers",
    "optim.losses",
    "optim.schedulers",
    "preprocessing",
    "proba",
    "reco",
    "rules",
    "sketch",
    "stats",
    "time_series",
    "tree",
    "tree.split_criterion",
    "tree.splitter",
    "utils",
)
"""What is left out reads files or the network (`datasets`, `stream`), or is no part of a model."""


@cache
def catalogue() -> Mapping[str, type]:
    """Return every class that may be named ("linear_model.LogisticRegression"); abstract ones are left out."""
    return {f"{package}.{name}": cls for package in _PACKAGES for name, cls in _public(package).items()}


def _public(package: str) -> dict[str, type]:
    module = importlib.import_module(f"river.{package}")
    found: dict[str, Any] = {name: getattr(module, name, None) for name in sorted(module.__all__)}
    return {name: value for name, value in found.items() if _is_part(value)}


def _is_part(value: object) -> bool:
    return inspect.isclass(value) and value.__module__.startswith("river.") and not inspect.isabstract(value)
