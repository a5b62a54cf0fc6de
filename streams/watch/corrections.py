"""Corrections: how much accepted events count after the fact, as records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas import catalogue
from rheostat.schemas.codec import arrow_schema, encode_block
from rheostat.streams.engine.block import OutBlock
from rheostat.streams.watch.rows import Rows

BURST = "burst"
_AS_THEY_ARE = (
    "event_id",
    "prediction_id",
    "target_id",
    "kind",
    "value",
    "occurred_at",
    "weight",
    "origin_topic",
    "origin_partition",
    "origin_offset",
)


def corrections(
    rows: Rows, cause: str, keeps: NDArray[np.float64], alarms: NDArray[np.int64], reasons: Sequence[str]
) -> Iterator[OutBlock]:
    """Yield the corrections of accepted events, partition by partition; alarm 0 is none."""
    columns = {name: rows.batch.column(name) for name in _AS_THEY_ARE}
    columns["cause"] = pa.repeat(cause, len(rows))
    columns["keeps"] = pa.array(keeps)
    columns["alarm"] = pa.array(alarms, mask=alarms == 0)
    columns["reasons"] = pa.array(reasons, pa.string())
    schema = arrow_schema(catalogue.CORRECTIONS)
    batch = pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
    keys = [
        (prediction or subject).encode()
        for prediction, subject in zip(
            rows.batch.column("prediction_id").to_pylist(), rows.batch.column("subject").to_pylist(), strict=True
        )
    ]
    for partition in np.unique(rows.partitions).tolist():
        mine = np.flatnonzero(rows.partitions == partition)
        yield OutBlock(
            catalogue.CORRECTIONS,
            partition,
            [keys[row] for row in mine.tolist()],
            encode_block(catalogue.CORRECTIONS, batch.take(pa.array(mine))),
            rows.events.times_ms[mine].tolist(),
        )
