"""Feature dictionaries: a folder with one TOML file for each feature set, `NAME@VERSION.toml`.

`features/README.md` says what a file holds. Reading is strict: an entry that is missing, unknown or contradicts another
one is an error that names file, feature and entry, and all errors of a file are told at once.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, cast

from rheostat.schemas.baseline_tables import read_baseline
from rheostat.schemas.catalogue import EXAMPLES, TOPICS
from rheostat.schemas.feature_sets import (
    AVAILABLE_AT,
    CONSENT_BASES,
    FEATURE_TYPES,
    Feature,
    FeatureSet,
    FeatureType,
)
from rheostat.schemas.strict_table import StrictTable

FILE_BYTES_MAX = 4 << 20
RETENTION_DAYS_MIN = TOPICS[EXAMPLES].retention_ms // 86_400_000
"""So long are the values of every feature kept anyway, in `examples`; a shorter promise would be broken."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}@[1-9][0-9]{0,5}")
_CATEGORIES_MAX = 10**9
_DAYS_MAX = 36_500
_NUMBERS_ONLY, _CATEGORIES_ONLY = ("unit", "range"), ("categories", "categories_max")
_FOREIGN: Mapping[FeatureType, tuple[str, ...]] = {
    "numeric": _CATEGORIES_ONLY,
    "boolean": (*_NUMBERS_ONLY, *_CATEGORIES_ONLY),
    "categorical": _NUMBERS_ONLY,
}
_Report = Callable[..., None]


class Problem(NamedTuple):
    """One thing that is wrong with a dictionary; `feature` and `entry` are empty where it is about more than one."""

    file: str
    feature: str
    entry: str
    reason: str

    def __str__(self) -> str:
        feature = f"feature {self.feature!r}: " if self.feature else ""
        return f"{self.file}: {feature}{self.entry}{': ' if self.entry else ''}{self.reason}"


class BadDictionary(ValueError):
    """A dictionary that cannot be used, with everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def packaged_dictionary() -> Path:
    """Return the folder with the feature sets of the demo: examples of how to write one."""
    return Path(str(files("rheostat.schemas").joinpath("features")))


def feature_dictionary(folder: Path) -> dict[str, FeatureSet]:
    """Return the feature sets of a folder by their ids; raises BadDictionary with the problems of all files."""
    found, problems = read_dictionary(folder)
    if problems:
        raise BadDictionary(problems)
    return found


def read_dictionary(folder: Path) -> tuple[dict[str, FeatureSet], list[Problem]]:
    """Return the feature sets of a folder that can be used, by their ids, and what is wrong with the others."""
    found: dict[str, FeatureSet] = {}
    problems: list[Problem] = []
    paths = sorted(folder.glob("*.toml"))
    for path in paths:
        try:
            found[path.stem] = read_feature_set(path)
        except BadDictionary as error:
            problems += error.problems
    if not paths:
        problems.append(Problem(str(folder), "", "", "has no feature set: no file NAME@VERSION.toml"))
    return found, problems


def find_feature_set(folder: Path, set_id: str) -> FeatureSet:
    """Return one feature set of a folder; raises BadDictionary, also where the folder does not have it."""
    path = folder / f"{set_id}.toml"
    if not _ID.fullmatch(set_id):
        raise BadDictionary([Problem(str(folder), "", "", f"{set_id!r} is no NAME@VERSION, such as shop@1")])
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in folder.glob("*.toml"))) or "none"
        raise BadDictionary([Problem(str(path), "", "", f"there is no such file; feature sets there: {known}")])
    return read_feature_set(path)


def read_feature_set(path: Path) -> FeatureSet:
    """Return the feature set in a file; raises BadDictionary with everything that is wrong in it."""
    problems: list[Problem] = []

    def report(entry: str, reason: str, feature: str = "") -> None:
        problems.append(Problem(str(path), feature, entry, reason))

    if not _ID.fullmatch(path.stem):
        report("", "the name of the file is that of the set, NAME@VERSION.toml, such as shop@1.toml")
    table = StrictTable(_parsed(path), report)
    meaning = table.text("meaning", "what one row is")
    defaults = {entry: read() for entry, read in _common(table).items() if table.has(entry)}
    features = [_feature(given, number, defaults, report) for number, given in enumerate(table.tables("feature"), 1)]
    table.close()
    names = [each.name for each in features]
    for name in sorted({each for each in names if each and names.count(each) > 1}):
        report("name", "stands there more than once", name)
    if problems:
        raise BadDictionary(problems)
    return FeatureSet(path.stem, path, meaning, tuple(features))


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise BadDictionary([Problem(str(path), "", "", f"is larger than {FILE_BYTES_MAX:,} bytes")])
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadDictionary([Problem(str(path), "", "", f"cannot be read: {error.strerror}")]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadDictionary([Problem(str(path), "", "", f"is not valid TOML: {error}")]) from error


def _common(table: StrictTable) -> dict[str, Callable[[], Any]]:
    """Return how to read what a set may say once for all its features, and each feature for itself."""
    return {
        "owner": partial(table.text, "owner", "who answers for it: a team or a person"),
        "consent_basis": partial(table.choice, "consent_basis", CONSENT_BASES),
        "retention_days": partial(table.integer, "retention_days", RETENTION_DAYS_MIN, _DAYS_MAX),
        "available_at": partial(table.choice, "available_at", AVAILABLE_AT),
    }


def _feature(given: Mapping[str, Any], number: int, defaults: Mapping[str, Any], report: _Report) -> Feature:
    told = given.get("name")
    table = StrictTable(
        given, partial(report, feature=told if isinstance(told, str) and told else f"no. {number}"), defaults
    )
    name = table.text("name", "what the feature is called in requests")
    kind = cast(FeatureType, table.choice("type", FEATURE_TYPES))
    meaning = table.text("meaning", "what its value tells")
    common = {entry: read() for entry, read in _common(table).items()}
    feature = Feature(name=name, type=kind, meaning=meaning, **common)
    if given.get("type") in tuple(FEATURE_TYPES):
        feature = replace(feature, **_values(table, kind))
        if table.has("baseline"):
            feature = replace(feature, baseline=read_baseline(table.table("baseline"), feature, table.report))
    else:
        table.ignore(*_FOREIGN["boolean"], "baseline")
    table.close()
    return feature


def _values(table: StrictTable, kind: FeatureType) -> dict[str, Any]:
    """Read what the values may be, which differs by type."""
    for entry in _FOREIGN[kind]:
        table.refuse(entry, f"has no place in a {kind} feature")
    if kind == "numeric":
        low, high = table.span("range")
        unit = table.text("unit", 'what it counts or measures ("1" for a pure number)')
        return {"unit": unit, "low": low, "high": high}
    if kind == "boolean":
        return {"low": 0.0, "high": 1.0}
    if table.has("categories"):
        table.refuse("categories_max", "say either categories or categories_max, not both")
        return {"categories": table.texts("categories", "a list of different texts: all values there are")}
    if not table.has("categories_max"):
        table.report("categories_max", "is missing: say how many values there can be, or list them in categories")
        return {}
    return {"categories_max": table.integer("categories_max", 1, _CATEGORIES_MAX)}
