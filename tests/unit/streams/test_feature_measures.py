"""`rheostat features measure`: a file of values held against the dictionary."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from rheostat.schemas.feature_dictionary import read_feature_set
from rheostat.schemas.feature_sets import FeatureSet
from rheostat.streams.errors import ConfigError
from rheostat.streams.feature_measures import baselines_toml, measured
from rheostat.streams.feature_rows import read_feature_rows
from tests.support.feature_files import HEAD

ROWS = 2_000
PRICE = '[[feature]]\nname = "price"\ntype = "numeric"\nmeaning = "Price."\nunit = "EUR"\nrange = [0, 100]\n'
AREA = '[[feature]]\nname = "area"\ntype = "categorical"\nmeaning = "Area."\ncategories = ["007", "12"]\n'
REFUND = '[[feature]]\nname = "refund"\ntype = "boolean"\nmeaning = "1: paid back."\n'


def declared(folder: Path, text: str = PRICE + AREA + REFUND) -> FeatureSet:
    file = folder / "shop@1.toml"
    file.write_text(HEAD + text)
    return read_feature_set(file)


def columns() -> dict[str, list[Any]]:
    """Prices of 0 to 99, some missing, two areas, and a refund that knows the outcome."""
    draw = np.random.default_rng(5)
    sold = draw.random(ROWS) < 0.4
    price: list[float | None] = [float(each) for each in draw.integers(0, 100, ROWS)]
    price[10] = price[20] = None
    area = [["007", "12"][each] for each in draw.integers(0, 2, ROWS)]
    return {"price": price, "area": area, "refund": (~sold).tolist(), "sold": np.where(sold, "yes", "no").tolist()}


def a_csv(folder: Path, given: dict[str, list[Any]]) -> Path:
    file = folder / "rows.csv"
    rows = zip(*given.values(), strict=True)
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in rows]
    file.write_text("\n".join([",".join(given), *lines]) + "\n")
    return file


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    features = declared(tmp_path)
    parquet = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pa.table(columns()), parquet)
    found, other = (read_feature_rows(file, features, "sold", "yes") for file in (a_csv(tmp_path, columns()), parquet))
    for name in ("price", "refund"):
        np.testing.assert_array_equal(found.numbers[name], other.numbers[name])
    assert found.texts == other.texts == {"area": columns()["area"]}
    assert found.positive is not None
    assert found.positive.tolist() == [each == "yes" for each in columns()["sold"]]
    assert np.isnan(found.numbers["price"]).nonzero()[0].tolist() == [10, 20]
    assert measured(features, found) == measured(features, other)


def test_only_the_feature_that_knows_the_outcome_is_wrong(tmp_path: Path) -> None:
    features = declared(tmp_path)
    found = measured(features, read_feature_rows(a_csv(tmp_path, columns()), features, "sold", "yes"))
    assert {each.feature.name: each.wrong for each in found} == {
        "price": "",
        "area": "",
        "refund": "predicts suspiciously well",
    }
    unlabelled = measured(features, read_feature_rows(a_csv(tmp_path, columns()), features, None, "1"))
    assert [(each.power, each.wrong) for each in unlabelled] == [(None, "")] * 3


def test_that_a_value_is_missing_can_be_a_leak_too(tmp_path: Path) -> None:
    given = columns()
    given["price"] = [None if sold == "yes" else 5.0 for sold in given["sold"]]
    features = declared(tmp_path, PRICE)
    (found,) = measured(features, read_feature_rows(a_csv(tmp_path, given), features, "sold", "yes"))
    assert found.wrong == "predicts suspiciously well"


def test_baselines_go_into_the_dictionary_and_the_same_rows_are_at_no_distance(tmp_path: Path) -> None:
    features = declared(tmp_path)
    rows = read_feature_rows(a_csv(tmp_path, columns()), features, None, "1")
    parts = [part.split("\n", 1)[1] for part in baselines_toml(features, rows).split("# ")[1:]]
    entries = zip((PRICE, AREA, REFUND), parts, strict=True)
    with_baselines = declared(tmp_path, "".join(entry + baseline for entry, baseline in entries))
    for each in measured(with_baselines, rows):
        assert each.distance.missing == pytest.approx(0.0, abs=1e-5)
        assert each.distance.shift == pytest.approx(0.0, abs=1e-4)
    few = a_csv(tmp_path, {name: values[:99] for name, values in columns().items()})
    with pytest.raises(ConfigError, match="feature 'price': 97 values, a baseline needs at least 100"):
        baselines_toml(features, read_feature_rows(few, features, None, "1"))


@pytest.mark.parametrize(
    ("change", "label", "why"),
    [
        ({"price": None}, "sold", "has no column 'price'; it has area, refund, sold"),
        ({"price": ["cheap"] * ROWS}, "sold", "column 'price': is not all numbers"),
        ({"price": ["inf"] * ROWS}, "sold", "column 'price': has values that are not finite"),
        ({"sold": ["y"] * ROWS}, "sold", "column 'sold': all or none of the rows are 'yes'; there is 'y'"),
        ({}, "bought", "has no column 'bought'"),
    ],
)
def test_what_cannot_be_read_is_told_by_file_and_column(
    tmp_path: Path, change: dict[str, list[Any] | None], label: str, why: str
) -> None:
    given = {name: values for name, values in {**columns(), **change}.items() if values is not None}
    file = a_csv(tmp_path, given)
    with pytest.raises(ConfigError) as caught:
        read_feature_rows(file, declared(tmp_path), label, "yes")
    assert f"{file}: {why}" in str(caught.value)


def test_the_command_fails_on_a_leak_and_on_values_out_of_range(tmp_path: Path) -> None:
    declared(tmp_path)
    given = columns()
    given["price"][0], given["area"][1] = 101.0, "13"
    where = ["--dir", str(tmp_path), "--input", str(a_csv(tmp_path, given)), "--label", "sold", "--positive", "yes"]
    command = [sys.executable, "-m", "rheostat.streams.cli.main", "features", "measure", "shop@1", *where, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    price, area, refund = json.loads(done.stdout)["features"]
    assert (price["wrong"], area["wrong"]) == ("not within 0 to 100", "not within 007, 12")
    assert (price["outside"], area["outside"]) == (1 / (ROWS - 2), 1 / ROWS)
    assert (refund["auc"], refund["wrong"]) == (1.0, "predicts suspiciously well")
    assert refund["auc_above"] > 0.95
