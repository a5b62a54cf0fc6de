"""Mapping files: TOML whose sections and entries are all known, with errors that name file, section and entry."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rheostat.streams.errors import ConfigError

Made = TypeVar("Made")


def read_toml(path: Path, make: Callable[[Mapping[str, Any]], Made]) -> Made:
    """Return what `make` makes of a file. Raises ConfigError that names the file and what is wrong in it."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML: {error}") from None
    try:
        return make(found)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def read_sections(found: Mapping[str, Any], allowed: Mapping[str, Collection[str]]) -> dict[str, dict[str, Any]]:
    """Return every section, empty where it is left out; `allowed` has the entries of each. Raises ConfigError."""
    sections = {name: _section(found, name, allowed[name]) for name in allowed}
    if unknown := sorted(set(found) - set(allowed)):
        raise ConfigError(f"[{unknown[0]}] is no section; there are {', '.join(allowed)}")
    return sections


def column_names(section: Mapping[str, Any], where: str = "columns") -> dict[str, str]:
    """Return a section that says which column of a file is meant by each name of ours. Raises ConfigError."""
    for name, column in section.items():
        if not isinstance(column, str) or not column:
            raise ConfigError(f"{where}.{name}: must be the name of a column, not {column!r}")
    return dict(section)


def low_high(section: Mapping[str, Any], where: str = "value") -> dict[str, float]:
    """Return `low` and `high`, or nothing where neither is there. Raises ConfigError."""
    numbers = {name: number(f"{where}.{name}", section[name]) for name in ("low", "high") if name in section}
    if len(numbers) == 1:
        raise ConfigError(f"{where}: low and high belong together")
    if numbers and not numbers["low"] < numbers["high"]:
        raise ConfigError(f"{where}: low ({numbers['low']:g}) must be less than high ({numbers['high']:g})")
    return numbers


def number(name: str, value: object) -> float:
    """Return a number. Raises ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name}: must be a number, not {value!r}")
    return float(value)


def whole(name: str, value: object, least: int) -> int:
    """Return a whole number that is not less than `least`. Raises ConfigError."""
    if number(name, value) != int(number(name, value)) or int(number(name, value)) < least:
        raise ConfigError(f"{name}: must be a whole number from {least} on, not {value!r}")
    return int(number(name, value))


def one_of(name: str, value: object, allowed: Collection[str]) -> str:
    """Return one of some texts. Raises ConfigError."""
    if value not in allowed:
        raise ConfigError(f"{name}: {value!r} is none of {', '.join(allowed)}")
    return str(value)


def texts(name: str, value: object, example: str) -> tuple[str, ...]:
    """Return a list of texts, at least one. Raises ConfigError."""
    if not isinstance(value, list) or not value:
        raise ConfigError(f'{name}: must be a list such as ["{example}"], not {value!r}')
    return tuple(str(each) for each in value)


def _section(found: Mapping[str, Any], name: str, allowed: Collection[str]) -> dict[str, Any]:
    section = found.get(name, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{name}: must be a section, [{name}]")
    if unknown := [key for key in section if key not in allowed]:
        raise ConfigError(f"{name}.{unknown[0]}: there is no such entry; there are {', '.join(allowed)}")
    return section
