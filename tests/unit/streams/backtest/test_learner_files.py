"""Files for a learner's backtest: what mapping and cells may be, and errors that name the place."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from rheostat.learners.contract import FeatureSchema
from rheostat.streams.backtest.learner_mapping import learner_mapping, read_learner_mapping
from rheostat.streams.backtest.learner_rows import read_learner_rows
from rheostat.streams.backtest.periods import Periods, periods_of
from rheostat.streams.cli.backtest import app
from rheostat.streams.errors import ConfigError
from tests.support.backtest_rows import MAPPING, START_MS, mapping_of, no_set, sales, write_rows

README = Path(__file__).parents[4] / "streams" / "backtest" / "README.md"
ROW_TIME = {"columns": {"label": "sold"}, "time": {"unit": "row"}, "label": {"delay_rows": 3}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"columns": {"label": "sold"}}, "columns.time"),
        ({"time": {"unit": "row"}}, "columns.time"),
        ({"columns": {"time": "at"}}, "columns.label is missing"),
        ({"columns": {"time": "at", "label": "sold", "mood": "x"}}, "columns.mood: there is no such entry"),
        ({"columns": {"time": "at", "label": 3}}, "columns.label: must be the name of a column"),
        ({"time": {"unit": "h"}}, "time.unit: 'h' is none of"),
        ({"time": {"row_ms": 5}}, "time.row_ms"),
        ({"label": {}}, "say once when a label comes"),
        ({"label": {"delay_ms": 1, "delay_rows": 1}}, "say once when a label comes"),
        ({"label": {"delay_ms": -1}}, "label.delay_ms: must be a whole number from 0 on"),
        ({"label": {"delay_ms": 1, "low": 0}}, "low and high belong together"),
        ({"label": {"delay_ms": 1, "low": 2, "high": 1}}, "must be less than"),
        (
            {"label": {"delay_ms": 1, "positive": ["yes"], "low": 0, "high": 1}},
            "label.positive: is for labels that are",
        ),
        ({"label": {"delay_ms": 1, "positive": []}}, "label.positive: must be a list"),
        ({"label": {"delay_ms": 1, "kind": "retraction"}}, "label.kind: retraction gives no label"),
        ({"label": {"delay_ms": 1, "kind": "smile"}}, "label.kind: 'smile' is none of"),
        ({"features": {"set": "a@1", "numeric": ["x"]}}, "features.numeric: features.set names a set"),
        ({"features": {"numeric": ["x", "x"]}}, "features.numeric: a feature is listed twice"),
        ({"features": {"numeric": ["x"], "categorical": ["x"]}}, "features.categorical: 'x' is numeric, too"),
        ({"features": {"numeric": ["x"], "columns": {"y": "z"}}}, "features.columns.y: is no feature"),
        ({"features": {"numeric": ["x"], "fill": "0"}}, "features.fill: must be a number"),
        ({"weights": {}}, "[weights] is no section"),
    ],
    ids=str,
)
def test_a_wrong_mapping_is_refused_by_the_name_of_its_entry(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        learner_mapping(MAPPING | changes, no_set)


def test_a_mapping_file_is_named_in_errors(tmp_path: Path) -> None:
    file = tmp_path / "mapping.toml"
    file.write_text("[columns]\nlabel = 'sold'\n")
    with pytest.raises(ConfigError, match=r"mapping\.toml: columns\.time"):
        read_learner_mapping(file, no_set)


def test_features_come_from_the_named_set_or_from_that_of_the_model() -> None:
    asked = []

    def schema_of(set_id: str | None) -> FeatureSchema:
        asked.append(set_id)
        return FeatureSchema("shop@1", ("price",), ("colour",))

    named = learner_mapping(MAPPING | {"features": {"set": "shop@1", "columns": {"price": "EUR"}}}, schema_of)
    unnamed = learner_mapping(MAPPING | {"features": {"fill": 0}}, schema_of)
    assert asked == ["shop@1", None]
    assert named.schema == unnamed.schema
    assert dict(named.feature_columns) == {"price": "EUR", "colour": "colour"}


@pytest.mark.parametrize(
    ("column", "values", "changes", "told"),
    [
        ("price", [1.0, None, 2.0], {}, "column 'price' (features.price): row 2 is empty; features.fill"),
        ("price", [1.0, np.inf, 2.0], {}, "column 'price' (features.price): row 2 is infinite"),
        ("price", ["1", "x", "2"], {}, "column 'price' (features.price): is no number"),
        ("sold", [0, 1, 3], {}, "column 'sold' (label): row 3 is 3, out of range 0 to 1"),
        ("sold", ["n", "y", "n"], {"label": {"delay_ms": 1, "positive": ["yes"]}}, "no row is one of label.positive"),
        ("at", ["soon", "2026-01-01", "2026-01-02"], {}, "column 'at' (time): row 1 is 'soon'"),
        ("id", ["a", None, "c"], {}, "column 'id' (prediction_id): row 2 is empty"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_cell_is_named(
    tmp_path: Path, column: str, values: list[Any], changes: dict[str, Any], told: str
) -> None:
    file = write_rows(tmp_path / "sales.csv", sales(3) | {column: values})
    with pytest.raises(ConfigError, match=re.escape(told)):
        read_learner_rows(file, mapping_of(**changes))


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("weight", [1.0, -1.0, 0.0], "row 2 is -1; 0 or more is allowed"),
        ("score", [0.5, 0.5, 1.5], "row 3 is 1.5, which is no probability"),
        ("score", [0.5, None, 0.5], "row 2 is empty"),
        ("propensity", [0.5, None, 0.0], "row 3 is 0, which is no probability"),
        ("kind", ["click", "thumb", "smile"], "row 3 is 'smile', which is no kind of signal"),
        ("label_time", [START_MS, None, START_MS], "row 2 is empty, but has a label"),
    ],
)
def test_a_wrong_cell_of_what_may_be_mapped_besides_is_named(
    tmp_path: Path, name: str, values: list[Any], told: str
) -> None:
    file = write_rows(tmp_path / "sales.csv", sales(3) | {"more": values})
    columns = {"time": "at", "label": "sold", name: "more"}
    label = {} if name == "label_time" else {"delay_ms": 0}
    with pytest.raises(ConfigError, match=re.escape(told)):
        read_learner_rows(file, mapping_of(columns=columns, label=label))


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    columns = sales(3)
    del columns["age"]
    with pytest.raises(ConfigError, match=r"has no column 'age' \(mapped to features.age\); it has id, at"):
        read_learner_rows(write_rows(tmp_path / "sales.csv", columns), mapping_of())


def test_empty_cells_get_the_number_that_stands_for_them(tmp_path: Path) -> None:
    columns = sales(3) | {"price": [None, 1.5, None], "sold": [1, None, 0]}
    mapping = mapping_of(features={**MAPPING["features"], "fill": -1})
    rows = read_learner_rows(write_rows(tmp_path / "sales.csv", columns), mapping)
    assert rows.batch.numeric[:, 0].tolist() == [-1.0, 1.5, -1.0]
    assert rows.labelled.tolist() == [True, False, True]


def test_text_labels_and_truths_are_read_as_they_are_written(tmp_path: Path) -> None:
    columns = sales(3) | {"sold": ["Yes", "no", None], "age": ["True", "False", "True"]}
    changes: dict[str, Any] = {
        "columns": {"time": "at", "label": "sold", "segment": "age"},
        "label": {"delay_ms": 0, "positive": ["Yes"]},
    }
    rows = read_learner_rows(write_rows(tmp_path / "sales.csv", columns), mapping_of(**changes))
    assert rows.label[:2].tolist() == [1.0, 0.0]
    assert np.isnan(rows.label[2])
    assert rows.batch.numeric[:, 1].tolist() == [1.0, 0.0, 1.0]
    assert rows.segment is not None
    assert rows.segment.to_pylist() == ["True", "False", "True"]


@pytest.mark.parametrize("form", ["sales.parquet", "sales.tsv", "sales.csv.gz"])
def test_other_forms_read_the_same(tmp_path: Path, form: str) -> None:
    table, file = pa.table(sales(20)), tmp_path / form
    if form.endswith("parquet"):
        pyarrow.parquet.write_table(table, file)
    else:
        delimiter = "\t" if "tsv" in form else ","
        with pa.output_stream(file) as out:  # compresses by the name
            pa.csv.write_csv(table, out, pa.csv.WriteOptions(delimiter=delimiter))
    rows = read_learner_rows(file, mapping_of())
    plain = read_learner_rows(write_rows(tmp_path / "plain.csv", sales(20)), mapping_of())
    assert rows.batch.numeric.tolist() == plain.batch.numeric.tolist()
    assert rows.batch.categorical.tolist() == plain.batch.categorical.tolist()
    assert rows.label_times_ms.tolist() == plain.label_times_ms.tolist()


def test_rows_can_be_all_the_time_there_is(tmp_path: Path) -> None:
    rows = read_learner_rows(write_rows(tmp_path / "sales.csv", sales(10)), mapping_of(**ROW_TIME))
    assert set(np.diff(rows.times_ms)) == {1_000}
    assert set(rows.label_times_ms - rows.times_ms) == {3_000}


def test_labels_so_many_rows_late_come_with_the_row_they_are_due_at(tmp_path: Path) -> None:
    rows = read_learner_rows(write_rows(tmp_path / "sales.csv", sales(10)), mapping_of(label={"delay_rows": 4}))
    assert rows.label_times_ms[:6].tolist() == rows.times_ms[4:].tolist()
    assert np.diff(rows.label_times_ms[5:]).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("text", "row_time", "expected"),
    [
        (None, False, Periods("day", 86_400_000)),
        (None, True, Periods("row", 50)),
        ("hour", False, Periods("hour", 3_600_000)),
        ("week", False, Periods("week", 604_800_000)),
        ("250", False, Periods("row", 250)),
    ],
)
def test_periods_are_as_asked_or_about_forty(text: str | None, row_time: bool, expected: Periods) -> None:
    times = START_MS + np.linspace(0, 30 * 86_400_000, 2_000).astype(np.int64)
    assert periods_of(text, times, row_time=row_time) == expected


@pytest.mark.parametrize("text", ["month", "0", "-3", "day"])
def test_a_period_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--period"):
        periods_of(text, np.arange(5), row_time=True)


def test_weeks_begin_on_mondays_and_rows_are_counted_from_one() -> None:
    week = Periods("week", 604_800_000)
    (code,) = week.codes(np.array([START_MS]), np.array([0])).tolist()
    assert week.name(code) == "2025-10-06"
    assert Periods("row", 500).name(2) == "row 1,001"


def mapping_file(folder: Path, text: str) -> Path:
    file = folder / "mapping.toml"
    file.write_text(text)
    return file


TEXT = """
[columns]
time = "at"
label = "sold"
segment = "country"
[features]
numeric = ["price", "age"]
categorical = ["colour"]
[label]
delay_ms = 60000
"""


def test_the_verb_prints_tables_or_all_of_it_as_json(tmp_path: Path) -> None:
    file, out = write_rows(tmp_path / "sales.csv", sales(400)), tmp_path / "out.json"
    args = ["learner", "--input", str(file), "--mapping", str(mapping_file(tmp_path, TEXT)), "--model", "linear"]
    shown = CliRunner().invoke(app, [*args, "--period", "100"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "400 predictions, 400 labels, 400 examples" in shown.stdout
    assert max(map(len, shown.stdout.splitlines()[1:])) <= 100
    told = json.loads(CliRunner().invoke(app, [*args, "--json"], catch_exceptions=False).stdout)
    assert {"total", "periods", "segments", "label_ages", "join", "tested", "digest"} <= set(told)
    short = CliRunner().invoke(app, [*args, "--json", "--out", str(out)], catch_exceptions=False)
    assert json.loads(out.read_text())["digest"] == told["digest"] == json.loads(short.stdout)["digest"]


def test_models_of_the_configuration_and_estimators_of_river_can_be_named(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "sales.csv", sales(200))
    config = tmp_path / "rheostat.toml"
    config.write_text(
        '[models.shop]\nlearner = "linear"\nfeature_set = "shop@1"\n'
        '[feature_sets."shop@1"]\nnumeric = ["price"]\ncategorical = ["colour"]\n'
    )
    own = TEXT.replace('numeric = ["price", "age"]\ncategorical = ["colour"]\n', "")
    args = ["learner", "--input", str(file), "--json", "--mapping"]
    more = ["--model", "shop", "--config", str(config)]
    told = CliRunner().invoke(app, [*args, str(mapping_file(tmp_path, own)), *more], catch_exceptions=False)
    assert json.loads(told.stdout)["feature_set"] == "shop@1"
    river = ["--model", "river", "--estimator", "tree.HoeffdingTreeClassifier"]
    told = CliRunner().invoke(app, [*args, str(mapping_file(tmp_path, TEXT)), *river], catch_exceptions=False)
    assert json.loads(told.stdout)["learner"].startswith("river")
    with pytest.raises(ConfigError, match="--model 'x': models: none is configured"):
        CliRunner().invoke(app, [*args, str(mapping_file(tmp_path, TEXT)), "--model", "x"], catch_exceptions=False)


def test_the_mapping_in_the_readme_is_a_mapping() -> None:
    _, _, section = README.read_text().partition("## A learner over a file")
    found = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    assert found is not None
    mapping = learner_mapping(
        tomllib.loads(found[1]), lambda _: FeatureSchema("shop@1", ("price", "age"), ("country",))
    )
    assert mapping.columns["time"] == "created_at"
