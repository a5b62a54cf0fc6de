"""Rows of a file as records: every column that is mapped arrives, and steps come in the order of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rheostat.schemas import catalogue, codec
from rheostat.streams.backtest.learner_records import LearnerRecords
from rheostat.streams.backtest.learner_rows import LearnerRows, read_learner_rows
from rheostat.streams.models.version import Version
from tests.support.backtest_rows import mapping_of, sales, write_rows

MORE = ("target", "actor", "weight", "kind", "propensity", "action", "segment")


def read(tmp_path: Path, rows: int = 6, **changes: Any) -> LearnerRows:
    columns = sales(rows) | {
        "target": [f"t{each}" for each in range(rows)],
        "actor": [None, *(f"a{each}" for each in range(1, rows))],
        "weight": [0.5 * each for each in range(rows)],
        "kind": ["thumb" if each % 2 else "conversion" for each in range(rows)],
        "propensity": [None, *[0.25] * (rows - 1)],
        "action": ["left" if each % 2 else "right" for each in range(rows)],
        "segment": ["s"] * rows,
    }
    mapped = {"time": "at", "label": "sold", **{name: name for name in MORE}}
    return read_learner_rows(write_rows(tmp_path / "sales.csv", columns), mapping_of(columns=mapped, **changes))


def test_every_column_arrives_in_the_records(tmp_path: Path) -> None:
    rows = read(tmp_path)
    records = LearnerRecords(rows, "toy", mapping_of().schema)
    shown = records.predictions(slice(0, 6), np.linspace(0, 1, 6), Version(2, 3))
    said = records.labels_of(slice(0, 6))
    first, second, *_ = (codec.decode_record(catalogue.PREDICTIONS, each or b"") for each in shown.values)
    assert (first["subject_id"], first["propensity"], first["action"]) == (None, None, "right")
    assert (second["subject_id"], second["propensity"], second["action"]) == ("a1", 0.25, "left")
    assert (second["target_id"], second["segment"], second["score"]) == ("t1", "s", pytest.approx(0.2))
    assert (second["model"], second["epoch"], second["sequence"]) == ("toy", 2, 3)
    assert second["numeric"] == rows.batch.numeric[1].tolist()
    assert second["categorical"] == [rows.categorical[0][1].as_py()]
    assert list(shown.timestamps_ms) == rows.times_ms.tolist()
    first, second, *_ = (codec.decode_record(catalogue.LEDGER, each or b"") for each in said.values)
    assert (first["subject"], second["subject"], second["kind"], second["weight"]) == ("nobody", "a1", "thumb", 0.5)
    assert (first["channel"], second["channel"]) == ("outcome", "explicit")
    assert second["prediction_id"] == "2"
    assert second["value"] == rows.label[1]


@pytest.mark.parametrize(("block_rows", "block_ms"), [(1, None), (7, None), (1_000, None), (3, 20_000), (100, 15_000)])
def test_steps_take_in_everything_once_in_the_order_of_time(
    tmp_path: Path, block_rows: int, block_ms: int | None
) -> None:
    rows = read(tmp_path, 40, label={"delay_ms": 35_000})
    records = LearnerRecords(rows, "toy", mapping_of().schema)
    cuts = list(records.cuts(block_rows, block_ms))
    for sides in ([each.predictions for each in cuts], [each.labels for each in cuts]):
        assert [place for each in sides for place in range(each.start, each.stop)] == list(range(40))
    last = -1
    for cut in cuts:
        times = [*rows.times_ms[cut.predictions], *rows.label_times_ms[cut.labels]]
        assert last <= min(times)
        assert len(times) <= block_rows
        assert block_ms is None or min(times) // block_ms == max(times) // block_ms
        last = max(times)
        assert cut.now_ms == last
