"""How much an event counts in learning, and why.

    weight = weight of its kind x certainty x (1 - suspicion) x recency, what an event weighs by itself;
             x reliability of its source, 0 beyond its actor's cap, then conflicts: what it weighs among others

(1 - suspicion) from `downweight_at` on. Reasons are given where something is out of the ordinary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rheostat.schemas.signals import NAMES
from rheostat.streams.engine.block import OutBlock
from rheostat.streams.intake.bursts import Scores
from rheostat.streams.intake.corrections import corrected, lost_to
from rheostat.streams.intake.reasons import Reason, add_reasons
from rheostat.streams.intake.settings import BurstSettings, WeightSettings
from rheostat.streams.intake.weigh_rows import CAPPED, VOTED
from rheostat.streams.intake.weigher import CONFLICT, Candidates, Weighed, Weigher
from rheostat.streams.intake.written import Groups

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Rows = NDArray[np.intp]

_TOLD_BELOW = 0.995
"""Factors that are rounded to 1 are not told."""


def weights(kind_weight: Floats, certainty: Floats, suspicion: Floats, settings: BurstSettings) -> Floats:
    """Return kind weight x certainty, times (1 - suspicion) from `downweight_at` on."""
    trusted = np.where(suspicion >= settings.downweight_at, 1.0 - suspicion, 1.0)
    return np.asarray(kind_weight * certainty * trusted, np.float64)


def recency(scores: Scores, times_ms: Longs, now_ms: int, settings: WeightSettings) -> Floats | float:
    """Return the factor of events by how late they come, and say so in the scores; 1 for those of the future."""
    if not settings.recency_halflife_ms:
        return 1.0
    factors = 0.5 ** (np.maximum(now_ms - times_ms, 0) / settings.recency_halflife_ms)
    scores.reasons.extend(_factors_told("comes late", factors, np.arange(len(factors))))
    return np.asarray(factors, np.float64)


def weigh_among_others(
    weighers: Sequence[Weigher],
    groups: Groups,
    entries: pa.RecordBatch,
    given: Candidates,
    numbers: Sequence[int],
    settings: WeightSettings,
) -> tuple[pa.RecordBatch, dict[int, OutBlock]]:
    """Weigh the rows of each owner that go to the ledger; return the entries so weighed, and corrections by owner.

    given: the entries as candidates. numbers: the partition number of each owner. Weighers are by owner too.
    """
    groups = [(owner, rows) for owner, rows in groups if len(rows)]
    if not groups:
        return entries, {}
    room, corrections = Weighed.room(given.weights), {}
    for owner, rows in groups:
        own = room._replace(corrections=[])
        weighers[owner].weigh(given, rows, own)
        if own.corrections:
            corrections[owner] = corrected(own.corrections, entries, numbers[owner], settings.conflict_policy)
    return _with(entries, room, settings), corrections


def _with(entries: pa.RecordBatch, weighed: Weighed, settings: WeightSettings) -> pa.RecordBatch:
    """Return entries with their new weights and reasons."""
    if not weighed.verdicts.any() and (weighed.factors == 1.0).all():
        return entries
    entries = _replaced(entries, "weight", pa.array(weighed.weights))
    column = entries.column("reasons").to_numpy(zero_copy_only=False)
    add_reasons(column, _reasons(weighed, settings))
    return _replaced(entries, "reasons", pa.array(column, pa.string()))


def _replaced(entries: pa.RecordBatch, name: str, column: pa.Array) -> pa.RecordBatch:
    at = entries.schema.get_field_index(name)
    return entries.set_column(at, entries.schema.field(at), column)


def _reasons(weighed: Weighed, settings: WeightSettings) -> list[Reason]:
    reasons = _factors_told("reliability of the source", weighed.factors, np.flatnonzero(weighed.factors < 1.0))
    if not weighed.verdicts.any():
        return reasons
    capped, voted = ((weighed.verdicts == verdict).nonzero()[0] for verdict in (CAPPED, VOTED))
    reasons.append((capped, f"actor cap: over {settings.actor_weight_per_hour:g} within an hour counts 0"))
    reasons.append((voted, f"{CONFLICT}weighted-vote): counts by the share of its side, see its corrections"))
    for row, opponent in weighed.opponents.items():
        told = lost_to(settings.conflict_policy, NAMES[opponent.kind], opponent.event_id)
        reasons.append((np.array([row]), told))
    return reasons


def _factors_told(what: str, factors: Floats, rows: Rows) -> list[Reason]:
    """Return what to say of rows by their factors, once for each value to two digits."""
    rows = rows[factors[rows] < _TOLD_BELOW]
    hundredths = np.round(factors[rows] * 100).astype(np.int64)
    return [(rows[hundredths == each], f"{what}: x {each / 100:.2f}") for each in np.unique(hundredths).tolist()]
