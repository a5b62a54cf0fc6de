"""`rheostat evaluate`: how good a model is, by final labels, per segment, under its own choices and under even ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rheostat.schemas import catalogue
from rheostat.streams.cli.options import Bootstrap, ConfigFile, Json, Settings, connect, load
from rheostat.streams.clock import WallClock
from rheostat.streams.errors import ConfigError
from rheostat.streams.status import records

_HOUR_MS = 3_600_000
_SEGMENTS = 30
_WIDTH = 100


def evaluate(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    since_hours: Annotated[
        float | None, typer.Option("--since-hours", min=0, help="Only predictions of so many hours; all by default.")
    ] = None,
    mature_hours: Annotated[
        float | None,
        typer.Option(
            "--mature-hours", min=0, help="Only predictions older than this; by default the join's window and late_ms."
        ),
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    bootstrap: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Show how good a model was on examples that it had not learned yet, by the labels that stand now.

    Only predictions old enough for their labels to have come are counted, by the hour. Each part of a score has its
    error: of ROC AUC the most that it can be off for being counted in bins, of calibration what chance alone makes of
    it. Where propensities were logged, the same is shown as if all that could be chosen were chosen the same, with an
    interval of 95 %. Example: `rheostat evaluate linear --since-hours 24`
    """
    from rheostat.streams.evaluations import added_up, report

    loaded = load(config, settings, bootstrap)
    join = loaded.config.join
    mature_ms = join.window_ms + join.late_ms if mature_hours is None else int(mature_hours * _HOUR_MS)
    since_ms = 0 if since_hours is None else WallClock().now_ms() - int(since_hours * _HOUR_MS)
    log = connect(loaded.config.kafka).log()
    found = added_up(records(log, catalogue.EVALUATIONS, since_ms), model, mature_ms, since_ms)
    if not found.records:
        raise ConfigError(f"nothing of {model!r} was evaluated in this time; models there are: rheostat status")
    told = {"model": model} | report(found)
    if as_json:
        print(json.dumps(told))
    else:
        show(told, Console(width=None if sys.stdout.isatty() else _WIDTH))


def show(told: Mapping[str, Any], console: Console) -> None:
    """Print a report as tables."""
    hours = told["mature_ms"] / _HOUR_MS
    young = f"younger examples: {told['young_examples']:,}"
    if told["predicted_from"] is None:
        console.print(f"{told['model']}: no prediction is older than {hours:g} h yet; {young}", highlight=False)
        return
    span = f"{_clock(told['predicted_from'])} to {_clock(told['predicted_until'])}"
    console.print(f"{told['model']}: predictions from {span}, older than {hours:g} h; {young}", highlight=False)
    segments = list(_largest(told["segments"]))
    rows = [("all", told["all"]), *segments] if len(told["segments"]) > 1 else [("all", told["all"])]
    console.print(_quality(rows))
    console.print(_calibration(rows, told["calibration"]))
    if told["all"]["importance_weighted"]["rows"]:
        console.print(_weighted(rows, told["propensity_floor"]))
    console.print(_ages(told["label_ages"]))
    if len(told["segments"]) > len(segments):
        console.print(f"and {len(told['segments']) - len(segments)} smaller segments; see --json")


def _largest(segments: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    ranked = sorted(segments.items(), key=lambda each: (-each[1]["examples"], each[0]))
    return ((escape(name) or "(none)", found) for name, found in ranked[:_SEGMENTS])


def _quality(rows: Iterable[tuple[str, Any]]) -> Table:
    table = _table("by the labels that stand now", ("segment", "examples", "label", "ROC AUC", "log loss", "Brier"))
    for name, each in rows:
        auc = "-" if each["auc"] is None else f"{each['auc']:.4f} ±{each['auc_error_max']:.4f}"
        measures = [_number(each[key]) for key in ("log_loss", "brier")]
        table.add_row(name, f"{each['examples']:,}", _number(each["label"]), auc, *measures)
    return table


def _calibration(rows: Iterable[tuple[str, Any]], line: Mapping[str, float]) -> Table:
    title = f"calibration error, and calibrated by the line learned (now {line['slope']:.2f} logit "
    names = ("segment", "error", "by chance", "calibrated: error", "by chance", "log loss", "Brier")
    table = _table(f"{title}{line['offset']:+.2f})", names)
    for name, each in rows:
        errors = [
            _number(of[key])
            for of in (each, each["calibrated"])
            for key in ("calibration_error", "calibration_error_by_chance")
        ]
        table.add_row(name, *errors, *(_number(each["calibrated"][key]) for key in ("log_loss", "brier")))
    return table


def _weighted(rows: Iterable[tuple[str, Any]], floor: float) -> Table:
    names = ("segment", "rows", "effective", "label", "95 % interval", "log loss", "Brier")
    table = _table(f"had all been chosen evenly (by inverse propensity, at most 1 / {floor:g})", names)
    for name, each in rows:
        found = each["importance_weighted"]
        interval = "-" if found["label_low"] is None else f"{found['label_low']:.4f} - {found['label_high']:.4f}"
        few = "[yellow]too few[/] " if found["too_few"] else ""
        counts = f"{found['rows']:,}", f"{few}{found['effective_rows']:,.0f}"
        measures = [_number(found[key]) for key in ("log_loss", "brier")]
        table.add_row(name, *counts, _number(found["label"]), interval, *measures)
    return table


def _ages(ages: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("by age of the label, as first given", ("age", "examples", "label", "score", "log loss", "Brier"))
    for each in ages:
        measures = [_number(each[key]) for key in ("label", "score", "log_loss", "brier")]
        table.add_row(each["label_age"], f"{each['examples']:,}", *measures)
    return table


def _table(title: str, names: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for at, name in enumerate(names):
        table.add_column(name, justify="right" if at else "left", overflow="fold")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")
