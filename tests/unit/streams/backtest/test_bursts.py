"""A history that lies in a file: what is flagged, what every event keeps, and errors that name the place."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from rheostat.streams.backtest.bursts import as_flags, find_bursts
from rheostat.streams.backtest.history import History, read_history
from rheostat.streams.backtest.mapping import Mapped, mapped, read_mapping
from rheostat.streams.backtest.scoring import run_table, table_in_words
from rheostat.streams.cli.backtest import app
from rheostat.streams.errors import ConfigError
from rheostat.streams.intake.settings import SlowBurstSettings
from tests.support.slow_traffic import DAY_MS, T0_MS, Traffic, month

README = Path(__file__).parents[4] / "streams" / "backtest" / "README.md"
ONSET_MS = T0_MS + 21 * DAY_MS
NAMES = ("event_id", "target", "actor", "source", "kind", "value", "label")
MAPPING: dict[str, Any] = {"columns": {**{name: name for name in NAMES}, "time": "occurred_at"}}


def table(traffic: Traffic, labels: list[str]) -> pa.Table:
    count = len(traffic.targets)
    return pa.table(
        {
            "event_id": [f"e{each}" for each in range(count)],
            "target": traffic.targets,
            "actor": traffic.actors,
            "source": ["web"] * count,
            "kind": ["thumb"] * count,
            "value": traffic.values,
            "occurred_at": np.concatenate(traffic.times),
            "label": labels,
        }
    )


@pytest.fixture(scope="module")
def attacked() -> pa.Table:
    """A month of ordinary traffic, and two days in which item-9 is voted down 100 times."""
    traffic = month(0)
    honest = len(traffic.targets)
    traffic.burst("item-9", ONSET_MS, 48, 100, traffic.mixed(100), up=0.0)
    return table(traffic, ["honest"] * honest + ["attack"] * 100)


@pytest.fixture(scope="module")
def history(attacked: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> History:
    file = tmp_path_factory.mktemp("history") / "events.parquet"
    pyarrow.parquet.write_table(attacked, file)
    return read_history(file, mapped(MAPPING))


def test_an_attack_loses_its_weight_and_others_keep_theirs(history: History) -> None:
    flags = as_flags(history, find_bursts(history, SlowBurstSettings()))
    assert flags["recall"] > 0.9
    assert flags["precision"] > 0.7
    assert flags["honest_weight_lost"] < 0.01
    (worst, *_) = sorted(flags["intervals"], key=lambda each: -each["suspicion"])
    assert worst["target"] == "item-9"
    assert worst["start"] <= worst["detected_at"] <= worst["end"]
    assert any("usual are" in reason for reason in worst["reasons"])
    assert "100% of it from source 'web'" in worst["reasons"]
    assert all(0 <= each["weight"] < 1 for each in flags["weights"])


def test_labels_never_reach_the_detectors(history: History) -> None:
    found = find_bursts(history, SlowBurstSettings())
    assert history.attack is not None
    for labels in (None, ~history.attack):
        other = find_bursts(replace(history, attack=labels), SlowBurstSettings())
        assert other.intervals == found.intervals
        np.testing.assert_array_equal(other.kept, found.kept)
    assert "recall" not in as_flags(replace(history, attack=None), found)


def test_an_event_loses_weight_only_in_a_flagged_interval_of_its_target(history: History) -> None:
    found = find_bursts(history, SlowBurstSettings())
    for row in np.flatnonzero(found.kept < 1).tolist():
        target, time = history.targets[row].as_py(), history.events.times_ms[row]
        assert any(each.target == target and each.start <= time < each.end for each in found.intervals)


def test_twins_are_flagged_and_their_copies_lose_weight(tmp_path: Path) -> None:
    traffic = month(2, targets=5)
    for name in ("old-name", "new-name"):
        times = T0_MS + np.arange(30) * DAY_MS // 2
        traffic.add(name, times, [f"fan-{each}" for each in range(30)], 1.0)
    pyarrow.parquet.write_table(table(traffic, ["honest"] * len(traffic.targets)), tmp_path / "twins.parquet")
    twins = read_history(tmp_path / "twins.parquet", mapped(MAPPING))
    found = find_bursts(twins, SlowBurstSettings())
    assert {each.target for each in found.intervals if each.kind == "lockstep"} == {"old-name", "new-name"}
    lost = np.asarray(twins.targets.to_pylist())[found.kept == 0].tolist()
    assert len([name for name in lost if name.endswith("-name")]) == 30


def test_progress_is_told(history: History) -> None:
    told: list[int] = []
    find_bursts(history, SlowBurstSettings(), told.append)
    assert told == sorted(told)
    assert told[-1] == len(history)


def as_seconds(events: pa.Table) -> pa.Table:
    return events.set_column(
        events.schema.get_field_index("occurred_at"), "occurred_at", pa.array(events["occurred_at"].to_numpy() / 1_000)
    )


def as_text(events: pa.Table) -> pa.Table:
    times = events["occurred_at"].to_numpy().astype("datetime64[ms]").astype(str)
    return events.set_column(
        events.schema.get_field_index("occurred_at"), "occurred_at", pa.array([f"{each}Z" for each in times])
    )


@pytest.mark.parametrize(("form", "unit"), [(as_seconds, "s"), (as_text, "ms")])
def test_csv_and_units_of_time_say_the_same(
    attacked: pa.Table, history: History, tmp_path: Path, form: Any, unit: str
) -> None:
    pyarrow.csv.write_csv(form(attacked), tmp_path / "events.csv")
    read = read_history(tmp_path / "events.csv", mapped({**MAPPING, "time": {"unit": unit}}))
    np.testing.assert_allclose(read.events.times_ms, history.events.times_ms, atol=1)
    np.testing.assert_array_equal(read.events.targets.low, history.events.targets.low)
    np.testing.assert_array_equal(read.events.values, history.events.values)


def test_only_target_and_time_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(f"what,when\n001,{T0_MS + 5}\n7,{T0_MS}\n")
    read = read_history(tmp_path / "e.csv", mapped({"columns": {"target": "what", "time": "when"}}))
    assert read.targets.to_pylist() == ["7", "001"]
    assert read.ids.to_pylist() == ["2", "1"]
    assert not read.events.known.any()
    assert as_flags(read, find_bursts(read, SlowBurstSettings()))["alarms"] == 0


GOOD = {"target": "t1", "time": str(T0_MS), "kind": "thumb", "value": "1"}


@pytest.mark.parametrize(
    ("cell", "text", "told"),
    [
        ("target", "", "'target' (target): row 2 is empty"),
        ("time", "", "'time' (time): row 2 is empty"),
        ("time", "soon", "row 2 is 'soon', which is no time"),
        ("time", "-5", "row 2 is -5 ms"),
        ("time", "99999999999999", "is time.unit right"),
        ("kind", "like", "row 2 is 'like', which is no kind of signal; there are correct"),
        ("value", "2", "row 2 is 2, out of range 0 to 1 (thumb"),
        ("value", "", "'value' (value): row 2 is empty"),
        ("value", "up", "'value' (value): is no number"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, cell: str, text: str, told: str) -> None:
    rows = [GOOD, GOOD | {cell: text}]
    (tmp_path / "e.csv").write_text("\n".join([",".join(GOOD), *(",".join(row.values()) for row in rows)]) + "\n")
    with pytest.raises(ConfigError) as error:
        read_history(tmp_path / "e.csv", mapped({"columns": {name: name for name in GOOD}}))
    assert told in str(error.value)
    assert "e.csv" in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, "columns.target is missing"),
        ({"columns": {"target": "a"}}, "columns.time is missing"),
        ({"columns": {"target": "a", "time": ""}}, "columns.time: must be the name of a column"),
        ({"columns": {"target": "a", "time": "b", "user": "c"}}, "columns.user: there is no such entry"),
        ({"column": {}}, "[column] is no section"),
        ({"time": {"unit": "hours"}}, "time.unit: 'hours' is none of s, ms, us, ns"),
        ({"value": {"low": 1}}, "low and high belong together"),
        ({"value": {"low": 2, "high": 1}}, "must be less than"),
        ({"defaults": {"kind": "like"}}, "defaults.kind: 'like' is none of"),
        ({"label": {"attack": "yes"}}, "label.attack: must be a list"),
        ({"settings": {"alarms_per_target_month": -1}}, "alarms_per_target_month: -1 is out of range"),
        ({"settings": {"targets_max": 1.5}}, "settings.targets_max: must be a whole number"),
    ],
)
def test_a_wrong_mapping_is_named(wrong: dict[str, Any], told: str) -> None:
    columns = {} if "columns" in wrong or not wrong or "column" in wrong else {"columns": {"target": "a", "time": "b"}}
    with pytest.raises(ConfigError, match=r".") as error:
        mapped(columns | wrong)
    assert told in str(error.value)


def test_a_missing_column_or_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"has no column 'target' \(mapped to target\); it has a, b"):
        read_history(tmp_path / "e.csv", Mapped({"target": "target", "time": "b"}))
    with pytest.raises(ConfigError, match=r"absent\.parquet: cannot be read as Parquet"):
        read_history(tmp_path / "absent.parquet", Mapped({"target": "a", "time": "b"}))
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        read_mapping(tmp_path / "absent.toml")


def test_the_mapping_in_the_readme_is_right(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    (tmp_path / "m.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    assert set(read_mapping(tmp_path / "m.toml").columns) >= {"target", "time", "actor", "label"}


def test_the_command_prints_json_and_writes_a_file(attacked: pa.Table, tmp_path: Path) -> None:
    pyarrow.csv.write_csv(attacked, tmp_path / "e.csv")
    columns = "".join(f'{ours} = "{theirs}"\n' for ours, theirs in MAPPING["columns"].items())
    (tmp_path / "m.toml").write_text(f"[columns]\n{columns}")
    arguments = ["bursts", "--input", str(tmp_path / "e.csv"), "--mapping", str(tmp_path / "m.toml")]
    printed = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    short = json.loads(CliRunner().invoke(app, [*arguments, "--json", "--out", str(tmp_path / "o.json")]).stdout)
    assert json.loads((tmp_path / "o.json").read_text()) == printed
    assert "weights" not in short
    assert short["recall"] == printed["recall"] > 0.9
    assert "item-9: suspicious slow burst" in CliRunner().invoke(app, arguments).stdout


SCORER = """
import json, sys
flags = json.load(open(sys.argv[2]))
print(json.dumps({"attack_removed": len(flags["weights"]) / 1000, "honest_lost_inside": 0, "honest_lost_elsewhere": 0,
    "flash_lost": 0, "hit": len(flags["intervals"]), "spans": 1, "hit_by_chance": 0.1, "false_per_target_day": 0.01,
    "delay_h_from_point": 1.0}))
