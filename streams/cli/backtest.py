"""`rheostat backtest`: what the detectors, or a learner, would have done over a team's own history."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from rheostat.streams.cli.options import ConfigFile, Json, Settings, load_offline
from rheostat.streams.errors import ConfigError

app = typer.Typer(help="Run the detectors, or a learner, over a history that lies in a file.", no_args_is_help=True)

_SHOWN = 20


@app.command()
def bursts(
    history: Annotated[Path, typer.Option("--input", help="CSV (also .csv.gz) or Parquet, one event a row.")],
    mapping: Annotated[Path, typer.Option("--mapping", help="TOML: which column means what.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write all of the result here, as JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Find bursts: flagged intervals with the moment they could be known, and the weight each event keeps.

    Where the mapping names labels, precision and recall by weight are told; labels never reach the detectors.

    Example: `rheostat backtest bursts --input events.csv --mapping mapping.toml --json`
    """
    from rheostat.streams.backtest.bursts import as_flags, find_bursts
    from rheostat.streams.backtest.history import read_history
    from rheostat.streams.backtest.mapping import read_mapping

    mapped = read_mapping(mapping)
    read = read_history(history, mapped)
    with _progress("bursts", len(read)) as progress:
        found = find_bursts(read, mapped.settings, progress)
    told = as_flags(read, found)
    if out is not None:
        _write(out, told)
    if as_json:
        short = {name: value for name, value in told.items() if name not in ("intervals", "weights")}
        print(json.dumps(short | {"out": str(out)} if out is not None else told))
    else:
        print(in_words(told))


@app.command()
def learner(
    history: Annotated[
        Path, typer.Option("--input", help="CSV (also .csv.gz, .tsv) or Parquet, one prediction a row.")
    ],
    mapping: Annotated[Path, typer.Option("--mapping", help="TOML: which column means what.")],
    model: Annotated[str, typer.Option("--model", help="A model of the configuration, or a learner: linear, river, …")],
    estimator: Annotated[
        str | None, typer.Option("--estimator", help="For --model river: which, such as tree.HoeffdingTreeClassifier.")
    ] = None,
    block_rows: Annotated[
        int, typer.Option("--block-rows", help="Predictions and labels of one step: then a version is learned.")
    ] = 500,
    block_ms: Annotated[
        int | None, typer.Option("--block-ms", help="End a step at every multiple of this in event time, too.")
    ] = None,
    period: Annotated[
        str | None, typer.Option("--period", help="Tell metrics by minute, hour, day, week, or so many rows.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write all of the result here, as JSON.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Run join and learner over past predictions and their outcomes: test-then-train metrics over time, by segment.

    Every prediction is scored by a version that knew only the labels that had come by then.

    Example: `rheostat backtest learner --input sales.csv --mapping mapping.toml --model linear --json`
    """
    from rheostat.streams.backtest.learner import LearnerTrial, try_learner
    from rheostat.streams.backtest.learner_mapping import read_learner_mapping
    from rheostat.streams.backtest.learner_model import maker, named_model, schema_named
    from rheostat.streams.backtest.learner_report import report
    from rheostat.streams.backtest.learner_rows import read_learner_rows
    from rheostat.streams.backtest.learner_tables import show
    from rheostat.streams.backtest.periods import periods_of

    given = load_offline(config, settings).config
    chosen = named_model(given, model, estimator)
    mapped = read_learner_mapping(mapping, lambda set_id: schema_named(given, model, set_id))
    trial = LearnerTrial(model, maker(chosen, mapped.schema), given.join, block_rows, block_ms)
    rows = read_learner_rows(history, mapped)
    periods = periods_of(period, rows.times_ms, row_time=mapped.row_ms is not None)
    with _progress("predictions and labels", len(rows) + int(rows.labelled.sum())) as progress:
        tried = try_learner(rows, trial, progress)
    told = report(rows, tried, periods, model)
    if out is not None:
        _write(out, told)
    if as_json:
        short = {name: value for name, value in told.items() if name not in ("periods", "segments")}
        print(json.dumps(short | {"out": str(out)} if out is not None else told))
    else:
        show(told, Console(width=None if sys.stdout.isatty() else 100))


@app.command()
def score(
    sets: Annotated[
        Path, typer.Option("--sets", help="Folder of labelled sets: events.csv, intervals.csv, labels.csv.")
    ],
    scorer: Annotated[
        Path, typer.Option("--scorer", envvar="RHEOSTAT_SCORER", help="Folder with score_bursts.py.")
    ] = Path("../shared/scoring"),
    data: Annotated[
        Path, typer.Option("--data", envvar="RHEOSTAT_DATA", help="Folder with fake-stars; left out if absent.")
    ] = Path("../shared/data"),
    python: Annotated[
        str, typer.Option("--python", help="Python that has numpy and polars, for the scorer.")
    ] = sys.executable,
    as_json: Json = False,
) -> None:
    """Reprint the table: every set scored with the same settings, and targets that move in lockstep.

    Example: `rheostat backtest score --sets sets --scorer ../shared/scoring --python .scoring/bin/python`
    """
    from rheostat.streams.backtest.scoring import run_table, table_in_words

    with _progress("sets", 1.0) as progress:
        rows = run_table(sets, scorer, data, python, progress)
    print(json.dumps(rows) if as_json else table_in_words(rows))


def in_words(told: dict[str, Any]) -> str:
    """Return a short account of what was found."""
    lines = [
        f"{told['events']} events on {told['targets']} targets in {told['days']:g} days: {told['alarms']} alarms, "
        f"{told['suspicious']} of them suspicious; {told['weight_lost']:.2%} of all weight is lost"
    ]
    if told["events_on_unwatched_targets"]:
        lines.append(f"{told['events_on_unwatched_targets']} events on targets for which targets_max left no place")
    worst = sorted(told["intervals"], key=lambda each: (-each["suspicion"], -each["score"]))
    lines += [f"{each['target']}: {'; '.join(each['reasons'])}" for each in worst[:_SHOWN]]
    if len(worst) > _SHOWN:
        lines.append(f"and {len(worst) - _SHOWN} more; --json or --out tells all")
    if "recall" in told:
        shares = {name: told[name] for name in ("precision", "recall", "honest_weight_lost")}
        lines.append(", ".join(f"{name} {'-' if v is None else format(v, '.2%')}" for name, v in shares.items()))
    return "\n".join(lines)


def _write(out: Path, told: dict[str, Any]) -> None:
    try:
        out.write_text(json.dumps(told) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror}") from None


@contextmanager
def _progress(name: str, total: float) -> Iterator[Callable[[float], None]]:
    """Show a bar on stderr, where that is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=total)
        yield lambda done: progress.update(task, completed=done)
