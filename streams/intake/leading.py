"""The first fields of our own records, found where they lie instead of decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import types
from numpy.typing import NDArray

from rheostat.schemas.documents import document
from rheostat.schemas.ids import in_force
from rheostat.schemas.record_codec import header_of
from rheostat.streams.compiled import BYTES, LONGS, compiled
from rheostat.streams.engine.packed import Packed
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints_at

Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]
Mask = NDArray[np.bool_]

_STRING, _STRING_OR_NULL, _DOUBLE, _NUMBER = range(4)
_DOUBLE_BYTES = 8


@dataclass(frozen=True, slots=True)
class Leading:
    """Where in `data` the fields of every record begin and end: arrays of (fields, rows). A null has no bytes."""

    names: Sequence[str]
    data: Bytes
    begins: Longs
    ends: Longs

    def fingerprints(self, name: str) -> Fingerprints:
        """Return what `fingerprint.fingerprints` would of this column of strings."""
        field = self.names.index(name)
        return fingerprints_at(self.data, self.begins[field], self.ends[field])

    def present(self, name: str) -> Mask:
        """Return which rows have a string there that is not empty."""
        field = self.names.index(name)
        return np.asarray(self.ends[field] > self.begins[field])

    def doubles(self, name: str) -> NDArray[np.float64]:
        """Return a column of doubles."""
        places = self.begins[self.names.index(name)][:, None] + np.arange(_DOUBLE_BYTES)
        return np.asarray(self.data[places].view("<f8")[:, 0])


def leading_fields(topic: str, run: Packed, count: int) -> Leading | None:
    """Find the first `count` fields of records that were written under the present version of the topic's schema.

    They are strings, strings or null, doubles, and times. None if a record is of another version or has no such fields:
    then decoding it knows better, or says what is wrong. Whether strings are valid UTF-8 is not looked at.
    """
    names, kinds = _fields(topic, count)
    header = np.frombuffer(header_of(in_force().id_of(topic)), np.uint8)
    begins, ends = np.empty((2, count, len(run)), np.int64)
    found = _find(run.data, run.ends, header, kinds, begins, ends)
    return Leading(names, run.data, begins, ends) if found else None


@cache
def _fields(topic: str, count: int) -> tuple[Sequence[str], Longs]:
    fields = document(topic)["fields"][:count]
    return [each["name"] for each in fields], np.array([_kind(each["type"]) for each in fields])


def _kind(avro: object) -> int:
    kinds = (
        *(("string", _STRING), (["null", "string"], _STRING_OR_NULL), ("double", _DOUBLE)),
        ({"type": "long", "logicalType": "timestamp-millis"}, _NUMBER),
    )
    return next(kind for known, kind in kinds if known == avro)


@compiled(types.UniTuple(types.int64, 2)(BYTES, types.int64, types.int64))  # type: ignore[no-untyped-call]
def _length(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Read a length as Avro writes it: zigzag, seven bits a byte, the lowest first; -1 if there is none.

    Returns it and where it ends.
    """
    number, shift, more = 0, 0, True
    while more:
        if at == end or shift > 28:
            return -1, at
        more = data[at] >= 128
        number |= (int(data[at]) & 127) << shift
        shift += 7
        at += 1
    return -1 if number & 1 else number >> 1, at


@compiled(types.boolean(BYTES, LONGS, BYTES, LONGS, types.int64[:, ::1], types.int64[:, ::1]))
def _find(data: Bytes, record_ends: Longs, header: Bytes, kinds: Longs, begins: Longs, ends: Longs) -> bool:
    """Note where the fields of every record lie; False at the first one that has another header or no such fields."""
    start = 0
    for row in range(len(record_ends)):
        at, end = start + len(header), int(record_ends[row])
        if at > end:
            return False
        for index in range(len(header)):
            if data[start + index] != header[index]:
                return False
        for field in range(len(kinds)):
            size = 0
            if kinds[field] == _STRING_OR_NULL:
                # Which of the two it is comes first, as the zigzag of 0 or 1.
                if at == end or (data[at] != 0 and data[at] != 2):
                    return False
                at += 1
            if kinds[field] == _DOUBLE:
                size = _DOUBLE_BYTES
            elif kinds[field] == _NUMBER:
                size = 1
                while size <= end - at and data[at + size - 1] >= 128:
                    size += 1
            elif kinds[field] == _STRING or data[at - 1] == 2:
                size, at = _length(data, at, end)
            if size < 0 or size > end - at:
                return False
            begins[field, row], ends[field, row] = at, at + size
            at += size
        start = end
    return True
