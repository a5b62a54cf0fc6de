"""What became of the predictions of a backtest: every example that was learned, with the scores it got."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.learners.contract import Floats
from rheostat.schemas import catalogue, codec
from rheostat.streams.backtest.learner_rows import LearnerRows, Longs
from rheostat.streams.engine.broker import Broker
from rheostat.streams.own_records import decode_all_own
from rheostat.streams.standing import standing

_ALL = 1 << 31
_SUMS = ("count", "log_loss_sum", "brier_sum", "error_sum")
_COLUMNS = ("label", "weight", "label_age_ms", "revision")


@dataclass(frozen=True, slots=True)
class LearnerOutcomes:
    """The examples of a backtest, in the order in which they were learned; all columns have one length.

    row: of the prediction, by time. times_ms: of the prediction. served: what the version in force at the time of the
    prediction said. logged: what was served then, by whatever model that was; None where not known. Only what stands
    is here, see `standing`. tested: sums over all cells of `evaluations`.
    """

    row: Longs
    times_ms: Longs
    label: Floats
    weight: Floats
    label_age_ms: Longs
    served: Floats
    logged: Floats | None
    segment: NDArray[np.object_]
    tested: Mapping[str, float]

    def __len__(self) -> int:
        return len(self.row)


class OutcomeReader:
    """Follows `examples` and `evaluations`."""

    def __init__(self, broker: Broker, rows: LearnerRows) -> None:
        self._examples = broker.tailer([catalogue.EXAMPLES], from_beginning=True)
        self._evaluations = broker.tailer([catalogue.EVALUATIONS], from_beginning=True)
        self._rows = rows
        self._ids = rows.ids.to_pylist()
        self._row_of: dict[str, int] = {}
        self._found: list[dict[str, pa.Array]] = []
        self._tested: dict[str, float] = defaultdict(float)

    def shown(self, predictions: slice) -> None:
        """Note that these predictions were written; of several with one id the newest counts."""
        self._row_of.update(zip(self._ids[predictions], range(predictions.start, predictions.stop), strict=True))

    def read(self) -> int:
        """Take in the examples that are new and return how many they are."""
        blocks = self._examples.poll(_ALL, 0)
        if not blocks:
            return 0
        records = decode_all_own(blocks)
        rows = list(map(self._row_of.__getitem__, records.column("prediction_id").to_pylist()))
        columns = {name: records.column(name) for name in ("example_id", "segment", *_COLUMNS)}
        self._found.append(columns | {"row": pa.array(rows, pa.int64())})
        return len(rows)

    def read_tests(self) -> None:
        """Add up the cells of the evaluations that are new, by field."""
        for block in self._evaluations.poll(_ALL, 0):
            for value in block.values:
                assert value is not None
                for cell in codec.decode_record(catalogue.EVALUATIONS, value)["cells"]:
                    for name in _SUMS:
                        self._tested[name] += cell[name]

    def finish(self, served: Floats) -> LearnerOutcomes:
        """Return all examples; `served` are the scores of all predictions."""
        names = ("row", "segment", *_COLUMNS)
        columns = {name: self._column(name) for name in names}
        revision, weight = columns["revision"].to_numpy(), columns["weight"].to_numpy()
        kept = standing(self._column("example_id"), revision, weight)
        row = columns["row"].to_numpy()[kept]
        return LearnerOutcomes(
            row=row,
            times_ms=self._rows.times_ms[row],
            label=columns["label"].to_numpy()[kept],
            weight=weight[kept],
            label_age_ms=columns["label_age_ms"].to_numpy()[kept],
            served=served[row],
            logged=None if self._rows.logged is None else self._rows.logged[row],
            segment=pc.fill_null(columns["segment"], "").to_numpy(zero_copy_only=False)[kept],
            tested=dict(self._tested),
        )

    def _column(self, name: str) -> pa.Array:
        field = codec.arrow_schema(catalogue.EXAMPLES).field(name) if name != "row" else pa.field("row", pa.int64())
        return pa.chunked_array([each[name] for each in self._found], field.type).combine_chunks()
