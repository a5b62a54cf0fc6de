"""The report of a learner's backtest, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rheostat.streams.join.books import FEEDBACK_FATES, PREDICTION_FATES, WAITING_FEEDBACK, WAITING_PREDICTIONS
from rheostat.streams.sparkline import sparkline

PERIODS_SHOWN, SEGMENTS_SHOWN = 20, 12
_SPARK_WIDTH = 40
_HEADS = ("examples", "label mean", "score mean", "ROC AUC", "log loss", "Brier", "calibration")
_CELLS = ("label_mean", "score_mean", "roc_auc", "log_loss", "brier", "calibration_error")
_CURVE_MIN_SPAN = 0.05


def show(told: Mapping[str, Any], console: Console) -> None:
    """Print a report as tables."""
    console.print(
        f"{told['model']} ({told['learner']}) on {told['feature_set']}: {told['predictions']:,} predictions, "
        f"{told['labels']:,} labels, {told['examples']:,} examples learned in {told['steps']:,} steps; "
        f"{told['seconds']:.1f} s, {told['examples_per_s']:,.0f} examples/s",
        highlight=False,
        soft_wrap=True,
    )
    _print(console, _totals(told))
    if len(told["segments"]) > 1:
        _print(console, _table("segment", "segment", told["segments"][:SEGMENTS_SHOWN]))
    if (left := len(told["segments"]) - SEGMENTS_SHOWN + told["segments_left_out"]) > 0:
        console.print(f"and {left} segments more; --json or --out tells {len(told['segments'])}", highlight=False)
    if len(told["label_ages"]) > 1 and told["period"]["unit"] != "row":
        _print(console, _table("label age", "label_age", told["label_ages"]))
    periods = told["periods"]
    _print(console, _table(f"from, {_unit(told['period'])}", "period", periods[-PERIODS_SHOWN:]))
    if len(periods) > PERIODS_SHOWN:
        console.print(f"the last {PERIODS_SHOWN} of {len(periods)}; --json or --out tells all", highlight=False)
    console.print()
    for line in _curves(told["periods"]):
        console.print(line, highlight=False)
    console.print(*_books(told["join"]), sep="\n", highlight=False, soft_wrap=True)


def _print(console: Console, table: Table) -> None:
    console.print()
    console.print(table)


def _totals(told: Mapping[str, Any]) -> Table:
    rows = [("scored when predicted", told["total"])]
    if told["tested"]:
        rows.append(("scored when labelled", {"examples": told["examples"], **told["tested"]}))
    if told["logged"] is not None:
        rows.append(("score logged then", told["logged"]))
    return _table("all", "name", [{"name": name, **each} for name, each in rows])


def _table(head: str, name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(head, box=None, pad_edge=False, header_style="dim")
    for each in _HEADS:
        table.add_column(each, justify="right")
    for row in rows:
        table.add_row(
            escape(str(row[name]) or "-"), f"{row['examples']:,}", *(_number(row.get(each)) for each in _CELLS)
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _unit(period: Mapping[str, Any]) -> str:
    return f"{period['length']:,} rows each" if period["unit"] == "row" else f"each {period['unit']}, UTC"


def _curves(periods: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the course of the ROC AUC in bars, all on one scale."""
    courses = {"ROC AUC": "roc_auc", "logged": "logged_roc_auc"}
    found = {head: [each[name] for each in periods if each.get(name) is not None] for head, name in courses.items()}
    values = [value for course in found.values() for value in course]
    if len(periods) < 3 or not values:
        return []
    middle, span = (min(values) + max(values)) / 2.0, max(max(values) - min(values), _CURVE_MIN_SPAN)
    # A little more below, so that the least is a bar, too.
    low, high = middle - 0.65 * span, middle + 0.5 * span
    return [
        f"{head:8}{sparkline(course, _SPARK_WIDTH, low, high)} {course[0]:.3f} to {course[-1]:.3f}, "
        f"least {min(course):.3f}, most {max(course):.3f}"
        for head, course in found.items()
        if course
    ]


def _books(counts: Mapping[str, int]) -> list[str]:
    sides = (
        ("predictions", counts["predictions_in"], (*PREDICTION_FATES, WAITING_PREDICTIONS)),
        ("labels", counts["feedback_in"], (*FEEDBACK_FATES, WAITING_FEEDBACK)),
    )
    lines = []
    for what, total, fates in sides:
        parts = [
            f"{counts[fate]:,} {fate.removesuffix('_predictions').replace('_', ' ')}" for fate in fates if counts[fate]
        ]
        lines.append(f"{total:,} {what} = {' + '.join(parts) or '0'}")
    return lines
