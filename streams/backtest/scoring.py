"""Scores the detectors on labelled sets with a scorer that is not ours, all sets with the same settings.

A set is a folder with events.csv (what a system may see) and intervals.csv, perhaps labels.csv (what it may not). The
scorer is a folder with score_bursts.py, run as a program on the flags that were found: it alone reads labels.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from rheostat.streams.backtest.bursts import Progress, as_flags, find_bursts
from rheostat.streams.backtest.fake_stars import FILE, score_fake_stars
from rheostat.streams.backtest.history import read_history
from rheostat.streams.backtest.mapping import Mapped
from rheostat.streams.errors import ConfigError

_SCORER = "score_bursts.py"
_TIMEOUT_S = 600
_TARGET_DAYS_A_MONTH = 30
_SAME_NAMES = ("event_id", "target", "actor", "source", "segment", "kind", "value")


def run_table(sets: Path, scorer: Path, data: Path, python: str, progress: Progress) -> list[dict[str, Any]]:
    """Score every set in a folder, and fake stars if the data folder has them. Raises ConfigError."""
    if not (scorer / _SCORER).is_file():
        raise ConfigError(f"--scorer {scorer}: has no {_SCORER}; name the folder that has, or set RHEOSTAT_SCORER")
    folders = [each.parent for each in sorted(sets.glob("*/intervals.csv")) if (each.parent / "events.csv").is_file()]
    if not folders:
        raise ConfigError(f"--sets {sets}: has no folder with events.csv and intervals.csv")
    mapping = Mapped({**{name: name for name in _SAME_NAMES}, "time": "occurred_at"})
    rows = [_score(folder, scorer.resolve(), mapping, python, progress) for folder in folders]
    if (data / FILE).is_file():
        rows.append(score_fake_stars(data, mapping.settings, progress))
    return rows


def _score(folder: Path, scorer: Path, mapping: Mapped, python: str, progress: Progress) -> dict[str, Any]:
    history = read_history(folder / "events.csv", mapping)
    flags = as_flags(history, find_bursts(history, mapping.settings, progress))
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "flags.json"
        # A scorer asks for weights of some kind, even if every event keeps all of it.
        weights = flags["weights"] or [{"event_id": "", "weight": 1.0}]
        file.write_text(json.dumps({"intervals": flags["intervals"], "weights": weights}))
        command = [python, str(scorer / _SCORER), str(folder.resolve()), str(file)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, cwd=scorer, env=_environment()
        )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ConfigError(
            f"{scorer / _SCORER}: failed on {folder.name}: {last[0]}; --python names one with its libraries"
        )
    return {"set": folder.name, **json.loads(done.stdout)}


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}


def table_in_words(rows: list[dict[str, Any]]) -> str:
    """Return the tables as Markdown."""
    lines = [
        "| set | attack removed % | honest lost inside % | honest lost elsewhere % | flash crowd lost % "
        "| spans hit (by chance) | false alarms per target-month | delay h from point |",
        "|" + "---|" * 8,
    ]
    removed = []
    for row in rows:
        if "by_size" in row:
            continue
        removed += [row["attack_removed"]] if "attack_removed" in row else []
        shares = ("attack_removed", "honest_lost_inside", "honest_lost_elsewhere", "flash_lost")
        cells = [f"{100 * row[name]:.2f}" if name in row else "-" for name in shares]
        alarms = f"{row['false_per_target_day'] * _TARGET_DAYS_A_MONTH:.2f}"
        cells += [f"{row['hit']} of {row['spans']} ({row['hit_by_chance']})", alarms, str(row["delay_h_from_point"])]
        lines.append(f"| {row['set']} | " + " | ".join(cells) + " |")
    if removed:
        lines.append(f"\nattack removed, mean of {len(removed)} incidents: {100 * sum(removed) / len(removed):.1f} %")
    for row in rows:
        lines += _fake_stars(row) if "by_size" in row else []
    return "\n".join(lines)


def _fake_stars(row: dict[str, Any]) -> list[str]:
    lines = ["\n| fake-stars: events of target | targets | flagged | weight removed % |", "|" + "---|" * 4]
    lines += [
        f"| {each['events_per_target']} | {each['targets']} | {each['targets_flagged']} "
        f"| {100 * each['weight_removed']:.1f} |"
        for each in row["by_size"]
    ]
    lines.append(f"\nall: {100 * row['recall']:.1f} % of weight removed")
    lines.append(f"twins in lockstep: {row['twin_pairs_in_lockstep']} of {row['twin_pairs']} pairs")
    return [
        *lines,
        f"simulated ordinary traffic, {row['ordinary_target_months']:.0f} target-months: "
        f"{row['false_alarms_per_target_month']:.3f} false alarms and {row['false_suspicions_per_target_month']:.4f} "
        f"false suspicions per target-month, {100 * row['honest_lost_elsewhere']:.3f} % of weight lost",
    ]
