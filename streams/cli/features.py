"""`rheostat features`: the dictionary of the inputs of models, shown and checked."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Collection, Iterator, Mapping
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rheostat.schemas.feature_dictionary import (
    BadDictionary,
    feature_dictionary,
    find_feature_set,
    packaged_dictionary,
    read_dictionary,
)
from rheostat.schemas.feature_sets import FeatureSet
from rheostat.streams.cli import feature_values
from rheostat.streams.cli.options import ConfigFile, Json, Settings, load_offline
from rheostat.streams.config import Config, FeaturesConfig
from rheostat.streams.errors import ConfigError

app = typer.Typer(help="The feature dictionary: list, check, measure, value, prune.", no_args_is_help=True)
app.command("value")(feature_values.value)
app.command("prune")(feature_values.prune)
Folder = Annotated[
    Path | None,
    typer.Option("--dir", help="Folder of the dictionary; features.dir by default, without it that of the demo."),
]


@app.command("list")
def list_features(
    only: Annotated[list[str] | None, typer.Argument(metavar="[SET]...", help="Ids such as shop@1; all.")] = None,
    folder: Folder = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Show every feature: who owns it, what it means and may be, on what basis it is used, when it is known.

    Example: `rheostat features list --dir features shop@1`
    """
    place = _place(folder, load_offline(config, settings).config)
    try:
        found = feature_dictionary(place)
    except BadDictionary as error:
        raise ConfigError(str(error)) from error
    if unknown := [each for each in only or () if each not in found]:
        raise ConfigError(f"{place}: has no feature set {unknown[0]!r}; there are {', '.join(found)}")
    sets = [each for each in found.values() if not only or each.id in only]
    if as_json:
        print(json.dumps({"dir": str(place), "feature_sets": [_as_json(each) for each in sets]}))
        return
    for each in sets:
        Console(width=None if sys.stdout.isatty() else 200).print(_table(each))


@app.command("check")
def check(folder: Folder = None, config: ConfigFile = None, settings: Settings = None, as_json: Json = False) -> None:
    """Fail unless every file of the dictionary is right and every configured model may use its feature set.

    All that is wrong is told at once. Example: `rheostat features check --config rheostat.toml`
    """
    given = load_offline(config, settings).config
    place = _place(folder, given)
    found, wrong = read_dictionary(place)
    problems = [*map(str, wrong), *_leaks(found), *_refused(given, place, {Path(each.file).stem for each in wrong})]
    if as_json:
        print(json.dumps({"dir": str(place), "feature_sets": sorted(found), "problems": problems}))
    else:
        for text in problems:
            print(text)
        features = sum(len(each.features) for each in found.values())
        print(
            f"{place}: feature sets: {len(found)}, features: {features}, models: {len(given.models)}, "
            f"wrong: {len(problems) or 'nothing'}"
        )
    if problems:
        raise typer.Exit(1)


@app.command("measure")
def measure(
    set_id: Annotated[str, typer.Argument(metavar="SET", help="The feature set, such as shop@1.")],
    rows: Annotated[Path, typer.Option("--input", help="CSV (also .csv.gz) or Parquet, one column for each feature.")],
    label: Annotated[str | None, typer.Option("--label", help="Column with the outcome.")] = None,
    positive: Annotated[str, typer.Option("--positive", help="What a positive reads there.")] = "1",
    folder: Folder = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_baseline: Annotated[bool, typer.Option("--toml", help="Print baselines, to put into the dictionary.")] = False,
    as_json: Json = False,
) -> None:
    """Hold the values in a file against the dictionary: range, baseline, and how well each predicts the label alone.

    Fails where a value is out of range or a feature predicts suspiciously well: it may know the outcome. The rows must
    be in the order of time. Example: `rheostat features measure shop@1 --input sales.csv --label sold --positive yes`
    """
    from rheostat.streams.feature_measures import baselines_toml, measured
    from rheostat.streams.feature_rows import read_feature_rows

    place = _place(folder, load_offline(config, settings).config)
    try:
        declared = find_feature_set(place, set_id)
    except BadDictionary as error:
        raise ConfigError(str(error)) from error
    read = read_feature_rows(rows, declared, label, positive)
    if as_baseline:
        print(baselines_toml(declared, read), end="")
        return
    found = measured(declared, read)
    if as_json:
        print(json.dumps({"id": set_id, "features": [each.as_json() for each in found]}))
    else:
        table = Table("feature", "out of range", "missing, change", "shift", "AUC alone", "surely above", "wrong")
        for each in found:
            table.add_row(*map(escape, each.cells()))
        Console(width=None if sys.stdout.isatty() else 200).print(table)
    if any(each.wrong for each in found):
        raise typer.Exit(1)


def _place(folder: Path | None, config: Config) -> Path:
    place = folder or (packaged_dictionary() if config.features.dir is None else Path(config.features.dir))
    if not place.is_dir():
        raise ConfigError(f"{place}: there is no such folder; --dir or features.dir names that of the dictionary")
    return place


def _leaks(found: Mapping[str, FeatureSet]) -> Iterator[str]:
    for each in found.values():
        for name in each.leaking:
            yield f"{each.file}: feature {name!r}: available_at: no model may learn from what follows the outcome"


def _refused(config: Config, place: Path, unreadable: Collection[str]) -> Iterator[str]:
    """Say which models may not use their feature sets; those of files that cannot be used are told already."""
    guarded = dataclasses.replace(config, features=FeaturesConfig(str(place)))
    for name, model in config.models.items():
        if model.feature_set not in unreadable:
            try:
                guarded.feature_schema(name)
            except ConfigError as error:
                yield str(error)


def _table(shown: FeatureSet) -> Table:
    table = Table(
        "feature", "type", "unit", "range", "meaning", "owner", "consent basis", "kept", "known at",
        title=escape(f"{shown.id}: {shown.meaning}"), title_justify="left",
    )  # fmt: skip
    for each in shown.features:
        table.add_row(
            *(escape(text) for text in (each.name, each.type, each.unit or "", each.allowed, each.meaning, each.owner)),
            each.consent_basis,
            f"{each.retention_days} days",
            each.available_at,
        )
    return table


def _as_json(shown: FeatureSet) -> dict[str, Any]:
    # JSON has no infinity: an open end of a range is null.
    return {
        "id": shown.id,
        "file": str(shown.file),
        "meaning": shown.meaning,
        "features": [
            {name: None if value in (inf, -inf) else value for name, value in dataclasses.asdict(each).items()}
            for each in shown.features
        ],
    }
