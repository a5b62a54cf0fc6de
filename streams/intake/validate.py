"""Checks events against the rules that a schema cannot express."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rheostat.schemas.codec import Failure
from rheostat.schemas.signals import KINDS, NAMES
from rheostat.streams.intake.arrivals import Arrivals
from rheostat.streams.intake.settings import IntakeSettings
from rheostat.streams.intake.strings import lengths_of

Mask = NDArray[np.bool_]

EVENT_ID_CHARS_MAX = 128
_RETRACTION = NAMES.index("retraction")


class _Check(NamedTuple):
    """One rule: the field it is about, the rows that break it, and what to say of one of them."""

    field: str
    bad: Mask
    reason: Callable[[int], str]


def faults(arrivals: Arrivals, settings: IntakeSettings, now_ms: int) -> list[Failure]:
    """Return for every event that breaks a rule the first field that is wrong, its value and what is allowed."""
    checks = list(_checks(arrivals, settings, now_ms)) if len(arrivals) else []
    if not checks:
        return []
    any_bad = np.logical_or.reduce([check.bad for check in checks])
    return [_first(checks, row) for row in np.flatnonzero(any_bad).tolist()]


def _first(checks: list[_Check], row: int) -> Failure:
    check = next(each for each in checks if each.bad[row])
    return Failure(row, check.field, check.reason(row))


def _checks(arrivals: Arrivals, settings: IntakeSettings, now_ms: int) -> Iterator[_Check]:
    """Yield the rules that some event breaks, in the order of the fields; nearly always there is none."""
    batch = arrivals.batch
    yield from _length(batch, "event_id", 1, EVENT_ID_CHARS_MAX)
    yield from _about_something(batch)
    yield from _signal(arrivals)
    yield from _certainty(batch)
    yield from _length(batch, "text", 0, settings.text_chars_max)
    yield from _retracts(arrivals)
    yield from _time(arrivals, settings, now_ms)


def _length(batch: pa.RecordBatch, field: str, low: int, high: int) -> Iterator[_Check]:
    # Bytes first, which is cheap: no string has more characters than bytes.
    column = batch.column(field)
    in_bytes = lengths_of(column)
    if low <= in_bytes.min() and in_bytes.max() <= high:
        return
    found = np.asarray(pc.utf8_length(column).fill_null(low))
    bad = (found < low) | (found > high)
    yield _Check(field, bad, lambda row: f"has {len(column[row].as_py())} characters, {low} to {high} are allowed")


def _about_something(batch: pa.RecordBatch) -> Iterator[_Check]:
    bad = (lengths_of(batch.column("prediction_id")) | lengths_of(batch.column("subject_id"))) == 0
    if bad.any():
        yield _Check("prediction_id", bad, lambda row: "is empty and so is subject_id; one of them must be given")


def _signal(arrivals: Arrivals) -> Iterator[_Check]:
    if arrivals.signals.valid.all():
        return
    signals, kinds, values = arrivals.signals, arrivals.batch.column("kind"), arrivals.batch.column("value")

    def unknown(row: int) -> str:
        return f"{_short(kinds[row].as_py())} is not known; known kinds are {', '.join(NAMES)}"

    def elsewhere(row: int) -> str:
        name = kinds[row].as_py()
        return f"{name} does not belong to this topic; it is for feedback.{KINDS[name].channel}"

    def out_of_range(row: int) -> str:
        kind = KINDS[kinds[row].as_py()]
        return f"is {values[row].as_py()}; {kind.name} takes {kind.low:g} to {kind.high:g} ({kind.unit})"

    yield _Check("kind", ~signals.known, unknown)
    yield _Check("kind", ~signals.in_channel, elsewhere)
    yield _Check("value", ~signals.in_range, out_of_range)


def _certainty(batch: pa.RecordBatch) -> Iterator[_Check]:
    column = batch.column("certainty")
    if column.null_count == len(column):
        return
    # Comparisons with NaN are false, so a NaN is bad; a null was made 1 first.
    given = np.asarray(column.fill_null(1.0))
    bad = ~((given >= 0) & (given <= 1))
    yield _Check("certainty", bad, lambda row: f"is {column[row].as_py()}, 0 to 1 or null is allowed")


def _retracts(arrivals: Arrivals) -> Iterator[_Check]:
    bad = (arrivals.signals.codes == _RETRACTION) & (lengths_of(arrivals.batch.column("retracts")) == 0)
    if bad.any():
        yield _Check("retracts", bad, lambda row: "is missing; a retraction must name the event_id it takes back")


def _time(arrivals: Arrivals, settings: IntakeSettings, now_ms: int) -> Iterator[_Check]:
    times = arrivals.times_ms
    low, high = now_ms - settings.max_past_ms, now_ms + settings.max_future_ms
    if low <= times.min() and times.max() <= high:
        return
    allowed = (
        f"{_iso(low)} to {_iso(high)} are allowed "
        f"({settings.max_past_ms} ms before to {settings.max_future_ms} ms after the present)"
    )
    yield _Check("occurred_at", (times < low) | (times > high), lambda row: f"is {_iso(int(times[row]))}; {allowed}")


def _iso(time_ms: int) -> str:
    """Return a time as text; numpy's years are not limited to 1 to 9999."""
    return f"{np.datetime64(time_ms, 'ms')}Z ({time_ms})"


def _short(text: str, chars_max: int = 80) -> str:
    return repr(text if len(text) <= chars_max else text[:chars_max] + "...")
