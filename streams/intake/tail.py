"""What the records of ledger and quarantine say when they are read again: their ids, and what bursts are judged by."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas.codec import decode_fields
from rheostat.schemas.signals import NAMES, UNKNOWN, codes_of
from rheostat.streams.engine.packed import Packed
from rheostat.streams.intake.bursts import Events, events_of
from rheostat.streams.intake.fingerprint import Fingerprints, fingerprints
from rheostat.streams.intake.leading import leading_fields

_ID_FIELDS = 1
_EVENT_FIELDS = 7
"""How many leading fields of a record are looked at: the id alone, or everything up to `value`."""

_KINDS = fingerprints(pa.array(NAMES)).low
_KINDS_IN_ORDER = np.argsort(_KINDS)


def ids_in(topic: str, run: Packed) -> Fingerprints:
    """Return what the ids of our own records are known by; they are the first field."""
    found = leading_fields(topic, run, _ID_FIELDS)
    if found is None:
        return fingerprints(decode_fields(topic, run.values(), _ID_FIELDS).column("event_id"))
    return found.fingerprints("event_id")


def events_in(topic: str, run: Packed) -> Events:
    """Return the events of our own records, without their texts."""
    found = leading_fields(topic, run, _EVENT_FIELDS)
    if found is None:
        return _decoded(topic, run)
    return Events(
        found.fingerprints("target_id"),
        found.present("target_id"),
        found.fingerprints("subject"),
        found.present("subject"),
        _codes(found.fingerprints("kind").low),
        found.doubles("value"),
        run.timestamps_ms,
    )


def _decoded(topic: str, run: Packed) -> Events:
    batch = decode_fields(topic, run.values(), _EVENT_FIELDS)
    return events_of(
        batch.column("target_id"),
        batch.column("subject"),
        codes_of(batch.column("kind")),
        np.asarray(batch.column("value").to_numpy(), np.float64),
        run.timestamps_ms,
    )


def _codes(kinds: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Return what `codes_of` would, by the fingerprints of the names."""
    at = np.minimum(np.searchsorted(_KINDS, kinds, sorter=_KINDS_IN_ORDER), len(_KINDS) - 1)
    codes = _KINDS_IN_ORDER[at]
    return np.where(_KINDS[codes] == kinds, codes, UNKNOWN).astype(np.int32)
