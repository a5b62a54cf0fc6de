"""The figures of `rheostat bench fads` as a table, each course over the days as a line of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_BLOCKS = "▁▂▃▄▅▆▇█"


def show(found: Mapping[str, Any], console: Console) -> None:
    """Print what `bench_fads` found."""
    table = Table(title=f"{found['learner']}: a fad of a day, a change that lasts; simulated worlds: {found['worlds']}")
    for title in ("", "fad gone", "change taken over", "excess loss"):
        table.add_column(title, justify="right" if title else "left", no_wrap=not title)
    table.add_column("fad by day", no_wrap=True)
    for name, model in found["models"].items():
        table.add_row(name, *_courses(model, ""), f"{model['excess_loss_final']:.4f}", _line(model, ""))
        if "core_fad_gone_days" in model:
            table.add_row("  its core", *_courses(model, "core_"), "", _line(model, "core_"))
    console.print(table)
    for name, model in found["models"].items():
        for span, value in model.get("surface_against_core", {}).items():
            console.print(f"{name}: surface against core, {span}: {value:.2f}")


def sparkline(values: Sequence[float]) -> str:
    """Return a character for each value, from the lowest block for 0 and below to the highest for 1 and above."""
    return "".join(_BLOCKS[round(min(max(value, 0.0), 1.0) * (len(_BLOCKS) - 1))] for value in values)


def _line(model: Mapping[str, Any], part: str) -> str:
    return sparkline(model[f"{part}fad_trace_by_day"])


def _courses(model: Mapping[str, Any], part: str) -> list[str]:
    days = (model[f"{part}{what}_days"] for what in ("fad_gone", "change_taken_over"))
    return ["never" if value is None else f"{value:.1f} d" for value in days]