"""


def test_the_table_is_what_the_scorer_says_of_each_set(attacked: pa.Table, tmp_path: Path) -> None:
    scorer, folder = tmp_path / "scorer", tmp_path / "sets" / "one"
    scorer.mkdir()
    folder.mkdir(parents=True)
    seen = attacked.drop_columns(["label"]).append_column("segment", pa.array(["a"] * len(attacked)))
    pyarrow.csv.write_csv(seen, folder / "events.csv")
    (folder / "intervals.csv").write_text("target,start,end\n")
    with pytest.raises(ConfigError, match=r"has no score_bursts\.py"):
        run_table(tmp_path / "sets", scorer, tmp_path, sys.executable, lambda done: None)
    (scorer / "score_bursts.py").write_text(SCORER)
    (row,) = run_table(tmp_path / "sets", scorer, tmp_path, sys.executable, lambda done: None)
    assert row["set"] == "one"
    assert row["hit"] > 0
    assert row["attack_removed"] >= 0.09
    assert "| one | " in table_in_words([row])
    (scorer / "score_bursts.py").write_text("raise SystemExit('no module named polars')")
    with pytest.raises(ConfigError, match=r"failed on one: no module named polars; --python"):
        run_table(tmp_path / "sets", scorer, tmp_path, sys.executable, lambda done: None)
    with pytest.raises(ConfigError, match=r"has no folder with events\.csv"):
        run_table(tmp_path / "empty", scorer, tmp_path, sys.executable, lambda done: None)
