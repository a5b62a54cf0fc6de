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

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

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
)
from rheostat.streams.errors import ConfigError
from rheostat.streams.intake.settings import SlowBurstSettings

COLUMNS = ("event_id", "target", "actor", "source", "segment", "kind", "value", "time", "label")
_REQUIRED = ("target", "time")
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
    return read_toml(path, mapped)


def mapped(found: Mapping[str, Any]) -> Mapped:
    """Return what a mapping says. Raises ConfigError."""
    sections = read_sections(found, _SECTIONS)
    columns, defaults = column_names(sections["columns"]), sections["defaults"]
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise ConfigError(f"columns.{missing[0]} is missing: name the column that holds it")
    return Mapped(
        columns=columns,
        time_unit=one_of("time.unit", sections["time"].get("unit", "ms"), tuple(UNITS_PER_S)),
        **low_high(sections["value"]),
        kind=one_of("defaults.kind", defaults.get("kind", "click"), tuple(KINDS)),
        value=number("defaults.value", defaults.get("value", 1.0)),
        attack=texts("label.attack", sections["label"].get("attack", ["attack"]), "attack"),
        settings=_settings(sections["settings"]),
    )


def _settings(section: Mapping[str, Any]) -> SlowBurstSettings:
    for name, value in section.items():
        wanted = int if isinstance(getattr(SlowBurstSettings(), name), int) else float
        found = number(f"settings.{name}", value)
        if wanted is int and found != int(found):
            raise ConfigError(f"settings.{name}: must be a whole number, not {value!r}")
    return SlowBurstSettings(**section)
