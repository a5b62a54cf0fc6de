"""What was answered, as records of `predictions`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

import pyarrow as pa

from rheostat.schemas import catalogue, codec
from rheostat.streams.models.version import Version

_RANDOM_BYTES = 10
_IDS_AT_ONCE = 512


class Prediction(NamedTuple):
    """What was shown. Features are in the order of the feature set; times are event times in ms.

    `action` and `propensity` are there where the model chooses: what was chosen, with which probability.
    `arm` is as `rheostat.schemas.arms` writes it; `arm_propensity` the probability with which the server chose it.
    `shadow_of`: of one that was not shown, the prediction_id of the one that was.
    """

    prediction_id: str
    model: str
    version: Version
    feature_set: str
    numeric: tuple[float, ...]
    categorical: tuple[str, ...]
    score: float
    occurred_at_ms: int
    expires_at_ms: int | None = None
    target_id: str | None = None
    subject_id: str | None = None
    segment: str | None = None
    arm: str | None = None
    action: str | None = None
    propensity: float | None = None
    flags: tuple[str, ...] = ()
    arm_propensity: float | None = None
    shadow_of: str | None = None


_random: list[bytes] = []
# A child process must not give the ids of its parent again.
os.register_at_fork(after_in_child=_random.clear)


def new_prediction_id(now_ms: int) -> str:
    """Return a UUID of version 7 (RFC 9562): 48 bits of milliseconds, then randomness, so ids sort by time.

    Randomness is fetched for many at once: at each call of the system Python lets another thread go first.
    """
    try:
        random = _random.pop()
    except IndexError:
        fetched = os.urandom(_RANDOM_BYTES * _IDS_AT_ONCE)
        _random.extend(fetched[at : at + _RANDOM_BYTES] for at in range(_RANDOM_BYTES, len(fetched), _RANDOM_BYTES))
        random = fetched[:_RANDOM_BYTES]
    bits = int.from_bytes(random, "big")
    value = (now_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | (bits >> 64 & 0xFFF) << 64 | 0b10 << 62 | bits & (1 << 62) - 1
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def encode_predictions(predictions: Sequence[Prediction], source: str) -> list[bytes]:
    """Return the values of records, of at least one prediction; `source` is the server that answered."""
    columns: dict[str, Sequence[Any]] = dict(zip(Prediction._fields, zip(*predictions, strict=True), strict=True))
    columns["epoch"], columns["sequence"] = zip(*columns["version"], strict=True)
    columns["occurred_at"], columns["expires_at"] = columns["occurred_at_ms"], columns["expires_at_ms"]
    columns["source"] = [source] * len(predictions)
    schema = codec.arrow_schema(catalogue.PREDICTIONS)
    arrays = [_array(columns[field.name], field.type) for field in schema]
    return codec.encode_block(catalogue.PREDICTIONS, pa.RecordBatch.from_arrays(arrays, schema=schema))


def _array(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    if not pa.types.is_list(type_):
        return pa.array(values, type_)
    ends = pa.array(accumulate(map(len, values), initial=0), pa.int32())
    return pa.ListArray.from_arrays(ends, pa.array(list(chain.from_iterable(values)), type_.value_type), type=type_)
