"""The mapping file: which columns of a team's own file mean what. TOML; README.md beside this file shows one.

[columns]                       # ours = "yours"; target and time must be there
event_id, target, actor, source, segment, kind, value, time, label
[time]
unit = "ms"                     # of numbers: s, ms, us or ns since 1970 UTC; text and timestamps need none
[value]
low, high                       # what your values go from and to; without it, the range of the kind
[defaults]
kind = "click"                  # where there is no column of kinds
value = 1.0                     # where there is no column of values, in your unit
[label]
attack = ["attack"]             # which labels mean that an event was not honest
[settings]                      # optional: any of SlowBurstSettings, such as alarms_per_target_month
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rheostat.schemas.signals import KINDS
from rheostat.streams.errors import ConfigError
from rheostat.streams.intake.settings import SlowBurstSettings

COLUMNS = ("event_id", "target", "actor", "source", "segment", "kind", "value", "time", "label")
_REQUIRED = ("target", "time")
UNITS_PER_S: Mapping[str, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "columns": COLUMNS,
    "time": ("unit",),
    "value": ("low", "high"),
    "defaults": ("kind", "value"),
    "label": ("attack",),
    "settings": tuple(each.name for each in fields(SlowBurstSettings)),
}


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a file's columns mean. `columns`: our name to theirs. `low`, `high`: None when the kind's range holds."""

    columns: Mapping[str, str]
    time_unit: str = "ms"
    low: float | None = None
    high: float | None = None
    kind: str = "click"
    value: float = 1.0
    attack: tuple[str, ...] = ("attack",)
    settings: SlowBurstSettings = field(default_factory=SlowBurstSettings)


def read_mapping(path: Path) -> Mapped:
    """Read a mapping file. Raises ConfigError that names the file and what is wrong in it."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML: {error}") from None
    try:
        return mapped(found)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def mapped(found: Mapping[str, Any]) -> Mapped:
    """Return what a mapping says. Raises ConfigError."""
    sections = {name: _section(found, name) for name in _SECTIONS}
    if unknown := sorted(set(found) - set(_SECTIONS)):
        raise ConfigError(f"[{unknown[0]}] is no section; there are {', '.join(_SECTIONS)}")
    columns, value, defaults = sections["columns"], sections["value"], sections["defaults"]
    for name, column in columns.items():
        if not isinstance(column, str) or not column:
            raise ConfigError(f"columns.{name}: must be the name of a column, not {column!r}")
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise ConfigError(f"columns.{missing[0]} is missing: name the column that holds it")
    return Mapped(
        columns=columns,
        time_unit=_one_of("time.unit", sections["time"].get("unit", "ms"), tuple(UNITS_PER_S)),
        **_range(value),
        kind=_one_of("defaults.kind", defaults.get("kind", "click"), tuple(KINDS)),
        value=_number("defaults.value", defaults.get("value", 1.0)),
        attack=_labels(sections["label"].get("attack", ["attack"])),
        settings=_settings(sections["settings"]),
    )


def _section(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = found.get(name, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{name}: must be a section, [{name}]")
    if unknown := [key for key in section if key not in _SECTIONS[name]]:
        raise ConfigError(f"{name}.{unknown[0]}: there is no such entry; there are {', '.join(_SECTIONS[name])}")
    return section


def _settings(section: Mapping[str, Any]) -> SlowBurstSettings:
    for name, value in section.items():
        wanted = int if isinstance(getattr(SlowBurstSettings(), name), int) else float
        number = _number(f"settings.{name}", value)
        if wanted is int and number != int(number):
            raise ConfigError(f"settings.{name}: must be a whole number, not {value!r}")
    return SlowBurstSettings(**section)


def _range(section: Mapping[str, Any]) -> dict[str, float]:
    if set(section) not in (set(), {"low", "high"}):
        raise ConfigError("value: low and high belong together")
    numbers = {name: _number(f"value.{name}", value) for name, value in section.items()}
    if numbers and not numbers["low"] < numbers["high"]:
        raise ConfigError(f"value: low ({numbers['low']:g}) must be less than high ({numbers['high']:g})")
    return numbers


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name}: must be a number, not {value!r}")
    return float(value)


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ConfigError(f"{name}: {value!r} is none of {', '.join(allowed)}")
    return str(value)


def _labels(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f'label.attack: must be a list such as ["attack"], not {value!r}')
    return tuple(str(each) for each in value)
