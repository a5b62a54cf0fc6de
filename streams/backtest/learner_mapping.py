"""The mapping file of `backtest learner`: which columns of a team's own file mean what. README.md shows one.

One row is one prediction with the outcome it had, if it had one:

[columns]                  # ours = "yours"; time must be there, unless its unit is "row"
time, label, label_time, prediction_id, segment, target, actor, weight, kind, score, propensity, action
[features]
set = "shop@1"             # a feature set of the configuration or its dictionary; or the names themselves:
numeric, categorical       # lists of features, `id` is then the id of the set; without all that, the model's own set
fill = 0.0                 # the number that stands for an empty cell; without it such a cell is an error
[features.columns]         # ours = "yours", where a column is not called as the feature
[time]
unit = "ms"                # of numbers: s, ms, us or ns since 1970 UTC; or "row": the order of the file is that of time
row_ms = 1000              # how long a row lasts where the unit is "row"
[label]
positive = ["yes"]         # which texts are a positive; without it labels are numbers
low, high                  # what these go from and to; without it, the range of the kind
kind = "conversion"        # kind of signal, where there is no column of kinds
delay_rows, delay_ms       # when a label comes after its prediction, where there is no column label_time
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rheostat.learners.contract import FeatureSchema
from rheostat.schemas.signals import KINDS
from rheostat.streams.backtest.columns import UNITS_PER_S
from rheostat.streams.backtest.sections import (
    column_names,
    low_high,
    number,
    one_of,
    read_sections,
    read_toml,
    texts,
    whole,
)
from rheostat.streams.errors import ConfigError

COLUMNS = (
    "time", "label", "label_time", "prediction_id", "segment", "target", "actor", "weight", "kind", "score",
    "propensity", "action",
)  # fmt: skip
ROW = "row"
_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "columns": COLUMNS,
    "features": ("set", "id", "numeric", "categorical", "fill", "columns"),
    "time": ("unit", "row_ms"),
    "label": ("positive", "low", "high", "kind", "delay_rows", "delay_ms"),
}
SchemaOf = Callable[[str | None], FeatureSchema]
"""Returns the feature set with an id, for None that of the model; raises ConfigError."""


@dataclass(frozen=True, slots=True)
class LearnerMapping:
    """What a file's columns mean. `columns` and `feature_columns`: our name to theirs.

    row_ms: how long a row lasts where the order of rows is that of time, else None. positive: texts that are a
    positive; empty where labels are numbers, which go from `low` to `high`, None: as those of their kind.
    """

    columns: Mapping[str, str]
    schema: FeatureSchema
    feature_columns: Mapping[str, str]
    fill: float | None = None
    time_unit: str = "ms"
    row_ms: int | None = None
    positive: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    kind: str = "conversion"
    delay_rows: int | None = None
    delay_ms: int | None = None


def read_learner_mapping(path: Path, schema_of: SchemaOf) -> LearnerMapping:
    """Read a mapping file. Raises ConfigError that names the file and what is wrong in it."""
    return read_toml(path, lambda found: learner_mapping(found, schema_of))


def learner_mapping(found: Mapping[str, Any], schema_of: SchemaOf) -> LearnerMapping:
    """Return what a mapping says. Raises ConfigError."""
    sections = read_sections(found, _SECTIONS)
    columns, features, label = column_names(sections["columns"]), sections["features"], sections["label"]
    unit = one_of("time.unit", sections["time"].get("unit", "ms"), (*UNITS_PER_S, ROW))
    if (unit == ROW) == ("time" in columns):
        raise ConfigError('columns.time is for every unit of time but "row": name the column, or set time.unit = "row"')
    if unit != ROW and "row_ms" in sections["time"]:
        raise ConfigError('time.row_ms: is for time.unit = "row" alone')
    if "label" not in columns:
        raise ConfigError("columns.label is missing: name the column that holds the outcome")
    schema = _schema(features, schema_of)
    row_ms = whole("time.row_ms", sections["time"].get("row_ms", 1_000), 1) if unit == ROW else None
    return LearnerMapping(
        columns=columns,
        schema=schema,
        feature_columns=_feature_columns(features, schema),
        fill=number("features.fill", features["fill"]) if "fill" in features else None,
        time_unit=unit,
        row_ms=row_ms,
        **_label(label),
        **_delay(label, columns),
    )


def _schema(features: Mapping[str, Any], schema_of: SchemaOf) -> FeatureSchema:
    if "set" in features:
        if own := sorted(set(features) & {"id", "numeric", "categorical"}):
            raise ConfigError(f"features.{own[0]}: features.set names a set, which says what its features are")
        return schema_of(str(features["set"]))
    numeric, categorical = (_names(features, kind) for kind in ("numeric", "categorical"))
    if not numeric and not categorical:
        return schema_of(None)
    if twice := [name for name in numeric if name in categorical]:
        raise ConfigError(f"features.categorical: {twice[0]!r} is numeric, too")
    return FeatureSchema(str(features.get("id", "backtest@1")), numeric, categorical)


def _names(features: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    names = texts(f"features.{kind}", features[kind], "price") if features.get(kind) else ()
    if len(set(names)) < len(names):
        raise ConfigError(f"features.{kind}: a feature is listed twice")
    return names


def _feature_columns(features: Mapping[str, Any], schema: FeatureSchema) -> dict[str, str]:
    names = (*schema.numeric, *schema.categorical)
    given = features.get("columns", {})
    if not isinstance(given, dict):
        raise ConfigError("features.columns: must be a section, [features.columns]")
    given = column_names(given, "features.columns")
    if unknown := sorted(set(given) - set(names)):
        raise ConfigError(f"features.columns.{unknown[0]}: is no feature; there are {', '.join(names)}")
    return {name: given.get(name, name) for name in names}


def _label(label: Mapping[str, Any]) -> dict[str, Any]:
    positive = texts("label.positive", label["positive"], "yes") if "positive" in label else ()
    if positive and {"low", "high"} & set(label):
        raise ConfigError("label.positive: is for labels that are text; low and high are for numbers")
    kind = one_of("label.kind", label.get("kind", "conversion"), tuple(KINDS))
    if KINDS[kind].basis == "control":
        raise ConfigError(f"label.kind: {kind} gives no label")
    return {"positive": positive, **low_high(label, "label"), "kind": kind}


def _delay(label: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    given = [name for name in ("delay_rows", "delay_ms") if name in label]
    if len(given) + ("label_time" in columns) != 1:
        raise ConfigError(
            "label: say once when a label comes: columns.label_time, label.delay_ms (0: at once) or label.delay_rows"
        )
    return {name: whole(f"label.{name}", label[name], 0) for name in given}
